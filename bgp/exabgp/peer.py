"""One session: it dials and is dialled, and of its connections at most one is established.

Given an ``Order``, the whole of what the session should be, it does what differs and leaves a running connection alone
unless something that the peer sees has changed. Of several connections ``collision`` chooses; a new one over an
established one replaces it when graceful restart was negotiated (RFC 4724 §4.2).
"""

import asyncio
import os
import random
import socket
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from towpath.bgp.exabgp import codec, collision, tcp
from towpath.bgp.exabgp.collision import CONNECTION_COLLISION
from towpath.bgp.exabgp.connection import CHUNK_BYTES, Connection, Offer, State
from towpath.bgp.exabgp.neighbor import least_hops, neighbor, open_message
from towpath.bgp.ports import Loss, LossKind, Negotiated, Outbound, SessionError, SessionSink
from towpath.bgp.running import Mode, Order, identity
from towpath.model.net import Family, family_of
from towpath.model.reason import Reason

_CEASE = codec.CEASE
_DE_CONFIGURED = 3
_SHUTDOWN = 2
_CHANGED = 6
_MAX_PREFIXES = 1
_AGAIN_SECONDS = 0.1
"""After a change of ours the peer is dialled this soon: it has seen the old connection end by then."""


class Peer:
    """The session of one name. All methods are to be called in the event loop; none blocks."""

    def __init__(
        self,
        order: Order,
        *,
        sink: SessionSink,
        outbound: Outbound,
        changed: Callable[[], None],
        restarting: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.name = order.session.name
        self.order = order
        self._runs_as = order.parameters
        """What the connections were made with."""
        self._sink = sink
        self._outbound = outbound
        self._changed = changed
        self._restarting = restarting
        """R of our OPEN: this process has just started and had no session with this peer yet."""
        self.up: Connection | None = None
        self._up_since = 0.0
        self._pending: list[Connection] = []
        self._dial_task: asyncio.Task[None] | None = None
        self._dial_began = 0.0
        self._retry_handle: asyncio.TimerHandle | None = None
        self._held_until = 0.0
        self.last_reason = ""
        self.lost = 0
        """How often it was lost, but for what was changed or removed here."""

    # what it should be

    def apply(self, order: Order) -> None:
        """Become what the order says; the first call starts the session."""
        before, self.order = self.order, order
        if order.mode in (Mode.WITHHELD, Mode.SEVERED, Mode.SOUGHT):
            self._end(order.mode)
            return
        another = identity(order.session) != identity(before.session)
        changed = order.parameters != self._runs_as
        if another or (changed and order.mode is Mode.RUN):
            self._held_until = 0.0
            self._reset(another=another)
        freed = self._held_until > 0.0 and order.session.max_prefix != before.session.max_prefix
        if freed:
            self._held_until = 0.0
            self._stop_dialling()
        if order.mode is Mode.HOLD:
            self._stop_dialling()
            for connection in list(self._pending):
                connection.close(Loss(LossKind.REMOVED, message="withheld"))
            return
        self._runs_as = order.parameters
        for connection in self._connections():
            connection.adjust(
                hops=self._hops, least=least_hops(order.session), keepalive_time=order.session.keepalive_time
            )
        if order.session.passive:
            self._stop_dialling()
        else:
            at_once = freed or before is order or before.mode is not Mode.RUN
            self._dial_in(0.0 if at_once else _AGAIN_SECONDS if changed else None)

    def remove(self) -> None:
        """End the session for good: the peer is told so that it keeps no routes."""
        self.order = replace(self.order, mode=Mode.WITHHELD)
        self._end(Mode.WITHHELD)

    def abandon(self) -> None:
        """Close without a word: we restart, and the peer keeps our routes."""
        self._stop_dialling()
        for connection in self._connections():
            connection.close(Loss(LossKind.REMOVED, message="the speaker stops"))

    @property
    def accepts(self) -> bool:
        """Whether an incoming connection is welcome."""
        return self.order.mode is Mode.RUN and self._loop.time() >= self._held_until

    @property
    def state(self) -> State:
        """The state furthest on of its connections."""
        if self.up is not None:
            return State.ESTABLISHED
        states = [connection.state for connection in self._pending]
        for state in (State.OPEN_CONFIRM, State.OPEN_SENT):
            if state in states:
                return state
        if not self.accepts:
            return State.IDLE
        return State.CONNECT if self._dial_task is not None else State.ACTIVE

    def kick(self) -> None:
        """There is something to pull."""
        if self.up is not None:
            self.up.wake()

    def accept(self, sock: socket.socket) -> None:
        """Take an incoming connection."""
        if (self.up is not None and not self._replaceable(self.up)) or collision.comes_up(
            self._pending, now=self._loop.time()
        ):
            sock.close()
            return
        try:
            family = family_of(self.order.session.peer_address)
            tcp.tune(sock, family)
            tcp.limit(sock, family, hops=self._hops, least=least_hops(self.order.session))
        except OSError:
            sock.close()
            return
        for connection in list(self._pending):
            if not connection.dialled and connection.state is State.OPEN_SENT:
                connection.close(Loss(LossKind.CONNECTION, message="the peer connected again"))
        self._begin(sock, dialled=False)

    # what its connections tell

    def opened(self, connection: Connection) -> None:
        """Resolve collisions now that identifiers are known (RFC 4271 §6.8, RFC 6286 §2.3), or wait until they are."""
        if self.up is not None:
            if connection.born <= self._up_since or not self._replaceable(self.up):
                raise SessionError(_CEASE, CONNECTION_COLLISION, message="the session is up on another connection")
            self.up.close(Loss(LossKind.REPLACED, message="the peer opened a new session"))
            return
        ours = int(self.order.settings.router_id), self.order.session.local_as
        for other in [other for other in self._pending if other is not connection and other.agreement is not None]:
            if not collision.stays(connection, beside=other, ours=ours):
                raise SessionError(_CEASE, CONNECTION_COLLISION, message="another connection was kept")
            collision.give_up(other)
        if self._undecided(connection):
            connection.hold()
            self._loop.call_later(collision.CONCURRENT_SECONDS, self._settle)

    def opening(self, connection: Connection) -> bytes:
        """With graceful restart the peer may hold stale routes: it is told ours in the moment that it has the session."""
        if self.up is not None or connection.agreement is None or connection.agreement.restart is None:
            return b""
        return self._outbound.opening(self.name, self._negotiated(connection), CHUNK_BYTES)

    def established(self, connection: Connection) -> None:
        """Tell the sink, and give up on all other connections."""
        self._pending.remove(connection)
        self.up = connection
        self._up_since = self._loop.time()
        self._restarting = False
        self._stop_dialling()
        for other in list(self._pending):
            if other.state is State.OPEN_CONFIRM or other.dialled:
                collision.give_up(other)
        self.last_reason = ""
        self._changed()
        self._sink.established(self.name, self._negotiated(connection))

    def updates(self, bodies: Sequence[bytes]) -> None:
        """Pass on."""
        self._sink.updates(self.name, bodies)

    def refresh(self, family: Family) -> None:
        """Pass on."""
        self._sink.refresh(self.name, family)

    def pull(self, limit: int) -> bytes:
        """Pass on."""
        return self._outbound.pull(self.name, limit)

    def closed(self, connection: Connection, loss: Loss) -> None:
        """Forget a connection, tell the sink if it was the established one, and come back later."""
        was_up = connection is self.up
        if was_up:
            self.up = None
            self.lost += loss.kind not in (LossKind.CHANGED, LossKind.REMOVED)
        elif connection in self._pending:
            self._pending.remove(connection)
        if was_up or loss.code:
            self.last_reason = loss.message or loss.kind.value
        if loss.kind is LossKind.REFUSED and (loss.code, loss.subcode) == (_CEASE, _MAX_PREFIXES):
            after = self.order.session.max_prefix.restart_after
            self._held_until = self._loop.time() + after if after is not None else float("inf")
            self.last_reason = f"{Reason.MAX_PREFIX}: {loss.message}"
        self._changed()
        if was_up:
            self._sink.lost(self.name, loss)
        self._settle()
        if self.order.mode is Mode.RUN and loss.kind not in (LossKind.CHANGED, LossKind.REMOVED, LossKind.CARRIER):
            # a lost session is tried again soon, a failed attempt after the configured time
            self._dial_in(min(1.0, self._retry_time) if was_up and loss.kind is LossKind.CONNECTION else None)

    # dialling

    @property
    def _retry_time(self) -> float:
        return float(max(self.order.session.connect_retry_time, 1))

    @property
    def _hops(self) -> int | None:
        session = self.order.session
        if session.ttl_security is not None:
            return tcp.FARTHEST
        return (session.multihop or 1) if session.ebgp else None

    def _dial_in(self, delay: float | None) -> None:
        """Dial after a delay (None: the retry time, with jitter) unless that is not wanted or under way."""
        wanted = self.order.mode is Mode.RUN and not self.order.session.passive and self.up is None
        if not wanted or self._dial_task is not None or self._retry_handle is not None:
            return
        if any(connection.dialled for connection in self._pending) or self._held_until == float("inf"):
            return
        if delay is None:
            delay = self._retry_time * random.uniform(0.75, 1.0)
        delay = max(delay, self._held_until - self._loop.time())
        self._retry_handle = self._loop.call_later(delay, self._dial_now)

    def _dial_now(self) -> None:
        self._retry_handle = None
        self._dial_began = self._loop.time()
        if collision.peer_dials(self._pending, now=self._dial_began):
            self._retry_handle = self._loop.call_later(collision.CONCURRENT_SECONDS, self._dial_now)
            return
        self._dial_task = self._loop.create_task(self._dial(), name=f"dial {self.name}")

    async def _dial(self) -> None:
        session = self.order.session
        sock = None
        try:
            sock = tcp.dialling_socket(
                session.peer_address,
                local=session.local_address,
                key=self.order.password,
                hops=self._hops,
                least=least_hops(session),
            )
            async with asyncio.timeout(max(self._retry_time, 2.0)):
                await self._loop.sock_connect(sock, tcp.name_of(session.peer_address, session.peer_port))
        except (OSError, asyncio.CancelledError) as error:
            if sock is not None:
                sock.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            self._dial_task = None
            # the loop's own text says neither why nor in words for people
            self.last_reason = os.strerror(error.errno) if error.errno else "Connection timed out"
            self._changed()
            self._dial_in(None)
            self._settle()
            return
        self._dial_task = None
        self._begin(sock, dialled=True)

    def _stop_dialling(self) -> None:
        if self._dial_task is not None:
            self._dial_task.cancel()
            self._dial_task = None
        if self._retry_handle is not None:
            self._retry_handle.cancel()
            self._retry_handle = None

    # connections

    def _begin(self, sock: socket.socket, *, dialled: bool) -> None:
        session, settings = self.order.session, self.order.settings
        view = neighbor(session, settings)
        preserved = settings.forwarding_preserved if self._restarting else True
        message = open_message(session, view, restarting=self._restarting, preserved=preserved)
        offer = Offer(
            view=view,
            message=message,
            keepalive_time=session.keepalive_time,
            role=session.role,
            strict_role=session.strict_role,
        )
        connection = Connection(sock, owner=self, offer=offer, dialled=dialled)
        self._pending.append(connection)
        connection.start()
        self._changed()

    def _undecided(self, connection: Connection) -> bool:
        since = self._dial_began if self._dial_task is not None else None
        return collision.undecided(connection, self._pending, now=self._loop.time(), dialling_since=since)

    def _settle(self) -> None:
        """Go on with the connection that was held if nothing can take its place any more."""
        for connection in self._pending:
            if connection.held and not self._undecided(connection):
                connection.confirm()

    def _connections(self) -> list[Connection]:
        return [*([self.up] if self.up is not None else []), *self._pending]

    def _replaceable(self, connection: Connection) -> bool:
        return connection.agreement is not None and connection.agreement.restart is not None

    def _negotiated(self, connection: Connection) -> Negotiated:
        """What was negotiated on a connection: the same object for the whole of its life."""
        agreement, session = connection.agreement, self.order.session
        assert agreement is not None
        connection.negotiated = connection.negotiated or Negotiated(
            families=agreement.families,
            peer_router_id=agreement.peer_router_id,
            peer_as=agreement.peer_as,
            local_as=session.local_as,
            local_address=tcp.address_of(connection.local_name),
            peer_address=session.peer_address,
            hold_time=agreement.hold_time,
            four_octet_as=agreement.four_octet_as,
            message_size=agreement.message_size,
            restart=agreement.restart,
            refresh=agreement.refresh,
            ipv6_next_hops=agreement.ipv6_next_hops,
            paths_taken=agreement.paths_taken,
            paths_told=agreement.paths_told,
        )
        return connection.negotiated

    def _end(self, mode: Mode) -> None:
        """End all connections because the session is not to run."""
        self._stop_dialling()
        self._held_until = 0.0
        for connection in self._connections():
            if mode is Mode.SEVERED:
                connection.close(Loss(LossKind.CARRIER, message="the interface lost its carrier"))
                continue
            if self.order.session.reason is Reason.SHUTDOWN:
                self._end_for_good(
                    connection, subcode=_SHUTDOWN, data=codec.communication(self.order.session.shutdown_message)
                )
            else:
                self._end_for_good(connection, subcode=_DE_CONFIGURED)

    def _end_for_good(self, connection: Connection, *, subcode: int, data: bytes = b"") -> None:
        """The peer is to keep nothing: all is withdrawn, and the Cease is no restart to it (RFC 8538 §3)."""
        restart = connection.agreement.restart if connection.agreement else None
        cease = codec.hard_reset if restart is not None and restart.notification else codec.notification
        withdrawals = self._outbound.farewell(self.name) if connection is self.up else b""
        loss = Loss(LossKind.REMOVED, _CEASE, subcode, "removed here")
        connection.close(loss, say=withdrawals + cease(_CEASE, subcode, data))

    def _reset(self, *, another: bool) -> None:
        """End all connections because something that the peer sees has changed; ``another``: it is not the same peer.

        With graceful restart there is no NOTIFICATION unless both sides know the N-bit: the peer keeps our routes until
        the session is up again.
        """
        self._stop_dialling()
        for connection in self._connections():
            if another:
                self._end_for_good(connection, subcode=_DE_CONFIGURED)
                continue
            restart = connection.agreement.restart if connection.agreement else None
            silent = restart is not None and not restart.notification
            loss = Loss(LossKind.CHANGED, _CEASE, _CHANGED, "changed here")
            connection.close(loss, say=b"" if silent else codec.notification(_CEASE, _CHANGED))

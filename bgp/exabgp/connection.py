"""One TCP connection of a session, from our OPEN to its end: OpenSent, OpenConfirm, Established (RFC 4271 §8).

It reads in bulk, answers errors with the NOTIFICATION they ask for, keeps the two timers on the monotonic clock, and
pulls what to send only while the socket takes more. Which of several connections survives is decided by its owner.
"""

import asyncio
import contextlib
import enum
import random
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from exabgp.bgp.message import Open
from exabgp.bgp.neighbor import Neighbor
from msgspec import Struct

from towpath.bgp.exabgp import codec, tcp
from towpath.bgp.exabgp.reader import Reader
from towpath.bgp.ports import Loss, LossKind, Negotiated, SessionError
from towpath.model.kinds.peer import Role
from towpath.model.net import Family

RECEIVE_BYTES = 65536
"""Read at most this much of one session before the others are served."""
CHUNK_BYTES = 65536
_CHUNKS_A_TURN = 8
_OPEN_SECONDS = 60.0
"""How long a new connection may wait for its OPEN and its KEEPALIVE (RFC 4271 §8 proposes four minutes)."""
_SEND_HOLD_SECONDS = 480.0
"""A peer that takes nothing for this long is lost (RFC 9687)."""


class State(enum.Enum):
    """States of RFC 4271 §8.2.2."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


class Offer(Struct, frozen=True):
    """What we say in the OPEN, and what the peer's OPEN is judged by."""

    view: Neighbor
    message: Open
    keepalive_time: int
    role: Role | None
    strict_role: bool


class Owner(Protocol):
    """Whoever a connection belongs to. Every method may raise ``SessionError`` but ``opening``, ``pull`` and ``closed``."""

    def opened(self, connection: "Connection") -> None:
        """The peer's OPEN was read and fits: the moment for collisions. The connection may be closed or held in it."""

    def opening(self, connection: "Connection") -> bytes:
        """UPDATEs that follow our first KEEPALIVE at once: with it the session is up for the peer."""

    def established(self, connection: "Connection") -> None:
        """The peer confirmed our OPEN."""

    def updates(self, bodies: Sequence[bytes]) -> None:
        """UPDATE bodies of the established connection."""

    def refresh(self, family: Family) -> None:
        """The peer asks for our routes again."""

    def pull(self, limit: int) -> bytes:
        """What to send next."""

    def closed(self, connection: "Connection", loss: Loss) -> None:
        """The connection has ended, in whatever state; called once."""


class Connection:
    """A connected socket that speaks BGP. ``start`` sends the OPEN."""

    def __init__(self, sock: socket.socket, *, owner: Owner, offer: Offer, dialled: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._owner = owner
        self._offer = offer
        self._keepalive = offer.keepalive_time
        self.dialled = dialled
        self.state = State.IDLE
        self.agreement: codec.Agreement | None = None
        self.negotiated: Negotiated | None = None
        """The owner's word for it."""
        self.born = self._loop.time() - (0.0 if dialled else tcp.age(sock))
        """When the kernel had it connected; of what was dialled, when we saw that."""
        self.held = False
        """The peer's OPEN is in, and our KEEPALIVE is held back: another connection may take its place."""
        self._later: list[tuple[int, list[bytes]]] = []
        self.confirmed_at: float | None = None
        """When our KEEPALIVE answered the peer's OPEN."""
        self._reader = Reader()
        self._out = b""
        self._waiting_to_write = False
        self._blocked_since: float | None = None
        self._flush_handle: asyncio.Handle | None = None
        self._hold_handle: asyncio.TimerHandle | None = None
        self._keepalive_handle: asyncio.Handle | None = None
        self._confirm_handle: asyncio.Handle | None = None
        self._hold_time = _OPEN_SECONDS
        self._heard = self._loop.time()

    def start(self) -> None:
        """Send our OPEN and listen for the peer's."""
        self.state = State.OPEN_SENT
        self._loop.add_reader(self._sock, self._guarded, self._readable)
        self._watch()
        self._send(self._offer.message.message())

    @property
    def local_name(self) -> tuple[str, int]:
        """Our address and port."""
        name = self._sock.getsockname()
        return name[0], name[1]

    @property
    def keepalive_time(self) -> float:
        """Seconds between KEEPALIVEs: as configured, at most a third of the hold time."""
        agreed = self.agreement.hold_time if self.agreement else 0
        return min(float(self._keepalive or agreed), agreed / 3)

    def adjust(self, *, hops: int | None, least: int, keepalive_time: int) -> None:
        """Take over what the peer need not agree to: TTLs, and how often it hears from us."""
        family = Family.IPV6 if self._sock.family == socket.AF_INET6 else Family.IPV4
        with contextlib.suppress(OSError):  # gone; its end is noticed where it is read
            tcp.limit(self._sock, family, hops=hops, least=least)
        if keepalive_time == self._keepalive:
            return
        self._keepalive = keepalive_time
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._keepalive_handle = self._loop.call_soon(self._guarded, self._keep_alive)

    def hold(self) -> None:
        """Say and read nothing more before ``confirm``; to be called when the peer's OPEN was read."""
        self.held = True
        self._loop.remove_reader(self._sock)

    def confirm(self) -> None:
        """Go on after ``hold``."""
        if self.held:
            self.held = False
            self._confirm_handle = self._loop.call_soon(self._guarded, self._go_on)

    def wake(self) -> None:
        """There may be something to pull."""
        if self.state is State.ESTABLISHED and self._flush_handle is None and not self._waiting_to_write:
            self._flush_handle = self._loop.call_soon(self._guarded, self._flush)

    def refuse(self, error: SessionError) -> None:
        """End the connection with a NOTIFICATION because of an error."""
        loss = Loss(LossKind.REFUSED, error.code, error.subcode, error.message)
        self.close(loss, say=codec.notification(error.code, error.subcode, error.data))

    def close(self, loss: Loss, *, say: bytes = b"") -> None:
        """End the connection, with a last message or without a word; a second call does nothing."""
        if self.state is State.IDLE:
            return
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        for handle in (self._flush_handle, self._hold_handle, self._keepalive_handle, self._confirm_handle):
            if handle is not None:
                handle.cancel()
        if say:
            tcp.linger(self._sock, self._loop, last=self._out + say)
        else:
            self._sock.close()
        self._out = b""
        self._owner.closed(self, loss)
        self.state = State.IDLE

    # receiving

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a callback of the loop: an error of the session ends it, a bug ends it too and flies on."""
        try:
            step()
        except SessionError as error:
            self.refuse(error)
        except BaseException:
            self.refuse(SessionError(codec.CEASE, 8, message="internal error"))
            raise

    def _readable(self) -> None:
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(Loss(LossKind.CONNECTION, message=error.strerror or str(error)))
            return
        if not data:
            self.close(Loss(LossKind.CONNECTION, message="the peer closed the connection"))
            return
        for kind, bodies in self._reader.feed(data):
            if self.state is not State.OPEN_CONFIRM:  # there nothing but the KEEPALIVE prolongs the wait
                self._heard = self._loop.time()
            self._receive(kind, bodies)
            if self.state is State.IDLE:
                return

    def _receive(self, kind: int, bodies: list[bytes]) -> None:
        if self.held:
            self._later.append((kind, bodies))
        elif kind == codec.NOTIFICATION:
            self._notified(bodies[0])
        elif self.state is State.ESTABLISHED:
            if kind == codec.UPDATE:
                self._owner.updates(bodies)
            elif kind == codec.REFRESH:
                for body in bodies:
                    family = codec.read_refresh(body)
                    if family is not None and self.agreement and family in self.agreement.families:
                        self._owner.refresh(family)
            elif kind != codec.KEEPALIVE:
                raise self._unexpected(kind, 3)
        elif self.state is State.OPEN_SENT:
            if kind != codec.OPEN:
                raise self._unexpected(kind, 1)
            self._opened(bodies[0])
        elif kind == codec.KEEPALIVE:
            self._confirmed()
        # an OPEN is no error here in itself (RFC 4271 §8.2.2, event 19): OpenBGPD says it twice on a connection
        # that follows one which was gone before the OPEN in its buffer was written
        elif kind != codec.OPEN or self._agree(bodies[0]) != self.agreement:
            raise self._unexpected(kind, 2)

    def _unexpected(self, kind: int, subcode: int) -> SessionError:
        """An error of the state machine (RFC 6608)."""
        message = f"unexpected {codec.NAMES[kind]} in {self.state.value}"
        return SessionError(5, subcode, data=bytes((kind,)), message=message)

    def _notified(self, body: bytes) -> None:
        goodbye = codec.read_notification(body)
        hard = (goodbye.code, goodbye.subcode) == (codec.CEASE, codec.HARD_RESET)
        kind = LossKind.HARD_RESET if hard else LossKind.NOTIFIED
        self.close(Loss(kind, goodbye.code, goodbye.subcode, goodbye.message))

    def _agree(self, body: bytes) -> codec.Agreement:
        offer = self._offer
        return codec.read_open(body, offer.message, offer.view, role=offer.role, strict_role=offer.strict_role)

    def _opened(self, body: bytes) -> None:
        self.agreement = self._agree(body)
        self._reader.message_size = self.agreement.message_size
        self._owner.opened(self)
        if self.state is State.OPEN_SENT:
            self.state = State.OPEN_CONFIRM
            if not self.held:
                self._confirm()

    def _confirm(self) -> None:
        """Our KEEPALIVE: the session is up for the peer once it has read it, and no moment passes without our routes.

        A peer that lost us twice drops what it did not hear again in between (RFC 4724 section 4.2).
        """
        self.confirmed_at = self._loop.time()
        self._send(codec.KEEPALIVE_MESSAGE + self._owner.opening(self))

    def _go_on(self) -> None:
        self._loop.add_reader(self._sock, self._guarded, self._readable)
        self._confirm()
        later, self._later = self._later, []
        for kind, bodies in later:
            if self.state is not State.IDLE:
                self._receive(kind, bodies)

    def _confirmed(self) -> None:
        assert self.agreement is not None
        self.state = State.ESTABLISHED
        self._heard = self._loop.time()
        self._hold_time = float(self.agreement.hold_time)
        self._watch()
        self._keep_alive()
        if self.state is State.ESTABLISHED:
            self._owner.established(self)
            self.wake()

    # timers

    def _watch(self) -> None:
        """(Re)start the hold timer; none with hold time zero."""
        if self._hold_handle is not None:
            self._hold_handle.cancel()
            self._hold_handle = None
        if self._hold_time:
            self._hold_handle = self._loop.call_at(self._heard + self._hold_time, self._guarded, self._hold_expired)

    def _hold_expired(self) -> None:
        if self._loop.time() >= self._heard + self._hold_time:
            # what waits in the socket counts: a busy loop must not cost a session
            self._readable()
        if self.state is State.IDLE:
            return
        if self._loop.time() >= self._heard + self._hold_time:
            self.close(Loss(LossKind.HOLD_TIMER, 4, 0, "hold timer expired"), say=codec.notification(4, 0))
        else:
            self._watch()

    def _keep_alive(self) -> None:
        if not self._hold_time:
            return
        limit = max(_SEND_HOLD_SECONDS, 2 * self._hold_time)
        if self._blocked_since is not None and self._loop.time() - self._blocked_since > limit:
            raise SessionError(8, 0, message="the peer takes nothing")
        if len(self._out) < 2 * CHUNK_BYTES:
            self._send(codec.KEEPALIVE_MESSAGE)
        if self.state is State.ESTABLISHED:
            delay = self.keepalive_time * random.uniform(0.75, 1.0)
            self._keepalive_handle = self._loop.call_later(delay, self._guarded, self._keep_alive)

    # sending

    def _send(self, message: bytes) -> None:
        self._out += message
        if not self._waiting_to_write:
            self._write()

    def _write(self) -> bool:
        """Give the socket what it takes; whether it took all."""
        try:
            sent = self._sock.send(self._out)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.close(Loss(LossKind.CONNECTION, message=error.strerror or str(error)))
            return False
        self._out = self._out[sent:]
        if not self._out:
            self._blocked_since = None
            if self._waiting_to_write:
                self._waiting_to_write = False
                self._loop.remove_writer(self._sock)
            return True
        if sent or self._blocked_since is None:
            self._blocked_since = self._loop.time()
        if not self._waiting_to_write:
            self._waiting_to_write = True
            self._loop.add_writer(self._sock, self._guarded, self._flush)
        return False

    def _flush(self) -> None:
        self._flush_handle = None
        if self._out and not self._write():
            return
        for _ in range(_CHUNKS_A_TURN):
            if self.state is not State.ESTABLISHED:
                return
            self._out = self._owner.pull(CHUNK_BYTES)
            if not self._out or not self._write():
                return
        self.wake()

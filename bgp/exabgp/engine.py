"""All sessions of a speaker, held at what the agent desires: the whole is given, the difference is done.

A session whose order is unchanged is not touched. Every connection comes in through one listener and is handed to its
session; bytes go to the sink, and what is to be sent is pulled from the outbound side, all in one event loop.
"""

from collections.abc import Callable, Mapping

from towpath.bgp.exabgp.connection import State
from towpath.bgp.exabgp.door import Key
from towpath.bgp.exabgp.listener import Arrival, Listener
from towpath.bgp.exabgp.neighbor import least_hops
from towpath.bgp.exabgp.peer import Peer
from towpath.bgp.ports import Outbound, SessionSink, Standing
from towpath.bgp.running import Mode, Order, mode
from towpath.model.net import Address, unscoped
from towpath.model.reason import Reason
from towpath.model.secret import Secret
from towpath.model.speaker import Notice, Session, Settings

_WITHHELD = "Withheld"


class Engine:
    """The sessions. ``apply`` is level-based; nothing dials or listens before its first call.

    ``changed`` is called when ``states`` or ``notices`` may give something new; cheap, often.
    """

    def __init__(self, *, sink: SessionSink, outbound: Outbound, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._sink = sink
        self._outbound = outbound
        self._peers: dict[str, Peer] = {}
        self._by_address: dict[Address, list[Peer]] = {}
        self._listener: Listener | None = None
        self._applied = False
        self._notices: list[Notice] = []

    async def start(self) -> None:
        """Make ready; to be called in the event loop that runs the sessions."""
        self._listener = Listener(arrived=self._arrived, notice=self._notice, changed=self._changed)

    async def stop(self, *, graceful: bool) -> None:
        """End. ``graceful``: a restart, sockets close without a NOTIFICATION and peers keep our routes."""
        if self._listener is not None:
            self._listener.close()
        for peer in self._peers.values():
            if graceful:
                peer.abandon()
            else:
                peer.remove()
        self._peers.clear()
        self._by_address.clear()

    def apply(self, settings: Settings, *, sessions: Mapping[str, Session], passwords: Mapping[str, Secret]) -> None:
        """Bring all sessions and listening sockets to what is desired."""
        assert self._listener is not None, "start first"
        orders = {
            name: Order(
                session=session,
                settings=settings,
                password=passwords.get(name) if session.password_ref is not None else None,
                mode=mode(session, settings=settings, passwords=passwords),
            )
            for name, session in sessions.items()
        }
        for name in [name for name in self._peers if name not in orders]:
            self._peers.pop(name).remove()
        # first the sockets: a peer that is dialled now may dial back at once
        self._listener.apply(settings.listen, _keys(orders))
        for name, order in orders.items():
            peer = self._peers.get(name)
            if peer is None:
                restarting = not self._applied
                peer = Peer(
                    order,
                    sink=self._sink,
                    outbound=self._outbound,
                    changed=self._changed,
                    restarting=restarting,
                )
                self._peers[name] = peer
                peer.apply(order)
            elif peer.order != order:
                peer.apply(order)
        self._applied = True
        self._changed()
        self._by_address = {}
        for _, peer in sorted(self._peers.items()):
            self._by_address.setdefault(peer.order.session.peer_address, []).append(peer)

    def kick(self, name: str) -> None:
        """``outbound`` has something for this session."""
        peer = self._peers.get(name)
        if peer is not None:
            peer.kick()

    def states(self) -> dict[str, Standing]:
        """Every session as it stands."""
        return {name: _standing(peer) for name, peer in self._peers.items()}

    def deaf(self) -> tuple[str, ...]:
        """Where nobody can be listened to, as it stands: a sentence each."""
        return tuple(sorted(set(self._listener.refused.values()))) if self._listener is not None else ()

    def keyless(self) -> tuple[str, ...]:
        """Whose passwords the kernel refuses where we listen, as it stands: a sentence each."""
        return self._listener.keyless if self._listener is not None else ()

    def notices(self) -> list[Notice]:
        """What an operator should see, since the last call."""
        taken, self._notices[:] = self._notices[:], []
        return taken

    def _notice(self, notice: Notice) -> None:
        self._notices.append(notice)
        self._changed()

    def _arrived(self, arrival: Arrival) -> None:
        peer = self._session_for(arrival)
        if peer is None:
            arrival.sock.close()
        else:
            peer.accept(arrival.sock)

    def _session_for(self, arrival: Arrival) -> Peer | None:
        """The session of an incoming connection: one that listens, else the first by name that is not up."""
        fitting = [
            peer
            for peer in self._by_address.get(arrival.peer, ())
            if peer.accepts
            and peer.order.session.local_address in (None, arrival.local)
            and (arrival.signed or peer.order.password is None)
            and arrival.hops >= least_hops(peer.order.session)
        ]
        listening = [peer for peer in fitting if peer.order.session.passive]
        for group in (listening, fitting):
            for peer in group:
                if peer.up is None:
                    return peer
        return next(iter((*listening, *fitting)), None)


def _keys(orders: Mapping[str, Order]) -> dict[Address, Key]:
    keys: dict[Address, Key] = {}
    for _, order in sorted(orders.items()):
        if order.password is None or order.mode is not Mode.RUN:
            continue
        address = unscoped(order.session.peer_address)  # the kernel knows keys by address alone, whatever the link
        known = keys.get(address)
        needed = order.session.passive or (known is not None and known.needed)
        keys[address] = Key(secret=order.password, needed=needed)
    return keys


def _standing(peer: Peer) -> Standing:
    order = peer.order
    if order.mode is Mode.WITHHELD or (order.mode is Mode.HOLD and peer.up is None):
        reason = order.session.reason or Reason.SECRET_MISSING
        return Standing(_WITHHELD, str(reason), peer.lost)
    if order.mode is Mode.SEVERED:
        return Standing(State.IDLE.value, "the interface has no carrier", peer.lost)
    if order.mode is Mode.SOUGHT:
        return Standing(State.IDLE.value, f"no router has been found on {order.session.interface}", peer.lost)
    return Standing(peer.state.value, peer.last_reason, peer.lost)

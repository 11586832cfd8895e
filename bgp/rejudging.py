"""Held paths that are to be judged again, piece by piece: between two pieces sessions are served."""

from collections.abc import Mapping

from towpath.bgp.peer import Peer
from towpath.bgp.receive import Memory, Receiver


class Rejudging:
    """All held paths of a receiver.

    What comes in meanwhile is judged as it comes, and once more when its turn is there, which changes nothing.
    """

    def __init__(self, name: str, receiver: Receiver, *, decode: bool) -> None:
        self.name = name
        self.receiver = receiver
        self.decode = decode
        self._left = list(receiver.rib.paths())
        self._memory: Memory = {}

    def step(self, limit: int, *, room: int) -> int:
        """Judge up to ``limit`` prefixes; how many it looked at. Fewer than ``limit``: it is done."""
        some, self._left = self._left[-limit:], self._left[:-limit]
        rib = self.receiver.rib
        held = {wire: path for wire in some if (path := rib.get(wire)) is not None}
        self.receiver.rejudge(held, self._memory, room=room, decode=self.decode)
        # how good an accepted path is may have changed without its verdict
        rib.dirty.update(dict.fromkeys(wire for wire in held if wire in rib.accepted))
        return len(some)

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return not self._left


class Rejudgings:
    """Those that are under way."""

    def __init__(self) -> None:
        self._open: dict[Receiver, Rejudging] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def begin(self, name: str, receiver: Receiver, *, decode: bool) -> None:
        """Judge all that a receiver holds again, from the beginning where some was done already."""
        before = self._open.pop(receiver, None)
        if len(receiver.rib):
            also = before is not None and before.decode
            self._open[receiver] = Rejudging(name, receiver, decode=decode or also)

    def again(self, name: str, peer: Peer) -> None:
        """What judges has changed: where it is under way it begins anew."""
        for receiver in peer.receivers:
            if receiver in self._open:
                self.begin(name, receiver, decode=False)

    def settle(self, limit: int, peers: Mapping[str, Peer]) -> None:
        """Judge up to ``limit`` prefixes."""
        for receiver, rejudging in list(self._open.items()):
            peer = peers.get(rejudging.name)
            if peer is None or receiver not in peer.receivers:
                del self._open[receiver]
                continue
            limit -= rejudging.step(limit, room=peer.inbound.room)
            if rejudging.done:
                del self._open[receiver]
                peer.inbound.admit()
            if limit <= 0:
                return

"""One session and family in which a prefix may have several paths (RFC 7911): a pile of Adj-RIBs-In, a path in each.

Everything that judges, decides and reports knows tables with one path a prefix. So the second path of a prefix lies in a
second table, the third in a third; nearly all prefixes have their only path in the first. Which identifier lies where is
known here alone. Identifiers are those of one session: after a restart a path is found again by its next hop, so that it
takes the place of the stale one, and nothing moves.
"""

from collections.abc import Callable
from typing import Final

from towpath.bgp.identified import identified
from towpath.bgp.ports import SessionError
from towpath.bgp.receive import Receiver

MOST: Final = 1024
"""Paths of one prefix by one session. Beyond it the session ends: what each further one costs grows with their number."""
CEASE: Final = 6
OUT_OF_RESOURCES: Final = 8


class Layers:
    """The receivers of one session and family, the first of which is the only one without path identifiers."""

    def __init__(self, first: Receiver) -> None:
        self.receivers = [first]
        self._holders: list[dict[bytes, bytes]] = [{}]
        """By layer: the identifier of the path that a prefix has there; a stale path has none."""

    def begin(self) -> None:
        """A session comes up: identifiers of the one before mean nothing; layers without paths go."""
        while len(self.receivers) > 1 and not len(self.receivers[-1].rib):
            self.receivers.pop()
        self._holders = [{} for _ in self.receivers]

    def announce(
        self, packed: bytes, key: bytes, block: bytes, next_hop: bytes | None, *, room: Callable[[], int]
    ) -> None:
        """Prefixes with identifiers and this attribute block, as ``Receiver.know`` takes it; ``room`` is asked each time."""
        first = self.receivers[0]
        hop = (first.recall(key) or first.know(key, block, next_hop)).attributes.next_hop
        placed: dict[int, list[bytes]] = {}
        for identifier, wire in identified(first.family, packed):
            placed.setdefault(self._place(identifier, wire, hop), []).append(wire)
        for at, wires in placed.items():
            receiver = self.receivers[at]
            receiver.announce(b"".join(wires), receiver.recall(key) or receiver.know(key, block, next_hop), room=room())

    def withdraw(self, packed: bytes) -> None:
        """Paths by their identifiers; one that was not announced is nobody's."""
        gone: dict[int, list[bytes]] = {}
        for identifier, wire in identified(self.receivers[0].family, packed):
            for at, holders in enumerate(self._holders):
                if holders.get(wire) == identifier:
                    del holders[wire]
                    gone.setdefault(at, []).append(wire)
        for at, wires in gone.items():
            self.receivers[at].rib.remove(wires)

    def _place(self, identifier: bytes, wire: bytes, next_hop: bytes) -> int:
        """The layer for a path: where its identifier is, where a stale path leads to the same next hop, where room is."""
        free = stale = len(self.receivers)
        for at, (receiver, holders) in enumerate(zip(self.receivers, self._holders, strict=True)):
            holder = holders.get(wire)
            if holder == identifier:
                return at
            if holder is None:
                held = receiver.rib.get(wire)
                if held is None:
                    free = min(free, at)
                elif held.attributes.next_hop == next_hop:
                    stale = min(stale, at)
        at = free if stale == len(self.receivers) else stale
        if at == len(self.receivers):
            if at == MOST:
                raise SessionError(CEASE, OUT_OF_RESOURCES, message=f"more than {MOST} paths of one prefix")
            self.receivers.append(self.receivers[0].twin())
            self._holders.append({})
        self._holders[at][wire] = identifier
        return at

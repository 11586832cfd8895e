"""What is left of the speaker's table of before it restarted: next hops that may be told again, and were not yet.

A new speaker has not heard all its peers, so what it says of a prefix is an answer only where it leads to every former next
hop that may still be told again: until then the former ones hold (RFC 4724 section 4.1). A next hop may not be told again
once it was told and is no longer, or its own peer has told all it has; one that no way leads to waits for nobody.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

from towpath.model.net import Address
from towpath.routes.route import Target


class Former:
    """One family's. ``target``: the one target with some next hops."""

    def __init__(self, target: Callable[[tuple[Address, ...]], Target]) -> None:
        self._target = target
        self.ways: dict[bytes, Target] = {}
        self._heard: set[Address] = set()
        """Peers of this speaker that are not waited for any more, before it is in sync."""

    def wanted(self, wire: bytes, told: Target | None) -> Target | None:
        """Where a prefix should lead of which the new speaker tells this."""
        former = self.ways.get(wire)
        return told if former is None or (former.spec is None and told is not None) else former

    def answer(self, wire: bytes, told: Target | None, *, before: Target | None) -> None:
        """The new speaker tells this of a prefix, and told something else before: what it does not tell now is over."""
        former = self.ways.get(wire)
        if former is None:
            return
        if former is not told:
            now, over = told.next_hops if told is not None else (), before.next_hops if before is not None else ()
            again = {hop for hop in former.next_hops if hop in now or self._leads(told, hop)}
            left = tuple(
                hop
                for hop in former.next_hops
                # where nothing is told, others than its own peer may still tell of a next hop
                if hop in again or not (hop in over or (hop in self._heard and told is not None))
            )
            if not again.issuperset(left):
                self.ways[wire] = self._target(left)
                return
        del self.ways[wire]

    def _leads(self, told: Target | None, hop: Address) -> bool:
        """Whether packets go by this next hop to those that are told: what the kernel held of next hops off the link."""
        if told is None or told.spec is None or (way := self._target((hop,)).spec) is None:
            return False
        return set(way.next_hops) <= set(told.spec.next_hops)

    def hear(self, peers: Collection[Address], *, learned: Mapping[bytes, Target]) -> Iterator[bytes]:
        """These peers are not waited for any more; prefixes of which somebody else has told another way."""
        self._heard.update(peers)
        for wire, former in list(self.ways.items()):
            if (told := learned.get(wire)) is not None and not self._heard.isdisjoint(former.next_hops):
                self.answer(wire, told, before=None)
                yield wire

    def begin(self, learned: dict[bytes, Target]) -> None:
        """A new speaker: what the last one told may be told again, and what was waited for then still is."""
        for wire, former in self.ways.items():
            if former.spec is not None or wire not in learned:
                learned[wire] = former
        self.ways = learned
        self._heard.clear()

    def clear(self) -> None:
        """Nothing is waited for any more."""
        self.ways = {}
        self._heard.clear()

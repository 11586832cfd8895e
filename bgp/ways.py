"""Ways to next hops off the link that neighbours outside have told: a default route by BGP leads to other racks' nodes.

RFC 4271 §9.1.2.1 lets a next hop be resolved by any route, learned ones included, as long as none leads to itself. Here it
cannot come to that: a way is a route outside the pools that an external neighbour on the link has told of itself, and its
neighbours are looked for on links and in others' routes alone (``routes.resolve``). Which ways there are depends on no other
next hop, so that what is selected never moves the ground it was selected on (docs/decisions/0012-ways.md).

Cost: nothing while every next hop is a neighbour itself; else a batch of changed prefixes costs a pass of C loops over it,
and one look-up for each that lies around a next hop.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter

from towpath.bgp.decision import best
from towpath.bgp.path import Path
from towpath.bgp.rib import AdjRibIn
from towpath.model.net import Address, Family, Prefix, contains, from_wire

_LENGTH: Callable[[bytes], int] = itemgetter(0)


class Ways:
    """By family: the next hops in question, and the prefixes around them. ``ribs``: those of all sessions."""

    def __init__(self, ribs: Callable[[Family], Sequence[AdjRibIn]]) -> None:
        self._ribs = ribs
        self._pools: tuple[Prefix, ...] = ()
        self._addresses: frozenset[Address] = frozenset()
        self._lengths: dict[Family, set[int]] = {family: set() for family in Family}
        """Of all prefixes that were decided while there were next hops in question."""
        self._around: dict[tuple[Family, int], frozenset[bytes]] = {}
        self._touched: dict[Family, set[bytes]] = {family: set() for family in Family}
        self._everything = True
        self._maximum_paths = 1
        self._found: dict[Prefix, tuple[Address, ...]] = {}

    def adopt(self, pools: tuple[Prefix, ...]) -> None:
        """Sessions or pools are others than before."""
        self._pools = pools
        self._everything = True

    def decided(self, family: Family, wires: Mapping[bytes, None]) -> None:
        """These prefixes have changed."""
        if not self._addresses:
            return
        lengths = set(map(_LENGTH, wires))
        self._lengths[family] |= lengths
        for length in lengths:
            few, many = sorted((self._of(family, length), wires), key=len)
            self._touched[family].update(wire for wire in few if wire in many)

    def look(self, addresses: frozenset[Address], *, maximum_paths: int) -> dict[Prefix, tuple[Address, ...]]:
        """The ways to these next hops, the neighbours that are used for each; the same object while nothing has changed."""
        if self._everything or (addresses, maximum_paths) != (self._addresses, self._maximum_paths):
            self._look_at_all(addresses, maximum_paths)
        for family, wires in self._touched.items():
            if wires:
                gone = {from_wire(family, wire) for wire in wires}
                found = {prefix: by for prefix, by in self._found.items() if prefix not in gone}
                self._find(found | self._told(family, wires, self._ribs(family)))
                self._touched[family] = set()
        return self._found

    def _look_at_all(self, addresses: frozenset[Address], maximum_paths: int) -> None:
        unknown = self._everything or not self._addresses
        self._everything = False
        self._addresses, self._maximum_paths, self._around = addresses, maximum_paths, {}
        self._touched = {family: set() for family in Family}
        found: dict[Prefix, tuple[Address, ...]] = {}
        for family in Family if addresses else ():
            ribs = self._ribs(family)
            if unknown:
                self._lengths[family] = set().union(*(map(_LENGTH, rib.accepted) for rib in ribs))
            for length in self._lengths[family]:
                found |= self._told(family, self._of(family, length), ribs)
        self._find(found)

    def _find(self, found: dict[Prefix, tuple[Address, ...]]) -> None:
        if found != self._found:
            self._found = found

    def _of(self, family: Family, length: int) -> frozenset[bytes]:
        """The prefixes of a length around the next hops."""
        found = self._around.get((family, length))
        if found is None:
            keep, size = -length % 8, (length + 7) >> 3
            head = bytes((length,))
            made = set()
            for address in self._addresses:
                if address.version == family.value:
                    packed = address.packed[:size]
                    made.add(head + (packed[:-1] + bytes((packed[-1] >> keep << keep,)) if size else b""))
            found = self._around[family, length] = frozenset(made)
        return found

    def _told(
        self, family: Family, wires: Iterable[bytes], ribs: Sequence[AdjRibIn]
    ) -> dict[Prefix, tuple[Address, ...]]:
        found: dict[Prefix, tuple[Address, ...]] = {}
        for wire in wires:
            paths = [path for rib in ribs if (path := rib.accepted.get(wire)) is not None and _is_way(path)]
            if paths and not any(contains(pool, from_wire(family, wire)) for pool in self._pools):
                used = best(paths, maximum_paths=self._maximum_paths)
                found[from_wire(family, wire)] = tuple(path.via.hop.address for path in used)
        return found


def _is_way(path: Path) -> bool:
    """Whether a neighbour on the link has told it of itself, and is no pod."""
    return path.via.direct and not path.via.source.workload

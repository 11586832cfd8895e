"""Which blocks are in force, and whose they are, for snapshot after snapshot: one changed block costs a few look-ups.

Blocks are kept in the order of their networks. Prefixes overlap only by containing each other, so those inside one follow
it, and one around it begins where its own network does at a shorter length: both are found by bisection.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping

from towpath.model.cluster import IPAMBlock
from towpath.model.delta import Edition, exchanged, kept
from towpath.model.net import Family, Prefix

Place = tuple[int, int, int, str]
"""Family, network, length and name: the order of blocks."""
_LONGEST = 129


def place(block: IPAMBlock) -> Place:
    """Where a block stands among all."""
    cidr = block.spec.cidr
    return cidr.version, int(cidr.network_address), cidr.prefixlen, block.name


class InForce:
    """Those that no older one overlaps, of equally old ones by name (``blocks.in_force``)."""

    def __init__(self) -> None:
        self._blocks: Mapping[str, IPAMBlock] = {}
        self._order: list[Place] = []
        self._lengths: frozenset[tuple[int, int]] = frozenset()
        """Families and lengths of all blocks, and of some that are gone."""
        self._found: Edition[Prefix, IPAMBlock] = Edition()

    def of(self, blocks: Mapping[str, IPAMBlock]) -> Edition[Prefix, IPAMBlock]:
        """Of a whole snapshot, in their order; those that changed since the last one may come last."""
        changes = list(exchanged(self._blocks, blocks))
        gone = [old for _, old, _ in changes if old is not None]
        come = [new for _, _, new in changes if new is not None]
        if len(come) == len(blocks):
            gone, self._order, self._found = [], [], Edition()
        self._blocks = kept(blocks)
        self._order = _reordered(self._order, gone=map(place, gone), come=map(place, come))
        self._lengths |= {(one.spec.cidr.version, one.spec.cidr.prefixlen) for one in come}
        judged = dict.fromkeys(name for one in sorted(map(place, (*gone, *come))) for name in self._beside(one))
        differing: dict[Prefix, IPAMBlock | None] = dict.fromkeys(one.spec.cidr for one in gone)
        differing.update(dict.fromkeys(blocks[name].spec.cidr for name in judged))
        differing.update((one.spec.cidr, one) for one in map(blocks.__getitem__, judged) if not self._barred(one))
        self._found = self._found.edited(differing)
        return self._found

    def _barred(self, block: IPAMBlock) -> bool:
        own = age(block)
        return any(age(self._blocks[name]) < own for name in self._beside(place(block)) if name != block.name)

    def _beside(self, where: Place) -> Iterator[str]:
        """The names of all that overlap a place, those at it included."""
        version, network, length, _ = where
        order, bits = self._order, Family(version).bits
        last = network | ((1 << (bits - length)) - 1)
        start = bisect_left(order, (version, network, length, ""))
        for index in range(start, bisect_left(order, (version, last, _LONGEST, ""), lo=start)):
            yield order[index][3]
        for family, shorter in self._lengths:
            if family == version and shorter < length:
                around = version, network >> (bits - shorter) << (bits - shorter), shorter
                index = bisect_left(order, (*around, ""))
                while index < len(order) and order[index][:3] == around:
                    yield order[index][3]
                    index += 1


def age(block: IPAMBlock) -> tuple[str, str]:
    """What blocks are older or younger by."""
    return block.meta.creation_timestamp, block.name


def _reordered(order: list[Place], *, gone: Iterable[Place], come: Iterable[Place]) -> list[Place]:
    """The order without some, and with others."""
    if not order:
        return sorted(come)
    order = order.copy()
    for one in gone:
        del order[bisect_left(order, one)]
    for one in come:
        insort(order, one)
    return order


class Owned:
    """The blocks in force of each node that has any, in their order (``blocks.by_node``)."""

    def __init__(self) -> None:
        self._blocks: Mapping[Prefix, IPAMBlock] = {}
        self._found: Edition[str, tuple[IPAMBlock, ...]] = Edition()

    def of(self, blocks: Mapping[Prefix, IPAMBlock]) -> Edition[str, tuple[IPAMBlock, ...]]:
        """Of all blocks in force."""
        touched: dict[str, list[IPAMBlock]] = {}
        changes = list(exchanged(self._blocks, blocks))
        for _, old, _ in changes:
            if old is not None:
                node = old.spec.node
                touched.setdefault(node, list(self._found.get(node, ()))).remove(old)
        for _, _, new in changes:
            if new is not None:
                node = new.spec.node
                touched.setdefault(node, list(self._found.get(node, ()))).append(new)
        self._blocks = kept(blocks)
        self._found = self._found.edited(
            {node: tuple(sorted(own, key=place)) if own else None for node, own in touched.items()}
        )
        return self._found

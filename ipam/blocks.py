"""Carving pools into blocks: which addresses of a block pods can get, and which block of a pool is free next.

A pool of size P with blocks of size B is a row of numbered places. Whatever overlaps a place takes it, blocks of other
sizes included, so a search looks at whole numbers only and never at a list of networks.
"""

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Container, Iterable

from towpath.ipam.reserved import NOTHING, Reserved
from towpath.model.kinds.ipam import IPPoolSpec
from towpath.model.net import Address, Family, Prefix, family_of, parts
from towpath.model.spans import Span, merged, span


def carve(pool: Prefix, *, length: int, place: int) -> Prefix:
    """The block with number ``place`` of a pool that is cut into blocks with prefixes of ``length``."""
    first = int(pool.network_address) + (place << (family_of(pool).bits - length))
    return type(pool)((first, length))


def gateway(pool: Prefix) -> Address:
    """The address that pods of a pool, or of a block on a bridge, have as their gateway: the first after the network's own."""
    return pool.network_address + 1


def usable(block: Prefix, *, pool: Prefix | None, endpoint: bool = False) -> tuple[Address, Address] | None:
    """First and last address of a block that pods can get, or None where there is none.

    ``endpoint``: the block's lowest address is the node's own in a tunnel.

    Never the pool's network address (for IPv6 the routers' anycast address, RFC 4291 §2.6.1), its gateway, nor the
    broadcast address that the pool's prefix length gives every IPv4 pod. A block without a pool is its own.
    """
    inner, outer = span(block), span(pool if pool is not None else block)
    first = max(inner.first + endpoint, outer.first + 2)
    last = min(inner.last, outer.last - (1 if outer.family is Family.IPV4 else 0))
    if first > last:
        return None
    base = block.network_address
    return base + (first - inner.first), base + (last - inner.first)


def free(
    block: Prefix, *, pool: Prefix | None, endpoint: bool = False, kept: Reserved = NOTHING
) -> tuple[tuple[Address, Address], ...]:
    """First and last address of each range of a block that pods can get: ``usable`` without what is ``kept``."""
    ends = usable(block, pool=pool, endpoint=endpoint)
    if ends is None:
        return ()
    whole, base = Span(family_of(block), int(ends[0]), int(ends[1])), block.network_address
    first = int(base)
    return tuple((base + (one.first - first), base + (one.last - first)) for one in kept.gaps(whole))


def capacity(block: Prefix, *, pool: Prefix | None, endpoint: bool = False, kept: Reserved = NOTHING) -> int:
    """How many addresses of a block pods can get."""
    return sum(int(last) - int(first) + 1 for first, last in free(block, pool=pool, endpoint=endpoint, kept=kept))


def start_of(node: str, *, places: int) -> int:
    """Where a node's search begins: spread by name, so that nodes that look at the same time meet rarely."""
    return int.from_bytes(hashlib.sha256(node.encode()).digest()[:16]) % places


class Space:
    """The places of one pool, and which are taken: by how many, so that each can go again."""

    def __init__(
        self,
        cidr: Prefix,
        *,
        length: int,
        taken: Iterable[Span] = (),
        kept: Reserved = NOTHING,
        lowest: bool = False,
    ) -> None:
        """``kept``: what no pod gets; ``lowest``: nor is it to be the lowest address of a block, for that may be a node's own."""
        family = family_of(cidr)
        self.cidr = cidr
        self.length = length
        self.places = parts(cidr, length=length)
        self._span = span(cidr)
        self._shift = family.bits - length
        self._holders: Counter[int] = Counter()
        self._taken: list[int] = []
        """Single places, in order."""
        self._wide: Counter[tuple[int, int]] = Counter()
        """What takes several places at once: first and last."""
        self._ranges: list[tuple[int, int]] = []
        self._firsts: list[int] = []
        ranges = [*_never(self._span), *((one.first, one.last) for one in kept.spans if one.family is family)]
        closed = [self._inside(*one, whole=True) for one in merged(ranges)]
        if lowest:
            closed += (self._inside(one.first, one.last, whole=False) for one in kept.spans if one.family is family)
        self._wide.update(both := merged(one for one in closed if one[0] <= one[1]))
        self._stale = bool(both)
        self.closed = sum(high - low + 1 for low, high in both)
        """Places that are for no block, because pods would get no address of it, or a node one that is kept."""
        for other in taken:
            self.hold(other)

    def carve(self, place: int) -> Prefix:
        """The block at a place."""
        return carve(self.cidr, length=self.length, place=place)

    def place_of(self, address: Address) -> int:
        """The place of the block around an address of the pool."""
        return (int(address) - int(self.cidr.network_address)) >> self._shift

    def hold(self, other: Span) -> None:
        """Take all places that something overlaps."""
        first, last = self._range(other)
        if first == last:
            self._hold_place(first)
        elif first < last:
            self._wide[first, last] += 1
            self._stale = True

    def drop(self, other: Span) -> None:
        """Undo one ``hold`` of the same."""
        first, last = self._range(other)
        if first == last:
            self._holders[first] -= 1
            if not self._holders[first]:
                del self._holders[first]
                del self._taken[bisect_left(self._taken, first)]
        elif first < last:
            self._wide[first, last] -= 1
            if not self._wide[first, last]:
                del self._wide[first, last]
            self._stale = True

    @property
    def left(self) -> int:
        """How many places are free."""
        ranges = self._closed_ranges()
        inside = sum(bisect_right(self._taken, last) - bisect_left(self._taken, first) for first, last in ranges)
        return self.places - sum(last - first + 1 for first, last in ranges) - (len(self._taken) - inside)

    def find(self, start: int, *, last_of_all: Container[Prefix] = ()) -> Prefix | None:
        """Take the first free block at or after place ``start``, going round; those in ``last_of_all`` only if no other is free."""
        self._closed_ranges()
        spare: int | None = None
        for low, high in ((start, self.places), (0, start)):
            place = self._free(low)
            while place < high:
                block = self.carve(place)
                if block not in last_of_all:
                    self._hold_place(place)
                    return block
                spare = place if spare is None else spare
                place = self._free(place + 1)
        if spare is None:
            return None
        self._hold_place(spare)
        return self.carve(spare)

    def _closed_ranges(self) -> list[tuple[int, int]]:
        """First and last of the places that are taken in one piece, brought up to date."""
        if self._stale:
            self._ranges, self._stale = merged(self._wide), False
            self._firsts = [first for first, _ in self._ranges]
        return self._ranges

    def _free(self, place: int) -> int:
        """The first free place at or after one; the number of places, or more, if there is none."""
        while True:
            at = bisect_right(self._firsts, place) - 1
            if at >= 0 and self._ranges[at][1] >= place:
                place = self._ranges[at][1] + 1
                continue
            taken = self._taken
            at = bisect_left(taken, place)
            if at == len(taken) or taken[at] != place:
                return place
            # in a run of taken places each one's number is as far from the first as its index is
            offset = place - at
            run = range(at, len(taken))
            place = offset + at + bisect_left(run, True, key=lambda index: taken[index] - index > offset)

    def _hold_place(self, place: int) -> None:
        self._holders[place] += 1
        if self._holders[place] == 1:
            insort(self._taken, place)

    def _inside(self, first: int, last: int, *, whole: bool) -> tuple[int, int]:
        """First and last place that lie in a range of addresses ``whole``, or by their lowest one; empty: the other way round."""
        mine, size = self._span, 1 << self._shift
        first, last = max(first, mine.first) - mine.first, min(last, mine.last) - mine.first
        return -(-first // size), (last + 1) // size - 1 if whole else last // size

    def _range(self, other: Span) -> tuple[int, int]:
        """First and last place that something overlaps; an empty range (1, 0) if none."""
        mine = self._span
        if other.family is not mine.family or other.last < mine.first or other.first > mine.last:
            return 1, 0
        low = (max(other.first, mine.first) - mine.first) >> self._shift
        return low, (min(other.last, mine.last) - mine.first) >> self._shift


def space_of(pool: IPPoolSpec, *, kept: Reserved = NOTHING, taken: Iterable[Span] = ()) -> Space:
    """The places of a pool. The lowest address of a block may be a node's own in a tunnel."""
    return Space(pool.cidr, length=pool.block_length, taken=taken, kept=kept, lowest=pool.encapsulates)


def _never(pool: Span) -> tuple[tuple[int, int], ...]:
    """First and last of what no pod of a pool gets, as ``usable`` says."""
    own = pool.first, min(pool.first + 1, pool.last)
    return (own, (pool.last, pool.last)) if pool.family is Family.IPV4 else (own,)

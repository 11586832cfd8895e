"""Carving pools into blocks: which addresses of a block pods can get, and which block of a pool is free next.

A pool of size P with blocks of size B is a row of numbered places. Whatever overlaps a place takes it, blocks of other
sizes included, so a search looks at whole numbers only and never at a list of networks.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Container, Iterable
from typing import NamedTuple

from towpath.model.net import Address, Family, Prefix, family_of


class Span(NamedTuple):
    """A prefix as whole numbers: its family and its first and last address."""

    family: Family
    first: int
    last: int


def span(prefix: Prefix) -> Span:
    """The first and last address of a prefix, as numbers."""
    family = Family.IPV4 if prefix.version == 4 else Family.IPV6
    first = int(prefix.network_address)
    return Span(family, first, first + (1 << (family.bits - prefix.prefixlen)) - 1)


def carve(pool: Prefix, *, length: int, place: int) -> Prefix:
    """The block with number ``place`` of a pool that is cut into blocks with prefixes of ``length``."""
    first = int(pool.network_address) + (place << (family_of(pool).bits - length))
    return type(pool)((first, length))


def gateway(pool: Prefix) -> Address:
    """The address that pods of a pool have as their gateway: the first after the network's own."""
    return pool.network_address + 1


def usable(block: Prefix, *, pool: Prefix | None) -> tuple[Address, Address] | None:
    """First and last address of a block that pods can get, or None where there is none.

    Never the pool's network address (for IPv6 the routers' anycast address, RFC 4291 §2.6.1), its gateway, nor the
    broadcast address that the pool's prefix length gives every IPv4 pod. A block without a pool is its own.
    """
    inner, outer = span(block), span(pool if pool is not None else block)
    first = max(inner.first, outer.first + 2)
    last = min(inner.last, outer.last - (1 if outer.family is Family.IPV4 else 0))
    if first > last:
        return None
    base = block.network_address
    return base + (first - inner.first), base + (last - inner.first)


def capacity(block: Prefix, *, pool: Prefix | None) -> int:
    """How many addresses of a block pods can get."""
    ends = usable(block, pool=pool)
    return 0 if ends is None else int(ends[1]) - int(ends[0]) + 1


def start_of(node: str, *, places: int) -> int:
    """Where a node's search begins: spread by name, so that nodes that look at the same time meet rarely."""
    return int.from_bytes(hashlib.sha256(node.encode()).digest()[:16]) % places


class Space:
    """The places of one pool, and which are taken."""

    def __init__(self, cidr: Prefix, *, length: int, taken: Iterable[Span] = ()) -> None:
        family = family_of(cidr)
        self.cidr = cidr
        self.length = length
        self.places = 1 << (length - cidr.prefixlen)
        self._span = span(cidr)
        self._shift = family.bits - length
        self._taken: set[int] = set()
        ranges: list[tuple[int, int]] = []
        for place in {0, min(1, self.places - 1), self.places - 1}:
            if not capacity(self.carve(place), pool=cidr):
                self._taken.add(place)
        for other in taken:
            first, last = self._range(other)
            if first == last:
                self._taken.add(first)
            elif first < last:
                ranges.append((first, last))
        self._ranges = _merged(ranges)
        self._firsts = [first for first, _ in self._ranges]
        self._taken = {place for place in self._taken if self._last_of_range(place) is None}
        self._covered = sum(last - first + 1 for first, last in self._ranges)

    def carve(self, place: int) -> Prefix:
        """The block at a place."""
        return carve(self.cidr, length=self.length, place=place)

    @property
    def exhausted(self) -> bool:
        """Whether every place is taken."""
        return len(self._taken) + self._covered >= self.places

    def find(self, start: int, *, last_of_all: Container[Prefix] = ()) -> Prefix | None:
        """Take the first free block at or after place ``start``, going round; those in ``last_of_all`` only if no other is free."""
        spare: int | None = None
        place, walked = start, 0
        while walked < self.places and not self.exhausted:
            end = self._last_of_range(place)
            if end is not None:
                walked += end - place + 1
                place = (end + 1) % self.places
                continue
            if place not in self._taken:
                block = self.carve(place)
                if block not in last_of_all:
                    self._taken.add(place)
                    return block
                spare = place if spare is None else spare
            walked += 1
            place = (place + 1) % self.places
        if spare is None:
            return None
        self._taken.add(spare)
        return self.carve(spare)

    def _range(self, other: Span) -> tuple[int, int]:
        """First and last place that something overlaps; an empty range (1, 0) if none."""
        mine = self._span
        if other.family is not mine.family or other.last < mine.first or other.first > mine.last:
            return 1, 0
        low = (max(other.first, mine.first) - mine.first) >> self._shift
        return low, (min(other.last, mine.last) - mine.first) >> self._shift

    def _last_of_range(self, place: int) -> int | None:
        at = bisect_right(self._firsts, place) - 1
        return self._ranges[at][1] if at >= 0 and self._ranges[at][1] >= place else None


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged

"""Prefixes as whole numbers, whose they are, and whose overlap: found in logarithmic time.

Two prefixes overlap only by one containing the other. So in the order of their first addresses, larger ones first, what
overlaps at all shows itself between neighbours, and what a prefix lies in has one of few lengths.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from towpath.model.net import Family, Prefix


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


_Key = tuple[int, int, int]
"""Family, first address, and the last one negated: what contains others comes before them."""


class Spans:
    """Prefixes, and whose they are; the same one may be in it for several owners."""

    def __init__(self) -> None:
        self._sorted: list[_Key] = []
        self._owners: dict[Span, tuple[str, ...]] = {}
        self._sizes: Counter[tuple[Family, int]] = Counter()
        self._touching = 0
        """Pairs of neighbours that overlap."""

    def __contains__(self, one: Span) -> bool:
        return one in self._owners

    @property
    def disjoint(self) -> bool:
        """Whether no two different prefixes overlap."""
        return not self._touching

    def add(self, one: Span, owner: str) -> None:
        """Put one in."""
        before = self._owners.get(one, ())
        self._owners[one] = (*before, owner)
        if before:
            return
        key = one.family, one.first, -one.last
        at = bisect_left(self._sorted, key)
        self._touching += self._pair(at - 1, key) + self._pair(at, key) - self._neighbours(at - 1)
        self._sorted.insert(at, key)
        self._sizes[one.family, one.last - one.first] += 1

    def remove(self, one: Span, owner: str) -> None:
        """Take one out that was put in for this owner."""
        rest = list(self._owners[one])
        rest.remove(owner)
        if rest:
            self._owners[one] = tuple(rest)
            return
        del self._owners[one]
        key = one.family, one.first, -one.last
        at = bisect_left(self._sorted, key)
        del self._sorted[at]
        self._touching += self._neighbours(at - 1) - self._pair(at - 1, key) - self._pair(at, key)
        size = one.family, one.last - one.first
        self._sizes[size] -= 1
        if not self._sizes[size]:
            del self._sizes[size]

    def owners(self, wanted: Span) -> set[str]:
        """Whose prefixes share an address with ``wanted``."""
        return {owner for one in self._overlapping(wanted) for owner in self._owners[one]}

    def _overlapping(self, wanted: Span) -> Iterator[Span]:
        length = wanted.last - wanted.first
        for family, size in self._sizes:
            if family is wanted.family and size > length:
                first = wanted.first & ~size
                around = Span(family, first, first + size)
                if around in self._owners:
                    yield around
        at = bisect_left(self._sorted, (wanted.family, wanted.first, -wanted.last))
        while at < len(self._sorted):
            family_number, first, last = self._sorted[at]
            if family_number != wanted.family or first > wanted.last:
                return
            yield Span(wanted.family, first, -last)
            at += 1

    def _pair(self, at: int, key: _Key) -> int:
        """Whether the one at a place overlaps one that is, was or will be its neighbour."""
        return int(0 <= at < len(self._sorted) and _overlap(self._sorted[at], key))

    def _neighbours(self, at: int) -> int:
        """Whether the ones at a place and after it overlap."""
        return int(0 <= at < len(self._sorted) - 1 and _overlap(self._sorted[at], self._sorted[at + 1]))


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers as ranges of which none touches another, in order; each is its first and last."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _overlap(one: _Key, other: _Key) -> bool:
    return one[0] == other[0] and one[1] <= -other[2] and other[1] <= -one[2]

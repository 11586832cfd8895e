"""A map from prefixes to values that answers for prefixes in wire form: which entry covers one, which lie in it.

The idea: few distinct lengths occur, so the entry that covers a prefix is found by looking up its first bits once for
each length; and the first bytes of an address are enough to say for most prefixes that no entry is near.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from towpath.model.net import Family, Prefix, family_of, to_wire

V = TypeVar("V")


class Ranges(Generic[V]):
    """The entries of one family; made once, never changed."""

    def __init__(self, family: Family, entries: Mapping[Prefix, V]) -> None:
        self._bits = family.bits
        self._size = family.bits // 8
        self.exact: dict[bytes, V] = {
            to_wire(prefix): value for prefix, value in entries.items() if family_of(prefix) is family
        }
        by_length: dict[int, dict[int, V]] = {}
        starts: list[tuple[int, int, V]] = []
        for wire, value in self.exact.items():
            first = self._first(wire)
            by_length.setdefault(wire[0], {})[first >> (self._bits - wire[0])] = value
            starts.append((first, wire[0], value))
        starts.sort(key=lambda entry: entry[:2])
        self._starts = starts
        self._firsts = [entry[0] for entry in starts]
        self._lengths = [(self._bits - length, length, by_length[length]) for length in sorted(by_length, reverse=True)]

    def __bool__(self) -> bool:
        return bool(self.exact)

    def _first(self, wire: bytes) -> int:
        return int.from_bytes(wire[1:].ljust(self._size, b"\0"), "big")

    def covering(self, wire: bytes) -> V | None:
        """The value of the longest entry that contains the prefix or equals it."""
        return self.covering_at(self._first(wire), wire[0]) if self._lengths else None

    def covering_at(self, first: int, length: int) -> V | None:
        """The same, for the prefix with this first address as a number and this length."""
        for shift, candidate, values in self._lengths:
            if candidate <= length:
                value = values.get(first >> shift)
                if value is not None:
                    return value
        return None

    def inside(self, wire: bytes) -> Iterator[V]:
        """Values of the entries that lie in the prefix, itself not counted."""
        first, length = self._first(wire), wire[0]
        last = first + (1 << (self._bits - length))
        position = bisect_left(self._firsts, first)
        while position < len(self._starts) and self._firsts[position] < last:
            if self._starts[position][1] > length:
                yield self._starts[position][2]
            position += 1

    def touches(self, wire: bytes) -> bool:
        """Whether any entry shares an address with the prefix."""
        return self.covering(wire) is not None or next(self.inside(wire), None) is not None


class Near:
    """Tells quickly which of many prefixes may be touched by an entry: it may say yes too often, never no too often.

    A prefix is looked at by its head, the first two bytes of an IPv4 and the first four of an IPv6 address; one byte
    rules out most. Shorter prefixes are always near.
    """

    EXPANDED = 1024
    """A short entry is spelled out as this many heads at most; a shorter one takes its whole first bytes."""

    def __init__(self, family: Family, *ranges: Ranges[Any]) -> None:
        self._head = 2 if family is Family.IPV4 else 4
        self._bits = self._head * 8
        octets = bytearray(256)
        heads: set[bytes] = set()
        for wire in {wire for each in ranges for wire in each.exact}:
            length = wire[0]
            first = int.from_bytes(wire[1 : 1 + self._head].ljust(self._head, b"\0"), "big")
            count = 1 << max(self._bits - length, 0)
            if count <= self.EXPANDED:
                heads.update(head.to_bytes(self._head, "big") for head in range(first, first + count))
                octets[first >> (self._bits - 8)] |= 1
            else:
                octet = first >> (self._bits - 8)
                for covered in range(octet, octet + (1 << max(8 - length, 0))):
                    octets[covered] |= 2
        self._octets = bytes(octets)
        self._heads = frozenset(heads)

    def pick(self, wires: Iterable[bytes]) -> list[bytes]:
        """The prefixes that are near."""
        octets, heads, bits, end = self._octets, self._heads, self._bits, self._head + 1
        return [
            wire
            for wire in wires
            if wire[0] < bits or (octets[wire[1]] and (octets[wire[1]] > 1 or wire[1:end] in heads))
        ]

    def one(self, wire: bytes) -> bool:
        """Whether this prefix is near."""
        if wire[0] < self._bits:
            return True
        octet = self._octets[wire[1]]
        return octet > 0 and (octet > 1 or wire[1 : self._head + 1] in self._heads)

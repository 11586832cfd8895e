"""A map from prefixes to values that answers for prefixes in wire form: which entry covers one, which lie in it.

The idea: few distinct lengths occur, so the entry that covers a prefix is found by looking up its first bits once for
each length; and one byte of the address is enough to say for most prefixes that no entry is near.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

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
        self._by_length: dict[int, dict[int, V]] = {}
        starts: list[tuple[int, int, V]] = []
        for wire, value in self.exact.items():
            first = self._first(wire)
            self._by_length.setdefault(wire[0], {})[first >> (self._bits - wire[0])] = value
            starts.append((first, wire[0], value))
        starts.sort(key=lambda entry: entry[:2])
        self._starts = starts
        self._firsts = [entry[0] for entry in starts]
        self._lengths = sorted(self._by_length, reverse=True)

    def __bool__(self) -> bool:
        return bool(self.exact)

    def _first(self, wire: bytes) -> int:
        return int.from_bytes(wire[1:].ljust(self._size, b"\0"), "big")

    def covering(self, wire: bytes) -> V | None:
        """The value of the longest entry that contains the prefix or equals it."""
        bits, first, length = self._bits, self._first(wire), wire[0]
        for candidate in self._lengths:
            if candidate <= length:
                value = self._by_length[candidate].get(first >> (bits - candidate))
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

    def octets(self) -> bytes:
        """256 flags: whether a prefix of eight bits or more with this first byte may be touched by an entry."""
        flags = bytearray(256)
        for wire in self.exact:
            if wire[0] >= 8:
                flags[wire[1]] = 1
            else:
                first = wire[1] if wire[0] else 0
                for octet in range(first, first + (1 << (8 - wire[0]))):
                    flags[octet] = 1
        return bytes(flags)

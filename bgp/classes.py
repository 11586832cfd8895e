"""Which of many prefix criteria hold for a prefix, as one number with a bit for each: asked for whole UPDATEs at once.

The idea: few cidrs are longer than the head of a prefix (its length and the first two bytes of an IPv4, four of an IPv6
address), so the answer for nearly all prefixes depends on the head alone and is found by one look-up; a head is worked
out when it is first seen. Only where a longer cidr lies under a head is each prefix looked at by itself.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from towpath.model.net import Family, Prefix, to_wire

HEADS: Final = 1 << 16
"""Heads that are remembered, at most."""
_DEEP: Final = -1


class Match(Struct, frozen=True):
    """Prefixes inside ``cidr``, itself included, of ``least`` to ``most`` bits; or, ``negated``, all others."""

    cidr: Prefix
    least: int
    most: int
    negated: bool = False


class Classes:
    """Criteria of one family; ``matches`` gives the bits that each stands for. Made once, never changed."""

    def __init__(self, family: Family, matches: Iterable[tuple[int, Match]]) -> None:
        self._size = family.bits // 8
        self._head = 2 if family is Family.IPV4 else 4
        self._end = self._head + 1
        self._negated = 0
        by_length: dict[int, dict[int, list[tuple[int, int, int]]]] = {}
        deep: set[bytes] = set()
        for bits, match in matches:
            if match.negated:
                self._negated |= bits
            wire = to_wire(match.cidr)
            if wire[0] > self._head * 8:
                deep.add(wire[1 : self._end])
            at = by_length.setdefault(wire[0], {}).setdefault(self._first(wire) >> (family.bits - wire[0]), [])
            at.append((match.least, match.most, bits))
        self._lengths = [(family.bits - length, length, by_length[length]) for length in sorted(by_length)]
        self._deep = frozenset(deep)
        self._heads = _Heads(self)

    def __bool__(self) -> bool:
        return bool(self._lengths)

    def _first(self, wire: bytes) -> int:
        return int.from_bytes(wire[1:].ljust(self._size, b"\0"), "big")

    def of(self, wire: bytes) -> int:
        """The bits of the criteria that hold for a prefix in wire form."""
        mask = self._heads[wire[: self._end]]
        return self._work_out(wire) if mask == _DEEP else mask

    def split(self, wires: Sequence[bytes]) -> dict[int, Sequence[bytes]]:
        """The prefixes by the bits that hold for them; none is lost, and those of one kind keep their order."""
        heads, end = self._heads, self._end
        found = [heads[wire[:end]] for wire in wires]
        if not found:
            return {}
        first = found[0]
        if first != _DEEP and found.count(first) == len(found):
            return {first: wires}
        groups: dict[int, list[bytes]] = {}
        for wire, mask in zip(wires, found, strict=True):
            bits = self._work_out(wire) if mask == _DEEP else mask
            if bits in groups:
                groups[bits].append(wire)
            else:
                groups[bits] = [wire]
        return dict(groups)

    def of_head(self, head: bytes) -> int:
        """The answer for all prefixes with this head, or that each has its own."""
        if head[0] > self._head * 8 and head[1:] in self._deep:
            return _DEEP
        return self._work_out(head)

    def _work_out(self, wire: bytes) -> int:
        first, length = self._first(wire), wire[0]
        held = 0
        for shift, candidate, entries in self._lengths:
            if candidate > length:
                break
            for least, most, bits in entries.get(first >> shift, ()):
                if least <= length <= most:
                    held |= bits
        return self._negated ^ held


class _Heads(dict[bytes, int]):
    """Answers by head, worked out when they are asked for."""

    def __init__(self, classes: Classes) -> None:
        super().__init__()
        self._classes = classes

    def __missing__(self, head: bytes) -> int:
        if len(self) >= HEADS:
            self.clear()
        mask = self[head] = self._classes.of_head(head)
        return mask

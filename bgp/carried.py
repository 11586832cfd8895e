"""All that a path's attribute block carries, as a value: read for filters and for announcing it to others, and written.

The hot path never comes here: it reads of a block what decides (``attributes``). Whole blocks are read once for each
distinct one that is announced again, or that a filter looks into. Only blocks that were judged well formed are read.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.as_path import CONFED_SEQUENCE, CONFED_SET, SEQUENCE, SET, merge_as4, read_segments
from towpath.bgp.attributes import (
    AGGREGATOR,
    AS4_AGGREGATOR,
    AS4_PATH,
    AS_PATH,
    AS_TRANS,
    ATOMIC_AGGREGATE,
    CLUSTER_LIST,
    COMMUNITY,
    EXTENDED_COMMUNITY,
    IPV6_EXTENDED_COMMUNITY,
    LARGE_COMMUNITY,
    LOCAL_PREF,
    MED,
    NEXT_HOP,
    ONLY_TO_CUSTOMER,
    ORIGIN,
    ORIGINATOR_ID,
)

Segments = tuple[tuple[int, tuple[int, ...]], ...]
"""An AS path: (type of segment, AS numbers)."""

GRACEFUL_SHUTDOWN: Final = b"\xff\xff\x00\x00"
NO_EXPORT: Final = b"\xff\xff\xff\x01"
NO_ADVERTISE: Final = b"\xff\xff\xff\x02"
NO_EXPORT_SUBCONFED: Final = b"\xff\xff\xff\x03"

_OPTIONAL: Final = 0x80
_TRANSITIVE: Final = 0x40
_PARTIAL: Final = 0x20
_EXTENDED: Final = 0x10
_MP: Final = frozenset({14, 15})
_WIDTH: Final = {COMMUNITY: 4, EXTENDED_COMMUNITY: 8, IPV6_EXTENDED_COMMUNITY: 20, LARGE_COMMUNITY: 12}
_OURS: Final = frozenset(
    {ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, COMMUNITY, LARGE_COMMUNITY, AGGREGATOR, AS4_PATH, AS4_AGGREGATOR}
    | {ORIGINATOR_ID, CLUSTER_LIST, EXTENDED_COMMUNITY, IPV6_EXTENDED_COMMUNITY, ATOMIC_AGGREGATE}
    | {ONLY_TO_CUSTOMER}
)
_NOT_TRANSITIVE: Final = 0x40
"""Bit of the type of an extended community: it stays within the AS (RFC 4360 §2)."""


class Carried(Struct, frozen=True):
    """The attributes of a route, next hop apart. Communities are in wire form, sorted, each once."""

    origin: int = 0
    path: Segments = ()
    med: int | None = None
    local_preference: int | None = None
    communities: tuple[bytes, ...] = ()
    """COMMUNITY, four bytes each."""
    large: tuple[bytes, ...] = ()
    """LARGE_COMMUNITY, twelve bytes each."""
    extended: tuple[bytes, ...] = ()
    """Extended communities, eight or (of IPv6) twenty bytes each, in their order."""
    aggregator: tuple[int, bytes] | None = None
    atomic: bool = False
    originator: bytes | None = None
    clusters: bytes = b""
    customers_only: int | None = None
    """Only to Customer: the AS that marked it (RFC 9234)."""
    others: tuple[tuple[int, int, bytes], ...] = ()
    """Transitive attributes that we do not know: flags, type, value."""

    @property
    def sequence(self) -> tuple[int, ...]:
        """The AS numbers that the path begins with, up to the first set."""
        return leading(self.path)

    def carries(self, community: bytes) -> bool:
        """Whether it has a community, of either kind."""
        return community in (self.communities if len(community) == 4 else self.large)

    def prepended(self, *numbers: int) -> Segments:
        """The AS path with numbers put before it, the first one first (RFC 4271 §5.1.2)."""
        return prepend(self.path, numbers)


def leading(path: Segments) -> tuple[int, ...]:
    """The numbers of the sequences that a path begins with."""
    found: tuple[int, ...] = ()
    for kind, numbers in path:
        if kind != SEQUENCE:
            break
        found += numbers
    return found


def prepend(path: Segments, numbers: tuple[int, ...]) -> Segments:
    """Numbers before a path, in its first segment where that is a sequence with room for them."""
    if not numbers:
        return path
    if path and path[0][0] == SEQUENCE and len(path[0][1]) + len(numbers) <= 255:
        return ((SEQUENCE, numbers + path[0][1]), *path[1:])
    return ((SEQUENCE, numbers), *path)


def split(block: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Flags, type and value of each attribute of a block; of two of one type the first (RFC 7606 §3 g)."""
    position, end = 0, len(block)
    seen: set[int] = set()
    while position + 3 <= end:
        flags, kind = block[position], block[position + 1]
        if flags & _EXTENDED:
            start = position + 4
            position = start + (block[position + 2] << 8 | block[position + 3])
        else:
            start = position + 3
            position = start + block[position + 2]
        if kind not in seen:
            seen.add(kind)
            yield flags, kind, block[start:position]


def carries(block: bytes, community: bytes) -> bool:
    """Whether a block has a community, of the kind that its length says. Cheap where its bytes occur nowhere."""
    if community not in block:
        return False
    kind, width = (COMMUNITY, 4) if len(community) == 4 else (LARGE_COMMUNITY, 12)
    return any(community in _pieces(value, width) for _, found, value in split(block) if found == kind)


def _pieces(value: bytes, width: int) -> tuple[bytes, ...]:
    return tuple(value[at : at + width] for at in range(0, len(value), width))


def read(block: bytes, *, four_octet_as: bool, external: bool) -> Carried:
    """A block that was judged well formed. From an ``external`` peer what is internal to an AS does not count.

    What says nothing about the way, and is malformed, is left out (RFC 7606 §7.6, §7.7; RFC 7607 §2).
    """
    values = {kind: (flags, value) for flags, kind, value in split(block)}
    width = 4 if four_octet_as else 2

    def value(kind: int) -> bytes | None:
        return values[kind][1] if kind in values else None

    def number(kind: int) -> int | None:
        found = value(kind)
        return None if found is None else int.from_bytes(found, "big")

    path = read_segments(value(AS_PATH) or b"", width) or []
    aggregator = _aggregator(values.get(AGGREGATOR), width)
    if not four_octet_as:
        aside = _aggregator(values.get(AS4_AGGREGATOR), 4)
        four = value(AS4_PATH)
        if aside is not None and aggregator is not None:
            if aggregator[0] == AS_TRANS:
                aggregator = aside
            else:
                four = None  # RFC 6793 §4.2.3: somebody who knows neither has aggregated since
        segments = read_segments(four, 4) if four else None
        if segments:
            path = merge_as4(path, [one for one in segments if one[0] in {SET, SEQUENCE}])
    return Carried(
        origin=number(ORIGIN) or 0,
        path=tuple(path),
        med=number(MED),
        local_preference=None if external else number(LOCAL_PREF),
        communities=tuple(sorted(set(_pieces(value(COMMUNITY) or b"", 4)))),
        large=tuple(sorted(set(_pieces(value(LARGE_COMMUNITY) or b"", 12)))),
        extended=_pieces(value(EXTENDED_COMMUNITY) or b"", 8) + _pieces(value(IPV6_EXTENDED_COMMUNITY) or b"", 20),
        aggregator=aggregator,
        atomic=ATOMIC_AGGREGATE in values and _is(values[ATOMIC_AGGREGATE], _TRANSITIVE, 0),
        originator=None if external else value(ORIGINATOR_ID),
        clusters=b"" if external else value(CLUSTER_LIST) or b"",
        customers_only=number(ONLY_TO_CUSTOMER),
        others=tuple(
            (flags, kind, found)
            for kind, (flags, found) in sorted(values.items())
            if kind not in _OURS and kind not in _MP and flags & _OPTIONAL and flags & _TRANSITIVE
        ),
    )


def _is(found: tuple[int, bytes], flags: int, size: int) -> bool:
    return found[0] & (_OPTIONAL | _TRANSITIVE) == flags and len(found[1]) == size


def _aggregator(found: tuple[int, bytes] | None, width: int) -> tuple[int, bytes] | None:
    if found is None or not _is(found, _OPTIONAL | _TRANSITIVE, width + 4):
        return None
    number = int.from_bytes(found[1][:-4], "big")
    return (number, found[1][-4:]) if number else None


def crossing(carried: Carried, local_as: int) -> Carried:
    """The attributes as they leave our AS: ours is first in the path, and what is internal to an AS is left behind.

    Confederation segments go (RFC 5065 §5.2), and extended communities that are not transitive (RFC 4360 §6).
    """
    plain = tuple(one for one in carried.path if one[0] not in {CONFED_SEQUENCE, CONFED_SET})
    return replace(
        carried,
        path=prepend(plain, (local_as,)),
        local_preference=None,
        originator=None,
        clusters=b"",
        extended=tuple(one for one in carried.extended if not one[0] & _NOT_TRANSITIVE),
    )


def reflected(carried: Carried, *, teller: bytes, cluster_id: bytes) -> Carried:
    """The attributes as a reflector tells them to internal peers (RFC 4456 §8).

    The originator is named once, by the first reflector: ``teller``, the BGP identifier of the peer that it came from.
    """
    return replace(carried, originator=carried.originator or teller, clusters=cluster_id + carried.clusters)


def write(carried: Carried, *, next_hop: bytes, four_octet_as: bool) -> bytes:
    """The block in ascending order of type (RFC 4271 §5). ``next_hop`` empty: it goes in MP_REACH_NLRI."""
    width = 4 if four_octet_as else 2
    pieces: list[tuple[int, bytes]] = [
        (ORIGIN, attribute(0x40, ORIGIN, bytes((carried.origin,)))),
        (AS_PATH, attribute(0x40, AS_PATH, _segments(carried.path, width))),
    ]

    def put(flags: int, kind: int, value: bytes) -> None:
        pieces.append((kind, attribute(flags, kind, value)))

    if next_hop:
        put(0x40, NEXT_HOP, next_hop)
    if carried.med is not None:
        put(0x80, MED, carried.med.to_bytes(4, "big"))
    if carried.local_preference is not None:
        put(0x40, LOCAL_PREF, carried.local_preference.to_bytes(4, "big"))
    if carried.atomic:
        put(0x40, ATOMIC_AGGREGATE, b"")
    if carried.aggregator is not None:
        number, address = carried.aggregator
        put(0xC0, AGGREGATOR, _number(number, width) + address)
        if not four_octet_as and number > 0xFFFF:
            put(0xC0, AS4_AGGREGATOR, number.to_bytes(4, "big") + address)
    if carried.communities:
        put(0xC0, COMMUNITY, b"".join(carried.communities))
    if carried.originator is not None:
        put(0x80, ORIGINATOR_ID, carried.originator)
    if carried.clusters:
        put(0x80, CLUSTER_LIST, carried.clusters)
    for kind, size in ((EXTENDED_COMMUNITY, 8), (IPV6_EXTENDED_COMMUNITY, 20)):
        some = b"".join(one for one in carried.extended if len(one) == size)
        if some:
            put(0xC0, kind, some)
    if not four_octet_as and any(number > 0xFFFF for _, numbers in carried.path for number in numbers):
        plain = tuple(one for one in carried.path if one[0] not in {CONFED_SEQUENCE, CONFED_SET})
        put(0xC0, AS4_PATH, _segments(plain, 4))
    if carried.large:
        put(0xC0, LARGE_COMMUNITY, b"".join(carried.large))
    if carried.customers_only is not None:
        put(0xC0, ONLY_TO_CUSTOMER, carried.customers_only.to_bytes(4, "big"))
    for flags, kind, value in carried.others:
        put(flags & ~_EXTENDED | _PARTIAL, kind, value)  # RFC 4271 §5: passed on by one that does not know it
    return b"".join(piece for _, piece in sorted(pieces))


def attribute(flags: int, kind: int, value: bytes) -> bytes:
    """One path attribute, with a two-byte length where one byte is too short."""
    if len(value) < 256:
        return bytes((flags, kind, len(value))) + value
    return bytes((flags | _EXTENDED, kind)) + len(value).to_bytes(2, "big") + value


def _segments(path: Segments, width: int) -> bytes:
    return b"".join(
        bytes((kind, len(numbers))) + b"".join(_number(number, width) for number in numbers) for kind, numbers in path
    )


def _number(number: int, width: int) -> bytes:
    return (number if width == 4 or number <= 0xFFFF else AS_TRANS).to_bytes(width, "big")

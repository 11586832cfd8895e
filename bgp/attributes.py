"""An attribute block, decoded and judged as far as that needs no prefix: once for each distinct block of a peer.

Every error here costs the routes of the block, never the session (RFC 7606): the result carries a ``refusal``. An
attribute that is wrong and may be ignored is (RFC 7606 §7: "attribute discard"). What one cannot know without the
prefix (blocks, martians) is ``policy``.
"""

import struct
from typing import Final

from msgspec import Struct

from towpath.bgp.as_path import CONFED_SEQUENCE, CONFED_SET, SEQUENCE, SET, merge_as4, read_segments
from towpath.bgp.role import leaked
from towpath.model.kinds.peer import Role
from towpath.model.net import Family
from towpath.model.reason import Reason

ORIGIN: Final = 1
AS_PATH: Final = 2
NEXT_HOP: Final = 3
MED: Final = 4
LOCAL_PREF: Final = 5
ATOMIC_AGGREGATE: Final = 6
AGGREGATOR: Final = 7
COMMUNITY: Final = 8
ORIGINATOR_ID: Final = 9
CLUSTER_LIST: Final = 10
EXTENDED_COMMUNITY: Final = 16
AS4_PATH: Final = 17
AS4_AGGREGATOR: Final = 18
IPV6_EXTENDED_COMMUNITY: Final = 25
LARGE_COMMUNITY: Final = 32
ONLY_TO_CUSTOMER: Final = 35

AS_TRANS: Final = 23456

_OPTIONAL: Final = 0x80
_TRANSITIVE: Final = 0x40
_EXTENDED: Final = 0x10

_WELL_KNOWN: Final = _TRANSITIVE
_OPTIONAL_TRANSITIVE: Final = _OPTIONAL | _TRANSITIVE
_FLAGS: Final = {
    ORIGIN: _WELL_KNOWN,
    AS_PATH: _WELL_KNOWN,
    NEXT_HOP: _WELL_KNOWN,
    MED: _OPTIONAL,
    LOCAL_PREF: _WELL_KNOWN,
    ATOMIC_AGGREGATE: _WELL_KNOWN,
    AGGREGATOR: _OPTIONAL_TRANSITIVE,
    COMMUNITY: _OPTIONAL_TRANSITIVE,
    ORIGINATOR_ID: _OPTIONAL,
    CLUSTER_LIST: _OPTIONAL,
    EXTENDED_COMMUNITY: _OPTIONAL_TRANSITIVE,
    AS4_PATH: _OPTIONAL_TRANSITIVE,
    AS4_AGGREGATOR: _OPTIONAL_TRANSITIVE,
    IPV6_EXTENDED_COMMUNITY: _OPTIONAL_TRANSITIVE,
    LARGE_COMMUNITY: _OPTIONAL_TRANSITIVE,
    ONLY_TO_CUSTOMER: _OPTIONAL_TRANSITIVE,
}
_DISCARDED: Final = frozenset({ATOMIC_AGGREGATE, AGGREGATOR, AS4_AGGREGATOR})
"""Malformed, these are ignored (RFC 7606 §7.6, §7.7; RFC 6793 §6): we read nothing in them."""
_INTERNAL: Final = frozenset({LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST})
"""From an external peer these are ignored, well formed or not (RFC 7606 §7.5, §7.9, §7.10)."""
_UNIT: Final = {
    COMMUNITY: 4,
    CLUSTER_LIST: 4,
    EXTENDED_COMMUNITY: 8,
    IPV6_EXTENDED_COMMUNITY: 20,
    LARGE_COMMUNITY: 12,
}
"""Lists: not empty, and a multiple of this."""

_IGNORABLE: Final = {kind: _UNIT[kind] for kind in (COMMUNITY, EXTENDED_COMMUNITY, LARGE_COMMUNITY)}
"""Well formed, these change neither verdict nor decision; the size of each must be a multiple of this."""

_NUMBERS: Final = tuple(struct.Struct(f"!{count}I") for count in range(256))


_PLAIN_ORIGIN: Final = bytes((_WELL_KNOWN, ORIGIN, 1))
_PLAIN_AS_PATH: Final = bytes((_WELL_KNOWN, AS_PATH))
_PLAIN_NEXT_HOP: Final = bytes((_WELL_KNOWN, NEXT_HOP, 4))


class PeerView(Struct, frozen=True):
    """What of a session decides how its attributes are read."""

    ebgp: bool
    four_octet_as: bool
    local_as: int
    peer_as: int
    allow_local_as: int
    router_id: bytes
    """Ours, four bytes."""
    cluster_id: bytes = b""
    """Ours on the iBGP sessions of a route reflector, four bytes; who reflects nothing has none (RFC 4456 §8)."""
    role: Role | None = None
    """What we are to the peer (RFC 9234)."""


class ASPath(Struct, frozen=True, gc=False):
    """What policy and decision want to know of an AS_PATH."""

    length: int
    """Hops as RFC 4271 §9.1.2.2 a counts them: a set is one, confederation segments none (RFC 5065 §5.3)."""
    neighbour: int | None
    """The AS that MED is compared within; None: the path is empty or begins with a set."""
    origin: int | None
    """The AS that originated the route; None: the path is empty or ends with a set."""
    refusal: Reason | None = None
    sequence: tuple[int, ...] = ()
    """The numbers that the path begins with, up to the first set."""


EMPTY_PATH: Final = ASPath(length=0, neighbour=None, origin=None)
_MALFORMED_PATH: Final = ASPath(length=0, neighbour=None, origin=None, refusal=Reason.MALFORMED)


class Attributes(Struct, frozen=True, gc=False, eq=False):
    """What of an attribute block counts in decision and validation; blocks that differ in communities alone share one.

    ``refusal`` says why no route with it may be used.
    """

    next_hop: bytes
    origin: int
    path: ASPath
    local_preference: int | None
    med: int
    originator: bytes | None
    cluster_length: int
    refusal: Reason | None


def ends_in_communities(block: bytes, start: int) -> bool:
    """Whether nothing but well-formed communities follows ``start``, so that the block reads as ``block[:start]`` does."""
    end = len(block)
    while start + 3 < end:
        unit = _IGNORABLE.get(block[start + 1])
        size = block[start + 2]
        if unit is None or block[start] != _OPTIONAL_TRANSITIVE or not size or size % unit:
            return False
        start += 3 + size
    return start == end


def community_columns(block: bytes) -> list[int]:
    """Places in a block of bytes that it reads the same without: those of the values of well-formed communities."""
    columns: list[int] = []
    at, end = 0, len(block)
    while at + 3 < end:
        wide = bool(block[at] & _EXTENDED)
        value = at + 3 + wide
        following = value + (block[at + 2] << 8 | block[at + 3] if wide else block[at + 2])
        unit = _IGNORABLE.get(block[at + 1])
        if unit is not None and block[at] & ~_EXTENDED == _OPTIONAL_TRANSITIVE and (following - value) % unit == 0:
            columns += range(value, min(following, end))
        at = following
    return columns


class Decoder:
    """Decodes the blocks of one session. AS paths repeat far more than blocks do, so they have a cache of their own."""

    PATHS = 8192

    def __init__(self, view: PeerView) -> None:
        self.view = view
        self._paths: dict[bytes, ASPath] = {}

    def decode(self, block: bytes, *, next_hop: bytes | None) -> Attributes:
        """Attributes of a block that comes with prefixes; ``next_hop`` is MP_REACH_NLRI's, None for plain IPv4."""
        return self.read(block, next_hop=next_hop)[0]

    def read(self, block: bytes, *, next_hop: bytes | None) -> tuple[Attributes, int]:
        """``decode``, and the place after which only communities follow (``ends_in_communities`` says whether well formed)."""
        ebgp = self.view.ebgp
        origin = -1
        path: ASPath | None = None
        path_value = b""
        as4_value: bytes | None = None
        hop = next_hop
        preference: int | None = None
        med = 0
        originator: bytes | None = None
        clusters = b""
        customers_only: int | None = None
        refusal: Reason | None = None
        aggregator_is_two = as4_aggregator = False
        seen = 0
        position, end = 0, len(block)
        cut = 0
        if end > 7 and block[:3] == _PLAIN_ORIGIN and block[3] < 3 and block[4:6] == _PLAIN_AS_PATH:
            # ORIGIN, AS_PATH and NEXT_HOP in this order and form begin nearly every block: no need for the loop
            position = 7 + block[6]
            if position <= end:
                origin = block[3]
                path_value = block[7:position]
                path = self._paths.get(path_value) or self._remember(path_value)
                seen = 1 << ORIGIN | 1 << AS_PATH
                if block[position : position + 3] == _PLAIN_NEXT_HOP and position + 7 <= end:
                    seen |= 1 << NEXT_HOP
                    if hop is None:
                        hop = block[position + 3 : position + 7]
                    position += 7
                cut = position
            else:
                position = 0
        while position < end:
            if position + 3 > end:
                refusal = Reason.MALFORMED
                break
            flags = block[position]
            kind = block[position + 1]
            if flags & _EXTENDED:
                if position + 4 > end:
                    refusal = Reason.MALFORMED
                    break
                size = block[position + 2] << 8 | block[position + 3]
                position += 4
            else:
                size = block[position + 2]
                position += 3
            start = position
            position += size
            if position > end:
                refusal = Reason.MALFORMED
                break
            if kind not in _IGNORABLE:
                cut = position
            bit = 1 << kind
            if seen & bit:
                continue  # RFC 7606 §3 g: the first one counts
            seen |= bit
            wanted = _FLAGS.get(kind)
            if wanted is None:
                if not flags & _OPTIONAL:
                    refusal = Reason.MALFORMED  # well-known, and not known
                continue
            if ebgp and kind in _INTERNAL:
                continue
            if flags & _OPTIONAL_TRANSITIVE != wanted:
                if kind not in _DISCARDED:
                    refusal = Reason.MALFORMED  # RFC 7606 §3 c
                continue
            if kind == AS_PATH:
                path_value = block[start:position]
                path = self._paths.get(path_value) or self._remember(path_value)
            elif kind == ORIGIN:
                origin = block[start] if size == 1 else 3
                if origin > 2:
                    refusal = Reason.MALFORMED
            elif kind == NEXT_HOP:
                if size != 4:
                    refusal = Reason.MALFORMED
                elif hop is None:
                    hop = block[start:position]
            elif kind == MED:
                if size == 4:
                    med = int.from_bytes(block[start:position], "big")
                else:
                    refusal = Reason.MALFORMED
            elif kind == LOCAL_PREF:
                if size == 4:
                    preference = int.from_bytes(block[start:position], "big")
                else:
                    refusal = Reason.MALFORMED
            elif kind == ORIGINATOR_ID:
                if size == 4:
                    originator = block[start:position]
                else:
                    refusal = Reason.MALFORMED
            elif kind in _UNIT:
                if not size or size % _UNIT[kind]:
                    refusal = Reason.MALFORMED
                elif kind == CLUSTER_LIST:
                    clusters = block[start:position]
            elif kind == AS4_PATH:
                as4_value = block[start:position]
            elif kind == AGGREGATOR:
                aggregator_is_two = size == 6 and block[start] << 8 | block[start + 1] != AS_TRANS
            elif kind == AS4_AGGREGATOR:
                as4_aggregator = True
            elif kind == ONLY_TO_CUSTOMER:
                if size == 4:
                    customers_only = int.from_bytes(block[start:position], "big")
                else:
                    refusal = Reason.MALFORMED  # RFC 9234 §5
        ignored = aggregator_is_two and as4_aggregator  # RFC 6793 §4.2.3
        if path is not None and as4_value is not None and not self.view.four_octet_as and not ignored:
            path = self._merged(path, path_value, as4_value)
        if refusal is None:
            if origin < 0 or path is None or hop is None:
                refusal = Reason.MISSING_ATTRIBUTE
            elif path.refusal is not None:
                refusal = path.refusal
            elif ebgp and path.neighbour != self.view.peer_as:
                refusal = Reason.FIRST_AS
            elif customers_only is not None and leaked(self.view.role, customers_only, peer_as=self.view.peer_as):
                refusal = Reason.ROUTE_LEAK
            elif originator == self.view.router_id:
                refusal = Reason.ORIGINATOR_LOOP
            elif clusters and self.view.cluster_id in _quads(clusters):
                refusal = Reason.CLUSTER_LOOP
        attributes = Attributes(
            hop or b"",
            origin,
            path or EMPTY_PATH,
            preference,
            med,
            originator,
            len(clusters) >> 2,
            refusal,
        )
        return attributes, cut

    def _remember(self, value: bytes) -> ASPath:
        if len(self._paths) >= self.PATHS:
            self._paths.clear()
        path = self._plain(value) if self.view.four_octet_as else None
        if path is None:
            segments = read_segments(value, 4 if self.view.four_octet_as else 2)
            path = _MALFORMED_PATH if segments is None else self._path(segments)
        self._paths[value] = path
        return path

    def _plain(self, value: bytes) -> ASPath | None:
        """A path of one sequence, as nearly all are; None: it is another."""
        if len(value) < 6 or value[0] != SEQUENCE or len(value) != 2 + 4 * value[1]:
            return None
        count = value[1]
        numbers = _NUMBERS[count].unpack_from(value, 2)
        if 0 in numbers:
            return ASPath(count, numbers[0], numbers[-1], Reason.AS_ZERO)
        own = numbers.count(self.view.local_as)
        refusal = Reason.AS_LOOP if own > self.view.allow_local_as else None
        return ASPath(count, numbers[0], numbers[-1], refusal, numbers)

    def _merged(self, path: ASPath, value: bytes, as4_value: bytes) -> ASPath:
        """The AS path of an old peer with the four-byte numbers put back (RFC 6793 §4.2.3)."""
        if path.refusal is Reason.MALFORMED:
            return path
        segments = read_segments(value, 2)
        four = read_segments(as4_value, 4)
        if segments is None or four is None:
            return path  # a malformed AS4_PATH is discarded (RFC 6793 §6)
        merged = merge_as4(segments, [entry for entry in four if entry[0] in {SET, SEQUENCE}])
        return self._path(merged)

    def _path(self, segments: list[tuple[int, tuple[int, ...]]]) -> ASPath:
        view = self.view
        length = 0
        own = 0
        refusal: Reason | None = None
        for kind, numbers in segments:
            if kind in {CONFED_SEQUENCE, CONFED_SET}:
                if view.ebgp:
                    return _MALFORMED_PATH  # RFC 5065 §5
            else:
                length += len(numbers) if kind == SEQUENCE else 1
            if 0 in numbers:
                refusal = Reason.AS_ZERO
            own += numbers.count(view.local_as)
        if refusal is None and own > view.allow_local_as:
            refusal = Reason.AS_LOOP
        plain = [entry for entry in segments if entry[0] in {SET, SEQUENCE}]
        neighbour = plain[0][1][0] if plain and plain[0][0] == SEQUENCE else None
        origin = plain[-1][1][-1] if plain and plain[-1][0] == SEQUENCE else None
        sequence: tuple[int, ...] = ()
        for kind, numbers in segments:
            if kind != SEQUENCE:
                break
            sequence += numbers
        return ASPath(length, neighbour, origin, refusal, sequence)


def _quads(value: bytes) -> list[bytes]:
    return [value[at : at + 4] for at in range(0, len(value), 4)]


def is_link_local(packed: bytes) -> bool:
    """Whether an address lies in fe80::/10: it means something on one link only."""
    return len(packed) == 16 and packed[0] == 0xFE and packed[1] & 0xC0 == 0x80


def next_hop_refusal(family: Family, packed: bytes, *, ipv6: bool, link_local: bool) -> Reason | None:
    """Why an address can never be a next hop of this family: unspecified, loopback, multicast, wrong length.

    ``ipv6``: an IPv4 route may have an IPv6 next hop (RFC 8950). ``link_local``: it is known on which link the peer is.
    """
    if family is Family.IPV4 and not (ipv6 and len(packed) == 16):
        if len(packed) != 4 or packed[0] in {0, 127} or packed[0] >= 224:
            return Reason.NEXT_HOP_INVALID
        return None
    if len(packed) != 16 or packed[0] == 0xFF or (is_link_local(packed) and not link_local):
        return Reason.NEXT_HOP_INVALID
    if packed[:12] in {bytes(12), bytes(10) + b"\xff\xff"}:  # ::, ::1, IPv4-compatible and IPv4-mapped
        return Reason.NEXT_HOP_INVALID
    return None

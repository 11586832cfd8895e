"""The bytes of an UPDATE, split: what is withdrawn, the attribute block, what is announced, for both families.

Nothing is decoded that need not be. A prefix is its own wire form, an attribute block is its own key, and a list of
prefixes is cut by one regular expression, that is, by a loop in C. The expression matches well-formed prefixes alone
(length 8 or more, host bits zero), so if the pieces add up to the whole, the whole was well formed; if they do not, the
slow loop finds out why, clears host bits (RFC 4271 §4.3) or raises.

``SessionError`` is raised only where prefixes cannot be told apart (RFC 7606 §3 and §5); errors inside attributes are
the business of ``attributes``.
"""

import re
from typing import Final, NamedTuple

from towpath.bgp.ports import SessionError
from towpath.model.net import Family

UPDATE_ERROR: Final = 3
MALFORMED_ATTRIBUTE_LIST: Final = 1
OPTIONAL_ATTRIBUTE: Final = 9
INVALID_NETWORK: Final = 10

MP_REACH: Final = 14
MP_UNREACH: Final = 15
EXTENDED: Final = 0x10
_KIND_FLAGS: Final = 0xC0
"""Optional and transitive, in an attribute's flags."""
_OPTIONAL: Final = 0x80
_BROKEN: Final = b"\0"
"""At the end of a block: half an attribute, so that nothing in it is used."""
UNICAST: Final = 1

SIZE: Final = tuple(1 + ((length + 7) >> 3) for length in range(256))
"""Bytes of a wire prefix by its first byte."""
HOST_BITS: Final = tuple((0xFF >> (length & 7)) & 0xFF if length & 7 else 0 for length in range(256))
"""Bits of the last byte of a wire prefix that must be zero, by its first byte."""

_COMMON: Final = {Family.IPV4: (24, 32, 26, 23, 22, 20, 16), Family.IPV6: (64, 48, 56, 122, 128, 32, 40, 44, 36)}


def _tile(family: Family) -> re.Pattern[bytes]:
    """An expression for one well-formed prefix of at least eight bits; the usual lengths are tried first."""
    common = _COMMON[family]
    pieces = []
    for length in (*common, *(rest for rest in range(8, family.bits + 1) if rest not in common)):
        piece = re.escape(bytes((length,))) + b".{%d}" % (length >> 3)
        if length & 7:
            step = 1 << (8 - (length & 7))
            piece += b"[" + b"".join(b"\\x%02x" % octet for octet in range(0, 256, step)) + b"]"
        pieces.append(piece)
    return re.compile(b"|".join(pieces), re.DOTALL)


_CUT: Final = {family: _tile(family).findall for family in Family}


def prefixes(family: Family, packed: bytes) -> list[bytes]:
    """Wire prefixes, host bits cleared; ``SessionError`` if a length is impossible or the last one is cut short."""
    found: list[bytes] = _CUT[family](packed)
    if len(b"".join(found)) == len(packed):
        return found
    return _prefixes_one_by_one(family, packed)


def _prefixes_one_by_one(family: Family, packed: bytes) -> list[bytes]:
    found = []
    position, end, longest = 0, len(packed), family.bits
    while position < end:
        length = packed[position]
        following = position + SIZE[length]
        if length > longest or following > end:
            raise SessionError(UPDATE_ERROR, INVALID_NETWORK, message=f"{family.key} prefix does not fit at {position}")
        wire = packed[position:following]
        if length and wire[-1] & HOST_BITS[length]:
            wire = wire[:-1] + bytes((wire[-1] & ~HOST_BITS[length] & 0xFF,))
        found.append(wire)
        position = following
    return found


def split(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Withdrawn IPv4 prefixes, attribute block, announced IPv4 prefixes (RFC 4271 §4.3), all still packed."""
    size = len(body)
    if size < 4:
        raise SessionError(UPDATE_ERROR, MALFORMED_ATTRIBUTE_LIST, message="UPDATE is shorter than its length fields")
    withdrawn_end = 2 + (body[0] << 8 | body[1])
    start = withdrawn_end + 2
    if start > size:
        raise SessionError(UPDATE_ERROR, MALFORMED_ATTRIBUTE_LIST, message="withdrawn routes overrun the UPDATE")
    end = start + (body[withdrawn_end] << 8 | body[withdrawn_end + 1])
    if end > size:
        raise SessionError(UPDATE_ERROR, MALFORMED_ATTRIBUTE_LIST, message="attributes overrun the UPDATE")
    return body[2:withdrawn_end], body[start:end], body[end:]


class Reach(NamedTuple):
    """MP_REACH_NLRI without its prefixes, or with them (RFC 4760 §3)."""

    family: Family | None
    """None: an address family that is not IPv4 or IPv6 unicast."""
    next_hop: bytes
    packed: bytes


class Unreach(NamedTuple):
    """MP_UNREACH_NLRI (RFC 4760 §4)."""

    family: Family | None
    packed: bytes


class Multiprotocol(NamedTuple):
    """An attribute block taken apart: the multiprotocol attributes, and the rest as one block again."""

    rest: bytes
    reach: Reach | None
    unreach: Unreach | None


def leading_reach(block: bytes) -> tuple[bytes, bytes, bytes] | None:
    """The usual shape of a block with MP_REACH_NLRI: first (RFC 7606 §5.1), and no other multiprotocol attribute.

    Returns AFI, SAFI and next hop in one piece, the rest of the block, and the prefixes; None where a byte looks
    otherwise, so that ``multiprotocol`` has to find out.
    """
    if len(block) < 9 or block[1] != MP_REACH or block[0] & _KIND_FLAGS != _OPTIONAL:
        return None
    if block[0] & EXTENDED:
        start, end = 4, 4 + (block[2] << 8 | block[3])
    else:
        start, end = 3, 3 + block[2]
    hop_end = start + 4 + block[start + 3]
    rest = block[end:]
    if hop_end >= end or end > len(block) or MP_REACH in rest or MP_UNREACH in rest:
        return None
    return block[start:hop_end], rest, block[hop_end + 1 : end]


def multiprotocol(block: bytes) -> Multiprotocol:
    """Take MP_REACH_NLRI and MP_UNREACH_NLRI out of an attribute block.

    Where an attribute overruns the block, what was found so far stands and ``rest`` keeps the overrun for the decoder
    to see (RFC 7606 §4: treat as withdrawn), as it does of one whose flags are not those of its kind (§3 c). Two of one
    kind, or one that cannot be parsed, end the session (§3 g).
    """
    position, end = 0, len(block)
    reach: Reach | None = None
    unreach: Unreach | None = None
    rest = b""
    kept = 0
    broken = b""
    while position + 3 <= end:
        kind = block[position + 1]
        if block[position] & EXTENDED:
            if position + 4 > end:
                break
            value = position + 4
            following = value + (block[position + 2] << 8 | block[position + 3])
        else:
            value = position + 3
            following = value + block[position + 2]
        if kind in {MP_REACH, MP_UNREACH}:
            if following > end:
                raise SessionError(UPDATE_ERROR, OPTIONAL_ATTRIBUTE, message="multiprotocol attribute is cut short")
            if (reach if kind == MP_REACH else unreach) is not None:
                raise SessionError(
                    UPDATE_ERROR, MALFORMED_ATTRIBUTE_LIST, message="multiprotocol attribute is repeated"
                )
            if kind == MP_REACH:
                reach = _reach(block[value:following])
            else:
                unreach = _unreach(block[value:following])
            rest += block[kept:position]
            kept = following
            if block[position] & _KIND_FLAGS != _OPTIONAL:
                broken = _BROKEN
        elif following > end:
            break
        position = following
    return Multiprotocol(rest + block[kept:] + broken, reach, unreach)


def _family(afi: int, safi: int) -> Family | None:
    if safi != UNICAST:
        return None
    return Family.IPV4 if afi == 1 else Family.IPV6 if afi == 2 else None


def _reach(value: bytes) -> Reach:
    if len(value) < 5 or 5 + value[3] > len(value):
        raise SessionError(UPDATE_ERROR, OPTIONAL_ATTRIBUTE, message="MP_REACH_NLRI is cut short")
    family = _family(value[0] << 8 | value[1], value[2])
    end = 4 + value[3]
    next_hop = value[4:end]
    if family is not None and len(next_hop) not in {4, 16, 32}:
        raise SessionError(
            UPDATE_ERROR, OPTIONAL_ATTRIBUTE, message="next hop of MP_REACH_NLRI has an impossible length"
        )
    return Reach(family, next_hop, value[end + 1 :])


def _unreach(value: bytes) -> Unreach:
    if len(value) < 3:
        raise SessionError(UPDATE_ERROR, OPTIONAL_ATTRIBUTE, message="MP_UNREACH_NLRI is cut short")
    return Unreach(_family(value[0] << 8 | value[1], value[2]), value[3:])

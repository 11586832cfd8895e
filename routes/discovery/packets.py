"""ICMPv6 messages by which the router at the other end of a link is found: built and judged as bytes (RFC 4861 §4, §6.1, §7.1).

Of what comes in nothing counts but that it came, from whom and that a router says so: no prefix, lifetime or option is
ever used. Checksums are the kernel's: it fills in ours and drops what comes with a wrong one (RFC 3542 §3.1).
"""

import enum
import struct
from typing import Final

from towpath.model.net import Address

ECHO_REQUEST: Final = 128
ECHO_REPLY: Final = 129
ROUTER_SOLICITATION: Final = 133
ROUTER_ADVERTISEMENT: Final = 134
NEIGHBOUR_SOLICITATION: Final = 135
NEIGHBOUR_ADVERTISEMENT: Final = 136
HOP_LIMIT: Final = 255
"""What only a sender on the same link can make arrive: every router makes it smaller (RFC 4861 §3.1)."""
ALL_NODES: Final = "ff02::1"
ALL_ROUTERS: Final = "ff02::2"

_IDENTIFIER: Final = 0x7470
_ROUTER_FLAG: Final = 0x80
_HEADERS: Final = {ECHO_REPLY: 8, ROUTER_SOLICITATION: 8, ROUTER_ADVERTISEMENT: 16, NEIGHBOUR_ADVERTISEMENT: 24}
"""Bytes before the options, of what is listened to."""
LISTENED_TO: Final = frozenset(_HEADERS)


class Heard(enum.Enum):
    """What a message says of its sender."""

    ROUTER = "it is a router on this link"
    ASKING = "it looks for routers"
    SOMEBODY = "it answers to the routers' address: whether it is on this link a neighbour solicitation shows"


def router_advertisement() -> bytes:
    """We are here, and nobody's default router: lifetime 0, no prefix, nothing to configure anything by (RFC 4861 §4.2)."""
    return struct.pack("!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0)


def router_solicitation() -> bytes:
    """All routers on the link are to advertise themselves (RFC 4861 §4.1)."""
    return struct.pack("!BBHI", ROUTER_SOLICITATION, 0, 0, 0)


def neighbour_solicitation(target: Address) -> bytes:
    """``target`` is to say whether it is there (RFC 4861 §4.3)."""
    return struct.pack("!BBHI", NEIGHBOUR_SOLICITATION, 0, 0, 0) + target.packed


def echo_request() -> bytes:
    """To all routers: one that sends no advertisements answers this (RFC 4443 §4.1)."""
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, _IDENTIFIER, 0)


def solicited_node(address: Address) -> str:
    """The group in which a node with this address listens for solicitations (RFC 4291 §2.7.1)."""
    low = address.packed[-3:]
    return f"ff02::1:ff{low[0]:02x}:{low[1]:02x}{low[2]:02x}"


def read(data: bytes, *, source: Address, hop_limit: int) -> Heard | None:
    """What a message says of its sender; None where it says nothing, is malformed, or may come from another link."""
    header = _HEADERS.get(data[0]) if data else None
    if header is None or len(data) < header or data[1] or not source.is_link_local:
        return None
    if data[0] == ECHO_REPLY:
        return Heard.SOMEBODY if int.from_bytes(data[4:6], "big") == _IDENTIFIER else None
    if hop_limit != HOP_LIMIT or not _options_fit(data, header):
        return None
    if data[0] == ROUTER_SOLICITATION:
        return Heard.ASKING
    if data[0] == NEIGHBOUR_ADVERTISEMENT and not (data[4] & _ROUTER_FLAG and data[8:24] == source.packed):
        return None
    return Heard.ROUTER


def _options_fit(data: bytes, position: int) -> bool:
    """Whether the options are whole and none is empty (RFC 4861 §4.6)."""
    while position + 2 <= len(data):
        size = 8 * data[position + 1]
        if not size:
            return False
        position += size
    return position == len(data)

"""Several paths of one prefix by one session (ADD-PATH, RFC 7911): path identifiers, and NLRI that carry them.

A path identifier tells apart what one speaker says of one prefix. Ours is made from the next hop alone: an IPv4 next hop
is four bytes and is its own identifier, of an IPv6 one it is a hash. So it is the same after a restart and from every
reflector, and nothing has to be remembered; of two paths with one identifier only the better is told.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from towpath.bgp.ports import SessionError
from towpath.bgp.update import HOST_BITS, INVALID_NETWORK, SIZE, UPDATE_ERROR
from towpath.model.net import Family

IDENTIFIER: Final = 4
"""Bytes of a path identifier (RFC 7911 §3)."""


def identifier(next_hop: bytes) -> bytes:
    """The identifier of our path with this next hop, packed."""
    return next_hop if len(next_hop) == IDENTIFIER else _hashed(next_hop)


@lru_cache(maxsize=4096)
def _hashed(next_hop: bytes) -> bytes:
    return blake2b(next_hop, digest_size=IDENTIFIER).digest()


def identified(family: Family, packed: bytes) -> list[tuple[bytes, bytes]]:
    """Identifiers and wire prefixes, host bits cleared; ``SessionError`` where they cannot be told apart."""
    found = []
    position, end, longest = 0, len(packed), family.bits
    while position < end:
        start = position + IDENTIFIER
        length = packed[start] if start < end else longest + 1
        following = start + SIZE[length]
        if length > longest or following > end:
            message = f"{family.key} prefix with a path identifier does not fit at {position}"
            raise SessionError(UPDATE_ERROR, INVALID_NETWORK, message=message)
        wire = packed[start:following]
        if length and wire[-1] & HOST_BITS[length]:
            wire = wire[:-1] + bytes((wire[-1] & ~HOST_BITS[length] & 0xFF,))
        found.append((packed[position:start], wire))
        position = following
    return found

"""Ways that take less than this machine's devices do, as routers have told it: of IPv6, where nobody but the sender cuts packets up."""

import contextlib
import socket
from collections.abc import Iterable
from pathlib import Path

from towpath.model.net import Address

_COUNTERS = Path("/proc/thread-self/net/snmp6")
_TOO_BIG = "Icmp6InPktTooBigs"
_IPV6_MTU = 24
"""Option of a connected socket: what the kernel takes the way to take (ipv6(7))."""
_NOBODY = 9
"""The port discard: nothing is sent there."""


def times_told() -> int:
    """How often a router has said that a packet is too big (ICMPv6 type 2, RFC 4443 section 3.2), in this thread's namespace."""
    with contextlib.suppress(OSError):
        for line in _COUNTERS.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name.strip() == _TOO_BIG:
                return int(value)
    return 0


def known(ends: Iterable[Address]) -> dict[Address, int]:
    """How many bytes a packet to each of these IPv6 addresses may have, as far as the kernel knows; to some there may be no way."""
    found: dict[Address, int] = {}
    for end in ends:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking,
        ):
            asking.connect((str(end), _NOBODY))
            found[end] = asking.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
    return found

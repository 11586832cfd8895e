"""What happens to the routes of a namespace while one is not looking: every RTM_NEWROUTE and RTM_DELROUTE, counted.

The socket is opened inside the namespace and subscribed before ``watch`` returns, so nothing is missed between
the start of the watch and the deed.
"""

import socket
import struct
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from msgspec import Struct

from towpath.lab.netns import Host

_NETLINK_ROUTE = 0
_GROUPS = 0x40 | 0x400  # RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
_NEW, _DELETE = 24, 25
_CLONED = 0x200  # RTM_F_CLONED: a cache entry
_RTA_DST, _RTA_GATEWAY = 1, 5
_SO_RCVBUFFORCE = 33


class RouteEvent(Struct, frozen=True):
    """One change of one route."""

    deed: str
    prefix: str
    gateway: str
    protocol: int
    table: int


class RouteEvents:
    """Counts route events of a host from the moment it is made."""

    def __init__(self, host: Host) -> None:
        self.host = host
        with host.entered():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._socket.bind((0, _GROUPS))
        self._seen: list[RouteEvent] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def read(self) -> tuple[RouteEvent, ...]:
        """All events so far; ``OSError`` (ENOBUFS) if some were lost."""
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                return tuple(self._seen)
            self._seen.extend(parse(data))


def parse(data: bytes) -> list[RouteEvent]:
    """The route messages of one datagram (rtnetlink(7)); cache entries are no routes."""
    events: list[RouteEvent] = []
    position = 0
    while position + 28 <= len(data):
        length, kind = struct.unpack_from("=IH", data, position)
        family, bits, _, _, table, protocol, _, _, flags = struct.unpack_from("=BBBBBBBBI", data, position + 16)
        if kind in (_NEW, _DELETE) and not flags & _CLONED:
            attributes = _attributes(data[position + 28 : position + length])
            unspecified = "0.0.0.0" if family == socket.AF_INET else "::"
            destination = ip_address(attributes[_RTA_DST]) if _RTA_DST in attributes else unspecified
            gateway = str(ip_address(attributes[_RTA_GATEWAY])) if _RTA_GATEWAY in attributes else ""
            deed = "added" if kind == _NEW else "deleted"
            events.append(RouteEvent(deed, f"{destination}/{bits}", gateway, protocol, table))
        position += (length + 3) & ~3
    return events


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            break
        found[kind] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return found

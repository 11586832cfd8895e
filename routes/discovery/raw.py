"""The raw ICMPv6 socket of one interface: bound to it, so that nothing of another one gets in. Needs CAP_NET_RAW."""

import contextlib
import socket
import struct

from towpath.model.net import Address, parse_address
from towpath.routes.discovery.packets import ALL_ROUTERS, HOP_LIMIT, LISTENED_TO

_ICMP6_FILTER = 1
_SO_BINDTODEVICE = 25
_RECEIVE_BUFFER = 64 << 10
_AT_ONCE = 32
_LARGEST = 2048


class RawSocket:
    """Made for an interface that is there; ``OSError``: we may not, or it is not."""

    def __init__(self, interface: str) -> None:
        self.index = socket.if_nametoindex(interface)
        self._socket = socket.socket(
            socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, interface.encode())
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            blocked = [0xFFFFFFFF] * 8
            for kind in LISTENED_TO:
                blocked[kind >> 5] &= ~(1 << (kind & 31))
            self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))
            for option, value in (
                (socket.IPV6_RECVHOPLIMIT, 1),
                (socket.IPV6_UNICAST_HOPS, HOP_LIMIT),
                (socket.IPV6_MULTICAST_HOPS, HOP_LIMIT),
                (socket.IPV6_MULTICAST_LOOP, 0),
                (socket.IPV6_MULTICAST_IF, self.index),
            ):
                self._socket.setsockopt(socket.IPPROTO_IPV6, option, value)
            group = parse_address(ALL_ROUTERS).packed + struct.pack("=I", self.index)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def send(self, message: bytes, to: str) -> None:
        """Send to an address on the link; ``OSError``: it is down, or has no address of its own yet."""
        self._socket.sendto(message, (to, 0, 0, self.index))

    def receive(self) -> list[tuple[bytes, Address, int]]:
        """Some of what has come in: message, source and hop limit (0: not told); ``OSError``: the interface is gone."""
        found: list[tuple[bytes, Address, int]] = []
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                data, about, _, name = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(4))
                hop_limit = next(
                    (
                        int.from_bytes(value[:4], "little")
                        for level, kind, value in about
                        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)
                    ),
                    0,
                )
                found.append((data, parse_address(name[0].partition("%")[0]), hop_limit))
        return found

    def close(self) -> None:
        """Leave the group and close."""
        self._socket.close()

"""What somebody in a pod would try: to be a BGP speaker's peer, and to send into a tunnel as if from a node."""

import select
import socket
import struct
from collections.abc import Iterable
from contextlib import ExitStack

from towpath.lab.netns import Host
from towpath.model.encapsulation import mac_of
from towpath.model.net import Address, Family, family_of

_PORT, _VNI = 4789, 4096
_UDP = 17
_SILENCE = 1500
"""Milliseconds: whoever is to answer within a cluster does so in a few."""
_TRANSPARENT = {Family.IPV4: (socket.SOL_IP, 19), Family.IPV6: (socket.IPPROTO_IPV6, 75)}
"""Of linux/in.h and linux/in6.h: a socket may send as whom it likes, which a pod with raw sockets can do without it."""
Target = tuple[str, int]


def reached(tries: Iterable[tuple[Host, Target]]) -> set[tuple[Host, Target]]:
    """Those of hosts that get a connection to an address and port, all of them tried at once."""
    found: set[tuple[Host, Target]] = set()
    with ExitStack() as stack:
        waiting: dict[int, tuple[tuple[Host, Target], socket.socket]] = {}
        poll = select.poll()
        for one in tries:
            source, target = one
            (family, kind, _, _, where), *_ = socket.getaddrinfo(*target, type=socket.SOCK_STREAM)
            with source.entered():
                dialling = stack.enter_context(socket.socket(family, kind | socket.SOCK_NONBLOCK))
            dialling.connect_ex(where)
            waiting[dialling.fileno()] = (one, dialling)
            poll.register(dialling, select.POLLOUT)
        while waiting and (ready := poll.poll(_SILENCE)):
            for number, _ in ready:
                one, dialling = waiting.pop(number)
                poll.unregister(number)
                if not dialling.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    found.add(one)
    return found


def send_into_tunnel(
    source: Host, outside: Address, *, node: str, pod: Address, port: int, text: str, by: int = _PORT, as_if: str = ""
) -> None:
    """Send a VXLAN packet (RFC 7348) to a node's outside address; in it a datagram to a pod (IPv4) there.

    ``by``: the port it is sent to. ``as_if``: its source, an address that may be another's.
    """
    family = family_of(outside)
    with source.entered():
        sending = socket.socket(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with sending:
        if as_if:
            sending.setsockopt(*_TRANSPARENT[family], 1)
            sending.bind((as_if, 0))
        head = b"\x08\0\0\0" + _VNI.to_bytes(3) + b"\0"
        sending.sendto(head + _frame(node, pod, port, text.encode()), (str(outside), by))


def _frame(node: str, pod: Address, port: int, data: bytes) -> bytes:
    """An Ethernet frame to a node's end of its tunnels, with a UDP datagram over IPv4 (RFC 791, RFC 768) from nowhere."""
    datagram = struct.pack("!4H", port, port, 8 + len(data), 0) + data
    head = struct.pack(
        "!2B3H2BH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, _UDP, 0, bytes((192, 0, 2, 250)), pod.packed
    )
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    mac = bytes.fromhex(mac_of(node).replace(":", ""))
    return mac + bytes((2, 0, 0, 0, 0, 9)) + b"\x08\x00" + head + datagram

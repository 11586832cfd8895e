"""Route sockets of the kernel, the framing of their messages, and what messages about links and addresses say."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_interface

from towpath.routes.kernel import Link, LinkAddress
from towpath.routes.message import AF, HEADER, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, attributes, text
from towpath.routes.route import address

ERRNO = struct.Struct("=i")
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 16, 17, 18, 19, 20, 21, 22
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
NETLINK_ADD_MEMBERSHIP = 1
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
IFF_UP, IFF_LOWER_UP = 1, 0x10000
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 3, 4, 18, 1, 2
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD, IFA_F_PERMANENT = 1, 2, 0x02, 0x80
NESTED = 0x8000
"""Set in the type of an attribute that holds others (NLA_F_NESTED)."""
AF_BRIDGE = 7
BUFFER = 8 << 20
CHUNK = 64 << 10
SMALL_CHUNK = 4 << 10
"""Where the receive buffer could not be raised: a larger chunk of failures would overflow it."""
RECEIVE = 256 << 10
LINK_HEADER = struct.Struct("=BxHiII")
ADDRESS_HEADER = struct.Struct("=BBBBi")


def open_socket(*, groups: int = 0, receive_buffer: int = BUFFER) -> tuple[socket.socket, bool]:
    """A bound route socket of the current namespace, and whether it got the receive buffer that was asked for."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    forced = True
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
        opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
    except PermissionError:
        forced = False
    for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
        opened.setsockopt(SOL_NETLINK, option, 1)
    opened.bind((0, groups))
    return opened, forced


def messages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Offset, length, type and sequence number of each message of a datagram."""
    position, end = 0, len(data)
    while position + 16 <= end:
        length, kind, _, sequence, _ = HEADER.unpack_from(data, position)
        if length < 16:
            return
        yield position, length, kind, sequence
        position += (length + 3) & ~3


def request(asking: socket.socket, kind: int, body: bytes, *, flags: int = 0, number: int = 1) -> int:
    """Ask for a change, and wait for the answer: its error number, 0 where it is done."""
    head = HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, number, 0)
    asking.send(head + body)
    while True:
        data = asking.recv(RECEIVE)
        for start, _, answer, sequence in messages(data):
            if answer == NLMSG_ERROR and sequence == number:
                return -int(ERRNO.unpack_from(data, start + HEADER.size)[0])


def dump(asking: socket.socket, kind: int, body: bytes, *, number: int = 1) -> Iterator[bytes]:
    """The answers of one dump, datagram by datagram; ``OSError`` where the kernel refuses it."""
    asking.send(HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, number, 0) + body)
    finished = False
    try:
        while not finished:
            data = asking.recv(RECEIVE)
            finished = True  # also where it was refused
            finished = _ends(data)
            yield data
    finally:
        while not finished:  # given up half-way: the socket takes no other dump before this one is read
            finished = _ends(asking.recv(RECEIVE))


def _ends(data: bytes) -> bool:
    """Whether a dump ends with this datagram; ``OSError`` where the kernel refused it."""
    for start, length, kind, _ in messages(data):
        if kind not in (NLMSG_ERROR, NLMSG_DONE):
            continue
        code = -ERRNO.unpack_from(data, start + 16)[0] if length >= 20 else 0
        # a family that this kernel lacks, or a table that nothing is in yet, has no routes
        if code not in (0, errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code))
        return True
    return False


def read_link(data: bytes, start: int, end: int) -> Link | None:
    """The device of a link message; None where it is about a bridge port."""
    family, _, index, flags, _ = LINK_HEADER.unpack_from(data, start + 16)
    if family:
        return None
    values = dict(attributes(data, start + 32, end))
    name = text(values.get(IFLA_IFNAME, b""))
    mtu = int.from_bytes(values.get(IFLA_MTU, b""), "little")
    return Link(index, name, usable=bool(flags & IFF_UP and flags & IFF_LOWER_UP), mtu=mtu)


def read_address(data: bytes, start: int, end: int) -> LinkAddress | None:
    """The address of an address message; None where it is of a family that is not IP."""
    family, length, _, _, index = ADDRESS_HEADER.unpack_from(data, start + 16)
    values = dict(attributes(data, start + 24, end))
    local = values.get(IFA_LOCAL, values.get(IFA_ADDRESS))
    peer = values.get(IFA_ADDRESS, local)
    if family not in AF.values() or local is None or peer is None:
        return None
    return LinkAddress(index, address(local), ip_interface((address(peer), length)))

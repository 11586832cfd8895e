"""Addresses that a node takes as its own and that no device has: local routes, by which pods reach the node's speaker.

A route of type ``local`` in the table ``local`` is all that the kernel asks for to take packets in and to answer from an
address. An address on ``lo`` would do it too, but the kernel may choose such a one as the source of other packets, and
nothing on it says whose it is; these routes are ours by their protocol number, as all others. They have no next hops and
are a handful, so they are read and compared whole each time.
"""

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import closing

from towpath.model.net import Address, Family, family_of
from towpath.routes.message import (
    AF,
    ATTRIBUTE,
    HEADER,
    LOOPBACK,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    ROUTE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    SCOPE_NOWHERE,
    attributes,
)
from towpath.routes.netsocket import ERRNO, NLMSG_ERROR, ends, messages, open_socket
from towpath.routes.route import DEFAULT_METRIC, LOCAL_TABLE, PROTOCOL, address

_LOCAL, _SCOPE_HOST = 2, 254
_RTA_DST, _RTA_OIF, _RTA_PRIORITY = 1, 4, 6
_NUMBER = struct.Struct("=I")
_RECEIVE = 64 << 10


def desire(addresses: Collection[Address], *, complete: bool = True) -> None:
    """Bring the local routes of ours in this network namespace to these addresses. ``OSError`` where the kernel refuses.

    Not ``complete``: none is removed.
    """
    with closing(open_socket()[0]) as asking:
        there = {
            found
            for family in Family
            for data in _dump(asking, family)
            for start, length, kind, _ in messages(data)
            if kind == RTM_NEWROUTE and (found := _read(data, start, start + length)) is not None
        }
        for one in set(addresses) - there:
            _change(asking, RTM_NEWROUTE, one, flags=NLM_F_CREATE | NLM_F_EXCL, scope=_SCOPE_HOST)
        for one in there.difference(addresses) if complete else ():
            _change(asking, RTM_DELROUTE, one, flags=0, scope=SCOPE_NOWHERE)


def _dump(asking: socket.socket, family: Family) -> Iterator[bytes]:
    body = ROUTE.pack(AF[family], 0, 0, 0, LOCAL_TABLE, PROTOCOL, 0, _LOCAL, 0)
    asking.send(HEADER.pack(16 + len(body), RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
    finished = False
    while not finished:
        data = asking.recv(_RECEIVE)
        finished = ends(data)
        yield data


def _read(data: bytes, start: int, end: int) -> Address | None:
    """The address of a route message; None where the route is not one of these."""
    _, length, _, _, table, protocol, _, kind, _ = ROUTE.unpack_from(data, start + 16)
    packed = dict(attributes(data, start + 16 + ROUTE.size, end)).get(_RTA_DST, b"")
    whole = bool(packed) and length == 8 * len(packed)
    return address(packed) if whole and (table, protocol, kind) == (LOCAL_TABLE, PROTOCOL, _LOCAL) else None


def _change(asking: socket.socket, kind: int, one: Address, *, flags: int, scope: int) -> None:
    family = family_of(one)
    body = ROUTE.pack(
        AF[family], family.bits, 0, 0, LOCAL_TABLE, PROTOCOL, scope if family is Family.IPV4 else 0, _LOCAL, 0
    )
    for name, value in (
        (_RTA_DST, one.packed),
        (_RTA_PRIORITY, _NUMBER.pack(DEFAULT_METRIC)),
        (_RTA_OIF, _NUMBER.pack(LOOPBACK)),
    ):
        body += ATTRIBUTE.pack(4 + len(value), name) + value
    asking.send(HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 2, 0) + body)
    data = asking.recv(_RECEIVE)
    for start, _, answer, _ in messages(data):
        code = -ERRNO.unpack_from(data, start + 16)[0] if answer == NLMSG_ERROR else 0
        # somebody was faster, or this kernel lacks the family: then nobody can come from there either
        if code not in (0, errno.EEXIST, errno.ESRCH, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise OSError(code, f"local route of {one}: {os.strerror(code)}")

"""Addresses that a node takes as its own and that no device has: local routes, by which pods reach the node's speaker.

A route of type ``local`` in the table ``local`` is all that the kernel asks for to take packets in and to answer from an
address. An address on ``lo`` would do it too, but the kernel may choose such a one as the source of other packets, and
nothing on it says whose it is; these routes are ours by their protocol number, as all others. They have no next hops and
are a handful, so they are read and compared whole each time.
"""

import errno
import os
import socket
from collections.abc import Collection
from contextlib import closing

from towpath.model.net import Address, Family, family_of
from towpath.routes.message import (
    AF,
    LOOPBACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NUMBER,
    ROUTE,
    RTA_DST,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    SCOPE_NOWHERE,
    attribute,
    attributes,
)
from towpath.routes.netsocket import dump, messages, open_socket, request
from towpath.routes.route import DEFAULT_METRIC, LOCAL_TABLE, PROTOCOL, address

_LOCAL, _SCOPE_HOST = 2, 254


def desire(addresses: Collection[Address], *, complete: bool = True) -> None:
    """Bring the local routes of ours in this network namespace to these addresses. ``OSError`` where the kernel refuses.

    Not ``complete``: none is removed.
    """
    with closing(open_socket()[0]) as asking:
        there = {
            found
            for family in Family
            for data in dump(asking, RTM_GETROUTE, _head(family))
            for start, length, kind, _ in messages(data)
            if kind == RTM_NEWROUTE and (found := _read(data, start, start + length)) is not None
        }
        for one in set(addresses) - there:
            _change(asking, RTM_NEWROUTE, one, flags=NLM_F_CREATE | NLM_F_EXCL, scope=_SCOPE_HOST)
        for one in there.difference(addresses) if complete else ():
            _change(asking, RTM_DELROUTE, one, flags=0, scope=SCOPE_NOWHERE)


def _head(family: Family, *, length: int = 0, scope: int = 0) -> bytes:
    return ROUTE.pack(AF[family], length, 0, 0, LOCAL_TABLE, PROTOCOL, scope, _LOCAL, 0)


def _read(data: bytes, start: int, end: int) -> Address | None:
    """The address of a route message; None where the route is not one of these."""
    _, length, _, _, table, protocol, _, kind, _ = ROUTE.unpack_from(data, start + 16)
    packed = dict(attributes(data, start + 16 + ROUTE.size, end)).get(RTA_DST, b"")
    whole = bool(packed) and length == 8 * len(packed)
    return address(packed) if whole and (table, protocol, kind) == (LOCAL_TABLE, PROTOCOL, _LOCAL) else None


def _change(asking: socket.socket, kind: int, one: Address, *, flags: int, scope: int) -> None:
    family = family_of(one)
    body = _head(family, length=family.bits, scope=scope if family is Family.IPV4 else 0)
    body += attribute(RTA_DST, one.packed)
    body += attribute(RTA_PRIORITY, NUMBER.pack(DEFAULT_METRIC))
    body += attribute(RTA_OIF, NUMBER.pack(LOOPBACK))
    code = request(asking, kind, body, flags=flags)
    # somebody was faster, or this kernel lacks the family: then nobody can come from there either
    if code not in (0, errno.EEXIST, errno.ESRCH, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
        raise OSError(code, f"local route of {one}: {os.strerror(code)}")

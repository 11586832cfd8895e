"""The network devices of this namespace as the kernel has them, read whole and changed one request at a time.

For the devices that pods hang on: they are a handful, and looked at as a whole each time.
"""

import errno
import os
import socket
from collections.abc import Callable, Collection, Iterator
from ipaddress import ip_interface

from msgspec import Struct

from towpath.model.net import Interface
from towpath.routes.message import NLM_F_CREATE, NLM_F_EXCL, attributes, nested, text
from towpath.routes.netsocket import (
    ADDRESS_HEADER,
    IFA_ADDRESS,
    IFA_F_PERMANENT,
    IFA_LOCAL,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    LINK_HEADER,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    dump,
    messages,
    request,
)
from towpath.routes.route import address

IFLA_LINK, IFLA_MASTER, IFLA_IFALIAS = 5, 10, 20
MODE = 1
"""What the mode of a macvlan or ipvlan device is called within its data (IFLA_MACVLAN_MODE, IFLA_IPVLAN_MODE)."""


class Device(Struct, frozen=True):
    """A device; of indexes and modes 0 is none."""

    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: bytes
    below: int
    """The device that it lies on."""
    master: int
    """The bridge, or the like, that it is a port of."""
    mode: int
    alias: str


def ask(asking: socket.socket, kind: int, body: bytes, *, what: str, flags: int = 0, fine: int = 0) -> None:
    """Ask for a change of ``what``; ``OSError`` where the kernel refuses, but for the error that is ``fine``."""
    code = request(asking, kind, body, flags=flags)
    if code not in (0, fine):
        raise OSError(code, f"{what}: {os.strerror(code)}")


def exists(name: str) -> bool:
    """Whether any device has the name: for what is asked all the time, where most nodes have none."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def of_ours(name: str, kinds: Collection[str], found: Collection[Device]) -> Device | None:
    """The device of that name; ``OSError`` (EEXIST) where it is of none of these kinds."""
    there = next((one for one in found if one.name == name), None)
    if there is not None and there.kind not in kinds:
        raise OSError(errno.EEXIST, f"{name} is there, and is no {' or '.join(kinds)} device")
    return there


def exchange(
    asking: socket.socket,
    index: int,
    present: Collection[Interface],
    wanted: Collection[Interface],
    body: Callable[[Interface, int], bytes],
) -> None:
    """Give a device these addresses in place of those; ``body``: what a message says of one. ``OSError`` where one is refused."""
    for one in set(present).difference(wanted):
        ask(asking, RTM_DELADDR, body(one, index), what=str(one), fine=errno.EADDRNOTAVAIL)
    for one in set(wanted).difference(present):
        ask(asking, RTM_NEWADDR, body(one, index), flags=NLM_F_CREATE | NLM_F_EXCL, what=str(one))


def devices(asking: socket.socket) -> Iterator[Device]:
    """All of them."""
    for data in dump(asking, RTM_GETLINK, LINK_HEADER.pack(0, 0, 0, 0, 0)):
        for start, length, kind, _ in messages(data):
            if kind == RTM_NEWLINK:
                yield _device(data, start, start + length)


def addresses(asking: socket.socket) -> Iterator[tuple[int, Interface]]:
    """All addresses, each with the index of its device."""
    return ((index, one) for index, one, _ in addresses_by_term(asking))


def addresses_by_term(asking: socket.socket) -> Iterator[tuple[int, Interface, bool]]:
    """The same, and whether it stays until somebody takes it away; else it ends with its lease."""
    for data in dump(asking, RTM_GETADDR, ADDRESS_HEADER.pack(0, 0, 0, 0, 0)):
        for start, length, kind, _ in messages(data):
            if kind != RTM_NEWADDR:
                continue
            _, prefix, flags, _, index = ADDRESS_HEADER.unpack_from(data, start + 16)
            values = dict(attributes(data, start + 24, start + length))
            found = values.get(IFA_LOCAL, values.get(IFA_ADDRESS))
            if found is not None:
                yield index, ip_interface((address(found), prefix)), bool(flags & IFA_F_PERMANENT)


def _device(data: bytes, start: int, end: int) -> Device:
    _, _, index, flags, _ = LINK_HEADER.unpack_from(data, start + 16)
    values = dict(attributes(data, start + 32, end))
    info = nested(values.get(IFLA_LINKINFO, b""))
    return Device(
        index=index,
        name=text(values.get(IFLA_IFNAME, b"")),
        kind=text(info.get(IFLA_INFO_KIND, b"")),
        up=bool(flags & IFF_UP),
        mtu=_number(values.get(IFLA_MTU, b"")),
        mac=values.get(IFLA_ADDRESS, b""),
        below=_number(values.get(IFLA_LINK, b"")),
        master=_number(values.get(IFLA_MASTER, b"")),
        mode=_number(nested(info.get(IFLA_INFO_DATA, b"")).get(MODE, b"")),
        alias=text(values.get(IFLA_IFALIAS, b"")),
    )


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")

"""IP-in-IP devices of other programs: what comes to them from their own other ends is theirs, and not ours to judge.

The kernel gives a packet to the device that knows its sender, before ours, which takes it from anybody (``ip_tunnel_lookup``
of net/ipv4/ip_tunnel.c).
"""

import weakref
from ipaddress import IPv4Address

from towpath.model.net import Address
from towpath.routes.devices.device import kind_of
from towpath.routes.message import attribute, attributes, nested, text
from towpath.routes.netsocket import (
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    LINK_HEADER,
    NESTED,
    RTM_GETLINK,
    RTM_NEWLINK,
    dump,
    messages,
    open_socket,
)

_KIND = b"ipip\0"
_LOCAL, _REMOTE = 2, 3
"""IFLA_IPTUN_LOCAL and IFLA_IPTUN_REMOTE (linux/if_tunnel.h)."""
_ANY = IPv4Address(0)


class Foreign:
    """The devices of the network namespace in which this was made."""

    def __init__(self) -> None:
        """``OSError``: no netlink."""
        self._asking, _ = open_socket()
        weakref.finalize(self, self._asking.close)

    def ends(self, local: Address) -> frozenset[Address]:
        """Whom packets of protocol 4 to one of this node's addresses may come from without being for our device.

        Any address (0.0.0.0) among them: somebody's device has the place that ours would have.
        """
        asked = attribute(IFLA_LINKINFO | NESTED, attribute(IFLA_INFO_KIND, _KIND))
        found: set[Address] = set()
        for data in dump(self._asking, RTM_GETLINK, LINK_HEADER.pack(0, 0, 0, 0, 0) + asked):
            for start, length, kind, _ in messages(data):
                if kind == RTM_NEWLINK:
                    found.update(_end(data, start, start + length, local=local))
        return frozenset(found)


def _end(data: bytes, start: int, end: int, *, local: Address) -> set[Address]:
    values = dict(attributes(data, start + 32, end))
    info = nested(values.get(IFLA_LINKINFO, b""))
    name = text(values.get(IFLA_IFNAME, b""))
    if info.get(IFLA_INFO_KIND) != _KIND or kind_of(name) is not None:
        return set()  # ours; and a kernel that does not know the kind tells of all devices
    ends = nested(info.get(IFLA_INFO_DATA, b""))
    here, there = (IPv4Address(ends.get(key) or bytes(4)) for key in (_LOCAL, _REMOTE))
    # one that knows neither end, such as the kernel's own tunl0, comes after ours
    return {there} if here == local or (here == _ANY and there != _ANY) else set()

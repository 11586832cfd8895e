"""The device by which a node reaches its own pods where they are on the network of one of its interfaces (their master).

The kernel passes nothing between an interface and the devices on it: what the node sends to such a pod leaves by the wire
and never comes back. One more device of that kind on the same master, the shim, is a neighbour of the pods. It carries no
address of the node: the others on that network would learn its MAC for the node's own, and lose the node when it goes.
It answers its pods alone when they ask for the node (``arp_filter``), asks them in the name of an address that nobody has
(``arp_announce``; RFC 3927), and has for IPv6 the link-local address of its MAC. The routes to the node's blocks by it name
the node's own address as their source. The device is ours by its name, and with it its addresses and those routes that are
not marked as somebody else's (their protocol is ``static``). An ipvlan has its master's MAC, and nobody else hears of it at
all; one that the kernel is told to make changes the mode of all that are on the master, those of pods included.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from msgspec import Struct

from towpath.model.links import NodeLink
from towpath.model.net import Address, Family, Interface, Prefix, family_of
from towpath.routes import sysctl
from towpath.routes.devices.message import change_body, numbered
from towpath.routes.links import (
    IFLA_LINK,
    MODE,
    Device,
    addresses,
    addresses_by_term,
    ask,
    devices,
    exchange,
    exists,
    of_ours,
)
from towpath.routes.message import (
    AF,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NUMBER,
    ROUTE,
    RTA_DST,
    RTA_OIF,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    SCOPE_NOWHERE,
    attribute,
    attributes,
)
from towpath.routes.netsocket import (
    ADDRESS_HEADER,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    LINK_HEADER,
    NESTED,
    RTM_DELLINK,
    RTM_NEWLINK,
    dump,
    messages,
    open_socket,
)
from towpath.routes.route import MAIN_TABLE, address

SHIM = "tp-shim"
"""The name of the device; a node's pods have one primary network, and so it has one."""
MODES: Mapping[str, Mapping[str, int]] = {
    "macvlan": {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8},
    "ipvlan": {"l2": 0, "l3": 1, "l3s": 2},
}
"""Kinds of such devices, and the numbers of their modes (``linux/if_link.h``)."""
_NAMES = {kind: {number: mode for mode, number in modes.items()} for kind, modes in MODES.items()}
_SIZES = {"macvlan": NUMBER, "ipvlan": struct.Struct("=H")}
"""Of the number of a mode."""
_SHARING = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap"})
_SCOPE_LINK, _UNICAST, _STATIC = 253, 1, 4
_RTA_PREFSRC = 7
_SETTINGS: Mapping[str, str] = {
    "ipv4/conf/{}/arp_filter": "1",
    "ipv4/conf/{}/arp_announce": "2",
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/addr_gen_mode": "1",
}
"""As in the module's words; and it takes no address or route from routers, which the master does already."""


class Shim(Struct, frozen=True):
    """The device as it should be."""

    kind: str
    mode: str
    master: str
    mac: str
    link_local: Address
    """That of the MAC, for IPv6."""
    routes: Mapping[Prefix, Address]
    """The node's blocks, and the address of the node from which it speaks to each one's pods."""


class PodShim:
    """The shim in this network namespace. ``proc``: ``/proc/sys/net``, as it is to be seen from here."""

    def __init__(self, name: str = SHIM, *, proc: Path) -> None:
        self._name = name
        self._proc = proc

    def links(self) -> Mapping[str, NodeLink]:
        """The interfaces of the node by name, with their addresses. ``OSError``: try again."""
        with closing(open_socket()[0]) as asking:
            on: dict[int, list[Interface]] = {}
            leased: dict[int, list[Interface]] = {}
            for index, one, stays in addresses_by_term(asking):
                on.setdefault(index, []).append(one)
                if not stays:
                    leased.setdefault(index, []).append(one)
            found = list(devices(asking))
            above: dict[int, list[tuple[str, str, str]]] = {}
            for there in found:
                if there.kind in _SHARING and there.name != self._name:
                    kind = there.kind.replace("vtap", "vlan")
                    mode = _NAMES[kind].get(there.mode, str(there.mode))
                    above.setdefault(there.below, []).append((kind, mode, there.name))
            return {
                there.name: NodeLink(
                    there.mtu,
                    enslaved=bool(there.master),
                    addresses=tuple(on.get(there.index, ())),
                    leased=tuple(leased.get(there.index, ())),
                    above=tuple(sorted(above.get(there.index, ()))),
                )
                for there in found
            }

    def desire(self, wanted: Shim | None) -> None:
        """The device is as wanted, with these routes and no others; None: there is none. ``OSError``: try again."""
        if wanted is None:
            self.remove()
            return
        with closing(open_socket()[0]) as asking:
            there, mtu = self._there(asking, wanted)
            for name, value in _SETTINGS.items():
                sysctl.keep(name.format(self._name), value, proc=self._proc)
            if not there.up or there.mtu != mtu:
                ask(asking, RTM_NEWLINK, change_body(there.index, mtu=mtu), what=self._name)
            self._address(asking, there.index, wanted)
            present = dict(_routes(asking, there.index))
            for prefix in present.keys() - {one for one, at in wanted.routes.items() if present.get(one) == at}:
                body = _route(prefix, there.index, scope=SCOPE_NOWHERE)
                ask(asking, RTM_DELROUTE, body, what=str(prefix), fine=errno.ESRCH)
                del present[prefix]
            for prefix in wanted.routes.keys() - present:
                body = _route(prefix, there.index, scope=_SCOPE_LINK)
                body += attribute(_RTA_PREFSRC, wanted.routes[prefix].packed)
                ask(asking, RTM_NEWROUTE, body, flags=NLM_F_CREATE | NLM_F_EXCL, what=str(prefix))

    def knows(self, kind: str) -> bool:
        """Whether the kernel has such devices: one that says of no master is refused by the kind, if there is it. ``OSError``: try again."""
        info = attribute(IFLA_INFO_KIND, kind.encode() + b"\0")
        body = LINK_HEADER.pack(0, 0, 0, 0, 0) + attribute(IFLA_LINKINFO | NESTED, info)
        with closing(open_socket()[0]) as asking:
            try:
                ask(asking, RTM_NEWLINK, body, flags=NLM_F_CREATE | NLM_F_EXCL, what=kind, fine=errno.EINVAL)
            except OSError as error:
                if error.errno == errno.EOPNOTSUPP:
                    return False
                raise
        return True

    def remove(self) -> None:
        """Remove the device, if it is there. ``OSError`` where the kernel refuses."""
        if not exists(self._name):
            return
        with closing(open_socket()[0]) as asking:
            for one in list(devices(asking)):
                if one.name == self._name and one.kind in MODES:
                    ask(asking, RTM_DELLINK, numbered(one.index), what=self._name, fine=errno.ENODEV)

    def seen(self) -> object:
        """How it stands: the device, its addresses, its routes and its sysctls; None: there is none."""
        if not exists(self._name):
            return None
        with closing(open_socket()[0]) as asking:
            there = next((one for one in devices(asking) if one.name == self._name), None)
            if there is None:
                return None
            on = frozenset(one for index, one in addresses(asking) if index == there.index)
            said = tuple(sysctl.read(self._proc / name.format(self._name)) for name in _SETTINGS)
            return there, on, frozenset(_routes(asking, there.index)), said

    def _there(self, asking: socket.socket, wanted: Shim) -> tuple[Device, int]:
        """The device, made anew where there is none or it is another, and the MTU of its master; switched off yet where it is new."""
        found = list(devices(asking))
        master = next((one for one in found if one.name == wanted.master), None)
        if master is None:
            raise OSError(errno.ENODEV, f"there is no interface {wanted.master}")
        there = of_ours(self._name, MODES, found)
        if there is not None:
            mac, mode = _mac(wanted) or master.mac, MODES[wanted.kind][wanted.mode]
            if (there.kind, there.below, there.mac, there.mode) == (wanted.kind, master.index, mac, mode):
                return there, master.mtu
            ask(asking, RTM_DELLINK, numbered(there.index), what=self._name, fine=errno.ENODEV)
        self._make(asking, master.index, wanted)
        there = of_ours(self._name, MODES, list(devices(asking)))
        if there is None:
            raise OSError(errno.ENODEV, f"{self._name} was removed at once")
        return there, master.mtu

    def _make(self, asking: socket.socket, master: int, wanted: Shim) -> None:
        mode = attribute(MODE, _SIZES[wanted.kind].pack(MODES[wanted.kind][wanted.mode]))
        info = attribute(IFLA_INFO_KIND, wanted.kind.encode() + b"\0") + attribute(IFLA_INFO_DATA | NESTED, mode)
        body = LINK_HEADER.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, self._name.encode() + b"\0")
        body += attribute(IFLA_LINK, NUMBER.pack(master))
        if mac := _mac(wanted):
            body += attribute(IFLA_ADDRESS, mac)
        body += attribute(IFLA_LINKINFO | NESTED, info)
        ask(asking, RTM_NEWLINK, body, flags=NLM_F_CREATE | NLM_F_EXCL, what=self._name, fine=errno.EEXIST)

    def _address(self, asking: socket.socket, index: int, wanted: Shim) -> None:
        families = {family_of(prefix) for prefix in wanted.routes}
        present = {one for at, one in addresses(asking) if at == index}
        needed = {one for one in _own(wanted) if family_of(one) in families}
        exchange(asking, index, present, needed, _address)


def _mac(wanted: Shim) -> bytes:
    """The MAC of its own; empty: it has none."""
    return bytes.fromhex(wanted.mac.replace(":", "")) if wanted.kind == "macvlan" else b""


def _own(wanted: Shim) -> tuple[Interface, Interface]:
    """The addresses of the shim: for IPv4 one in whose name it asks, which differs between nodes."""
    third, fourth = bytes.fromhex(wanted.mac.replace(":", ""))[-2:]
    # 169.254.0.0/24 and 169.254.255.0/24 are reserved (RFC 3927 section 2.1)
    asking = ip_address(f"169.254.{1 + third % 254}.{fourth}")
    return ip_interface((asking, 32)), ip_interface((wanted.link_local, 64))


def _address(one: Interface, device: int) -> bytes:
    flags = IFA_F_NODAD if family_of(one) is Family.IPV6 else 0
    head = ADDRESS_HEADER.pack(AF[family_of(one)], one.network.prefixlen, flags, _SCOPE_LINK, device)
    return head + attribute(IFA_LOCAL, one.packed) + attribute(IFA_ADDRESS, one.packed)


def _route(prefix: Prefix, device: int, *, scope: int) -> bytes:
    family = family_of(prefix)
    head = ROUTE.pack(
        AF[family],
        prefix.prefixlen,
        0,
        0,
        MAIN_TABLE,
        _STATIC,
        scope if family is Family.IPV4 else 0,
        _UNICAST,
        0,
    )
    return head + attribute(RTA_DST, prefix.network_address.packed) + attribute(RTA_OIF, NUMBER.pack(device))


def _routes(asking: socket.socket, device: int) -> Iterator[tuple[Prefix, Address | None]]:
    """Our routes of the main table by a device, each with its source."""
    for family in Family:
        head = ROUTE.pack(AF[family], 0, 0, 0, MAIN_TABLE, 0, 0, 0, 0)
        for data in dump(asking, RTM_GETROUTE, head + attribute(RTA_OIF, NUMBER.pack(device))):
            for start, length, kind, _ in messages(data):
                if kind != RTM_NEWROUTE:
                    continue
                _, bits, _, _, table, protocol, _, _, _ = ROUTE.unpack_from(data, start + 16)
                values = dict(attributes(data, start + 16 + ROUTE.size, start + length))
                if (table, protocol, values.get(RTA_OIF)) != (MAIN_TABLE, _STATIC, NUMBER.pack(device)):
                    continue
                packed = values.get(RTA_DST, bytes(family.bits // 8))
                source = values.get(_RTA_PREFSRC)
                yield ip_network((address(packed), bits)), address(source) if source is not None else None

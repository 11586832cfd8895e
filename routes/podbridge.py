"""The bridge that the pods of a node hang on: its device, its addresses, and the ports that pods have on it.

The CNI plugin plugs pods in and would make the device too, but its addresses are one a block, and the plugin gives a
device no second of IPv4. The device is ours by its name. A pod's cable says itself that it belongs here, by the alias that
it gets on the bridge: when somebody deletes the device it hangs on nothing, and is plugged in again where it was.
"""

import errno
import socket
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from towpath.model.net import Interface, family_of
from towpath.routes import sysctl
from towpath.routes.devices.message import change_body, numbered
from towpath.routes.links import IFLA_IFALIAS, IFLA_MASTER, Device, addresses, ask, devices, exchange, exists, of_ours
from towpath.routes.message import AF, NLM_F_CREATE, NLM_F_EXCL, NUMBER, attribute
from towpath.routes.netsocket import (
    ADDRESS_HEADER,
    AF_BRIDGE,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    LINK_HEADER,
    NESTED,
    RTM_DELLINK,
    RTM_NEWLINK,
    RTM_SETLINK,
    open_socket,
)

_IFLA_PROTINFO, _IFLA_BRPORT_MODE = 12, 4
_IFA_FLAGS, _IFA_RT_PRIORITY = 8, 9
_MAC = bytes.fromhex("667470627230")
"""Always the same, so that pods still know it when the device is made anew; no two nodes' bridges share a link."""
_KINDS = ("bridge",)
_METRIC = 1
"""Of the route to a block by this device: before our own route, which drops what no pod takes."""
_ACCEPT_RA = "ipv6/conf/{}/accept_ra"
"""0: pods are no routers of the node."""


class PodBridge:
    """The device of that name in this network namespace. ``proc``: ``/proc/sys/net``, as it is to be seen from here."""

    def __init__(self, name: str, *, proc: Path) -> None:
        self._name = name
        self._alias = f"towpath {name}"
        self._proc = proc

    def desire(self, gateways: Collection[Interface], *, mtu: int | None) -> None:
        """The device is there and up, with these addresses and no others, and pods that hung on it do. ``OSError``: try again.

        ``mtu`` None: as it is. It is never above what some pod's cable takes: what is too large for one would be lost.
        """
        with closing(open_socket()[0]) as asking:
            found = list(devices(asking))
            there = of_ours(self._name, _KINDS, found)
            if there is None:
                self._make(asking, mtu)
                there = of_ours(self._name, _KINDS, list(devices(asking)))
                if there is None:
                    raise OSError(errno.ENODEV, f"{self._name} was removed at once")
            sysctl.keep(_ACCEPT_RA.format(self._name), "0", proc=self._proc)
            ports = [one.mtu for one in found if one.master == there.index]
            wanted_mtu = min(mtu or there.mtu, *ports) if ports else mtu or there.mtu
            if not there.up or there.mtu != wanted_mtu:
                ask(asking, RTM_NEWLINK, change_body(there.index, mtu=wanted_mtu), what=self._name)
            exchange(asking, there.index, set(_addresses(asking, there.index)), gateways, _address)
            for port in found:
                self._plug(asking, port, there.index)

    def dismiss(self) -> None:
        """Remove the device unless pods hang on it, or would if it were whole. ``OSError``: try again."""
        if not exists(self._name):
            return
        with closing(open_socket()[0]) as asking:
            found = list(devices(asking))
            there = next((one for one in found if one.name == self._name and one.kind == "bridge"), None)
            if there is None or any(one.alias == self._alias or one.master == there.index for one in found):
                return
            self._remove(asking, there)

    def remove(self) -> None:
        """Remove the device, whoever hangs on it. ``OSError`` where the kernel refuses."""
        with closing(open_socket()[0]) as asking:
            for one in list(devices(asking)):
                if one.name == self._name and one.kind == "bridge":
                    self._remove(asking, one)

    def seen(self) -> object:
        """How it stands: the device, its addresses and sysctl, and cables on it that do not say yet that they belong here."""
        if not exists(self._name):
            return None
        with closing(open_socket()[0]) as asking:
            found = list(devices(asking))
            there = next((one for one in found if one.name == self._name), None)
            if there is None:
                return None
            unmarked = [one.index for one in found if one.master == there.index and one.alias != self._alias]
            said = sysctl.read(self._proc / _ACCEPT_RA.format(self._name))
            return there, frozenset(_addresses(asking, there.index)), tuple(unmarked), said

    def _make(self, asking: socket.socket, mtu: int | None) -> None:
        body = LINK_HEADER.pack(0, 0, 0, IFF_UP, IFF_UP)
        body += attribute(IFLA_IFNAME, self._name.encode() + b"\0") + attribute(IFLA_ADDRESS, _MAC)
        if mtu is not None:
            body += attribute(IFLA_MTU, NUMBER.pack(mtu))
        body += attribute(IFLA_LINKINFO | NESTED, attribute(IFLA_INFO_KIND, b"bridge\0"))
        ask(asking, RTM_NEWLINK, body, flags=NLM_F_CREATE | NLM_F_EXCL, what=self._name, fine=errno.EEXIST)

    def _plug(self, asking: socket.socket, port: Device, bridge: int) -> None:
        """Plug in what belongs here and hangs on nothing; let what is plugged in say that it does."""
        head = numbered(port.index)
        if port.alias == self._alias and not port.master:
            ask(asking, RTM_SETLINK, head + attribute(IFLA_MASTER, NUMBER.pack(bridge)), what=port.name)
            hairpin = attribute(_IFLA_PROTINFO | NESTED, attribute(_IFLA_BRPORT_MODE, b"\1"))
            ask(asking, RTM_SETLINK, LINK_HEADER.pack(AF_BRIDGE, 0, port.index, 0, 0) + hairpin, what=port.name)
        elif port.master == bridge and port.alias != self._alias:
            alias = attribute(IFLA_IFALIAS, self._alias.encode())
            ask(asking, RTM_SETLINK, head + alias, what=port.name, fine=errno.ENODEV)

    def _remove(self, asking: socket.socket, there: Device) -> None:
        ask(asking, RTM_DELLINK, numbered(there.index), what=self._name, fine=errno.ENODEV)


def _addresses(asking: socket.socket, device: int) -> Iterator[Interface]:
    """Those of a device but for the kernel's own link-local ones."""
    return (one for index, one in addresses(asking) if index == device and not one.is_link_local)


def _address(one: Interface, device: int) -> bytes:
    family = family_of(one)
    head = ADDRESS_HEADER.pack(AF[family], one.network.prefixlen, 0, 0, device)
    body = head + attribute(IFA_LOCAL, one.packed) + attribute(IFA_ADDRESS, one.packed)
    return body + attribute(_IFA_FLAGS, NUMBER.pack(IFA_F_NODAD)) + attribute(_IFA_RT_PRIORITY, NUMBER.pack(_METRIC))

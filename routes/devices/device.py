"""A tunnel device and what it needs to know of other nodes, as values: the same for what should be and for what is.

A kind of device is one ``Link``: everything that cannot be changed without making the device anew. Devices of ours are
known by their names, which nobody else gives to devices of that kind.
"""

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar

from msgspec import Struct

from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Why

_NAMES = {"vxlan": re.compile(r"tp-vx[46]-[0-9]{1,8}"), "ipip": re.compile(r"tp-ipip")}
"""What devices of ours are called, by their kind."""
_OVERHEAD = {Family.IPV4: 50, Family.IPV6: 70}
"""Outer Ethernet (14), IP (20 or 40), UDP (8) and VXLAN (8) headers (RFC 7348 section 5)."""
_IP_HEADER = 20
"""A second one is what IP-in-IP puts in front (RFC 2003 section 3)."""


EVERYONE = "00:00:00:00:00:00"
"""The MAC of the forwarding entry for packets to nobody in particular."""


class Vxlan(Struct, frozen=True):
    """A VXLAN device. Without a group it is told everything and learns nothing."""

    kind: ClassVar[str] = "vxlan"
    vni: int
    port: int
    local: Address
    """The node's own address, from which it sends."""
    mac: str
    group: Address | None = None
    """Where it asks for what it does not know; it learns from all that it gets."""
    below: int = 0
    """Number of the interface on which it joins the group."""

    @property
    def overhead(self) -> int:
        """Bytes that a packet grows by."""
        return _OVERHEAD[family_of(self.local)]


class Ipip(Struct, frozen=True):
    """An IP-in-IP device (RFC 2003) that sends to wherever a route says: it has no other end of its own."""

    kind: ClassVar[str] = "ipip"
    local: Address
    """The node's own address, from which it sends."""

    @property
    def overhead(self) -> int:
        """Bytes that a packet grows by."""
        return _IP_HEADER


Link = Vxlan | Ipip


def kind_of(name: str) -> str | None:
    """The kind of the devices of ours that have such a name; None: we give no such names."""
    return next((kind for kind, pattern in _NAMES.items() if pattern.fullmatch(name)), None)


def overhead(names: Iterable[str]) -> int:
    """Bytes that packets grow by at most in the tunnels with these devices."""
    return max(map(_overhead_of, names), default=0)


def _overhead_of(name: str) -> int:
    match kind_of(name):
        case Vxlan.kind:
            return _OVERHEAD[Family.IPV4 if name.startswith("tp-vx4-") else Family.IPV6]
        case Ipip.kind:
            return _IP_HEADER
        case _:
            return 0


class Device(Struct, frozen=True):
    """A device as it should be."""

    name: str
    link: Link
    addresses: tuple[Address, ...] = ()
    """The node's own addresses in the tunnel."""
    mtu: int | None = None
    """None: it is not known how large packets the network below takes."""
    why: tuple[Why, ...] = ()
    link_local: Address | None = None
    """The one that others ask for; None: nobody asks, and it has what the kernel gives it."""


class Neighbour(Struct, frozen=True):
    """Which MAC an endpoint's address has."""

    device: str
    address: Address
    mac: str
    why: tuple[Why, ...] = ()


class Forwarding(Struct, frozen=True):
    """Which node an endpoint's MAC is on."""

    device: str
    mac: str
    node: Address
    why: tuple[Why, ...] = ()
    via: int = 0
    """Number of the interface by which it is reached; 0: as routes say."""


class End(Struct, frozen=True):
    """An endpoint that is found by asking for its address; its MAC and node tell when what was learned of it is over."""

    device: str
    address: Address
    mac: str
    node: Address


class Entries(Struct, frozen=True):
    """What one device knows of other nodes."""

    neighbours: Mapping[Address, Neighbour] = {}
    forwarding: Mapping[str, Forwarding] = {}
    ends: Mapping[Address, End] = {}
    """What it is to find by itself."""


class Seen(Struct, frozen=True):
    """A device as it is, with a name of ours."""

    index: int
    name: str
    kind: str
    link: Link | None
    """None: with attributes that we never give one."""
    addresses: frozenset[Address]
    mtu: int
    up: bool
    offloads: bool
    """It leaves checksums of what it sends to the device below, which in a tunnel may not make them right."""
    link_locals: frozenset[Address] = frozenset()

    @property
    def ours(self) -> bool:
        """Whether it is of the kind that its name says: else somebody else has taken the name."""
        return self.kind == kind_of(self.name)

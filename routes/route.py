"""What the kernel holds for a prefix, as values: where it leads, at which metric, and who asked for it.

A ``Spec`` is everything of a route but its prefix. Thousands of prefixes share one, so equal specs are one object
(``spec`` makes them): tables compare them by identity, and one netlink template serves all their prefixes.
"""

import enum
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Literal
from weakref import WeakValueDictionary

from msgspec import Struct

from towpath.model.net import Address, Prefix
from towpath.model.reason import Why

PROTOCOL = 179
"""The routing protocol number of every route of ours (rtnetlink(7), rtm_protocol)."""
MAIN_TABLE, LOCAL_TABLE = 254, 255
DEFAULT_METRIC = 1179
BLACKHOLE: tuple[Address, ...] = ()
"""The next hops of a target that drops."""


class RouteType(enum.IntEnum):
    """What becomes of a packet (rtm_type); OTHER stands for all types that we neither make nor follow."""

    OTHER = 0
    UNICAST = 1
    BLACKHOLE = 6


class NextHop(Struct, frozen=True):
    """One way out: a device, and a gateway on its link unless the destination itself is there."""

    gateway: Address | None
    device: int
    onlink: bool = False
    """The gateway is taken to be on the link, whatever the addresses of the device say (RTNH_F_ONLINK)."""

    @property
    def order(self) -> tuple[int, bytes, bool]:
        """A total order, so that a set of next hops has one form."""
        return self.device, self.gateway.packed if self.gateway is not None else b"", self.onlink


class Spec(Struct, frozen=True, eq=False, weakref=True):
    """Where a route leads. Made by ``spec`` only: two that are equal are the same object."""

    type: RouteType
    next_hops: tuple[NextHop, ...]
    metric: int
    shared: bool = False
    """By a next-hop object that many routes share; packets go the same way as without."""

    def __str__(self) -> str:
        ways = ", ".join(f"{hop.gateway or 'on link'} dev {hop.device}" for hop in self.next_hops)
        return f"{self.type.name.lower()} {ways} metric {self.metric}".replace("  ", " ")


_SPECS: WeakValueDictionary[tuple[RouteType, tuple[NextHop, ...], int, bool], Spec] = WeakValueDictionary()


def spec(kind: RouteType, next_hops: Iterable[NextHop] = (), *, metric: int, shared: bool = False) -> Spec:
    """The one spec with these next hops, in any order and without repeats."""
    key = (kind, tuple(sorted(set(next_hops), key=lambda hop: hop.order)), metric, shared)
    found = _SPECS.get(key)
    if found is None:
        found = _SPECS[key] = Spec(*key)
    return found


def alike(one: Spec, other: Spec) -> bool:
    """Whether packets go the same way, by an object or not."""
    return one.type is other.type and one.next_hops == other.next_hops and one.metric == other.metric


class StaticRoute(Struct, frozen=True):
    """A route that the objects give: next hops are addresses of nodes and routers, not yet resolved to devices."""

    prefix: Prefix
    type: Literal["unicast", "blackhole", "local"]
    """``local``: the address is this node's own, though no device has it (``routes.local``)."""
    origin: Literal["Block", "Kubernetes", "Peer"]
    next_hops: tuple[Address, ...] = ()
    why: tuple[Why, ...] = ()
    device: str = ""
    """The tunnel by which the next hops are reached; empty: wherever they are found."""


def address(packed: bytes) -> Address:
    """An address of 4 or 16 bytes."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


class Target:
    """Where prefixes should lead: addresses of next hops (none: dropped), and what that is in the kernel just now."""

    __slots__ = ("__weakref__", "device", "many", "next_hops", "spec", "told")

    def __init__(self, next_hops: tuple[Address, ...], device: str = "") -> None:
        self.next_hops = next_hops
        self.device = device
        """A tunnel of ours, at whose other end they all are; empty: wherever they are found."""
        self.told = 0
        """Prefixes that were new when they were learned with it, less those forgotten."""
        self.many = False
        """They were so many once that its routes share a next-hop object."""
        self.spec: Spec | None = None
        """None: no next hop is resolved."""

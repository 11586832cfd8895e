"""The seam to the kernel's routing table: what the programmer asks of it, and what it tells.

``netlink.open_kernel`` is the real one, ``lab.fake_kernel`` one in memory; the same contract tests run on both. The hot
path deals in wire prefixes (``model.net``) by family, in bulk: one ``Batch`` is many prefixes with one spec.
"""

import enum
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from towpath.model.net import Address, Family, Interface
from towpath.routes.route import Spec


class Operation(enum.Enum):
    """What a batch does. None of them can touch a route of another protocol that is where the mirror says it is."""

    ADD = "created, refused with EEXIST where prefix and metric are taken"
    REPLACE = "ours is replaced, refused with ENOENT where there is none"
    DELETE = "deleted by its full key: protocol, metric, type, gateway, device"


class Batch(Struct, frozen=True):
    """Many prefixes of one family, one spec, one operation."""

    operation: Operation
    family: Family
    spec: Spec
    wires: Sequence[bytes]


class Failure(Struct, frozen=True):
    """The kernel refused one route of a batch."""

    batch: Batch
    wire: bytes
    errno: int


class Link(Struct, frozen=True):
    """A network device. ``usable``: administratively up, and with carrier."""

    index: int
    name: str
    usable: bool
    mtu: int = 0


class LinkAddress(Struct, frozen=True):
    """An address of a device; ``subnet`` is the range on its link (the peer's, on a point-to-point link)."""

    index: int
    local: Address
    subnet: Interface


class RouteSeen(Struct, frozen=True):
    """A route of the main table, as a dump shows it."""

    wire: bytes
    protocol: int
    spec: Spec


class RouteEvent(Struct, frozen=True):
    """Somebody else, or the kernel itself, changed a route of the main table."""

    family: Family
    gone: bool
    replaced: bool
    """A new route took the place of the one that was there before with this prefix and metric."""
    seen: RouteSeen


class LinkEvent(Struct, frozen=True):
    """A device appeared, changed or went away."""

    link: Link
    gone: bool


class AddressEvent(Struct, frozen=True):
    """An address appeared or went away."""

    address: LinkAddress
    gone: bool


class NextHopEvent(Struct, frozen=True):
    """Somebody else changed or removed a next-hop object, and maybe routes with it: of that the kernel may say nothing."""


Event = RouteEvent | LinkEvent | AddressEvent | NextHopEvent


class EventsLostError(Exception):
    """The kernel had more to tell than the socket could hold: everything must be read again."""


class Kernel(Protocol):
    """One network namespace. Calls return at once; errors of the socket itself are ``OSError``."""

    shares: bool
    """It knows next-hop objects: specs may be ``shared``."""

    def apply(self, batches: Sequence[Batch]) -> list[Failure]:
        """Carry out the batches in order; what is not in the answer was done."""

    def routes(self, family: Family, *, protocol: int = 0) -> Iterator[list[RouteSeen]]:
        """The main table in pieces; only routes of ``protocol`` unless it is 0."""

    def keep(self, specs: Collection[Spec]) -> None:
        """Remove next-hop objects that none of these specs uses; the kernel removes the routes by them."""

    def links(self) -> list[Link]:
        """All devices."""

    def addresses(self) -> list[LinkAddress]:
        """All addresses of both families."""

    def watch(self, readable: Callable[[], None]) -> None:
        """Call ``readable`` from the running loop whenever ``events`` has something to give."""

    def events(self) -> list[Event]:
        """Some of what happened since the last call, except what ``apply`` did; ``EventsLostError`` if some are lost."""

    def close(self) -> None:
        """Close the sockets."""

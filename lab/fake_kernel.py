"""A kernel's routing table in memory: the same answers as the real one to the same changes, without a namespace.

For simulations. Its hands are those of everybody else: ``foreign`` and friends do what an administrator or another daemon
would do, and the events of that reach the watcher.
"""

import asyncio
import errno
from collections.abc import Callable, Collection, Iterator, Sequence

from towpath.model.net import Family, Interface, WirePrefix, family_of, to_wire
from towpath.routes.kernel import (
    AddressEvent,
    Batch,
    Event,
    EventsLostError,
    Failure,
    Link,
    LinkAddress,
    LinkEvent,
    NextHopEvent,
    Operation,
    RouteEvent,
    RouteSeen,
)
from towpath.routes.route import PROTOCOL, NextHop, RouteType, Spec, spec

KERNEL_PROTOCOL = 2


class FakeKernel:
    """Implements ``routes.kernel.Kernel``. A route is known by prefix and metric; IPv4 may hold several of one key."""

    shares = True

    def __init__(self) -> None:
        self.objects: set[NextHop] = set()
        """Ways out that routes of ours share."""
        self.table: dict[Family, dict[bytes, list[RouteSeen]]] = {family: {} for family in Family}
        self.applied = 0
        """Changes that were carried out for us."""
        self._links: dict[int, Link] = {}
        self._addresses: list[LinkAddress] = []
        self._events: list[Event] = []
        self._lost = False
        self._readable: Callable[[], None] | None = None

    # what the port asks

    def apply(self, batches: Sequence[Batch]) -> list[Failure]:
        """See ``routes.kernel.Kernel``."""
        failures: list[Failure] = []
        for batch in batches:
            for wire in batch.wires:
                error = self._apply(batch, wire)
                if error:
                    failures.append(Failure(batch, wire, error))
                else:
                    self.applied += 1
        return failures

    def _apply(self, batch: Batch, wire: bytes) -> int:
        routes = self.table[batch.family].setdefault(wire, [])
        same = [route for route in routes if route.spec.metric == batch.spec.metric]
        ours = RouteSeen(wire, PROTOCOL, batch.spec)
        match batch.operation:
            case Operation.ADD if same:
                return errno.EEXIST
            case Operation.REPLACE if not same:
                return errno.ENOENT
            case Operation.DELETE:
                if ours not in routes:
                    return errno.ESRCH
                routes.remove(ours)
                return 0
            case _:
                pass
        if not self._reachable(batch.spec):
            return errno.ENETUNREACH
        if batch.spec.shared:
            self.objects.update(batch.spec.next_hops)
        if same:
            routes[routes.index(same[0])] = ours
        else:
            routes.append(ours)
        return 0

    def _reachable(self, wanted: Spec) -> bool:
        """Whether every gateway is on the link of a device that is up."""
        return all(
            hop.device in self._links
            and self._links[hop.device].usable
            and (
                hop.onlink
                or hop.gateway is None
                or hop.gateway.is_link_local
                or any(found.index == hop.device and hop.gateway in found.subnet.network for found in self._addresses)
            )
            for hop in wanted.next_hops
        )

    def routes(self, family: Family, *, protocol: int = 0) -> Iterator[list[RouteSeen]]:
        """See ``routes.kernel.Kernel``."""
        yield [
            route
            for routes in self.table[family].values()
            for route in routes
            if not protocol or route.protocol == protocol
        ]

    def keep(self, specs: Collection[Spec]) -> None:
        """See ``routes.kernel.Kernel``: routes whose object is removed go with it, without a word."""
        gone = self.objects - {hop for one in specs if one.shared for hop in one.next_hops}
        self.objects -= gone
        for table in self.table.values():
            for wire, routes in table.items():
                table[wire] = [one for one in routes if not (one.spec.shared and gone.issuperset(one.spec.next_hops))]

    def links(self) -> list[Link]:
        """See ``routes.kernel.Kernel``."""
        return list(self._links.values())

    def addresses(self) -> list[LinkAddress]:
        """See ``routes.kernel.Kernel``."""
        return list(self._addresses)

    def watch(self, readable: Callable[[], None]) -> None:
        """See ``routes.kernel.Kernel``."""
        self._readable = readable
        self._tell()

    def events(self) -> list[Event]:
        """See ``routes.kernel.Kernel``."""
        found, self._events = self._events, []
        if self._lost:
            self._lost = False
            raise EventsLostError
        return found

    def close(self) -> None:
        """See ``routes.kernel.Kernel``."""
        self._readable = None

    # what others do

    def link(self, index: int, name: str, *, usable: bool = True) -> None:
        """A device appears or changes; the routes of one that goes down vanish without a word, as with IPv4."""
        self._links[index] = Link(index, name, usable)
        if not usable:
            self._drop(lambda hop: hop.device == index)
            self.objects = {hop for hop in self.objects if hop.device != index}
        self._happened(LinkEvent(self._links[index], gone=False))

    def unlink(self, index: int) -> None:
        """A device is removed with its addresses and routes."""
        gone = self._links.pop(index)
        self._addresses = [found for found in self._addresses if found.index != index]
        self._drop(lambda hop: hop.device == index)
        self._happened(LinkEvent(gone, gone=True))

    def address(self, index: int, interface: Interface) -> None:
        """A device gets an address, and the table the route to its range."""
        found = LinkAddress(index, interface.ip, interface)
        self._addresses.append(found)
        self._happened(AddressEvent(found, gone=False))
        connected = spec(RouteType.UNICAST, (NextHop(None, index),), metric=0)
        family = family_of(interface.ip)
        self.foreign(family, to_wire(interface.network), connected, protocol=KERNEL_PROTOCOL)

    def _drop(self, dead: Callable[[NextHop], bool]) -> None:
        for table in self.table.values():
            for wire, routes in table.items():
                table[wire] = [
                    route for route in routes if not route.spec.next_hops or not all(map(dead, route.spec.next_hops))
                ]

    def foreign(self, family: Family, wire: WirePrefix, route: Spec, *, protocol: int = 4) -> None:
        """Somebody appends a route: beside one of the same key in IPv4, merged into it in IPv6."""
        routes = self.table[family].setdefault(wire, [])
        seen = RouteSeen(wire, protocol, route)
        merged = next((one for one in routes if one.spec.metric == route.metric), None)
        joins = merged is not None and merged.spec.next_hops and route.next_hops and not merged.spec.shared
        if family is Family.IPV6 and merged is not None and joins:
            both = spec(RouteType.UNICAST, (*merged.spec.next_hops, *route.next_hops), metric=route.metric)
            routes[routes.index(merged)] = RouteSeen(wire, merged.protocol, both)
            seen = RouteSeen(wire, protocol, both)
        else:
            routes.append(seen)
        self._happened(RouteEvent(family, gone=False, replaced=False, seen=seen))

    def replace(self, family: Family, wire: WirePrefix, route: Spec, *, protocol: int) -> None:
        """Somebody replaces the route of this key, whosever it is."""
        routes = self.table[family].setdefault(wire, [])
        seen = RouteSeen(wire, protocol, route)
        for position, one in enumerate(routes):
            if one.spec.metric == route.metric:
                routes[position] = seen
                break
        else:
            routes.append(seen)
        self._happened(RouteEvent(family, gone=False, replaced=True, seen=seen))

    def remove(self, family: Family, wire: WirePrefix, route: Spec, *, protocol: int) -> None:
        """Somebody deletes exactly this route, or takes its next hops out of a merged one."""
        routes = self.table[family].get(wire, [])
        seen = RouteSeen(wire, protocol, route)
        if seen in routes:
            routes.remove(seen)
        else:
            merged = next(one for one in routes if one.spec.metric == route.metric)
            left = [hop for hop in merged.spec.next_hops if hop not in route.next_hops]
            routes[routes.index(merged)] = RouteSeen(
                wire, merged.protocol, spec(RouteType.UNICAST, left, metric=route.metric)
            )
        self._happened(RouteEvent(family, gone=True, replaced=False, seen=seen))

    def remove_objects(self) -> None:
        """Somebody removes all next-hop objects: the routes by them go without a word."""
        self.keep(())
        self._happened(NextHopEvent())

    def lose_events(self) -> None:
        """The kernel has more to tell than fits."""
        self._events, self._lost = [], True
        self._tell()

    def _happened(self, event: Event) -> None:
        self._events.append(event)
        self._tell()

    def _tell(self) -> None:
        if self._readable is not None and (self._events or self._lost):
            asyncio.get_running_loop().call_soon(self._told)

    def _told(self) -> None:
        if self._readable is not None and (self._events or self._lost):
            self._readable()

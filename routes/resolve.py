"""Where a next hop is: on one of our links, or behind what the kernel's own table says.

Of our own routes those count that lead to peers, and those outside of pools that neighbours have told (``bgp.ways``): their
gateways are looked for on links and in others' routes alone, so that none leads to itself.

A pure mirror of links, addresses and foreign routes of the main table. The longest prefix wins; a range of a link of ours
wins against a route of the same length. Ways over a device that is down, without carrier or ignored do not count, and a
prefix of which no way is left is passed over, as the kernel does.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct

from towpath.model.net import Address, Family, Prefix, family_of, unscoped, zone_of
from towpath.routes.kernel import AddressEvent, Link, LinkAddress, LinkEvent, RouteEvent
from towpath.routes.route import NextHop, RouteType, Spec, spec

_DIRECT_METRIC = 0


class Resolution(Struct, frozen=True):
    """The ways to an address, and how far it is: 0 on a link of ours, else 1 + the metric of the route that was found."""

    next_hops: tuple[NextHop, ...]
    metric: int


class Resolver:
    """Answers for any address; ``changed`` says which answers may have become different since it was asked last."""

    def __init__(self) -> None:
        self.links: dict[int, Link] = {}
        self.addresses: set[LinkAddress] = set()
        self._ignored: tuple[str, ...] = ()
        self._gateways: dict[Address, Address] = {}
        self._metric = 0
        self._ways: dict[Family, dict[int, dict[int, tuple[Address, ...]]]] = {family: {} for family in Family}
        self._leading: frozenset[Address] = frozenset()
        """The gateways of those ways, and ``_near`` the addresses that no way leads to."""
        self._near: frozenset[Address] = frozenset()
        self._routes: dict[Family, dict[int, dict[int, tuple[Spec, ...]]]] = {family: {} for family in Family}
        self._by_name: dict[str, int] = {}
        self._subnets: dict[Family, list[tuple[int, int, int]]] = {family: [] for family in Family}
        self._usable: frozenset[int] = frozenset()
        self._own: frozenset[Address] = frozenset()
        self.seen = 0
        """How often devices or addresses were others than before."""
        self.devices: set[int] = set()
        """Devices that some foreign route with a gateway leads over."""
        self._all_changed = True
        self._changed: dict[Family, dict[int, set[int]]] = {family: {} for family in Family}

    def ignore(self, globs: Iterable[str]) -> None:
        """Names of devices that no way leads over."""
        self._ignored = tuple(globs)
        self._settle()

    def behind(self, gateways: Mapping[Address, Address], *, metric: int) -> None:
        """Addresses that routes of ours lead to, each by a gateway; ``metric``: that of those routes.

        A gateway is one that others' routes or our links lead to: nothing is looked for behind it.
        """
        if (gateways, metric) != (self._gateways, self._metric):
            self._gateways, self._metric = dict(gateways), metric
            self._all_changed = True

    def lead(self, ways: Mapping[Prefix, tuple[Address, ...]], *, near: frozenset[Address]) -> None:
        """Prefixes that routes of ours lead to, each by some gateways; as with ``behind`` nothing is looked for behind those.

        What is ``near`` is looked for without them: whether a gateway is used may depend on how far it is.
        """
        made: dict[Family, dict[int, dict[int, tuple[Address, ...]]]] = {family: {} for family in Family}
        for prefix, gateways in ways.items():
            family = family_of(prefix)
            number = int(prefix.network_address) >> (family.bits - prefix.prefixlen)
            made[family].setdefault(prefix.prefixlen, {})[number] = gateways
        if (made, near) != (self._ways, self._near):
            self._ways, self._near = made, near
            self._leading = frozenset(gateway for gateways in ways.values() for gateway in gateways)
            self._all_changed = True

    def reset_links(self, links: Iterable[Link], addresses: Iterable[LinkAddress]) -> None:
        """All devices and addresses, as they were read."""
        fresh_links, fresh_addresses = {link.index: link for link in links}, set(addresses)
        if (fresh_links, fresh_addresses) != (self.links, self.addresses):
            self.links, self.addresses = fresh_links, fresh_addresses
            self._settle()

    def link(self, event: LinkEvent) -> bool:
        """One device; whether that makes a difference here."""
        index, before = event.link.index, self.links.get(event.link.index)
        if event.gone:
            self.links.pop(index, None)
        else:
            self.links[index] = event.link
        if before == self.links.get(index):
            return False
        self._settle()
        return True

    def address(self, event: AddressEvent) -> bool:
        """One address; whether that makes a difference here."""
        if (event.address in self.addresses) is not event.gone:
            return False
        if event.gone:
            self.addresses.discard(event.address)
        else:
            self.addresses.add(event.address)
        self._settle()
        return True

    def _settle(self) -> None:
        self.seen += 1
        self._usable = frozenset(
            link.index
            for link in self.links.values()
            if link.usable and not any(fnmatchcase(link.name, glob) for glob in self._ignored)
        )
        self._own = frozenset(address.local for address in self.addresses)
        self._by_name = {link.name: link.index for link in self.links.values()}
        for family in Family:
            self._subnets[family] = sorted(
                (
                    (
                        found.subnet.network.prefixlen,
                        int(found.subnet.network.network_address) >> (family.bits - found.subnet.network.prefixlen),
                        found.index,
                    )
                    for found in self.addresses
                    if family_of(found.local) is family
                ),
                reverse=True,
            )
        self._all_changed = True

    def reset_routes(self, family: Family, routes: Iterable[tuple[bytes, Spec]]) -> None:
        """All foreign routes of a family, as they were read."""
        fresh: dict[int, dict[int, tuple[Spec, ...]]] = {}
        for wire, route in routes:
            by_network = fresh.setdefault(wire[0], {})
            network = _network(wire)
            by_network[network] = (*by_network.get(network, ()), route)
            self._note(route)
        if fresh != self._routes[family]:
            self._routes[family] = fresh
            self._all_changed = True
            self.seen += 1

    def _note(self, route: Spec) -> None:
        for hop in route.next_hops:
            if hop.gateway is not None:
                self.devices.add(hop.device)

    @property
    def size(self) -> int:
        """How many prefixes have foreign routes."""
        return sum(len(networks) for lengths in self._routes.values() for networks in lengths.values())

    def route(self, event: RouteEvent) -> None:
        """One foreign route that somebody changed."""
        wire, route = event.seen.wire, event.seen.spec
        length, network = wire[0], _network(wire)
        by_network = self._routes[event.family].setdefault(length, {})
        before = by_network.get(network, ())
        self._note(route)
        after = _without(before, route) if event.gone else _with(before, route, event)
        if after == before:
            return
        self.seen += 1
        if after:
            by_network[network] = after
        else:
            by_network.pop(network, None)
            if not by_network:
                del self._routes[event.family][length]
        self._changed[event.family].setdefault(length, set()).add(network)

    def changed(self, addresses: Iterable[Address]) -> list[Address]:
        """Those of the addresses whose resolution may differ from what it was at the last call."""
        everything, self._all_changed = self._all_changed, False
        touched, self._changed = self._changed, {family: {} for family in Family}
        if everything:
            return list(addresses)
        if not any(touched.values()):
            return []
        if any(_lies_in(gateway, touched[family_of(gateway)]) for gateway in self._leading):
            return list(addresses)
        return [
            address
            for address in addresses
            if any(_lies_in(one, touched[family_of(one)]) for one in (address, self._gateways.get(address, address)))
        ]

    def resolve(self, address: Address) -> Resolution | None:
        """The ways to an address; None where there is none."""
        if address in self._own:
            return None
        gateway = self._gateways.get(address)
        by_gateway = self._by_others(gateway) if gateway is not None and gateway not in self._own else None
        if by_gateway is not None:
            return Resolution(by_gateway.next_hops, 1 + self._metric)
        found = self._longest(address)
        way = self._way(address, than=found) if address not in self._near else None
        return way if way is not None else found[1] if found is not None else None

    def _by_others(self, address: Address) -> Resolution | None:
        found = self._longest(address)
        return found[1] if found is not None else None

    def _way(self, address: Address, *, than: tuple[int, Resolution | None] | None) -> Resolution | None:
        """By a prefix that neighbours told, where it is longer ``than`` what others have, or as long and its metric is lower."""
        family, number = family_of(address), int(address)
        ways = self._ways[family]
        metric = 1 + self._metric
        for length in sorted(ways, reverse=True):
            if than is not None and (than[0] > length or (than[0] == length and _nearer(than[1], metric))):
                return None
            gateways = ways[length].get(number >> (family.bits - length), ())
            found = (self._by_others(gateway) for gateway in gateways if gateway not in self._own)
            hops = tuple(dict.fromkeys(hop for one in found if one is not None for hop in one.next_hops))
            if hops:
                return Resolution(hops, metric)
        return None

    def _longest(self, address: Address) -> tuple[int, Resolution | None] | None:
        """By links and others' routes: the length of the prefix that counts, and its ways; None where they say nothing."""
        family, number = family_of(address), int(address)
        if family is Family.IPV6 and address.is_link_local:
            device = self._by_name.get(zone_of(address))  # without its device it says nothing
            if device is None or device not in self._usable:
                return family.bits, None
            return family.bits, Resolution((NextHop(unscoped(address), device),), _DIRECT_METRIC)
        on_link = self._on_link(family, number)
        routes = self._routes[family]
        for length in sorted(routes, reverse=True):
            if on_link and on_link[0] >= length:
                break
            found = self._follow(routes[length].get(number >> (family.bits - length), ()), address)
            if found is not None:
                return length, found if found.next_hops else None
        if on_link:
            return family.bits, Resolution((NextHop(address, on_link[1]),), _DIRECT_METRIC)
        return None

    def default_gateways(self, family: Family) -> tuple[Address, ...]:
        """The gateways of the usable default route, all its ways; a link-local one says nothing without its device."""
        for route in sorted(self._routes[family].get(0, {}).get(0, ()), key=lambda candidate: candidate.metric):
            hops = [hop for hop in route.next_hops if hop.device in self._usable]
            if hops:
                gateways = [hop.gateway for hop in hops if hop.gateway is not None and not hop.gateway.is_link_local]
                return tuple(sorted(set(gateways), key=int))
        return ()

    def _on_link(self, family: Family, number: int) -> tuple[int, int] | None:
        """Prefix length and device of the longest range of a usable link that holds an address."""
        for length, network, index in self._subnets[family]:
            if index in self._usable and number >> (family.bits - length) == network:
                return length, index
        return None

    def _follow(self, routes: tuple[Spec, ...], address: Address) -> Resolution | None:
        for route in sorted(routes, key=lambda candidate: candidate.metric):
            hops = tuple(hop for hop in route.next_hops if hop.device in self._usable)
            if not hops:
                if route.type is RouteType.UNICAST:
                    continue
                return Resolution((), route.metric)  # somebody says that nothing is there
            ways = tuple(NextHop(address, hop.device) if hop.gateway is None else hop for hop in hops)
            direct = all(hop.gateway is None for hop in hops)
            return Resolution(ways, _DIRECT_METRIC if direct else 1 + route.metric)
        return None

    def device_of(self, address: Address) -> int | None:
        """The device that an address names, else whose range holds it, usable or not: the usable one, else the longest range."""
        if zone_of(address):
            return self._by_name.get(zone_of(address))
        family, number = family_of(address), int(address)
        holding = [
            index for length, network, index in self._subnets[family] if number >> (family.bits - length) == network
        ]
        usable = [index for index in holding if self.carrier(index)]
        return next(iter(usable or holding), None)

    def named(self, name: str) -> int | None:
        """The number of a device."""
        return self._by_name.get(name)

    def carrying(self, address: Address) -> Link | None:
        """The device that has this address; None where none has, or only loopback."""
        found = {one.index for one in self.addresses if one.local == address} - {self.named("lo")}
        return self.links.get(min(found, default=0))

    def towards(self, address: Address) -> frozenset[Link]:
        """The devices by which packets to an address leave; none where no way leads there, or it is our own."""
        found = self.resolve(address)
        return (
            frozenset(self.links[hop.device] for hop in found.next_hops if hop.device in self.links)
            if found
            else frozenset()
        )

    def carrier(self, index: int) -> bool:
        """Whether a device is up and has carrier."""
        return index in self.links and self.links[index].usable


def _nearer(found: Resolution | None, metric: int) -> bool:
    """Whether the kernel prefers what others say to a route of ours with this metric and the same prefix."""
    return found is None or found.metric <= metric


def _network(wire: bytes) -> int:
    """The bits of a wire prefix as a number, without host bits."""
    return int.from_bytes(wire[1:], "big") >> (-wire[0] % 8)


def _lies_in(address: Address, networks: dict[int, set[int]]) -> bool:
    number, bits = int(address), family_of(address).bits
    return any(number >> (bits - length) in within for length, within in networks.items())


def _with(routes: tuple[Spec, ...], route: Spec, event: RouteEvent) -> tuple[Spec, ...]:
    """After a route was added. IPv6 routes with gateways are one a metric; the event shows all its next hops."""
    merges = event.family is Family.IPV6 and all(hop.gateway is not None for hop in route.next_hops)
    if event.replaced or merges:
        rest = [other for other in routes if other.metric != route.metric]
        same = [other for other in routes if other.metric == route.metric]
        kept = same[1:] if event.family is Family.IPV4 else []
        return (*rest, route, *kept)
    return routes if route in routes else (*routes, route)


def _without(routes: tuple[Spec, ...], route: Spec) -> tuple[Spec, ...]:
    """After a route was deleted. Of an IPv6 route single next hops can go."""
    if route in routes:
        return tuple(other for other in routes if other is not route)
    rest: list[Spec] = []
    for other in routes:
        if other.metric != route.metric:
            rest.append(other)
        elif left := [hop for hop in other.next_hops if hop not in route.next_hops]:
            rest.append(spec(other.type, left, metric=other.metric))
    return tuple(rest)

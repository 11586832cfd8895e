"""The next hops that anybody asked about: how they resolve now, who must hear when that changes, which sessions are severed.

Each address is resolved once and kept; after a change of links, addresses or foreign routes only those that it may concern
are resolved again.
"""

from collections.abc import Callable, Mapping

from towpath.model.net import Address, Family, family_of, zone_of
from towpath.routes.resolve import Resolution, Resolver
from towpath.routes.route import NextHop

OnMetrics = Callable[[Mapping[Address, int | None]], None]
OnSevered = Callable[[frozenset[str]], None]


class NextHops:
    """See the module. ``settle`` takes in what changed in the resolver."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        on_metrics: OnMetrics | None,
        on_severed: OnSevered | None,
        on_gateways: Callable[[], None] | None,
        on_links: Callable[[], None] | None,
    ) -> None:
        self.resolver = resolver
        self._on_links = on_links
        self._seen = 0
        self._on_gateways = on_gateways
        self._gateways: dict[Family, tuple[Address, ...]] = dict.fromkeys(Family, ())
        self._on_metrics = on_metrics
        self._on_severed = on_severed
        self._resolutions: dict[Address, Resolution | None] = {}
        self._tunnels: dict[str, int | None] = {}
        """The devices of tunnels that were asked about, as far as they can be used."""
        self._interest: frozenset[Address] = frozenset()
        self._peers: dict[str, Address] = {}
        self._peer_devices: dict[str, int] = {}
        self._severed: frozenset[str] = frozenset()

    def metrics(self, addresses: frozenset[Address]) -> dict[Address, int | None]:
        """How far each is, None where there is no way; ``on_metrics`` tells when one of them changes."""
        self._interest = addresses
        return {address: _metric(self._resolution(address)) for address in addresses}

    def interfaces(self) -> dict[Address, str]:
        """The interface of the first way to each address that was asked about and has one."""
        return {address: name for address in self._interest if (name := self._interface(self._resolution(address)))}

    def _interface(self, resolution: Resolution | None) -> str:
        if resolution is None or not resolution.next_hops:
            return ""
        link = self.resolver.links.get(resolution.next_hops[0].device)
        return link.name if link is not None else ""

    def ways(self, family: Family, addresses: tuple[Address, ...]) -> list[NextHop]:
        """All ways to these addresses, as far as routes of the family can have them: IPv4 ones have IPv6 gateways too."""
        return [
            hop
            for address in addresses
            if family_of(address) in (family, Family.IPV6) and (found := self._resolution(address)) is not None
            for hop in found.next_hops
        ]

    def through(self, device: str, addresses: tuple[Address, ...]) -> list[NextHop]:
        """The ways to these addresses at the other end of a tunnel; none while its device is not there, or down."""
        if device not in self._tunnels:
            self._tunnels[device] = self._tunnel(device)
        index = self._tunnels[device]
        return [] if index is None else [NextHop(address, index, onlink=True) for address in addresses]

    def settle_tunnels(self) -> set[str]:
        """Look for the devices of tunnels again; those that are others now, or are there, or not any more."""
        moved = {device for device, index in self._tunnels.items() if index != self._tunnel(device)}
        self._tunnels |= {device: self._tunnel(device) for device in moved}
        return moved

    def _tunnel(self, device: str) -> int | None:
        index = self.resolver.named(device)
        return index if index is not None and self.resolver.carrier(index) else None

    @property
    def gateways(self) -> tuple[Address, ...]:
        """Gateways of the default routes, the last ones where there is none now.

        A default route that is gone for a moment, as when DHCP makes it anew, ends no session with its gateway; whether
        the gateway is there the session itself knows.
        """
        return tuple(address for found in self._gateways.values() for address in found)

    def _resolution(self, address: Address) -> Resolution | None:
        try:
            return self._resolutions[address]
        except KeyError:
            found = self._resolutions[address] = self.resolver.resolve(address)
            return found

    def settle(self) -> set[Address]:
        """Resolve again what may have changed, and tell those who asked; the addresses that lead elsewhere now."""
        if self._on_links is not None and self.resolver.seen != self._seen:
            self._seen = self.resolver.seen
            self._on_links()
        moved: set[Address] = set()
        told: dict[Address, int | None] = {}
        for address in self.resolver.changed(self._resolutions):
            before, after = self._resolutions[address], self.resolver.resolve(address)
            if before == after:
                continue
            self._resolutions[address] = after
            moved.add(address)
            differs = _metric(before) != _metric(after) or self._interface(before) != self._interface(after)
            if address in self._interest and differs:
                told[address] = _metric(after)
        if told and self._on_metrics is not None:
            self._on_metrics(told)
        gateways = {family: self.resolver.default_gateways(family) or self._gateways[family] for family in Family}
        if gateways != self._gateways:
            self._gateways = gateways
            if self._on_gateways is not None:
                self._on_gateways()
        severed = self._find_severed()
        if severed != self._severed:
            self._severed = severed
            if self._on_severed is not None:
                self._on_severed(severed)
        return moved

    def keep(self, addresses: set[Address]) -> None:
        """Forget the others, unless somebody asked for their metrics."""
        self._resolutions = {
            address: found
            for address, found in self._resolutions.items()
            if address in addresses or address in self._interest
        }

    def carrier(self, peers: Mapping[str, Address]) -> frozenset[str]:
        """Sessions (by name) whose peer is on a link that has no carrier or is down; ``on_severed`` tells of changes."""
        self._peers = dict(peers)
        self._peer_devices = {name: device for name, device in self._peer_devices.items() if name in peers}
        self._severed = self._find_severed()
        return self._severed

    def _find_severed(self) -> frozenset[str]:
        severed: set[str] = set()
        for name, address in self._peers.items():
            # IPv6 loses its addresses with the link: the device that led there last still says what happened
            device = self.resolver.device_of(address)
            if device is None and zone_of(address):
                severed.add(name)  # the interface that the session is bound to is gone
                continue
            if device is None:
                device = self._peer_devices.get(name)
            if device is None or device not in self.resolver.links:
                continue
            self._peer_devices[name] = device
            if not self.resolver.carrier(device):
                severed.add(name)
        return frozenset(severed)


def _metric(resolution: Resolution | None) -> int | None:
    return None if resolution is None else resolution.metric

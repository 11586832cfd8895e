"""What next hops are in the kernel just now: the targets of all tables, resolved, and resolved again.

A target has one next hop or several, and so has its spec; from some number of prefixes on, routes to one next hop share an
object of it, which they are as good without.
"""

from collections.abc import Iterable, Mapping

from towpath.model.net import Family, scoped
from towpath.routes.kernel import Link
from towpath.routes.nexthops import NextHops
from towpath.routes.route import BLACKHOLE, DEFAULT_METRIC, RouteType, Spec, Target, alike, spec
from towpath.routes.table import Table

MANY = 1000
"""Prefixes that were learned with one next hop, from which on their routes share an object."""


class Targets:
    """See the module. ``metric`` is that of our routes; ``share``: objects may be used."""

    def __init__(self, hops: NextHops, *, share: bool) -> None:
        self._hops = hops
        self.share = share
        self.metric = DEFAULT_METRIC

    def resolve(self, family: Family, target: Target) -> Spec | None:
        """What a target is in the kernel just now, None where no way leads to its next hops."""
        if target.next_hops == BLACKHOLE:
            return spec(RouteType.BLACKHOLE, metric=self.metric)
        if target.device:
            ways = self._hops.through(target.device, target.next_hops)
        else:
            ways = self._hops.ways(family, target.next_hops)
        if not ways:
            return None
        shared = target.many and self.share and len(ways) == 1 and ways[0].gateway is not None
        return spec(RouteType.UNICAST, ways, metric=self.metric, shared=shared)

    def learned(self, table: Table, target: Target) -> None:
        """It has more prefixes now; where they are many, routes share an object, and those that are there are as good."""
        if target.told >= MANY and not target.many:
            self._share(table, target)

    def _share(self, table: Table, target: Target) -> None:
        target.many = True
        target.spec = self.resolve(table.family, target)

    def again(self, table: Table, targets: Iterable[Target]) -> None:
        """Resolve them again; what leads elsewhere now is dirty."""
        moved: set[Target] = set()
        for target in targets:
            found = self.resolve(table.family, target)
            if found is not target.spec:
                target.spec = found
                moved.add(target)
        if moved:
            table.moved(moved)

    def remember(self, tables: Iterable[Table], links: Iterable[Link]) -> None:
        """What a process before this one installed is as good as what a speaker before this one has told."""
        names = {link.index: link.name for link in links}
        for table in tables:
            table.remember(self._remembered(table, names))

    def _remembered(self, table: Table, names: Mapping[int, str]) -> dict[Spec, Target]:
        found: dict[Spec, Target] = {}
        for have in dict.fromkeys(table.installed.values()):
            ways = [(hop.gateway, names.get(hop.device)) for hop in have.next_hops]
            known = tuple(
                scoped(gateway, name) if gateway.version == 6 and gateway.is_link_local else gateway
                for gateway, name in ways
                if gateway is not None and name is not None
            )
            if not known or len(known) < len(ways):
                continue
            target = table.target(known)
            if target.spec is not None and alike(target.spec, have):
                found[have] = target  # else it was resolved in another way, and is left to the speaker
                if have.shared and not target.many:
                    self._share(table, target)
        return found

"""One programmer for every route of ours: brings the kernel to what objects and speaker want, and keeps it there.

It works off dirty prefixes in slices on the event loop, so the loop never waits for it longer than a few milliseconds.
Replacements come first, deletions last and only when absence may be believed. What others do to routes, links and
addresses arrives as events, which ``Observer`` takes in.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

import structlog
from msgspec import Struct

from towpath.model.delta import exchanged, kept
from towpath.model.net import Address, Family, Prefix, family_of, from_wire, scoped, to_wire
from towpath.model.reason import Reason
from towpath.model.speaker import Routes, Withdrawn
from towpath.routes.devices.device import kind_of
from towpath.routes.kernel import Batch, Kernel, LinkAddress
from towpath.routes.netlink import open_kernel
from towpath.routes.nexthops import NextHops, OnMetrics, OnSevered
from towpath.routes.observer import Observer
from towpath.routes.resolve import Resolver
from towpath.routes.route import DEFAULT_METRIC, RouteType, Spec, StaticRoute, Target
from towpath.routes.table import Table
from towpath.routes.targets import Targets
from towpath.routes.wire import split

_SLICE = 1000
"""Prefixes for one system call."""
_TURN = 0.008
"""Seconds that one turn of the loop may take."""
_MESSAGES = {
    Reason.FOREIGN_ROUTE: "a route that is not ours has this prefix and metric; it is left alone",
    Reason.MIXED_ROUTE: "somebody's next hop joined our route; it is left alone until that is gone",
    Reason.NO_DEVICE: "the tunnel's device is not there yet, or is down",
    Reason.UNRESOLVED_NEXT_HOP: "no way leads to its next hops",
    Reason.KERNEL_REFUSED: "the kernel refused it: error {}",
}
log = structlog.get_logger()


class Settings(Struct, frozen=True):
    """What holds for all routes."""

    metric: int = DEFAULT_METRIC
    ignored_interfaces: tuple[str, ...] = ()
    """Globs of devices that no next hop is reached by."""
    excluded: tuple[Prefix, ...] = ()
    """Ranges in which learned routes are not programmed (programClusterRoutes: Disabled)."""


class NotInstalled(Struct, frozen=True):
    """A route that is wanted and not there, or not alone."""

    prefix: Prefix
    reason: Reason
    message: str


class ProgrammerStatus(Struct, frozen=True):
    """How the kernel stands to what is wanted."""

    desired: int
    installed: int
    conflicts: tuple[NotInstalled, ...]
    in_sync: bool
    """Nothing is waiting to be done."""


class Programmer:
    """See the module. Everything runs on one event loop; ``start`` comes first."""

    def __init__(
        self,
        kernel: Callable[[], Kernel] = open_kernel,
        *,
        on_metrics: OnMetrics | None = None,
        on_severed: OnSevered | None = None,
        on_gateways: Callable[[], None] | None = None,
        on_change: Callable[[], None] | None = None,
        on_links: Callable[[], None] | None = None,
        share: bool = True,
    ) -> None:
        """``on_links``: devices, addresses or others' routes are not what they were. ``share``: many routes with one next hop may share an object of it, which nobody else removes."""
        self._open = kernel
        self._on_change = on_change
        self.resolver = Resolver()
        """Devices, addresses and others' routes, for whoever looks at them."""
        self._hops = NextHops(
            self.resolver, on_metrics=on_metrics, on_severed=on_severed, on_gateways=on_gateways, on_links=on_links
        )
        self._targets = Targets(self._hops, share=share)
        self._tables = {family: Table(family, resolve=self._targets.resolve) for family in Family}
        self._settings = Settings()
        self._given: Mapping[Prefix, StaticRoute] = {}
        """The routes that the objects give: of the thousands that there may be only those that changed are looked at."""
        self._to_peers: dict[Prefix, Address] = {}
        self._desired = self._whole = self._synced = False
        self._retry: asyncio.TimerHandle | None = None
        self._flushing = self._started = self._closed = False
        self._idle = asyncio.Event()

    async def start(self) -> bool:
        """Open the sockets in the caller's namespace and read everything; whether routes of ours were there already.

        ``OSError``: this process may not, or the kernel cannot.
        """
        self._kernel = self._open()
        self._loop = asyncio.get_running_loop()
        self._observer = Observer(
            self._kernel,
            self._tables,
            self._hops,
            metric=lambda: self._settings.metric,
            resolve=self._resolve,
            kick=self._kick,
        )
        self._started = True
        await self._observer.start()
        self._targets.share = self._targets.share and self._kernel.shares
        self._targets.remember(self._tables.values(), self._kernel.links())
        return any(table.installed or table.strays for table in self._tables.values())

    def close(self) -> None:
        """Let go of the kernel; the routes stay."""
        if self._retry is not None:
            self._retry.cancel()
        self._observer.close()
        self._closed = True
        self._kernel.close()

    # what is wanted

    def desire(self, static: Mapping[Prefix, StaticRoute], *, settings: Settings, complete: bool = True) -> None:
        """All routes that the objects give, and what holds for all routes.

        Not ``complete``: the objects are from memory, and what they lack stays.
        """
        if settings != self._settings:
            self._adopt(settings)
        changes = list(exchanged(self._given, static))
        self._given = kept(static)
        for prefix, _, route in changes:
            self._to_peers.pop(prefix, None)
            if route is not None and route.origin == "Peer":
                self._to_peers[prefix] = route.next_hops[0]
        to_peers = ((prefix.network_address, gateway) for prefix, gateway in self._to_peers.items())
        self.resolver.behind(dict(to_peers), metric=settings.metric)
        self._resolve()
        for family, table in self._tables.items():
            wanted: dict[bytes, Target | None] = {
                to_wire(prefix): table.target(route.next_hops, route.device) if route is not None else None
                for prefix, _, route in changes
                if family_of(prefix) is family
            }
            table.desire(wanted, complete=complete)
        if complete and not self._desired:
            self._doom()
        self._desired = complete
        self._kick()

    def _adopt(self, settings: Settings) -> None:
        before, self._settings = self._settings, settings
        self.resolver.ignore(settings.ignored_interfaces)
        self._targets.metric = settings.metric
        for family, table in self._tables.items():
            table.excluded = tuple(
                (prefix.prefixlen, int(prefix.network_address) >> (family.bits - prefix.prefixlen))
                for prefix in settings.excluded
                if family_of(prefix) is family
            )
            if settings.excluded != before.excluded:
                table.touch(table.learned)
                table.touch(table.former.ways)
            if settings.metric != before.metric:
                table.rekey(settings.metric)
                self._targets.again(table, list(table.targets.values()))

    def learned(self, frame: Routes | Withdrawn) -> None:
        """One frame of the speaker's table."""
        table = self._tables[frame.family]
        wires = split(frame.prefixes)
        if isinstance(frame, Withdrawn) or not frame.next_hops:
            table.forget(wires)
        else:
            target = table.target(frame.next_hops)
            table.learn(wires, target)
            self._targets.learned(table, target)
        self._kick()

    def begin(self) -> None:
        """A new speaker will tell its whole table; what the last one said holds until ``whole`` and ``synced``."""
        for table in self._tables.values():
            table.begin()
        self._whole = self._synced = False

    def whole(self) -> None:
        """The speaker has told its whole table."""
        self._whole = True
        self._believe()

    def heard(self, peers: Collection[Address]) -> None:
        """The speaker waits for these peers no longer, and has told everything that it has of them."""
        for table in self._tables.values():
            table.hear(peers)
        self._kick()

    def synced(self, in_sync: bool) -> None:
        """Whether the speaker has heard its peers out: only then does what it lacks go. Said again, it costs nothing."""
        if in_sync != self._synced:
            self._synced = in_sync
            self._believe()

    def _believe(self) -> None:
        if self._whole and self._synced:
            for table in self._tables.values():
                table.trust()
            self._doom()
            self._kick()

    def _doom(self) -> None:
        """Look at all that the kernel holds: some of it may go now."""
        for table in self._tables.values():
            table.doomed.update(dict.fromkeys(table.installed))

    # next hops

    def lead(self, ways: Mapping[Prefix, tuple[Address, ...]], *, near: frozenset[Address]) -> None:
        """Prefixes that routes of ours lead to by neighbours outside: ways to next hops that lie in them and are not ``near``."""
        self.resolver.lead(ways, near=near)
        self._resolve()
        self._kick()

    def metrics(self, addresses: frozenset[Address]) -> dict[Address, int | None]:
        """How far these next hops are, None where there is no way; ``on_metrics`` tells when one of them changes."""
        return self._hops.metrics(addresses)

    def interfaces(self) -> dict[Address, str]:
        """The interfaces by which those next hops are reached."""
        return self._hops.interfaces()

    def gateways(self) -> tuple[Address, ...]:
        """The gateways of the default routes that others made; ``on_gateways`` tells when they change."""
        return self._hops.gateways

    def carrier(self, peers: Mapping[str, Address]) -> frozenset[str]:
        """Sessions (by name) whose peer is on a link that has no carrier or is down; ``on_severed`` tells of changes."""
        return self._hops.carrier(peers)

    def _resolve(self) -> None:
        """Take in what changed for next hops, and for the devices of tunnels."""
        moved, tunnels = self._hops.settle(), self._hops.settle_tunnels()
        if not (moved or tunnels):
            return
        for table in self._tables.values():
            hit = (
                (one.device in tunnels if one.device else not moved.isdisjoint(one.next_hops), one)
                for one in table.targets.values()
            )
            self._targets.again(table, [one for concerned, one in hit if concerned])

    # to the kernel

    def _kick(self) -> None:
        if not self._flushing and not self._observer.reading and not self._closed:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Work off what is dirty, for a few milliseconds; the rest in the next turn of the loop."""
        self._flushing = False
        if self._observer.reading or self._closed:
            return
        end = self._loop.time() + _TURN
        while self._loop.time() < end:
            self._observer.hear()  # a replacement must not meet what somebody else has put there meanwhile
            if self._observer.blind:
                return
            table = next((table for table in self._tables.values() if table.waiting), None)
            if table is not None:
                self._carry_out(table, table.plan(table.take(_SLICE), now=self._loop.time()))
            elif not self._delete_some():
                self._settled()
                return
        self._kick()

    def _delete_some(self) -> bool:
        """One slice of deletions; whether there was anything to do."""
        believed = self._whole and self._synced and self._desired
        for table in self._tables.values():
            if table.doomed:
                wires = table.take_doomed(_SLICE)
                self._carry_out(table, table.deletions(wires, everything=believed, blackholes=self._desired))
                return True
            if batches := table.stray_deletions(everything=believed):
                self._carry_out(table, batches)
                return True
        return False

    def _carry_out(self, table: Table, batches: list[Batch]) -> None:
        if not batches:
            return
        try:
            failures = self._kernel.apply(batches)
        except OSError as error:
            # nobody knows how far it got
            log.warning("routes.kernel", error=str(error), remedy="everything is read again")
            table.touch(wire for batch in batches for wire in batch.wires)
            self._observer.doubtful()
            return
        if table.applied(batches, failures, now=self._loop.time()):
            self._observer.doubtful(full=False)

    def _settled(self) -> None:
        """Everything that can be done is done."""
        self._idle.set()
        if self._observer.audited and not self._observer.in_doubt:
            self._observer.audited = False
            self._kernel.keep(self._in_use())
        due = min((due for table in self._tables.values() if (due := table.next_due()) is not None), default=None)
        if self._retry is not None:
            self._retry.cancel()
        self._retry = None if due is None else self._loop.call_at(due, self._try_again)
        if self._on_change is not None:
            self._on_change()

    def _in_use(self) -> set[Spec]:
        """What some route of ours is like, or may be soon."""
        used: set[Spec] = set()
        for table in self._tables.values():
            used.update(table.installed.values(), table.mixed.values(), *table.strays.values())
            used.update(target.spec for target in table.targets.values() if target.spec is not None)
        return used

    def _try_again(self) -> None:
        self._retry = None
        for table in self._tables.values():
            table.retry(now=self._loop.time())
        self._kick()

    # for people

    def status(self) -> ProgrammerStatus:
        """How the kernel stands to what is wanted."""
        desired = installed = 0
        conflicts: list[NotInstalled] = []
        for table in self._tables.values():
            wanted, found = table.status()
            desired += wanted
            installed += len(table.installed)
            conflicts += [
                NotInstalled(from_wire(table.family, one.wire), one.reason, _MESSAGES[one.reason].format(one.error))
                for one in found
            ]
        waiting = not self._started or self._observer.in_doubt or any(table.waiting for table in self._tables.values())
        return ProgrammerStatus(desired, installed, tuple(conflicts), in_sync=not waiting and not conflicts)

    def blackholed(self, prefixes: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the prefixes that a blackhole route of ours holds in the kernel."""
        return frozenset(
            prefix
            for prefix in prefixes
            if (found := self._tables[family_of(prefix)].installed.get(to_wire(prefix))) is not None
            and found.type is RouteType.BLACKHOLE
        )

    def link_local(self, interfaces: Collection[str]) -> frozenset[Address]:
        """This node's own link-local addresses on these interfaces, each with its interface."""
        names = {index: name for name in interfaces if (index := self.resolver.named(name)) is not None}
        return frozenset(
            scoped(one.local, names[one.index])
            for one in self.resolver.addresses
            if one.index in names and one.local.version == 6 and one.local.is_link_local
        )

    def addresses(self) -> frozenset[LinkAddress]:
        """All addresses of this node's devices; one that a tunnel has besides another device is on that alone."""
        tunnels = {index for index, link in self.resolver.links.items() if kind_of(link.name) is not None}
        elsewhere = {one.local for one in self.resolver.addresses if one.index not in tunnels}
        return frozenset(
            one for one in self.resolver.addresses if one.index not in tunnels or one.local not in elsewhere
        )

    async def drop_all(self) -> None:
        """Remove every route of ours, for good: what is desired and learned is forgotten."""
        self._given, self._to_peers = {}, {}
        for table in self._tables.values():
            table.static, table.learned = {}, {}
            table.former.clear()
        self._desired = self._whole = self._synced = True
        self._doom()
        for table in self._tables.values():
            table.touch(table.mixed)
        self._idle = asyncio.Event()
        self._kick()
        await self._idle.wait()
        self._kernel.keep(self._in_use())

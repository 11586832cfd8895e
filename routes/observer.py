"""Keeps the tables equal to what the kernel holds, whoever changes it.

What others do to routes, links and addresses arrives as events. Whatever an event leaves in doubt is settled by reading
the table again, and so is, once a minute, whatever no event told of.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from towpath.model.net import Family
from towpath.routes.kernel import (
    AddressEvent,
    Event,
    EventsLostError,
    Kernel,
    LinkEvent,
    NextHopEvent,
    RouteEvent,
)
from towpath.routes.nexthops import NextHops
from towpath.routes.reading import read_table
from towpath.routes.route import PROTOCOL
from towpath.routes.table import Table

_SETTLE = 0.02
"""Seconds from a doubt to reading again: what belongs together arrives together."""
_AUDIT = 60.0
_LARGE = 50_000
"""Foreign routes from which on the audit reads ours alone."""
log = structlog.get_logger()


class Observer:
    """Made and started inside the event loop. ``metric`` is that of our routes at any moment.

    ``resolve`` is called when something may have changed for next hops, ``kick`` when there is something to do.
    """

    def __init__(
        self,
        kernel: Kernel,
        tables: Mapping[Family, Table],
        hops: NextHops,
        *,
        metric: Callable[[], int],
        resolve: Callable[[], None],
        kick: Callable[[], None],
    ) -> None:
        self._kernel = kernel
        self._tables = tables
        self._hops = hops
        self._resolver = hops.resolver
        self._metric = metric
        self._resolve = resolve
        self._kick = kick
        self._loop = asyncio.get_running_loop()
        self.reading = False
        """The tables are being read: until that is over nothing is changed."""
        self.blind = False
        """Something happened that nobody saw: nothing is changed before everything was read."""
        self.audited = False
        """An audit was begun since somebody set this to False."""
        self._doubt: asyncio.TimerHandle | None = None
        self._audit: asyncio.TimerHandle | None = None
        self._full = False
        self._closed = False
        self._held: list[Event] = []
        self._reads: set[asyncio.Task[None]] = set()

    @property
    def in_doubt(self) -> bool:
        """Whether the tables may differ from the kernel."""
        return self.reading or self._doubt is not None

    async def start(self) -> None:
        """Listen, and read everything; ``OSError``: this process may not, or the kernel cannot."""
        self._kernel.watch(self.hear)
        await self.read(full=True)
        self._audit = self._loop.call_later(_AUDIT, self._audit_now)

    def close(self) -> None:
        """Read no more."""
        for timer in (self._doubt, self._audit):
            if timer is not None:
                timer.cancel()
        for task in self._reads:
            task.cancel()
        self._closed = True

    def hear(self) -> None:
        """Take in what has happened; while the table is read that waits."""
        try:
            while events := self._kernel.events():
                if self.reading:
                    self._held += events
                else:
                    self._take(events)
        except EventsLostError:
            log.warning("routes.events_lost", remedy="everything is read again")
            self.blind = True
            self.doubtful()

    def doubtful(self, *, full: bool = True) -> None:
        """Read again soon; not ``full``: routes of ours alone."""
        self._full = self._full or full
        if self._doubt is None and not self._closed:
            self._doubt = self._loop.call_later(_SETTLE, self._read_again)

    async def read(self, *, full: bool) -> None:
        """Read devices, addresses and routes; changes wait meanwhile, the loop does not. ``OSError`` if refused."""
        self.reading = True
        blind, self.blind = self.blind, False
        try:
            self._resolver.reset_links(self._kernel.links(), self._kernel.addresses())
            for table in self._tables.values():
                await self._read_table(table, full=full)
        except OSError:
            self.blind = self.blind or blind
            raise
        finally:
            self.reading = False
            held, self._held = self._held, []
            self._take(held)
            self._kick()

    async def _read_table(self, table: Table, *, full: bool) -> None:
        metric = self._metric()
        reading = await read_table(self._kernel, table.family, metric=metric, full=full, mixed=table.mixed)
        if metric != self._metric():
            self.doubtful(full=full)  # it was sorted by the metric of the past
            return
        table.strays = reading.strays
        table.found(reading.ours, reading.joined)
        if full:
            self._resolver.reset_routes(table.family, reading.foreign)

    def _read_again(self) -> None:
        self._doubt = None
        if self.reading:
            self.doubtful(full=self._full)
            return
        full, self._full = self._full, False
        self.reading = True
        task = self._loop.create_task(self._try_to_read(full=full))
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)

    async def _try_to_read(self, *, full: bool) -> None:
        """Read what is in doubt, and once more if that fails."""
        try:
            await self.read(full=full)
        except OSError as error:
            log.warning("routes.read_failed", error=str(error), remedy="it is read again")
            self.doubtful(full=full)

    def _audit_now(self) -> None:
        self._audit = self._loop.call_later(_AUDIT, self._audit_now)
        self.audited = True
        tables = self._tables.values()
        self._hops.keep({hop for table in tables for target in table.targets.values() for hop in target.next_hops})
        self.doubtful(full=self._resolver.size <= _LARGE)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case RouteEvent():
                    self._route_changed(event)
                case LinkEvent():
                    if self._resolver.link(event):
                        self._device_changed(event.link.index)
                case AddressEvent():
                    if self._resolver.address(event):
                        self._device_changed(event.address.index)
                case NextHopEvent():
                    self.doubtful()
        self._resolve()
        if any(table.waiting for table in self._tables.values()):
            self._kick()

    def _device_changed(self, device: int) -> None:
        """The kernel drops routes with a device or its last address, and does not always say so."""
        if device in self._resolver.devices or any(
            hop.device == device
            for table in self._tables.values()
            for target in table.targets.values()
            if target.spec is not None
            for hop in target.spec.next_hops
        ):
            self.doubtful()

    def _route_changed(self, event: RouteEvent) -> None:
        table, seen = self._tables[event.family], event.seen
        ours = seen.protocol == PROTOCOL
        if not ours:
            self._resolver.route(event)
        if seen.spec.metric != self._metric():
            if ours:
                self.doubtful()
            return
        have = table.installed.get(seen.wire)
        if not ours:
            if event.gone:
                if table.failed.pop(seen.wire, None) is not None:
                    table.dirty[seen.wire] = None
                if seen.wire in table.mixed:
                    self.doubtful()
            elif have is not None:
                table.mixed[seen.wire] = have
                self.doubtful()
        elif event.gone and have is seen.spec:
            del table.installed[seen.wire]
            table.dirty[seen.wire] = None
        elif not event.gone and (event.replaced or have is None):
            table.installed[seen.wire] = seen.spec
            table.dirty[seen.wire] = None
        elif have is not None and (event.gone or have is not seen.spec):
            self.doubtful()

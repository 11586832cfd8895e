"""Keeps the tunnel devices of a node, and whom they know, as they should be, whoever changes them.

Everything is made before a route may need it, and goes only once no route needs it any more: ``release`` says so. What
others do arrives as events; whatever no event told of is found once a minute. A mirror of the kernel makes one changed
entry cost one message.
"""

import asyncio
import errno
from collections.abc import Callable, Mapping

import structlog

from towpath.model.delta import exchanged
from towpath.model.net import Address
from towpath.model.reason import Reason
from towpath.routes.devices.compare import NOWHERE, fits, note, putting_right
from towpath.routes.devices.device import EVERYONE, Device, Entries, Forwarding, Ipip, Link, Seen, Vxlan
from towpath.routes.devices.netlink import open_device_kernel
from towpath.routes.devices.port import AnswerEvent, Change, DeviceEvent, DeviceKernel, Key, Known, take
from towpath.routes.devices.silence import Silence
from towpath.routes.kernel import EventsLostError

_SETTLE = 0.02
"""Seconds from an event to the look that it causes: what belongs together arrives together."""
_AUDIT = 60.0
_AGAIN = 2.0
"""Seconds until something that was refused is tried again."""
LINGER = 10.0
"""Seconds for which a device that is not wanted any more stays: others may still send by it."""
_SLICE = 1000
_SAMPLE = 4
"""Ends that are asked for without a packet for them: each question goes to all nodes."""
_NOTHING = Entries()
log = structlog.get_logger()


class Devices:
    """Made anywhere; ``start`` and all that follows inside the event loop. ``changed``: there is news of them."""

    def __init__(
        self,
        kernel: Callable[[], DeviceKernel] = open_device_kernel,
        *,
        changed: Callable[[], None] = lambda: None,
        linger: float = LINGER,
    ) -> None:
        self._open = kernel
        self._changed = changed
        self._linger = linger
        self._wanted: Mapping[str, Device] = {}
        self._entries: Mapping[str, Entries] = {}
        self._complete = False
        self._released = False
        self._seen: dict[str, Seen] = {}
        self._known: dict[str, Known] = {}
        self._stale: set[str] = set()
        """Devices that something happened to."""
        self._lost = True
        """Everything is to be read."""
        self._unsure: set[str] = set()
        """Devices of which all entries are to be compared."""
        self._pending: dict[str, dict[Key, None]] = {}
        """Of the others, the entries that may be wrong."""
        self._unwanted_since: dict[str, float] = {}
        self.problems: dict[str, tuple[Reason, str]] = {}
        """What is refused, by device."""
        self._silence = Silence()
        self._over: dict[str, set[str]] = {}
        """MACs of which it is not true any more what a device has learned."""
        self._unasked: set[str] = set()
        """Devices that were made and have asked for nobody since: nobody has learned where they are."""
        self.silent: Mapping[str, tuple[Address, ...]] = {}
        """The ends that devices ask for in vain, for a while now."""
        self.standing: tuple[str, ...] = ()
        """The devices that are as they should be, by name."""
        self._working = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Open the sockets in the caller's namespace; ``OSError``: this process may not, or the kernel cannot."""
        self._kernel = self._open()
        self._loop = asyncio.get_running_loop()
        self._kernel.watch(self._hear)
        self._read()
        self._audit = self._loop.call_later(_AUDIT, self._audit_now)

    def close(self) -> None:
        """Let go of the kernel; everything stays."""
        self._closed = True
        for timer in (self._timer, self._audit):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._kernel.close()

    async def desire(self, devices: Mapping[str, Device], entries: Mapping[str, Entries], *, complete: bool) -> None:
        """What there should be, all of it; it is there afterwards, but for what is refused. Nothing goes before ``release``.

        Not ``complete``: the objects are from memory, and what they lack stays.
        """
        self._unsure |= self._entries.keys() - entries.keys()
        for name, now in entries.items():
            before = self._entries.get(name, _NOTHING)
            if before is not now:
                pending = self._pending.setdefault(name, {})
                over = self._over.setdefault(name, set())
                for key, old, new in exchanged(before.ends, now.ends):
                    pending[key] = None
                    if old is not None and old != new:
                        over.add(old.mac)
                pending.update((key, None) for key, _, _ in exchanged(before.neighbours, now.neighbours))
                pending.update((key, None) for key, _, _ in exchanged(before.forwarding, now.forwarding))
        self._wanted, self._entries, self._complete, self._released = devices, entries, complete, False
        await self._work()

    @property
    def links(self) -> tuple[Link, ...]:
        """What devices of ours take packets by, wanted or not."""
        found = (seen.link for _, seen in sorted(self._seen.items()) if seen.ours)
        return tuple(link for link in found if link is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """Those of devices of ours that are there, wanted or not."""
        return tuple(sorted(name for name, seen in self._seen.items() if seen.ours))

    @property
    def lacking(self) -> tuple[str, ...]:
        """Kinds of devices that are wanted, and that the kernel does not know."""
        refused = {name for name, (reason, _) in self.problems.items() if reason is Reason.KERNEL_LACKS}
        return tuple(sorted({self._wanted[name].link.kind for name in refused & self._wanted.keys()}))

    def release(self) -> None:
        """No route needs what is not wanted."""
        if not self._released:
            self._released = True
            self._look_again(0)

    async def remove_all(self) -> None:
        """Remove every device of ours, for good; ``OSError`` where the kernel does not let go of one."""
        self._wanted, self._entries, self._complete, self._released = {}, {}, True, True
        self._linger = 0
        await self._work()
        if left := self.names:
            raise OSError(errno.EBUSY, f"still there: {', '.join(left)}")

    # what happens

    def _hear(self) -> None:
        try:
            while events := list(self._kernel.events()):
                for event in events:
                    if isinstance(event, DeviceEvent):
                        self._stale.add(event.name)
                        self._look_again(_SETTLE)
                    elif (known := self._known.get(event.name)) is not None:
                        take(known, event)
                        if isinstance(event, AnswerEvent):
                            self._answered(event)
                        elif event.name in self._entries and self._differs(event.name, event.key):
                            self._pending.setdefault(event.name, {})[event.key] = None
                            self._look_again(_SETTLE)
        except EventsLostError:
            log.warning("devices.events_lost", remedy="everything is read again")
            self._lost = True
            self._look_again(_SETTLE)

    def _answered(self, event: AnswerEvent) -> None:
        """One that is asked for was found or not, or somebody has written down where it is."""
        entries = self._entries.get(event.name)
        if entries is None or event.address not in entries.ends:
            return
        if event.answer == "fixed":
            self._pending.setdefault(event.name, {})[event.address] = None
            self._look_again(_SETTLE)
        elif self._silence.is_news(event):
            self._look_again(_SETTLE)

    def _differs(self, name: str, key: Key) -> bool:
        """Whether an entry is another one than is wanted, or not wanted at all."""
        known, wanted = self._known[name], self._entries[name]
        if isinstance(key, str):
            forwarding = wanted.forwarding.get(key)
            return key in known.forwarding if forwarding is None else known.forwarding.get(key) != forwarding.node
        neighbour = wanted.neighbours.get(key)
        if neighbour is not None:
            return known.neighbours.get(key) != neighbour.mac
        return key in known.neighbours or (key in wanted.ends and known.answers.get(key) == "fixed")

    def _audit_now(self) -> None:
        self._audit = self._loop.call_later(_AUDIT, self._audit_now)
        self._lost = True
        for name, silent in self.silent.items():
            if (seen := self._seen.get(name)) is not None:
                self._kernel.ask(seen.index, silent[:_SAMPLE])
        self._look_again(0)

    def _look_again(self, pause: float) -> None:
        if self._closed or (self._timer is not None and self._timer.when() <= self._loop.time() + pause):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(pause, self._begin)

    def _begin(self) -> None:
        self._timer = None
        task = self._loop.create_task(self._try_to_work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try_to_work(self) -> None:
        try:
            await self._work()
        except OSError as error:
            log.warning("devices.failed", error=str(error), remedy="tried again")
            self._lost = True
            self._look_again(_AGAIN)

    # what is done

    async def _work(self) -> None:
        """Bring the kernel to what is wanted, the loop going on between slices. ``OSError``: the socket itself failed."""
        async with self._working:
            self._read()
            before = (dict(self.problems), self.standing, self.silent, self.links)
            self.problems = {name: said for name, said in self.problems.items() if name in self._wanted}
            for device in self._wanted.values():
                self._bring(device)
            for name in list(self._wanted):
                if name in self._known and not await self._teach(name):
                    self._look_again(_AGAIN)
            self._remove_unwanted()
            self.standing = tuple(sorted(name for name in self._wanted if name in self._known))
            if any(reason is not Reason.KERNEL_LACKS for reason, _ in self.problems.values()):
                self._look_again(_AGAIN)  # what a kernel lacks, an audit will find when it is there
            self._listen()
            if before != (self.problems, self.standing, self.silent, self.links):
                self._changed()

    def _listen(self) -> None:
        """Make out who answers, where devices find by asking."""
        now = self._loop.time()
        self._silence.keep(self.standing)
        for name in self.standing:
            if ends := self._entries.get(name, _NOTHING).ends:
                if name in self._unasked:
                    self._unasked.discard(name)
                    self._kernel.ask(self._seen[name].index, list(ends)[:_SAMPLE])
                self._silence.look(name, ends, answers=self._known[name].answers, now=now)
        self.silent = self._silence.overdue(now)
        if (left := self._silence.due_in(now)) is not None:
            self._look_again(left)

    def _read(self) -> None:
        """Take in what is in doubt."""
        if self._lost:
            self._lost = False
            self._stale.clear()
            self._seen = self._kernel.devices()
            self._known = {name: self._kernel.known(seen) for name, seen in self._seen.items() if seen.ours}
            self._unsure.update(self._known)
        stale, self._stale = self._stale, set()
        for name in stale:
            self._look_at(name)

    def _look_at(self, name: str) -> Seen | None:
        """Read one device; where it is another one than before, or was down, what it knows as well."""
        before, seen = self._seen.pop(name, None), self._kernel.device(name)
        if seen is None:
            self._known.pop(name, None)
            return None
        self._seen[name] = seen
        same = before is not None and before.index == seen.index and before.up
        if not seen.ours:
            self._known.pop(name, None)
        elif not same or name not in self._known:
            self._known[name] = self._kernel.known(seen)
            self._unsure.add(name)
        return seen

    def _bring(self, device: Device) -> None:
        """Make one device what it should be."""
        seen = self._seen.get(device.name)
        try:
            if seen is not None and not seen.ours:
                raise FileExistsError(errno.EEXIST, f"a device of kind {seen.kind or 'unknown'} has its name")
            if seen is not None and seen.link != device.link:
                log.info("device.replaced", device=device.name)
                self._kernel.remove(seen)
                seen = self._look_at(device.name)
            if seen is None:
                self._kernel.make(device)
                log.info("device.made", device=device.name)
                self._unasked.add(device.name)
                seen = self._look_at(device.name)
            if seen is not None and not fits(device, seen):
                self._kernel.adjust(device, seen)
                self._look_at(device.name)
        except OSError as error:
            self._refuse(device, error)
            return
        self.problems.pop(device.name, None)

    def _refuse(self, device: Device, error: OSError) -> None:
        if error.errno == errno.EOPNOTSUPP:
            kind = device.link.kind
            remedy = "VXLAN is used in its place" if isinstance(device.link, Ipip) else f"load the module {kind}"
            reason, said = Reason.KERNEL_LACKS, f"the kernel knows no devices of kind {kind}: {remedy}"
        elif error.errno == errno.EEXIST and device.name not in self._seen:
            remedy = ", or give the pool another vxlan.vni or port" if isinstance(device.link, Vxlan) else ""
            said = f"{device.name} cannot be made: another device {_same(device.link)}: remove that one{remedy}"
            reason = Reason.DEVICE_REFUSED
        else:
            reason, said = Reason.DEVICE_REFUSED, f"{device.name}: {error.strerror}"
        if self.problems.get(device.name) != (reason, said):
            log.warning("device.refused", device=device.name, error=said)
        self.problems[device.name] = reason, said

    async def _teach(self, name: str) -> bool:
        """Bring what a device knows to what it should; whether the kernel took it all."""
        seen, known = self._seen[name], self._known[name]
        wanted = self._entries.get(name, _NOTHING)
        pending = self._pending.pop(name, {})
        if name in self._unsure:
            self._unsure.discard(name)
            entries = (wanted.neighbours, wanted.forwarding, wanted.ends, known.neighbours, known.forwarding)
            pending = dict.fromkeys(key for some in entries for key in some)
        changes = [Change(Forwarding(name, mac, NOWHERE), remove=True) for mac in self._over.pop(name, ())]
        for key in pending:
            if self._differs(name, key):
                change = putting_right(name, wanted, key)
                if key == EVERYONE and key in known.forwarding and not change.remove:
                    # there may be several places beside each other
                    changes.append(Change(Forwarding(name, EVERYONE, NOWHERE), remove=True))
                if change.remove and not (self._released and self._complete):
                    self._pending.setdefault(name, {})[key] = None
                else:
                    changes.append(change)
        fine = True
        for start in range(0, len(changes), _SLICE):
            some = changes[start : start + _SLICE]
            refused = self._kernel.apply(seen.index, some)
            failed = {id(change) for change, _ in refused}
            for change in some:
                if id(change) not in failed:
                    note(known, change)
            if refused:
                fine = False
                log.warning("device.entries_refused", device=name, count=len(refused), error=refused[0][1])
                self._stale.add(name)
                self._unsure.add(name)
            await asyncio.sleep(0)
        return fine

    def _remove_unwanted(self) -> None:
        """Devices that nobody wants and that are not waited with any more."""
        if not (self._released and self._complete):
            return
        unwanted = [seen for name, seen in self._seen.items() if seen.ours and name not in self._wanted]
        now = self._loop.time()
        since = {seen.name: self._unwanted_since.get(seen.name, now) for seen in unwanted}
        self._unwanted_since = since
        for seen in unwanted:
            left = since[seen.name] + self._linger - now
            if left > 0:
                self._look_again(left)
                continue
            try:
                self._kernel.remove(seen)
            except OSError as error:
                log.warning("device.not_removed", device=seen.name, error=str(error), remedy="tried again")
                self._look_again(_AGAIN)
                continue
            log.info("device.removed", device=seen.name)
            self._look_at(seen.name)


def _same(link: Link) -> str:
    """What two devices cannot both do."""
    if isinstance(link, Vxlan):
        return f"has the VXLAN {link.vni} on port {link.port}"
    return f"is an IP-in-IP tunnel from {link.local} to anywhere"

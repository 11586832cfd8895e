"""One family's routes: what is wanted of each prefix, what the kernel holds of ours, and which prefixes to look at again.

Three layers say what is wanted: the objects before all others, the speaker's table, and what is left of the table of the
speaker before it restarted (``former``). Everything is keyed by wire prefix; a changed prefix costs a few look-ups, and a
pass over a table happens only when next hops moved, everything was read again, or a new speaker has heard a peer out.
Pure: no kernel, no clock of its own.
"""

import errno
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from weakref import WeakValueDictionary

from msgspec import Struct

from towpath.model.net import Address, Family, from_wire
from towpath.model.reason import Reason
from towpath.routes.former import Former
from towpath.routes.kernel import Batch, Failure, Operation
from towpath.routes.route import Spec, Target, alike

_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0
_BURST = 1000
"""From this many prefixes in one frame on, they are queued as they came."""
_BURSTS = 32


class Failed(Struct, frozen=True):
    """A route that the kernel refused, and when to try again."""

    spec: Spec
    reason: Reason
    error: int
    attempts: int
    due: float


class Conflict(Struct, frozen=True):
    """A prefix that is wanted and not as wanted, for status and conditions."""

    family: Family
    wire: bytes
    reason: Reason
    error: int = 0


class Table:
    """The routes of one family."""

    def __init__(self, family: Family, *, resolve: Callable[[Family, Target], Spec | None]) -> None:
        """``resolve``: what a target is in the kernel just now, None where no way leads to its next hops."""
        self.family = family
        self._resolve = resolve
        self.targets: WeakValueDictionary[tuple[tuple[Address, ...], str], Target] = WeakValueDictionary()
        self.static: dict[bytes, Target] = {}
        self.learned: dict[bytes, Target] = {}
        self.former = Former(self.target)
        self.installed: dict[bytes, Spec] = {}
        self.strays: dict[bytes, tuple[Spec, ...]] = {}
        """Routes of ours with another metric than today's: deleted when everything else is in place."""
        self.mixed: dict[bytes, Spec] = {}
        """Prefixes at which somebody's next hop joined ours, and what ours was: nothing is done to them."""
        self.failed: dict[bytes, Failed] = {}
        self.dirty: dict[bytes, None] = {}
        self.doomed: dict[bytes, None] = {}
        self.released: set[bytes] = set()
        """Prefixes that the objects gave and give no longer: they may go without the speaker's word."""
        self._bursts: deque[list[bytes]] = deque(maxlen=_BURSTS)
        """Prefixes that became dirty many at a time: as good as ``dirty``, without a look at each."""
        self._queue: list[bytes] = []
        self._position = 0
        self.excluded: tuple[tuple[int, int], ...] = ()
        """Ranges (length, network) in which what was learned is not programmed."""

    def target(self, next_hops: tuple[Address, ...], device: str = "") -> Target:
        """The one target with these next hops, at the other end of a tunnel where a device is named."""
        found = self.targets.get((next_hops, device))
        if found is None:
            found = self.targets[next_hops, device] = Target(next_hops, device)
            found.spec = self._resolve(self.family, found)
        return found

    def wanted(self, wire: bytes) -> Spec | None:
        """What the kernel should hold for a prefix."""
        target = self.static.get(wire)
        if target is None:
            target = self.learned.get(wire)
            if self.former.ways:
                target = self.former.wanted(wire, target)
            if target is None or (self.excluded and self._is_excluded(wire)):
                return None
        return target.spec

    def _is_excluded(self, wire: bytes) -> bool:
        prefix = from_wire(self.family, wire)
        number = int(prefix.network_address)
        return any(
            wire[0] >= length and number >> (self.family.bits - length) == network for length, network in self.excluded
        )

    def touch(self, wires: Iterable[bytes]) -> None:
        """Look at these prefixes again."""
        self.dirty.update(dict.fromkeys(wires))

    @property
    def waiting(self) -> bool:
        """Whether there are prefixes to look at."""
        return bool(self.dirty or self._bursts) or self._position < len(self._queue)

    def take(self, count: int) -> list[bytes]:
        """Some prefixes to look at. What is wanted of them is looked up then, so their order does not matter."""
        if self._position >= len(self._queue):
            self._position = 0
            if self._bursts:
                self._queue = self._bursts.popleft()
            else:
                self._queue, self.dirty = list(self.dirty), {}
        taken = self._queue[self._position : self._position + count]
        self._position += count
        if self._position >= len(self._queue):
            self._queue, self._position = [], 0
        return taken

    def take_doomed(self, count: int) -> list[bytes]:
        """Some prefixes that may have to go."""
        if len(self.doomed) <= count:
            taken, self.doomed = list(self.doomed), {}
            return taken
        return [self.doomed.popitem()[0] for _ in range(count)]

    def learn(self, wires: list[bytes], target: Target) -> None:
        """The speaker selected paths with these next hops."""
        if self.former.ways:
            for wire in wires:
                self.former.answer(wire, target, before=self.learned.get(wire))
        before = len(self.learned)
        self.learned.update(dict.fromkeys(wires, target))
        target.told += len(self.learned) - before
        if len(wires) < _BURST or len(self._bursts) == _BURSTS:
            self.touch(wires)  # a reader that falls behind looks at each prefix once, however often it changed
        else:
            self._bursts.append(wires)

    def forget(self, wires: Iterable[bytes]) -> None:
        """The speaker has no path any more."""
        for wire in wires:
            target = self.learned.pop(wire, None)
            self.former.answer(wire, None, before=target)
            if target is not None:
                target.told -= 1
            self.dirty[wire] = None

    def hear(self, peers: Collection[Address]) -> None:
        """These peers have told all they have, or are not waited for any more."""
        self.touch(self.former.hear(peers, learned=self.learned))

    def begin(self) -> None:
        """A new speaker will tell its whole table; what the last one said counts as former."""
        self.former.begin(self.learned)
        self.learned = {}
        for target in self.targets.values():
            target.told = 0

    def remember(self, targets: Mapping[Spec, Target]) -> None:
        """A process before this one has installed these: they hold as what was learned before the speaker is heard."""
        self.former.ways = {
            wire: target for wire, have in self.installed.items() if (target := targets.get(have)) is not None
        }

    def trust(self) -> None:
        """What is learned is all there is: what was learned before counts no longer."""
        self.touch(self.former.ways)
        self.former.clear()

    def desire(self, changes: Mapping[bytes, Target | None], *, complete: bool) -> None:
        """What the objects give now that they gave otherwise before, or not (None: no more); not ``complete``: what they lack stays."""
        for wire, target in changes.items():
            if target is self.static.get(wire):
                continue
            self.dirty[wire] = None
            if target is not None:
                self.static[wire] = target
                self.released.discard(wire)
                continue
            del self.static[wire]
            if complete:
                self.released.add(wire)

    def moved(self, targets: set[Target]) -> None:
        """These targets lead elsewhere now: all their prefixes are dirty."""
        for layer in (self.static, self.learned, self.former.ways):
            self.touch(wire for wire, target in layer.items() if target in targets)

    def plan(self, wires: list[bytes], *, now: float) -> list[Batch]:
        """What to add and to replace for these prefixes; what is to be deleted is put into ``doomed``."""
        simple = not (self.former.ways or self.excluded) and self.static.keys().isdisjoint(wires)
        if simple and (batch := self._all_new(wires)) is not None:
            return [batch]
        adds: defaultdict[Spec, list[bytes]] = defaultdict(list)
        replaces: defaultdict[Spec, list[bytes]] = defaultdict(list)
        wanted, installed, failed, mixed = self.wanted, self.installed.get, self.failed, self.mixed
        learned = self.learned.get
        for wire in wires:
            if simple:
                target = learned(wire)
                want = target.spec if target is not None else None
            else:
                want = wanted(wire)
            have = installed(wire)
            if want is have or (have and want and have.shared is not want.shared and alike(have, want)):
                if failed:
                    failed.pop(wire, None)
            elif mixed and wire in mixed:
                continue
            elif want is None:
                self.doomed[wire] = None
            elif failed and not self._may_try(wire, want, now=now):
                continue
            elif have is None:
                adds[want].append(wire)
            else:
                replaces[want].append(wire)
        return [
            Batch(operation, self.family, spec, found)
            for operation, groups in ((Operation.REPLACE, replaces), (Operation.ADD, adds))
            for spec, found in groups.items()
        ]

    def _all_new(self, wires: list[bytes]) -> Batch | None:
        """One addition, where these were all learned with one set of next hops and the kernel has none of them.

        That is what a full table from a peer looks like, and it is found out by loops in C alone.
        """
        if not wires or self.failed or self.mixed or not self.installed.keys().isdisjoint(wires):
            return None
        targets = list(map(self.learned.get, wires))
        first = targets[0]
        if first is None or first.spec is None or targets.count(first) < len(targets):
            return None
        return Batch(Operation.ADD, self.family, first.spec, wires)

    def _may_try(self, wire: bytes, want: Spec, *, now: float) -> bool:
        failure = self.failed.get(wire)
        return failure is None or failure.spec is not want or failure.due <= now

    def deletions(self, wires: Iterable[bytes], *, everything: bool, blackholes: bool) -> list[Batch]:
        """Deletions of those prefixes that are still unwanted and may go.

        ``everything``: absence is believed. ``blackholes``: the objects have spoken, and only they make blackholes.
        """
        groups: defaultdict[Spec, list[bytes]] = defaultdict(list)
        for wire in wires:
            have = self.installed.get(wire)
            if have is None or wire in self.mixed or self.wanted(wire) is not None:
                continue
            known = wire in self.learned or wire in self.former.ways or wire in self.static
            if everything or known or wire in self.released or (blackholes and not have.next_hops):
                groups[have].append(wire)
        return [Batch(Operation.DELETE, self.family, spec, found) for spec, found in groups.items()]

    def stray_deletions(self, *, everything: bool) -> list[Batch]:
        """Deletions of routes with a metric of the past, where today's is in place or nothing is wanted."""
        groups: defaultdict[Spec, list[bytes]] = defaultdict(list)
        left: dict[bytes, tuple[Spec, ...]] = {}
        for wire, specs in self.strays.items():
            if wire in self.installed or (everything and self.wanted(wire) is None):
                for stray in specs:
                    groups[stray].append(wire)
            else:
                left[wire] = specs
        self.strays = left
        return [Batch(Operation.DELETE, self.family, spec, found) for spec, found in groups.items()]

    def rekey(self, metric: int) -> None:
        """Our metric is another one now: what is installed has become stray, and may become ours again."""
        strays = {wire: (*self.strays.get(wire, ()), have) for wire, have in self.installed.items()}
        strays = {**self.strays, **strays}
        self.installed = {}
        for wire, specs in list(strays.items()):
            for stray in specs:
                if stray.metric == metric:
                    self.installed[wire] = stray
            if rest := tuple(stray for stray in specs if stray.metric != metric):
                strays[wire] = rest
            else:
                del strays[wire]
        self.strays = strays
        self.mixed, self.failed = {}, {}
        self.touch(self.static)
        self.touch(self.learned)
        self.touch(self.former.ways)

    def applied(self, batches: Iterable[Batch], failures: Iterable[Failure], *, now: float) -> list[bytes]:
        """Take in what the kernel did; the prefixes at which it surprised us."""
        refused: defaultdict[int, dict[bytes, int]] = defaultdict(dict)
        for failure in failures:
            refused[id(failure.batch)][failure.wire] = failure.errno
        surprises: list[bytes] = []
        for batch in batches:
            errors = refused.get(id(batch), {})
            if batch.operation is Operation.DELETE:
                for wire in batch.wires:
                    gone = errors.get(wire, errno.ESRCH) in (errno.ESRCH, errno.ENOENT)
                    if gone and self.installed.get(wire) is batch.spec:
                        del self.installed[wire]
                        self.released.discard(wire)
                surprises += [wire for wire, error in errors.items() if error not in (errno.ESRCH, errno.ENOENT)]
                continue
            self.installed.update(dict.fromkeys(batch.wires, batch.spec))
            if self.failed:
                for wire in batch.wires:
                    if wire not in errors:
                        self.failed.pop(wire, None)
            for wire, error in errors.items():
                del self.installed[wire]
                if batch.operation is Operation.REPLACE:
                    # ours is gone, or stays what it was: the next reading tells
                    surprises.append(wire)
                if batch.operation is Operation.REPLACE and error == errno.ENOENT:
                    self.dirty[wire] = None
                elif self._fail(wire, batch.spec, error, now=now) and error == errno.EEXIST:
                    surprises.append(wire)
        return surprises

    def _fail(self, wire: bytes, spec: Spec, error: int, *, now: float) -> bool:
        """Note a refusal; whether it is the first one for this prefix."""
        before = self.failed.get(wire)
        attempts = before.attempts + 1 if before is not None else 1
        pause = min(_BACKOFF * 2.0 ** min(attempts - 1, 16), _LONGEST_BACKOFF)
        reason = Reason.FOREIGN_ROUTE if error == errno.EEXIST else Reason.KERNEL_REFUSED
        self.failed[wire] = Failed(spec, reason, error, attempts, now + pause)
        return before is None

    def next_due(self) -> float | None:
        """When a refused route is to be tried again."""
        return min((failure.due for failure in self.failed.values()), default=None)

    def retry(self, *, now: float) -> None:
        """Make dirty what is due."""
        self.touch(wire for wire, failure in self.failed.items() if failure.due <= now)

    def found(self, seen: Mapping[bytes, Spec], doubled: AbstractSet[bytes]) -> None:
        """Take in what a whole reading showed of ours; ``doubled`` are prefixes at which ours is not alone."""
        for wire, have in self.installed.items():
            shown = seen.get(wire)
            if wire in doubled or (shown is not None and shown is not have and _joined(have, shown)):
                self.mixed.setdefault(wire, have)
        for wire, ours in list(self.mixed.items()):
            if wire not in doubled and not ((shown := seen.get(wire)) is not None and _joined(ours, shown)):
                del self.mixed[wire]
                self.dirty[wire] = None
        before = self.installed
        self.installed = dict(seen)
        if before != self.installed:
            self.touch(wire for wire, have in self.installed.items() if before.get(wire) is not have)
            self.touch(before.keys() - self.installed.keys())

    def status(self) -> tuple[int, list[Conflict]]:
        """How many routes are wanted, and those that are not in place, with the reason."""
        desired = len(self.learned) + len(self.static.keys() - self.learned.keys())
        desired += sum(wire not in self.learned and wire not in self.static for wire in self.former.ways)
        conflicts = [Conflict(self.family, wire, Reason.MIXED_ROUTE) for wire in self.mixed]
        conflicts += [Conflict(self.family, wire, failed.reason, failed.error) for wire, failed in self.failed.items()]
        unresolved = {target for target in self.targets.values() if target.spec is None}
        if unresolved:
            for layer in (self.static, self.learned, self.former.ways):
                conflicts += [
                    Conflict(self.family, wire, Reason.NO_DEVICE if target.device else Reason.UNRESOLVED_NEXT_HOP)
                    for wire, target in layer.items()
                    if target in unresolved and (layer is self.static or wire not in self.static)
                ]
        return desired, conflicts


def _joined(ours: Spec, shown: Spec) -> bool:
    """Whether what is shown is ours with something added."""
    return len(shown.next_hops) > len(ours.next_hops) > 0 and set(ours.next_hops) < set(shown.next_hops)

"""Events about objects: coalesced, limited, and never in anybody's way.

The same words about the same object are one Event whose count grows; it is written at most once in ``repeat`` seconds.
``emit`` only remembers, and drops what is too much about one object; writing happens in ``run`` or ``flush``. An Event
is a hint and is never retried.
"""

import asyncio
import collections
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import structlog
from msgspec import Struct

from towpath.controller.ports import ApiError, NotFoundError

log = structlog.get_logger(__name__)
LONGEST_MESSAGE = 1024
"""Of an Event, by the API."""
_LONGEST_NAME = 220
"""Of an object, as the beginning of an Event's name (253 with the time that follows)."""
NAMESPACE = "default"
"""Where Events about objects without a namespace lie: ``kubectl describe`` looks there."""


class Writer(Protocol):
    """The part of an ``Api`` that Events need."""

    async def create(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Create."""

    async def patch(self, kind: str, name: str, patch: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Merge-patch."""


class Subject(Struct, frozen=True):
    """The object that an Event is about; without its uid ``kubectl describe`` does not show it."""

    kind: str
    name: str
    uid: str = ""
    api_version: str = "towpath.io/v1alpha1"
    namespace: str = ""


class EventLimits(Struct, frozen=True):
    """The same words once in ``repeat`` seconds.

    Of different words, ``burst`` at once and one more each ``refill`` seconds; of those with one reason about one object
    ``burst_each`` and ``refill_each``.
    """

    repeat: float = 60.0
    burst: int = 25
    refill: float = 5.0
    burst_each: int = 10
    refill_each: float = 60.0
    remembered: int = 1000


class _Bucket:
    """``burst`` at once, then one more each ``refill`` seconds."""

    def __init__(self, burst: int, refill: float, *, now: float) -> None:
        self._burst = burst
        self._refill = refill
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) / self._refill)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Told(Struct):
    name: str
    count: int
    at: float


_Key = tuple[Subject, str, str, str]


class Events:
    """Writes Events for one component. ``clock`` is monotonic seconds."""

    def __init__(
        self,
        api: Writer,
        *,
        component: str,
        host: str = "",
        limits: EventLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._component = component
        self._host = host
        self._limits = limits or EventLimits()
        self._clock = clock
        self._due: collections.Counter[_Key] = collections.Counter()
        self._told: collections.OrderedDict[_Key, _Told] = collections.OrderedDict()
        self._all = _Bucket(self._limits.burst, self._limits.refill, now=clock())
        self._each: collections.OrderedDict[tuple[Subject, str], _Bucket] = collections.OrderedDict()
        self._wake = asyncio.Event()
        self.dropped = 0
        """Events that were too many to be written."""

    def emit(
        self, subject: Subject, *, reason: str, message: str, kind: Literal["Normal", "Warning"] = "Warning"
    ) -> bool:
        """Remember an Event to write; whether it says something that was not said just now."""
        key = (subject, reason, message[:LONGEST_MESSAGE], kind)
        known = key in self._due or key in self._told
        if not known and not (len(self._due) < self._limits.remembered and self._bucket(subject, reason)):
            self.dropped += 1
            return False
        told, fresh = self._told.get(key), key not in self._due
        self._due[key] += 1
        self._wake.set()
        return fresh and (told is None or self._clock() >= told.at + self._limits.repeat)

    async def run(self) -> None:
        """Write what is due until cancelled."""
        while True:
            self._wake.clear()
            await self.flush()
            pause = self._limits.refill if self._due else None
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def flush(self) -> None:
        """Write everything that the limits let pass now."""
        for key in list(self._due):
            told, now = self._told.get(key), self._clock()
            if told is not None and now < told.at + self._limits.repeat:
                continue
            if not self._all.take(now):
                return
            count = self._due.pop(key)
            try:
                self._told[key] = await self._write(key, count, told)
            except ApiError as error:
                log.info("event.not_written", reason=key[1], about=key[0].name, error=str(error))
            while len(self._told) > self._limits.remembered:
                self._told.popitem(last=False)

    def _bucket(self, subject: Subject, reason: str) -> bool:
        """Whether one more with this reason about this object is not too much."""
        now, limits = self._clock(), self._limits
        bucket = self._each.pop((subject, reason), None) or _Bucket(limits.burst_each, limits.refill_each, now=now)
        self._each[subject, reason] = bucket
        while len(self._each) > limits.remembered:
            self._each.popitem(last=False)
        return bucket.take(now)

    async def _write(self, key: _Key, count: int, told: _Told | None) -> _Told:
        now = datetime.now(UTC)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        where = key[0].namespace or NAMESPACE
        if told is not None:
            total = told.count + count
            try:
                await self._api.patch("Event", told.name, {"count": total, "lastTimestamp": stamp}, namespace=where)
                return _Told(told.name, total, self._clock())
            except NotFoundError:
                pass  # the API server forgets Events after an hour: a new one
        name = f"{key[0].name[:_LONGEST_NAME]}.{now.timestamp():.6f}".lower()
        await self._api.create("Event", self._body(key, name, count, stamp), namespace=where)
        return _Told(name, count, self._clock())

    def _body(self, key: _Key, name: str, count: int, stamp: str) -> dict[str, Any]:
        subject, reason, message, kind = key
        source = {"component": self._component, **({"host": self._host} if self._host else {})}
        involved = {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        }
        return {
            "metadata": {"name": name, "namespace": subject.namespace or NAMESPACE},
            "involvedObject": {field: value for field, value in involved.items() if value},
            "reason": reason,
            "message": message,
            "type": kind,
            "count": count,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "source": source,
            "reportingComponent": f"towpath.io/{self._component.removeprefix('towpath-')}",
            **({"reportingInstance": self._host} if self._host else {}),
        }

"""Events about objects: coalesced, limited, and never in anybody's way.

The same words about the same object are one Event whose count grows; it is written at most once in ``repeat`` seconds.
Writing happens in ``run``; ``emit`` only remembers, and drops what is too much. An Event is a hint and is never retried.
"""

import asyncio
import collections
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from msgspec import Struct

from towpath.controller.ports import Api, ApiError, NotFoundError

log = structlog.get_logger(__name__)
LONGEST_MESSAGE = 1024


class Subject(Struct, frozen=True):
    """The object that an Event is about."""

    kind: str
    name: str
    uid: str = ""
    api_version: str = "towpath.io/v1alpha1"


class EventLimits(Struct, frozen=True):
    """The same words once in ``repeat`` seconds; of all, ``burst`` at once and one more each ``refill`` seconds."""

    repeat: float = 60.0
    burst: int = 25
    refill: float = 5.0
    remembered: int = 1000


class _Told(Struct):
    name: str
    count: int
    first: str
    at: float


_Key = tuple[Subject, str, str, str]


class Events:
    """Writes Events for one component."""

    def __init__(
        self,
        api: Api,
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
        self._tokens = float(self._limits.burst)
        self._refilled = clock()
        self._wake = asyncio.Event()
        self.dropped = 0
        """Events that were too many to be written."""

    def emit(
        self, subject: Subject, *, reason: str, message: str, kind: Literal["Normal", "Warning"] = "Warning"
    ) -> None:
        """Remember an Event to write."""
        key = (subject, reason, message[:LONGEST_MESSAGE], kind)
        if key not in self._due and len(self._due) >= self._limits.remembered:
            self.dropped += 1
            return
        self._due[key] += 1
        self._wake.set()

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
            if not self._take_token(now):
                return
            count = self._due.pop(key)
            try:
                self._told[key] = await self._write(key, count, told)
            except ApiError as error:
                log.debug("event.unwritten", reason=key[1], error=str(error))
            while len(self._told) > self._limits.remembered:
                self._told.popitem(last=False)

    def _take_token(self, now: float) -> bool:
        refilled = self._tokens + (now - self._refilled) / self._limits.refill
        self._tokens, self._refilled = min(float(self._limits.burst), refilled), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _write(self, key: _Key, count: int, told: _Told | None) -> _Told:
        now = datetime.now(UTC)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if told is not None:
            total = told.count + count
            try:
                await self._api.patch("Event", told.name, {"count": total, "lastTimestamp": stamp}, namespace="default")
                return _Told(told.name, total, told.first, self._clock())
            except NotFoundError:
                pass  # the API server forgets Events after an hour: a new one
        name = f"{key[0].name}.{now.timestamp():.6f}".lower()
        await self._api.create("Event", self._body(key, name, count, stamp), namespace="default")
        return _Told(name, count, stamp, self._clock())

    def _body(self, key: _Key, name: str, count: int, stamp: str) -> dict[str, Any]:
        subject, reason, message, kind = key
        source = {"component": self._component, **({"host": self._host} if self._host else {})}
        involved = {"apiVersion": subject.api_version, "kind": subject.kind, "name": subject.name, "uid": subject.uid}
        return {
            "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {field: value for field, value in involved.items() if value},
            "reason": reason,
            "message": message,
            "type": kind,
            "count": count,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "source": source,
            "reportingComponent": self._component,
        }

"""Leader election over a Lease, judged by a clock that no one can set.

Somebody else's Lease is live until *we* have seen no change of it for its duration: what its ``renewTime`` says is for
people. Ours is given up, by our own clock, counted from before the request that renewed it, and earlier than anybody
else may take it. So at most one process leads, whatever the wall clocks do.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec import Struct

from towpath.controller.ports import AlreadyExistsError, Api, ApiError, ConflictError, NotFoundError

log = structlog.get_logger(__name__)
Clock = Callable[[], float]


def boottime() -> float:
    """Seconds that no one sets and that go on while the machine sleeps (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Terms(Struct, frozen=True):
    """Seconds: others wait ``duration`` without a sign of life; we stop ``deadline`` after our last; ``retry`` between tries."""

    duration: int = 15
    deadline: float = 10.0
    retry: float = 2.0


class Lease:
    """One process' part in the election. ``identity`` must be unique to the process, not to the host.

    Look at ``leading`` right before every write: it turns false by itself. Give up a write after ``left`` seconds: the
    server has until somebody else may lead, ``duration`` minus ``deadline``, to be done with it or to see it abandoned.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        terms: Terms | None = None,
        clock: Clock = boottime,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self._terms = terms or Terms()
        assert self._terms.retry < self._terms.deadline < self._terms.duration
        self._clock = clock
        self._until = -1.0
        self._observed: tuple[str, float] | None = None
        """The Lease's resourceVersion as last seen, and when it was seen first."""
        self.holder = ""
        """Who held it when it was looked at last."""
        self.idle = 0.0
        """Seconds for which it had not been renewed when this process took it, as the dates in it say; none where it was new."""

    @property
    def leading(self) -> bool:
        """Whether this process may write, now."""
        return self.left > 0

    @property
    def left(self) -> float:
        """Seconds until this process has to stop leading, unless the Lease is renewed before; zero or less: it has."""
        return self._until - self._clock()

    async def run(self, on_change: Callable[[bool], None]) -> None:
        """Take part until cancelled, then give the Lease back; ``on_change`` hears of every change soon after it."""
        told = False
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._terms.deadline / 2):
                        await self.attempt()
                if self.leading != told:
                    told = self.leading
                    log.info("lease.leading" if told else "lease.lost", identity=self.identity, holder=self.holder)
                    on_change(told)
                await asyncio.sleep(self._pause())
        finally:
            await asyncio.shield(self._give_back(told, on_change))

    async def attempt(self) -> None:
        """Look at the Lease once; renew or take it if that is allowed. Never raises."""
        started = self._clock()
        try:
            try:
                lease = await self._api.get("Lease", self._name, namespace=self._namespace)
            except NotFoundError:
                body = {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": self._spec(None)}
                await self._api.create("Lease", body, namespace=self._namespace)
            else:
                if not self._may_take(lease):
                    return
                held, idle = self.holder == self.identity, _idle(lease)
                await self._api.replace("Lease", {**lease, "spec": self._spec(lease)}, namespace=self._namespace)
                self.idle = self.idle if held else idle
        except (ConflictError, AlreadyExistsError):
            return  # somebody was faster: what they wrote is seen in the next look
        except ApiError as error:
            log.info("lease.unreachable", error=str(error))
            return
        self.holder = self.identity
        self._until = started + self._terms.deadline

    def _pause(self) -> float:
        """Until the next attempt, and no longer than until we have to stop leading."""
        left = self.left
        return min(self._terms.retry, left) if left > 0 else self._terms.retry

    def _may_take(self, lease: dict[str, Any]) -> bool:
        spec, version = lease.get("spec") or {}, lease["metadata"]["resourceVersion"]
        self.holder = str(spec.get("holderIdentity") or "")
        now = self._clock()
        if self._observed is None or self._observed[0] != version:
            self._observed = (version, now)
        if self.holder in ("", self.identity):
            return True
        self._until = -1.0
        patience = max(int(spec.get("leaseDurationSeconds") or 0), self._terms.duration)
        return now >= self._observed[1] + patience

    def _spec(self, lease: dict[str, Any] | None, *, holder: str | None = None) -> dict[str, Any]:
        """The Lease's spec with us (or ``holder``) in it; the times in it are for people."""
        before = (lease or {}).get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        held = self.identity if holder is None else holder
        kept = before.get("holderIdentity") == held
        return {
            "holderIdentity": held,
            "leaseDurationSeconds": self._terms.duration,
            "renewTime": now,
            "acquireTime": before.get("acquireTime", now) if kept else now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if kept or not lease else 1),
        }

    async def _give_back(self, told: bool, on_change: Callable[[bool], None]) -> None:
        """Stop leading, then let the next one start at once."""
        held, self._until = self.leading, -1.0
        if told:
            on_change(False)
        if not held:
            return
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(2):
                lease = await self._api.get("Lease", self._name, namespace=self._namespace)
                if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    body = {**lease, "spec": self._spec(lease, holder="")}
                    await self._api.replace("Lease", body, namespace=self._namespace)


def _idle(lease: dict[str, Any]) -> float:
    """Seconds since it was renewed, by the clocks of two machines: for people, and for what may be wrong at a small cost."""
    try:
        renewed = datetime.fromisoformat(str((lease.get("spec") or {}).get("renewTime")))
        return max(0.0, (datetime.now(UTC) - renewed).total_seconds())
    except (ValueError, TypeError):
        return 0.0

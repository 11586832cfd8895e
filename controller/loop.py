"""A loop that brings something to where it should be: when a change was seen, after a failure, and now and then anyway.

The first change runs it at once; changes that come while it runs, or within ``debounce`` seconds after it began, share
the next run. It never runs twice at a time and never counts events: the step looks at the present.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from msgspec import Struct


class Pace(Struct, frozen=True):
    """Seconds: between two starts, at most between two runs, after the first failure, and at most after a failure."""

    debounce: float = 0.02
    period: float = 60.0
    backoff: float = 0.2
    longest_backoff: float = 30.0

    def pause(self, failures: int) -> float:
        """How long to wait without a change, after this many failures in a row."""
        if failures == 0:
            return self.period
        doubled = self.backoff * 2.0 ** min(failures - 1, 16)
        return min(doubled, self.longest_backoff, self.period)


class LevelLoop:
    """Runs ``step`` until cancelled; the step returns whether everything is in place."""

    def __init__(self, step: Callable[[], Awaitable[bool]], *, pace: Pace | None = None) -> None:
        self._step = step
        self._pace = pace or Pace()
        self._wake = asyncio.Event()
        self.runs = self.failures = 0
        """How often the step has ended, and how often without everything in place."""
        self.seconds = 0.0
        """How long its runs took in all."""

    def dirty(self) -> None:
        """Something changed: run soon."""
        self._wake.set()

    async def run(self) -> None:
        """Run the step now, then whenever there is reason to."""
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            self._wake.clear()
            started = clock()
            failures = 0 if await self._step() else failures + 1
            self.runs, self.failures = self.runs + 1, self.failures + bool(failures)
            self.seconds += clock() - started
            pause = self._pace.pause(failures) * random.uniform(0.8, 1.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            await asyncio.sleep(max(0.0, started + self._pace.debounce - clock()))

"""The level loop, in virtual time."""

import asyncio

import pytest

from tests.virtual import run
from towpath.controller.loop import LevelLoop, Pace


class Steps:
    """Notes when each of its runs began."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.started: list[float] = []

    async def __call__(self) -> bool:
        self.started.append(asyncio.get_running_loop().time())
        return self.answers.pop(0) if self.answers else True


def test_a_burst_of_changes_is_one_run_later() -> None:
    """Changes that come together share one run, and that run comes at once, but not too soon after the last one."""
    steps = Steps()

    async def scenario() -> None:
        loop = LevelLoop(steps, pace=Pace(debounce=0.05))
        task = asyncio.create_task(loop.run())
        await asyncio.sleep(1)
        for _ in range(100):
            loop.dirty()
        await asyncio.sleep(0.01)
        loop.dirty()
        loop.dirty()
        await asyncio.sleep(1)
        task.cancel()

    run(scenario)
    assert steps.started == pytest.approx([0, 1, 1.05])


def test_a_failure_is_tried_again_with_backoff() -> None:
    """A step that failed runs again without any change, later and later, each time a little sooner than it might."""
    steps = Steps(False, False, False)

    async def scenario() -> None:
        task = asyncio.create_task(LevelLoop(steps, pace=Pace(debounce=0, backoff=1)).run())
        await asyncio.sleep(30)
        task.cancel()

    run(scenario)
    assert len(steps.started) == 4
    gaps = [after - before for before, after in zip(steps.started, steps.started[1:], strict=False)]
    assert all(0.8 * most <= gap <= most for gap, most in zip(gaps, (1, 2, 4), strict=True))


def test_a_change_while_it_runs_is_not_lost() -> None:
    """A change seen during a run leads to another run."""
    started: list[float] = []

    async def scenario() -> None:
        async def step() -> bool:
            started.append(asyncio.get_running_loop().time())
            if len(started) == 1:
                loop.dirty()
                await asyncio.sleep(1)
            return True

        loop = LevelLoop(step, pace=Pace(debounce=0))
        task = asyncio.create_task(loop.run())
        await asyncio.sleep(10)
        task.cancel()

    run(scenario)
    assert started == [0, 1]


def test_the_pause_grows_to_its_limit() -> None:
    """The backoff doubles and ends at its longest."""
    pace = Pace(backoff=1, longest_backoff=30, period=60)
    assert [pace.pause(failures) for failures in (0, 1, 2, 3, 6, 100)] == [60, 1, 2, 4, 30, 30]

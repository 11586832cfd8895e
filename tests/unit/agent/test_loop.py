"""The level loop."""

import asyncio

from towpath.controller.loop import LevelLoop, Pace


class Steps:
    """Counts its runs and says when each began."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.started: list[float] = []
        self.ran = asyncio.Event()

    async def __call__(self) -> bool:
        self.started.append(asyncio.get_running_loop().time())
        self.ran.set()
        return self.answers.pop(0) if self.answers else True

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.started) < count:
                self.ran.clear()
                await self.ran.wait()


async def running(steps: Steps, pace: Pace) -> tuple[LevelLoop, asyncio.Task[None]]:
    loop = LevelLoop(steps, pace=pace)
    task = asyncio.create_task(loop.run())
    await steps.until(1)
    return loop, task


async def test_a_burst_of_changes_is_one_run_later() -> None:
    """Changes that come together share one run, and that run comes at once."""
    steps = Steps()
    loop, task = await running(steps, Pace(debounce=0.05))
    await asyncio.sleep(0.06)
    before = asyncio.get_running_loop().time()
    for _ in range(100):
        loop.dirty()
    await steps.until(2)
    assert steps.started[1] - before < 0.04
    loop.dirty()
    loop.dirty()
    await steps.until(3)
    assert steps.started[2] - steps.started[1] >= 0.049
    await asyncio.sleep(0.1)
    assert len(steps.started) == 3
    task.cancel()


async def test_a_failure_is_tried_again_with_backoff() -> None:
    """A step that failed runs again without any change, later and later."""
    steps = Steps(False, False, False)
    _, task = await running(steps, Pace(debounce=0, backoff=0.02))
    await steps.until(4)
    gaps = [after - before for before, after in zip(steps.started, steps.started[1:], strict=False)]
    assert gaps[0] >= 0.015
    assert gaps[2] >= 0.06
    task.cancel()


async def test_a_change_while_it_runs_is_not_lost() -> None:
    """A change seen during a run leads to another run."""
    loop: LevelLoop
    count = 0
    done = asyncio.Event()

    async def step() -> bool:
        nonlocal count
        count += 1
        if count == 1:
            loop.dirty()
            await asyncio.sleep(0)
        else:
            done.set()
        return True

    loop = LevelLoop(step, pace=Pace(debounce=0))
    task = asyncio.create_task(loop.run())
    async with asyncio.timeout(2):
        await done.wait()
    task.cancel()


def test_the_pause_grows_to_its_limit() -> None:
    """The backoff doubles and ends at its longest."""
    pace = Pace(backoff=1, longest_backoff=30, period=60)
    assert [pace.pause(failures) for failures in (0, 1, 2, 3, 6, 100)] == [60, 1, 2, 4, 30, 30]

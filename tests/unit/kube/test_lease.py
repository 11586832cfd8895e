"""Leader election: never two leaders, whatever is delayed or lost, and whatever the wall clocks say."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.patience import within
from towpath.controller.kube.lease import Lease, Terms
from towpath.lab.fake_api import Call, FakeApi, Fault

TERMS = Terms(duration=15, deadline=10.0, retry=2.0)
FAULTS = [
    Fault.NONE,
    Fault.NONE,
    Fault.NONE,
    Fault.UNREACHABLE,
    Fault.LOST_ANSWER,
    Fault.CONFLICT,
    Fault.DELAYED_REQUEST,
    Fault.DELAYED_ANSWER,
]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def _lease(api, clock, identity):
    return Lease(api, namespace="default", name="controller", identity=identity, terms=TERMS, clock=clock)


async def test_for_how_long_nobody_led_is_known_to_who_takes_it():
    """By the date in it; where it is new or has no date nothing is, and who renews it still knows what it found."""
    clock, api = Clock(), FakeApi()
    one = _lease(api, clock, "one")
    await one.attempt()
    assert (one.leading, one.idle) == (True, 0.0)
    for date, least, most in (("2020-01-01T00:00:00.000000Z", 1e8, 1e10), ("soon", 0.0, 0.0), (None, 0.0, 0.0)):
        lease = await api.get("Lease", "controller", namespace="default")
        spec = {**lease["spec"], "holderIdentity": "", "renewTime": date}
        await api.replace("Lease", {**lease, "spec": spec}, namespace="default")
        two = _lease(api, clock, "two")
        for _ in range(2):
            await two.attempt()
            assert two.leading
            assert least <= two.idle <= most


async def test_the_first_takes_it_and_the_second_waits():
    """The second leads when the first has been silent for the duration, by the second's own clock."""
    clock, api = Clock(), FakeApi()
    one, two = _lease(api, clock, "one"), _lease(FakeApi(api.objects), clock, "two")
    await one.attempt()
    await two.attempt()
    assert one.leading
    assert not two.leading
    assert two.holder == "one"
    clock.now += 9.9
    assert one.leading
    clock.now += 0.2
    assert not one.leading
    clock.now += 4.8
    await two.attempt()
    assert not two.leading
    clock.now += 0.2
    await two.attempt()
    assert two.leading
    await one.attempt()
    assert not one.leading


async def test_renewal_keeps_it():
    """A leader that renews leads on, and nobody else does."""
    clock, api = Clock(), FakeApi()
    one, two = _lease(api, clock, "one"), _lease(FakeApi(api.objects), clock, "two")
    for _ in range(30):
        await one.attempt()
        await two.attempt()
        assert one.leading
        assert not two.leading
        clock.now += 2


async def test_wall_clock_says_nothing():
    """A renewTime of another century neither frees nor keeps a Lease."""
    clock, api = Clock(), FakeApi()
    one, two = _lease(api, clock, "one"), _lease(FakeApi(api.objects), clock, "two")
    await one.attempt()
    for stamp in ("1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"):
        await api.patch("Lease", "controller", {"spec": {"renewTime": stamp}}, namespace="default")
        await two.attempt()
        assert not two.leading
    clock.now += 15
    await two.attempt()
    assert two.leading


async def test_a_leader_that_leaves_frees_it():
    """Cancelled, it stops leading first and then gives the Lease back; the next one need not wait."""
    clock, api = Clock(), FakeApi()
    told = []
    one, two = _lease(api, clock, "one"), _lease(FakeApi(api.objects), clock, "two")
    task = asyncio.create_task(one.run(told.append))
    async with within(5):
        while not told:  # noqa: ASYNC110  # one turn of the loop at a time
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told == [True, False]
    await two.attempt()
    assert two.leading


@settings(max_examples=examples(60))
@given(st.integers(0, 2**32))
def test_never_two_leaders(seed):
    """Three processes under lost, refused and delayed requests: at no moment do two lead, and delayed writes of an old
    leader do not make it one again."""

    async def simulate():
        chance, clock = random.Random(seed), Clock()

        def fault(_call: Call) -> Fault:
            return chance.choice(FAULTS)

        shared = FakeApi()
        apis = [FakeApi(shared.objects, faults=fault) for _ in range(3)]
        leases = [_lease(api, clock, f"p{index}") for index, api in enumerate(apis)]
        running: dict[int, asyncio.Task[None]] = {}
        for _ in range(150):
            index = chance.randrange(3)
            if index not in running or running[index].done():
                running[index] = asyncio.create_task(leases[index].attempt())
            for _ in range(4):
                await asyncio.sleep(0)
            waiting = [api for api in apis if api.waiting]
            if waiting and chance.random() < 0.5:
                chance.choice(waiting).release()
                for _ in range(4):
                    await asyncio.sleep(0)
            assert sum(lease.leading for lease in leases) <= 1
            clock.now += chance.choice([0.0, 0.1, 1.0, 2.0, 4.0, 9.0])
            assert sum(lease.leading for lease in leases) <= 1
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)

    asyncio.run(simulate())

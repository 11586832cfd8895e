"""The wall clock of a node is wrong, and steps, while everything runs: only what people read has its times from it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.netns.agent.node import BIRD_CONFIGURATION, LEARNED, PASSWORD, OneNode, announced, manifests, ours
from towpath.lab.events import RouteEvents
from towpath.lab.process import wait_for

HOLD_TIME = 9
RESTART_TIME = 4
YEAR, HOUR = 365 * 86400, 3600
MOST = 300
"""Seconds that a busy machine may take from a step of the clock to a look at what it did."""


SHIM = """
import datetime as module, pathlib, time

real, clock = module.datetime, time.time
offset = lambda: int(pathlib.Path({file!r}).read_text())
time.time = lambda: clock() + offset()
time.time_ns = lambda: int(time.time() * 1e9)

class Meta(type):
    def __instancecheck__(cls, other):
        return isinstance(other, real)

class Shifted(real, metaclass=Meta):
    now = classmethod(lambda cls, tz=None: real.fromtimestamp(time.time(), tz))
    utcnow = classmethod(lambda cls: real.fromtimestamp(time.time(), module.UTC).replace(tzinfo=None))

module.datetime = Shifted
"""
"""Every way in which a Python program learns the time of day, imported before anything else."""


class Clock:
    """The wall clock of agent and speaker; their monotonic clock is the machine's."""

    def __init__(self, one: OneNode) -> None:
        self._file = one.root / "clock"
        self.offset = 0
        self.step(0)
        first = one.root / "first"
        first.mkdir()
        (first / "sitecustomize.py").write_text(SHIM.format(file=str(self._file)))
        for process in (one.agent, one.speaker):
            process.environment = {**process.environment, "PYTHONPATH": str(first)}

    def step(self, seconds: int) -> None:
        """Put it forward, or back."""
        self.offset += seconds
        beside = self._file.with_name("clock.new")
        beside.write_text(f"{self.offset:+d}\n")
        beside.rename(self._file)

    def shows(self, stamp: str) -> bool:
        """Whether this is a time that it showed lately."""
        there = datetime.fromisoformat(stamp)
        return abs(there - timedelta(seconds=self.offset) - datetime.now(UTC)) < timedelta(seconds=MOST)


def with_block(number: int) -> list[dict[str, Any]]:
    objects = manifests()
    objects[0]["spec"]["timers"] = {"holdTime": f"{HOLD_TIME}s", "keepaliveTime": "3s", "connectRetryTime": "1s"}
    block = {"apiVersion": "towpath.io/v1alpha1", "kind": "IPAMBlock", "metadata": {"name": f"10-244-{number}-0-26"}}
    return [*objects, {**block, "spec": {"cidr": f"10.244.{number}.0/26", "node": "a", "pool": "v4"}}]


def works(one: OneNode, clock: Clock, number: int) -> None:
    """For longer than the hold time no session ends and no route moves; then a new block is announced and reported."""
    lost = one.speaker.log.count("session.lost")
    with RouteEvents(one.node) as here, RouteEvents(one.router) as there:
        end = time.monotonic() + HOLD_TIME + 3
        wait_for(lambda: time.monotonic() > end, deadline=HOLD_TIME + 10, what="the hold time is over", interval=0.5)
        assert (*here.read(), *there.read()) == ()
    assert one.speaker.log.count("session.lost") == lost
    one.write(with_block(number))
    cidr = f"10.244.{number}.0/26"
    wait_for(lambda: cidr in announced(one.bird), deadline=20, what=f"the new block at the router\n{one.agent.log}")
    wait_for(
        lambda: cidr in [block["cidr"] for block in one.status()["blocks"]], deadline=60, what="the new block reported"
    )
    assert clock.shows(one.status()["reportedAt"])
    wait_for(
        lambda: {one.conditions()[kind]["status"] for kind in ("Ready", "InSync", "SessionsUp")} == {"True"},
        deadline=60,
        what="all is well, as it says",
    )


def test_a_year_ahead_then_steps_of_an_hour(one: OneNode) -> None:
    """Started a year in the future; then an hour back, two forward, and a year and more back while everything runs."""
    clock = Clock(one)
    clock.step(YEAR)
    one.write(with_block(8))
    one.start()
    one.converged()
    wait_for(lambda: one.conditions().get("SessionsUp", {}).get("status") == "True", deadline=20, what="SessionsUp")
    assert clock.shows(one.conditions()["Ready"]["lastTransitionTime"]), "the clock is not the one that was meant"
    for number, seconds in enumerate((-HOUR, 2 * HOUR, -2 * YEAR), 10):
        clock.step(seconds)
        works(one, clock, number)


def test_the_restart_time_of_a_router_that_stays_away(one: OneNode) -> None:
    """Its routes stay for as long as it said and go then: not sooner when the clock steps forward, nor later when it steps back."""
    clock = Clock(one)
    restarting = f"graceful restart on; graceful restart time {RESTART_TIME};"
    router = BIRD_CONFIGURATION.replace("graceful restart on;", restarting)
    one.write(with_block(8))
    one.speaker.start()
    one.start_agent()
    for seconds in (2 * HOUR, -2 * YEAR):
        one.bird.start(router.format(log=one.root / "bird.log", password=PASSWORD, more=""))
        one.converged(deadline=40)
        killed = time.monotonic()
        one.bird.process.kill()
        clock.step(seconds)
        wait_for(lambda: ours(one.node).isdisjoint(LEARNED), deadline=40, what="what the router told is forgotten")
        assert time.monotonic() - killed >= RESTART_TIME

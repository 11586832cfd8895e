"""Ends of sessions with BIRD, FRR and GoBGP, and what each side keeps: a router that stays away, silence, and the N bit (RFC 8538)."""

import asyncio
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Self

import pytest
from msgspec.structs import replace

from tests.netns.engine.rig import make_session
from tests.netns.engine.test_speaker import Agent, agent_at, desired, path, speaker, state_of  # noqa: F401  # two are fixtures
from tests.patience import eventually as until
from towpath.lab.netns import Host
from towpath.lab.process import Process
from towpath.lab.routers.bird import BirdRouter
from towpath.lab.routers.frr import Frr
from towpath.lab.routers.gobgp import Gobgp
from towpath.lab.routers.router import Router

SOON, LATE = 2, 1800
"""Restart times of the routers, in seconds; ours is that of the session, two minutes."""
THEIRS = (ip_network("203.0.113.0/26"), ip_network("203.0.113.64/26"))
OURS = ip_network("10.64.0.0/26")
BIRD = """
log "{folder}/bird.log" all;
router id 10.9.0.2;
protocol device {{ }}
protocol static s4 {{ ipv4; route 203.0.113.0/26 blackhole; route 203.0.113.64/26 blackhole; }}
protocol bgp p {{
  local 10.9.0.2 as 65000; neighbor 10.9.0.1 as 64512;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  graceful restart on; graceful restart time {restart_time};
  ipv4 {{ import all; export all; }};
}}
"""
FRR = """
router bgp 65000
 bgp router-id 10.9.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart notification
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart restart-time {restart_time}
 neighbor 10.9.0.1 remote-as 64512
 neighbor 10.9.0.1 timers connect 1
 address-family ipv4 unicast
  network 203.0.113.0/26
  network 203.0.113.64/26
 exit-address-family
"""
GOBGP = """
[global.config]
as = 65000
router-id = "10.9.0.2"
[[neighbors]]
[neighbors.config]
neighbor-address = "10.9.0.1"
peer-as = 64512
[neighbors.timers.config]
connect-retry = 1
idle-hold-time-after-reset = 1
[neighbors.graceful-restart.config]
enabled = true
restart-time = {restart_time}
notification-enabled = true
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
"""
MAKES: tuple[tuple[type[Router], str], ...] = ((BirdRouter, BIRD), (Frr, FRR), (Gobgp, GOBGP))
NOTIFYING = MAKES[1:]
"""Those with the N bit."""
SESSION = make_session("tor", "10.9.0.2", local_address=ip_address("10.9.0.1"))


@dataclass
class Bench:
    """The speaker, and a router that announces two prefixes."""

    router: Router
    speaker: Process
    sessions: int = 0
    """So many have come up."""

    def announce(self) -> None:
        """What the configuration cannot."""
        if isinstance(self.router, Gobgp):
            for prefix in THEIRS:
                self.router.ask("global", "rib", "add", str(prefix), "-a", "ipv4")

    def has_ours(self) -> bool:
        return bool(self.router.paths(OURS))

    def stale(self) -> bool:
        return any(one.stale for one in self.router.paths(OURS))

    def up(self) -> bool:
        return ip_address("10.9.0.1") in self.router.established()

    def was_hard_reset(self) -> bool:
        """Whether the last NOTIFICATION that it got was Cease/Hard Reset, as it says itself."""
        if isinstance(self.router, Frr):
            return '"lastNotificationHardReset":true' in self.router.ask("show bgp neighbors 10.9.0.1 json")
        return '"Code":6,' in self.router.log and '"Subcode":9,' in self.router.log

    async def told(self, agent: Agent) -> None:
        """The router and the agent each have what the other told."""
        await until(
            lambda: set(agent.routes) == set(THEIRS) and self.up() and self.has_ours(),
            deadline=40,
            interval=0.1,
            what="each has what the other told",
        )

    async def again(self, agent: Agent) -> None:
        """The same, in another session than the last one that was up."""
        await until(
            lambda: self.speaker.log.count("session.established") > self.sessions, deadline=40, what="a session"
        )
        await self.told(agent)
        self.sessions = self.speaker.log.count("session.established")


@pytest.fixture
def bench(request: pytest.FixtureRequest, segment: list[Host], speaker: Process, public: Path) -> Iterator[Bench]:  # noqa: F811
    make, configuration, restart_time = request.param
    router = make(segment[1], directory=public / "router")
    router.start(configuration.format(folder=router.directory, restart_time=restart_time))
    made = Bench(router, speaker)
    made.announce()
    yield made
    router.remove()


def with_each(makes: tuple[tuple[type[Router], str], ...], *, restart_time: int) -> pytest.MarkDecorator:
    """A bench for each of these makes."""
    values = [(*make, restart_time) for make in makes]
    return pytest.mark.parametrize("bench", values, indirect=True, ids=[make.__name__ for make, _ in makes])


@with_each(MAKES, restart_time=SOON)
async def test_a_router_that_stays_away_is_forgotten_at_its_restart_time(bench: Bench, path: Path) -> None:  # noqa: F811
    """Killed: its routes stay as long as it said in its OPEN, no second less, and go then though our own time is longer."""
    async with agent_at(path, desired(SESSION)) as agent:
        await until(lambda: set(agent.routes) == set(THEIRS), deadline=40, what="its routes")
        killed = time.monotonic()
        bench.router.kill()
        await until(lambda: not agent.routes, deadline=20, what="they are gone")
        assert time.monotonic() - killed >= SOON


class Kept:
    """Watches that the router has our route all the time."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.looks: list[bool] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def _watch(self) -> None:
        while True:
            self.looks.append(await asyncio.to_thread(self._bench.has_ours))

    async def __aexit__(self, *_: object) -> None:
        await until(lambda: self.looks, deadline=20, what="a look")
        self._task.cancel()
        assert all(self.looks)


@with_each(NOTIFYING, restart_time=LATE)
async def test_a_hold_timer_that_expires_takes_no_route_from_either_side(bench: Bench, path: Path) -> None:  # noqa: F811
    """The router is silent and is told so, then we are and it tells us: with the N bit of both, each keeps all. Our Cease is the end.

    GoBGP says that it preserved its forwarding (F) only where it was started to recover. Else what it had told goes when it
    is back, as RFC 4724 section 4.2 has it, and is told again.
    """
    session = replace(SESSION, hold_time=3, keepalive_time=1)
    async with agent_at(path, desired(session, announcements=[str(OURS)])) as agent:
        await bench.again(agent)
        agent.withdrawn.clear()
        await until(lambda: state_of(agent) == "Established", deadline=20, what="it is reported")
        router = bench.router.programs[-1]
        expired = bench.speaker.log.count("code=4")
        router.signal(signal.SIGSTOP)
        try:
            await until(lambda: bench.speaker.log.count("code=4") > expired, deadline=20, what="it is silent")
            await until(lambda: state_of(agent) != "Established", deadline=20, what="that is reported")
            assert (set(agent.routes), agent.withdrawn) == (set(THEIRS), [])
        finally:
            router.signal(signal.SIGCONT)
        async with Kept(bench):
            await bench.again(agent)
            await until(lambda: not bench.stale(), deadline=20, what="it is told ours again", interval=0.1)
        bench.speaker.signal(signal.SIGSTOP)
        try:
            await until(lambda: not bench.up() and bench.stale(), deadline=20, what="we are silent", interval=0.1)
        finally:
            bench.speaker.signal(signal.SIGCONT)
        async with Kept(bench):
            await bench.again(agent)
        if isinstance(bench.router, Frr):
            assert agent.withdrawn == []
        agent.client.desire(desired(announcements=[str(OURS)]))
        await until(lambda: not bench.has_ours() and not agent.routes, deadline=20, what="all is gone", interval=0.1)
        assert bench.was_hard_reset()

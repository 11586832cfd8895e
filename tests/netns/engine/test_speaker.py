"""The speaker as a process of its own, with a real agent's end of the link and BIRD as its peer."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Self

import pytest
from msgspec.structs import replace

from tests import effort
from tests.netns.engine.rig import AS_OURS, AS_PEER, SECRET, Bird, bird_neighbour, make_session, make_settings
from tests.patience import eventually as until
from towpath.bgp.link import LinkClient
from towpath.lab.blaster import Blast, Blaster, end_of_rib, message, stream
from towpath.lab.process import Process
from towpath.model.net import Address, Family, from_wire, split_wire
from towpath.model.reason import Reason
from towpath.model.secret import Secret
from towpath.model.speaker import (
    Announcement,
    Hello,
    MaxPrefix,
    NextHopInterest,
    Notice,
    Report,
    Routes,
    SpeakerState,
    Sync,
    Whole,
    Withdrawn,
)

STATIC = "route 203.0.113.0/26 blackhole; route 203.0.113.64/26 blackhole;"
CANARY = "canary-b7Q2xz"


class Agent:
    """The agent's end: keeps the Loc-RIB that it was told."""

    def __init__(self, path: Path) -> None:
        self.client = LinkClient(path, received=self._received)
        self.routes: dict[object, tuple[Address, ...]] = {}
        self._whole: dict[object, tuple[Address, ...]] | None = None
        self.in_sync = False
        self.withdrawn: list[Withdrawn] = []
        self.wholes = 0
        self.report: Report | None = None
        self.notices: list[Notice] = []

    def _received(self, frame) -> None:
        target = self.routes if self._whole is None else self._whole
        match frame:
            case Hello():
                self._whole = {}
            case Whole():
                self.routes, self._whole = self._whole or {}, None
                self.wholes += 1
            case Routes():
                for wire in split_wire(frame.prefixes):
                    target[from_wire(frame.family, wire)] = frame.next_hops
            case Withdrawn():
                self.withdrawn.append(frame)
                for wire in split_wire(frame.prefixes):
                    target.pop(from_wire(frame.family, wire), None)
            case Sync():
                self.in_sync = frame.in_sync
            case NextHopInterest():
                self.client.metrics(dict.fromkeys(frame.addresses, 0), interfaces={})
            case Report():
                self.report = frame
            case Notice():
                self.notices.append(frame)


@contextlib.asynccontextmanager
async def agent_at(path, state):
    agent = Agent(path)
    await agent.client.start()
    agent.client.desire(state)
    try:
        yield agent
    finally:
        await agent.client.stop()


def start(host, path, log) -> Process:
    return host.process(sys.executable, "-m", "towpath.bgp.speaker", "--socket", str(path), log=log)


def announce(*prefixes):
    return {
        prefix: Announcement(prefix=prefix, source="Block", local_preference=100)
        for prefix in map(ip_network, prefixes)
    }


def desired(*sessions, announcements=(), passwords=None, **settings) -> SpeakerState:
    own = (ip_address("10.9.0.1"), ip_address("fd09::1"))
    return SpeakerState(
        settings=make_settings(own_addresses=own, local_as=AS_OURS, **settings),
        sessions={session.name: session for session in sessions},
        announcements=announce(*announcements),
        passwords=passwords or {},
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "speaker.sock"


@pytest.fixture
def speaker(segment, path, tmp_path):
    return start(segment[0], path, tmp_path / "speaker.log")


SESSION = make_session("tor", "10.9.0.2", local_address=ip_address("10.9.0.1"))


async def test_from_the_peer_to_the_agent_and_back(segment, speaker, path, tmp_path):
    """The peer's routes reach the agent, our announcements the peer, and each change follows."""
    bird = Bird(
        segment[1],
        tmp_path,
        router_id="10.9.0.2",
        neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.2")},
        static=STATIC,
    )
    learned = ip_network("203.0.113.64/26")
    async with agent_at(path, desired(SESSION, announcements=["10.64.0.0/26"])) as agent:
        await until(lambda: agent.routes.get(learned) == (ip_address("10.9.0.2"),), what="a route")
        await until(lambda: agent.in_sync, what="in sync")
        await until(lambda: "10.64.0.0/26" in bird.ask("show route"), what="our announcement")
        agent.client.desire(desired(SESSION, announcements=["10.64.1.0/26"]))
        await until(lambda: "10.64.1.0/26" in bird.ask("show route"), what="the new announcement")
        await until(lambda: "10.64.0.0/26" not in bird.ask("show route"), what="the old one goes")
        bird.config.write_text(bird.config.read_text().replace("route 203.0.113.64/26 blackhole;", ""))
        bird.ask("configure")
        await until(lambda: learned not in agent.routes, what="a withdrawal")
        await until(
            lambda: agent.report and agent.report.sessions and agent.report.sessions[0].received == 1, what="a report"
        )
        assert agent.report.sessions[0].state == "Established"


async def test_an_agent_that_dies_leaves_the_sessions_up_and_gets_the_whole_when_it_is_back(
    segment, speaker, path, tmp_path
):
    """Sessions and announcements outlive the agent; a new one is told the whole Loc-RIB and moves nothing."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    state = desired(SESSION, announcements=["10.64.0.0/26"])
    async with agent_at(path, state) as agent:
        await until(lambda: len(agent.routes) == 2 and "10.64.0.0/26" in bird.ask("show route"))
        changes = bird.settled("p")
        first = dict(agent.routes)
    await asyncio.sleep(0.3)
    assert "10.64.0.0/26" in bird.ask("show route")
    async with agent_at(path, state) as agent:
        await until(lambda: agent.wholes == 1)
        assert agent.routes == first
    assert bird.changes("p") == changes


async def test_a_report_speaks_of_a_new_block(segment, speaker, path, tmp_path):
    """Pods wait for it: the speaker says in which blocks it looked and found others' paths, and when they have gone."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    block = ip_network("203.0.113.64/26")
    async with agent_at(path, desired(SESSION)) as agent:
        await until(lambda: block in agent.routes, what="the router announces what will be ours")
        own = desired(SESSION, announcements=[str(block)])
        agent.client.desire(replace(own, blocks={block: own.settings.node}))
        await until(lambda: agent.report is not None and block in agent.report.own_blocks, what="a report")
        assert agent.report.foreign_paths == (block,)
        bird.config.write_text(bird.config.read_text().replace(f"route {block} blackhole;", ""))
        bird.ask("configure")
        await until(lambda: agent.report.foreign_paths == (), what="nobody else's path is held")


async def test_a_killed_speaker_moves_no_route_at_its_peer(segment, speaker, path, tmp_path):
    """kill -9 of the speaker: BIRD keeps our routes, and after the restart only what we no longer announce goes."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    watched = []

    async def watch():
        while True:
            watched.append("10.64.0.0/26" in await asyncio.to_thread(bird.ask, "show route"))
            await asyncio.sleep(0.02)

    async with agent_at(path, desired(SESSION, announcements=["10.64.0.0/26", "10.64.1.0/26"])) as agent:
        await until(lambda: "10.64.1.0/26" in bird.ask("show route"))
        probe = asyncio.create_task(watch())
        speaker.kill()
        await asyncio.sleep(0.5)
        assert "10.64.1.0/26" in bird.ask("show route")
        state = desired(SESSION, announcements=["10.64.0.0/26"], forwarding_preserved=True)
        agent.client.desire(state)
        start(segment[0], path, tmp_path / "speaker2.log")
        await until(lambda: "10.64.1.0/26" not in bird.ask("show route"), what="End-of-RIB flushes what is gone")
        await until(lambda: len(agent.routes) == 2 and agent.in_sync)
        probe.cancel()
    assert watched
    assert all(watched)


def state_of(agent):
    """The state of the first session as last reported; the report at the very start knows of none."""
    return agent.report.sessions[0].state if agent.report and agent.report.sessions else None


async def test_a_killed_peer_moves_no_route_at_the_agent(segment, speaker, path, tmp_path):
    """kill -9 of BIRD: its routes stay until it is back and has sent them again."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    async with agent_at(path, desired(SESSION)) as agent:
        await until(lambda: len(agent.routes) == 2)
        await until(lambda: state_of(agent) == "Established")
        bird.process.kill()
        await until(lambda: state_of(agent) != "Established")
        assert len(agent.routes) == 2
        Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC.partition(" route")[0])
        await until(lambda: len(agent.routes) == 1, what="the route that did not come back is gone")


async def test_sigterm_is_a_restart(segment, speaker, path, tmp_path):
    """SIGTERM ends the process at once and without a NOTIFICATION; the peer keeps the routes."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    async with agent_at(path, desired(SESSION, announcements=["10.64.0.0/26"])):
        await until(lambda: "10.64.0.0/26" in bird.ask("show route"))
        speaker.signal(signal.SIGTERM)
        await until(lambda: not speaker.running, deadline=10)
        assert speaker.child.returncode == 0
        await asyncio.sleep(0.3)
        assert "10.64.0.0/26" in bird.ask("show route")
        assert "Received:" not in bird.log


async def test_an_agent_that_is_stopped_does_not_hold_up_the_speaker(segment, speaker, path, tmp_path):
    """An agent that reads nothing costs neither sessions nor memory while routes flap."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more="hold time 6; keepalive time 2;")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    async with agent_at(path, desired(SESSION)) as agent:
        await until(lambda: len(agent.routes) == 2)
        changes = bird.settled("p")
        agent.client._frames._transport.pause_reading()
        before = memory(speaker.pid)
        flaps, end = 0, time.monotonic() + 8  # longer than the hold time
        while flaps < 40 or time.monotonic() < end:
            await asyncio.to_thread(bird.ask, "disable s4")
            await asyncio.to_thread(bird.ask, "enable s4")
            await asyncio.sleep(0.1)
            flaps += 1
        assert memory(speaker.pid) - before < 4_000_000
        agent.client._frames._transport.resume_reading()
        await until(lambda: len(agent.routes) == 2)
        assert bird.changes("p") == changes


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_password_is_seen_nowhere(segment, speaker, path, tmp_path):
    """A canary password is in no log, argument, environment or file, also when sessions fail."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=f'password "{CANARY}";')}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    right = make_session("tor", "10.9.0.2", password_ref=SECRET)
    wrong = make_session("none", "10.9.0.3", password_ref=SECRET)
    passwords = {"tor": Secret(CANARY.encode()), "none": Secret(CANARY.encode() * 8)}
    async with agent_at(path, desired(right, wrong, passwords=passwords)) as agent:
        await until(lambda: len(agent.routes) == 2)
        await until(lambda: agent.report is not None)
        process = Path(f"/proc/{speaker.pid}")
        seen = speaker.log.encode() + (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        seen += repr((agent.report, passwords)).encode()
        assert CANARY.encode() not in seen
    bird.config.unlink()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes()


async def test_a_secret_that_disappears_moves_no_route(segment, speaker, path, tmp_path):
    """A session that is withheld for want of its secret while it is up keeps its routes and goes on learning."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=f'password "{CANARY}";')}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    session = make_session("tor", "10.9.0.2", password_ref=SECRET)
    withheld = make_session("tor", "10.9.0.2", password_ref=SECRET, state="Withheld", reason=Reason.SECRET_MISSING)
    async with agent_at(path, desired(session, passwords={"tor": Secret(CANARY.encode())})) as agent:
        await until(lambda: len(agent.routes) == 2)
        changes = bird.settled("p")
        agent.client.desire(desired(withheld))
        await asyncio.to_thread(bird.ask, "disable s4")
        await until(lambda: agent.routes == {}, what="it goes on learning")
        await asyncio.to_thread(bird.ask, "enable s4")
        await until(lambda: len(agent.routes) == 2)
        assert bird.changes("p") == changes


class Gapless:
    """Watches, as often as it can, that the peer has our route and the agent the peer's."""

    def __init__(self, bird: Bird, agent: Agent, *, at_peer: bool = True) -> None:
        self._bird, self._agent, self._at_peer = bird, agent, at_peer
        self.looks: list[tuple[bool, bool]] = []

    async def __aenter__(self) -> Self:
        self._agent.withdrawn.clear()
        self._task = asyncio.create_task(self._watch())
        return self

    async def _watch(self) -> None:
        while True:
            there = not self._at_peer or "10.64.0.0/26" in await asyncio.to_thread(self._bird.ask, "show route")
            self.looks.append((there, len(self._agent.routes) == 2))
            await asyncio.sleep(0.01)

    async def __aexit__(self, *_: object) -> None:
        await until(lambda: len(self.looks) > 5)
        self._task.cancel()
        assert set(self.looks) == {(True, True)}
        assert self._agent.withdrawn == []


@pytest.mark.parametrize("passive", [False, True])
async def test_a_changed_session_moves_no_route_on_either_side(segment, speaker, path, tmp_path, passive):
    """Another hold time: BIRD (graceful restart without N) keeps our route over the reset, the agent keeps BIRD's."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    session = replace(SESSION, passive=passive)
    async with agent_at(path, desired(session, announcements=["10.64.0.0/26"])) as agent:
        await until(lambda: len(agent.routes) == 2 and "10.64.0.0/26" in bird.ask("show route"))
        changes = bird.settled("p")
        async with Gapless(bird, agent):
            agent.client.desire(desired(replace(session, hold_time=60), announcements=["10.64.0.0/26"]))
            await until(lambda: bird.changes("p") != changes and "Established" in bird.ask("show protocols p"))
            await asyncio.sleep(0.5)
        assert "session.lost" in speaker.log
        assert "Received:" not in bird.log


async def test_a_changed_password_moves_no_route(segment, speaker, path, tmp_path):
    """Changed here and back: nothing moves at BIRD either. Changed on both sides: the agent keeps BIRD's routes.

    BIRD itself drops our routes when its own password is changed: it restarts the protocol.
    """
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=f'password "{CANARY}";')}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    session = replace(SESSION, password_ref=SECRET)
    state = desired(session, announcements=["10.64.0.0/26"], passwords={"tor": Secret(CANARY.encode())})
    async with agent_at(path, state) as agent:
        await until(lambda: len(agent.routes) == 2 and "10.64.0.0/26" in bird.ask("show route"))
        changed = replace(state, passwords={"tor": Secret(b"another")})
        async with Gapless(bird, agent):
            for other in (changed, state):
                changes = bird.changes("p")
                agent.client.desire(other)
                await until(lambda changes=changes: bird.changes("p") != changes, what="another state")
            await until(lambda: "Established" in bird.ask("show protocols p"), what="up with the old password")
        async with Gapless(bird, agent, at_peer=False):
            agent.client.desire(changed)
            await until(lambda: "Established" not in bird.ask("show protocols p"), what="down")
            bird.config.write_text(bird.config.read_text().replace(CANARY, "another"))
            bird.ask("configure")
            await until(lambda: "Established" in bird.ask("show protocols p"), what="up with the new password")
            await asyncio.sleep(0.5)


async def test_a_peer_that_is_removed_forgets_our_routes_at_once(segment, speaker, path, tmp_path):
    """Removed or shut down: BIRD has no route of ours a moment later, although graceful restart is on."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    state = desired(SESSION, announcements=["10.64.0.0/26"])
    shut = replace(SESSION, state="Withheld", reason=Reason.SHUTDOWN)
    async with agent_at(path, state) as agent:
        for without, said in ((desired(), "Peer de-configured"), (desired(shut), "Administrative shutdown")):
            agent.client.desire(state)
            await until(lambda: len(agent.routes) == 2 and "10.64.0.0/26" in bird.ask("show route"), deadline=30)
            agent.client.desire(without)
            await until(lambda: "10.64.0.0/26" not in bird.ask("show route"), what="routes gone at BIRD")
            await until(lambda: agent.routes == {}, what="routes gone here")
            await until(lambda said=said: f"Received: {said}" in bird.log, what="the Cease")


async def test_random_updates_kill_nothing(segment, speaker, path, tmp_path):
    """A peer that sends mutated UPDATEs loses at most its own session: the process and the other session stay."""
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC)
    fuzzed = make_session("fuzzed", "10.9.0.3", passive=True, max_prefix=MaxPrefix(10**6))
    async with agent_at(path, desired(SESSION, fuzzed)) as agent:
        await until(lambda: len(agent.routes) == 2)
        changes = bird.settled("p")
        sessions = await asyncio.to_thread(mutate_updates, segment[2], effort.chance())
        assert sessions > 3
        assert speaker.running
        assert "speaker.bug" not in speaker.log
        assert bird.changes("p") == changes
        # and the fuzzed peer can still come back and be understood
        blaster = await asyncio.to_thread(established, segment[2])
        blaster.socket.sendall(stream(GOOD) + end_of_rib(Family.IPV4))
        await until(lambda: ip_network("20.0.0.0/26") in agent.routes)
        blaster.close()


GOOD = Blast(
    next_hop=ip_address("10.9.0.3"),
    local_as=AS_PEER,
    remote_as=AS_OURS,
    count=20,
    first=ip_address("20.0.0.0"),
    length=26,
    per_set=5,
)


def established(host) -> Blaster:
    with host.entered():
        blaster = Blaster(local=ip_address("10.9.0.3"), local_as=AS_PEER, peer=ip_address("10.9.0.1"))
    blaster.establish()
    return blaster


def mutate_updates(host, chance: random.Random) -> int:
    """Send some thousand UPDATEs with random bytes changed; how many sessions that took."""
    six = replace(GOOD, next_hop=ip_address("fd09::3"), first=ip_address("2001:db8::"), length=64)
    bodies = [data[19:] for blast in (GOOD, six) for data in messages(stream(blast))]
    sessions, sent = 0, 0
    while sent < 3000:
        blaster = established(host)
        sessions += 1
        with contextlib.suppress(OSError):
            for _ in range(300):
                body = bytearray(chance.choice(bodies))
                for _ in range(chance.randrange(1, 4)):
                    body[chance.randrange(len(body))] = chance.randrange(256)
                blaster.socket.sendall(message(2, bytes(body[: chance.randrange(4, len(body) + 1)])))
                sent += 1
            blaster.socket.sendall(b"\xff" * 19)  # its end, in case it is still up
        blaster.close()
    return sessions


def messages(data: bytes):
    while data:
        length = int.from_bytes(data[16:18], "big")
        yield data[:length]
        data = data[length:]


async def test_an_idle_speaker_costs_next_to_nothing(segment, speaker, path, tmp_path):
    """Fifty established sessions with a KEEPALIVE every three seconds take about one percent of a core."""
    node, tor, _ = segment
    neighbours, sessions = {}, []
    for number in range(50):
        address = f"10.9.0.{100 + number}"
        node.address(f"{address}/24", dev="eth0")
        neighbours[f"p{number}"] = bird_neighbour(address, local="10.9.0.2", more="passive on;")
        sessions.append(
            make_session(f"s{number}", "10.9.0.2", local_address=ip_address(address), hold_time=9, keepalive_time=3)
        )
    Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)

    def established() -> bool:
        return agent.report is not None and all(one.state == "Established" for one in agent.report.sessions)

    async with agent_at(path, desired(*sessions)) as agent:
        await until(established, deadline=30)
        await asyncio.sleep(1.5)
        before, started = processor_seconds(speaker.pid), time.monotonic()
        await asyncio.sleep(5)
        share = (processor_seconds(speaker.pid) - before) / (time.monotonic() - started)
        print(f"idle with 50 sessions: {share:.2%} of a core, {memory(speaker.pid) / 1e6:.0f} MB")
        assert share < 0.02  # a busy machine costs every wakeup its caches


def processor_seconds(pid: int) -> float:
    # nanoseconds on a CPU; the ticks of /proc/PID/stat are too coarse for this
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def test_families_are_told_apart():
    """The wire form is unique within a family only."""
    assert from_wire(Family.IPV4, b"\x08\x0a") == ip_network("10.0.0.0/8")
    assert from_wire(Family.IPV6, b"\x08\xfd") == ip_network("fd00::/8")

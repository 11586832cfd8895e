"""Resident memory of our processes, idle and with 10,000 routes, and processor time with 50 idle sessions."""

import sys
import time
from collections.abc import Iterator

from towpath.lab.bench.receive import blast
from towpath.lab.bench.result import Result, alone, compared
from towpath.lab.bench.rig import DUT_AS, PEER, PEER_AS, Rig, bird_receiver, manifests, peer, rig
from towpath.lab.bench.usage import cpu_seconds, resident, settle
from towpath.lab.process import wait_for
from towpath.model.net import Family

ROUTES = 10_000
SESSIONS = 50
API_PORT = 8001
IDLE_SECONDS = 20


def memory() -> Iterator[Result]:
    """MB of agent and speaker against BIRD, and percent of a core while idle."""
    with rig() as here:
        theirs = here.bird(here.dut, "bird", bird_receiver(Family.IPV4))
        _fill(here)
        bird = resident(theirs)
    with rig() as here:
        (here.manifests / "node.yaml").write_text(manifests(Family.IPV4))
        speaker, agent = here.speaker(), here.agent()
        wait_for(here.socket.exists, deadline=20, what="the speaker listens")
        settle(agent, speaker)
        for name, process in (("agent", agent), ("speaker", speaker)):
            yield alone(f"{name}, idle", ours=resident(process), unit="MB")
        _fill(here)
        settle(agent, speaker)
        for name, process in (("agent", agent), ("speaker", speaker)):
            yield alone(f"{name}, {ROUTES} routes", ours=resident(process), unit="MB")
        both = resident(agent) + resident(speaker)
        yield compared(f"agent + speaker, {ROUTES} routes", against="BIRD", ours=both, theirs=bird, unit="MB")
    yield from _controller()
    yield from _idle()


def _controller() -> Iterator[Result]:
    """The leading controller on an API server, with nothing to do."""
    with rig() as here:
        address = f"{PEER[Family.IPV4]}:{API_PORT}"
        here.peer.process(
            *(
                sys.executable,
                "-m",
                "towpath.lab.apiserver",
                "--listen",
                address,
                "--data",
                str(here.scratch / "api.db"),
            ),
            log=here.scratch / "api.log",
        )
        process = here.dut.process(
            *(sys.executable, "-m", "towpath.controller.cli", "controller", "--server", f"http://{address}"),
            log=here.scratch / "controller.log",
        )
        wait_for(lambda: "leading" in process.log, deadline=30, what="the controller leads")
        settle(process)
        yield alone("controller, idle", ours=resident(process), unit="MB")


def _fill(here: Rig) -> None:
    before = here.routes(Family.IPV4)
    blast(here, Family.IPV4, routes=ROUTES, per_set=10)
    here.wait_routes(Family.IPV4, before + ROUTES)


def _idle() -> Iterator[Result]:
    addresses = [f"10.255.0.{10 + index}" for index in range(SESSIONS)]
    with rig() as here:
        here.peer.address(*(f"{address}/24" for address in addresses), dev="eth0")
        # BIRD has one session with an address at most, so each of its sessions meets another one of ours
        here.dut.address(*(f"10.255.0.{100 + index}/24" for index in range(SESSIONS)), dev="eth0")
        peers = "\n---\n".join(peer(f"p{index}", address, source="None") for index, address in enumerate(addresses))
        (here.manifests / "node.yaml").write_text(manifests(Family.IPV4, peers=peers))
        speaker, agent = here.speaker(), here.agent()
        here.bird(here.peer, "peers", _bird_peers(addresses))
        wait_for(lambda: established(here) >= SESSIONS, deadline=60, what=f"{SESSIONS} sessions", interval=0.2)
        settle(agent, speaker)
        before = cpu_seconds(agent) + cpu_seconds(speaker)
        time.sleep(IDLE_SECONDS)  # the length of the measurement
        used = cpu_seconds(agent) + cpu_seconds(speaker) - before
        yield alone(f"agent + speaker, {SESSIONS} idle sessions", ours=100 * used / IDLE_SECONDS, unit="% of a core")


def established(here: Rig) -> int:
    """TCP connections to our port that are up, with data gone both ways."""
    return here.dut.run("ss", "-Htn", "state", "established", "sport", "=", ":179").count("\n")


def _bird_peers(addresses: list[str]) -> str:
    protocols = "\n".join(
        f"protocol bgp p{index} {{ local {address} as {PEER_AS}; neighbor 10.255.0.{100 + index} as {DUT_AS};"
        " connect delay time 1; connect retry time 1; ipv4 { import all; export none; }; }"
        for index, address in enumerate(addresses)
    )
    return f"router id 10.255.0.2;\nprotocol device {{}}\n{protocols}\n"

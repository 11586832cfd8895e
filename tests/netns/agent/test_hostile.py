"""A hostile peer beside a good one: no process dies, the kernel holds nothing wrong, the other session stays, memory is bounded."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests import effort
from tests.netns.agent import hostile
from tests.netns.agent.node import BLOCKS, LEARNED, OneNode, manifests, ours
from tests.tree import ROOT
from towpath.lab.events import RouteEvents
from towpath.lab.process import wait_for

SPEAKER = "10.0.9.1"
LIMIT = 200
"""maxPrefixes of the hostile peer."""
NEVER = tuple(
    map(
        ip_network,
        ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "10.244.0.0/16", "10.0.0.1/32", f"{SPEAKER}/32", "fe80::/10", "ff00::/8", "fd00:244::/112"),
    )
)  # fmt: skip
"""What no peer outside may bring into the kernel, whatever its import policy."""
MEGABYTES = 150
"""Of the speaker at most, whatever is sent."""


@pytest.fixture
def node(one: OneNode) -> Iterator[OneNode]:
    """A node with its router and, on another link, a peer that means harm; everything that it says is let in."""
    network = one.node.network
    evil = network.host("evil")
    network.link(one.node, "eth1", evil, "eth0")
    one.node.address(f"{SPEAKER}/24", "fd00:9::1/64", dev="eth1")
    evil.address(f"{hostile.ADDRESS}/24", "fd00:9::2/64", *(f"{one}/24" for one in hostile.STRANGERS), dev="eth0")
    peer = {"peerIP": str(hostile.ADDRESS), "asNumber": hostile.OUR_AS, "importPolicy": "All", "passive": True}
    meta = {"apiVersion": "towpath.io/v1alpha1", "kind": "BGPPeer", "metadata": {"name": "evil"}}
    one.write([*manifests(), {**meta, "spec": {**peer, "sourceAddress": "None", "maxPrefixes": {"limit": LIMIT}}}])
    one.start()
    one.converged()
    wait_for(lambda: listening(one), deadline=20, what="the hostile peer's session is there")
    with RouteEvents(one.router) as there:
        yield one
        assert there.read() == (), "a route moved at the good router"
    assert one.speaker.running
    assert one.agent.running
    assert set(LEARNED) | set(BLOCKS) <= ours(one.node)
    for process in (one.speaker, one.agent):
        assert not re.search(r"Traceback|speaker\.bug|\[error", process.log), process.log[-4000:]


def listening(one: OneNode) -> bool:
    return any(session["name"].endswith("10-0-9-2") for session in one.status().get("sessions", ()))


def campaign(one: OneNode, name: str, count: int) -> subprocess.Popen[str]:
    """Start one; what it prints is read by the caller."""
    command = ["nsenter", f"--net=/run/netns/{one.node.network.known('evil').netns}", sys.executable, "-m"]
    arguments = ["tests.netns.agent.hostile", name, SPEAKER, str(effort.SEED), str(count)]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(one: subprocess.Popen[str]) -> dict[str, object]:
    """The last line of a campaign that has ended by itself."""
    said, errors = one.communicate(timeout=hostile.PATIENCE)
    assert one.returncode == 0, errors
    found: dict[str, object] = json.loads(said.splitlines()[-1])
    return found


def megabytes(one: OneNode) -> float:
    """Resident memory of the speaker."""
    text = Path(f"/proc/{one.speaker.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]  # every process has it


def descriptors(one: OneNode) -> int:
    return len(list(Path(f"/proc/{one.speaker.pid}/fd").iterdir()))


def foreign(one: OneNode) -> set[str]:
    """Routes in the kernel that came by the hostile peer."""
    return ours(one.node) - set(LEARNED) - set(BLOCKS)


def wrong(one: OneNode) -> set[str]:
    """Of these the ones that nobody may bring, and those that lead elsewhere than to the peer."""
    found = set()
    for route in (
        *one.node.ip_json("-4", "route", "show", "proto", "179"),
        *one.node.ip_json("-6", "route", "show", "proto", "179"),
    ):
        prefix = ip_network(route["dst"] if route["dst"] != "default" else "0.0.0.0/0")
        if str(prefix) in {*LEARNED, *BLOCKS}:
            continue
        bad = any(one.version == prefix.version and one.overlaps(prefix) for one in NEVER)
        if bad or prefix.prefixlen == 0 or route.get("dev") != "eth1":
            found.add(f"{prefix} {route}")
    return found


def test_mutated_messages_harm_nobody(node: OneNode) -> None:
    """20,000 messages with bytes changed, put in and left out: what is let in is let in, and all of it goes with the peer."""
    running = campaign(node, "mutations", effort.examples(20_000))
    seen: set[str] = set()
    while running.poll() is None:
        seen |= wrong(node)
    done = ended(running)
    assert done["sent"] >= 20_000
    assert done["sessions"] > 20  # type: ignore[operator]  # a number: some of it ends a session, and it comes back
    assert seen == set()
    assert megabytes(node) < MEGABYTES
    wait_for(lambda: not foreign(node), deadline=20, what="nothing of the peer is left")


def test_what_nobody_may_bring_is_not_in_the_kernel(node: OneNode) -> None:
    """Martians, our own and others' addresses, impossible next hops, and good prefixes that come again with a broken attribute."""
    running = campaign(node, "wrongs", 1)
    assert json.loads(running.stdout.readline())["sent"] > 40  # type: ignore[union-attr]  # a pipe
    good = {"198.51.100.200/32", "198.51.100.128/25"}
    wait_for(lambda: foreign(node) == good, deadline=20, what="what was sent first and last, and well, is alone there")
    assert wrong(node) == set()
    running.communicate(timeout=60)
    wait_for(lambda: not foreign(node), deadline=20, what="nothing of the peer is left")


def test_a_flood_of_prefixes_stops_at_the_limit(node: OneNode) -> None:
    """400,000 prefixes where 200 are allowed: no more come into the kernel, memory stays, and all go with the session."""
    running = campaign(node, "flood", 400_000)
    assert json.loads(running.stdout.readline())["sent"] == 400_000  # type: ignore[union-attr]  # a pipe
    wait_for(lambda: len(foreign(node)) == LIMIT, deadline=20, what="as many as are allowed are in the kernel")
    assert megabytes(node) < MEGABYTES
    running.communicate(timeout=60)
    wait_for(lambda: not foreign(node), deadline=20, what="nothing of the peer is left")


def test_attributes_that_never_repeat_are_not_remembered(node: OneNode) -> None:
    """20,000 UPDATEs with 60 MB of attributes that are all different, for ten prefixes."""
    running = campaign(node, "attributes", 20_000)
    assert json.loads(running.stdout.readline())["sent"] == 20_000  # type: ignore[union-attr]  # a pipe
    assert megabytes(node) < MEGABYTES
    assert len(foreign(node)) <= 10
    assert wrong(node) == set()
    running.communicate(timeout=60)


def test_strangers_and_slow_peers_cost_nothing(node: OneNode) -> None:
    """1,000 connections from addresses without a session, some halves of an OPEN: all closed, and the peer still gets its session."""
    before = descriptors(node)
    done = ended(campaign(node, "strangers", 1_000))
    assert done["closed"] == 1_000
    wait_for(lambda: descriptors(node) <= before + 2, deadline=90, what="no connection is held")
    assert megabytes(node) < MEGABYTES

"""200 sessions with 50 prefixes each: until all are in the kernel, what they cost at rest, and what a prefix that flaps costs.

What a change costs is measured beside a full table and beside an empty one: it must be the same.
"""

import time
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_network

from towpath.lab.bench.peers import Peers, peer_addresses
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.rig import DUT_AS, PEER_AS, Rig, manifests, peer, rig
from towpath.lab.bench.usage import cpu_seconds, settle
from towpath.lab.blaster import Blast, end_of_rib, stream, withdrawal
from towpath.lab.process import Process
from towpath.model.net import Family

SESSIONS = 200
PREFIXES = 50
IDLE_SECONDS = 20
FLAPS = 100
A_SECOND = 10
_FIRST = IPv4Address("20.0.0.0")
_LENGTH = 26


def sessions(count: int = SESSIONS, prefixes: int = PREFIXES) -> Iterator[Result]:
    """Seconds to the kernel; percent of a core at rest and with the flapping prefix; milliseconds of processor time a change."""
    name = f"{count} sessions, {prefixes} prefixes each"
    with rig() as here:
        own, ours, before = *_started(here, count), here.routes(Family.IPV4)
        tables = [_table(place, number, prefixes) for number, place in enumerate(own)]
        began = time.time()
        with Peers(here, own, tables) as peers:
            yield alone(name, ours=here.wait_routes(Family.IPV4, before + count * prefixes) - began, unit="s")
            idle, change = _costs(peers, own[0], ours)
            yield alone(f"{name}, at rest", ours=100 * idle, unit="% of a core")
            yield alone(f"{name}, a change", ours=1000 * change, unit="ms of processor time")
    with rig() as here:
        own, ours, before = *_started(here, 1), here.routes(Family.IPV4)
        with Peers(here, own, [_table(own[0], 0, 1)]) as peers:
            here.wait_routes(Family.IPV4, before + 1)
            _, change = _costs(peers, own[0], ours)
            yield alone("one session, one prefix, a change", ours=1000 * change, unit="ms of processor time")


def _started(here: Rig, count: int) -> tuple[list[IPv4Address], tuple[Process, ...]]:
    """Addresses of so many peers, and our processes, which know them and have come to rest."""
    own = peer_addresses(here, count)
    known = "\n---\n".join(peer(f"p{number}", str(place), source="None") for number, place in enumerate(own))
    (here.manifests / "node.yaml").write_text(manifests(Family.IPV4, peers=known))
    ours = here.speaker(), here.agent()
    here.wait_listening()
    settle(*ours)
    return own, ours


def _blast(place: IPv4Address, number: int, count: int) -> Blast:
    return Blast(place, PEER_AS, DUT_AS, count, _FIRST + number * PREFIXES * (1 << 32 - _LENGTH), _LENGTH)


def _table(place: IPv4Address, number: int, count: int) -> bytes:
    return stream(_blast(place, number, count)) + end_of_rib(Family.IPV4)


def _costs(peers: Peers, place: IPv4Address, ours: tuple[Process, ...]) -> tuple[float, float]:
    """Processor seconds a second at rest, and of one change more than that."""
    settle(*ours)
    before = sum(map(cpu_seconds, ours))
    time.sleep(IDLE_SECONDS)  # the length of the measurement
    idle = (sum(map(cpu_seconds, ours)) - before) / IDLE_SECONDS
    said = withdrawal(ip_network(f"{_FIRST}/{_LENGTH}")), stream(_blast(place, 0, 1))
    before, began = sum(map(cpu_seconds, ours)), time.monotonic()
    for number in range(FLAPS):
        peers.send(0, said[number % 2])
        time.sleep(max(0.0, began + (number + 1) / A_SECOND - time.monotonic()))
    used = sum(map(cpu_seconds, ours)) - before
    return idle, (used - idle * (time.monotonic() - began)) / FLAPS

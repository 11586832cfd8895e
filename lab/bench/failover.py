"""10,000 routes with two ways: from the end of the better session until the kernel sends everything the other way."""

import socket
import statistics
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from towpath.lab.bench.peers import Peers, peer_addresses
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.rig import DUT_AS, PEER_AS, Rig, manifests, peer, rig
from towpath.lab.bench.usage import cpu_seconds, settle
from towpath.lab.blaster import Blast, end_of_rib, stream
from towpath.lab.process import wait_for
from towpath.model.net import Family
from towpath.routes.message import (
    HEADER,
    NLM_F_REQUEST,
    ROUTE,
    RTA_DST,
    RTA_GATEWAY,
    RTM_GETROUTE,
    attribute,
    attributes,
)
from towpath.routes.netsocket import open_socket

ROUTES = 10_000
RUNS = 5
LOOKED_AT = 40
"""Prefixes, spread over all, that are looked up again and again until all have moved."""
_FIRST = IPv4Address("20.0.0.0")
_LENGTH = 26


def failover() -> Iterator[Result]:
    """Medians: milliseconds, and of processor time of both processes."""
    runs = [_run() for _ in range(RUNS)]
    took, used = (1000 * statistics.median(column) for column in zip(*runs, strict=True))
    yield alone(f"failover of {ROUTES} routes", ours=took, unit="ms")
    yield alone(f"failover of {ROUTES} routes, processor time", ours=used, unit="ms")


def _run() -> tuple[float, float]:
    with rig() as here:
        own = peer_addresses(here, 2)
        known = "\n---\n".join(peer(f"p{number}", str(place), source="None") for number, place in enumerate(own))
        (here.manifests / "node.yaml").write_text(manifests(Family.IPV4, peers=known))
        ours = here.speaker(), here.agent()
        here.wait_listening()
        tables = [
            stream(Blast(place, PEER_AS, DUT_AS, ROUTES, _FIRST, _LENGTH, prepended=number)) + end_of_rib(Family.IPV4)
            for number, place in enumerate(own)
        ]
        with Peers(here, own, tables) as peers:
            wait_for(lambda: _moved(here, own[0]), deadline=60, what="the better way is used")
            settle(*ours)
            before, began = sum(map(cpu_seconds, ours)), time.monotonic()
            peers.end(0)
            took = _until_moved(here, own[1]) - began
            settle(*ours)
            used = sum(map(cpu_seconds, ours)) - before
            if not _moved(here, own[1]):
                raise RuntimeError("not all routes have moved")
            return took, used


def _moved(here: Rig, place: IPv4Address) -> bool:
    """Whether all routes go by this one's address."""
    shown = here.dut.run("ip", "-N", "route", "show", "proto", "179")
    return sum(line.startswith("20.") and f" via {place} " in line for line in shown.splitlines()) == ROUTES


def _until_moved(here: Rig, place: IPv4Address) -> float:
    """When, by the monotonic clock, the last of the prefixes that are looked at goes by this one's address."""
    step = ROUTES // LOOKED_AT
    left = [_FIRST + 1 + (1 << 32 - _LENGTH) * min(number * step, ROUTES - 1) for number in range(LOOKED_AT + 1)]
    deadline = time.monotonic() + 60
    with here.dut.entered():
        asking, _ = open_socket()
    with asking:
        while left:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(left)} routes have not moved after 60 s")
            if _gateway(asking, left[-1]) == place.packed:
                left.pop()
    return time.monotonic()


def _gateway(asking: socket.socket, address: IPv4Address) -> bytes | None:
    """The gateway by which the kernel sends packets to an address (RTM_GETROUTE, rtnetlink(7))."""
    body = ROUTE.pack(socket.AF_INET, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(RTA_DST, address.packed)
    asking.send(HEADER.pack(HEADER.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 1, 0) + body)
    answer = asking.recv(4096)
    return dict(attributes(answer, HEADER.size + ROUTE.size, len(answer))).get(RTA_GATEWAY)

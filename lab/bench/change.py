"""One route changed among 100,000: from the peer's UPDATE to the kernel's own notice of it."""

import select
import socket
import statistics
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from towpath.lab.bench.receive import FIRST
from towpath.lab.bench.result import Result, compared
from towpath.lab.bench.rig import DUT, DUT_AS, PEER, PEER_AS, Rig, bird_receiver, manifests, rig
from towpath.lab.blaster import Blast, Blaster, end_of_rib, stream, withdrawal
from towpath.model.net import Family

ROUTES = 100_000
CHANGES = 300
CHANGED = ip_network("30.0.0.0/24")
_RTMGRP_IPV4_ROUTE = 0x40


def change() -> Iterator[Result]:
    """Median and 99th percentile of announcing and withdrawing one prefix beside 100,000 others."""
    theirs = _delays(towpath=False)
    ours = _delays(towpath=True)
    for name, pick in (("p50", statistics.median), ("p99", _p99)):
        yield compared(
            f"one change, {name}",
            against="BIRD",
            ours=pick(ours) * 1000,
            theirs=pick(theirs) * 1000,
            unit="ms",
        )


def _delays(*, towpath: bool) -> list[float]:
    family = Family.IPV4
    with rig() as here:
        if towpath:
            (here.manifests / "node.yaml").write_text(manifests(family))
            here.speaker()
            here.agent()
        else:
            here.bird(here.dut, "bird", bird_receiver(family))
        before = here.routes(family)
        with here.peer.entered():
            peer = Blaster(local=ip_address(PEER[family]), local_as=PEER_AS, peer=ip_address(DUT[family]))
        try:
            peer.establish()
            first = ip_network(FIRST[family])
            peer.socket.sendall(stream(_blast(first, ROUTES)) + end_of_rib(family))
            here.wait_routes(family, before + ROUTES)
            return _measure(here, peer)
        finally:
            peer.close()


def _blast(first: object, count: int) -> Blast:
    network = ip_network(str(first))
    return Blast(
        next_hop=ip_address(PEER[Family.IPV4]),
        local_as=PEER_AS,
        remote_as=DUT_AS,
        count=count,
        first=network.network_address,
        length=network.prefixlen,
    )


def _measure(here: Rig, peer: Blaster) -> list[float]:
    with here.dut.entered():
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        events.bind((0, _RTMGRP_IPV4_ROUTE))
    wanted = CHANGED.network_address.packed
    announce, withdraw = stream(_blast(CHANGED, 1)), withdrawal(CHANGED)
    delays = []
    with events:
        for number in range(CHANGES):
            started = time.perf_counter()
            peer.socket.sendall(withdraw if number % 2 else announce)
            while True:
                ready, _, _ = select.select([events], [], [], 10)
                if not ready:
                    raise TimeoutError("the change did not reach the kernel within 10 s")
                if wanted in events.recv(1 << 16):
                    break
            delays.append(time.perf_counter() - started)
            time.sleep(0.01)  # one change at a time, not a stream of them
    return delays


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]

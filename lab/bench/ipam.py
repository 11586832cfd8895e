"""Thousands of blocks claimed on the real API server with two replicas of the controller, of which the leader dies halfway.

What is counted is what the API server counts, as in ``nodes``; and whether, after all that, every node has what it should.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator

from towpath.lab.api import custom
from towpath.lab.bench.nodes import POOLS, counted, create, leads, node, replicated, writes
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.usage import cpu_seconds, resident, settle
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import Process, wait_for

COUNT = 10_000
BLOCKS = "/apis/towpath.io/v1alpha1/ipamblocks"
_CONFLICT = re.compile(
    r'apiserver_request_total\{[^}]*code="409"[^}]*resource="(?:ipamblocks|routingnodes)"[^}]*\} (\S+)'
)


def ipam(count: int = COUNT) -> Iterator[Result]:
    """Seconds for the first half of the claims; per claim milliseconds of processor time, writes and refusals; then a leader's end."""
    nodes, first = count // len(POOLS), count // len(POOLS) // 2
    pools = [custom("IPPool", family.key, {"cidr": cidr}) for family, cidr in POOLS.items()]
    with replicated(2, *pools) as (server, processes):
        leader, other = sorted(processes, key=leads, reverse=True)
        claims, before, used, began = first * len(POOLS), writes(server), _used(processes), time.monotonic()
        create(server, [node(number) for number in range(first)])
        _wait(server, claims)
        yield alone(f"{claims} claims, two replicas", ours=time.monotonic() - began, unit="s")
        settle(*processes)
        yield alone("processor time a claim", ours=1000 * (_used(processes) - used) / claims, unit="ms")
        yield alone("writes a claim", ours=(writes(server) - before) / claims, unit="calls")
        yield alone("claims and changes refused", ours=_conflicts(server), unit="calls")
        more = threading.Thread(target=create, args=(server, [node(number) for number in range(first, nodes)]))
        more.start()
        _wait(server, claims + (count - claims) // 4)
        leader.kill()
        there, began = counted(server, "ipamblocks"), time.monotonic()
        wait_for(lambda: leads(other), deadline=120, what="the other one leads")
        _wait(server, there + 1)
        yield alone("the leader is killed, until the other claims", ours=time.monotonic() - began, unit="s")
        more.join()
        _wait(server, count)
        settle(other)
        yield alone("claims and changes refused, with that", ours=_conflicts(server), unit="calls")
        yield alone(f"controller, {count} blocks", ours=resident(other), unit="MB")
        owned = Counter(body["spec"]["node"] for body in server.request("GET", BLOCKS)["items"])
        wrong = sum(owned[f"node-{number}"] != len(POOLS) for number in range(nodes))
        yield alone("nodes with more blocks or fewer than they need", ours=wrong, unit="nodes")


def _wait(server: RealKubernetes, count: int) -> None:
    wait_for(
        lambda: counted(server, "ipamblocks") >= count, deadline=900, what=f"{count} blocks are claimed", interval=0.2
    )


def _used(processes: list[Process]) -> float:
    return sum(map(cpu_seconds, processes))


def _conflicts(server: RealKubernetes) -> float:
    """Writes that the API server refused because somebody else's was there before."""
    return sum(map(float, _CONFLICT.findall(server.request("GET", "/metrics"))))

"""The controller alone against the real API server: many Nodes created at once, and then one more.

Nobody is on the nodes. What is counted is what the API server counts, so that no process judges itself.
"""

import asyncio
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from towpath.controller.kube.connect import connect
from towpath.lab import objects
from towpath.lab.api import custom
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.usage import cpu_seconds, resident, settle
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import Process, wait_for
from towpath.model.net import Family

COUNTS = (1_000, 5_000)
POOLS = {Family.IPV4: "10.128.0.0/9", Family.IPV6: "fd00:10::/48"}
WRITERS = 32
_WRITE = re.compile(r'apiserver_request_total\{[^}]*resource="(\w+)"[^}]*verb="(POST|PUT|PATCH|DELETE)"[^}]*\} (\S+)')
_KINDS = ("ipamblocks", "routingnodes")


def nodes(counts: tuple[int, ...] = COUNTS) -> Iterator[Result]:
    """Seconds until all have a block of each family, writes a node, MB; then one more: seconds, and milliseconds of processor time."""
    for count in counts:
        yield from _nodes(count)


@contextlib.contextmanager
def controlled(*pools: dict[str, Any]) -> Iterator[tuple[RealKubernetes, Process]]:
    """The real API server with these pools, and a controller alone that leads and has nothing left to do."""
    with replicated(1, *pools) as (server, (process,)):
        yield server, process


@contextlib.contextmanager
def replicated(count: int, *pools: dict[str, Any]) -> Iterator[tuple[RealKubernetes, list[Process]]]:
    """The same with so many controllers, of which one leads."""
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as scratch, RealKubernetes() as server:
        server.install_crds()
        create(server, list(pools))
        command = [sys.executable, "-m", "towpath.controller.cli", "controller", "--kubeconfig", str(server.kubeconfig)]
        processes = [
            Process([*command, "--namespace", "default"], log=Path(scratch) / f"controller-{number}.log")
            for number in range(count)
        ]
        try:
            for process in processes:
                process.start()
            wait_for(lambda: any(map(leads, processes)), deadline=60, what="one leads")
            settle(*processes)
            yield server, processes
        finally:
            for process in processes:
                process.kill()


def leads(process: Process) -> bool:
    """Whether a controller has come to lead."""
    return "leading" in process.log or "lease.taken" in process.log


def _nodes(count: int) -> Iterator[Result]:
    pools = [custom("IPPool", family.key, {"cidr": cidr}) for family, cidr in POOLS.items()]
    with controlled(*pools) as (server, process):
        before, began = writes(server), time.monotonic()
        create(server, [node(number) for number in range(count)])
        wait_for(lambda: _done(server, count), deadline=900, what=f"{count} nodes have blocks", interval=0.5)
        yield alone(f"{count} nodes at once", ours=time.monotonic() - began, unit="s")
        settle(process)
        yield alone(f"{count} nodes, writes a node", ours=(writes(server) - before) / count, unit="calls")
        yield alone(f"{count} nodes, controller", ours=resident(process), unit="MB")
        before, used, began = writes(server), cpu_seconds(process), time.monotonic()
        create(server, [node(count)])
        wait_for(lambda: _done(server, count + 1), deadline=60, what="one more has blocks", interval=0.02)
        yield alone(f"one more of {count}, until it has blocks", ours=time.monotonic() - began, unit="s")
        settle(process)
        spent = 1000 * (cpu_seconds(process) - used)
        yield alone(f"one more of {count}, processor time", ours=spent, unit="ms")
        yield alone(f"one more of {count}, writes", ours=writes(server) - before, unit="calls")


def node(number: int) -> dict[str, Any]:
    low = number & 0xFFFF
    addresses = (ip_address(f"172.16.{low >> 8}.{low & 255}"), ip_address(f"fd00:16::{low + 1:x}"))
    return objects.node(f"node-{number}", addresses, rack="a")


def create(server: RealKubernetes, bodies: list[dict[str, Any]]) -> None:
    """Create many objects at once."""

    async def run() -> None:
        async with await connect(kubeconfig=server.kubeconfig) as api:
            queue = iter(bodies)

            async def write() -> None:
                for body in queue:
                    await api.create(str(body["kind"]), body, namespace=body["metadata"].get("namespace", ""))

            await asyncio.gather(*(write() for _ in range(WRITERS)))

    asyncio.run(run())


def _done(server: RealKubernetes, count: int) -> bool:
    blocks, routing_nodes = (counted(server, plural) for plural in _KINDS)
    return blocks >= len(POOLS) * count and routing_nodes >= count


def counted(server: RealKubernetes, plural: str) -> int:
    """How many there are, without listing them."""
    page = server.request("GET", f"/apis/towpath.io/v1alpha1/{plural}?limit=1")
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def writes(server: RealKubernetes) -> int:
    """Requests that wrote something so far, but for Nodes and Services that were created and the election."""
    found = 0.0
    for resource, verb, number in _WRITE.findall(server.request("GET", "/metrics")):
        if resource != "leases" and (resource, verb) not in (("nodes", "POST"), ("services", "POST")):
            found += float(number)
    return int(found)

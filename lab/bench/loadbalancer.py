"""The controller alone against the real API server: many services of type LoadBalancer created at once, and then one more."""

import time
from collections.abc import Iterator
from typing import Any

from towpath.lab.api import custom
from towpath.lab.bench.nodes import controlled, create, writes
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.usage import cpu_seconds, resident, settle
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import wait_for
from towpath.model.balanced import OUR_CLASS

COUNT = 1_000
POOL = {"cidr": "198.18.0.0/16", "allowedUses": ["LoadBalancer"]}


def loadbalancer(count: int = COUNT) -> Iterator[Result]:
    """Seconds until all show an address, writes a service, MB; then one more: seconds, and milliseconds of processor time."""
    with controlled(custom("IPPool", "services", POOL)) as (server, process):
        before, began = writes(server), time.monotonic()
        create(server, [_service(number) for number in range(count)])
        wait_for(lambda: _served(server) >= count, deadline=900, what="all have an address", interval=0.5)
        yield alone(f"{count} services at once", ours=time.monotonic() - began, unit="s")
        settle(process)
        yield alone(f"{count} services, writes a service", ours=(writes(server) - before) / count, unit="calls")
        yield alone(f"{count} services, controller", ours=resident(process), unit="MB")
        used, began = cpu_seconds(process), time.monotonic()
        create(server, [_service(count)])
        wait_for(lambda: _shows(server, count), deadline=60, what="one more has an address", interval=0.02)
        yield alone(f"one more of {count}, until it has an address", ours=time.monotonic() - began, unit="s")
        settle(process)
        spent = 1000 * (cpu_seconds(process) - used)
        yield alone(f"one more of {count}, processor time", ours=spent, unit="ms")


def _service(number: int) -> dict[str, Any]:
    spec = {"type": "LoadBalancer", "loadBalancerClass": OUR_CLASS, "ports": [{"port": 80}]}
    return {"kind": "Service", "metadata": {"name": f"s{number}", "namespace": "default"}, "spec": spec}


def _served(server: RealKubernetes) -> int:
    bodies = server.request("GET", "/api/v1/namespaces/default/services")["items"]
    return sum(bool(body["status"]["loadBalancer"].get("ingress")) for body in bodies)


def _shows(server: RealKubernetes, number: int) -> bool:
    body = server.request("GET", f"/api/v1/namespaces/default/services/s{number}")
    return bool(body["status"]["loadBalancer"].get("ingress"))

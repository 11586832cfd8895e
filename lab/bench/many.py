"""The memory of one node's agent in a cluster of thousands: every agent follows every RoutingNode and every block."""

import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from towpath.controller.kube.resources import RESOURCES
from towpath.lab import objects
from towpath.lab.api import custom
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.storage import Storage
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.rig import DUT, DUT_AS, PEER, Rig, rig
from towpath.lab.bench.usage import peak, resident, settle
from towpath.lab.process import wait_for
from towpath.model.net import Family, block_name, parse_prefix

NODES = 5_000
REFLECTORS = 3
PORT = 8001
POOLS = {Family.IPV4: "10.128.0.0/9", Family.IPV6: "fd00:10::/48"}
SIZE = {Family.IPV4: 26, Family.IPV6: 122}


def many(count: int = NODES) -> Iterator[Result]:
    """MB of the agent with so many nodes of two blocks each, sessions with reflectors alone: at rest, and at its highest."""
    with rig() as here:
        server = _serve(here, count)
        speaker, agent = here.speaker(), here.agent(server=server)
        wait_for(lambda: "node.first_step" in agent.log, deadline=300, what="the agent has its picture", interval=0.2)
        settle(agent, speaker, deadline=300)
        yield alone(f"agent, {count} nodes", ours=resident(agent), unit="MB")
        yield alone(f"agent, {count} nodes, while it started", ours=peak(agent), unit="MB")
        yield alone(f"speaker, {count} nodes", ours=resident(speaker), unit="MB")


def _serve(here: Rig, count: int) -> str:
    """An API server that has such a cluster; its URL."""
    data = here.scratch / "api.db"
    _fill(data, count)
    address = f"{PEER[Family.IPV4]}:{PORT}"
    process = here.peer.process(
        *(sys.executable, "-m", "towpath.lab.apiserver", "--listen", address, "--data", str(data)),
        log=here.scratch / "api.log",
    )
    wait_for(lambda: "serving" in process.log, deadline=60, what="the API server serves")
    return f"http://{address}"


def _fill(data: Path, count: int) -> None:
    """Put the cluster into the file of an API server that does not run yet."""
    storage = Storage(data)
    made = Objects(storage)
    for body in _cluster(count):
        status = body.pop("status", None)
        resource, name = RESOURCES[body["kind"]], body["metadata"]["name"]
        made.create(resource, body)
        if status is not None:
            made.patch(resource, {"status": status}, name=name, status=True)
    storage.close()


def _cluster(count: int) -> Iterator[dict[str, Any]]:
    yield custom("BGPConfiguration", "default", {"asNumber": DUT_AS, "nodeToNodeMeshEnabled": False})
    yield custom("BGPPeer", "reflectors", {"nodeSelector": "!has(reflector)", "peerSelector": "has(reflector)"})
    for family, cidr in POOLS.items():
        yield custom("IPPool", family.key, {"cidr": cidr})
    yield objects.node("dut", tuple(ip_address(DUT[family]) for family in Family), rack="a")
    blocks = {family: ip_network(cidr).subnets(new_prefix=SIZE[family]) for family, cidr in POOLS.items()}
    for number in range(count):
        yield from _node(number, blocks={family: str(next(free)) for family, free in blocks.items()})


def _node(number: int, *, blocks: dict[Family, str]) -> Iterator[dict[str, Any]]:
    """One node as the controller and its agent write it; the first is the one under test."""
    name = "dut" if number == 0 else f"node-{number:05}.example.com"
    four = (
        f"{DUT[Family.IPV4]}/24" if number == 0 else f"172.{16 + (number >> 14)}.{(number >> 6) & 255}.{number & 63}/24"
    )
    six = f"{DUT[Family.IPV6]}/64" if number == 0 else f"fd00:16::{number:x}/64"
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": "m6i.2xlarge",
        "topology.kubernetes.io/region": "eu-central-1",
        "topology.kubernetes.io/zone": f"eu-central-1{'abc'[number % 3]}",
        "rack": f"r{number // 40}",
        **({"reflector": ""} if 0 < number <= REFLECTORS else {}),
    }
    bgp = {"ipv4Address": four, "ipv6Address": six}
    if 0 < number <= REFLECTORS:
        bgp["routeReflectorClusterID"] = "10.255.255.255"
    body = custom("RoutingNode", name, {"bgp": bgp})
    body["metadata"]["labels"] = labels
    yield body | {"status": {"ipv4Address": four, "ipv6Address": six, "mtu": 1500}}
    machine = f"{number:032x}"
    for family, cidr in blocks.items():
        yield custom(
            "IPAMBlock",
            block_name(parse_prefix(cidr)),
            {
                "cidr": cidr,
                "node": name,
                "nodeUID": f"00000000-0000-4000-8000-{number:012x}",
                "machineID": machine,
                "systemUUID": f"10000000-0000-4000-8000-{number:012x}",
                "pool": family.key,
            },
        )

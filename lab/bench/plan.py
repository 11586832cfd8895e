"""``towpath plan`` of 1,000 nodes from YAML: dual stack, a full mesh, two routers a rack, filters; all of it, and one node."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml

from towpath.lab import objects
from towpath.lab.api import custom
from towpath.lab.bench.result import Result, alone
from towpath.model.net import Family, block_name, parse_prefix

NODES = 1_000
A_RACK = 25
ROUTERS = (65001, 65002)
"""The AS numbers of a rack's two."""
POOLS = {Family.IPV4: ("10.128.0.0/9", 26), Family.IPV6: ("fd00:10::/48", 122)}
FILTERS = ("lab", "company", "default-route")


def plan(count: int = NODES) -> Iterator[Result]:
    """Seconds of a whole run of the command, and of processor time of it."""
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as scratch:
        manifests = Path(scratch) / "cluster.yaml"
        manifests.write_text(yaml.safe_dump_all(_cluster(count), sort_keys=False))
        for what, arguments in (
            ("JSON", ["-o", "json"]),
            ("table", []),
            ("JSON of one node", ["-o", "json", "--node", _name(count // 2)]),
        ):
            took, used = _timed([*arguments, "-f", str(manifests)])
            yield alone(f"plan, {count} nodes, {what}", ours=took, unit="s")
            yield alone(f"plan, {count} nodes, {what}, processor time", ours=used, unit="s")


def _timed(arguments: list[str]) -> tuple[float, float]:
    began, before = time.monotonic(), os.times()
    command = [sys.executable, "-m", "towpath.controller.cli", "plan", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, used


def _name(number: int) -> str:
    return f"node-{number:05}"


def _cluster(count: int) -> Iterator[dict[str, Any]]:
    yield custom("BGPConfiguration", "default", {"asNumber": 64512})
    for family, (cidr, _) in POOLS.items():
        yield custom("IPPool", family.key, {"cidr": cidr})
    for number, name in enumerate(FILTERS):
        rule = {"action": "Accept", "matchOperator": "In"}
        yield custom(
            "BGPFilter",
            name,
            {
                "importV4": [
                    {**rule, "cidr": f"10.{number}.0.0/16"},
                    {"action": "Reject", "cidr": "192.0.2.0/24", "matchOperator": "In"},
                ],
                "importV6": [{**rule, "cidr": f"fd00:{number}::/32"}],
                "exportV4": [{**rule, "cidr": POOLS[Family.IPV4][0]}],
            },
        )
    for rack in range(-(-count // A_RACK)):
        for host, as_number in enumerate(ROUTERS, start=250):
            for family in Family:
                spec = {
                    "peerIP": str(_address(family, rack, host)),
                    "asNumber": as_number,
                    "nodeSelector": f"rack == 'r{rack}'",
                    "filters": list(FILTERS),
                }
                yield custom("BGPPeer", f"r{rack}-{as_number}-{family.key}", spec)
    blocks = {family: ip_network(cidr).subnets(new_prefix=size) for family, (cidr, size) in POOLS.items()}
    for number in range(count):
        rack, host = divmod(number, A_RACK)
        name = _name(number)
        yield objects.node(name, tuple(_address(family, rack, host + 1) for family in Family), rack=f"r{rack}")
        for family, free in blocks.items():
            cidr = str(next(free))
            spec = {"cidr": cidr, "node": name, "nodeUID": f"Node/{name}", "pool": family.key}
            yield custom("IPAMBlock", block_name(parse_prefix(cidr)), spec)


def _address(family: Family, rack: int, host: int) -> Any:
    return ip_address(f"172.16.{rack}.{host}" if family is Family.IPV4 else f"fd00:16:{rack:x}::{host:x}")

"""Nodes whose addresses lie on loopback, each in its own AS, with a router between them: ``advertiseNodeAddresses``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.names import in_memory, own
from tests.netns.agent.node import made, ours
from tests.netns.engine.rig import AS_PEER, Bird, bird_neighbour
from towpath.lab.netns import Host, Network
from towpath.lab.process import Process, wait_for

NODES = {"a": 1, "b": 2}
KERNEL = "protocol kernel k4 { ipv4 { export all; }; }\nprotocol kernel k6 { ipv6 { export all; }; }"


def loopback(name: str) -> tuple[str, str]:
    return f"10.255.0.{NODES[name]}", f"fd00:255::{NODES[name]}"


def blocks(name: str) -> tuple[str, str]:
    return f"10.244.{NODES[name]}.0/26", f"fd00:244::{NODES[name]}:0/122"


def links(name: str) -> dict[int, tuple[str, str]]:
    """The node's and the router's address of the link between them, by family."""
    number = NODES[name]
    return {4: (f"10.0.{number}.1", f"10.0.{number}.254"), 6: (f"fd00:{number}::1", f"fd00:{number}::254")}


def manifests(name: str, *, default: bool) -> list[dict[str, Any]]:
    """All objects, and the Node of one. ``default``: the router is known as the node's gateway, else by its addresses."""

    addresses = [{"type": "InternalIP", "address": one} for one in loopback(name)]
    peer = {"asNumber": AS_PEER, "sourceAddress": "None"}
    peers = [made("BGPPeer", "tor", **peer, peerFrom={"defaultGateway": True})]
    if not default:
        peers = [made("BGPPeer", f"tor{family}", **peer, peerIP=its) for family, (_, its) in links(name).items()]
    objects = [
        made("BGPConfiguration", "default", advertiseNodeAddresses=True, timers={"connectRetryTime": "1s"}),
        *peers,
        made("IPPool", "v4", cidr="10.244.0.0/16"),
        made("IPPool", "v6", cidr="fd00:244::/96"),
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}},
    ]
    for each, number in NODES.items():
        v4, v6 = loopback(each)
        bgp = {"asNumber": 65100 + number, "ipv4Address": f"{v4}/32", "ipv6Address": f"{v6}/128"}
        objects.append(made("RoutingNode", each, bgp=bgp))
        for cidr in blocks(each):
            objects.append(made("IPAMBlock", cidr.translate(str.maketrans(".:/", "---")), cidr=cidr, node=each))
    return objects


@pytest.fixture(params=[True, False], ids=["default route", "node addresses alone"])
def rack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Host], Bird]]:
    """Two nodes that know nobody but their router: it is their gateway, or they have no way but what it tells them, which is
    the nodes' addresses and no block."""
    default: bool = request.param
    prefix = own("tpa")
    with in_memory(prefix) as root, Network(prefix) as network:
        tor = network.host("tor")
        tor.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        hosts, neighbours = {}, {}
        for name, number in NODES.items():
            host = hosts[name] = network.host(name)
            network.link(host, "eth0", tor, f"eth{number}")
            host.address(*(f"{one}/{bits}" for one, bits in zip(loopback(name), (32, 128), strict=True)), dev="lo")
            for family, (mine, its) in links(name).items():
                bits = 24 if family == 4 else 64
                host.address(f"{mine}/{bits}", dev="eth0")
                tor.address(f"{its}/{bits}", dev=f"eth{number}")
                if default:
                    host.run("ip", f"-{family}", "route", "add", "default", "via", its)
                told = "all" if default else "where net.len = 32 || net.len = 128"
                neighbours[f"{name}{family}"] = bird_neighbour(mine, local=its, remote_as=65100 + number, export=told)
        bird = Bird(tor, tmp_path, router_id="10.0.0.254", neighbours=neighbours, more=KERNEL)
        for name, host in hosts.items():
            place = root / name
            (place / "manifests").mkdir(parents=True)
            (place / "cni").mkdir()
            (place / "manifests" / "all.yaml").write_text(yaml.safe_dump_all(manifests(name, default=default)))
            places = ("--run-dir", str(place / "run"))
            more = ("--state-dir", str(place / "state"), "--cni-conf-dir", str(place / "cni"), "--cni-bin-dir", "/usr/lib/cni")  # fmt: skip
            for part in (("speaker", *places), ("agent", "--node", name, "--from", str(place / "manifests"), *places, *more)):  # fmt: skip
                command = [sys.executable, "-m", "towpath.controller.cli", *part]
                process = Process(command, log=tmp_path / f"{name}-{part[0]}.log", netns=host.netns)
                network.processes.append(process)
                process.start()
        yield hosts, bird


def test_a_mesh_between_loopbacks(rack: tuple[dict[str, Host], Bird]) -> None:
    """Each node tells the router its addresses and takes the other's, from its AS and without a filter; the mesh runs
    between them in both families, and packets pass. What the router tells of a node leads to the blocks that the node tells."""
    hosts, bird = rack
    a = hosts["a"]
    wanted = {*(f"{one}/{bits}" for one, bits in zip(loopback("b"), (32, 128), strict=True)), *blocks("b")}
    wait_for(lambda: wanted <= ours(a), deadline=40, what=f"routes to {wanted}, but {ours(a)}")
    for family, mine, other in zip((4, 6), loopback("a"), loopback("b"), strict=True):
        route = a.ip_json(f"-{family}", "route", "show", f"{other}/{32 if family == 4 else 128}", "proto", "179")
        assert route[0]["gateway"] == links("a")[family][1]
        seen = f"src {mine if family == 4 else f'[{mine}]'} dst {other if family == 4 else f'[{other}]'}"
        wait_for(
            lambda seen=seen: a.run("ss", "-Htn", "state", "established", seen), deadline=30, what=f"a session: {seen}"
        )
        a.run("ping", "-c", "1", "-W", "2", "-I", mine, other)
    assert loopback("a")[0] + "/32" in bird.ask("show route protocol a4")

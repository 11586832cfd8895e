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
KERNEL = "\n".join(
    f"protocol kernel k{4 if family == 'ipv4' else 6} {{ merge paths on; {family} {{ export all; }}; }}"
    for family in ("ipv4", "ipv6")
)
AS_ROUTERS = {"a": AS_PEER + 1, "b": AS_PEER + 2}
"""Of racks, where each node is one."""


def loopback(name: str) -> tuple[str, str]:
    return f"10.255.0.{NODES[name]}", f"fd00:255::{NODES[name]}"


def blocks(name: str) -> tuple[str, str]:
    return f"10.244.{NODES[name]}.0/26", f"fd00:244::{NODES[name]}:0/122"


def links(name: str, router: int = 0) -> dict[int, tuple[str, str]]:
    """The node's and the router's address of the link between them, by family."""
    number = NODES[name]
    return {
        4: (f"10.{router}.{number}.1", f"10.{router}.{number}.254"),
        6: (f"fd00:{router}:{number}::1", f"fd00:{router}:{number}::254"),
    }


def by_gateway() -> list[dict[str, Any]]:
    """The router is known as the node's gateway."""
    return [made("BGPPeer", "tor", asNumber=AS_PEER, sourceAddress="None", peerFrom={"defaultGateway": True})]


def by_address(name: str, *, number: int = AS_PEER, routers: int = 1) -> list[dict[str, Any]]:
    """Routers are known by their addresses."""
    return [
        made("BGPPeer", f"tor{router}-{family}", asNumber=number, sourceAddress="None", peerIP=its)
        for router in range(routers)
        for family, (_, its) in links(name, router).items()
    ]


def manifests(name: str, peers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All objects, and the Node of one."""
    addresses = [{"type": "InternalIP", "address": one} for one in loopback(name)]
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


def run_node(network: Network, host: Host, *, at: Path, logs: Path, peers: list[dict[str, Any]]) -> None:
    """Speaker and agent of a node."""
    name = at.name
    (at / "manifests").mkdir(parents=True)
    (at / "cni").mkdir()
    (at / "manifests" / "all.yaml").write_text(yaml.safe_dump_all(manifests(name, peers)))
    places = ("--run-dir", str(at / "run"))
    more = ("--state-dir", str(at / "state"), "--cni-conf-dir", str(at / "cni"), "--cni-bin-dir", "/usr/lib/cni")
    for part in (("speaker", *places), ("agent", "--node", name, "--from", str(at / "manifests"), *places, *more)):
        command = [sys.executable, "-m", "towpath.controller.cli", *part]
        process = Process(command, log=logs / f"{name}-{part[0]}.log", netns=host.netns)
        network.processes.append(process)
        process.start()


def node_of(network: Network, name: str) -> Host:
    """A node with its addresses."""
    host = network.host(name)
    host.address(*(f"{one}/{bits}" for one, bits in zip(loopback(name), (32, 128), strict=True)), dev="lo")
    return host


def cable(network: Network, name: str, host: Host, tor: Host, *, router: int = 0) -> None:
    """A node's link to one of its routers."""
    network.link(host, f"eth{router}", tor, f"eth{NODES[name]}")
    for family, (mine, its) in links(name, router).items():
        bits = 24 if family == 4 else 64
        host.address(f"{mine}/{bits}", dev=f"eth{router}")
        tor.address(f"{its}/{bits}", dev=f"eth{NODES[name]}")


@pytest.fixture(params=[True, False], ids=["default route", "node addresses alone"])
def rack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Host], Bird]]:
    """Two nodes that know nobody but their router: it is their gateway, or they have no way but what it tells them, which is
    the nodes' addresses and no block."""
    default: bool = request.param
    prefix = own("tpa")
    with in_memory(prefix) as root, Network(prefix) as network:
        tor = network.host("tor")
        hosts, neighbours = {}, {}
        for name, number in NODES.items():
            host = hosts[name] = node_of(network, name)
            cable(network, name, host, tor)
            for family, (mine, its) in links(name).items():
                if default:
                    host.run("ip", f"-{family}", "route", "add", "default", "via", its)
                told = "all" if default else "where net.len = 32 || net.len = 128"
                neighbours[f"{name}{family}"] = bird_neighbour(mine, local=its, remote_as=65100 + number, export=told)
        bird = Bird(tor, tmp_path, router_id="10.0.0.254", neighbours=neighbours, more=KERNEL)
        for name, host in hosts.items():
            peers = by_gateway() if default else by_address(name)
            run_node(network, host, at=root / name, logs=tmp_path, peers=peers)
        yield hosts, bird


SPINE = {"a0": 1, "a1": 2, "b0": 3, "b1": 4}
"""The routers of two racks, by their numbers on the segment where they meet."""


def on_spine(router: str) -> tuple[str, str]:
    return f"100.64.0.{SPINE[router]}", f"fd64::{SPINE[router]}"


@pytest.fixture
def racks(tmp_path: Path) -> Iterator[tuple[dict[str, Host], dict[str, Bird]]]:
    """A node a rack, with two routers each, which meet those of the other rack."""
    prefix = own("tpa")
    with in_memory(prefix) as root, Network(prefix) as network:
        spine = network.switch("spine")
        hosts = {name: node_of(network, name) for name in NODES}
        birds: dict[str, Bird] = {}
        tors = {router: network.host(f"tor-{router}") for router in SPINE}
        for router, tor in tors.items():
            network.plug(spine, tor, "spine")
            tor.address(*(f"{one}/{bits}" for one, bits in zip(on_spine(router), (24, 64), strict=True)), dev="spine")
        for router, tor in tors.items():
            name, index = router[0], int(router[1])
            cable(network, name, hosts[name], tor, router=index)
            own_as = AS_ROUTERS[name]
            neighbours = {
                f"{name}{family}": bird_neighbour(
                    mine, local=its, local_as=own_as, remote_as=65100 + NODES[name], graceful=False
                )
                for family, (mine, its) in links(name, index).items()
            }
            for other in SPINE:
                if other[0] != name:
                    theirs = AS_ROUTERS[other[0]]
                    for family, (mine, its) in zip((4, 6), zip(on_spine(router), on_spine(other), strict=True), strict=True):  # fmt: skip
                        neighbours[f"{other}_{family}"] = bird_neighbour(
                            its, local=mine, local_as=own_as, remote_as=theirs, graceful=False
                        )
            birds[router] = Bird(
                tor, tmp_path, router_id=f"100.64.0.{SPINE[router]}", neighbours=neighbours, more=KERNEL
            )
        for name, host in hosts.items():
            peers = by_address(name, number=AS_ROUTERS[name], routers=2)
            run_node(network, host, at=root / name, logs=tmp_path, peers=peers)
        yield hosts, birds


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
        a.run("ping", "-c", "1", "-W", "20", "-I", mine, other)
    assert loopback("a")[0] + "/32" in bird.ask("show route protocol a4")


def gateways(host: Host, prefix: str) -> set[str]:
    """By which next hops a host reaches a prefix, by routes of ours."""
    found = host.ip_json("-6" if ":" in prefix else "-4", "route", "show", prefix, "proto", "179")
    return {str(hop.get("gateway", "")) for route in found for hop in route.get("nexthops", [route])}


def test_racks_with_two_routers(racks: tuple[dict[str, Host], dict[str, Bird]]) -> None:
    """To the other rack's node, and to its blocks, by both routers; when one dies everything goes by the other."""
    hosts, birds = racks
    far = [*(f"{one}/{bits}" for one, bits in zip(loopback("b"), (32, 128), strict=True)), *blocks("b")]

    def by(*routers: int) -> bool:
        return all(
            gateways(hosts["a"], prefix) == {links("a", router)[6 if ":" in prefix else 4][1] for router in routers}
            for prefix in far
        )

    def reaches() -> bool:
        pairs = zip(loopback("a"), loopback("b"), strict=True)
        pings = (hosts["a"].run("ping", "-c", "1", "-W", "1", "-I", *pair, check=False) for pair in pairs)
        return all(" 0% packet loss" in said for said in pings)

    wait_for(lambda: by(0, 1), deadline=60, what="the other rack by both routers")
    wait_for(reaches, deadline=30, what="packets pass")
    birds["a0"].process.kill()
    for device in ("eth1", "spine"):
        birds["a0"].host.ip("link", "set", "dev", device, "down")
    wait_for(lambda: by(1), deadline=60, what="the other rack by the router that is left")
    wait_for(reaches, deadline=60, what="packets pass")

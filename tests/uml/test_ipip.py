"""IP-in-IP on a kernel that has it, on two subnets behind a router that lets no pod address pass."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.path.cluster import cluster, fits, router_drops_pods, under_probe, wait_large
from towpath.lab import facts
from towpath.lab.api import collection
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family

DEVICE = "tp-ipip"
LARGEST = 1480


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nodes 1 and 2 in one subnet, node 3 in another."""
    shape = Shape(nodes=3, rack_b=1, families=(Family.IPV4,), controllers=1, pool={"ipipMode": "Always"})
    with cluster(shape) as made:
        yield made


def standing(lab: Lab, node: str) -> dict[str, Any] | None:
    """The node's device as it is; None where there is none."""
    host = lab.host(node)
    for link in host.ip_json("-d", "link", "show", "type", "ipip"):
        if link["ifname"] == DEVICE:
            data = link["linkinfo"]["info_data"]
            (shown,) = host.ip_json("-4", "addr", "show", "dev", DEVICE) or [{"addr_info": []}]
            addresses = [f"{one['local']}/{one['prefixlen']}" for one in shown.get("addr_info", ())]
            ends = (data["local"], data["remote"])
            plain = data.get("ttl") in (None, 0, "inherit")
            return {
                "ends": ends,
                "plain": plain,
                "mtu": link["mtu"],
                "up": "UP" in link["flags"],
                "addresses": addresses,
            }
    return None


def wanted(lab: Lab, node: str) -> dict[str, Any]:
    """As the objects say it should be."""
    (own,) = (prefix for prefix, owner in facts.blocks(lab).items() if owner == node)
    local = str(lab.node_addresses(node)[0])
    return {
        "ends": (local, "any"),
        "plain": True,
        "mtu": LARGEST,
        "up": True,
        "addresses": [f"{own.network_address}/32"],
    }


def ways(lab: Lab, node: str) -> dict[str, tuple[str, str]]:
    """By which gateway and device the blocks of the others are reached, by owner."""
    owners, found = facts.blocks(lab), facts.kernel_routes(lab, node)
    return {
        owners[prefix]: (route["gateway"], route["dev"])
        for prefix, route in found.items()
        if prefix in owners and owners[prefix] != node
    }


def switch(lab: Lab, **spec: str) -> None:
    """The pool has these modes, and every node does as they say."""
    lab.api.patch(f"{collection('IPPool')}/pods-ipv4", {"spec": spec})
    rack = {node: place.rack for node, place in lab.state.nodes.items()}
    mode = next((one for one in spec.values() if one != "Never"), "Never")
    tunnel = DEVICE if spec["ipipMode"] != "Never" else "tp-vx4-4096"
    for node in lab.nodes:
        devices = {
            other: tunnel if mode == "Always" or (mode == "CrossSubnet" and rack[node] != rack[other]) else "eth0"
            for other in lab.nodes
            if other != node
        }
        wait_for(
            lambda node=node, devices=devices: {one: by for one, (_, by) in ways(lab, node).items()} == devices,
            deadline=40,
            what=f"{node} goes {spec}",
        )


def test_always(lab: Lab) -> None:
    """From the node's address to anywhere, with one address and 20 bytes less; every route by the owner's own address, onlink."""
    for node in lab.nodes:
        wait_for(lambda node=node: standing(lab, node) == wanted(lab, node), deadline=20, what=f"{DEVICE} on {node}")
        others = {other: (str(lab.node_addresses(other)[0]), DEVICE) for other in lab.nodes if other != node}
        wait_for(lambda node=node, others=others: ways(lab, node) == others, deadline=30, what=f"routes of {node}")
        for prefix, route in facts.kernel_routes(lab, node).items():
            assert route["flags"] == (["onlink"] if facts.blocks(lab)[prefix] != node else [])
    with router_drops_pods(lab):
        wait_large(lab, size=LARGEST)
        pod = next(one for one in lab.pods.values() if one.node == "node3")
        to = str(pod.address(Family.IPV4))
        assert not fits(lab, "node1-p1", to, size=LARGEST + 1)
        wait_for(lambda: fits(lab, "node1", to, size=LARGEST), deadline=10, what="from a node itself")
    for name, one in lab.api.items("RoutingNode").items():
        assert (one["status"]["tunnels"], one["status"]["lacks"]) == ([DEVICE], []), name


@pytest.mark.parametrize(
    "deed",
    [
        ("link", "del", "dev", DEVICE),
        ("link", "set", "dev", DEVICE, "down"),
        ("link", "set", "dev", DEVICE, "mtu", "1200"),
        ("addr", "flush", "dev", DEVICE),
        ("link", "set", "dev", DEVICE, "type", "ipip", "local", "192.0.2.11", "ttl", "9"),
    ],
    ids=lambda words: " ".join(words[:2]) + " " + words[-2],
)
def test_what_somebody_does_to_the_tunnel_is_repaired(lab: Lab, deed: tuple[str, ...]) -> None:
    """Device, routes and packets are as before."""
    host = lab.host("node1")
    before, routes = standing(lab, "node1"), facts.kernel_routes(lab, "node1")
    assert before is not None
    host.ip(*deed)
    wait_for(lambda: standing(lab, "node1") == before, deadline=20, what="repaired")
    wait_for(lambda: facts.kernel_routes(lab, "node1") == routes, deadline=20, what="the routes are there")
    facts.wait_reachable(lab)


def test_cross_subnet(lab: Lab) -> None:
    """As they are inside a subnet, by the tunnel to another, under traffic; the router still sees no pod address."""
    result, _ = under_probe(lab, lambda: switch(lab, ipipMode="CrossSubnet", vxlanMode="Never"), watch=())
    print(f"to CrossSubnet: {result.lost} of {result.sent} packets lost, longest gap {result.longest_gap:.3f} s")
    with router_drops_pods(lab):
        wait_large(lab, size=LARGEST)


def test_to_vxlan_and_back(lab: Lab) -> None:
    """Either tunnel takes over from the other; devices that nobody wants any more go."""
    switch(lab, ipipMode="Never", vxlanMode="Always")
    with router_drops_pods(lab):
        wait_large(lab, size=1450)
    for node in lab.nodes:
        wait_for(lambda node=node: standing(lab, node) is None, deadline=40, what=f"{node} has no {DEVICE}")
    switch(lab, ipipMode="Always", vxlanMode="Never")
    with router_drops_pods(lab):
        wait_large(lab, size=1450)


def test_cleanup_leaves_no_tunnel(lab: Lab) -> None:
    """The device is gone with its routes; an agent that starts again makes it anew."""
    before = standing(lab, "node1")
    assert before is not None
    lab.stop("node1/agent", "node1/speaker")
    folders = [f"--{kind}-dir={lab.node_directory('node1', kind)}" for kind in ("run", "state")]
    lab.host("node1").run(sys.executable, "-m", "towpath.controller.cli", "cleanup", *folders)
    assert standing(lab, "node1") is None
    lab.start("node1/speaker", "node1/agent")
    wait_for(lambda: standing(lab, "node1") == before, deadline=30, what="the tunnel is back")
    facts.wait_reachable(lab)

"""Peers that a node finds by itself, and peers that it has to be told the way to."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.netns.engine.rig import Bird
from tests.netns.path.cluster import cluster, connections, neighbour
from towpath.controller.plan.here import ask
from towpath.lab import facts
from towpath.lab.addressing import RACKS, TOR, TOR_AS
from towpath.lab.api import custom
from towpath.lab.netns import Host
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family, Prefix

NETS: dict[Family, Prefix] = {Family.IPV4: ip_network("198.18.0.0/24"), Family.IPV6: ip_network("2001:db8:113::/48")}
FAR_HOST = 7
"""The number of its address on the nodes' segment."""
FAR = {Family.IPV4: "198.51.100.1", Family.IPV6: "2001:db8::1"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes, a pod each."""
    with cluster(Shape(nodes=2)) as made:
        yield made


@pytest.fixture(scope="module")
def far(lab: Lab) -> Host:
    """A router on the nodes' segment, which is known by addresses that are not of it."""
    host = neighbour(lab, "far", FAR_HOST)
    host.address(*(f"{text}/{family.bits}" for family, text in FAR.items()), dev="lo")
    return host


def ways(lab: Lab, node: str, family: Family) -> str:
    return lab.host(node).run("ip", f"-{family.value}", "route", "show", FAR[family], "proto", "179")


@pytest.mark.parametrize("family", list(Family))
def test_a_peer_behind_a_gateway_has_a_route_of_its_own(lab: Lab, family: Family) -> None:
    """reachableBy gives each node that peers a route to the peer's address alone, and takes it back with the peer."""
    gateway = str(RACKS["a"].address(family, TOR))
    spec = {"peerIP": FAR[family], "asNumber": 65010, "node": "node1", "reachableBy": gateway, "ebgpMultihop": 3}
    lab.api.apply(custom("BGPPeer", "far", spec))
    wait_for(lambda: f"via {gateway}" in ways(lab, "node1", family), deadline=20, what=f"a route to {FAR[family]}")
    assert ways(lab, "node2", family) == ""
    lab.api.delete("BGPPeer", "far")
    wait_for(lambda: ways(lab, "node1", family) == "", deadline=20, what=f"no route to {FAR[family]}")


@pytest.mark.parametrize("family", list(Family))
def test_what_a_peer_behind_a_gateway_tells_goes_by_that_gateway(lab: Lab, far: Host, family: Family) -> None:
    """Its next hop is the peer, to which the route of reachableBy leads, whatever the node's default route says or not."""
    net, gateway = NETS[family], str(RACKS["a"].address(family, FAR_HOST))
    (node,) = (one for one in lab.node_addresses("node1") if one.version == family.value)
    daemon = Bird(
        far,
        lab.root,
        router_id=f"198.51.100.{family.value}",
        neighbours={
            "node1": f"local {FAR[family]} as 65010; neighbor {node} as 64512; multihop 3; connect retry time 1; "
            f"{family.key} {{ import none; export all; }};"
        },
        more=f"protocol static told {{ {family.key}; route {net} blackhole; }}",
    )
    spec = {"peerIP": FAR[family], "asNumber": 65010, "node": "node1", "ebgpMultihop": 3, "importPolicy": "All"}
    default = lab.host("node1").run("ip", f"-{family.value}", "route", "show", "default").split()
    try:
        lab.api.apply(custom("BGPPeer", "far", {**spec, "reachableBy": gateway}))
        for given in (default, None, default):
            if given is None:
                lab.host("node1").ip(f"-{family.value}", "route", "del", *default)
            elif not lab.host("node1").run("ip", f"-{family.value}", "route", "show", "default"):
                lab.host("node1").ip(f"-{family.value}", "route", "add", *default)
            wait_for(
                lambda: facts.kernel_routes(lab, "node1").get(net, {}).get("gateway") == gateway,
                deadline=30,
                what=f"{net} by the gateway that reaches the peer",
            )
    finally:
        daemon.process.kill()
        lab.api.delete("BGPPeer", "far")
    wait_for(lambda: net not in facts.kernel_routes(lab, "node1"), deadline=30, what=f"no {net}")


def test_the_gateway_of_the_default_route_is_the_peer(lab: Lab) -> None:
    """One object without an address: each node peers with its own gateways in both families, and pods are reached."""
    for family in lab.families:
        lab.api.delete("BGPPeer", f"tor-a-{family.key}")
    wait_for(lambda: not established(lab), deadline=20, what="no session")
    lab.api.apply(custom("BGPPeer", "gateway", {"peerFrom": {"defaultGateway": True}, "asNumber": TOR_AS}))
    count = len(lab.nodes) * len(lab.families)
    wait_for(lambda: len(established(lab)) == count, deadline=40, what="a session of each node in each family")
    facts.wait_reachable(lab)


def test_a_default_route_that_goes_for_a_moment_ends_no_session(lab: Lab) -> None:
    """As when DHCP makes it anew: the session with its gateway stays as it is."""
    before = connections(lab)
    host = lab.host("node1")
    route = host.run("ip", "route", "show", "default").split()
    host.run("ip", "route", "del", *route)
    host.run("ip", "route", "add", *route)
    lab.api.apply(
        custom("BGPPeer", "unrelated", {"node": "node1", "peerIP": "198.51.100.77", "asNumber": 65010, "shutdown": {}})
    )
    wait_for(
        lambda: any(one["peer"] == "198.51.100.77" for one in asked(lab)),
        deadline=30,
        what="a step of the agent later",
    )
    assert connections(lab) == before


def test_a_peer_whose_selector_finds_nodes_that_mesh(lab: Lab) -> None:
    """The object's sessions take the places of the mesh's at both ends, and give them back; packets pass by either."""

    def others_than(former: dict[str, set[tuple[str, str]]]) -> bool:
        now = between_nodes(lab)
        return all(len(now[node]) == len(former[node]) and now[node].isdisjoint(former[node]) for node in former)

    mesh = between_nodes(lab)
    assert all(len(found) == len(lab.families) for found in mesh.values())
    lab.api.apply(custom("BGPPeer", "everybody", {"peerSelector": "all()"}))
    wait_for(lambda: others_than(mesh), deadline=60, what="a session of the object in place of each of the mesh")
    facts.wait_reachable(lab)
    explicit = between_nodes(lab)
    lab.api.delete("BGPPeer", "everybody")
    wait_for(lambda: others_than(explicit), deadline=60, what="the mesh again")
    facts.wait_reachable(lab)


def between_nodes(lab: Lab) -> dict[str, set[tuple[str, str]]]:
    """The connections of each node with other nodes, by both ends."""
    routers = {str(RACKS["a"].address(family, TOR)) for family in lab.families}
    return {
        node: {pair for pair in found if pair[1].rpartition(":")[0].strip("[]") not in routers}
        for node, found in connections(lab).items()
    }


def established(lab: Lab) -> set[str]:
    """The router's sessions that are up."""
    return {one.name for one in lab.tor.protocols().values() if one.kind == "BGP" and one.established}


def asked(lab: Lab) -> list[dict[str, str]]:
    """The sessions that the speaker of the first node has at this moment."""
    return list(ask(lab.node_directory("node1", "run") / "speaker.sock", "sessions"))

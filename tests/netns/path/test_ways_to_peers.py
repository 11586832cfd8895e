"""Peers that a node finds by itself, and peers that it has to be told the way to."""

from collections.abc import Iterator

import pytest

from tests.netns.path.cluster import cluster, connections
from towpath.lab import facts
from towpath.lab.addressing import RACKS, TOR, TOR_AS
from towpath.lab.api import custom
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family

FAR = {Family.IPV4: "198.51.100.1", Family.IPV6: "2001:db8::1"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes, a pod each."""
    with cluster(Shape(nodes=2)) as made:
        yield made


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
        lambda: any(one["peer"] == "198.51.100.77" for one in reported(lab)),
        deadline=30,
        what="a step of the agent later",
    )
    assert connections(lab) == before


def established(lab: Lab) -> set[str]:
    """The router's sessions that are up."""
    return {one.name for one in lab.tor.protocols().values() if one.kind == "BGP" and one.established}


def reported(lab: Lab) -> list[dict[str, str]]:
    sessions: list[dict[str, str]] = (lab.api.get("NodeStatus", "node1") or {}).get("status", {}).get("sessions", [])
    return sessions

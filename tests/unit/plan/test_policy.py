"""What the speaker of a node is told of policy: filters, advertise, next hops, communities; and names that mean nothing."""

from ipaddress import ip_network
from typing import Any

import pytest

from tests.unit.plan.worlds import by_name, cluster, config, node, obj, peer, warned
from towpath.bgp.origins import settings, speaker_plan
from towpath.bgp.references import unknown_names
from towpath.model.cluster import Cluster
from towpath.model.community import Community
from towpath.model.speaker import Tagged

NODES = (node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24"), node("c", "10.0.1.3"))
TOR = {"peerIP": "10.0.0.254", "asNumber": 65000}


def planned(world: Cluster) -> Any:
    return speaker_plan(
        world, "a", secrets={}, forwarding_preserved=False, provisional=False, severed=(), own_addresses=(), gateways=()
    )


@pytest.mark.parametrize(
    ("spec", "advertise", "next_hop"),
    [
        ({}, "Own", "Auto"),
        ({"advertise": "Cluster", "nextHopMode": "Self"}, "Cluster", "Self"),
        ({"advertise": "All", "keepOriginalNextHop": True}, "All", "Keep"),
        ({"nextHopMode": "Auto", "keepOriginalNextHop": True}, "Own", "Auto"),
    ],
)
def test_a_peer_says_what_its_sessions_are_told(spec: dict[str, Any], advertise: str, next_hop: str) -> None:
    """advertise, and the next hop by its new field, else by its old one."""
    found = by_name(cluster(*NODES, peer("tor", **TOR, **spec)), "a")["Global-10-0-0-254"]
    assert (found.advertise, found.next_hop) == (advertise, next_hop)


def test_the_mesh_is_told_what_the_configuration_says() -> None:
    """meshAdvertise, without filters."""
    mesh = by_name(cluster(*NODES, config(meshAdvertise="All")), "a")["Mesh-10-0-0-2"]
    assert (mesh.advertise, mesh.filters, mesh.next_hop) == ("All", (), "Auto")
    assert by_name(cluster(*NODES), "a")["Mesh-10-0-0-2"].advertise == "Own"


def test_a_subnet_is_shared_where_the_node_knows_its_own() -> None:
    """With a prefix length and a peer inside; an address alone shares nothing."""
    world = cluster(*NODES, peer("tor", **TOR), peer("far", peerIP="10.0.9.1", asNumber=65000))
    mine = by_name(world, "a")
    assert mine["Global-10-0-0-254"].shared_subnet == ip_network("10.0.0.0/24")
    assert mine["Global-10-0-9-1"].shared_subnet is None
    assert by_name(world, "c")["Global-10-0-0-254"].shared_subnet is None


def test_filters_reach_the_speaker_that_needs_them() -> None:
    """Those that a session of the node names and that exist; the session names them all, in order."""
    world = cluster(
        *NODES,
        peer("tor", **TOR, filters=["z", "gone", "a"]),
        peer("other", peerIP="10.0.0.253", asNumber=65000, node="b", filters=["b"]),
        *(obj("BGPFilter", name, importV4=[{"action": "Accept"}]) for name in ("a", "b", "z")),
    )
    state = planned(world).state
    assert state.sessions["Global-10-0-0-254"].filters == ("z", "gone", "a")
    assert sorted(state.filters) == ["a", "z"]
    warning = "UnknownFilter BGPPeer/tor spec.filters[1]: BGPFilter gone does not exist: it rejects everything"
    assert warned(world, "a") == [warning]
    assert [f"{one.reason} {one.object}: {one.message}" for one in unknown_names(world)] == [warning]


def test_communities_are_looked_up_by_name() -> None:
    """Names of the cluster and of the node, literals, well-known names; one that is none of these is left out and told."""
    names = [{"name": "west", "value": "64512:7"}, {"name": "no-peer", "value": "9:9"}]
    tags = [{"cidr": "10.244.0.0/16", "communities": ["west", "no-export", "1:2:3", "no-peer", "nowhere"]}]
    world = cluster(*NODES, config(communities=names, prefixAdvertisements=tags))
    wanted = tuple(map(Community.parse, ("64512:7", "no-export", "1:2:3", "9:9")))
    assert settings(world, "a").tagged == (Tagged(ip_network("10.244.0.0/16"), wanted),)
    told = [f"{one.reason} {one.object}" for one in planned(world).warnings]
    assert told == ["UnknownCommunity BGPConfiguration/default spec.prefixAdvertisements[0].communities"]


def test_a_node_may_have_prefix_advertisements_of_its_own() -> None:
    """They take the place of the cluster's, and know its names."""
    here = [{"cidr": "10.0.0.0/8", "communities": ["west"]}]
    world = cluster(
        *NODES,
        config(communities=[{"name": "west", "value": "1:1"}], prefixAdvertisements=[{"cidr": "10.0.0.0/8", "communities": ["2:2"]}]),
        config("node.a", communities=[{"name": "west", "value": "3:3"}], prefixAdvertisements=here),
    )  # fmt: skip
    assert [str(one.communities[0]) for one in settings(world, "a").tagged] == ["3:3"]
    assert [str(one.communities[0]) for one in settings(world, "b").tagged] == ["2:2"]


def test_pools_that_are_not_exported_are_told() -> None:
    """Their ranges, which are pools all the same."""
    world = cluster(
        *NODES,
        obj("IPPool", "x", cidr="10.245.0.0/16", disableBGPExport=True),
        obj("IPPool", "y", cidr="10.244.0.0/16"),
    )
    found = settings(world, "a")
    assert found.unexported == (ip_network("10.245.0.0/16"),)
    assert found.pools == (ip_network("10.244.0.0/16"), ip_network("10.245.0.0/16"))

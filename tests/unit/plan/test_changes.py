"""What each field of BGPPeer and BGPConfiguration does to sessions when it changes: nothing, fresh judgement, or a new session."""

from copy import deepcopy
from enum import StrEnum
from typing import Any

import pytest

from tests.unit.plan.worlds import cluster, config, node, peer
from towpath.bgp.egress import session_part
from towpath.bgp.origins import SpeakerPlan, speaker_plan
from towpath.bgp.peer import judgement
from towpath.bgp.running import seen_by_peer, withheld
from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import BGPConfigurationSpec, SecretKey
from towpath.model.kinds.node import NodeBGP, RoutingNodeSpec
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.secret import Secret
from towpath.model.speaker import SpeakerState

NODES = (node("a", "10.0.0.1/24", labels={"rack": "x"}), node("b", "10.0.0.2/24"))
CHANGED, BESIDE, MESH = "Global-10-0-0-254", "Global-10-0-0-253", "Mesh-10-0-0-2"
PASSWORD = {"secretKeyRef": {"name": "tor", "key": "k"}}
SECRETS = {SecretKey("tor", "k"): Secret(b"secret")}


class Effect(StrEnum):
    """What happens to a session."""

    NOTHING = "nothing"
    ADJUSTED = "adjusted, and the peer is not told"
    JUDGED = "what is learned is judged again"
    TOLD = "differences of what is announced are sent"
    RESET = "a new session"
    ENDED = "no session"


N, A, J, T, R, E = Effect


def state(*objects: dict[str, Any]) -> SpeakerState:
    return planned(cluster(*NODES, peer("beside", peerIP="10.0.0.253", asNumber=65000), *objects)).state


def planned(world: Cluster) -> SpeakerPlan:
    return speaker_plan(
        world,
        "a",
        secrets=SECRETS,
        forwarding_preserved=False,
        provisional=False,
        severed=(),
        own_addresses=(),
        gateways=(),
    )


def effects(before: SpeakerState, after: SpeakerState) -> dict[str, Effect]:
    """By the same comparisons by which engine and table decide."""
    return {name: effect(name, before, after) for name in before.sessions}


def effect(name: str, before: SpeakerState, after: SpeakerState) -> Effect:
    if name not in after.sessions or withheld(after.sessions[name]):
        return Effect.ENDED
    old, new = before.sessions[name], after.sessions[name]
    if seen_by_peer(old, before.settings, before.passwords.get(name)) != seen_by_peer(
        new, after.settings, after.passwords.get(name)
    ):
        return Effect.RESET
    if judgement(old) != judgement(new):
        return Effect.JUDGED
    if session_part(old) != session_part(new):
        return Effect.TOLD
    return Effect.NOTHING if old == new else Effect.ADJUSTED


PEER_FIELDS: list[tuple[str, Any, Effect]] = [
    ("node", "b", E),
    ("nodeSelector", "rack == 'y'", E),
    ("peerIP", "10.0.0.252", E),
    ("peerSelector", "all()", E),
    ("peerFrom", {"defaultGateway": True}, E),
    ("peerFrom", {"interface": "eth1"}, E),
    ("localWorkloadSelector", "all()", E),
    ("asNumber", 65001, R),
    ("localASNumber", 65009, R),
    ("addressFamilies", ["ipv4", "ipv6"], R),
    ("reversePeering", "Manual", N),
    ("password", PASSWORD, R),
    ("numAllowedLocalASNumbers", 1, J),
    ("ebgpMultihop", 5, J),
    ("ttlSecurity", 1, A),
    ("reachableBy", "10.0.0.250", A),
    ("sourceAddress", "None", R),
    ("passive", True, A),
    ("timers", {"holdTime": "30s"}, R),
    ("timers", {"keepaliveTime": "9s"}, A),
    ("timers", {"connectRetryTime": "9s"}, A),
    ("keepaliveTime", "9s", A),
    ("maxRestartTime", "60s", R),
    ("importPolicy", "All", J),
    ("filters", ["none"], J),
    ("addPaths", True, R),
    ("advertise", "Cluster", T),
    ("nextHopMode", "Self", T),
    ("keepOriginalNextHop", True, T),
    ("maxPrefixes", {"limit": 5}, J),
    ("shutdown", {}, E),
    ("role", "Customer", R),
    ("strictRole", True, R),
    ("description", "the left one", N),
]


def around(field: str, value: Any, base: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A peer before and after the field has the value."""
    first = base | ({"role": "Customer"} if field == "strictRole" else {})
    by_itself = {"asNumber": 65000}
    instead: dict[str, dict[str, Any]] = {"peerSelector": {}, "peerFrom": by_itself, "localWorkloadSelector": by_itself}
    return first, instead.get(field, first) | {field: value}


@pytest.mark.parametrize(("field", "value", "expected"), PEER_FIELDS)
def test_a_field_of_a_peer(field: str, value: Any, expected: Effect) -> None:
    """A change of one field of a peer is its session's alone: the others do not notice."""
    first, second = around(field, value, {"peerIP": "10.0.0.254", "asNumber": 65000})
    found = effects(state(peer("changed", **first)), state(peer("changed", **second)))
    # a peer by selector takes the place of the mesh session
    expected_mesh = Effect.ENDED if field == "peerSelector" else Effect.NOTHING
    assert found == {CHANGED: expected, BESIDE: Effect.NOTHING, MESH: expected_mesh}


CLUSTER_FIELDS: list[tuple[str, Any, Effect, Effect]] = [
    ("asNumber", 64999, R, R),
    ("nodeToNodeMeshEnabled", False, N, E),
    ("listenPort", 1790, N, R),
    ("bindMode", "NodeIP", N, N),
    ("routerID", "10.9.9.9", R, R),
    ("timers", {"holdTime": "30s"}, R, R),
    ("timers", {"keepaliveTime": "9s"}, A, A),
    ("nodeMeshPassword", PASSWORD, N, R),
    ("nodeMeshMaxRestartTime", "60s", N, R),
    ("gracefulRestart", {"enabled": False}, R, R),
    ("multipath", {"maximumPaths": 2}, N, N),
    ("maxPrefixes", {"limit": 5}, J, J),
    ("communities", [{"name": "red", "value": "65000:1"}], N, N),
    ("prefixAdvertisements", [{"cidr": "10.0.0.0/8", "communities": ["65000:1"]}], N, N),
    ("meshAdvertise", "All", N, T),
    ("advertiseNodeAddresses", True, N, N),
    ("addPaths", False, N, N),
    ("ignoredInterfaces", ["eth9"], N, N),
    ("ipv4NormalRoutePriority", 100, N, N),
    ("ipv6NormalRoutePriority", 100, N, N),
    ("kernelMetric", 99, N, N),
    ("programClusterRoutes", "Disabled", N, N),
    ("clusterRoutes", "Kubernetes", N, N),
    ("unnumbered", {"enabled": True}, N, N),
    ("localWorkloadPeeringIPV4", "169.254.0.179", N, N),
    ("localWorkloadPeeringIPV6", "fd12::179", N, N),
    ("shutdown", True, E, E),
    ("logSeverityScreen", "Debug", N, N),
    ("serviceClusterIPs", [{"cidr": "10.96.0.0/16"}], N, N),
    ("serviceExternalIPs", [{"cidr": "192.0.2.0/24"}], N, N),
    ("serviceLoadBalancerIPs", [{"cidr": "192.0.2.0/24"}], N, N),
    ("serviceLoadBalancerAggregation", "Disabled", N, N),
]


@pytest.mark.parametrize(("field", "value", "explicit", "mesh"), CLUSTER_FIELDS)
def test_a_field_of_the_cluster(field: str, value: Any, explicit: Effect, mesh: Effect) -> None:
    """A change of the configuration reaches the sessions that it is about: peers, the mesh, or both."""
    found = effects(state(config()), state(config(**{field: value})))
    assert found == {BESIDE: explicit, MESH: mesh}


NODE_FIELDS: list[tuple[str, Any, tuple[Effect, Effect], tuple[Effect, Effect]]] = [
    ("asNumber", 64999, (R, R), (N, R)),
    ("routerID", "10.9.9.9", (R, R), (N, N)),
    ("routeReflectorClusterID", "10.9.9.9", (N, E), (N, E)),
    ("ipv4Address", "10.0.0.9/24", (R, R), (N, E)),
    ("ipv6Address", "fd00::9/64", (N, N), (N, N)),
]
"""Of each field of a node's BGP: what becomes of the router's session and of the mesh's where it is this node, and the other."""


@pytest.mark.parametrize(("field", "value", "own", "others"), NODE_FIELDS)
def test_a_field_of_a_node(field: str, value: Any, own: tuple[Effect, Effect], others: tuple[Effect, Effect]) -> None:
    """A change of another node is its sessions' alone; one of this node reaches those in whose OPEN it is."""
    before = state()
    for name, expected in (("a", own), ("b", others)):
        changed = [deepcopy(one) for one in NODES]
        next(one for one in changed if one["metadata"]["name"] == name)["spec"]["bgp"][field] = value
        after = planned(cluster(*changed, peer("beside", peerIP="10.0.0.253", asNumber=65000))).state
        assert (name, effects(before, after)) == (name, {BESIDE: expected[0], MESH: expected[1]})


def test_every_field_is_in_the_tables() -> None:
    """A field that is new needs an answer here."""
    assert {field for field, *_ in NODE_FIELDS} == set(NodeBGP.__struct_encode_fields__)
    assert set(RoutingNodeSpec.__struct_encode_fields__) == {"bgp", "nodeUID"}
    assert {field for field, *_ in PEER_FIELDS} == set(BGPPeerSpec.__struct_encode_fields__)
    assert {field for field, *_ in CLUSTER_FIELDS} == set(BGPConfigurationSpec.__struct_encode_fields__)


def test_a_password_that_changes_is_its_sessions_alone() -> None:
    """The value in the Secret counts, not its name."""
    before = state(peer("changed", peerIP="10.0.0.254", asNumber=65000, password=PASSWORD))
    other = {SecretKey("tor", "k"): Secret(b"other")}
    after = speaker_plan(
        cluster(*NODES, peer("beside", peerIP="10.0.0.253", asNumber=65000), peer("changed", peerIP="10.0.0.254", asNumber=65000, password=PASSWORD)),
        "a", secrets=other, forwarding_preserved=False, provisional=False, severed=(), own_addresses=(), gateways=(),
    ).state  # fmt: skip
    assert effects(before, after) == {CHANGED: R, BESIDE: N, MESH: N}

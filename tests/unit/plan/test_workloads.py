"""Sessions with pods: who is selected, and what such a session is like (localWorkloadSelector)."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.unit.plan.worlds import block, cluster, config, node, obj, peer
from towpath.bgp.nodes import node_views
from towpath.bgp.origins import settings, speaker_plan
from towpath.bgp.peering import peer_warnings, sessions
from towpath.controller.node.given import given_routes, local_routes
from towpath.controller.node.guard import rules_of
from towpath.model.cluster import Cluster
from towpath.model.speaker import Session
from towpath.model.workload import Workload, decode_workload

A, B = node("a", "10.0.0.1/24", "fd00::1/64", labels={"rack": "x"}), node("b", "10.0.0.2/24", "fd00::2/64")
BLOCKS = block("10.244.0.0/26", "a"), block("fd00:244::/122", "a"), block("10.244.0.64/26", "b")
V4, V6 = "169.254.0.179", "fd12::179"
PEERING = {"localWorkloadPeeringIPV4": V4, "localWorkloadPeeringIPV6": V6}
ROUTERS: dict[str, Any] = {"localWorkloadSelector": "app == 'router'", "asNumber": 65401}


def pod(name: str = "r", *addresses: str, on: str = "a", namespace: str = "apps", **labels: str) -> Workload:
    found = decode_workload(
        {
            "metadata": {"name": name, "namespace": namespace, "labels": labels or {"app": "router"}},
            "spec": {"nodeName": on},
            "status": {"phase": "Running", "podIPs": [{"ip": one} for one in addresses]},
        }
    )
    assert found is not None
    return found


DUAL = pod("r", "10.244.0.5", "fd00:244::5")


def world(*more: dict[str, Any], spec: dict[str, Any] | None = None, **configuration: Any) -> Cluster:
    settings = {"nodeToNodeMeshEnabled": False, **PEERING, **configuration}
    return cluster(A, B, *BLOCKS, config(**settings), peer("routers", **{**ROUTERS, **(spec or {})}), *more)


def made(found: Cluster, *pods: Workload, on: str = "a") -> dict[str, Session]:
    return {one.name: one for one in sessions(found, on, workloads=pods).sessions}


def warned(found: Cluster, *pods: Workload) -> list[str]:
    return [f"{one.reason} {one.object}: {one.message}" for one in sessions(found, "a", workloads=pods).warnings]


def test_a_selected_pod_has_a_session_in_each_family() -> None:
    """From the peering address to the pod's, which dials; nobody else may be its next hop, and the pod is named."""
    found = made(world(), DUAL)
    assert set(found) == {"Workload-10-244-0-5", "Workload-fd00-244--5"}
    session = found["Workload-10-244-0-5"]
    assert (session.scope, session.passive, session.ebgp, session.multihop) == ("Workload", True, True, None)
    assert (session.local_address, session.peer_address) == (ip_address(V4), ip_address("10.244.0.5"))
    assert (session.local_as, session.remote_as, session.peer_node, session.max_prefix.limit) == (
        64512,
        65401,
        None,
        1000,
    )
    assert session.own_hops == (ip_address("10.244.0.5"), ip_address("fd00:244::5"))
    assert [str(why) for why in session.why] == [
        "BGPPeer/routers spec.localWorkloadSelector",
        "Pod/apps/r metadata.labels",
    ]
    assert found["Workload-fd00-244--5"].local_address == ip_address(V6)


@pytest.mark.parametrize(
    ("workload", "spec", "names"),
    [
        (pod("r", "10.244.0.5", app="other"), {}, set()),
        (pod("r", "10.244.0.5", on="b"), {}, set()),
        (pod("r", "10.244.0.70"), {}, set()),  # of another node's block
        (pod("r", "192.0.2.7"), {}, set()),  # of another network
        (pod("r", "192.0.2.7", "10.244.0.5"), {}, {"Workload-10-244-0-5"}),
        (DUAL, {"nodeSelector": "rack == 'x'"}, {"Workload-10-244-0-5", "Workload-fd00-244--5"}),
        (DUAL, {"node": "b"}, set()),
        (DUAL, {"addressFamilies": ["ipv6", "ipv4"]}, {"Workload-fd00-244--5"}),
        (DUAL, {"localWorkloadSelector": "towpath.io/namespace == 'apps'"}, {"Workload-10-244-0-5", "Workload-fd00-244--5"}),
        (DUAL, {"localWorkloadSelector": "projectcalico.org/namespace == 'other'"}, set()),
        (pod("r", "10.244.0.5", **{"towpath.io/namespace": "other"}), {"localWorkloadSelector": "towpath.io/namespace == 'other'"}, set()),
        (DUAL, {"localWorkloadSelector": "towpath.io/service-account == 'default'"}, {"Workload-10-244-0-5", "Workload-fd00-244--5"}),
        (DUAL, {"sourceAddress": "None"}, {"Workload-10-244-0-5", "Workload-fd00-244--5"}),
    ],
)  # fmt: skip
def test_who_is_selected(workload: Workload, spec: dict[str, Any], names: set[str]) -> None:
    """By label, on its own node, by addresses of the node's blocks; no label of a pod says which namespace it is in."""
    found = made(world(spec=spec), workload)
    assert set(found) == names
    assert {one.local_address for one in found.values()} <= {ip_address(V4), ip_address(V6)}


def test_a_session_that_carries_both_families() -> None:
    """Our next hop in the other one is the peering address there, else the node's own."""
    spec = {"addressFamilies": ["ipv4", "ipv6"]}
    assert made(world(spec=spec), DUAL)["Workload-10-244-0-5"].next_hop_beside == ip_address(V6)
    alone = made(world(spec=spec, localWorkloadPeeringIPV6=None), DUAL)
    assert alone["Workload-10-244-0-5"].next_hop_beside == ip_address("fd00::1")


@pytest.mark.parametrize(
    ("body", "addresses"),
    [
        ({"status": {"podIP": "10.244.0.5"}}, ["10.244.0.5"]),
        ({"status": {"podIPs": [{"ip": "fd00::5"}, {"ip": "10.244.0.5"}]}}, ["fd00::5", "10.244.0.5"]),
        ({"status": {"podIPs": [{"ip": "nonsense"}, "10.244.0.5", {"ip": "10.244.0.6"}]}}, ["10.244.0.6"]),
        ({"status": {"podIP": "10.0.0.1"}, "spec": {"nodeName": "a", "hostNetwork": True}}, None),
        ({"status": {"podIP": "10.244.0.5", "phase": "Failed"}}, None),
        ({"status": {"podIP": "10.244.0.5"}, "spec": {}}, None),
        ({"status": {}}, None),
        ({"status": "nonsense", "spec": []}, None),
        ({"status": {"podIP": "10.244.0.5"}, "metadata": {"name": "r", "labels": ["nonsense"]}}, ["10.244.0.5"]),
    ],
)
def test_which_pods_can_be_peers(body: dict[str, Any], addresses: list[str] | None) -> None:
    """Those with an address of their own that have not ended; what has not the shape of a pod is none."""
    found = decode_workload({"metadata": {"name": "r"}, "spec": {"nodeName": "a"}, **body})
    assert (None if found is None else [str(one) for one in found.addresses]) == addresses


def test_without_a_peering_address_nobody_is_a_peer() -> None:
    """And the object says so; a pod without an address of a family that has one is named."""
    bare = world(localWorkloadPeeringIPV4=None, localWorkloadPeeringIPV6=None)
    assert made(bare, DUAL) == {}
    assert warned(bare, DUAL) == [
        (
            "NoAddress BGPPeer/routers spec.localWorkloadSelector: neither localWorkloadPeeringIPV4 nor"
            " localWorkloadPeeringIPV6 is set: no pod has anybody to peer with"
        )
    ]
    six = world(localWorkloadPeeringIPV4=None)
    assert set(made(six, DUAL)) == {"Workload-fd00-244--5"}
    assert warned(six, pod("four", "10.244.0.5"), DUAL) == [
        (
            "NoAddress BGPPeer/routers spec.localWorkloadSelector: pod apps/four has no address of this node's blocks"
            " in a family that pods peer in"
        )
    ]


def test_two_that_select_one_pod() -> None:
    """The first by name counts, and the other is told."""
    found = world(peer("second", **{**ROUTERS, "asNumber": 65402}))
    assert {one.remote_as for one in made(found, DUAL).values()} == {65401}
    assert [one.split(":")[0] for one in warned(found, DUAL)] == [
        "DuplicatePeer BGPPeer/second spec.localWorkloadSelector"
    ] * 2


def test_nobody_makes_the_other_half() -> None:
    """Other nodes have no session of it, and no contradiction is seen where nobody knows of pods."""
    found = world()
    assert made(found, DUAL, on="b") == {}
    assert peer_warnings(found, "a", nodes=node_views(found)) == ()


def test_the_peering_address_is_the_nodes_own_while_a_peer_asks_for_it() -> None:
    """A node's own configuration goes before the cluster's; it is a local route, listened on, and no prefix of anybody else."""
    own = config("node.a", localWorkloadPeeringIPV4="169.254.0.180")
    found = world(own, bindMode="NodeIP")
    routes = local_routes(found, "a")
    assert {str(one.prefix): (one.type, str(one.why[0])) for one in routes.values()} == {
        "169.254.0.180/32": ("local", "BGPConfiguration/node.a spec.localWorkloadPeeringIPV4"),
        f"{V6}/128": ("local", "BGPConfiguration/default spec.localWorkloadPeeringIPV6"),
    }
    said = settings(found, "a")
    assert {ip_address("169.254.0.180"), ip_address(V6)} < {one.address for one in said.listen}
    assert {ip_address("169.254.0.180"), ip_address(V6)} < set(said.own_addresses)
    nobody = world(own, spec={"node": "b"})
    assert local_routes(nobody, "a") == {}
    assert ip_address(V6) not in settings(nobody, "a").own_addresses
    assert given_routes(found, "a") == given_routes(nobody, "a")


def test_the_port_is_open_to_peers_alone() -> None:
    """Each may reach the address that it peers with; pools may reach no speaker, wherever it listens."""
    pools = [obj("IPPool", "v4", cidr="10.244.0.0/16"), obj("IPPool", "inner", cidr="10.244.9.0/24")]
    found = world(*pools, config("node.b", listenPort=1790))
    state = speaker_plan(
        found, "a", secrets={}, forwarding_preserved=False, provisional=False, severed=(), own_addresses=(), gateways=(),
        workloads=[DUAL],
    ).state  # fmt: skip
    rules = rules_of(found, "a", announcements=(), sessions=state.sessions.values())
    assert rules.pools == (ip_network("10.244.0.0/16"),)
    assert rules.speakers == (
        (ip_address("10.0.0.1"), 179), (ip_address("10.0.0.2"), 1790), (ip_address("fd00::1"), 179), (ip_address("fd00::2"), 1790),
    )  # fmt: skip
    assert rules.peers == (
        (ip_address("10.244.0.5"), ip_address(V4)),
        (ip_address("fd00:244::5"), ip_address(V6)),
    )
    assert (rules.port, rules_of(found, "b", announcements=(), sessions=()).port) == (179, 1790)

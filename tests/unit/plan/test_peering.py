"""Who talks to whom (rules 1 to 13)."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.unit.plan.worlds import block, by_name, cluster, config, node, peer, shown, warned
from towpath.bgp.nodes import node_views
from towpath.bgp.peering import sessions
from towpath.bgp.reach import gateways
from towpath.model.net import scoped

A, B, C = node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24"), node("c", "10.0.0.10/24")
PASSWORD = {"secretKeyRef": {"name": "tor", "key": "k"}}
OTHER = {"secretKeyRef": {"name": "other", "key": "k"}}
GOLDEN = Path(__file__).parents[2] / "golden"


def test_a_mesh_is_everybody_with_everybody() -> None:
    """Without any object of ours each node has one session with each other, in the cluster's AS."""
    world = cluster(A, B, C)
    assert set(by_name(world, "a")) == {"Mesh-10-0-0-2", "Mesh-10-0-0-10"}
    session = by_name(world, "a")["Mesh-10-0-0-2"]
    assert (session.local_as, session.remote_as, session.peer_port, session.peer_node) == (64512, 64512, 179, "b")
    assert (session.hold_time, session.keepalive_time, session.connect_retry_time, session.restart_time) == (
        90,
        30,
        5,
        120,
    )
    assert session.max_prefix.limit == 256
    assert session.multihop is None


def test_the_side_whose_peer_has_the_larger_address_as_text_listens() -> None:
    """10.0.0.10 sorts before 10.0.0.2 as text, so the node with .2 dials it."""
    world = cluster(A, B, C)
    assert by_name(world, "a")["Mesh-10-0-0-2"].passive
    assert not by_name(world, "b")["Mesh-10-0-0-1"].passive
    assert by_name(world, "c")["Mesh-10-0-0-2"].passive
    assert not by_name(world, "b")["Mesh-10-0-0-10"].passive


def test_a_mesh_has_a_session_for_each_family_both_have() -> None:
    """Dual-stack nodes have two sessions, and one with a node that has IPv6 only."""
    world = cluster(node("a", "10.0.0.1", "fd00::1"), node("b", "10.0.0.2", "fd00::2"), node("c", "fd00::3"))
    assert set(by_name(world, "a")) == {"Mesh-10-0-0-2", "Mesh-fd00--2", "Mesh-fd00--3"}
    assert set(by_name(world, "c")) == {"Mesh-fd00--1", "Mesh-fd00--2"}


def test_two_nodes_with_one_address() -> None:
    """The first in name order has it; the other is reported and gets no session."""
    world = cluster(A, B, node("c", "10.0.0.2"))
    assert by_name(world, "a")["Mesh-10-0-0-2"].peer_node == "b"
    assert warned(world, "a") == ["DuplicatePeer RoutingNode/c spec.bgp: 10.0.0.2 is the address of node b already"]


def test_reflectors_have_no_mesh() -> None:
    """A reflector meshes with nobody, nor anybody with it."""
    world = cluster(A, B, node("r", "10.0.0.9", routeReflectorClusterID="1.0.0.1"))
    assert by_name(world, "r") == {}
    assert set(by_name(world, "a")) == {"Mesh-10-0-0-2"}


def test_clients_of_a_reflector() -> None:
    """On a reflector an iBGP peer with no cluster id or another one is a client, one with the same id is not."""
    first, second = (
        node("r", "10.0.0.9", routeReflectorClusterID="1.0.0.1"),
        node("s", "10.0.0.8", routeReflectorClusterID="1.0.0.1"),
    )
    third = node("t", "10.0.0.7", routeReflectorClusterID="1.0.0.2")
    world = cluster(
        A, first, second, third, node("x", "10.0.0.6", asNumber=65009), peer("all", node="r", peerSelector="all()"),
        config(nodeToNodeMeshEnabled=False),
        peer("inside", node="r", peerIP="10.0.0.253", asNumber=64512), peer("outside", node="r", peerIP="10.0.0.254", asNumber=65000),
    )  # fmt: skip
    made = by_name(world, "r")
    assert {name for name, one in made.items() if one.route_reflector_client} == {
        "Node-10-0-0-1",
        "Node-10-0-0-7",
        "Node-10-0-0-253",
    }
    assert {str(one.cluster_id) for one in made.values() if not one.ebgp} == {"1.0.0.1"}
    assert {one.cluster_id for one in made.values() if one.ebgp} == {None}
    others = [one for name in ("a", "s", "t", "x") for one in by_name(world, name).values()]
    assert others
    assert {str(one.cluster_id) for one in others} == {"None", "1.0.0.1", "1.0.0.2"}
    assert [one.route_reflector_client for one in by_name(world, "a").values()] == [False]
    assert by_name(world, "t")["Reverse-10-0-0-9"].route_reflector_client


def test_the_mesh_follows_its_flag_alone() -> None:
    """clusterRoutes Kubernetes needs no mesh and does not end it."""
    assert by_name(cluster(A, B, config(nodeToNodeMeshEnabled=False)), "a") == {}
    assert by_name(cluster(A, B, config(clusterRoutes="Kubernetes")), "a") != {}


def test_the_mesh_takes_password_restart_time_and_ports_from_the_configuration() -> None:
    """The peer's port is the peer's own: node.NAME overrides."""
    settings = config(
        listenPort=1179, nodeMeshPassword=PASSWORD, nodeMeshMaxRestartTime="60s", maxPrefixes={"limit": 5}
    )
    world = cluster(A, B, settings, config("node.b", listenPort=1790, asNumber=65001))
    session = by_name(world, "a")["Mesh-10-0-0-2"]
    assert (session.peer_port, session.remote_as, session.restart_time, session.max_prefix.limit) == (
        1790,
        65001,
        60,
        5,
    )
    assert session.multihop == 64
    assert session.password_ref is not None
    assert by_name(world, "b")["Mesh-10-0-0-1"].peer_port == 1179


def test_graceful_restart_can_be_off() -> None:
    """Without graceful restart no session offers a restart time, whatever else is set."""
    world = cluster(A, B, config(gracefulRestart={"enabled": False}, nodeMeshMaxRestartTime="60s"))
    assert by_name(world, "a")["Mesh-10-0-0-2"].restart_time is None


def test_a_global_peer_is_every_nodes() -> None:
    """A router outside gets a session from each node, which dials it from its own address."""
    world = cluster(A, B, peer("tor", peerIP="10.0.0.254", asNumber=65000), config(nodeToNodeMeshEnabled=False))
    session = by_name(world, "b")["Global-10-0-0-254"]
    assert (str(session.local_address), session.passive, session.peer_node) == ("10.0.0.2", False, None)
    assert (session.remote_as, session.peer_port, session.max_prefix.limit, session.ebgp) == (65000, 179, 1000, True)


def test_node_peers_are_of_the_nodes_they_name_or_select() -> None:
    """node and nodeSelector choose; a port that is written is part of the name."""
    world = cluster(
        node("a", "10.0.0.1", labels={"rack": "x"}), B,
        peer("one", node="b", peerIP="10.0.0.254:1790", asNumber=65000),
        peer("rack", nodeSelector="rack == 'x'", peerIP="10.0.0.253", asNumber=65000, localASNumber=65009),
        config(nodeToNodeMeshEnabled=False),
    )  # fmt: skip
    assert list(by_name(world, "a")) == ["Node-10-0-0-253"]
    assert by_name(world, "a")["Node-10-0-0-253"].local_as == 65009
    assert list(by_name(world, "b")) == ["Node-10-0-0-254-p1790"]


def test_sources() -> None:
    """sourceAddress None leaves the address to the kernel; a node without an address of the family cannot use its own."""
    six = {"peerIP": "fd00::fe", "asNumber": 65000}
    world = cluster(A, B, peer("six", **six), peer("any", peerIP="fd00::ff", asNumber=65000, sourceAddress="None"))
    made = by_name(world, "a")
    assert (made["Global-fd00--fe"].state, made["Global-fd00--fe"].reason) == ("Withheld", "NoAddress")
    assert (made["Global-fd00--ff"].state, made["Global-fd00--ff"].local_address) == ("Active", None)


def test_the_first_in_order_wins_a_key() -> None:
    """Global before node, then by name; the loser is dropped and its object told."""
    world = cluster(
        A, config(nodeToNodeMeshEnabled=False),
        peer("b-global", peerIP="10.0.0.254", asNumber=65000),
        peer("a-node", node="a", peerIP="10.0.0.254", asNumber=65001),
        peer("c-global", peerIP="10.0.0.254:179", asNumber=65002),
    )  # fmt: skip
    (session,) = by_name(world, "a").values()
    assert session.remote_as == 65000
    assert [text.split(":")[0] for text in warned(world, "a")] == [
        "DuplicatePeer BGPPeer/c-global spec.peerIP",
        "DuplicatePeer BGPPeer/a-node spec.peerIP",
    ]


def test_an_explicit_peer_replaces_the_mesh_session_on_both_sides() -> None:
    """The mesh session stays in the plan, withheld; the reverse of the explicit one does the same at the other end."""
    world = cluster(A, B, peer("b", node="a", peerIP="10.0.0.2", asNumber=64512, password=PASSWORD))
    for name, other, scope in (("a", "10-0-0-2", "Node"), ("b", "10-0-0-1", "Reverse")):
        made = by_name(world, name)
        assert (made[f"Mesh-{other}"].state, made[f"Mesh-{other}"].reason) == ("Withheld", "DuplicatePeer")
        assert made[f"{scope}-{other}"].state == "Active"
        assert made[f"{scope}-{other}"].password_ref is not None
    assert warned(world, "a") == warned(world, "b") == []


@pytest.mark.parametrize(
    ("changed", "reversed_"),
    [
        ({}, True),
        ({"reversePeering": "Manual"}, False),
        ({"asNumber": 65000}, False),
        ({"peerIP": "10.0.0.2:179"}, True),
        ({"peerIP": "10.0.0.2:1790"}, False),
    ],
)
def test_reverse_peering_by_address(changed: dict, reversed_: bool) -> None:
    """A peer that is a node, by address, AS and port, makes the other half on that node."""
    spec = {"node": "a", "peerIP": "10.0.0.2", "asNumber": 64512} | changed
    world = cluster(A, B, peer("p", **spec), config(nodeToNodeMeshEnabled=False))
    assert (set(by_name(world, "b")) == {"Reverse-10-0-0-1"}) is reversed_


def test_a_reverse_session_carries_all_but_the_local_as() -> None:
    """The other half answers to the AS that the first side shows, with its own."""
    spec = {"node": "a", "peerIP": "10.0.0.2", "asNumber": 64512, "localASNumber": 65009, "importPolicy": "All"}
    world = cluster(A, B, peer("p", **spec, timers={"holdTime": "9s"}), config(nodeToNodeMeshEnabled=False))
    session = by_name(world, "b")["Reverse-10-0-0-1"]
    assert (session.local_as, session.remote_as, session.import_policy) == (64512, 65009, "All")
    assert (session.hold_time, session.keepalive_time) == (9, 3)


def test_peers_by_selector() -> None:
    """Everybody with the reflectors, in each family that both have; the reflectors with everybody, themselves excepted."""
    reflector = node("r", "10.0.0.9", "fd00::9", labels={"role": "rr"}, routeReflectorClusterID="1.0.0.1")
    second = node("s", "10.0.0.8", labels={"role": "rr"}, routeReflectorClusterID="1.0.0.1")
    world = cluster(A, node("b", "10.0.0.2", "fd00::2"), reflector, second, peer("rr", peerSelector="role == 'rr'"))
    assert set(by_name(world, "b")) == {"Mesh-10-0-0-1", "Global-10-0-0-9", "Global-fd00--9", "Global-10-0-0-8"}
    assert set(by_name(world, "r")) == {"Global-10-0-0-8", "Reverse-10-0-0-1", "Reverse-10-0-0-2", "Reverse-fd00--2"}
    assert warned(world, "b") == warned(world, "r") == []


def test_a_session_with_oneself_is_none() -> None:
    """A global peer that is a node is everybody's but its own."""
    world = cluster(A, B, peer("p", peerIP="10.0.0.1", asNumber=64512), config(nodeToNodeMeshEnabled=False))
    assert set(by_name(world, "a")) == {"Reverse-10-0-0-2"}


def test_one_address_has_one_password() -> None:
    """The second password of an address is refused, and says so."""
    world = cluster(
        A, config(nodeToNodeMeshEnabled=False),
        peer("one", peerIP="10.0.0.254", asNumber=65000, password=PASSWORD),
        peer("two", peerIP="10.0.0.254:1790", asNumber=65000, password=OTHER),
    )  # fmt: skip
    made = by_name(world, "a")
    assert made["Global-10-0-0-254"].state == "Active"
    assert made["Global-10-0-0-254-p1790"].reason == "PasswordConflict"
    assert warned(world, "a")[0].startswith("PasswordConflict BGPPeer/two")


def test_a_peer_that_is_shut_down_is_withheld() -> None:
    """It stays in the plan, and so does the mesh session that it replaces, withheld too."""
    world = cluster(A, B, peer("p", node="a", peerIP="10.0.0.2", asNumber=64512, shutdown={}))
    assert {one.reason for one in by_name(world, "a").values()} == {"Shutdown", "DuplicatePeer"}


def test_what_a_peer_says_of_distance_and_loops() -> None:
    """TTL security, multihop and the gateway are the session's; own AS in the path and the gateway are not reversed."""
    near = {"ttlSecurity": 2, "reachableBy": "10.0.0.254", "numAllowedLocalASNumbers": 3}
    world = cluster(
        A, B, config(nodeToNodeMeshEnabled=False),
        peer("far", node="a", peerIP="192.0.2.1", asNumber=65000, ebgpMultihop=5),
        peer("near", node="a", peerIP="10.0.0.2", asNumber=64512, localASNumber=65009, **near),
        peer("plain", node="a", peerIP="10.0.0.253", asNumber=65000),
    )  # fmt: skip
    made = by_name(world, "a")
    far, one, plain = made["Node-192-0-2-1"], made["Node-10-0-0-2"], made["Node-10-0-0-253"]
    assert (far.multihop, far.ttl_security, far.reachable_by, far.allow_local_as) == (5, None, None, 0)
    assert (one.multihop, one.ttl_security, str(one.reachable_by), one.allow_local_as) == (None, 2, "10.0.0.254", 3)
    assert (plain.multihop, plain.ttl_security) == (None, None)
    back = by_name(world, "b")["Reverse-10-0-0-1"]
    assert (back.multihop, back.ttl_security, back.reachable_by, back.allow_local_as) == (None, 2, None, 0)
    assert gateways(world, "b") == {}
    assert {str(prefix): str(way.address) for prefix, way in gateways(world, "a").items()} == {
        "10.0.0.2/32": "10.0.0.254"
    }


def test_both_families_on_one_session() -> None:
    """A peer by address carries what it names; our next hop in the other family is the node's, or there is none and a warning."""
    both = {"asNumber": 65000, "addressFamilies": ["ipv4", "ipv6"]}
    world = cluster(
        node("a", "10.0.0.1/24", "fd00::1/64"), node("b", "10.0.0.2/24"), config(nodeToNodeMeshEnabled=False),
        peer("four", peerIP="10.0.0.254", **both),
        peer("other", peerIP="10.0.0.253", asNumber=65000, addressFamilies=["ipv6"]),
        peer("six", node="a", peerIP="fd00::fe", **both),
    )  # fmt: skip
    made = {name: ([each.key for each in one.families], str(one.next_hop_beside)) for name, one in by_name(world, "a").items()}  # fmt: skip
    assert made == {
        "Global-10-0-0-254": (["ipv4", "ipv6"], "fd00::1"),
        "Global-10-0-0-253": (["ipv6"], "fd00::1"),
        "Node-fd00--fe": (["ipv4", "ipv6"], "10.0.0.1"),
    }
    assert warned(world, "a") == []
    assert [text for text in warned(world, "b") if "four" in text] == [
        "NoAddress BGPPeer/four spec.addressFamilies: this node has no IPv6 address: it announces nothing of that family to 10.0.0.254"
    ]


@pytest.mark.parametrize(
    ("named", "over"),
    [((), ["10-0-0-2", "fd00--2"]), (("ipv4", "ipv6"), ["10-0-0-2"]), (("ipv6", "ipv4"), ["fd00--2"]), (("ipv6",), ["fd00--2"])],
)  # fmt: skip
def test_families_of_peers_by_selector(named: tuple[str, ...], over: list[str]) -> None:
    """Unless they are named one session a family; else one over the first that both ends have, both halves alike."""
    world = cluster(
        node("a", "10.0.0.1/24", "fd00::1/64"), node("b", "10.0.0.2/24", "fd00::2/64", labels={"role": "x"}),
        node("c", "10.0.0.3/24"), config(nodeToNodeMeshEnabled=False),
        peer("x", peerSelector="role == 'x'", addressFamilies=list(named)),
    )  # fmt: skip
    assert sorted(by_name(world, "a")) == [f"Global-{address}" for address in over]
    back = {name for name in by_name(world, "b") if name.endswith(("0-0-1", "--1"))}
    assert back == {f"Reverse-{address[:-1]}1" for address in over}
    assert set(by_name(world, "c")) == (set() if named == ("ipv6",) else {"Global-10-0-0-2"})
    for one in ("a", "b"):
        for session in by_name(world, one).values():
            if str(session.peer_address) != "10.0.0.3":
                assert {each.key for each in session.families} == set(named or ("ipv6" if "--" in session.name else "ipv4",))  # fmt: skip
    assert [text for text in warned(world, "a") if "NoAddress" not in text] == []


def test_families_of_a_default_gateway() -> None:
    """One session for both families, with the gateway of the first that there is."""
    spec = {"peerFrom": {"defaultGateway": True}, "asNumber": 65000, "addressFamilies": ["ipv6", "ipv4"]}
    world = cluster(node("a", "10.0.0.1/24", "fd00::1/64"), config(nodeToNodeMeshEnabled=False), peer("tor", **spec))
    four, six = ip_address("10.0.0.254"), ip_address("fd00::fe")
    assert [one.name for one in sessions(world, "a", gateways=(four, six)).sessions] == ["Global-fd00--fe"]
    assert [one.name for one in sessions(world, "a", gateways=(four,)).sessions] == ["Global-10-0-0-254"]


def test_a_role_and_its_counterpart() -> None:
    """The other half of a session between two AS of ours is what the first half is not; within an AS there is no role."""
    world = cluster(
        A, node("b", "10.0.0.2/24", asNumber=65001), config(nodeToNodeMeshEnabled=False),
        peer("up", node="a", peerIP="10.0.0.2", asNumber=65001, role="Customer", strictRole=True),
        peer("inside", node="a", peerIP="10.0.0.253", asNumber=64512, role="Peer", strictRole=True),
    )  # fmt: skip
    made = by_name(world, "a")
    assert (made["Node-10-0-0-2"].role, made["Node-10-0-0-2"].strict_role) == ("Customer", True)
    assert (made["Node-10-0-0-253"].role, made["Node-10-0-0-253"].strict_role) == (None, False)
    back = by_name(world, "b")["Reverse-10-0-0-1"]
    assert (back.role, back.strict_role) == ("Provider", True)
    assert warned(world, "a") == [
        "InternalSession BGPPeer/inside spec.role: a role is for sessions with another AS: this node's is internal, and has none"
    ]
    assert warned(world, "b") == []


def test_the_first_in_order_says_how_a_peer_is_reached() -> None:
    """Two gateways to one address: a global peer before a node's, then by name; a peer that is the gateway needs none."""
    world = cluster(
        A, peer("a-node", node="a", peerIP="192.0.2.1", asNumber=1, reachableBy="10.0.0.1"),
        peer("b", peerIP="192.0.2.1", asNumber=1, reachableBy="10.0.0.252"),
        peer("c", peerIP="192.0.2.1:1790", asNumber=1, reachableBy="10.0.0.253"),
        peer("d", peerIP="10.0.0.9", asNumber=1, reachableBy="10.0.0.9"),
        peer("e", node="b", peerIP="192.0.2.9", asNumber=1, reachableBy="10.0.0.253"),
    )  # fmt: skip
    found = gateways(world, "a")
    assert [(str(prefix), str(way.address), str(way.why)) for prefix, way in found.items()] == [
        ("192.0.2.1/32", "10.0.0.252", "BGPPeer/b spec.reachableBy")
    ]
    assert gateways(world, "nobody") == {}


def test_the_default_gateway_as_peer() -> None:
    """Each gateway of the node's own default routes, in the families that the node has; without any a warning says so."""
    world = cluster(
        A, B, config(nodeToNodeMeshEnabled=False), peer("tor", peerFrom={"defaultGateway": True}, asNumber=65000)
    )
    known = tuple(map(ip_address, ("10.0.0.254", "10.0.0.253", "fd00::fe", "10.0.0.1")))
    made = sessions(world, "a", gateways=known)
    assert [(one.name, one.remote_as, one.passive) for one in made.sessions] == [
        ("Global-10-0-0-254", 65000, False),
        ("Global-10-0-0-253", 65000, False),
    ]
    assert made.warnings == ()
    assert by_name(world, "a") == {}
    assert warned(world, "a") == [
        "NoAddress BGPPeer/tor spec.peerFrom: no default gateway is known that this node could peer with"
    ]


def test_a_cluster_that_leaves_has_no_session() -> None:
    """spec.shutdown withholds all of them; those that were withheld before keep their reasons."""
    world = cluster(A, B, config(shutdown=True), peer("t", peerIP="10.0.0.254", asNumber=1), peer("b", node="a", peerIP="10.0.0.2", asNumber=64512))  # fmt: skip
    assert {name: (one.state, one.reason) for name, one in by_name(world, "a").items()} == {
        "Global-10-0-0-254": ("Withheld", "Shutdown"),
        "Node-10-0-0-2": ("Withheld", "Shutdown"),
        "Mesh-10-0-0-2": ("Withheld", "DuplicatePeer"),
    }


@pytest.mark.parametrize(
    ("cluster_wide", "of_node", "of_peer", "expected"),
    [
        ({}, {}, {}, (90, 30, 5)),
        ({"holdTime": "240s"}, {}, {}, (240, 80, 5)),
        ({"holdTime": "240s", "keepaliveTime": "20s"}, {}, {}, (240, 20, 5)),
        ({"holdTime": "240s", "keepaliveTime": "20s"}, {"connectRetryTime": "9s"}, {}, (240, 20, 9)),
        ({"holdTime": "240s"}, {"holdTime": "30s"}, {}, (30, 10, 5)),
        ({"keepaliveTime": "20s"}, {}, {"timers": {"holdTime": "9s"}}, (9, 3, 5)),
        ({}, {}, {"timers": {"keepaliveTime": "20s"}, "keepaliveTime": "7s"}, (90, 7, 5)),
        ({}, {}, {"timers": {"holdTime": "0s"}, "keepaliveTime": "7s"}, (0, 0, 5)),
        ({}, {}, {"timers": {"holdTime": "6s"}, "keepaliveTime": "20s"}, (6, 2, 5)),
    ],
)
def test_timers(cluster_wide: dict, of_node: dict, of_peer: dict, expected: tuple) -> None:
    """Peer, then node, then cluster, field by field; keepalives follow the hold time unless something says otherwise."""
    world = cluster(
        A, config(timers=cluster_wide), config("node.a", timers=of_node), peer("t", peerIP="10.0.0.254", asNumber=1, **of_peer)
    )  # fmt: skip
    session = by_name(world, "a")["Global-10-0-0-254"]
    assert (session.hold_time, session.keepalive_time, session.connect_retry_time) == expected


def test_max_prefixes() -> None:
    """Unless set: 256 in the mesh, else 1000 or four times the blocks."""
    blocks = [block(f"10.244.{i >> 2}.{(i & 3) * 64}/26", "a") for i in range(300)]
    world = cluster(A, B, *blocks, peer("t", peerIP="10.0.0.254", asNumber=1))
    made = by_name(world, "a")
    assert (made["Mesh-10-0-0-2"].max_prefix.limit, made["Global-10-0-0-254"].max_prefix.limit) == (256, 1200)


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ([peer("p", node="a", peerIP="10.0.0.2", asNumber=65000)], "node b has AS 64512 by the mesh, not 65000"),
        ([peer("p", node="a", peerIP="10.0.0.2", asNumber=65000), config(nodeToNodeMeshEnabled=False)], "node b has AS 64512, not 65000"),
        (
            [peer("p", node="a", peerIP="10.0.0.2", asNumber=64512, reversePeering="Manual"), config(nodeToNodeMeshEnabled=False)],
            "node b has no session back to a",
        ),
        (
            [peer("p", node="a", peerIP="10.0.0.2", asNumber=64512, reversePeering="Manual", password=PASSWORD)],
            "node b has another password by the mesh",
        ),
        ([peer("p", node="b", peerIP="10.0.0.1", asNumber=64512, passive=True)], "both b and a wait for the other to connect"),
        (
            [peer("p", node="a", peerIP="10.0.0.2", asNumber=64512), peer("q", node="b", peerIP="10.0.0.1", asNumber=65001)],
            "node b expects AS 65001 by BGPPeer q, and ours is 64512",
        ),
        (
            [peer("p", node="a", peerIP="10.0.0.2", asNumber=64512), peer("q", node="b", peerSelector="all()", shutdown={})],
            "node b has it shut down by BGPPeer q",
        ),
        (
            [peer("p", node="a", peerIP="10.0.0.2", asNumber=64512, ttlSecurity=1, reversePeering="Manual")],
            "only one of a and b has ttlSecurity: see the mesh",
        ),
        (
            [peer("p", node="a", peerIP="10.0.0.2:1790", asNumber=64512), peer("q", node="b", peerIP="10.0.0.1", asNumber=64512)],
            "node b listens on port 179, not 1790",
        ),
        (
            [peer("p", node="a", peerIP="10.0.0.2", asNumber=64512, localASNumber=65001, role="Customer"),
             peer("q", node="b", peerIP="10.0.0.1", asNumber=65001, role="Customer")],
            "node b is Customer by BGPPeer q, which is no counterpart of Customer",
        ),
        (
            [peer("p", node="a", peerIP="10.0.0.2", asNumber=64512, localASNumber=65001, role="Customer", strictRole=True),
             peer("q", node="b", peerIP="10.0.0.1", asNumber=65001)],
            "node b is without a role by BGPPeer q, which is no counterpart of Customer",
        ),
        (
            [peer("p", node="a", peerIP="10.0.0.2", asNumber=64512, addressFamilies=["ipv6"]), peer("q", node="b", peerIP="10.0.0.1", asNumber=64512)],
            "node b carries only ipv4 by BGPPeer q, and a only ipv6",
        ),
    ],
)  # fmt: skip
def test_mismatches_that_the_objects_show(objects: list, sentence: str) -> None:
    """What cannot work between two nodes is said on the object that asks for it."""
    world = cluster(A, B, *objects)
    assert [
        text.partition(": ")[2] for name in "ab" for text in warned(world, name) if "Mismatch BGPPeer/p" in text
    ] == [sentence]


def test_a_large_mesh_is_warned_of() -> None:
    """A hundred nodes are fine; one more works, with a recommendation."""
    nodes = [node(f"n{i}", f"10.0.{i}.1") for i in range(101)]
    assert warned(cluster(*nodes[:100]), "n0") == []
    assert warned(cluster(*nodes), "n0")[0].startswith("LargeMesh BGPConfiguration/default")
    assert len(by_name(cluster(*nodes), "n0")) == 100


def test_a_node_without_a_routing_node_has_no_sessions() -> None:
    """It is not known yet; the plan is empty and says so."""
    assert sessions(cluster(A), "new").sessions == ()
    assert warned(cluster(A), "new") == ["NoAddress RoutingNode/new: the node has no RoutingNode yet: no sessions"]


def test_a_dual_stack_cluster_with_a_router_per_rack() -> None:
    """The whole of a sample cluster, as a golden file."""
    world = cluster(
        node("node-1", "10.0.1.11/24", "fd00:1::11/64", labels={"rack": "1"}),
        node("node-2", "10.0.1.12/24", "fd00:1::12/64", labels={"rack": "1"}),
        node("node-3", "10.0.2.13/24", "fd00:2::13/64", labels={"rack": "2"}, asNumber=64513),
        config(nodeMeshPassword=OTHER, gracefulRestart={"restartTime": "90s"}),
        config("node.node-2", listenPort=1790),
        peer("tor-1-v4", nodeSelector="rack == '1'", peerIP="10.0.1.1", asNumber=65000, password=PASSWORD, maxPrefixes={"limit": 50}),
        peer("tor-1-v6", nodeSelector="rack == '1'", peerIP="fd00:1::1", asNumber=65000, timers={"holdTime": "9s"}),
        peer("tor-2-v4", nodeSelector="rack == '2'", peerIP="10.0.2.1", asNumber="1.10", localASNumber=64999),
        peer("looking-glass", peerIP="[fd00:9::9]:1179", asNumber=65009, passive=True, sourceAddress="None"),
    )  # fmt: skip
    text = "".join(
        f"{name}\n" + "".join(f"  {line}\n" for line in shown(sessions(world, name).sessions))
        for name in ("node-1", "node-2", "node-3")
    )
    golden = GOLDEN / "sessions-dual-stack.txt"
    assert text == golden.read_text()


UNNUMBERED = {"unnumbered": {"enabled": True}, "nodeToNodeMeshEnabled": False}


def test_peers_on_interfaces() -> None:
    """A session an interface, in all families of the node; whose router was found has its address, and no name changes."""
    world = cluster(
        A,
        B,
        config(**UNNUMBERED),
        peer("left", peerFrom={"interface": "eth0"}, asNumber=65000, ttlSecurity=1),
        peer("right", peerFrom={"interface": "eth1.7"}, asNumber=65001, nodeSelector="all()", passive=True),
        peer("right-too", peerFrom={"interface": "eth1.7"}, asNumber=65002, nodeSelector="all()"),
    )
    found = {"eth0": scoped(ip_address("fe80::1"), "eth0"), "eth7": scoped(ip_address("fe80::7"), "eth7")}
    made = sessions(world, "a", routers=found)
    assert [
        (one.name, str(one.peer_address), one.interface, one.found, one.local_address, one.passive, one.state)
        for one in made.sessions
    ] == [
        ("Global-eth0", "fe80::1%eth0", "eth0", True, None, False, "Active"),
        ("Node-eth1-7", "::%eth1.7", "eth1.7", False, None, True, "Active"),
    ]
    assert {one.families for one in made.sessions} == {tuple(node_views(world).by_name["a"].addresses)}
    assert [f"{one.reason} {one.object}: {one.message}" for one in made.warnings] == [
        "DuplicatePeer BGPPeer/right-too spec.peerFrom.interface: a session with the router at eth1.7 is already asked for by BGPPeer right"
    ]
    assert list(by_name(world, "a")) == [one.name for one in made.sessions]


def test_interfaces_are_peered_on_only_where_that_is_asked_for() -> None:
    """Without unnumbered.enabled nobody sends advertisements: the session is withheld, and a warning says what to set."""
    world = cluster(A, config(nodeToNodeMeshEnabled=False), peer("t", peerFrom={"interface": "eth0"}, asNumber=65000))
    (one,) = by_name(world, "a").values()
    assert (one.state, one.reason) == ("Withheld", "UnnumberedDisabled")
    assert warned(world, "a") == [
        "UnnumberedDisabled BGPPeer/t spec.peerFrom.interface: a peer on an interface needs unnumbered.enabled in the BGPConfiguration named default"
    ]


def test_one_password_for_one_address_on_two_links() -> None:
    """The kernel knows a key by address alone: two routers called fe80::1 need the same password, two others do not."""
    keys = [{"secretKeyRef": {"name": name, "key": "k"}} for name in ("one", "other")]
    world = cluster(
        A,
        config(**UNNUMBERED),
        *(
            peer(f"t{number}", peerFrom={"interface": f"eth{number}"}, asNumber=65000, password=key)
            for number, key in enumerate(keys)
        ),
    )

    def states(*addresses: str) -> list[str]:
        routers = {f"eth{n}": scoped(ip_address(one), f"eth{n}") for n, one in enumerate(addresses)}
        return [one.state for one in sessions(world, "a", routers=routers).sessions]

    assert states() == ["Active", "Active"]
    assert states("fe80::1", "fe80::2") == ["Active", "Active"]
    assert states("fe80::1", "fe80::1") == ["Active", "Withheld"]

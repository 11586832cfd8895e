"""What a node announces, and what its speaker is told of everybody."""

from ipaddress import ip_address, ip_network

import pytest

from tests.unit.plan.worlds import block, cluster, config, node, obj, peer
from towpath.bgp.advertise import announcements
from towpath.bgp.nodes import hashed_router_id, router_id
from towpath.bgp.origins import origins, settings, speaker_plan
from towpath.model.cluster import Cluster
from towpath.model.codec import packer, unpacker
from towpath.model.kinds.bgp import SecretKey
from towpath.model.net import scoped
from towpath.model.secret import Secret
from towpath.model.speaker import Listen, SpeakerState

KEY = SecretKey(name="tor", key="k")
TOR = peer("tor", peerIP="10.0.0.254", asNumber=65000, password={"secretKeyRef": {"name": "tor", "key": "k"}})


def state(world: Cluster, secrets: dict | None = None, **changed: object) -> SpeakerState:
    facts = {
        "forwarding_preserved": False,
        "provisional": False,
        "severed": (),
        "own_addresses": (),
        "gateways": (),
    } | changed
    return speaker_plan(world, "a", secrets=secrets or {}, **facts).state


def test_a_node_announces_its_blocks_in_force() -> None:
    """Active and Draining ones, by hand or not; not those in quarantine, of others, or under an older one."""
    world = cluster(
        node("a", "10.0.0.1"), config(ipv6NormalRoutePriority=100),
        block("10.244.0.0/26", "a"), block("10.244.0.64/26", "a", state="Draining"), block("fd00:1::/122", "a"),
        block("10.244.0.128/26", "a", state="Quarantined"), block("10.244.1.0/26", "b"),
        block("10.244.2.0/24", "b", "2026-01-01T00:00:00Z"), block("10.244.2.0/26", "a", "2026-01-02T00:00:00Z"),
    )  # fmt: skip
    made = announcements(world, "a")
    assert {str(prefix): one.local_preference for prefix, one in made.items()} == {
        "10.244.0.0/26": 2147483647 - 1024,
        "10.244.0.64/26": 2147483647 - 1024,
        "fd00:1::/122": 2147483647 - 100,
    }
    assert str(made[ip_network("10.244.0.0/26")].why[0]) == "IPAMBlock/10-244-0-0-26 spec.node"


def test_who_passes_blocks_on_within_the_as_knows_which_leave_by_a_tunnel() -> None:
    """A reflector, and a node among nodes of other AS; nobody else has to be told."""
    pools = obj("IPPool", "v4", cidr="10.244.0.0/16", vxlanMode="CrossSubnet")
    blocks = (block("10.244.0.0/26", "b"), block("10.244.1.0/26", "c"))
    others = (node("b", "10.0.0.2/24"), node("c", "10.0.1.3/24"), peer("rr", peerSelector="has(rr)"))
    for own, knows in (
        ({}, False),
        ({"routeReflectorClusterID": "244.0.0.1", "labels": {"rr": ""}}, True),
        ({"asNumber": 65001}, True),
    ):
        made = state(cluster(node("a", "10.0.0.1/24", **own), *others, pools, *blocks))
        assert made.tunnels == ({ip_network("10.244.1.0/26"): "tp-vx4-4096"} if knows else {})


def test_a_node_announces_its_addresses_where_nodes_do() -> None:
    """advertiseNodeAddresses: a /32 and a /128 of each node, at normal priority; else none."""
    nodes = (node("a", "10.255.0.1/32", "fd00::1/64"), node("b", "10.255.0.2/32"))
    made = state(cluster(*nodes, config(advertiseNodeAddresses=True, ipv6NormalRoutePriority=100)))
    assert made.settings.node_addresses
    assert {str(prefix): (one.source, one.local_preference) for prefix, one in made.announcements.items()} == {
        "10.255.0.1/32": ("Node", 2147483647 - 1024),
        "fd00::1/128": ("Node", 2147483647 - 100),
    }
    assert [str(why) for why in made.announcements[ip_network("fd00::1/128")].why] == [
        "BGPConfiguration/default spec.advertiseNodeAddresses",
        "RoutingNode/a spec.bgp",
    ]
    assert state(cluster(*nodes)).announcements == {}


def test_the_routers_of_an_as_are_the_peers_that_objects_name() -> None:
    """Those of other nodes too, each once; no nodes, whatever an object says, and nobody of another AS."""
    world = cluster(
        node("a", "10.0.0.1"), node("b", "10.0.0.2"), node("c", "10.0.0.3", asNumber=65001),
        peer("one", peerIP="10.0.0.201", asNumber=64512), peer("two", peerIP="[fd00::c8]:1790", asNumber=64512, node="b"),
        peer("again", peerIP="10.0.0.201", asNumber=64512, node="b"), peer("node", peerIP="10.0.0.2", asNumber=64512),
        peer("other", peerIP="10.0.0.202", asNumber=65001, node="c"), peer("tor", peerIP="10.0.0.254", asNumber=65000),
    )  # fmt: skip
    routers = {name: [str(one) for one in settings(world, name).internal_routers] for name in ("a", "b", "c")}
    assert routers == {"a": ["10.0.0.201", "fd00::c8"], "b": ["10.0.0.201", "fd00::c8"], "c": ["10.0.0.202"]}


def test_origins_are_blocks_in_force_and_nodes() -> None:
    """A block in quarantine has no owner; a node is known by its addresses and AS."""
    world = cluster(
        node("a", "10.0.0.1/24", "fd00::1/64"), node("b", "10.0.0.2", asNumber=65001), config(asNumber=64600),
        block("10.244.0.0/26", "a"), block("10.244.0.64/26", "b", state="Draining"), block("10.244.0.128/26", "b", state="Quarantined"),
    )  # fmt: skip
    blocks, known = origins(world)
    assert {str(prefix): owner for prefix, owner in blocks.items()} == {"10.244.0.0/26": "a", "10.244.0.64/26": "b"}
    assert known["a"].addresses == (ip_address("10.0.0.1"), ip_address("fd00::1"))
    assert (known["a"].as_number, known["b"].as_number) == (64600, 65001)


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([node("a", "10.0.0.1/24")], "10.0.0.1"),
        ([node("a", "10.0.0.1/24", routerID="1.2.3.4"), config("node.a", routerID="5.6.7.8")], "1.2.3.4"),
        ([node("a", "10.0.0.1/24"), config("node.a", routerID="5.6.7.8"), config(routerID="hash")], "5.6.7.8"),
        ([node("a", "10.0.0.1/24"), config(routerID="hash")], str(hashed_router_id("a"))),
        ([node("a", "fd00::1")], str(hashed_router_id("a"))),
        ([], str(hashed_router_id("a"))),
    ],
)
def test_router_ids(objects: list, expected: str) -> None:
    """As written, else the IPv4 address; by hash where asked for or where there is no IPv4."""
    assert str(router_id(cluster(*objects), "a")) == expected


def test_a_hashed_router_id_is_a_unicast_address() -> None:
    """SHA-256 of "node-1" begins with f5 = 245, which becomes 213; of others the bytes stand as they are."""
    found = [hashed_router_id(f"node-{index}") for index in range(200)]
    assert len(set(found)) == 200
    assert all(address.packed[0] <= 223 for address in found)


def test_settings() -> None:
    """AS, ports, addresses and pools, with what node.NAME overrides."""
    world = cluster(
        node("a", "10.0.0.1/24", "fd00::1"), config(bindMode="NodeIP", multipath={"maximumPaths": 4}),
        config("node.a", listenPort=1790, asNumber=65005), obj("IPPool", "p", cidr="10.244.0.0/16"),
    )  # fmt: skip
    found = settings(world, "a", own_addresses=(ip_address("192.0.2.1"),))
    assert (found.local_as, found.maximum_paths, found.normal_priority) == (65005, 4, (1024, 1024))
    assert found.listen == (Listen(ip_address("10.0.0.1"), 1790), Listen(ip_address("fd00::1"), 1790))
    assert [str(one) for one in found.own_addresses] == ["10.0.0.1", "192.0.2.1", "fd00::1"]
    assert found.pools == (ip_network("10.244.0.0/16"),)
    assert settings(cluster(node("a", "10.0.0.1")), "a").listen == (Listen(None, 179),)


def test_a_session_without_its_secret_is_withheld() -> None:
    """The rest runs; with the secret it is active and has its password."""
    world = cluster(node("a", "10.0.0.1"), node("b", "10.0.0.2"), TOR)
    made = state(world)
    assert (made.sessions["Global-10-0-0-254"].state, made.sessions["Global-10-0-0-254"].reason) == (
        "Withheld",
        "SecretMissing",
    )
    assert made.sessions["Mesh-10-0-0-2"].state == "Active"
    assert made.passwords == {}
    made = state(world, {KEY: Secret(b"x")})
    assert made.sessions["Global-10-0-0-254"].state == "Active"
    assert made.passwords == {"Global-10-0-0-254": Secret(b"x")}


def test_the_state_carries_what_the_machine_says() -> None:
    """Preserved forwarding, a provisional time and links without carrier come from the agent."""
    made = state(cluster(node("a", "10.0.0.1")), forwarding_preserved=True, provisional=True, severed=("z", "b"))
    assert (made.settings.forwarding_preserved, made.settings.provisional, made.settings.severed) == (
        True,
        True,
        ("b", "z"),
    )


def test_the_state_survives_the_wire() -> None:
    """What the agent sends is what the speaker reads."""
    made = state(
        cluster(node("a", "10.0.0.1", "fd00::1"), node("b", "fd00::2"), block("fd00:1::/122", "a"), TOR),
        {KEY: Secret(b"x")},
    )
    assert unpacker(SpeakerState).decode(packer().encode(made)) == made


def test_the_log_level_is_the_nodes_else_the_clusters() -> None:
    """``node.NAME`` overrides it only where it sets it; agent and speaker follow the same word."""

    def level(*objects: dict) -> str:
        return settings(cluster(node("a", "10.0.0.1"), *objects), "a").log_severity

    loud, own = config(logSeverityScreen="Debug"), config("node.a", logSeverityScreen="Error")
    assert level() == "Info"
    assert level(loud) == "Debug"
    assert level(loud, config("node.a", asNumber=65001), config("node.b", logSeverityScreen="Fatal")) == "Debug"
    assert level(loud, own) == "Error"


def test_where_a_node_with_peers_on_interfaces_listens() -> None:
    """With bindMode NodeIP also on its link-local address of each such interface, and of no other."""
    own = tuple(scoped(ip_address("fe80::a"), device) for device in ("eth0", "eth1", "docker0"))
    peers = [peer(f"t-{name}", peerFrom={"interface": name}, asNumber=65000) for name in ("eth0", "eth1")]
    for mode, expected in (
        ("NodeIP", ["10.0.0.1", "fe80::a%eth0", "fe80::a%eth1"]),
        ("None", ["None"]),
    ):
        world = cluster(node("a", "10.0.0.1/24"), config(bindMode=mode, unnumbered={"enabled": True}), *peers)
        made = state(world, own_addresses=own)
        assert [str(one.address) for one in made.settings.listen] == expected
        assert unpacker(SpeakerState).decode(packer().encode(made)) == made

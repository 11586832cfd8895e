"""Route reflectors (RFC 4456): who is told what, with which attributes, and when one that has restarted says that it is done."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from msgspec.structs import replace

from tests.unit.bgp_table.test_outbound import Listener, told
from tests.unit.bgp_table.world import (
    END,
    RESTART,
    TOR_AS,
    World,
    announce,
    as_path,
    attribute,
    block,
    body,
    session,
    settings,
    wires,
    withdraw,
)
from towpath.bgp.carried import Carried, read
from towpath.bgp.ports import LossKind
from towpath.model.net import Family, Prefix
from towpath.model.speaker import NodeOrigin, Session, SpeakerState

CLUSTER = IPv4Address("244.0.0.1")
OTHER_CLUSTER = IPv4Address("244.0.0.2")
BLOCKS: dict[str, Prefix] = {name: ip_network(f"10.244.{number}.0/26") for number, name in enumerate("abcdef", 1)}
ADDRESSES = {name: ip_address(f"10.0.0.{number}") for number, name in enumerate("abcdef", 1)}


def internal(name: str, *, client: bool, **changes: object) -> Session:
    """A session of the reflector, node a."""
    return session(
        name, str(ADDRESSES[name]), peer_node=name, cluster_id=CLUSTER, route_reflector_client=client, **changes
    )


def reflector(*extra: Session, **settings: object) -> SpeakerState:
    """Node a reflects for b and c; d and e are internal peers that are no clients; tor is outside."""
    made = World().state
    sessions = [
        internal("b", client=True),
        internal("c", client=True),
        internal("d", client=False),
        internal("e", client=False),
        session("tor", "10.0.0.254", scope="Global", remote_as=TOR_AS, import_policy="All", advertise="Cluster"),
        *extra,
    ]
    return replace(
        made,
        sessions={one.name: one for one in sessions},
        blocks={prefix: name for name, prefix in BLOCKS.items()},
        nodes={name: NodeOrigin((address,), 64512) for name, address in ADDRESSES.items()},
        settings=replace(made.settings, **settings),
    )


def running(state: SpeakerState | None = None) -> World:
    """All sessions are up, and all peers have said that they are done."""
    world = World(state or reflector())
    for name in world.state.sessions:
        world.up(name)
        world.hear(name, *END.values())
        told(world, name)
    return world


def heard(world: World, name: str) -> dict[Prefix, Carried]:
    """What a peer has learned since it was last asked, our own blocks apart."""
    world.drained()
    listener: Listener = told(world, name)
    return {
        prefix: read(made, four_octet_as=True, external=False)
        for prefix, (made, _) in listener.routes.items()
        if prefix not in world.state.announcements
    }


def own_block(name: str, **attributes: object) -> bytes:
    """A node announces its block."""
    return announce(BLOCKS[name], hop=str(ADDRESSES[name]), **{"path": [], "preference": 500} | attributes)


@pytest.mark.parametrize(
    ("teller", "hearers"),
    [
        pytest.param("b", {"c", "d", "e", "tor"}, id="a client's route goes to everybody"),
        pytest.param("d", {"b", "c", "tor"}, id="one of another internal peer to the clients"),
    ],
)
def test_who_is_told_what_an_internal_peer_says(teller: str, hearers: set[str]) -> None:
    """RFC 4456 §6, and never to whom it came from; to other AS as everywhere."""
    world = running()
    world.hear(teller, own_block(teller))
    assert {name for name in world.state.sessions if BLOCKS[teller] in heard(world, name)} == hearers


def test_what_leaves_by_a_tunnel_is_told_to_no_internal_peer() -> None:
    """Not reflected, for they have their own way; told outside as ever. What changes with the tunnel is said at once."""
    made = reflector()
    world = running(replace(made, tunnels={BLOCKS["b"]: "tp-vx4-4096"}))
    for name in ("b", "c"):
        world.hear(name, own_block(name))
    listeners = {name: Listener() for name in made.sessions}

    def know(block: Prefix) -> set[str]:
        world.drained()
        for name, one in listeners.items():
            while stream := world.table.pull(name, 100_000):
                one.hear(stream)
        return {name for name, one in listeners.items() if block in one.routes}

    assert know(BLOCKS["b"]) == {"tor"}
    assert know(BLOCKS["c"]) == {"b", "d", "e", "tor"}
    world.apply(made)
    assert know(BLOCKS["b"]) == {"c", "d", "e", "tor"}
    world.apply(replace(made, tunnels={BLOCKS["c"]: "tp-vx6-7"}))
    assert know(BLOCKS["c"]) == {"tor"}


def test_a_path_from_outside_is_told_to_internal_peers_as_by_any_speaker() -> None:
    """It is reflected to nobody: it has neither originator nor cluster list."""
    world = running()
    world.apply(replace(world.state, nodes=world.state.nodes | {"f": NodeOrigin((), TOR_AS)}))
    world.hear("tor", announce(BLOCKS["f"], hop="10.0.0.254"))
    for name in ("b", "d"):
        carried = heard(world, name)[BLOCKS["f"]]
        assert (carried.originator, carried.clusters) == (None, b"")


def test_who_is_no_reflector_tells_internal_peers_nothing_of_each_other() -> None:
    """RFC 4271 §9.2."""
    world = World()
    world.up("b")
    world.up("c")
    told(world, "c")
    world.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=[]))
    assert heard(world, "c") == {}


def test_reflecting_adds_originator_and_cluster_and_touches_nothing_else() -> None:
    """RFC 4456 §8 and §10: next hop, preference, MED, communities and unknown attributes stay as they are."""
    world = running()
    more = (
        attribute(0x80, 4, bytes((0, 0, 0, 7)))
        + attribute(0xC0, 8, b"\xfd\xe8\0\1")
        + attribute(0xE0, 99, b"unknown")
        + attribute(0xC0, 32, bytes(range(12)))
    )
    world.hear("b", own_block("b", more=more))
    world.drained()
    raw, _ = told(world, "c").routes[BLOCKS["b"]]
    carried = read(raw, four_octet_as=True, external=False)
    assert carried == Carried(
        med=7,
        local_preference=500,
        communities=(b"\xfd\xe8\0\1",),
        large=(bytes(range(12)),),
        originator=ADDRESSES["b"].packed,
        clusters=CLUSTER.packed,
        others=((0xE0, 99, b"unknown"),),
    )
    assert attribute(0x40, 3, ADDRESSES["b"].packed) in raw


@pytest.mark.parametrize(
    ("old", "more", "kept"),
    [
        (False, attribute(0x40, 6, b"") + attribute(0xC0, 7, bytes((0, 0, 0, 9, 1, 2, 3, 4))), True),
        (False, attribute(0x40, 6, b"x") + attribute(0xC0, 7, bytes((0, 9, 1, 2, 3, 4))), False),
        (False, attribute(0xC0, 6, b"") + attribute(0x80, 7, bytes((0, 0, 0, 9, 1, 2, 3, 4))), False),
        (False, attribute(0xC0, 7, bytes(8)), False),
        (True, attribute(0x40, 6, b"") + attribute(0xC0, 7, bytes((0, 9, 1, 2, 3, 4))), True),
        (True, attribute(0xC0, 7, bytes((0, 0, 0, 9, 1, 2, 3, 4))), False),
    ],
)
def test_what_is_malformed_and_says_nothing_of_the_way_is_left_out(old: bool, more: bytes, kept: bool) -> None:
    """ATOMIC_AGGREGATE and AGGREGATOR: the route is used and passed on without them (RFC 7606 §7.6, §7.7; RFC 7607 §2)."""
    carried = read(
        block(path=[], more=more) if not old else as_path([], width=2) + more, four_octet_as=not old, external=False
    )
    assert carried.atomic is kept
    assert carried.aggregator == ((9, bytes((1, 2, 3, 4))) if kept else None)


def test_a_second_reflector_keeps_the_originator_and_goes_before_the_first() -> None:
    """The cluster list grows at its head; the originator is named once."""
    world = running()
    more = attribute(0x80, 9, ADDRESSES["f"].packed) + attribute(0x80, 10, OTHER_CLUSTER.packed)
    world.hear("d", announce(BLOCKS["f"], hop=str(ADDRESSES["f"]), path=[], preference=500, more=more))
    carried = heard(world, "b")[BLOCKS["f"]]
    assert (carried.originator, carried.clusters) == (ADDRESSES["f"].packed, CLUSTER.packed + OTHER_CLUSTER.packed)


def test_what_went_through_this_cluster_or_came_from_this_node_is_refused() -> None:
    """RFC 4456 §8; the cluster id of another is none of ours, even where it is our router id."""
    world = running()

    def by_d(number: int, value: bytes) -> bytes:
        return announce(BLOCKS["f"], hop=str(ADDRESSES["f"]), path=[], more=attribute(0x80, number, value))

    world.hear("d", by_d(10, OTHER_CLUSTER.packed + CLUSTER.packed))
    assert world.refused("d") == {"ClusterLoop": 1}
    world.hear("d", by_d(9, ADDRESSES["a"].packed))
    assert world.refused("d") == {"OriginatorLoop": 1}
    world.hear("d", by_d(10, ADDRESSES["a"].packed))
    assert world.refused("d") == {}


def test_a_client_is_not_told_by_way_of_another_reflector_what_is_its_own() -> None:
    """The session with the client has nothing of it, another reflector has: the client hears nothing."""
    world = running()
    more = attribute(0x80, 9, ADDRESSES["b"].packed) + attribute(0x80, 10, OTHER_CLUSTER.packed)
    world.hear("d", own_block("b", more=more))
    assert BLOCKS["b"] in heard(world, "c")
    assert heard(world, "b") == {}


def test_the_shorter_way_through_reflectors_wins_and_its_end_gives_way_to_the_longer() -> None:
    """RFC 4456 §9, with the originator as the identifier; others hear of each change."""
    world = running()
    more = attribute(0x80, 9, ADDRESSES["b"].packed) + attribute(0x80, 10, OTHER_CLUSTER.packed)
    world.hear("d", own_block("b", more=more))
    assert heard(world, "c")[BLOCKS["b"]].clusters == CLUSTER.packed + OTHER_CLUSTER.packed
    world.hear("b", own_block("b"))
    assert heard(world, "c")[BLOCKS["b"]].clusters == CLUSTER.packed
    world.lost("b", LossKind.HARD_RESET, 6)
    assert heard(world, "c")[BLOCKS["b"]].clusters == CLUSTER.packed + OTHER_CLUSTER.packed


def test_a_reflector_reflects_only_what_it_would_use_itself() -> None:
    """A block that is somebody else's is refused, by origin validation alone, and nobody hears of it."""
    world = running()
    world.hear("b", announce(BLOCKS["c"], hop=str(ADDRESSES["b"]), path=[]))
    assert world.refused("b") == {"OriginInvalid": 1}
    assert all(BLOCKS["c"] not in heard(world, name) for name in world.state.sessions)


def test_the_next_hop_says_whose_a_block_is_whoever_sent_the_path() -> None:
    """A reflector outside our cluster is no node: its paths are valid where the next hop is the block's owner."""
    outside = session("rr", "10.0.0.200", scope="Global")
    world = World(replace(World().state, sessions={"rr": outside}))
    world.up("rr")
    more = attribute(0x80, 9, b"\x0a\0\0\2") + attribute(0x80, 10, b"\x0a\0\0\xc8")
    world.hear("rr", announce("10.244.2.0/26", hop="10.0.0.2", path=[], more=more))
    world.hear("rr", announce("10.244.3.0/26", hop="10.0.0.2", path=[], more=more))
    world.hear("rr", announce("10.244.3.64/26", hop="10.0.0.200", path=[], more=more))
    assert world.hops() == {"10.244.2.0/26": ["10.0.0.2"]}
    assert world.refused("rr") == {"OriginInvalid": 1, "OriginUnknown": 1}


RR, RR6, THIRD, THIRD6 = "10.0.0.200", "fd10::c8", "10.0.0.201", "fd10::c9"
RACK_AS = 65102


@pytest.mark.parametrize(
    ("prefix", "hop", "path", "reason"),
    [
        pytest.param("10.244.2.0/26", RR, [], None, id="in our AS, by the reflector itself"),
        pytest.param("10.244.2.8/32", RR, [], None, id="a part of a block"),
        pytest.param("10.244.2.0/26", THIRD, [], "OriginInvalid", id="in our AS, by a third party"),
        pytest.param("10.244.77.0/26", RR, [], "OriginUnknown", id="nobody's block"),
        pytest.param("10.244.2.0/23", RR, [], "OriginInvalid", id="over a block of another AS too"),
        pytest.param("10.244.3.0/26", RR, [], "OriginInvalid", id="another AS, path empty"),
        pytest.param("10.244.3.0/26", RR, [65009, RACK_AS], None, id="from another rack"),
        pytest.param("10.244.3.0/26", THIRD, [65009, RACK_AS], None, id="from another rack by a third party"),
        pytest.param("10.244.3.0/26", THIRD, [65009, 65010], "OriginInvalid", id="another origin"),
        pytest.param("10.244.2.0/26", RR, [65009], "OriginInvalid", id="our AS's block from outside"),
        pytest.param("10.244.3.0/26", "10.0.0.2", [65009, RACK_AS], "OriginInvalid", id="by a node, which counts then"),
        pytest.param("10.244.1.0/26", RR, [], "OwnBlock", id="our own"),
        pytest.param("fd20::2:0/122", RR6, [], "OriginInvalid", id="IPv6 over an IPv4 session, path empty"),
        pytest.param("fd20::3:0/122", THIRD6, [65009, RACK_AS], None, id="IPv6 from another rack"),
    ],
)
def test_where_the_next_hop_is_no_node_the_as_says_whose_a_block_is(
    prefix: str, hop: str, path: list[int], reason: str | None
) -> None:
    """Of a reflector outside: the AS that originated the path, ours where it is empty and the reflector forwards itself."""
    made = World().state
    nodes = made.nodes | {"c": replace(made.nodes["c"], as_number=RACK_AS)}
    world = World(replace(made, sessions={"rr": session("rr", RR, scope="Global")}, nodes=nodes))
    world.up("rr")
    more = attribute(0x80, 9, b"\x0a\0\0\2") + attribute(0x80, 10, b"\x0a\0\0\xc8")
    world.hear("rr", announce(prefix, hop=hop, path=path, more=more))
    assert world.hops() == ({} if reason else {prefix: [hop]})
    assert world.refused("rr") == ({reason: 1} if reason else {})


def test_what_a_node_passes_on_from_another_as_is_that_as_s() -> None:
    """An edge node tells what a router told it, the next hop unchanged. By itself it is no way to others' blocks."""
    made = World().state
    nodes = made.nodes | {"c": replace(made.nodes["c"], as_number=RACK_AS)}
    world = World(replace(made, nodes=nodes))
    world.up("b")
    world.hear("b", announce("10.244.3.0/26", hop=THIRD, path=[TOR_AS, RACK_AS]))
    assert world.hops() == {"10.244.3.0/26": [THIRD]}
    world.hear("b", announce("10.244.3.0/26", hop=THIRD, path=[TOR_AS]))
    assert world.hops() == {}
    world.hear("b", announce("10.244.3.0/26", hop="10.0.0.2", path=[TOR_AS, RACK_AS]))
    assert world.hops() == {}
    assert world.refused("b") == {"OriginInvalid": 1}


def test_a_router_that_objects_name_speaks_for_our_as_whoever_passes_its_path_on() -> None:
    """A reflector of ours takes blocks from a router that is the next hop itself; its clients, which have no session with it, as well."""
    outside = session("rr", RR, scope="Global", cluster_id=CLUSTER, route_reflector_client=True)
    world = running(reflector(outside, internal_routers=(ip_address(RR),)))
    more = attribute(0x80, 9, b"\x0a\0\0\6") + attribute(0x80, 10, b"\x0a\0\0\xc8")
    world.hear("rr", announce(BLOCKS["f"], hop=RR, path=[], more=more))
    assert {name for name in world.state.sessions if BLOCKS["f"] in heard(world, name)} == {"b", "c", "d", "e", "tor"}

    made = settings(World().state, internal_routers=(ip_address(RR),))
    client = World(made)
    client.up("b")
    client.hear("b", announce("10.244.3.0/26", hop=RR, path=[], more=more))
    client.hear("b", announce("10.244.3.0/27", hop=THIRD, path=[], more=more))
    assert client.hops() == {"10.244.3.0/26": [RR]}
    client.apply(settings(made, internal_routers=(ip_address(THIRD),)))
    assert client.hops() == {"10.244.3.0/27": [THIRD]}
    client.apply(settings(made, internal_routers=()))
    assert client.hops() == {}
    assert client.refused("b") == {"OriginInvalid": 2}


def test_a_node_does_not_speak_for_the_as_of_all() -> None:
    """A path of our own AS by a next hop that is no node needs a filter; a peer that becomes a node is judged again as one."""
    made = World().state
    made = replace(made, sessions={"x": session("x", RR, scope="Node")})
    world = World(made)
    world.up("x")
    world.hear("x", announce("10.244.2.0/26", hop=RR, path=[]))
    assert world.hops() == {"10.244.2.0/26": [RR]}
    nodes = made.nodes | {"x": replace(made.nodes["b"], addresses=(ip_address(RR),))}
    world.apply(replace(made, nodes=nodes, sessions={"x": replace(made.sessions["x"], peer_node="x")}))
    assert world.hops() == {}
    assert world.refused("x") == {"OriginInvalid": 1}
    world.hear("x", announce("10.244.2.0/26", hop=THIRD, path=[]))
    assert world.hops() == {}


def test_a_block_of_which_nothing_is_known_is_not_taken_on_the_word_of_a_reflector() -> None:
    """The API server is away: of a node that we know it is, provisionally; by the AS alone nobody is known."""
    world = World(
        settings(replace(World().state, sessions={"rr": session("rr", RR, scope="Global")}), provisional=True)
    )
    world.up("rr")
    world.hear("rr", announce("10.244.77.0/26", hop=RR, path=[]), announce("10.244.78.0/26", hop="10.0.0.2", path=[]))
    assert world.hops() == {"10.244.78.0/26": ["10.0.0.2"]}


def test_a_node_becomes_a_reflector_and_ceases_to_be_one_while_it_runs() -> None:
    """Sessions that stay hear what they may hear now, and withdrawals of the rest; nobody's session is touched."""
    plain = reflector()
    plain = replace(
        plain,
        sessions={
            name: replace(one, cluster_id=None, route_reflector_client=False) for name, one in plain.sessions.items()
        },
    )
    world = running(plain)
    world.hear("b", own_block("b"))
    assert heard(world, "c") == {}
    world.apply(reflector())
    assert heard(world, "c").keys() == {BLOCKS["b"]}
    world.apply(plain)
    listener = Listener()
    listener.routes[BLOCKS["b"]] = b"", b""
    while stream := world.table.pull("c", 10_000):
        listener.hear(stream)
    assert listener.routes == {}


def test_another_role_of_a_peer_is_told_to_the_others() -> None:
    """Once d is a client, e hears of it; once it is none any more, no longer. What d itself hears changes as well."""
    world = running()
    world.hear("d", own_block("d"))
    world.hear("e", own_block("e"))
    assert heard(world, "e") == heard(world, "d") == {}
    listener = Listener()
    world.apply(reflector(internal("d", client=True)))
    world.drained()
    listener.hear(world.table.pull("e", 10_000))
    assert listener.routes.keys() == {BLOCKS["d"]}
    assert heard(world, "d").keys() == {BLOCKS["e"]}
    world.apply(reflector())
    world.drained()
    listener.hear(world.table.pull("e", 10_000))
    assert listener.routes == {}


def test_nothing_outside_the_pools_is_reflected_unasked() -> None:
    """What no pool covers is not even accepted; where a peer is trusted with it, it stays here."""
    world = running(reflector(internal("b", client=True, import_policy="All")))
    world.hear("b", body(attributes=block(hop=str(ADDRESSES["b"]), path=[]), announced=wires("203.0.113.0/24")))
    assert world.hops() == {"203.0.113.0/24": ["10.0.0.2"]}
    assert all(heard(world, name) == {} for name in world.state.sessions)


def test_service_ranges_of_nodes_are_passed_on_and_used_by_nobody() -> None:
    """To internal peers alone; not from a next hop that is no node; gone when they are withdrawn, or are no service range any more."""
    service, other = ip_network("10.96.0.0/24"), ip_network("10.96.1.0/24")
    world = running(reflector(services=(ip_network("10.96.0.0/16"),)))
    world.hear("b", announce(service, hop=str(ADDRESSES["b"]), path=[]))
    world.hear("b", announce(other, hop="10.0.0.99", path=[]))
    world.hear("tor", announce(other, hop="10.0.0.254"))
    assert world.hops() == {}
    assert world.refused("b") == {"ServiceRange": 2}
    listener = Listener()
    listener.hear(world.table.pull("c", 10_000))
    assert listener.routes.keys() == {service}
    assert heard(world, "d")[service].originator == ADDRESSES["b"].packed
    assert heard(world, "tor") == {}
    world.hear("b", withdraw(service))
    world.drained()
    listener.hear(world.table.pull("c", 10_000))
    assert listener.routes == {}
    world.hear("b", announce(service, hop=str(ADDRESSES["b"]), path=[]))
    world.drained()
    listener.hear(world.table.pull("c", 10_000))
    assert listener.routes.keys() == {service}
    world.up("e")
    assert service in heard(world, "e")
    world.lost("b", LossKind.HARD_RESET, 6)
    world.drained()
    listener.hear(world.table.pull("c", 10_000))
    assert listener.routes == {}


def test_who_is_no_reflector_passes_no_service_range_on() -> None:
    """Not even to a peer that is told everything else."""
    plain = World()
    tor = replace(plain.state.sessions["tor"], advertise="All")
    world = World(
        replace(
            plain.state,
            sessions={**plain.state.sessions, "tor": tor},
            settings=replace(plain.state.settings, services=(ip_network("10.96.0.0/16"),)),
        )
    )
    world.up("b")
    world.up("tor")
    told(world, "tor")
    world.hear("b", announce("10.96.0.0/24", hop="10.0.0.2", path=[]))
    assert heard(world, "tor") == {}


class Deferred:
    """A reflector that has just started; what peers hear before and after."""

    def __init__(self, *, preserved: bool = True, **changes: object) -> None:
        made = reflector(forwarding_preserved=preserved)
        self.world = World(replace(made, sessions={name: made.sessions[name] for name in ("b", "c", "d")}, **changes))

    def routes(self, name: str) -> tuple[set[Prefix], list[Family]]:
        """Newly heard blocks of others, and families that ended."""
        self.world.drained()
        listener = told(self.world, name)
        return {prefix for prefix in listener.routes if prefix not in self.world.state.announcements}, listener.complete


def test_a_reflector_that_restarted_waits_for_all_its_peers() -> None:
    """What it learned is told, and End-of-RIB said, only once every peer's table is whole; its own blocks at once."""
    deferred = Deferred()
    world = deferred.world
    world.up("b")
    assert list(told(world, "b").routes) == [ip_network("10.244.1.0/26")]
    world.hear("b", own_block("b"), *END.values())
    world.up("c")
    world.hear("c", own_block("c"), *END.values())
    assert deferred.routes("c") == (set(), [])
    assert deferred.routes("b") == (set(), [])
    world.up("d")
    assert deferred.routes("b") == (set(), [])
    world.kicked.clear()
    world.hear("d", *END.values())
    assert {"b", "c", "d"} <= set(world.kicked)
    assert deferred.routes("b") == ({BLOCKS["c"]}, [Family.IPV4, Family.IPV6])
    assert deferred.routes("d") == ({BLOCKS["b"], BLOCKS["c"]}, [Family.IPV4, Family.IPV6])


def test_who_restarts_at_the_same_time_or_cannot_restart_gracefully_is_not_waited_for() -> None:
    """RFC 4724 §4.1: two reflectors that restart together do not wait for each other."""
    deferred = Deferred()
    world = deferred.world
    world.up("b")
    world.hear("b", own_block("b"), *END.values())
    world.up("c", restart=replace(RESTART, restarting=True))
    assert deferred.routes("c") == (set(), [])
    world.up("d", restart=None)
    assert deferred.routes("c") == ({BLOCKS["b"]}, [Family.IPV4, Family.IPV6])


@pytest.mark.parametrize(("preserved", "patience"), [(True, 90.0), (False, 10.0)])
def test_a_peer_that_does_not_come_is_waited_for_less_than_the_restart_time(preserved: bool, patience: float) -> None:
    """Three quarters of it; a few seconds where the machine has booted and peers keep nothing of us."""
    deferred = Deferred(preserved=preserved)
    world = deferred.world
    for name in ("b", "c"):
        world.up(name)
        world.hear(name, own_block(name), *END.values())
    world.wait(patience - 0.1)
    assert deferred.routes("b") == (set(), [])
    world.wait(0.1)
    assert deferred.routes("b") == ({BLOCKS["c"]}, [Family.IPV4, Family.IPV6])
    world.up("d")
    assert deferred.routes("d") == ({BLOCKS["b"], BLOCKS["c"]}, [Family.IPV4, Family.IPV6])


def test_sessions_that_are_gone_or_cannot_come_up_are_not_waited_for() -> None:
    """The last peer that was awaited is taken away: the others hear everything."""
    deferred = Deferred()
    world = deferred.world
    for name in ("b", "c"):
        world.up(name)
        world.hear(name, own_block(name), *END.values())
    assert deferred.routes("b") == (set(), [])
    world.apply(replace(world.state, sessions={name: world.state.sessions[name] for name in ("b", "c")}))
    assert deferred.routes("b") == ({BLOCKS["c"]}, [Family.IPV4, Family.IPV6])


def test_who_is_no_reflector_defers_nothing() -> None:
    """End-of-RIB follows the own announcements at once, whoever is missing."""
    world = World()
    world.up("b")
    assert told(world, "b").complete == [Family.IPV4, Family.IPV6]


def test_members_of_an_update_group_share_policy_and_bytes() -> None:
    """What is worked out for the first client is not worked out again for the others."""
    world = running()
    world.hear("d", own_block("d"))
    world.drained()
    first, second = (world.table.pull(name, 10_000) for name in ("b", "c"))
    assert first == second != b""

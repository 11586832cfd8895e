"""What sessions are told: each step of export policy by a table, and learned routes that are announced again."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.bgp_table.test_outbound import Listener, told
from tests.unit.bgp_table.world import LOCAL_AS, TOR_AS, World, announce, as_path, attribute, session, state, withdraw
from tests.unit.policy.test_filter import spec
from towpath.bgp.carried import Carried, prepend, read, write
from towpath.bgp.egress import Announcing
from towpath.bgp.export import Candidate
from towpath.model.community import Community
from towpath.model.net import Family, to_wire
from towpath.model.speaker import Announcement, Session, SpeakerState, Tagged

BASE = 2147483647
ACCEPT, REJECT = {"action": "Accept"}, {"action": "Reject"}
OUTSIDE, POOLED = "203.0.113.0/24", "10.244.2.0/26"
REMOTE = {**ACCEPT, "source": "RemotePeers"}


def tor(name: str = "tor", address: str = "10.0.0.254", **changes: Any) -> Session:
    changes = {"remote_as": TOR_AS, "import_policy": "All", "scope": "Global"} | changes
    return session(name, address, **changes)


def decided(candidate: Candidate, prefix: str, to: Session, state_: SpeakerState) -> tuple[str, str]:
    announcing = Announcing(lambda _family, _wire, _limit: ())
    announcing.adopt(None, state_)
    network = ip_network(prefix)
    found = announcing.export(to, Family(network.version)).judge(candidate, to_wire(network))
    return found.reason.value, found.rule


def learned(**changes: Any) -> Candidate:
    carried = changes.pop("carried", Carried(path=((2, (1,)),)))
    return Candidate(**{"source": "BGP", "carried": carried, "session": "c", "ebgp": True, "next_hop": ip_address("10.0.0.3").packed} | changes)  # fmt: skip


def ours(source: str = "Block", preference: int = BASE - 1024, **changes: Any) -> Candidate:
    return Candidate(source=source, carried=Carried(local_preference=preference), **changes)  # type: ignore[arg-type]


def exporting(*rules: dict[str, Any], **settings: Any) -> SpeakerState:
    made = state(filters={"f": spec(list(rules), field="exportV4")})
    return replace(made, settings=replace(made.settings, **settings))


RULE = "BGPFilter/f spec.exportV4[0]"
IBGP = session("x", "10.0.0.9", advertise="All")
CASES = [
    # 0: candidates
    (ours(), "10.244.1.0/26", tor(), (), "OwnBlock"),
    (learned(), POOLED, tor(), (), "NoCandidate"),
    (learned(), POOLED, tor(advertise="Cluster"), (), "InPool"),
    (learned(), OUTSIDE, tor(advertise="Cluster"), (), "NoCandidate"),
    (learned(), OUTSIDE, tor(advertise="Cluster"), (ACCEPT,), "NoCandidate"),
    (learned(), OUTSIDE, tor(advertise="All"), (), "NotAnnounced"),
    (learned(), OUTSIDE, tor(advertise="All"), (ACCEPT,), "FilterAccepted"),
    (learned(), OUTSIDE, tor(), (REMOTE,), "FilterAccepted"),
    (learned(), OUTSIDE, tor(), (ACCEPT, REMOTE), "NoCandidate"),
    (learned(), OUTSIDE, tor(), ({**REJECT, "source": "RemotePeers"},), "NoCandidate"),
    (learned(session="tor"), POOLED, tor(advertise="All"), (REMOTE,), "SplitHorizon"),
    (learned(ebgp=False), POOLED, IBGP, (REMOTE,), "InternalToInternal"),
    (learned(ebgp=False), POOLED, tor(advertise="All"), (), "InPool"),
    (learned(carried=Carried(communities=(b"\xff\xff\xff\x01",))), POOLED, tor(advertise="All"), (REMOTE,), "NoExport"),
    (learned(carried=Carried(communities=(b"\xff\xff\xff\x03",))), POOLED, tor(advertise="All"), (REMOTE,), "NoExport"),
    (learned(carried=Carried(communities=(b"\xff\xff\xff\x01",))), POOLED, IBGP, (), "InPool"),
    (learned(carried=Carried(communities=(b"\xff\xff\xff\x02",))), POOLED, IBGP, (REMOTE,), "NoAdvertise"),
    # 1 and 2: preference, then filters; Accept goes before all that follows
    (ours(preference=BASE - 512), "10.244.1.0/26", tor(), ({**REJECT, "priority": 512},), "FilterRejected"),
    (learned(), POOLED, IBGP, ({**REJECT, "priority": 1024},), "FilterRejected"),
    (ours(), "10.244.1.0/26", tor(), ({**REJECT, "source": "RemotePeers"},), "OwnBlock"),
    (ours("Kernel"), OUTSIDE, tor(), (ACCEPT,), "FilterAccepted"),
    # 3: pools that are not exported
    (ours(), "10.245.0.0/26", tor(), (), "ExportDisabled"),
    (ours(), "10.245.0.0/26", tor(), (ACCEPT,), "FilterAccepted"),
    (learned(), "10.245.0.0/26", tor(advertise="All"), (), "ExportDisabled"),
    # 4: what leaves through a tunnel
    (learned(interface="tp-vx4-4096"), POOLED, IBGP, (), "LeavesByTunnel"),
    (learned(interface="tp-ipip"), POOLED, IBGP, (), "LeavesByTunnel"),
    (learned(interface="tp-ipip"), POOLED, tor(advertise="All"), (), "InPool"),
    (learned(interface="tp-vx4-4096"), POOLED, IBGP, (ACCEPT,), "FilterAccepted"),
    # 6: own blocks and what lies in them
    (ours("Kernel"), "10.244.1.4/32", tor(), (), "MoreSpecific"),
    (ours("Kernel", BASE - 512), "10.244.1.4/32", tor(), (), "OwnBlock"),
    (ours("Tunnel", BASE - 1023), "10.244.1.0/32", tor(), (), "OwnBlock"),
    (ours("Kernel"), "10.244.1.0/26", tor(), (), "OwnBlock"),
    # 7: services
    (ours("Service"), "10.96.0.0/16", tor(), (), "OwnService"),
    # 9 and 10
    (ours("Connected"), "10.244.9.0/24", tor(), (), "InPool"),
    (ours("Connected"), OUTSIDE, tor(), (), "NotAnnounced"),
]


@pytest.mark.parametrize(("candidate", "prefix", "to", "rules", "reason"), CASES)
def test_every_step_in_its_order(
    candidate: Candidate, prefix: str, to: Session, rules: tuple[dict[str, Any], ...], reason: str
) -> None:
    """RULES, what is announced, 0 to 10: the reason names the step, a filter's verdict its rule."""
    pools = (ip_network("10.244.0.0/16"), ip_network("10.245.0.0/16"))
    world = exporting(*rules, pools=pools, unexported=pools[1:])
    found = decided(candidate, prefix, replace(to, filters=("f",)), world)
    assert found == (reason, RULE if reason.startswith("Filter") else "")


def world(*peers: Session, rules: tuple[dict[str, Any], ...] = (), **changes: Any) -> World:
    """Node a with these sessions and a mesh session to b, all up."""
    sessions = {each.name: each for each in (session("b", "10.0.0.2", peer_node="b"), *peers)}
    made = World(replace(exporting(*rules), sessions=sessions, **changes))
    for each in sessions:
        made.up(each)
        told(made, each)
    return made


class Forgiving(dict[Any, Any]):
    """Routes of a listener that came late: a withdrawal of what it never heard is nothing to it."""

    def __delitem__(self, key: Any) -> None:
        self.pop(key, None)


def everything(made: World, name: str) -> dict[Any, Any]:
    """What a session has been told in all."""
    made.drained()
    made.table.refresh(name, Family.IPV4)
    listener = Listener()
    listener.routes = Forgiving()
    while stream := made.table.pull(name, 100_000):
        listener.hear(stream)
    return listener.routes


def heard(made: World, name: str) -> dict[str, Carried]:
    """The same, decoded."""
    found = everything(made, name)
    return {str(prefix): read(raw, four_octet_as=True, external=False) for prefix, (raw, _) in found.items()}


def hop(made: World, name: str, prefix: str) -> str:
    raw = everything(made, name)[ip_network(prefix)][0]
    at = raw.index(b"\x40\x03\x04") + 3
    return str(ip_address(raw[at : at + 4]))


def test_an_edge_node_speaks_for_the_mesh() -> None:
    """With advertise: Cluster the other nodes' blocks go to the ToR, our AS before their empty path; by default none does."""
    made = world(tor(advertise="Cluster"), tor("tor2", "10.0.0.253"))
    made.hear("b", announce(POOLED, hop="10.0.0.2", path=(), preference=BASE - 1024))
    made.drained()
    listener = told(made, "tor")
    assert [str(prefix) for prefix in listener.routes] == [POOLED]
    assert sorted(heard(made, "tor")) == ["10.244.1.0/26", POOLED]
    assert heard(made, "tor")[POOLED] == Carried(path=((2, (LOCAL_AS,)),))
    assert sorted(heard(made, "tor2")) == ["10.244.1.0/26"]
    made.hear("b", withdraw(POOLED))
    made.drained()
    listener.hear(made.table.pull("tor", 10_000))
    assert listener.routes == {}


def test_what_a_lost_peer_told_us_is_withdrawn_from_the_others() -> None:
    """Without graceful restart at once; with it only when the restart time is over."""
    made = world(tor(advertise="Cluster"))
    made.hear("b", announce(POOLED, hop="10.0.0.2", path=(), preference=100))
    assert POOLED in heard(made, "tor")
    made.lost("b")
    assert POOLED in heard(made, "tor")
    made.wait(121)
    assert POOLED not in heard(made, "tor")


def test_a_new_agent_takes_nothing_from_other_peers() -> None:
    """What changes just before an agent connects, and is told to it with the whole, is told to the peers as well."""
    made = world(tor(advertise="Cluster"))
    made.hear("b", announce(POOLED, hop="10.0.0.2", path=(), preference=100))
    made.table.whole()
    listener = told(made, "tor")
    assert [str(prefix) for prefix in listener.routes] == [POOLED]
    made.hear("b", withdraw(POOLED))
    made.table.whole()
    listener.hear(made.table.pull("tor", 10_000))
    assert listener.routes == {}


def test_a_path_is_never_told_to_whom_it_came_from() -> None:
    """Split horizon follows the best path: when it moves, the one is withdrawn and the other told."""
    made = world(tor(advertise="All"), tor("tor2", "10.0.0.253", advertise="All"), rules=(REMOTE,))
    for name in ("tor", "tor2"):
        made.apply(replace(made.state, sessions=made.state.sessions | {name: replace(made.state.sessions[name], filters=("f",))}))  # fmt: skip
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
    assert OUTSIDE not in heard(made, "tor")
    assert heard(made, "tor2")[OUTSIDE].path == ((2, (LOCAL_AS, TOR_AS)),)
    made.hear("tor2", announce(OUTSIDE, hop="10.0.0.253"))
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", path=(TOR_AS, 1)))
    assert heard(made, "tor")[OUTSIDE].path == ((2, (LOCAL_AS, TOR_AS)),)
    assert OUTSIDE not in heard(made, "tor2")


def test_external_paths_go_into_the_mesh_only_where_it_is_asked_for() -> None:
    """LOCAL_PREF of the normal priority, the external next hop as it is; internal ones never go to internal peers."""
    inner = session("c", "10.0.0.3", peer_node="c", advertise="All", filters=("f",))
    made = world(tor(), inner, rules=(ACCEPT,))
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
    made.hear("b", announce(POOLED, hop="10.0.0.2", path=(), preference=100))
    assert sorted(heard(made, "b")) == ["10.244.1.0/26"]
    found = heard(made, "c")
    assert sorted(found) == ["10.244.1.0/26", OUTSIDE]
    assert found[OUTSIDE] == Carried(path=((2, (TOR_AS,)),), local_preference=BASE - 1024)
    assert hop(made, "c", OUTSIDE) == "10.0.0.254"


@pytest.mark.parametrize(
    ("mode", "subnet", "ebgp", "wanted"),
    [
        ("Auto", "10.0.0.0/24", True, "10.0.0.2"),
        ("Auto", "10.0.0.0/31", True, "10.0.0.1"),
        ("Auto", None, True, "10.0.0.1"),
        ("Self", "10.0.0.0/24", True, "10.0.0.1"),
        ("Keep", None, True, "10.0.0.2"),
    ],
)
def test_next_hop_modes(mode: str, subnet: str | None, ebgp: bool, wanted: str) -> None:
    """Auto tells an external peer the third party where it can reach it; Self and Keep force it; ours is always ourselves."""
    assert ebgp
    shared = ip_network(subnet) if subnet else None
    made = world(tor(advertise="Cluster", next_hop=mode, shared_subnet=shared))
    made.hear("b", announce(POOLED, hop="10.0.0.2", path=(), preference=100))
    assert hop(made, "tor", POOLED) == wanted
    assert hop(made, "tor", "10.244.1.0/26") == "10.0.0.1"


def test_nobody_is_told_that_he_is_the_next_hop() -> None:
    """A path by the peer's own address, that somebody else told us, goes with ourselves as next hop (RFC 4271 §5.1.3)."""
    made = world(tor(advertise="All", next_hop="Keep", filters=("f",)), tor("tor2", "10.0.0.253"), rules=(REMOTE,))
    made.hear("tor2", announce(OUTSIDE, hop="10.0.0.254"))
    assert hop(made, "tor", OUTSIDE) == "10.0.0.1"


UNKNOWN = attribute(0xC0, 99, b"future")
LOCAL_UNKNOWN = attribute(0x80, 98, b"local")
EXTENDED = bytes.fromhex("0002fde800000001") + bytes.fromhex("4004fde800000001")


def test_what_we_do_not_know_passes_through() -> None:
    """Transitive attributes go on with the Partial bit, others do not; extended communities, AGGREGATOR, the large ones stay."""
    more = (
        attribute(0x40, 6, b"")
        + attribute(0xC0, 7, (70000).to_bytes(4, "big") + bytes(4))
        + attribute(0x80, 4, bytes(4))
        + attribute(0xC0, 8, b"\0\1\0\2")
        + attribute(0xC0, 16, EXTENDED)
        + attribute(0xC0, 32, bytes(11) + b"\1")
        + LOCAL_UNKNOWN
        + UNKNOWN
    )
    peers = (tor(), tor("tor2", "10.0.0.253", advertise="All", filters=("f",)))
    made = world(*peers, session("c", "10.0.0.3", advertise="All", filters=("f",)), rules=(ACCEPT,))
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=more))
    outside, inside = heard(made, "tor2")[OUTSIDE], heard(made, "c")[OUTSIDE]
    assert outside == Carried(
        path=((2, (LOCAL_AS, TOR_AS)),),
        communities=(b"\0\1\0\2",),
        large=(bytes(11) + b"\1",),
        extended=(EXTENDED[:8],),
        aggregator=(70000, bytes(4)),
        atomic=True,
        others=((0xE0, 99, b"future"),),
    )
    assert (inside.med, inside.extended) == (0, (EXTENDED[:8], EXTENDED[8:]))
    assert inside.others == outside.others


def test_import_operations_are_seen_by_those_who_are_told_next() -> None:
    """What the import filter made of a path is what is announced: communities, path, preference; MED stays in the AS."""
    rules = {
        "importV4": [
            {
                **ACCEPT,
                "operations": [
                    {"addCommunity": {"value": "1:1"}},
                    {"removeCommunity": {"value": "no-export"}},
                    {"prependASPath": {"prefix": [7]}},
                    {"setLocalPref": {"value": 300}},
                    {"setMED": {"value": 5}},
                ],
            }
        ]
    }
    from towpath.model.decode import decode

    made = world(
        tor(filters=("in",)),
        tor("tor2", "10.0.0.253", advertise="All", filters=("f",)),
        session("c", "10.0.0.3", advertise="All", filters=("f",)),
    )
    filters = {
        "in": decode("BGPFilter", {"metadata": {"name": "in"}, "spec": rules}).spec,
        "f": spec([ACCEPT], field="exportV4"),
    }
    made.apply(replace(made.state, filters=filters))
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=attribute(0xC0, 8, b"\xff\xff\xff\x01")))
    path = (7, TOR_AS)
    assert heard(made, "c")[OUTSIDE] == Carried(
        path=((2, path),), communities=(b"\0\1\0\1",), local_preference=300, med=5
    )
    assert heard(made, "tor2")[OUTSIDE] == Carried(path=((2, (LOCAL_AS, *path)),), communities=(b"\0\1\0\1",))


def test_export_operations_on_our_own_blocks() -> None:
    """Communities, prepending behind our own AS, MED to the outside, the priority within the AS."""
    operations = [
        {"addCommunity": {"value": "65000:7"}},
        {"addCommunity": {"value": "1:2:3"}},
        {"prependASPath": {"prefix": [LOCAL_AS, LOCAL_AS]}},
        {"setMED": {"value": 77}},
        {"setPriority": {"value": 512}},
    ]
    made = world(tor(filters=("f",)), session("c", "10.0.0.3", filters=("f",)), rules=({**ACCEPT, "operations": operations},))  # fmt: skip
    large = Community.parse("1:2:3").wire
    common = {"communities": (Community.parse("65000:7").wire,), "large": (large,), "med": 77}
    assert heard(made, "tor")["10.244.1.0/26"] == Carried(path=((2, (LOCAL_AS,) * 3),), **common)
    assert heard(made, "c")["10.244.1.0/26"] == Carried(
        path=((2, (LOCAL_AS,) * 2),), local_preference=BASE - 512, **common
    )


def test_prefix_advertisements_tag_what_is_announced_inside_them() -> None:
    """All ranges that hold the prefix add theirs; what a filter has accepted goes as the filter left it."""
    tags = (
        Tagged(ip_network("10.244.0.0/16"), (Community.parse("1:1"), Community.parse("no-export"))),
        Tagged(ip_network("10.244.1.0/24"), (Community.parse("1:2:3"),)),
        Tagged(ip_network("10.245.0.0/16"), (Community.parse("9:9"),)),
    )
    made = world(tor(), tor("tor2", "10.0.0.253", filters=("f",)), rules=(ACCEPT,))
    made.apply(replace(made.state, settings=replace(made.state.settings, tagged=tags)))
    found = heard(made, "tor")["10.244.1.0/26"]
    assert found.communities == (b"\0\1\0\1", b"\xff\xff\xff\x01")
    assert found.large == (Community.parse("1:2:3").wire,)
    assert heard(made, "tor2")["10.244.1.0/26"].communities == ()


def test_a_changed_export_filter_announces_only_the_differences() -> None:
    """What is told as before is not told again; other sessions hear nothing."""
    two = {ip_network(text): Announcement(ip_network(text), "Block", BASE - 1024) for text in ("10.244.1.0/26", "10.244.9.0/26")}  # fmt: skip
    made = world(tor(filters=("f",)), tor("tor2", "10.0.0.253"), announcements=two)
    listener = Listener()

    def change(*rules: dict[str, Any]) -> list[str]:
        made.apply(replace(made.state, filters={"f": spec(list(rules), field="exportV4")}))
        before = dict(listener.routes)
        while stream := made.table.pull("tor", 10_000):
            listener.hear(stream)
        assert made.table.pull("tor2", 10_000) == b""
        return sorted(str(prefix) for prefix in before.keys() ^ listener.routes.keys()) + sorted(
            f"changed {prefix}" for prefix in before.keys() & listener.routes.keys() if before[prefix] != listener.routes[prefix]
        )  # fmt: skip

    listener.routes = dict.fromkeys(two, (b"", b""))
    one = {"cidr": "10.244.9.0/26", "matchOperator": "Equal"}
    assert change({**REJECT, **one}) == ["10.244.9.0/26"]
    assert change({**REJECT, **one}, ACCEPT) == []
    assert change({**ACCEPT, **one}) == ["10.244.9.0/26"]
    listener.routes = everything(made, "tor")
    assert change({**ACCEPT, **one, "operations": [{"setMED": {"value": 1}}]}) == ["changed 10.244.9.0/26"]
    assert change({**ACCEPT, **one, "operations": [{"setMED": {"value": 1}}]}) == []


def test_a_session_that_is_told_more_from_now_on_hears_what_is_held() -> None:
    """advertise and next-hop mode change without a reset: what was learned before is told, or withdrawn, at once."""
    made = world(tor())
    made.hear("b", announce(POOLED, hop="10.0.0.2", path=(), preference=100))
    made.drained()
    listener = told(made, "tor")
    for advertise, wanted in (("Cluster", [POOLED]), ("Own", [])):
        made.kicked.clear()
        changed = replace(made.state.sessions["tor"], advertise=advertise)
        made.apply(replace(made.state, sessions=made.state.sessions | {"tor": changed}))
        assert set(made.kicked) == {"tor"}
        while stream := made.table.pull("tor", 10_000):
            listener.hear(stream)
        assert [str(prefix) for prefix in listener.routes] == wanted


def test_an_old_peer_gets_two_byte_numbers_and_the_rest_beside_them() -> None:
    """AS_TRANS in AS_PATH and AGGREGATOR, AS4_PATH and AS4_AGGREGATOR beside them (RFC 6793)."""
    made = world(tor(), tor("tor2", "10.0.0.253", advertise="All", filters=("f",)), rules=(ACCEPT,))
    made.up("tor2", four_octet_as=False)
    aggregator = attribute(0xC0, 7, (400000).to_bytes(4, "big") + bytes(4))
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", path=(TOR_AS, 400000), more=aggregator))
    made.drained()
    raw = told(made, "tor2").routes[ip_network(OUTSIDE)][0]
    assert as_path((LOCAL_AS, TOR_AS, 23456), width=2) in raw
    assert attribute(0xC0, 17, as_path((LOCAL_AS, TOR_AS, 400000))[3:]) in raw
    found = read(raw, four_octet_as=False, external=True)
    assert (found.path, found.aggregator) == (((2, (LOCAL_AS, TOR_AS, 400000)),), (400000, bytes(4)))


def test_attributes_that_fit_in_no_message_of_the_peer_are_not_sent() -> None:
    """RFC 8654 §4: a path with more attributes than 4096 bytes hold stays here, and is withdrawn where a smaller one was told."""
    made = world(tor(), tor("tor2", "10.0.0.253", advertise="All", filters=("f",)), rules=(ACCEPT,))
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
    assert OUTSIDE in heard(made, "tor2")
    many = b"".join(number.to_bytes(4, "big") for number in range(1 << 20, (1 << 20) + 1100))
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=attribute(0xC0, 8, many)))
    assert OUTSIDE not in heard(made, "tor2")
    made.up("tor2", message_size=65535)
    assert made.table.report({}).sessions[2].announced == 0


SEGMENTS = st.lists(st.tuples(st.sampled_from([1, 2]), st.lists(st.integers(1, 4294967294), min_size=1, max_size=4).map(tuple)), max_size=3).map(tuple)  # fmt: skip


@given(
    st.builds(
        Carried,
        origin=st.integers(0, 2),
        path=SEGMENTS,
        med=st.none() | st.integers(0, 4294967295),
        local_preference=st.none() | st.integers(0, 4294967295),
        communities=st.sets(st.binary(min_size=4, max_size=4), max_size=80).map(sorted).map(tuple),
        large=st.sets(st.binary(min_size=12, max_size=12), max_size=3).map(sorted).map(tuple),
        extended=st.lists(st.binary(min_size=8, max_size=8), max_size=2).map(tuple),
        aggregator=st.none() | st.tuples(st.integers(1, 4294967294).filter(lambda n: n != 23456), st.binary(min_size=4, max_size=4)),
        atomic=st.booleans(),
        others=st.sets(st.integers(100, 120), max_size=2).map(sorted).map(lambda kinds: tuple((0xE0, kind, b"x") for kind in kinds)),
    ),
    st.booleans(),
)  # fmt: skip
def test_what_is_written_reads_as_what_it_was(carried: Carried, four: bool) -> None:
    """To a peer of either width; with two bytes a set in the path is merged as RFC 6793 has it, so only sequences are compared."""
    if not four:
        carried = replace(carried, path=tuple(one for one in carried.path if one[0] == 2))
        joined = tuple(number for _, numbers in carried.path for number in numbers)
        carried = replace(carried, path=prepend((), joined))
    block = write(carried, next_hop=b"", four_octet_as=four)
    kinds = [block[at] for at in _kinds(block)]
    assert kinds == sorted(kinds)
    found = read(block, four_octet_as=four, external=False)
    if not four:
        found = replace(found, path=prepend((), tuple(number for _, numbers in found.path for number in numbers)))
    assert found == carried


def _kinds(block: bytes) -> list[int]:
    places, position = [], 0
    while position < len(block):
        places.append(position + 1)
        size = 4 if block[position] & 0x10 else 3
        position += size + int.from_bytes(block[position + 2 : position + size], "big")
    return places


@pytest.mark.parametrize(("mode", "expected"), [("Auto", "10.0.0.1"), ("Self", "10.0.0.1"), ("Keep", "10.244.1.5")])
def test_what_a_pod_announces_is_passed_on_by_its_node(mode: str, expected: str) -> None:
    """Within the AS too this node is the way: nobody else has one to a pod's address that leads over BGP."""
    pod = session(
        "pod",
        "10.244.1.5",
        scope="Workload",
        remote_as=65401,
        import_policy="All",
        own_hops=(ip_address("10.244.1.5"),),
    )
    other = session("c", "10.0.0.3", peer_node="c", filters=("f",), next_hop=mode)
    made = world(pod, other, rules=(REMOTE,))
    made.hear("pod", announce(OUTSIDE, hop="10.244.1.5", path=(65401,)))
    assert hop(made, "c", OUTSIDE) == expected
    assert heard(made, "c")[OUTSIDE].path == ((2, (65401,)),)
    assert OUTSIDE not in heard(made, "pod")

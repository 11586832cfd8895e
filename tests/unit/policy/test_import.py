"""What filters make of paths that come in: the order of the rules, the decision after, and what a change re-judges."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.bgp_table.world import TOR_AS, World, announce, attribute, block, body, session, state, wires
from tests.unit.policy.test_filter import spec
from towpath.bgp.table import SETTLE_PREFIXES
from towpath.model.kinds.filter import BGPFilterSpec
from towpath.model.net import Family
from towpath.model.reason import Reason
from towpath.model.speaker import MaxPrefix

OUTSIDE = "203.0.113.0/24"
ACCEPT = {"action": "Accept"}
REJECT = {"action": "Reject"}


def communities(*texts: str) -> bytes:
    value = b"".join(int(part).to_bytes(2, "big") for text in texts for part in text.split(":"))
    return attribute(0xC0, 8, value)


def world(*rules: dict[str, Any], family: int = 4, policy: str = "Filtered", name: str = "f", **changes: Any) -> World:
    """Two ToRs, of which ``tor`` names a filter of these rules."""
    base = state()
    sessions = {
        "tor": replace(base.sessions["tor"], filters=("f",), import_policy=policy),
        "tor2": replace(base.sessions["tor2"], import_policy=policy),
        "b": base.sessions["b"],
    }
    made = World(state(sessions=sessions, filters={name: spec(list(rules), field=f"importV{family}")}, **changes))
    for each in sessions:
        made.up(each)
    return made


def filtered(made: World, *rules: dict[str, Any], **others: BGPFilterSpec) -> None:
    """The filter is another one now."""
    made.apply(replace(made.state, filters={"f": spec(list(rules)), **others}))


@pytest.mark.parametrize(
    ("policy", "rules", "accepted", "why"),
    [
        ("Filtered", [], False, "NotAccepted"),
        ("Filtered", [ACCEPT], True, ""),
        ("Filtered", [REJECT], False, "FilterRejected"),
        ("Filtered", [{**ACCEPT, "cidr": "10.0.0.0/8", "matchOperator": "In"}], False, "NotAccepted"),
        ("Filtered", [{**ACCEPT, "cidr": OUTSIDE, "matchOperator": "In"}, REJECT], True, ""),
        ("All", [], True, ""),
        ("All", [REJECT], False, "FilterRejected"),
        ("All", [{**REJECT, "cidr": "10.0.0.0/8", "matchOperator": "In"}], True, ""),
        ("None", [ACCEPT], False, "ImportNone"),
    ],
)
def test_import_policy_decides_what_no_rule_matches(policy: str, rules: list, accepted: bool, why: str) -> None:
    """Filtered: what a filter accepts; All: what none rejects; None: nothing, whatever a filter says."""
    made = world(*rules, policy=policy)
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
    assert made.hops() == ({OUTSIDE: ["10.0.0.254"]} if accepted else {})
    assert made.refused("tor") == ({why: 1} if why else {})


@pytest.mark.parametrize(
    ("prefix", "path", "hop", "why"),
    [
        ("127.0.0.0/8", (TOR_AS,), "10.0.0.254", "MartianPrefix"),
        ("224.0.0.0/4", (TOR_AS,), "10.0.0.254", "MartianPrefix"),
        ("10.0.0.1/32", (TOR_AS,), "10.0.0.254", "OwnAddress"),
        ("10.244.1.0/26", (TOR_AS,), "10.0.0.254", "OwnBlock"),
        ("10.244.1.4/32", (TOR_AS,), "10.0.0.254", "OwnBlock"),
        ("10.96.0.0/16", (TOR_AS,), "10.0.0.254", "ServiceRange"),
        (OUTSIDE, (TOR_AS, 64512), "10.0.0.254", "ASLoop"),
        (OUTSIDE, (1, TOR_AS), "10.0.0.254", "FirstAS"),
        (OUTSIDE, (TOR_AS, 0), "10.0.0.254", "ASZero"),
        (OUTSIDE, (TOR_AS,), "10.0.0.1", "NextHopOurs"),
        (OUTSIDE, (TOR_AS,), "127.0.0.1", "NextHopInvalid"),
    ],
)
def test_no_filter_switches_safety_off(prefix: str, path: tuple[int, ...], hop: str, why: str) -> None:
    """A rule that accepts everything accepts none of these."""
    made = world({**ACCEPT, "cidr": "0.0.0.0/0", "matchOperator": "In"})
    made.apply(replace(made.state, settings=replace(made.state.settings, services=(ip_network("10.96.0.0/12"),))))
    made.hear("tor", announce(prefix, hop=hop, path=path))
    assert made.hops() == {}
    assert made.refused("tor") == {why: 1}


def test_accept_goes_before_block_origin_validation() -> None:
    """A block of another node, and a prefix of a pool in no block, from outside: refused, but where a filter accepts it."""
    for prefix, why in (("10.244.2.0/26", "OriginInvalid"), ("10.244.77.0/26", "OriginUnknown")):
        made = world(policy="All")
        made.hear("tor", announce(prefix, hop="10.0.0.254"))
        assert made.refused("tor") == {why: 1}
        filtered(made, {**ACCEPT, "cidr": prefix, "matchOperator": "Equal"})
        assert made.hops() == {prefix: ["10.0.0.254"]}
        filtered(made, {**REJECT, "cidr": prefix, "matchOperator": "Equal"})
        assert made.hops() == {}


def test_a_filter_can_reject_a_block_that_its_owner_announces() -> None:
    """Filters come first, also on a session with a node of ours."""
    made = world()
    made.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=(), preference=100))
    assert made.hops() == {"10.244.2.0/26": ["10.0.0.2"]}
    strict = replace(made.state.sessions["b"], filters=("none",))
    made.apply(
        replace(
            made.state, sessions=made.state.sessions | {"b": strict}, filters={"none": spec([REJECT]), "f": spec([])}
        )
    )
    assert made.hops() == {}
    assert made.refused("b") == {"FilterRejected": 1}


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize(
    ("rule", "accepted"),
    [
        ({}, False),
        ({"matchOperator": "In"}, True),
        ({"matchOperator": "Equal"}, True),
        ({"matchOperator": "In", "prefixLength": {"min": 1}}, False),
        ({"cidr": None, "matchOperator": "NotIn"}, False),
    ],
)
def test_the_default_route_is_accepted_only_where_a_rule_names_it(family: Family, rule: dict, accepted: bool) -> None:
    """By its own cidr, with importPolicy All too; a rule that accepts everything else does not mean it."""
    default, other = ("0.0.0.0/0", "10.0.0.0/8") if family is Family.IPV4 else ("::/0", "fd00::/8")
    hop = "10.0.0.254" if family is Family.IPV4 else "fd10::fe"
    if rule:
        rule = {**rule, "cidr": other if "cidr" in rule else default}
    made = world({**ACCEPT, **rule}, family=family.value, policy="All")
    made.hear("tor", announce(default, hop=hop))
    made.hear("tor2", announce(default, hop=hop))
    assert made.hops() == ({default: [hop]} if accepted else {})
    assert made.refused("tor2") == {"NotAccepted": 1}


def test_a_filter_that_does_not_exist_rejects_everything() -> None:
    """Also with importPolicy All; once it exists its rules hold."""
    made = world(ACCEPT, policy="All", name="another")
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
    assert made.refused("tor") == {"FilterMissing": 1}
    filtered(made, ACCEPT)
    assert made.hops() == {OUTSIDE: ["10.0.0.254"]}


@pytest.mark.parametrize(
    ("operation", "winner"),
    [
        ({"setLocalPref": {"value": 2147483647}}, "10.0.0.254"),
        ({"setLocalPref": {"value": 100}}, "10.0.0.253"),
        ({"setPriority": {"value": 512}}, "10.0.0.254"),
        ({"setPriority": {"value": 2048}}, "10.0.0.253"),
        ({"prependASPath": {"prefix": [TOR_AS]}}, "10.0.0.253"),
        ({"setMED": {"value": 50}}, "10.0.0.253"),
    ],
)
def test_operations_decide_between_paths(operation: dict[str, Any], winner: str) -> None:
    """Two equal paths; the one that a filter makes better, or worse, alone is used or is not."""
    made = world({**ACCEPT, "operations": [operation]}, policy="All")
    for name, hop in (("tor", "10.0.0.254"), ("tor2", "10.0.0.253")):
        made.hear(name, announce(OUTSIDE, hop=hop))
    assert made.hops() == {OUTSIDE: [winner]}
    filtered(made, ACCEPT)
    assert made.hops() == {OUTSIDE: ["10.0.0.253", "10.0.0.254"]}


def test_graceful_shutdown_makes_a_path_the_last_choice() -> None:
    """65535:0 is LOCAL_PREF 0 (RFC 8326); the same bytes elsewhere are not, and a filter may want it otherwise."""
    made = world(policy="All")
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=communities("7:7", "65535:0")))
    assert made.hops() == {OUTSIDE: ["10.0.0.254"]}
    made.hear("tor2", announce(OUTSIDE, hop="10.0.0.253", path=(TOR_AS, 1, 2)))
    assert made.hops() == {OUTSIDE: ["10.0.0.253"]}
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=communities("7:65535", "0:7")))
    assert made.hops() == {OUTSIDE: ["10.0.0.254"]}
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254", more=communities("65535:0")))
    filtered(made, {**ACCEPT, "operations": [{"setLocalPref": {"value": 2147483647}}]})
    assert made.hops() == {OUTSIDE: ["10.0.0.254"]}
    filtered(made)
    assert made.hops() == {OUTSIDE: ["10.0.0.253"]}


def test_communities_and_as_paths_tell_blocks_apart_that_are_alike() -> None:
    """Blocks that differ in communities alone share what is decoded, and not what a filter says of them."""
    made = world(
        {**REJECT, "communities": {"values": ["1:1"]}},
        {**ACCEPT, "asPathPrefix": [TOR_AS, 7]},
        {**ACCEPT, "communities": {"values": ["2:2"]}},
    )
    cases = {
        "198.51.100.0/24": ((TOR_AS,), communities("1:1")),
        "198.51.101.0/24": ((TOR_AS,), communities("2:2")),
        "198.51.102.0/24": ((TOR_AS,), communities("1:1", "2:2")),
        "198.51.103.0/24": ((TOR_AS,), b""),
        "198.51.104.0/24": ((TOR_AS, 7), b""),
        "198.51.105.0/24": ((TOR_AS, 7, 8), communities("1:1")),
    }
    for prefix, (path, more) in cases.items():
        made.hear("tor", announce(prefix, hop="10.0.0.254", path=path, more=more))
    assert sorted(made.hops()) == ["198.51.101.0/24", "198.51.104.0/24"]
    assert made.refused("tor") == {"FilterRejected": 3, "NotAccepted": 1}


def test_one_update_may_bring_prefixes_of_every_verdict() -> None:
    """Safety, rules by prefix and what is built in, told apart within one message, in any order and repeated."""
    made = world(
        {**ACCEPT, "cidr": "198.51.0.0/16", "matchOperator": "In", "prefixLength": {"max": 24}},
        {**REJECT, "cidr": "10.244.2.0/26", "matchOperator": "Equal"},
        {**ACCEPT, "cidr": "198.51.100.128/25", "matchOperator": "Equal"},
        policy="All",
    )
    prefixes = ["198.51.100.0/24", "127.1.0.0/16", "10.244.2.0/26", "10.244.1.0/27", "198.51.100.128/25", "192.0.2.0/24", "198.51.100.0/24", "0.0.0.0/0"]  # fmt: skip
    made.hear("tor", body(attributes=block(), announced=wires(*prefixes)))
    assert sorted(made.hops()) == ["192.0.2.0/24", "198.51.100.0/24", "198.51.100.128/25"]
    assert made.refused("tor") == {"MartianPrefix": 1, "FilterRejected": 1, "OwnBlock": 1, "NotAccepted": 1}


def test_a_changed_filter_judges_again_what_is_held_and_touches_nobody_else() -> None:
    """No session is asked to send again, none hears anything; a filter that nobody names changes nothing."""
    made = world({**ACCEPT, "cidr": OUTSIDE, "matchOperator": "In"})
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"), announce("198.51.100.0/24", hop="10.0.0.254"))
    made.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=(), preference=100))
    while any(made.table.pull(name, 10_000) for name in made.state.sessions):
        pass
    assert sorted(made.hops()) == ["10.244.2.0/26", OUTSIDE]
    filtered(made, {**ACCEPT, "cidr": "198.51.100.0/24", "matchOperator": "In"})
    assert sorted(made.hops()) == ["10.244.2.0/26", "198.51.100.0/24"]
    assert all(made.table.pull(name, 10_000) == b"" for name in made.state.sessions)
    before = made.hops()
    filtered(made, {**ACCEPT, "cidr": "198.51.100.0/24", "matchOperator": "In"}, other=spec([REJECT]))
    assert made.table.dirty is False
    assert made.hops() == before


def test_a_large_table_is_judged_again_in_pieces() -> None:
    """Between two pieces sessions are served; what comes in meanwhile is judged by the new rules already."""
    made = world({**ACCEPT, "cidr": "20.0.0.0/8", "matchOperator": "In"})
    limit = replace(made.state.sessions["tor"], max_prefix=MaxPrefix(1_000_000))
    made.apply(replace(made.state, sessions=made.state.sessions | {"tor": limit}))
    count = 3 * SETTLE_PREFIXES
    many = [f"20.{number >> 8}.{number & 255}.0/24" for number in range(count)]
    for start in range(0, count, 1000):
        made.hear("tor", body(attributes=block(), announced=wires(*many[start : start + 1000])))
    assert len(made.drained(10_000)) == count
    filtered(made, {**REJECT, "cidr": "20.0.0.0/9", "matchOperator": "In"}, ACCEPT)
    assert made.table.unsettled
    made.hear("tor", announce("20.0.0.0/24", hop="10.0.0.254"), announce("21.0.0.0/24", hop="10.0.0.254"))
    steps = 0
    while made.table.unsettled:
        made.table.settle(SETTLE_PREFIXES)
        steps += 1
    assert 2 <= steps <= 4
    rejected = sum(int(text.split(".")[1]) < 128 for text in many)
    assert made.refused("tor") == {"FilterRejected": rejected}
    assert len(made.drained(10_000)) == count - rejected + 1


def test_stale_paths_are_judged_again_and_stay_stale() -> None:
    """A filter that changes while a peer restarts holds for what is kept of it."""
    made = world(ACCEPT)
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"), announce("198.51.100.0/24", hop="10.0.0.254"))
    made.lost("tor")
    filtered(made, {**REJECT, "cidr": OUTSIDE, "matchOperator": "Equal"}, ACCEPT)
    assert list(made.hops()) == ["198.51.100.0/24"]
    made.wait(121)
    assert made.hops() == {}


def test_max_prefix_counts_what_filters_left() -> None:
    """Rejected prefixes take no room, and room that a filter frees is given on."""
    made = world({**REJECT, "cidr": "198.51.0.0/16", "matchOperator": "In"}, ACCEPT)
    one = replace(made.state.sessions["tor"], max_prefix=MaxPrefix(1))
    made.apply(replace(made.state, sessions=made.state.sessions | {"tor": one}))
    made.hear("tor", *(announce(prefix, hop="10.0.0.254") for prefix in ("198.51.100.0/24", OUTSIDE, "192.0.2.0/24")))
    assert made.refused("tor") == {"FilterRejected": 1, "MaxPrefix": 1}
    assert list(made.hops()) == [OUTSIDE]
    assert Reason.MAX_PREFIX in {notice.reason for notice in made.table.notices()}
    filtered(
        made,
        {**REJECT, "cidr": OUTSIDE, "matchOperator": "In"},
        {**REJECT, "cidr": "198.51.0.0/16", "matchOperator": "In"},
        ACCEPT,
    )
    assert list(made.hops()) == ["192.0.2.0/24"]


def test_an_internal_preference_is_a_priority_where_it_can_be() -> None:
    """2147483647 minus the priority (1 to 65535); any other LOCAL_PREF counts as the normal priority."""
    base = state()
    peer = session("b", "10.0.0.2", peer_node="b", filters=("f",), import_policy="All")
    rules = [{**ACCEPT, "priority": 512}, {**ACCEPT, "priority": 1024, "asPathPrefix": [9]}, REJECT]
    made = World(replace(base, sessions={"b": peer}, filters={"f": spec(rules)}))
    made.up("b")
    for prefix, preference, path in (
        ("198.51.100.0/24", 2147483647 - 512, ()),
        ("198.51.101.0/24", 100, (9,)),
        ("198.51.102.0/24", 2147483647 - 1024, (9,)),
        ("198.51.103.0/24", 2147483647 - 1025, (9,)),
        ("198.51.104.0/24", 512, ()),
    ):
        made.hear("b", announce(prefix, hop="10.0.0.2", path=path, preference=preference))
    assert sorted(made.hops()) == ["198.51.100.0/24", "198.51.101.0/24", "198.51.102.0/24"]


def test_a_rule_about_an_interface_follows_the_kernel() -> None:
    """No rule matches while nobody knows the interface; what is held is judged again when it is known, and when it moves."""
    made = world({**ACCEPT, "interface": "eth*"})
    made.hear("tor", announce(OUTSIDE, hop="10.0.0.254"))
    hop = ip_address("10.0.0.254")
    for interface, accepted in (("", False), ("eth0", True), ("eth1", True), ("bond0", False), ("eth0", True)):
        made.table.metrics({hop: 0}, interfaces={hop: interface} if interface else {})
        assert (made.hops() != {}) is accepted
    made.hear("tor", announce("198.51.100.0/24", hop="10.0.0.254"))
    assert sorted(made.hops()) == ["198.51.100.0/24", OUTSIDE]


@pytest.mark.parametrize(
    ("prefix", "path", "hop", "why"),
    [
        (OUTSIDE, (65401,), "10.244.1.5", ""),
        ("fd30::/64", (65401,), "fd20::1:5", ""),
        (OUTSIDE, (65401,), "10.244.1.6", "NextHopNotPeer"),
        (OUTSIDE, (65401,), "10.0.0.2", "NextHopNotPeer"),
        ("fd30::/64", (65401,), "fd20::1:6", "NextHopNotPeer"),
        (OUTSIDE, (65401,), "10.0.0.1", "NextHopOurs"),
        ("10.244.1.6/32", (65401,), "10.244.1.5", "OwnBlock"),
        ("10.244.2.0/26", (65401, 64513), "10.244.1.5", "OriginInvalid"),
        ("10.0.0.2/32", (65401, 64513), "10.244.1.5", "OriginInvalid"),
        ("10.244.77.0/26", (65401, 64513), "10.244.1.5", "OriginUnknown"),
        ("0.0.0.0/0", (65401,), "10.244.1.5", "NotAccepted"),
    ],
)
def test_what_a_pod_says_leads_to_it_and_proves_nothing_of_blocks(
    prefix: str, path: tuple[int, ...], hop: str, why: str
) -> None:
    """Though importPolicy is All: no third next hop, and no AS of a node at the end of a path makes a block its own."""
    base = state()
    own = tuple(map(ip_address, ("10.244.1.5", "fd20::1:5")))
    pod = session(
        "pod", "10.244.1.5", scope="Workload", remote_as=65401, import_policy="All", own_hops=own, passive=True
    )
    nodes = {name: replace(one, as_number=64513) if name == "b" else one for name, one in base.nodes.items()}
    made = World(
        state(
            sessions={"pod": pod}, nodes=nodes, settings=replace(base.settings, node_addresses=True, provisional=True)
        )
    )
    made.up("pod")
    made.hear("pod", announce(prefix, hop=hop, path=path))
    assert made.hops() == ({} if why else {prefix: [hop]})
    assert made.refused("pod") == ({why: 1} if why else {})


def test_an_internal_pod_is_no_node_either() -> None:
    """In our own AS, with a node for a next hop, it does not become that node; a filter of its peer may still accept."""
    pod = session("pod", "10.244.1.5", scope="Workload", own_hops=(ip_address("10.244.1.5"),), filters=("f",))
    made = World(state(sessions={"pod": pod}, filters={"f": spec([])}))
    made.up("pod")
    made.hear("pod", announce("10.244.2.0/26", hop="10.0.0.2", path=(), preference=100))
    assert made.refused("pod") == {"NextHopNotPeer": 1}
    made.hear("pod", announce("10.244.2.0/26", hop="10.244.1.5", path=(), preference=100))
    assert made.refused("pod") == {"OriginInvalid": 1}
    filtered(made, {**ACCEPT, "cidr": "10.244.2.0/26", "matchOperator": "Equal"})
    assert made.hops() == {"10.244.2.0/26": ["10.244.1.5"]}

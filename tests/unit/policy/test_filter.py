"""BGPFilter compiled: each criterion and operation by a table, and all together against a literal reading of the rules."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.policy import reference
from tests.unit.policy.reference import BASE, Route
from towpath.bgp.carried import Carried, write
from towpath.bgp.classes import Classes, Match
from towpath.bgp.filter import Chain, compiled, priority_of
from towpath.model.community import Community
from towpath.model.decode import decode
from towpath.model.kinds.filter import BGPFilterSpec
from towpath.model.net import Family, Prefix, to_wire

FIELD = {Family.IPV4: "importV4", Family.IPV6: "importV6"}


def spec(rules: list[dict[str, Any]], *, field: str = "importV4") -> BGPFilterSpec:
    return decode("BGPFilter", {"metadata": {"name": "f"}, "spec": {field: rules}}).spec


def chain(*filters: list[dict[str, Any]] | None, family: Family = Family.IPV4, ebgp: bool = True) -> Chain:
    found = {str(at): spec(rules, field=FIELD[family]) for at, rules in enumerate(filters) if rules is not None}
    return compiled(map(str, range(len(filters))), found, family=family, direction="import", ebgp=ebgp)


def carried(route: Route) -> Carried:
    wires = sorted(Community.parse(text).wire for text in route.communities)
    return Carried(
        path=((2, route.path),) if route.path else (),
        local_preference=route.local_preference,
        med=route.med,
        communities=tuple(wire for wire in wires if len(wire) == 4),
        large=tuple(wire for wire in wires if len(wire) == 12),
    )


def mask(made: Chain, route: Route) -> int:
    return made.mask_of(
        carried(route),
        priority=priority_of(route.local_preference, 1024),
        interface=route.interface,
        learned=route.learned,
    )


def fits(rule: dict[str, Any], route: Route) -> bool:
    made = chain([{"action": "Accept", **rule}], family=Family(route.prefix.version), ebgp=route.ebgp_session)
    return made.first(mask(made, route), to_wire(route.prefix)) is not None


IN = {"cidr": "10.0.0.0/8", "matchOperator": "In"}
EQUAL = {"cidr": "10.1.0.0/16", "matchOperator": "Equal"}


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({}, ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32"], []),
        (IN, ["10.0.0.0/8", "10.1.0.0/16", "10.255.255.255/32"], ["0.0.0.0/0", "8.0.0.0/6", "11.0.0.0/8"]),
        (IN | {"matchOperator": "NotIn"}, ["0.0.0.0/0", "11.0.0.0/8"], ["10.0.0.0/8", "10.1.0.0/16"]),
        (EQUAL, ["10.1.0.0/16"], ["10.0.0.0/8", "10.1.0.0/17", "10.1.1.0/24", "10.2.0.0/16"]),
        (EQUAL | {"matchOperator": "NotEqual"}, ["10.0.0.0/8", "10.1.0.0/17"], ["10.1.0.0/16"]),
        (IN | {"prefixLength": {"min": 16, "max": 24}}, ["10.1.0.0/16", "10.1.1.0/24"], ["10.0.0.0/8", "10.1.1.0/25"]),
        (IN | {"prefixLength": {"min": 24}}, ["10.1.1.0/24", "10.1.1.1/32"], ["10.1.0.0/23", "11.1.1.0/24"]),
        (IN | {"prefixLength": {"max": 8}}, ["10.0.0.0/8"], ["10.0.0.0/9"]),
        (IN | {"matchOperator": "NotIn", "prefixLength": {"min": 16}}, ["10.0.0.0/8", "11.0.0.0/16"], ["10.1.0.0/16"]),
        ({"cidr": "10.1.2.0/25", "matchOperator": "In"}, ["10.1.2.0/25", "10.1.2.64/26"], ["10.1.2.128/25", "10.1.2.0/24"]),
        ({"cidr": "10.1.2.3/32", "matchOperator": "Equal"}, ["10.1.2.3/32"], ["10.1.2.4/32"]),
        ({"cidr": "0.0.0.0/0", "matchOperator": "In"}, ["0.0.0.0/0", "10.0.0.0/8"], []),
        ({"cidr": "fd00::/8", "matchOperator": "In", "prefixLength": {"max": 64}}, ["fd00::/8", "fd00:1::/64"], ["fd00:1::/65", "fc00::/8"]),
        ({"cidr": "fd00:1:2:3::/64", "matchOperator": "In"}, ["fd00:1:2:3::/64", "fd00:1:2:3::1/128"], ["fd00:1:2:4::/64"]),
    ],
)  # fmt: skip
def test_prefix_criteria(rule: dict[str, Any], good: list[str], bad: list[str]) -> None:
    """cidr with each operator, and lengths, which narrow the range before it is negated."""
    assert [text for text in good if not fits(rule, Route(ip_network(text)))] == []
    assert [text for text in bad if fits(rule, Route(ip_network(text)))] == []


HERE = ip_network("192.0.2.0/24")


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"asPathPrefix": [65000]}, {"path": (65000, 1)}, {"path": (1, 65000)}),
        ({"asPathPrefix": [65000, 1]}, {"path": (65000, 1)}, {"path": (65000,)}),
        ({"asPathPrefix": [4200000000]}, {"path": (4200000000,)}, {"path": ()}),
        ({"communities": {"values": ["1:2"]}}, {"communities": frozenset({"1:2", "3:4"})}, {"communities": frozenset({"2:1"})}),
        ({"communities": {"values": ["1:2:3"]}}, {"communities": frozenset({"1:2:3"})}, {"communities": frozenset({"1:2"})}),
        ({"communities": {"values": ["no-export"]}}, {"communities": frozenset({"65535:65281"})}, {}),
        ({"communities": {"values": ["0:1"]}}, {"communities": frozenset({"0:1"})}, {"communities": frozenset({"0:0:65536", "0:0:1"})}),
        ({"priority": 512}, {"local_preference": BASE - 512}, {"local_preference": 512}),
        ({"priority": 1024}, {"local_preference": 100}, {"local_preference": BASE - 1}),
        ({"peerType": "iBGP"}, {"ebgp_session": False}, {}),
        ({"peerType": "eBGP"}, {}, {"ebgp_session": False}),
        ({"source": "RemotePeers"}, {"learned": True}, {"learned": False}),
        ({"interface": "eth*"}, {"interface": "eth0"}, {"interface": "bond0"}),
        ({"interface": "*"}, {"interface": "x"}, {"interface": ""}),
        ({"interface": "e?h0"}, {"interface": "eth0"}, {"interface": "eth00"}),
        ({"asPathPrefix": [1], "communities": {"values": ["1:1"]}}, {"path": (1,), "communities": frozenset({"1:1"})}, {"path": (1,)}),
        (IN | {"asPathPrefix": [1]}, {"path": (1,), "prefix": ip_network("10.1.0.0/16")}, {"path": (1,)}),
    ],
)  # fmt: skip
def test_criteria_of_attributes_and_session(rule: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]) -> None:
    """Each criterion alone, and that all of a rule must hold."""
    assert fits(rule, Route(**{"prefix": HERE, **good}))
    assert not fits(rule, Route(**{"prefix": HERE, **bad}))


@pytest.mark.parametrize(
    ("operations", "after"),
    [
        ([{"addCommunity": {"value": "1:2"}}], {"communities": frozenset({"9:9", "1:2"})}),
        ([{"addCommunity": {"value": "9:9"}}], {}),
        ([{"addCommunity": {"value": "1:2:3"}}], {"communities": frozenset({"9:9", "1:2:3"})}),
        ([{"addCommunity": {"value": "no-export"}}], {"communities": frozenset({"9:9", "65535:65281"})}),
        ([{"removeCommunity": {"value": "9:9"}}], {"communities": frozenset()}),
        ([{"removeCommunity": {"value": "8:8"}}], {}),
        ([{"addCommunity": {"value": "8:8"}}, {"removeCommunity": {"value": "8:8"}}], {}),
        ([{"removeCommunity": {"value": "8:8"}}, {"addCommunity": {"value": "8:8"}}], {"communities": frozenset({"9:9", "8:8"})}),
        ([{"prependASPath": {"prefix": [1, 2]}}], {"path": (1, 2, 7)}),
        ([{"prependASPath": {"prefix": [1]}}, {"prependASPath": {"prefix": [2]}}], {"path": (2, 1, 7)}),
        ([{"setPriority": {"value": 512}}], {"local_preference": BASE - 512}),
        ([{"setLocalPref": {"value": 200}}], {"local_preference": 200}),
        ([{"setLocalPref": {"value": 200}}, {"setPriority": {"value": 5}}], {"local_preference": BASE - 5}),
        ([{"setMED": {"value": 0}}], {"med": 0}),
    ],
)  # fmt: skip
def test_operations(operations: list[dict[str, Any]], after: dict[str, Any]) -> None:
    """Each operation, and that they are carried out in order."""
    before = {"prefix": HERE, "path": (7,), "communities": frozenset({"9:9"}), "med": 40}
    made = chain([{"action": "Accept", "operations": operations}])
    rule = made.first(mask(made, Route(**before)), to_wire(HERE))
    assert rule is not None
    assert rule.changes.apply(carried(Route(**before))) == carried(Route(**before | after))


def test_the_first_match_ends_it_and_no_match_asks_the_next_filter() -> None:
    """Rules in order, filters in order; a filter without a match, or without rules of the family, is passed over."""
    made = chain(
        [{"action": "Reject", **EQUAL}],
        [],
        [{"action": "Accept", **IN}, {"action": "Reject", **IN}],
        [{"action": "Reject"}],
    )
    asked = {text: made.first(mask(made, Route(ip_network(text))), to_wire(ip_network(text))) for text in
             ("10.1.0.0/16", "10.2.0.0/16", "11.0.0.0/8")}  # fmt: skip
    assert {text: rule.name if rule else None for text, rule in asked.items()} == {
        "10.1.0.0/16": "BGPFilter/0 spec.importV4[0]",
        "10.2.0.0/16": "BGPFilter/2 spec.importV4[0]",
        "11.0.0.0/8": "BGPFilter/3 spec.importV4[0]",
    }


def test_a_filter_that_does_not_exist_rejects_in_its_place() -> None:
    """What an earlier filter accepts is accepted; everything else is rejected by the missing one."""
    made = chain([{"action": "Accept", **IN}], None, [{"action": "Accept"}])
    accepted = made.first(mask(made, Route(HERE)), to_wire(ip_network("10.0.0.0/8")))
    rejected = made.first(mask(made, Route(HERE)), to_wire(HERE))
    assert accepted is not None
    assert accepted.accept
    assert rejected is not None
    assert (rejected.accept, rejected.name, rejected.reason) == (False, "BGPFilter/1", "FilterMissing")


NUMBERS = st.sampled_from([1, 2, 65000])
COMMUNITIES = st.sampled_from(["1:2", "0:1", "1:2:3", "no-export"])
GLOBS = st.sampled_from(["eth*", "*", "tp-?x*", "eth0"])
V4 = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.1.1.0/26",
    "10.1.1.64/26",
    "10.1.1.1/32",
    "11.0.0.0/8",
    "8.0.0.0/6",
]
V6 = [
    "::/0",
    "fd00::/8",
    "fd00:1::/32",
    "fd00:1::/48",
    "fd00:1:0:1::/64",
    "fd00:1:0:1::/80",
    "fd00:1:0:1::1/128",
    "fe00::/9",
]


@st.composite
def rules(draw: st.DrawFn, family: Family) -> dict[str, Any]:
    """A rule with any of its criteria and operations."""
    rule: dict[str, Any] = {"action": draw(st.sampled_from(["Accept", "Reject"]))}
    if draw(st.booleans()):
        rule["cidr"] = draw(st.sampled_from(V4 if family is Family.IPV4 else V6))
        rule["matchOperator"] = draw(st.sampled_from(["Equal", "NotEqual", "In", "NotIn"]))
        if draw(st.booleans()):
            low, high = sorted((draw(st.integers(0, family.bits)), draw(st.integers(0, family.bits))))
            rule["prefixLength"] = draw(st.sampled_from([{}, {"min": low}, {"max": high}, {"min": low, "max": high}]))
    for name, values in (
        ("source", st.just("RemotePeers")),
        ("peerType", st.sampled_from(["eBGP", "iBGP"])),
        ("interface", GLOBS),
        ("communities", COMMUNITIES.map(lambda text: {"values": [text]})),
        ("asPathPrefix", st.lists(NUMBERS, min_size=1, max_size=2)),
        ("priority", st.sampled_from([512, 1024])),
    ):
        if draw(st.integers(0, 3)) == 0:
            rule[name] = draw(values)
    if rule["action"] == "Accept":
        value = st.integers(0, 4294967295)
        rule["operations"] = draw(
            st.lists(
                st.one_of(
                    COMMUNITIES.map(lambda text: {"addCommunity": {"value": text}}),
                    COMMUNITIES.map(lambda text: {"removeCommunity": {"value": text}}),
                    st.lists(NUMBERS, min_size=1, max_size=3).map(lambda some: {"prependASPath": {"prefix": some}}),
                    st.integers(1, 70000).map(lambda number: {"setPriority": {"value": number}}),
                    value.map(lambda number: {"setLocalPref": {"value": number}}),
                    value.map(lambda number: {"setMED": {"value": number}}),
                ),
                max_size=4,
            )
        )
    return rule


@st.composite
def routes(draw: st.DrawFn, family: Family) -> Route:
    """A route near the ranges that rules name."""
    text = draw(st.sampled_from(V4 if family is Family.IPV4 else V6))
    length = draw(st.integers(0, family.bits))
    low = draw(st.integers(0, 255)) << draw(st.integers(0, family.bits - 8))
    address = (int(ip_network(text).network_address) | low) & ~((1 << (family.bits - length)) - 1)
    prefix: Prefix = ip_network((address.to_bytes(family.bits // 8, "big"), length))
    return Route(
        prefix=prefix,
        path=tuple(draw(st.lists(NUMBERS, max_size=3))),
        communities=frozenset(map(reference.canonical, draw(st.lists(COMMUNITIES, max_size=3)))),
        local_preference=draw(st.sampled_from([0, 100, BASE - 512, BASE - 1024, BASE - 65536])),
        interface=draw(st.sampled_from(["", "eth0", "tp-vx4-4096"])),
        learned=draw(st.booleans()),
    )


@given(st.data(), st.sampled_from(list(Family)), st.booleans())
def test_compiled_filters_agree_with_a_literal_reading(data: st.DataObject, family: Family, ebgp: bool) -> None:
    """Any filters, any routes: the same rule, the same attributes after, one by one and many at once, masks and blocks alike."""
    filters = data.draw(st.lists(st.one_of(st.none(), st.lists(rules(family), max_size=6)), max_size=3))
    made = chain(*filters, family=family, ebgp=ebgp)
    some = data.draw(st.lists(routes(family), min_size=1, max_size=8))
    for route in (reference.replace(one, ebgp_session=ebgp) for one in some):
        wanted = reference.first(filters, route)
        bits = mask(made, route)
        rule = made.first(bits, to_wire(route.prefix))
        name = None if rule is None else rule.name
        if wanted is None:
            assert rule is None
            continue
        at, place = wanted
        assert name == (f"BGPFilter/{at} spec.{FIELD[family]}[{place}]" if place >= 0 else f"BGPFilter/{at}")
        assert rule is not None
        if place >= 0:
            written = (filters[at] or [])[place]
            assert rule.accept is (written["action"] == "Accept")
            assert rule.changes.apply(carried(route)) == carried(reference.changed(written, route))
        block = write(carried(route), next_hop=b"", four_octet_as=True)
        priority = priority_of(route.local_preference, 1024)
        by_path = made.mask(path=route.path, priority=priority, interface=route.interface, learned=route.learned)
        assert made.with_communities(by_path, block) == bits
    bits = mask(made, some[0])
    wires = [to_wire(one.prefix) for one in some]
    together = {wire: rule for rule, alike in made.split(bits, wires) for wire in alike}
    assert together == {wire: made.first(bits, wire) for wire in wires}


@given(st.data(), st.sampled_from(list(Family)))
def test_classes_of_prefixes_many_at_once_are_those_of_each(data: st.DataObject, family: Family) -> None:
    """Whatever is asked first: nothing that is remembered for one prefix is wrong for another."""
    texts = V4 if family is Family.IPV4 else V6
    matches = []
    for bit in range(data.draw(st.integers(0, 8))):
        cidr = ip_network(data.draw(st.sampled_from(texts)))
        low, high = sorted((data.draw(st.integers(0, family.bits)), data.draw(st.integers(0, family.bits))))
        matches.append((1 << bit, Match(cidr, max(low, cidr.prefixlen), high, data.draw(st.booleans()))))
    classes = Classes(family, matches)
    prefixes = [route.prefix for route in data.draw(st.lists(routes(family), min_size=1, max_size=12))]

    def literal(prefix: Prefix) -> int:
        held = 0
        for bits, match in matches:
            within = prefix.subnet_of(match.cidr) and match.least <= prefix.prefixlen <= match.most
            held |= bits if within is not match.negated else 0
        return held

    wires = [to_wire(prefix) for prefix in prefixes]
    split = classes.split(wires)
    assert {wire: held for held, some in split.items() for wire in some} == {
        to_wire(prefix): literal(prefix) for prefix in prefixes
    }
    assert sorted(wire for some in split.values() for wire in some) == sorted(wires)
    assert [classes.of(wire) for wire in wires] == [literal(prefix) for prefix in prefixes]

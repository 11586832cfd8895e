"""The entry for ``policy test``: it says what the speaker does, and by which rule."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.bgp_table.world import LOCAL_AS, TOR_AS, World, announce, state
from tests.unit.policy.test_export import everything
from tests.unit.policy.test_filter import V4, rules, spec
from towpath.bgp.carried import read
from towpath.bgp.verdict import Outcome, Route, exported, imported, session_of
from towpath.model.community import Community
from towpath.model.net import Family
from towpath.model.speaker import SpeakerState

BASE = 2147483647


def with_filter(field: str, *some: dict[str, Any], **changes: Any) -> SpeakerState:
    """``tor`` names a filter of these rules."""
    base = state()
    tor = replace(base.sessions["tor"], filters=("f",), **changes)
    return replace(base, sessions=base.sessions | {"tor": tor}, filters={"f": spec(list(some), field=field)})


def test_an_import_says_the_rule_and_the_attributes_after() -> None:
    """The Loc-RIB's: what operations made of them, and the priority."""
    world = with_filter(
        "importV4",
        {"action": "Reject", "cidr": "198.51.0.0/16", "matchOperator": "In"},
        {
            "action": "Accept",
            "communities": {"values": ["1:1"]},
            "operations": [{"setPriority": {"value": 512}}, {"addCommunity": {"value": "1:2:3"}}],
        },
        import_policy="Filtered",
    )
    tor = world.sessions["tor"]
    route = Route(ip_network("203.0.113.0/24"), as_path=(TOR_AS, 7), communities=(Community.parse("1:1"),))
    found = imported(world, tor, route)
    assert (found.accepted, found.reason, found.rule) == (True, "FilterAccepted", "BGPFilter/f spec.importV4[1]")
    assert found.outcome == Outcome(
        next_hop=ip_address("10.0.0.254"),
        as_path=(TOR_AS, 7),
        communities=(Community.parse("1:1"), Community.parse("1:2:3")),
        local_preference=BASE - 512,
        med=None,
        priority=512,
    )
    refused = imported(world, tor, replace(route, prefix=ip_network("198.51.100.0/24")))
    assert (refused.accepted, refused.reason, refused.rule) == (False, "FilterRejected", "BGPFilter/f spec.importV4[0]")
    assert imported(world, tor, replace(route, as_path=(TOR_AS, LOCAL_AS))).reason == "ASLoop"
    assert imported(world, tor, replace(route, communities=())).reason == "NotAccepted"


def test_an_export_says_what_goes_on_the_wire() -> None:
    """Our AS first and no LOCAL_PREF to the outside, the priority all the same."""
    world = with_filter("exportV4", {"action": "Accept", "operations": [{"setMED": {"value": 9}}]}, advertise="All")
    block = Route(ip_network("10.244.1.0/26"), source="Block")
    found = exported(world, world.sessions["tor"], block)
    assert (found.reason, found.rule) == ("FilterAccepted", "BGPFilter/f spec.exportV4[0]")
    assert found.outcome == Outcome(None, (LOCAL_AS,), (), None, 9, 1024)
    inside = exported(world, world.sessions["b"], block)
    assert (inside.reason, inside.rule) == ("OwnBlock", "")
    assert inside.outcome == Outcome(None, (), (), BASE - 1024, None, 1024)
    learned = Route(ip_network("203.0.113.0/24"), as_path=(TOR_AS,))
    passed_on = exported(world, world.sessions["tor"], learned, came_by=world.sessions["tor2"])
    assert passed_on.outcome == Outcome(None, (LOCAL_AS, TOR_AS), (), None, 9, 1024)
    assert exported(world, world.sessions["tor2"], learned, came_by=world.sessions["tor2"]).reason == "SplitHorizon"
    looped = replace(learned, as_path=(TOR_AS, LOCAL_AS))
    assert exported(world, world.sessions["tor"], looped, came_by=world.sessions["tor2"]).reason == "ASLoop"


@pytest.mark.parametrize("name", ["tor", "10.0.0.254", "10.0.0.254:179"])
def test_sessions_are_found_by_name_and_by_address(name: str) -> None:
    """With the port or without, however the address is written; an unknown one is none; one that runs before one that does not."""
    sessions = tuple(state().sessions.values())
    found = session_of(sessions, name)
    assert found is not None
    assert found.name == "tor"
    assert session_of(sessions, "10.0.0.254:1790") is None
    withheld = replace(sessions[0], name="a", peer_address=ip_address("fd00::9"), state="Withheld")
    active = replace(withheld, name="b", state="Active")
    assert session_of((withheld, active), "FD00:0::9") == active
    assert session_of((withheld, active), "[fd00::9]:179") == active
    assert session_of((withheld, active), "a") == withheld


@given(
    st.lists(rules(Family.IPV4), max_size=4),
    st.lists(rules(Family.IPV4), max_size=4),
    st.sampled_from([*V4, "10.244.2.0/26"]),
)
def test_it_says_what_the_speaker_does(into: list[Any], out: list[Any], prefix: str) -> None:
    """Any filters: a route that comes in by one ToR and is told to the other, in a table and by the entry alone."""
    base = state()
    sessions = {
        "tor2": replace(base.sessions["tor2"], filters=("in",)),
        "tor": replace(base.sessions["tor"], filters=("out",), advertise="All"),
    }
    filters = {"in": spec(into), "out": spec(out, field="exportV4")}
    world = World(replace(base, sessions=sessions, filters=filters))
    for name in sessions:
        world.up(name)
    world.hear("tor2", announce(prefix, hop="10.0.0.253"))
    route = Route(ip_network(prefix), as_path=(TOR_AS,))
    accepted = imported(world.state, sessions["tor2"], route)
    assert accepted.accepted is (prefix in world.hops())
    if not accepted.accepted:
        assert world.refused("tor2") == {accepted.reason: 1}
    said = exported(world.state, sessions["tor"], route, came_by=sessions["tor2"])
    heard = everything(world, "tor").get(ip_network(prefix))
    assert said.accepted is (heard is not None)
    if heard is not None:
        found = read(heard[0], four_octet_as=True, external=True)
        assert said.outcome is not None
        assert found.sequence == said.outcome.as_path
        assert found.med == said.outcome.med
        assert tuple(map(Community, (*found.communities, *found.large))) == said.outcome.communities

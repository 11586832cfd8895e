"""Nodes that announce their own addresses: to whom, and whose such a route may be."""

from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace

from tests.unit.bgp_table.world import BLOCKS, LOCAL_AS, TOR_AS, World, announce, session, settings, state
from tests.unit.policy.test_export import heard, tor
from towpath.model.speaker import Announcement, NodeOrigin, SpeakerState

B, B6 = "10.0.0.2/32", "fd10::2/128"
OWN, OWN6 = "10.0.0.1/32", "fd10::1/128"
LINK = "10.9.0.1"
RACK_AS = 65101


def announcing(**changes: object) -> SpeakerState:
    """Node a, whose addresses lie on loopback; node b is in another AS."""
    made = state()
    nodes = made.nodes | {"b": NodeOrigin(made.nodes["b"].addresses, RACK_AS)}
    own = [Announcement(ip_network(text), "Node", 1000) for text in (OWN, OWN6)]
    sessions = [
        tor(import_policy="Filtered"),
        tor("tor2", "10.0.0.253", local_address=ip_address("10.0.0.1"), next_hop_beside=ip_address("fd10::1")),
        session("b", "10.0.0.2", peer_node="b", local_address=ip_address("10.0.0.1")),
        session("rr", "10.0.0.9", scope="Global"),
    ]
    made = replace(
        made,
        sessions={one.name: one for one in sessions},
        nodes=nodes,
        announcements={one.prefix: one for one in own},
    )
    return settings(made, node_addresses=True, **changes)


def up(made: SpeakerState) -> World:
    world = World(made)
    for name in made.sessions:
        local = {"local_address": ip_address(LINK)} if name in {"tor", "rr"} else {}
        world.up(name, **local)
    return world


def test_an_address_is_told_only_where_something_else_is_the_way_to_it() -> None:
    """By a session that runs from a link's address; where the next hop would be the address itself there is nothing to tell."""
    world = up(announcing())
    assert list(heard(world, "tor")) == [OWN]
    assert list(heard(world, "rr")) == [OWN]
    assert heard(world, "tor2") == heard(world, "b") == {}


@pytest.mark.parametrize(
    ("peer", "prefix", "path", "hop", "verdict"),
    [
        ("tor", B, (TOR_AS, RACK_AS), "10.0.0.254", ""),
        ("tor", B6, (TOR_AS, 65009, RACK_AS), "fd10::fe", ""),
        ("tor", "10.0.0.3/32", (TOR_AS, RACK_AS), "10.0.0.254", "OriginInvalid"),
        ("tor", B, (TOR_AS,), "10.0.0.254", "OriginInvalid"),
        ("tor", "10.0.0.2/31", (TOR_AS, RACK_AS), "10.0.0.254", "NotAccepted"),
        ("tor", "10.0.0.7/32", (TOR_AS, RACK_AS), "10.0.0.254", "NotAccepted"),
        ("tor", OWN, (TOR_AS, RACK_AS), "10.0.0.254", "OwnAddress"),
        ("b", B, (), "10.0.0.2", "NextHopInvalid"),
        ("b", "10.0.0.3/32", (), "10.0.0.2", "OriginInvalid"),
        ("rr", B, (), "10.9.0.7", "NotAccepted"),
        ("rr", "10.0.0.3/32", (), "10.0.0.9", ""),
        ("rr", B, (), "10.0.0.9", "OriginInvalid"),
        ("rr", B, (65009, RACK_AS), "10.9.0.7", ""),
    ],
)
def test_whose_an_address_is(peer: str, prefix: str, path: tuple[int, ...], hop: str, verdict: str) -> None:
    """Valid from outside by the node's AS, without a filter; an internal path whose next hop is the node leads nowhere."""
    world = up(announcing())
    world.hear(peer, announce(prefix, hop=hop, path=path, preference=None if peer == "tor" else 100))
    assert world.refused(peer) == ({verdict: 1} if verdict else {})
    assert world.hops() == ({} if verdict else {prefix: [hop]})


def test_without_the_setting_an_address_is_as_any_prefix() -> None:
    """It is judged again when the setting, or the node's AS, changes."""
    world = up(announcing())
    world.hear("tor", announce(B, hop="10.0.0.254", path=(TOR_AS, RACK_AS)))
    assert world.hops() == {B: ["10.0.0.254"]}
    world.apply(settings(world.state, node_addresses=False))
    assert world.hops() == {}
    world.apply(settings(world.state, node_addresses=True))
    assert world.hops() == {B: ["10.0.0.254"]}
    world.apply(replace(world.state, nodes=world.state.nodes | {"b": NodeOrigin((ip_address("10.0.0.2"),), LOCAL_AS)}))
    assert world.hops() == {}
    assert world.refused("tor") == {"OriginInvalid": 1}


def test_blocks_stay_what_they_are() -> None:
    """The validation of blocks is the same beside it."""
    world = up(announcing())
    world.hear("tor", announce(BLOCKS["b"][0], hop="10.0.0.254", path=(TOR_AS, RACK_AS)))
    world.hear("tor", announce(BLOCKS["c"][0], hop="10.0.0.254", path=(TOR_AS, RACK_AS)))
    assert world.hops() == {BLOCKS["b"][0]: ["10.0.0.254"]}
    assert world.refused("tor") == {"OriginInvalid": 1}

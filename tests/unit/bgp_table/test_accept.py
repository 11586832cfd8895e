"""What is accepted of what peers send: safety, block-origin validation, import policy, limits (RULES: what is accepted)."""

from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace

from tests.unit.bgp_table.world import (
    ADDRESSES,
    TOR_AS,
    World,
    announce,
    block,
    body,
    mp_reach,
    settings,
    state,
    wires,
    withdraw,
)
from towpath.bgp.ports import SessionError
from towpath.model.net import Family
from towpath.model.reason import Reason
from towpath.model.speaker import Announcement, MaxPrefix, NodeOrigin


@pytest.mark.parametrize(
    ("peer", "prefix", "hop", "path", "reason"),
    [
        ("b", "10.244.2.0/26", "10.0.0.2", [], None),
        ("b", "10.244.2.8/32", "10.0.0.2", [], None),
        ("b", "fd20::2:0/122", "fd10::2", [], None),
        ("c", "10.244.2.0/26", "10.0.0.2", [], None),
        ("b", "10.244.2.0/26", "10.0.0.3", [], "OriginInvalid"),
        ("b", "10.244.3.0/26", "10.0.0.2", [], "OriginInvalid"),
        ("b", "10.244.2.0/23", "10.0.0.2", [], "OriginInvalid"),
        ("b", "10.244.2.0/24", "10.0.0.2", [], "OriginUnknown"),
        ("b", "10.244.77.0/26", "10.0.0.2", [], "OriginUnknown"),
        ("b", "10.244.77.0/26", "10.0.0.77", [], "OriginUnknown"),
        ("b", "fd20::77:0/122", "fd10::2", [], "OriginUnknown"),
        ("b", "fd20::3:0/122", "fd10::2", [], "OriginInvalid"),
        ("b", "10.244.1.0/26", "10.0.0.2", [], "OwnBlock"),
        ("b", "10.244.1.9/32", "10.0.0.2", [], "OwnBlock"),
        ("b", "fd20::1:9/128", "fd10::2", [], "OwnBlock"),
        ("b", "10.0.0.1/32", "10.0.0.2", [], "OwnAddress"),
        ("b", "fd10::1/128", "fd10::2", [], "OwnAddress"),
        ("b", "20.0.0.0/24", "10.0.0.2", [], "NotAccepted"),
        ("b", "0.0.0.0/0", "10.0.0.2", [], "NotAccepted"),
        ("tor", "20.0.0.0/24", "10.0.0.254", [TOR_AS], None),
        ("tor", "10.244.0.0/15", "10.0.0.254", [TOR_AS], None),
        ("tor", "2001:db8::/64", "fd10::fe", [TOR_AS], None),
        ("tor", "0.0.0.0/0", "10.0.0.254", [TOR_AS], "NotAccepted"),
        ("tor", "::/0", "fd10::fe", [TOR_AS], "NotAccepted"),
        ("tor", "0.1.0.0/16", "10.0.0.254", [TOR_AS], "MartianPrefix"),
        ("tor", "127.0.0.1/32", "10.0.0.254", [TOR_AS], "MartianPrefix"),
        ("tor", "224.0.0.0/4", "10.0.0.254", [TOR_AS], "MartianPrefix"),
        ("tor", "255.255.255.255/32", "10.0.0.254", [TOR_AS], "MartianPrefix"),
        ("tor", "fe80::/64", "fd10::fe", [TOR_AS], "MartianPrefix"),
        ("tor", "ff02::/16", "fd10::fe", [TOR_AS], "MartianPrefix"),
        ("tor", "::ffff:10.0.0.0/104", "fd10::fe", [TOR_AS], "MartianPrefix"),
        ("tor", "10.244.2.0/26", "10.0.0.254", [TOR_AS], "OriginInvalid"),
        ("tor", "10.244.77.0/26", "10.0.0.254", [TOR_AS], "OriginUnknown"),
        ("tor", "20.0.0.0/24", "10.0.0.1", [TOR_AS], "NextHopOurs"),
        ("tor", "20.0.0.0/24", "127.0.0.1", [TOR_AS], "NextHopInvalid"),
        ("tor", "20.0.0.0/24", "0.0.0.0", [TOR_AS], "NextHopInvalid"),
        ("tor", "20.0.0.0/24", "230.0.0.1", [TOR_AS], "NextHopInvalid"),
        ("tor", "2001:db8::/64", "fe80::1", [TOR_AS], "NextHopInvalid"),
        ("tor", "2001:db8::/64", "fd10::1", [TOR_AS], "NextHopOurs"),
        ("tor", "20.0.0.0/24", "10.0.0.254", [TOR_AS, 64512], "ASLoop"),
        ("tor", "20.0.0.0/24", "10.0.0.254", [65001], "FirstAS"),
    ],
)
def test_one_path(peer: str, prefix: str, hop: str, path: list[int], reason: str | None) -> None:
    """A path is used, or refused with exactly this reason, for one prefix a message and for many."""
    for more in ((), ("20.1.0.0/24", "20.2.0.0/24") if ":" not in prefix else ("2001:db8:1::/64",)):
        world = World()
        world.up(peer)
        world.hear(peer, announce(prefix, hop=hop, path=path))
        if more and ":" in prefix:
            reach = mp_reach(Family.IPV6, ip_address(hop).packed, wires(prefix, *more))
            world.hear(peer, body(attributes=reach + block(hop=None, path=path)))
        elif more:
            world.hear(peer, body(attributes=block(hop=hop, path=path), announced=wires(prefix, *more)))
        assert world.hops().get(str(ip_network(prefix))) == ([hop] if reason is None else None)
        counts = world.refused(peer)
        if reason is None:
            assert reason not in counts
        else:
            assert counts[reason] >= 1


def test_external_origin_is_the_as_of_the_owner() -> None:
    """A block of a node with an AS of its own is Valid from outside when its path ends in that AS."""
    made = state()
    made = replace(made, nodes=made.nodes | {"b": NodeOrigin(made.nodes["b"].addresses, 65010)})
    world = World(made)
    world.up("tor")
    world.hear("tor", announce("10.244.2.0/26", hop="10.0.0.254", path=[TOR_AS, 65010]))
    assert world.hops() == {"10.244.2.0/26": ["10.0.0.254"]}
    world.hear("tor", announce("10.244.2.0/26", hop="10.0.0.254", path=[TOR_AS, 65011]))
    assert world.hops() == {}


def test_import_none_takes_nothing() -> None:
    """Not even what is Valid."""
    made = state()
    made = replace(made, sessions=made.sessions | {"b": replace(made.sessions["b"], import_policy="None")})
    world = World(made)
    world.up("b")
    world.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=[]))
    world.hear("b", announce("20.0.0.0/24", hop="10.0.0.2", path=[]))
    assert world.hops() == {}
    assert world.refused("b") == {"ImportNone": 2}


def test_a_bad_attribute_withdraws() -> None:
    """The route that was there goes, the session stays (RFC 7606)."""
    world = World()
    world.up("tor")
    world.hear("tor", announce("20.0.0.0/24", hop="10.0.0.254"))
    assert world.hops() == {"20.0.0.0/24": ["10.0.0.254"]}
    world.hear("tor", body(attributes=block()[4:], announced=wires("20.0.0.0/24")))
    assert world.hops() == {}
    assert world.refused("tor") == {"MissingAttribute": 1}


def test_a_family_that_was_not_negotiated_is_ignored() -> None:
    """Neither accepted nor a reason to end the session."""
    world = World()
    world.up("tor", families=(Family.IPV4,))
    world.hear("tor", announce("2001:db8::/64", hop="fd10::fe"), announce("20.0.0.0/24", hop="10.0.0.254"))
    assert world.hops() == {"20.0.0.0/24": ["10.0.0.254"]}
    world.lost("tor")
    world.up("tor", families=(Family.IPV6,))
    world.hear("tor", announce("20.0.1.0/24", hop="10.0.0.254"), announce("2001:db8::/64", hop="fd10::fe"))
    assert world.hops() == {"2001:db8::/64": ["fd10::fe"]}


def test_a_block_that_appears_makes_unknown_valid_and_back() -> None:
    """Judged again when the object changes, without a word from the peer."""
    world = World()
    world.up("b")
    world.hear(
        "b", announce("10.244.9.0/26", hop="10.0.0.2", path=[]), announce("fd20::9:0/122", hop="fd10::2", path=[])
    )
    assert world.hops() == {}
    before = world.state
    both = {ip_network("10.244.9.0/26"): "b", ip_network("fd20::9:0/122"): "b"}
    world.apply(replace(before, blocks=before.blocks | both))
    assert world.hops() == {"10.244.9.0/26": ["10.0.0.2"], "fd20::9:0/122": ["fd10::2"]}
    world.apply(replace(before, blocks=before.blocks | dict.fromkeys(both, "c")))
    assert world.hops() == {}
    assert world.refused("b") == {"OriginInvalid": 2}
    world.apply(before)
    assert world.refused("b") == {"OriginUnknown": 2}


def test_a_node_that_moves_takes_its_claim_along() -> None:
    """A node's new address makes the paths by it Valid, and those by the old one Invalid."""
    world = World()
    world.up("b")
    world.hear("b", announce("10.244.2.0/26", hop="10.0.0.22", path=[]))
    assert world.hops() == {}
    nodes = world.state.nodes | {"b": NodeOrigin((ip_address("10.0.0.22"),), 64512)}
    world.apply(replace(world.state, nodes=nodes))
    assert world.hops() == {"10.244.2.0/26": ["10.0.0.22"]}
    world.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=[]))
    assert world.hops() == {}


def test_unknown_is_used_provisionally_while_the_api_server_is_away() -> None:
    """Only by next hops that are nodes, and never what is Invalid; afterwards it is judged again."""
    world = World()
    world.up("b")
    world.up("tor")
    world.hear("b", announce("10.244.9.0/26", hop="10.0.0.2", path=[]))
    world.hear("b", announce("10.244.10.0/26", hop="10.0.0.99", path=[]))
    world.hear("b", announce("10.244.3.0/26", hop="10.0.0.2", path=[]))
    world.hear("tor", announce("10.244.11.0/26", hop="10.0.0.254"))
    assert world.drained() == {}
    world.apply(settings(world.state, provisional=True))
    assert world.drained() == {ip_network("10.244.9.0/26"): ((ip_address("10.0.0.2"),), True)}
    world.apply(replace(world.state, blocks=world.state.blocks | {ip_network("10.244.9.0/26"): "b"}))
    assert world.drained() == {ip_network("10.244.9.0/26"): ((ip_address("10.0.0.2"),), False)}
    world.apply(settings(state(), provisional=False))
    assert world.drained() == {}


def test_a_block_that_becomes_ours_drops_what_others_say() -> None:
    """And the paths inside it are reported until nobody holds them."""
    world = World()
    world.up("b")
    world.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=[]))
    assert len(world.hops()) == 1
    world.apply(replace(world.state, blocks=world.state.blocks | {ip_network("10.244.2.0/26"): "a"}))
    assert world.hops() == {}
    assert world.table.report({}).foreign_paths == (ip_network("10.244.2.0/26"),)
    world.lost("b")
    assert world.table.report({}).foreign_paths == (ip_network("10.244.2.0/26"),)
    world.up("b")
    world.hear("b", withdraw("10.244.2.0/26"))
    assert world.table.report({}).foreign_paths == ()


def test_an_echo_of_what_we_announce_is_not_somebody_elses() -> None:
    """A second router tells us our own block; before we announced it, or inside it, it was somebody else's."""
    block = ip_network("10.244.2.0/26")
    world = World()
    world.up("tor")
    world.hear("tor", announce(str(block), hop="10.0.0.254", path=[TOR_AS, 64512]))
    world.apply(replace(world.state, blocks=world.state.blocks | {block: "a"}))
    assert world.table.report({}).foreign_paths == (block,)
    said = Announcement(prefix=block, source="Block", local_preference=100)
    world.apply(replace(world.state, announcements={block: said}))
    assert world.table.report({}).foreign_paths == ()
    world.hear("tor", announce("10.244.2.32/27", hop="10.0.0.254", path=[TOR_AS, 64512]))
    assert world.table.report({}).foreign_paths == (block,)


def limited(action: str, limit: int = 3) -> World:
    made = state()
    limits = MaxPrefix(limit, action=action)  # type: ignore[arg-type]
    return World(replace(made, sessions=made.sessions | {"tor": replace(made.sessions["tor"], max_prefix=limits)}))


def test_a_prefix_limit_refuses_new_ones_and_takes_them_when_there_is_room() -> None:
    """What is accepted may still be replaced; what is refused for other reasons does not count."""
    world = limited("Refuse")
    world.up("tor")
    world.hear("tor", *(announce(f"20.0.{n}.0/24", hop="10.0.0.254") for n in range(5)))
    world.hear("tor", announce("127.0.0.0/24", hop="10.0.0.254"))
    assert sorted(world.hops()) == ["20.0.0.0/24", "20.0.1.0/24", "20.0.2.0/24"]
    assert world.refused("tor") == {"MaxPrefix": 2, "MartianPrefix": 1}
    assert [notice.reason for notice in world.table.notices()][-1] is Reason.MAX_PREFIX
    world.hear("tor", announce("20.0.1.0/24", hop="10.0.0.253"))
    assert world.hops()["20.0.1.0/24"] == ["10.0.0.253"]
    world.hear("tor", withdraw("20.0.0.0/24"))
    assert sorted(world.hops()) == ["20.0.1.0/24", "20.0.2.0/24", "20.0.3.0/24"]
    made = world.state.sessions["tor"]
    world.apply(replace(world.state, sessions=world.state.sessions | {"tor": replace(made, max_prefix=MaxPrefix(10))}))
    assert len(world.hops()) == 4


def test_a_limit_counts_both_families_and_whole_messages() -> None:
    """Packed prefixes beyond the limit are cut off where the room ends."""
    world = limited("Refuse", 5)
    world.up("tor")
    world.hear("tor", announce("2001:db8::/64", hop="fd10::fe"))
    world.hear("tor", body(attributes=block(), announced=wires(*(f"20.0.{n}.0/24" for n in range(9)))))
    assert len(world.hops()) == 5
    assert world.refused("tor") == {"MaxPrefix": 5}


def test_a_prefix_limit_may_reset_the_session() -> None:
    """Cease/1 with family and limit (RFC 4486 §4)."""
    world = limited("Reset")
    world.up("tor")
    with pytest.raises(SessionError) as refused:
        world.hear("tor", *(announce(f"20.0.{n}.0/24", hop="10.0.0.254") for n in range(5)))
    assert (refused.value.code, refused.value.subcode) == (6, 1)
    assert refused.value.data == b"\0\1\1\0\0\0\3"


def test_invalid_is_told_at_once_and_not_twice_in_30_seconds() -> None:
    """One notice a peer; unknown ones only when they last."""
    world = World()
    world.up("b", families=(Family.IPV4,))
    for _ in range(5):
        world.hear("b", announce("10.244.3.0/26", hop="10.0.0.2", path=[]))
    assert [(notice.reason, notice.session) for notice in world.table.notices()] == [(Reason.ORIGIN_INVALID, "b")]
    world.hear("b", announce("10.244.9.0/26", hop="10.0.0.2", path=[]))
    world.wait(29)
    assert world.table.notices() == []
    world.wait(2)
    assert [notice.reason for notice in world.table.notices()] == [Reason.ORIGIN_UNKNOWN]
    world.hear("b", announce("10.244.3.0/26", hop="10.0.0.2", path=[]))
    assert [notice.reason for notice in world.table.notices()] == [Reason.ORIGIN_INVALID]
    world.hear("b", withdraw("10.244.9.0/26"), announce("10.244.9.0/26", hop="10.0.0.2", path=[]))
    world.hear("b", withdraw("10.244.9.0/26"))
    world.wait(60)
    assert world.table.notices() == []


def test_next_hops_follow_the_kernel() -> None:
    """Interest names them; unreachable ones are not used, unless it is the external peer itself; metrics decide."""
    world = World()
    for peer in ("b", "tor", "tor2"):
        world.up(peer)
    world.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=[]))
    world.hear("tor", announce("20.0.0.0/24", hop="10.0.0.254"), announce("20.0.1.0/24", hop="10.0.0.99"))
    world.hear("tor2", announce("20.0.0.0/24", hop="10.0.0.253"), announce("20.0.2.0/24", hop="127.0.0.1"))
    wanted = {ip_address(hop) for hop in ("10.0.0.2", "10.0.0.254", "10.0.0.253", "10.0.0.99")}
    assert world.table.interest().addresses == wanted
    assert world.hops()["20.0.0.0/24"] == ["10.0.0.253", "10.0.0.254"]
    world.table.metrics({ip_address("10.0.0.253"): 5, ip_address("10.0.0.254"): 4}, interfaces={})
    assert world.hops()["20.0.0.0/24"] == ["10.0.0.254"]
    world.table.metrics(dict.fromkeys(wanted), interfaces={})
    assert world.hops() == {"20.0.0.0/24": ["10.0.0.253", "10.0.0.254"]}
    world.table.metrics({ip_address("10.0.0.2"): 0}, interfaces={})
    assert "10.244.2.0/26" in world.hops()
    world.hear("b", withdraw("10.244.2.0/26"))
    world.wait(31)
    assert ip_address("10.0.0.2") not in world.table.interest().addresses
    assert ip_address("10.0.0.254") in world.table.interest().addresses


def test_own_addresses_of_the_world_are_the_nodes() -> None:
    """The table's world is the one that these tests assume."""
    assert [str(address) for address in state().settings.own_addresses] == list(ADDRESSES["a"])


@pytest.mark.parametrize("far", [{"multihop": 3}, {"ttl_security": 2}], ids=["multihop", "TTL security over two hops"])
def test_only_a_neighbour_is_reached_because_its_session_is_up(far: dict[str, int]) -> None:
    """A next hop that is the external peer itself needs no word of the kernel where no router is between; else it does."""
    world = World()
    world.up("tor")
    world.hear("tor", announce("20.0.0.0/24", hop="10.0.0.254"))
    world.table.metrics({ip_address("10.0.0.254"): None}, interfaces={})
    assert world.hops() == {"20.0.0.0/24": ["10.0.0.254"]}
    near = world.state.sessions["tor"]
    world.apply(replace(world.state, sessions=world.state.sessions | {"tor": replace(near, **far)}))
    assert world.hops() == {}
    world.table.metrics({ip_address("10.0.0.254"): 7}, interfaces={})
    assert world.hops() == {"20.0.0.0/24": ["10.0.0.254"]}
    world.table.metrics({ip_address("10.0.0.254"): None}, interfaces={})
    assert world.hops() == {}
    world.apply(replace(world.state, sessions=world.state.sessions | {"tor": near}))
    assert world.hops() == {"20.0.0.0/24": ["10.0.0.254"]}


def test_a_next_hop_that_comes_back_is_asked_about_again() -> None:
    """A session ends and comes back within the time for which its next hops are remembered, while others are met."""
    world = World()
    world.up("tor")
    world.hear("tor", announce("20.0.0.0/24", hop="10.0.0.77"))
    world.up("tor2")
    world.hear("tor2", announce("20.0.1.0/24", hop="10.0.0.253"))
    assert world.table.interest().addresses == {ip_address("10.0.0.77"), ip_address("10.0.0.253")}
    every = world.state.sessions
    world.apply(replace(world.state, sessions={name: one for name, one in every.items() if name != "tor"}))
    world.hear("tor2", announce("20.0.1.0/24", hop="10.0.0.78"))
    assert ip_address("10.0.0.77") not in world.table.interest().addresses
    world.apply(replace(world.state, sessions=every))
    world.up("tor")
    world.hear("tor", announce("20.0.0.0/24", hop="10.0.0.77"))
    assert ip_address("10.0.0.77") in world.table.interest().addresses

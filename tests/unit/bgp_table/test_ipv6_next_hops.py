"""IPv4 routes with IPv6 next hops (RFC 8950), and next hops that are link-local: both ways through the table."""

from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.bgp_table.test_outbound import messages
from tests.unit.bgp_table.world import (
    BLOCKS,
    BOTH,
    LOCAL_AS,
    TOR_AS,
    World,
    block,
    body,
    mp_reach,
    mp_unreach,
    session,
    state,
    wires,
)
from towpath.bgp.attributes import next_hop_refusal
from towpath.bgp.update import multiprotocol, split
from towpath.model.net import Family, Prefix, scoped
from towpath.model.speaker import Announcement, MaxPrefix, SpeakerState

OUTSIDE = {Family.IPV4: "192.0.2.0/24", Family.IPV6: "2001:db8::/48"}
PEER, OURS = IPv6Address("fe80::b"), IPv6Address("fe80::a")
NOTHING = bytes(16)
GLOBAL = IPv6Address("2001:db8:1::b")


def on_link(interface: str, **changes: object) -> SpeakerState:
    """Node a with one peer, the router at the end of an interface."""
    tor = session(
        "tor",
        "::1",
        scope="Global",
        peer_address=scoped(PEER, interface),
        interface=interface,
        remote_as=TOR_AS,
        import_policy="All",
        max_prefix=MaxPrefix(1000),
        **changes,
    )
    return state(sessions={"tor": tor})


def up(world: World, name: str = "tor", **changes: object) -> None:
    world.up(name, **{"local_address": OURS, "ipv6_next_hops": True, **changes})


def told(family: Family, next_hop: bytes) -> bytes:
    return body(attributes=mp_reach(family, next_hop, wires(OUTSIDE[family])) + block(hop=None))


@pytest.mark.parametrize(
    "next_hop",
    [PEER.packed, NOTHING + PEER.packed, PEER.packed + PEER.packed, GLOBAL.packed + PEER.packed],
    ids=["alone", "as BIRD", "as FRR", "beside a global one"],
)
@pytest.mark.parametrize("family", list(Family))
def test_a_link_local_next_hop_is_one_on_the_link_of_the_session(family: Family, next_hop: bytes) -> None:
    """Of two the link-local one counts, in both families, and the interface goes with it to the kernel."""
    world = World(on_link("eth1"))
    up(world)
    world.hear("tor", told(family, next_hop))
    assert world.hops() == {OUTSIDE[family]: ["fe80::b%eth1"]}
    assert world.table.interest().addresses == {scoped(PEER, "eth1")}
    assert world.table.whole()[0].sessions == ("tor",)
    gone = wires(OUTSIDE[family])
    world.hear("tor", body(attributes=mp_unreach(family, gone)) if family is Family.IPV6 else body(withdrawn=gone))
    assert world.hops() == {}


def test_one_address_on_two_links_is_two_next_hops() -> None:
    """Two routers that both call themselves fe80::b share the traffic, each on its own link."""
    one, other = (on_link(interface).sessions["tor"] for interface in ("eth0", "eth1"))
    world = World(state(sessions={"one": replace(one, name="one"), "other": replace(other, name="other")}))
    for name, router in (("one", 1), ("other", 2)):
        up(world, name, peer_router_id=router)
        world.hear(name, told(Family.IPV4, NOTHING + PEER.packed))
    assert world.hops() == {"192.0.2.0/24": ["fe80::b%eth0", "fe80::b%eth1"]}
    world.table.metrics(
        {scoped(PEER, "eth0"): None, scoped(PEER, "eth1"): 0}, interfaces={scoped(PEER, "eth1"): "eth1"}
    )
    up(world, "one", peer_router_id=1)
    world.lost("one")
    world.wait(200)
    assert world.hops() == {"192.0.2.0/24": ["fe80::b%eth1"]}


@pytest.mark.parametrize("family", list(Family))
def test_an_internal_router_on_a_link_passes_blocks_on(family: Family) -> None:
    """It is the next hop itself, as no other link-local one would mean anything here: no filter is needed."""
    made = on_link("eth1")
    router = replace(made.sessions["tor"], remote_as=LOCAL_AS, import_policy="Filtered")
    world = World(replace(made, sessions={"tor": router}))
    up(world)
    prefix = BLOCKS["b"][list(Family).index(family)]
    for reach, wanted in ((PEER, {prefix: ["fe80::b%eth1"]}), (IPv6Address("fe80::c"), {})):
        world.hear("tor", body(attributes=mp_reach(family, reach.packed, wires(prefix)) + block(hop=None, path=[])))
        assert world.hops() == wanted


@pytest.mark.parametrize(
    ("family", "next_hop", "changes"),
    [
        (Family.IPV4, PEER.packed, {"ipv6_next_hops": False}),
        (Family.IPV4, GLOBAL.packed, {"ipv6_next_hops": False}),
        (Family.IPV4, NOTHING, {}),
        (Family.IPV4, NOTHING + NOTHING, {}),
        (Family.IPV4, NOTHING + GLOBAL.packed, {}),
        (Family.IPV4, ip_address("ff02::1").packed, {}),
        (Family.IPV4, ip_address("::1").packed, {}),
        (Family.IPV4, ip_address("::ffff:10.0.0.254").packed, {}),
        (Family.IPV6, NOTHING + NOTHING, {}),
        (Family.IPV6, ip_address("10.0.0.254").packed, {}),
    ],
)
def test_next_hops_that_lead_nowhere(family: Family, next_hop: bytes, changes: dict[str, bool]) -> None:
    """Not negotiated, unspecified, multicast, loopback or IPv4 in disguise: refused, and the session goes on."""
    world = World(on_link("eth1"))
    up(world, **changes)
    world.hear("tor", told(family, next_hop))
    assert world.hops() == {}
    assert world.refused("tor") == {"NextHopInvalid": 1}


def test_our_own_link_local_address_is_ours_on_its_own_link_alone() -> None:
    """fe80::a of eth1 is refused by eth1; the same address of a bridge says nothing of the router behind eth1."""
    made = on_link("eth1")
    for device, expected in (("eth1", {"NextHopOurs": 1}), ("docker0", {})):
        world = World(replace(made, settings=replace(made.settings, own_addresses=(scoped(OURS, device),))))
        up(world)
        world.hear("tor", told(Family.IPV4, OURS.packed))
        assert world.refused("tor") == expected


def test_a_link_local_next_hop_by_a_session_with_a_global_address() -> None:
    """Its link is not known: the global one counts, and alone it is refused."""
    made = state()
    tor = replace(made.sessions["tor"], peer_address=GLOBAL)
    world = World(replace(made, sessions={"tor": tor}))
    up(world, local_address=IPv6Address("2001:db8:1::a"))
    world.hear("tor", told(Family.IPV4, GLOBAL.packed + PEER.packed), told(Family.IPV6, PEER.packed))
    assert world.hops() == {"192.0.2.0/24": ["2001:db8:1::b"]}
    assert world.refused("tor") == {"NextHopInvalid": 1}


def announced(world: World, name: str = "tor") -> dict[str, bytes]:
    """What a session is told: next hops by prefix, IPv4 in MP_REACH_NLRI as well as beside NEXT_HOP."""
    found: dict[str, bytes] = {}
    while made := world.table.pull(name, 100_000):
        for one in messages(made):
            withdrawn, attributes, plain = split(one)
            parts = multiprotocol(attributes)
            for text in (*BLOCKS["a"], *OUTSIDE.values()):
                wire = wires(text)
                if parts.reach and parts.reach.family and wire in parts.reach.packed:
                    assert b"\x40\x03\x04" not in parts.rest
                    found[text] = parts.reach.next_hop
                if wire in plain:
                    found[text] = b"in NEXT_HOP"
                if wire in withdrawn or (parts.unreach and wire in parts.unreach.packed):
                    found.pop(text, None)
    return found


@pytest.mark.parametrize("extended", [True, False])
def test_own_blocks_on_a_link(extended: bool) -> None:
    """Both families with our link-local address, twice; IPv4 only if the peer takes it, else a notice says so."""
    world = World(on_link("eth1"))
    up(world, ipv6_next_hops=extended)
    v4, v6 = BLOCKS["a"]
    assert announced(world) == ({v4: OURS.packed * 2} if extended else {}) | {v6: OURS.packed * 2}
    said = [notice.message for notice in world.table.notices()]
    assert [one for one in said if "ipv4" in one] == [one for one in said if not extended]
    assert bool(said) is not extended
    world.apply(replace(world.state, announcements={}))
    gone = world.table.pull("tor", 100_000)
    kinds = [multiprotocol(split(one)[1]).unreach for one in messages(gone)]
    assert {one.family for one in kinds if one} == ({*Family} if extended else {Family.IPV6})


def test_own_blocks_by_a_session_with_a_global_address() -> None:
    """One next hop, our end of the session, for both families."""
    made = state()
    tor = replace(made.sessions["tor"], peer_address=GLOBAL)
    world = World(replace(made, sessions={"tor": tor}))
    up(world, local_address=IPv6Address("2001:db8:1::a"))
    assert set(announced(world).values()) == {IPv6Address("2001:db8:1::a").packed}


@pytest.mark.parametrize("mode", ["Auto", "Keep", "Self"])
def test_a_link_local_next_hop_is_told_to_nobody(mode: str) -> None:
    """What was learned on a link is told to others with ourselves as the way, whatever nextHopMode says."""
    made = on_link("eth1")
    other = session("b", "10.0.0.2", peer_node="b", advertise="All", next_hop=mode, filters=())
    pool = replace(made.settings, pools=(*made.settings.pools, ip_network(OUTSIDE[Family.IPV4])))
    world = World(replace(made, settings=pool, sessions={**made.sessions, "b": other}, blocks={}))
    up(world)
    world.up("b", families=(Family.IPV4,))
    world.hear("tor", told(Family.IPV4, NOTHING + PEER.packed))
    world.drained()
    assert world.hops() == {} or announced(world, "b").get("192.0.2.0/24") == b"in NEXT_HOP"


@given(st.sampled_from(Family), st.binary(max_size=40), st.booleans(), st.booleans())
def test_whatever_is_no_refusal_is_an_address_of_somebody(
    family: Family, packed: bytes, ipv6: bool, link: bool
) -> None:
    """No multicast, loopback, unspecified or link-local address of an unknown link gets through."""
    if next_hop_refusal(family, packed, ipv6=ipv6, link_local=link) is not None:
        return
    assert len(packed) in {4, 16}
    assert len(packed) == 4 or family is Family.IPV6 or ipv6
    address = ip_address(packed)
    assert not any((address.is_multicast, address.is_loopback, address.is_unspecified))
    assert link or not address.is_link_local or len(packed) == 4


def test_families_of_a_session_that_is_not_found_say_nothing_of_it() -> None:
    """Until the router is found there is an address that nobody has."""
    made = session("tor", "::1", peer_address=scoped(IPv6Address(0), "eth1"), interface="eth1", families=BOTH)
    assert not made.found
    assert made.ipv6_next_hops


PREFIXES = st.one_of(
    st.builds(lambda number: ip_network((100 << 24 | number << 8, 24)), st.integers(0, 0xFFFF)),
    st.builds(lambda number: ip_network((0x2001_0DB8 << 96 | number << 64, 64)), st.integers(0, 0xFFFF)),
)


@given(st.sets(PREFIXES, max_size=60), st.sets(PREFIXES, max_size=60), st.sampled_from([300, 100_000]))
def test_what_one_tells_the_other_hears(first: set[Prefix], then: set[Prefix], limit: int) -> None:
    """Whatever is announced and withdrawn on a link, in either family, the other end has it by our address on that link."""
    here, there = on_link("eth1"), on_link("eth7")
    tor = replace(
        there.sessions["tor"], peer_address=scoped(OURS, "eth7"), remote_as=here.settings.local_as, local_as=TOR_AS
    )
    listener = World(replace(there, sessions={"tor": tor}, blocks={}, announcements={}))
    up(listener, local_address=PEER, peer_as=here.settings.local_as, local_as=TOR_AS)
    speaker = World(replace(here, announcements={}))
    up(speaker)
    for wanted in (first, then):
        speaker.apply(replace(speaker.state, announcements={one: Announcement(one, "Service", 100) for one in wanted}))
        while made := speaker.table.pull("tor", limit):
            listener.hear("tor", *messages(made))
        assert listener.hops() == {str(one): ["fe80::a%eth7"] for one in wanted}

"""What a session is told: read back by ExaBGP's decoder as well as by our own."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.bgp_table.world import BOTH, END, World, state
from towpath.bgp.attributes import Decoder, PeerView
from towpath.bgp.outbound import AdjRibOut
from towpath.bgp.ports import LossKind
from towpath.bgp.sent import Encoded
from towpath.bgp.update import multiprotocol, prefixes, split
from towpath.model.net import Family, Prefix, from_wire, to_wire
from towpath.model.speaker import Announcement


def messages(stream: bytes) -> list[bytes]:
    """The UPDATE bodies of a stream; every header is checked."""
    found = []
    while stream:
        size = int.from_bytes(stream[16:18], "big")
        assert stream[:16] == b"\xff" * 16
        assert stream[18] == 2
        assert 23 <= size <= 4096
        found.append(stream[19:size])
        stream = stream[size:]
    return found


class Listener:
    """A peer: what it has learned from a session, and the families that it saw the end of."""

    def __init__(self) -> None:
        self.routes: dict[Prefix, tuple[bytes, bytes]] = {}
        self.complete: list[Family] = []

    def hear(self, stream: bytes) -> None:
        for body in messages(stream):
            withdrawn, block, announced = split(body)
            parts = multiprotocol(block)
            for family, end in END.items():
                if body == end or (parts.unreach and parts.unreach.family is family and not parts.unreach.packed):
                    self.complete.append(family)
            for wire in prefixes(Family.IPV4, withdrawn):
                del self.routes[from_wire(Family.IPV4, wire)]
            for wire in prefixes(Family.IPV6, parts.unreach.packed if parts.unreach else b""):
                del self.routes[from_wire(Family.IPV6, wire)]
            for wire in prefixes(Family.IPV4, announced):
                self.routes[from_wire(Family.IPV4, wire)] = parts.rest, b""
            if parts.reach is not None:
                for wire in prefixes(Family.IPV6, parts.reach.packed):
                    self.routes[from_wire(Family.IPV6, wire)] = parts.rest, parts.reach.next_hop


def told(world: World, name: str, limit: int = 100_000) -> Listener:
    listener = Listener()
    while stream := world.table.pull(name, limit):
        listener.hear(stream)
    return listener


def view(*, ebgp: bool, four: bool = True) -> PeerView:
    peer_as = 64512
    return PeerView(
        ebgp, four, local_as=65000 if ebgp else 64512, peer_as=peer_as, allow_local_as=0, router_id=bytes(4)
    )


def test_an_internal_peer_hears_our_blocks_then_end_of_rib() -> None:
    """Empty AS path, LOCAL_PREF, ourselves as next hop; End-of-RIB once a family, after its prefixes."""
    world = World()
    world.up("b")
    assert world.kicked == ["b"]
    listener = told(world, "b")
    assert listener.complete == [Family.IPV4, Family.IPV6]
    assert list(listener.routes) == [ip_network("10.244.1.0/26")]
    decoded = Decoder(view(ebgp=False)).decode(listener.routes[ip_network("10.244.1.0/26")][0], next_hop=None)
    assert decoded.refusal is None
    assert decoded.next_hop == ip_address("10.0.0.1").packed
    assert decoded.local_preference == 2147483647 - 1024
    assert decoded.path.length == 0


def test_a_session_carries_the_other_family_by_our_address_of_it() -> None:
    """IPv6 over IPv4, and IPv4 over IPv6: the next hop is the node's address of that family; without one nothing is told."""
    world = World()
    sessions = world.state.sessions
    four = replace(sessions["b"], next_hop_beside=ip_address("fd10::1"))
    six = replace(sessions["c"], next_hop_beside=ip_address("10.0.0.1"))
    world.apply(replace(world.state, sessions=sessions | {"b": four, "c": six}))
    world.up("b")
    world.up("c", local_address=ip_address("fd10::1"))
    one, two = told(world, "b"), told(world, "c")
    for listener in (one, two):
        assert set(listener.routes) == {ip_network("10.244.1.0/26"), ip_network("fd20::1:0/122")}
        assert listener.routes[ip_network("fd20::1:0/122")][1] == ip_address("fd10::1").packed
        decoded = Decoder(view(ebgp=False)).decode(listener.routes[ip_network("10.244.1.0/26")][0], next_hop=None)
        assert decoded.next_hop == ip_address("10.0.0.1").packed
    world.apply(replace(world.state, sessions=sessions))  # the node has lost its address
    for name, listener in (("b", one), ("c", two)):
        while stream := world.table.pull(name, 10_000):
            listener.hear(stream)
    assert set(one.routes) == {ip_network("10.244.1.0/26")}
    assert set(two.routes) == {ip_network("fd20::1:0/122")}


def test_ipv6_goes_in_mp_reach() -> None:
    """Over an IPv6 session, next hop ourselves; and IPv4 is what cannot be carried."""
    world = World()
    world.up("b", local_address=ip_address("fd10::1"))
    listener = told(world, "b")
    assert listener.routes[ip_network("fd20::1:0/122")][1] == ip_address("fd10::1").packed
    assert len(listener.routes) == 1


def test_an_external_peer_hears_our_as_and_no_preference() -> None:
    """AS path of our one AS, for an old peer with AS_TRANS and AS4_PATH where it is large."""
    world = World()
    world.up("tor")
    raw = told(world, "tor").routes[ip_network("10.244.1.0/26")][0]
    decoded = Decoder(view(ebgp=True)).decode(raw, next_hop=None)
    assert (decoded.refusal, decoded.path.origin, decoded.local_preference) == (None, 64512, None)
    assert b"\x40\x05\x04" not in raw
    large = replace(world.state.sessions["tor2"], local_as=400000)
    world.apply(replace(world.state, sessions=world.state.sessions | {"tor2": large}))
    world.up("tor2", four_octet_as=False)
    raw = told(world, "tor2").routes[ip_network("10.244.1.0/26")][0]
    old = replace(view(ebgp=True, four=False), peer_as=400000)
    decoded = Decoder(old).decode(raw, next_hop=None)
    assert (decoded.refusal, decoded.path.length, decoded.path.origin) == (None, 1, 400000)


def test_only_the_difference_is_sent() -> None:
    """The same state again sends nothing; a change what it changed; a refresh everything, without End-of-RIB."""
    world = World()
    world.up("b")
    told(world, "b")
    world.kicked.clear()
    world.apply(world.state)
    assert world.kicked == []
    assert world.table.pull("b", 1000) == b""
    extra = Announcement(ip_network("10.244.9.0/26"), "Block", 100, ("65000:1", "1:2:3"))
    world.apply(replace(world.state, announcements=world.state.announcements | {extra.prefix: extra}))
    assert world.kicked == ["b"]
    listener = told(world, "b")
    assert list(listener.routes) == [extra.prefix]
    assert bytes.fromhex("c00804fde80001") in listener.routes[extra.prefix][0]
    assert bytes.fromhex("c0200c000000010000000200000003") in listener.routes[extra.prefix][0]
    world.table.refresh("b", Family.IPV4)
    again = told(world, "b")
    assert set(again.routes) == {extra.prefix, ip_network("10.244.1.0/26")}
    assert again.complete == []
    world.apply(replace(world.state, announcements={}))
    listener.routes = dict(again.routes)
    while stream := world.table.pull("b", 1000):
        listener.hear(stream)
    assert listener.routes == {}


def test_a_slow_peer_gets_the_newest_state_only() -> None:
    """What came and went between two pulls is never sent."""
    world = World()
    world.up("b")
    told(world, "b")
    for number in range(50):
        made = Announcement(ip_network("10.244.9.0/26"), "Block", number)
        world.apply(replace(world.state, announcements=world.state.announcements | {made.prefix: made}))
    assert len(messages(world.table.pull("b", 10_000))) == 1
    world.apply(
        replace(
            world.state, announcements=world.state.announcements | {made.prefix: replace(made, communities=("1:1",))}
        )
    )
    world.apply(replace(world.state, announcements=world.state.announcements | {made.prefix: made}))
    assert world.table.pull("b", 10_000) == b""


def test_a_new_session_starts_whole() -> None:
    """After a loss nothing counts as sent, and nothing is pulled for a session that is down."""
    world = World()
    world.up("b")
    told(world, "b")
    world.lost("b", LossKind.CONNECTION)
    assert world.table.pull("b", 1000) == b""
    world.up("b")
    listener = told(world, "b")
    assert len(listener.routes) == 1
    assert listener.complete == list(BOTH)


@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([1, 2, 3]), st.booleans()), max_size=60),
    st.integers(1, 5000),
    st.booleans(),
)
def test_whatever_changes_the_peer_has_the_present(changes: list[tuple[int, int, bool]], limit: int, six: bool) -> None:
    """Any changes, pulled in any pieces: in the end the peer holds exactly the announcements."""
    world = World(state(announcements={}))
    world.up("b", local_address=ip_address("fd10::1" if six else "10.0.0.1"))
    listener = Listener()
    for number, preference, pull in changes:
        prefix = ip_network(((0xFD20 << 112) + (number << 16), 112) if six else ((0x0A000000 + (number << 8)), 24))
        announcements = dict(world.state.announcements)
        if preference == 3:
            announcements.pop(prefix, None)
        else:
            announcements[prefix] = Announcement(prefix, "Block", preference)
        world.apply(replace(world.state, announcements=announcements))
        if pull:
            listener.hear(world.table.pull("b", limit))
    while stream := world.table.pull("b", limit):
        listener.hear(stream)
    assert set(listener.routes) == set(world.state.announcements)
    for prefix, (raw, _) in listener.routes.items():
        assert b"\x40\x05\x04\0\0\0" + bytes((world.state.announcements[prefix].local_preference,)) in raw
    assert sorted(listener.complete) == list(BOTH)
    assert world.table.report({}).sessions[0].announced == len(listener.routes)


def test_many_prefixes_fill_their_messages() -> None:
    """Ten thousand blocks take as many messages as their bytes need, in both families."""
    for address, base, length in (("10.0.0.1", 0x0A000000, 32), ("fd10::1", 0xFD20 << 112, 128)):
        many = {
            prefix: Announcement(prefix, "Block", 1)
            for prefix in (ip_network((base + number * 64, length - 6)) for number in range(10_000))
        }
        world = World(state(announcements=many))
        world.up("b", local_address=ip_address(address))
        made = []
        while stream := world.table.pull("b", 65536):
            made += messages(stream)
        size = 5 if length == 32 else 17
        assert len(made) <= 10_000 * size // 4000 + 3


@pytest.mark.parametrize(("address", "base", "length"), [("10.0.0.1", 0x0A000000, 32), ("fd10::1", 0xFD20 << 112, 128)])
def test_what_is_pending_is_not_looked_at_in_every_pull(address: str, base: int, length: int) -> None:
    """Announcing, and withdrawing, ten thousand blocks in small pieces looks at each block a few times, not at each pull."""
    looks = 0
    encoded = ip_address(address).packed, bytes.fromhex("40010100400200")

    def tell(_family: Family, wires: Sequence[bytes]) -> list[tuple[tuple[Encoded, ...], Sequence[bytes]]]:
        nonlocal looks
        looks += len(wires)
        return [((encoded,) if there else (), wires)]

    blocks = [to_wire(ip_network((base + number * 64, length - 6))) for number in range(10_000)]
    out = AdjRibOut(World().negotiated("b", local_address=ip_address(address)), tell, {}, holding=False)
    for there in (True, False):
        looks = pulls = 0
        out.touch(Family.IPV4 if length == 32 else Family.IPV6, blocks)
        while out.pull(limit=1000):
            pulls += 1
        assert out.announced == (10_000 if there else 0)
        assert pulls > 10
        assert looks < 20_000

"""Our reading of UPDATEs against ExaBGP's, and hostile bytes against the whole table."""

import os

os.environ.update({"exabgp_log_enable": "false", "exabgp_log_level": "CRITICAL"})

from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from exabgp.bgp.message.action import Action
from exabgp.bgp.message.direction import Direction
from exabgp.bgp.message.notification import Notify
from exabgp.bgp.message.open.capability.negotiated import Negotiated
from exabgp.bgp.message.update import Update
from exabgp.bgp.message.update.attribute.attribute import Attribute
from exabgp.environment import getenv
from exabgp.logger import log
from exabgp.protocol.family import AFI, SAFI
from hypothesis import given
from hypothesis import strategies as st

from tests import effort
from tests.unit.bgp_table.world import TOR_AS, World, as_path, attribute, block, body, mp_reach, mp_unreach, wires
from towpath.bgp.attributes import Decoder, PeerView
from towpath.bgp.ports import SessionError
from towpath.bgp.update import multiprotocol, prefixes, split
from towpath.model.net import Family, Prefix, from_wire

log.init(getenv())
VIEW = PeerView(
    ebgp=True, four_octet_as=True, local_as=64512, peer_as=TOR_AS, allow_local_as=0, router_id=b"\x0a\0\0\1"
)


def exabgp(made: bytes) -> tuple[dict[Prefix, str], set[Prefix], Any]:
    """Announced prefixes with next hops, withdrawn ones, attributes; raises what ExaBGP raises.

    What it would treat as withdrawn is not announced. There it is stricter than RFC 7606 section 3 (c) asks: the
    Partial bit on a well-known attribute is enough for it, and it leaves the next hop out.
    """
    negotiated = Negotiated({"capability": {"aigp": False}})
    negotiated.families = [(AFI.ipv4, SAFI.unicast), (AFI.ipv6, SAFI.unicast)]
    negotiated.asn4 = True
    negotiated.local_as, negotiated.peer_as = 64512, TOR_AS
    negotiated.neighbor = SimpleNamespace()
    update = Update.unpack_message(made, Direction.IN, negotiated)
    if not isinstance(update, Update):
        return {}, set(), {}
    announced = {
        ip_network(str(nlri.cidr), strict=False): str(nlri.nexthop)
        for nlri in update.nlris
        if nlri.action == Action.ANNOUNCE and Attribute.CODE.INTERNAL_TREAT_AS_WITHDRAW not in update.attributes
    }
    withdrawn = {ip_network(str(nlri.cidr), strict=False) for nlri in update.nlris if nlri.action == Action.WITHDRAW}
    return announced, withdrawn, update.attributes


def ours(made: bytes) -> tuple[dict[Prefix, str], set[Prefix], list[Any]]:
    """The same by our reader; prefixes of refused blocks are left out."""
    withdrawn, attributes, announced = split(made)
    parts = multiprotocol(attributes)
    gone = {from_wire(Family.IPV4, wire) for wire in prefixes(Family.IPV4, withdrawn)}
    if parts.unreach and parts.unreach.family:
        gone |= {from_wire(parts.unreach.family, wire) for wire in prefixes(parts.unreach.family, parts.unreach.packed)}
    routes: dict[Prefix, str] = {}
    decoded = []
    for family, packed, hop in (
        (Family.IPV4, announced, None),
        *([(parts.reach.family, parts.reach.packed, parts.reach.next_hop)] if parts.reach else []),
    ):
        if family is None or not packed:
            continue
        made_of = Decoder(VIEW).decode(parts.rest, next_hop=hop)
        decoded.append(made_of)
        if made_of.refusal is None:
            routes |= {from_wire(family, w): str(ip_address(made_of.next_hop)) for w in prefixes(family, packed)}
    return routes, gone, decoded


v4 = st.builds(
    lambda n, size: ip_network((n, size), strict=False), st.integers(0x01000000, 0xDF000000), st.integers(8, 32)
)
v6 = st.builds(
    lambda n, size: ip_network((n << 64, size), strict=False),
    st.integers(0x2000 << 48, 0x3FFF << 48),
    st.integers(16, 128),
)
paths = st.lists(st.integers(1, 2**32 - 1).filter(lambda n: n not in {64512, 23456}), max_size=5).map(
    lambda rest: as_path([TOR_AS, *rest])
)
optional = st.lists(
    st.sampled_from(
        [
            attribute(0x80, 4, b"\0\0\0\7"),
            attribute(0xC0, 8, bytes(range(8))),
            attribute(0xC0, 32, bytes(range(12))),
            attribute(0xC0, 16, b"\0\2\0\1\0\0\0\1"),
            attribute(0x40, 6, b""),
            attribute(0xC0, 7, bytes(4) + b"\x0a\0\0\1"),
        ]
    ),
    unique=True,
    max_size=4,
)


@st.composite
def updates(draw: st.DrawFn) -> bytes:
    """A well-formed UPDATE with both families in any place."""
    attributes = [attribute(0x40, 1, bytes((draw(st.integers(0, 2)),))), draw(paths), *draw(optional)]
    announced = draw(st.lists(v4, max_size=5, unique=True))
    reach = draw(st.lists(v6, max_size=5, unique=True))
    unreach = draw(st.lists(v6, max_size=3, unique=True))
    if announced:
        attributes.append(attribute(0x40, 3, b"\x0a\0\0\xfe"))
    if reach:
        attributes.append(mp_reach(Family.IPV6, ip_address("fd10::fe").packed, wires(*reach)))
    if unreach:
        attributes.append(mp_unreach(Family.IPV6, wires(*[each for each in unreach if each not in reach])))
    withdrawn = [each for each in draw(st.lists(v4, max_size=4, unique=True)) if each not in announced]
    order = draw(st.permutations(attributes))
    return body(wires(*withdrawn), b"".join(order) if announced or reach or unreach else b"", wires(*announced))


@given(updates())
def test_we_read_what_exabgp_reads(made: bytes) -> None:
    """Announced and withdrawn prefixes, next hops, ORIGIN, AS path and MED."""
    theirs, mine = exabgp(made), ours(made)
    assert mine[0] == theirs[0]
    assert mine[1] == theirs[1]
    for decoded in mine[2]:
        attributes = theirs[2]
        assert decoded.refusal is None
        assert decoded.origin == attributes[1].origin
        assert decoded.med == (attributes[4].med if 4 in attributes else 0)
        hops = [int(asn) for segment in attributes[2].aspath for asn in segment]
        assert (decoded.path.length, decoded.path.neighbour, decoded.path.origin) == (len(hops), hops[0], hops[-1])


@given(updates(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3))
def test_what_both_accept_of_broken_updates_is_the_same(made: bytes, changes: list[tuple[int, int]]) -> None:
    """Bytes changed at random: we raise nothing but ``SessionError``, and never announce what ExaBGP reads otherwise."""
    broken = bytearray(made)
    for position, value in changes:
        broken[position % len(broken)] = value
    try:
        mine = ours(bytes(broken))
    except SessionError:
        return
    try:
        theirs = exabgp(bytes(broken))
    except (Notify, ValueError, IndexError, KeyError, TypeError, AttributeError):
        return
    shared = mine[0].keys() & theirs[0].keys()
    assert {prefix: mine[0][prefix] for prefix in shared} == {prefix: theirs[0][prefix] for prefix in shared}


WHOLE = [
    body(wires("20.9.0.0/24"), block(more=attribute(0xC0, 8, bytes(4))), wires("20.0.0.0/24", "20.1.0.0/22")),
    body(
        attributes=mp_reach(Family.IPV6, ip_address("fd10::fe").packed, wires("2001:db8::/64", "2001:db9::/33"))
        + block(hop=None)
    ),
    body(attributes=block() + mp_unreach(Family.IPV6, wires("2001:db8::/64")), announced=wires("20.3.0.0/24")),
]
GOOD = {"20.0.0.0/24", "20.1.0.0/22", "2001:db8::/64", "2001:db9::/33", "20.3.0.0/24"}


def outcome(world: World, made: bytes) -> tuple[int, int] | None:
    """The NOTIFICATION that an UPDATE from the ToR ends the session with, or None."""
    try:
        world.hear("tor", made)
    except SessionError as refused:
        return refused.code, refused.subcode
    return None


@pytest.mark.parametrize("made", WHOLE)
def test_an_update_truncated_anywhere(made: bytes) -> None:
    """The table raises nothing but the typed error, and takes no route that was not in the whole UPDATE."""
    for cut in range(len(made)):
        world = World()
        world.up("tor")
        assert outcome(world, made[:cut]) in {None, (3, 1), (3, 9), (3, 10)}
        assert set(world.hops()) <= GOOD


@pytest.mark.parametrize("made", WHOLE)
def test_an_update_with_any_attribute_block_cut_short(made: bytes) -> None:
    """The same with the length of the block made to fit, so that only what is in it is wrong."""
    withdrawn, attributes, announced = split(made)
    for cut in range(len(attributes)):
        world = World()
        world.up("tor")
        assert outcome(world, body(withdrawn, attributes[:cut], announced)) in {None, (3, 9)}
        assert set(world.hops()) <= GOOD


def test_ten_thousand_mutations() -> None:
    """Hostile bytes to one table: sessions may have to end, nothing else happens, and others' routes stay."""
    world = World()
    for peer in ("b", "tor"):
        world.up(peer)
    world.hear("b", body(attributes=block(hop="10.0.0.2", path=[]), announced=wires("10.244.2.0/26")))
    chance = effort.chance("updates")
    for _ in range(effort.examples(10_000)):
        made = bytearray(chance.choice(WHOLE))
        for _ in range(chance.randint(1, 4)):
            made[chance.randrange(len(made))] = chance.randrange(256)
        ended = outcome(world, bytes(made))
        assert ended in {None, (3, 1), (3, 9), (3, 10)}
        if ended is not None:
            world.lost("tor")
            world.up("tor")
    assert world.hops()["10.244.2.0/26"] == ["10.0.0.2"]
    world.table.report({})
    world.table.interest()
    for prefix, hops in world.hops().items():
        assert not ip_network(prefix).is_multicast
        for hop in hops:
            assert hop not in {"10.0.0.1", "fd10::1", "0.0.0.0", "::"}
            assert not ip_address(hop).is_loopback
            assert not ip_address(hop).is_multicast

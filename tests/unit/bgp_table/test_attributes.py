"""Attribute blocks: what each error costs (RFC 7606), loops, and old peers (RFC 6793)."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from tests.unit.bgp_table.world import as_path, attribute, block
from towpath.bgp.as_path import SEQUENCE, SET, merge_as4
from towpath.bgp.attributes import Decoder, PeerView, ends_in_communities, next_hop_refusal
from towpath.model.net import Family
from towpath.model.reason import Reason

EXTERNAL = PeerView(
    ebgp=True, four_octet_as=True, local_as=64512, peer_as=65000, allow_local_as=0, router_id=b"\x0a\0\0\1"
)
INTERNAL = replace(EXTERNAL, ebgp=False, peer_as=64512, cluster_id=b"\xf4\0\0\1")

ORIGIN = attribute(0x40, 1, b"\0")
HOP = attribute(0x40, 3, b"\x0a\0\0\xfe")
PATH = as_path([65000])


def raw_path(*segments: tuple[int, list[int]]) -> bytes:
    return attribute(0x40, 2, b"".join(bytes((kind, len(n))) + struct.pack(f"!{len(n)}I", *n) for kind, n in segments))


@pytest.mark.parametrize(
    ("made", "refusal"),
    [
        (block(), None),
        (PATH + HOP + ORIGIN, None),
        (PATH + HOP, Reason.MISSING_ATTRIBUTE),
        (ORIGIN + HOP, Reason.MISSING_ATTRIBUTE),
        (ORIGIN + PATH, Reason.MISSING_ATTRIBUTE),
        (b"", Reason.MISSING_ATTRIBUTE),
        (attribute(0x40, 1, b"\3") + PATH + HOP, Reason.MALFORMED),
        (attribute(0x40, 1, b"\0\0") + PATH + HOP, Reason.MALFORMED),
        (attribute(0x80, 1, b"\0") + PATH + HOP, Reason.MALFORMED),
        (attribute(0x50, 1, b"\0") + PATH + HOP, None),
        (ORIGIN + PATH + attribute(0x40, 3, b"\x0a\0\0"), Reason.MALFORMED),
        (ORIGIN + as_path([65001]) + HOP, Reason.FIRST_AS),
        (ORIGIN + as_path([]) + HOP, Reason.FIRST_AS),
        (ORIGIN + as_path([65000, 0]) + HOP, Reason.AS_ZERO),
        (ORIGIN + as_path([65000, 64512]) + HOP, Reason.AS_LOOP),
        (ORIGIN + raw_path((SEQUENCE, [])) + HOP, Reason.MALFORMED),
        (ORIGIN + raw_path((5, [65000])) + HOP, Reason.MALFORMED),
        (ORIGIN + raw_path((3, [65000])) + HOP, Reason.MALFORMED),
        (ORIGIN + raw_path((SEQUENCE, [65000]), (4, [65001])) + HOP, Reason.MALFORMED),
        (ORIGIN + raw_path((SET, [65000])) + HOP, Reason.FIRST_AS),
        (ORIGIN + raw_path((SEQUENCE, [65000]), (SET, [1, 64512])) + HOP, Reason.AS_LOOP),
        (ORIGIN + attribute(0x40, 2, b"\2\2\0\0\xfd\xe8") + HOP, Reason.MALFORMED),
        (block(more=attribute(0x80, 4, b"\0\0\1")), Reason.MALFORMED),
        (block(more=attribute(0xC0, 8, b"\0\0\1")), Reason.MALFORMED),
        (block(more=attribute(0xC0, 8, b"")), Reason.MALFORMED),
        (block(more=attribute(0xC0, 16, bytes(7))), Reason.MALFORMED),
        (block(more=attribute(0xC0, 32, bytes(13))), Reason.MALFORMED),
        (block(more=attribute(0xC0, 8, bytes(4))), None),
        (block(more=attribute(0xC0, 99, b"whatever")), None),
        (block(more=attribute(0x40, 99, b"whatever")), Reason.MALFORMED),
        (block(more=attribute(0x40, 6, b"x")), None),
        (block(more=attribute(0xC0, 7, b"x")), None),
        (block(more=attribute(0x40, 5, b"x")), None),
        (block(more=attribute(0x80, 9, b"\x0a\0\0\1")), None),
        (block(more=attribute(0x80, 10, b"x")), None),
        (block(more=attribute(0x40, 1, b"\7")), None),
        (block(more=b"\x40"), Reason.MALFORMED),
        (block(more=b"\xc0\x08\x05\0"), Reason.MALFORMED),
        (block(more=b"\xd0\x08\x00"), Reason.MALFORMED),
    ],
)
def test_what_an_external_block_is_worth(made: bytes, refusal: Reason | None) -> None:
    """Each error refuses the routes of the block, or, where the RFC says "discard", nothing."""
    assert Decoder(EXTERNAL).decode(made, next_hop=None).refusal is refusal


@pytest.mark.parametrize(
    ("made", "refusal"),
    [
        (block(path=[]), None),
        (block(path=[65001]), None),
        (block(path=[64512]), Reason.AS_LOOP),
        (block(path=[], more=attribute(0x40, 5, b"x")), Reason.MALFORMED),
        (block(path=[], more=attribute(0x80, 9, b"\x0a\0\0\1")), Reason.ORIGINATOR_LOOP),
        (block(path=[], more=attribute(0x80, 9, b"\x0a\0\0")), Reason.MALFORMED),
        (block(path=[], more=attribute(0x80, 10, bytes(4) + b"\xf4\0\0\1")), Reason.CLUSTER_LOOP),
        (block(path=[], more=attribute(0x80, 10, bytes(4) + b"\x0a\0\0\1")), None),
        (block(path=[], more=attribute(0x80, 10, bytes(3))), Reason.MALFORMED),
        (block(path=[], more=attribute(0x80, 10, bytes(8))), None),
        (ORIGIN + raw_path((3, [65001])) + HOP, None),
        (ORIGIN + raw_path((3, [64512])) + HOP, Reason.AS_LOOP),
    ],
)
def test_what_an_internal_block_is_worth(made: bytes, refusal: Reason | None) -> None:
    """Inside the AS the reflector's attributes count, and confederation segments are in order."""
    assert Decoder(INTERNAL).decode(made, next_hop=None).refusal is refusal


def test_what_decision_and_policy_read() -> None:
    """Lengths count sets once and confederations not at all; neighbour and origin are of the real segments."""
    made = ORIGIN + raw_path((3, [7, 8]), (SEQUENCE, [65001, 65002]), (SET, [5, 6])) + HOP
    made += attribute(0x80, 4, b"\0\0\0\5") + attribute(0x40, 5, b"\0\0\0\6") + attribute(0x80, 10, bytes(8))
    decoded = Decoder(INTERNAL).decode(made, next_hop=None)
    assert (decoded.path.length, decoded.path.neighbour, decoded.path.origin) == (3, 65001, None)
    assert (decoded.med, decoded.local_preference, decoded.cluster_length) == (5, 6, 2)
    assert decoded.next_hop == b"\x0a\0\0\xfe"


def test_own_as_may_be_allowed() -> None:
    """numAllowedLocalASNumbers times, and not once more."""
    twice = Decoder(replace(EXTERNAL, allow_local_as=2))
    assert twice.decode(block(path=[65000, 64512, 64512]), next_hop=None).refusal is None
    assert twice.decode(block(path=[65000, 64512, 64512, 64512]), next_hop=None).refusal is Reason.AS_LOOP


def test_old_peers_paths_are_put_together() -> None:
    """AS_TRANS gives way to the numbers of AS4_PATH, hops that only AS_PATH has stay in front (RFC 6793 §4.2.3)."""
    old = Decoder(replace(EXTERNAL, four_octet_as=False))
    made = ORIGIN + as_path([65000, 65001, 23456], width=2) + HOP
    four = attribute(0xC0, 17, b"\2\2" + struct.pack("!II", 65001, 400000))
    decoded = old.decode(made + four, next_hop=None)
    assert (decoded.refusal, decoded.path.length, decoded.path.origin) == (None, 3, 400000)
    looped = attribute(0xC0, 17, b"\2\2" + struct.pack("!II", 65001, 64512))
    assert old.decode(made + looped, next_hop=None).refusal is Reason.AS_LOOP
    assert old.decode(made + attribute(0xC0, 17, b"\2\2\0"), next_hop=None).path.origin == 23456
    aggregated = attribute(0xC0, 7, b"\0\1" + bytes(4))
    assert old.decode(made + aggregated + four, next_hop=None).path.origin == 400000
    beside = attribute(0xC0, 18, (70000).to_bytes(4, "big") + bytes(4))
    assert old.decode(made + aggregated + four + beside, next_hop=None).path.origin == 23456


def test_merging_as4_paths() -> None:
    """A longer AS4_PATH is ignored; sets count one hop."""
    assert merge_as4([(SEQUENCE, (1,))], [(SEQUENCE, (8, 9))]) == [(SEQUENCE, (1,))]
    merged = merge_as4([(SEQUENCE, (1, 2)), (SET, (3, 4)), (SEQUENCE, (23456,))], [(SEQUENCE, (9,))])
    assert merged == [(SEQUENCE, (1, 2)), (SET, (3, 4)), (SEQUENCE, (9,))]


def test_next_hops_that_never_are() -> None:
    """Unspecified, loopback, multicast, link-local, mapped; and lengths of the other family."""

    def refusal(family: Family, packed: bytes) -> Reason | None:
        return next_hop_refusal(family, packed, ipv6=False, link_local=False)

    for text in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255"):
        assert refusal(Family.IPV4, ip_address(text).packed) is Reason.NEXT_HOP_INVALID
    for text in ("::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1"):
        assert refusal(Family.IPV6, ip_address(text).packed) is Reason.NEXT_HOP_INVALID
    assert refusal(Family.IPV4, ip_address("10.0.0.1").packed) is None
    assert refusal(Family.IPV6, ip_address("2001:db8::1").packed) is None
    assert refusal(Family.IPV4, bytes(16)) is Reason.NEXT_HOP_INVALID
    assert refusal(Family.IPV6, b"\x0a\0\0\1") is Reason.NEXT_HOP_INVALID


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda more: block() + more), st.booleans(), st.booleans())
def test_any_bytes_are_decoded_or_refused(made: bytes, internal: bool, old: bool) -> None:
    """No bytes raise anything."""
    view = replace(INTERNAL if internal else EXTERNAL, four_octet_as=not old)
    Decoder(view).decode(made, next_hop=None)


_COMMUNITIES = st.builds(
    attribute,
    st.sampled_from((0xC0, 0xC0, 0xC0, 0xE0, 0x80, 0xD0)),
    st.sampled_from((8, 16, 32, 4)),
    st.binary(max_size=26),
)


@given(st.lists(_COMMUNITIES, max_size=3), st.lists(_COMMUNITIES, max_size=3), st.binary(max_size=3))
def test_trailing_communities_change_nothing(head: list[bytes], tail: list[bytes], rest: bytes) -> None:
    """Where only well-formed communities follow a place, the block is worth what it is worth up to there."""
    made = b"".join([ORIGIN, PATH, HOP, *head, *tail]) + rest
    whole, cut = Decoder(EXTERNAL).read(made, next_hop=None)
    if ends_in_communities(made, cut):
        part = Decoder(EXTERNAL).decode(made[:cut], next_hop=None)
        assert astuple(part) == astuple(whole)


@given(st.lists(st.integers(1, 2**32 - 1), max_size=8), st.permutations(range(3)), st.binary(max_size=8))
def test_the_order_of_attributes_does_not_matter(numbers: list[int], order: list[int], more: bytes) -> None:
    """The short way for the usual order and the loop agree."""
    parts = [ORIGIN, as_path(numbers), HOP]
    usual = Decoder(INTERNAL).decode(b"".join(parts) + attribute(0xC0, 99, more), next_hop=None)
    other = Decoder(INTERNAL).decode(attribute(0xC0, 99, more) + b"".join(parts[i] for i in order), next_hop=None)
    assert (usual.path, usual.refusal, usual.next_hop) == (other.path, other.refusal, other.next_hop)


def test_truncated_blocks_refuse() -> None:
    """A block cut anywhere but between two attributes is malformed; between two, something is missing."""
    whole = block(more=attribute(0xC0, 8, bytes(4)))
    edges = {0, 4, 13, 20}
    for cut in range(len(whole)):
        refusal = Decoder(EXTERNAL).decode(whole[:cut], next_hop=None).refusal
        if cut == 20:
            assert refusal is None
        else:
            assert refusal is (Reason.MISSING_ATTRIBUTE if cut in edges else Reason.MALFORMED)

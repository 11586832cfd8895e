"""The bytes of an UPDATE."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.bgp_table.world import World, attribute, block, body, mp_reach, mp_unreach, wires
from towpath.bgp.ports import SessionError
from towpath.bgp.update import leading_reach, multiprotocol, prefixes, split
from towpath.model.net import Family, Prefix, from_wire, to_wire


def networks(family: Family) -> st.SearchStrategy[Prefix]:
    """Any prefix of a family."""
    bits = family.bits
    return st.builds(
        lambda packed, length: ip_network((packed, length), strict=False),
        st.binary(min_size=bits // 8, max_size=bits // 8),
        st.integers(0, bits),
    )


@given(st.sampled_from(Family), st.data())
def test_prefixes_survive_the_wire(family: Family, data: st.DataObject) -> None:
    """Any prefixes of a family, packed and cut again, are the same, in the same order."""
    some = data.draw(st.lists(networks(family), max_size=40))
    packed = b"".join(map(to_wire, some))
    assert [from_wire(family, wire) for wire in prefixes(family, packed)] == some


@given(st.sampled_from(Family), st.binary(max_size=60))
@example(Family.IPV4, b"\x21\x01\x02\x03\x04\x05")
@example(Family.IPV4, b"\x14\x0a\x00\xff")
def test_any_bytes_are_canonical_prefixes_or_a_session_error(family: Family, packed: bytes) -> None:
    """Whatever a peer sends is cut as the plain reading of RFC 4271 §4.3 cuts it, host bits cleared, or refused."""
    expected: list[bytes] | None = []
    position = 0
    while position < len(packed):
        length = packed[position]
        following = position + 1 + (length + 7) // 8
        if length > family.bits or following > len(packed):
            expected = None
            break
        expected.append(to_wire(from_wire(family, packed[position:following])))
        position = following
    if expected is None:
        with pytest.raises(SessionError) as refused:
            prefixes(family, packed)
        assert (refused.value.code, refused.value.subcode) == (3, 10)
    else:
        assert prefixes(family, packed) == expected


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_split_gives_the_three_parts(withdrawn: bytes, attributes: bytes, announced: bytes) -> None:
    """What was put together comes apart."""
    assert split(body(withdrawn, attributes, announced)) == (withdrawn, attributes, announced)


def test_lengths_that_overrun_the_update_end_the_session() -> None:
    """Malformed Attribute List, because the prefixes cannot be found (RFC 7606 §3 b)."""
    for bad in (b"", b"\0\0\0", b"\0\5\0\0", b"\0\0\0\1", b"\xff\xff\0\0", b"\0\0\xff\xff\0"):
        with pytest.raises(SessionError) as refused:
            split(bad)
        assert (refused.value.code, refused.value.subcode) == (3, 1)


V6 = mp_reach(Family.IPV6, bytes(16), wires("fd20::/64", "::/0"))
GONE = mp_unreach(Family.IPV6, wires("fd21::/64"))


def test_multiprotocol_attributes_are_found_anywhere() -> None:
    """First, last or between, both or one: the rest is the block without them."""
    rest = block()
    for made in (V6 + GONE + rest, rest + V6 + GONE, rest[:4] + V6 + rest[4:] + GONE):
        parts = multiprotocol(made)
        assert parts.rest == rest
        assert parts.reach is not None
        assert parts.reach.family is Family.IPV6
        assert prefixes(Family.IPV6, parts.reach.packed) == [to_wire(ip_network("fd20::/64")), b"\0"]
        assert parts.unreach is not None
        assert parts.unreach.packed == wires("fd21::/64")


@pytest.mark.parametrize(
    ("made", "subcode"),
    [
        (V6 + V6, 1),
        (GONE + block() + GONE, 1),
        (V6[:-1], 9),
        (attribute(0x80, 14, b"\0\2\1"), 9),
        (attribute(0x80, 15, b"\0\2"), 9),
        (attribute(0x80, 14, b"\0\2\1\x10" + bytes(5)), 9),
        (attribute(0x80, 14, b"\0\2\1\x05" + bytes(6)), 9),
    ],
)
def test_multiprotocol_attributes_that_cannot_be_read_end_the_session(made: bytes, subcode: int) -> None:
    """Repeated ones, and ones whose prefixes cannot be found (RFC 7606 §3 g, §5.3)."""
    with pytest.raises(SessionError) as refused:
        multiprotocol(made)
    assert (refused.value.code, refused.value.subcode) == (3, subcode)


@pytest.mark.parametrize("flags", [0x40, 0xC0, 0x00, 0xD0])
def test_multiprotocol_attributes_with_wrong_flags_are_found_and_not_used(flags: int) -> None:
    """Optional and not transitive, or what comes with them is as good as withdrawn (RFC 7606 §3 c)."""
    reach = bytes((flags & ~0x10 | 0x10,)) + V6[1:]
    assert leading_reach(reach + block()) is None
    world = World()
    world.up("tor")
    good = mp_reach(Family.IPV6, ip_address("fd10::fe").packed, wires("2001:db8::/32"))
    world.hear("tor", body(attributes=good + block(hop=None)))
    assert "2001:db8::/32" in world.hops()
    world.hear("tor", body(attributes=bytes((flags & ~0x10 | 0x10,)) + good[1:] + block(hop=None)))
    assert world.hops() == {}
    gone = bytes((flags & ~0x10 | 0x10,)) + mp_unreach(Family.IPV6, wires("2001:db8::/32"))[1:]
    world.hear("tor", body(attributes=good + block(hop=None)), body(attributes=gone))
    assert world.hops() == {}


@given(st.binary(max_size=80) | st.builds(lambda more: V6 + more, st.binary(max_size=40)))
def test_the_short_cut_agrees_with_the_long_way(made: bytes) -> None:
    """Where the short cut answers at all it answers as the general reading does."""
    cut = leading_reach(made)
    if cut is None:
        return
    head, rest, packed = cut
    parts = multiprotocol(made) if head[:3] in {b"\0\1\1", b"\0\2\1"} and len(head) in {8, 20, 36} else None
    if parts is not None:
        assert parts.rest == rest
        assert parts.reach is not None
        assert parts.reach.next_hop == head[4:]
        assert parts.reach.packed == packed
        assert parts.unreach is None

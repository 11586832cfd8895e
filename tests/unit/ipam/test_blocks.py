"""Carving pools into blocks and finding free ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.ipam.blocks import Space, capacity, carve, start_of, usable
from towpath.model.net import overlaps, parse_prefix
from towpath.model.spans import span


@pytest.mark.parametrize(
    ("block", "pool", "expected"),
    [
        ("10.0.0.64/26", "10.0.0.0/16", 64),
        ("10.0.0.0/26", "10.0.0.0/16", 62),
        ("10.0.255.192/26", "10.0.0.0/16", 63),
        ("10.0.0.0/32", "10.0.0.0/24", 0),
        ("10.0.0.1/32", "10.0.0.0/24", 0),
        ("10.0.0.2/32", "10.0.0.0/24", 1),
        ("10.0.0.255/32", "10.0.0.0/24", 0),
        ("10.0.0.0/31", "10.0.0.0/24", 0),
        ("fd00::/122", "fd00::/64", 62),
        ("fd00::ffff:ffff:ffff:ffc0/122", "fd00::/64", 64),
        ("10.1.0.0/29", None, 5),
    ],
)
def test_capacity(block, pool, expected):
    """Network, gateway and IPv4 broadcast address of the pool belong to nobody."""
    assert capacity(parse_prefix(block), pool=pool and parse_prefix(pool)) == expected


def test_blocks_are_carved_in_order():
    """Place n is the n-th block."""
    assert [str(carve(parse_prefix("10.0.0.0/24"), length=26, place=place)) for place in range(4)] == [
        "10.0.0.0/26",
        "10.0.0.64/26",
        "10.0.0.128/26",
        "10.0.0.192/26",
    ]
    assert str(carve(parse_prefix("fd00::/48"), length=122, place=1 << 70)) == "fd00:0:0:1000::/122"


def test_released_blocks_are_given_out_last():
    """A block of a node that is gone is taken only when nothing else is free."""
    pool, released = parse_prefix("10.0.0.0/24"), {parse_prefix("10.0.0.64/26")}
    space = Space(pool, length=26)
    found = [space.find(1, last_of_all=released) for _ in range(5)]
    assert [str(block) for block in found] == ["10.0.0.128/26", "10.0.0.192/26", "10.0.0.0/26", "10.0.0.64/26", "None"]


def test_a_huge_foreign_block_costs_no_walk():
    """A /64 in an IPv6 pool covers 2**58 places and is stepped over at once."""
    pool = parse_prefix("fd00::/63")
    space = Space(pool, length=122, taken=[span(parse_prefix("fd00::/64"))])
    assert space.find(5) == parse_prefix("fd00:0:0:1::/122")


PREFIXES = st.builds(
    lambda length, place: carve(parse_prefix("10.0.0.0/24"), length=length, place=place % (1 << (length - 24))),
    st.integers(24, 32),
    st.integers(0, 255),
)


@given(st.lists(PREFIXES, max_size=8), st.integers(25, 32), st.integers(0, 255))
def test_what_is_found_is_free_and_everything_free_is_found(taken, length, start):
    """Beside a naive search: no overlap, no usable block left over."""
    pool = parse_prefix("10.0.0.0/24")
    space = Space(pool, length=length, taken=[span(one) for one in taken])
    start %= space.places
    found = []
    while (block := space.find(start)) is not None:
        found.append(block)
    candidates = [carve(pool, length=length, place=(start + offset) % space.places) for offset in range(space.places)]
    assert found == [
        block for block in candidates if usable(block, pool=pool) and not any(overlaps(block, one) for one in taken)
    ]
    assert space.find(0) is None


def test_nodes_start_at_different_places():
    """The point comes from the name alone."""
    starts = [start_of(f"node-{number}", places=1 << 14) for number in range(50)]
    assert len(set(starts)) > 45
    assert starts == [start_of(f"node-{number}", places=1 << 14) for number in range(50)]


@given(st.lists(st.tuples(st.booleans(), PREFIXES), max_size=30), st.integers(25, 32), st.integers(0, 255))
def test_what_was_dropped_is_free_again(steps, length, start):
    """A space that things came to and went from finds what a new one with the same things finds."""
    pool = parse_prefix("10.0.0.0/24")
    space, held = Space(pool, length=length), []
    for comes, prefix in steps:
        if comes or prefix not in held:
            space.hold(span(prefix))
            held.append(prefix)
        else:
            space.drop(span(prefix))
            held.remove(prefix)
    fresh = Space(pool, length=length, taken=map(span, held))
    start %= space.places
    assert [space.find(start) for _ in range(3)] == [fresh.find(start) for _ in range(3)]


def test_a_search_steps_over_what_is_taken_at_once():
    """However full a pool is, a search looks at a handful of places."""
    pool = parse_prefix("10.0.0.0/8")
    space = Space(pool, length=26)
    for place in range(50_000):
        space.hold(span(carve(pool, length=26, place=place)))
    looked = []

    class Counting(list):
        def __getitem__(self, index):
            looked.append(index)
            return super().__getitem__(index)

    space._taken = Counting(space._taken)
    assert space.find(5) == carve(pool, length=26, place=50_000)
    assert len(looked) < 100

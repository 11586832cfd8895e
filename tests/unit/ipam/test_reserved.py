"""Addresses that an IPReservation keeps: not cut into blocks, not in ranges, not counted as room, and told of where a pod has one."""

import itertools
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ipam.world import block, cluster, node, pool, report, reservation, status
from towpath.ipam.blocks import carve, free, space_of, usable
from towpath.ipam.cni import NETWORK, conflist
from towpath.ipam.hostlocal import HostLocal
from towpath.ipam.memory import Memory
from towpath.ipam.plan import plan
from towpath.ipam.reserved import Reserved
from towpath.model.net import parse_prefix
from towpath.model.reason import Reason, Why

POOL = parse_prefix("10.0.0.0/24")
PREFIXES = st.builds(
    lambda length, place: carve(POOL, length=length, place=place % (1 << (length - 24))),
    st.integers(24, 32),
    st.integers(0, 255),
)


def kept(*cidrs: str, name: str = "kept") -> Reserved:
    return Reserved({name: reservation(*cidrs, name=name)})


@given(st.lists(PREFIXES, max_size=8), st.integers(25, 32), st.sampled_from(["Never", "Always"]))
def test_what_is_left_of_a_pool_is_what_no_reservation_has(reserved, length, mode):
    """Beside a naive look at each address: which blocks are cut, how many are not, and which addresses pods get of one."""
    everything = kept(*map(str, reserved))
    spec = pool("a", str(POOL), blockSize=length, **({"vxlanMode": mode} if length < 32 else {})).spec
    space, found = space_of(spec, kept=everything), set()
    while (one := space.find(0)) is not None:
        found.add(one)
    taken = {address for one in reserved for address in one}
    places = [carve(POOL, length=length, place=place) for place in range(1 << (length - 24))]

    def given_of(one):
        ends = usable(one, pool=POOL)
        inside = (address for address in one if ends and ends[0] <= address <= ends[1])
        return {address for address in inside if address not in taken}

    cut = {one for one in places if given_of(one) and not (spec.encapsulates and one.network_address in taken)}
    assert found == cut
    assert space.closed == len(places) - len(cut)
    for one in places:
        ranges = free(one, pool=POOL, kept=everything)
        listed = [ip_address(value) for first, last in ranges for value in range(int(first), int(last) + 1)]
        assert listed == sorted(given_of(one))
        assert all(int(first) - int(before) > 1 for (_, before), (first, _) in itertools.pairwise(ranges))


def test_other_families_and_pools_are_not_concerned():
    """An IPv6 reservation leaves an IPv4 pool as it is, and the same numbers of the other family are other addresses."""
    spec = pool("a", "10.0.0.0/24").spec
    assert space_of(spec, kept=kept("::a00:0/120", "10.0.1.0/24")).closed == 0
    assert list(free(POOL, pool=POOL, kept=kept("::a00:0/120"))) == [(ip_address("10.0.0.2"), ip_address("10.0.0.254"))]


def test_a_pool_that_is_kept_as_a_whole_is_told_and_so_is_each_reservation():
    """With object and field; the next pool serves all the same, and nothing is said of one that has room."""
    first, second = reservation("10.0.0.0/25", name="one"), reservation("10.9.0.0/16", "10.0.0.128/25", name="two")
    pools = pool("a", "10.0.0.0/24"), pool("b", "10.1.0.0/24")
    wished = plan(cluster(*pools, first, second, node("n")), memory=Memory(), now=0.0)
    assert [claim.spec.pool for claim in wished.claims] == ["b"]
    assert {one.object for one in wished.refusals} == {
        Why("IPPool", "a", "spec.cidr"),
        Why("IPReservation", "one", "spec.reservedCIDRs[0]"),
        Why("IPReservation", "two", "spec.reservedCIDRs[1]"),
    }
    assert {one.reason for one in wished.refusals} == {Reason.POOL_RESERVED}
    assert not plan(cluster(*pools, first, node("n")), memory=Memory(), now=0.0).refusals


def test_where_nothing_else_is_left_the_pool_is_exhausted():
    """The node that waits is named, and served once the reservation goes."""
    everything = cluster(pool("a", "10.0.0.0/24"), reservation("10.0.0.0/8"), node("n"))
    wished = plan(everything, memory=Memory(), now=0.0)
    assert not wished.claims
    assert {one.reason for one in wished.refusals} == {Reason.POOL_RESERVED, Reason.POOL_EXHAUSTED}
    assert plan(cluster(pool("a", "10.0.0.0/24"), node("n")), memory=Memory(), now=0.0).claims


def test_a_node_whose_block_is_kept_meanwhile_grows():
    """It has no address to give any more; the block stays where it is, for pods may live there."""
    own = block("10.0.0.0/26", "n")
    full = status("n", report("10.0.0.0/26", in_use=3, capacity=3))
    wished = plan(
        cluster(pool("a", "10.0.0.0/24"), reservation("10.0.0.0/26"), node("n"), own, full), memory=Memory(), now=0
    )
    assert len(wished.claims) == 1
    assert not wished.changes


@pytest.mark.parametrize(
    ("reserved", "expected"),
    [
        (["10.0.0.10/32"], [("10.0.0.8", "10.0.0.9"), ("10.0.0.11", "10.0.0.15")]),
        (["10.0.0.8/31", "10.0.0.15/32"], [("10.0.0.10", "10.0.0.14")]),
        (["10.0.0.0/27"], []),
    ],
)
def test_ranges_go_round_what_is_kept(reserved, expected):
    """One range for each piece; none where nothing is left."""
    made = conflist(
        [block("10.0.0.8/29", "n").spec],
        {"a": pool("a", "10.0.0.0/24", blockSize=29)},
        data_dir=Path("/run/x"),
        kept=kept(*reserved),
    )
    ranges = made["plugins"][0]["ipam"]["ranges"]
    assert [(one["rangeStart"], one["rangeEnd"]) for each in ranges for one in each] == expected


def test_a_pod_keeps_what_is_reserved_later_and_counts(tmp_path):
    """Room is what pods can get and have: three of eight are kept, and of those a pod has one."""
    folder = tmp_path / NETWORK
    folder.mkdir()
    for address in ("10.0.0.8", "10.0.0.12"):
        (folder / address).write_text("container\r\neth0")
    cidr = ip_network("10.0.0.8/29")
    (one,) = HostLocal(tmp_path).usage([(cidr, POOL)], kept=kept("10.0.0.8/31", "10.0.0.15/32"))
    assert (one.in_use, one.capacity) == (2, 6)
    (told,) = kept("10.0.0.0/30", "10.0.0.8/31").refusals(HostLocal(tmp_path).in_use(), are="are pods'")
    assert told.object == Why("IPReservation", "kept", "spec.reservedCIDRs[1]")
    assert told.message == "10.0.0.8 of 10.0.0.8/31 are pods'"

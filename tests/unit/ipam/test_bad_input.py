"""What people, nodes and stores get wrong: each told with object and field, and everybody else gets blocks as always."""

import pytest
from msgspec.structs import replace

from tests.unit.ipam.world import block, cluster, node, pool, report, reservation, status
from towpath.ipam.memory import Memory
from towpath.ipam.plan import Planner, plan
from towpath.model.kinds.node import PoolNeed
from towpath.model.net import parse_address, parse_prefix
from towpath.model.reason import Reason

A = pool("a", "10.0.0.0/24", blockSize=29)
OLD, NEW = "2025-01-01T00:00:00Z", "2026-06-01T00:00:00Z"


def born(one, when):
    return replace(one, meta=replace(one.meta, creation_timestamp=when))


CASES = {
    "pools that overlap": (
        [pool("b", "10.0.0.0/25", created=NEW)],
        {},
        {(Reason.OVERLAPPING_POOL, "IPPool/b spec.cidr")},
    ),
    "a pool over the service range": (
        [],
        {"services": [parse_prefix("10.0.0.128/25")]},
        {(Reason.SERVICE_RANGE_CONFLICT, "IPPool/a spec.cidr")},
    ),
    "a pool over addresses of nodes": (
        [node("n9", addresses=(parse_address("10.0.0.77"),), labels={"towpath.io/exclude": ""})],
        {},
        {(Reason.NODE_ADDRESS, "IPPool/a spec.cidr")},
    ),
    "a reservation that covers a pool": (
        [pool("b", "10.9.0.0/24"), reservation("10.9.0.0/16")],
        {},
        {
            (Reason.POOL_RESERVED, "IPPool/b spec.cidr"),
            (Reason.POOL_RESERVED, "IPReservation/kept spec.reservedCIDRs[0]"),
        },
    ),
    "blocks that overlap": (
        [born(block("10.0.0.8/29", "n1"), OLD), born(block("10.0.0.8/30", "n2", pool=""), NEW)],
        {},
        {(Reason.OVERLAPPING_BLOCK, "IPAMBlock/10-0-0-8-30 spec.cidr")},
    ),
    "pools of one range in another spelling": (
        [pool("six", "fd00::/64", disabled=True), pool("zix", "FD00:0:0:0::/64", disabled=True, created=NEW)],
        {},
        {(Reason.OVERLAPPING_POOL, "IPPool/zix spec.cidr")},
    ),
    "a block by hand that is no block of its pool's": (
        [block("10.0.0.16/30", "n1", node_uid="")],
        {},
        {(Reason.BLOCK_SIZE, "IPAMBlock/10-0-0-16-30 spec.cidr")},
    ),
    "a node that reports another's block": (
        [block("10.0.0.8/29", "n2"), status("n1", report("10.0.0.8/29", in_use=1, capacity=8))],
        {},
        {(Reason.OTHERS_BLOCK, "NodeStatus/n1 status.blocks")},
    ),
    "a node that reports more addresses than a block has": (
        [block("10.0.0.8/29", "n1"), status("n1", report("10.0.0.8/29", in_use=9, capacity=8))],
        {},
        {(Reason.COUNT_DIFFERS, "NodeStatus/n1 status.blocks")},
    ),
    "a node that reports less than nothing": (
        [block("10.0.0.8/29", "n1"), status("n1", report("10.0.0.8/29", in_use=0, capacity=-8))],
        {},
        {(Reason.COUNT_DIFFERS, "NodeStatus/n1 status.blocks")},
    ),
    "a node that wants addresses for more pods than it takes": (
        [node("n1", pods=110), block("10.0.0.8/29", "n1"), status("n1", wanted_addresses=1 << 40)],
        {},
        {(Reason.COUNT_DIFFERS, "NodeStatus/n1 status.wantedAddresses")},
    ),
    "a node that wants addresses for less than no pod": (
        [block("10.0.0.8/29", "n1"), status("n1", wanted_addresses=-1)],
        {},
        {(Reason.COUNT_DIFFERS, "NodeStatus/n1 status.wantedAddresses")},
    ),
    "a node with more pods of pools for some than it takes": (
        [
            node("n1", pods=110),
            status("n1", pool_needs=(PoolNeed(("b",), pods=220), PoolNeed(("c",), pods=1), PoolNeed(("d",), pods=1))),
        ],
        {},
        {(Reason.COUNT_DIFFERS, "NodeStatus/n1 status.poolNeeds[1]")},
    ),
    "a node of whose pods more wait than there are": (
        [status("n1", pool_needs=(PoolNeed(("b",), pods=1, waiting=2),))],
        {},
        {(Reason.COUNT_DIFFERS, "NodeStatus/n1 status.poolNeeds[0]")},
    ),
    "a node whose pods ask for more addresses than it takes pods": (
        [
            node("n1", pods=1),
            status("n1", requested_addresses=tuple(map(parse_address, ("10.9.0.1", "10.9.0.2", "10.9.0.3")))),
        ],
        {},
        {(Reason.COUNT_DIFFERS, "NodeStatus/n1 status.requestedAddresses")},
    ),
    "a block of a node that does not exist": (
        [block("10.0.0.8/29", "nobody", pool="")],
        {},
        {(Reason.NODE_MISSING, "IPAMBlock/10-0-0-8-29 spec.node")},
    ),
    "a block that names another pool": (
        [pool("b", "10.9.0.0/24"), block("10.0.0.8/29", "n1", pool="b")],
        {},
        {(Reason.NO_POOL, "IPAMBlock/10-0-0-8-29 spec.pool")},
    ),
    "a block that names a pool that is gone": (
        [block("10.9.0.8/29", "n1", pool="gone")],
        {},
        {(Reason.NO_POOL, "IPAMBlock/10-9-0-8-29 spec.pool")},
    ),
    "a block in no pool": (
        [block("10.9.0.8/29", "n1", pool="")],
        {},
        {(Reason.NO_POOL, "IPAMBlock/10-9-0-8-29 spec.cidr")},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_with_object_and_field_and_all_others_get_their_blocks(case):
    """The allocator goes on: a node that has nothing to do with it gets a block that overlaps nobody's."""
    more, known, expected = CASES[case]
    everything = cluster(A, node("n1"), node("n2"), node("other"), *more)
    wished = plan(everything, memory=Memory(), now=0.0, **known)
    assert {(one.reason, str(one.object)) for one in wished.refusals} == expected
    (claim,) = (claim for claim in wished.claims if claim.spec.node == "other")
    taken = [one.spec.cidr for one in everything.blocks.values()] + [
        one.spec.cidr for one in wished.claims if one is not claim
    ]
    assert not any(claim.spec.cidr.overlaps(one) for one in taken)
    assert claim.spec.pool == "a"


def test_what_is_mended_is_told_no_more():
    """The block is deleted, or its pool is there again."""
    planner, stray = Planner(), block("10.9.0.8/29", "n1", pool="")
    assert planner.plan(cluster(A, node("n1"), stray), now=0.0).refusals
    assert not planner.plan(cluster(A, pool("b", "10.9.0.0/24"), node("n1"), stray), now=1.0).refusals
    assert planner.plan(cluster(A, node("n1"), stray), now=2.0).refusals
    assert not planner.plan(cluster(A, node("n1")), now=3.0).refusals


@pytest.mark.parametrize("counts", [{"in_use": 1 << 40, "capacity": 8}, {"in_use": 0, "capacity": -(1 << 40)}])
def test_a_status_that_lies_about_its_own_does_not_get_the_pool(counts):
    """A node that says that endlessly many addresses of its block are in use, or none is there, grows as one whose block is full."""
    own = block("10.0.0.8/29", "n1")
    wished = plan(cluster(A, node("n1"), own, status("n1", report("10.0.0.8/29", **counts))), memory=Memory(), now=0.0)
    honest = status("n1", report("10.0.0.8/29", in_use=8, capacity=8))
    expected = plan(cluster(A, node("n1"), own, honest), memory=Memory(), now=0.0)
    assert 0 < len(wished.claims) <= len(expected.claims)


def _blocks_with(*more, **asked):
    """Claims for a node that takes 16 pods and has one full block of 8, beside 32 free ones, by what it asks for."""
    here = node("n1", pods=16)
    said = status("n1", report("10.0.0.8/29", in_use=8, capacity=8), **asked)
    return plan(cluster(A, here, block("10.0.0.8/29", "n1"), said, *more), memory=Memory(), now=0.0).claims


def test_a_node_gets_room_for_as_many_pods_as_its_kubelet_takes():
    """One that wants endlessly many addresses grows as one with all the pods that it takes; without a number the pool's end is it."""
    honest = _blocks_with(wanted_addresses=16)
    assert len(honest) == 2  # 16 of 24 are in use then, and 8 are left
    assert _blocks_with(wanted_addresses=1 << 40) == honest


def test_pools_for_some_are_not_got_by_asking_for_the_same_pods_again_and_again():
    """A node names more and more pods that wait for an address of a pool: each counts once for each family."""
    some = pool("s", "10.5.0.0/16", blockSize=29, namespaceSelector="x == 'y'")
    honest = _blocks_with(some, pool_needs=(PoolNeed(("s",), pods=32, waiting=32),))
    assert honest
    lies = (
        PoolNeed(("s",), pods=1 << 40, waiting=1 << 40),
        *(PoolNeed(("s", f"s{k}"), pods=9, waiting=9) for k in range(9)),
    )
    assert _blocks_with(some, pool_needs=lies) == honest


def test_addresses_that_pods_ask_for_are_two_a_pod():
    """A node names every address of the cluster as asked for: it gets blocks around as many as its pods can have asked for."""
    by_hand = pool("m", "10.6.0.0/16", blockSize=29, assignmentMode="Manual")
    every = tuple(parse_address(f"10.6.{third}.1") for third in range(200))
    taken = [one.spec.cidr for one in _blocks_with(by_hand, requested_addresses=every) if one.spec.pool == "m"]
    assert len(taken) == 32


def test_a_status_that_lies_about_others_changes_nothing_of_theirs():
    """A node reports a block of another one as full, as drained and as its own: that one's block and growth stay as they are."""
    own = block("10.0.0.8/29", "n1")
    honest = status("n1", report("10.0.0.8/29", in_use=0, capacity=200))
    liar = status("n2", report("10.0.0.8/29", in_use=8, capacity=8, drained=True), wanted_addresses=0)
    theirs = block("10.0.0.16/29", "n2")
    wished = plan(cluster(A, node("n1"), node("n2"), own, theirs, honest, liar), memory=Memory(), now=0.0)
    assert not wished.changes
    assert not wished.deletions
    assert not [claim for claim in wished.claims if claim.spec.node == "n1"]
    draining = replace(own, spec=replace(own.spec, state="Draining"))
    lying = plan(cluster(A, node("n1"), node("n2"), draining, theirs, honest, liar), memory=Memory(), now=0.0)
    assert not lying.changes

"""Who assigns: towpath from the pools, or the cluster by podCIDRs; one after the other; and nodes that are left out."""

import pytest
from msgspec.structs import replace

from tests.unit.ipam.world import ADDRESSES, block, cluster, node, pool, report, resource, status
from towpath.ipam.memory import Memory
from towpath.ipam.plan import plan
from towpath.model.net import parse_prefix
from towpath.model.reason import Reason

A, B = pool("a", "10.0.0.0/16"), pool("b", "fd00::/64")
MIRROR = resource("IPAMConfiguration", "default", blockSource="PodCIDRs")
ASSIGN = resource("IPAMConfiguration", "default", assignPodCIDRs=True)


def made(*objects, **options):
    """The plan for these objects."""
    return plan(cluster(*objects), memory=Memory(), now=0.0, **options)


def cidrs(*texts):
    """Prefixes."""
    return tuple(map(parse_prefix, texts))


def claims(plan):
    """Block, node, pool and whether it mirrors, of each claim."""
    return sorted((str(one.spec.cidr), one.spec.node, one.spec.pool, one.spec.mirrored) for one in plan.claims)


def states(plan):
    """State after each change, by block."""
    return {str(change.spec.cidr): change.spec.state for change in plan.changes}


def reasons(plan):
    """What was refused, and on which object."""
    return {(refusal.reason, str(refusal.object)) for refusal in plan.refusals}


def test_pod_cidrs_become_blocks_of_whatever_size():
    """In a pool or in none, one for each; nothing else is claimed."""
    wished = made(A, B, MIRROR, node("n1", pod_cidrs=cidrs("10.0.3.0/24", "fd11::/80")))
    assert claims(wished) == [("10.0.3.0/24", "n1", "a", True), ("fd11::/80", "n1", "", True)]


def test_a_node_without_pod_cidrs_waits_and_it_is_said():
    """Once, on the configuration."""
    wished = made(A, MIRROR, node("n1"), node("n2", pod_cidrs=cidrs("10.0.3.0/24")), node("n3"))
    assert [one[1] for one in claims(wished)] == ["n2"]
    (refusal,) = wished.refusals
    assert (refusal.reason, refusal.object.kind) == (Reason.NO_POD_CIDRS, "IPAMConfiguration")
    assert "n1, n3" in refusal.message


def test_mirrored_blocks_neither_grow_nor_go():
    """Full or empty for however long: the cluster assigns."""
    own = block("10.0.3.0/24", "n1", mirrored=True)
    one = node("n1", pod_cidrs=cidrs("10.0.3.0/24"))
    for in_use in (0, 254):
        full = status("n1", report("10.0.3.0/24", in_use=in_use, capacity=254), wanted_addresses=900)
        first = made(A, MIRROR, one, own, full)
        later = plan(cluster(A, MIRROR, one, own, full), memory=first.memory, now=5000)
        assert (first.claims, first.changes, later.claims, later.changes) == ((), (), (), ())


def test_two_nodes_with_one_range_never_both_have_it():
    """The first by name gets it, the other waits and says so."""
    wished = made(A, MIRROR, *(node(name, pod_cidrs=cidrs("10.0.3.0/24")) for name in ("n2", "n1")))
    assert claims(wished) == [("10.0.3.0/24", "n1", "a", True)]
    assert reasons(wished) == {(Reason.OVERLAPPING_BLOCK, "Node/n2 spec.podCIDRs")}


def test_a_range_that_another_node_had_waits_until_its_quarantine_is_over():
    """The controller manager gives it on at once; we do not."""
    old = block("10.0.3.0/24", "gone", mirrored=True, pool="")
    new = node("n1", pod_cidrs=cidrs("10.0.3.0/24"))
    first = made(A, MIRROR, old, new)
    assert (claims(first), states(first)) == ([], {"10.0.3.0/24": "Quarantined"})
    resting = cluster(A, MIRROR, new, block("10.0.3.0/24", "gone", mirrored=True, pool="", state="Quarantined"))
    second = plan(resting, memory=first.memory, now=0)
    assert (second.claims, second.deletions) == ((), ())
    assert len(plan(resting, memory=second.memory, now=301).deletions) == 1
    assert claims(made(A, MIRROR, new)) == [("10.0.3.0/24", "n1", "a", True)]


def test_a_node_that_comes_back_has_its_old_range_only_if_the_cluster_says_so():
    """The same machine under a new uid, with the same podCIDRs or with others."""
    old = block("10.0.3.0/24", "n1", mirrored=True, state="Quarantined")
    back = made(A, MIRROR, old, node("n1", uid="new", pod_cidrs=cidrs("10.0.3.0/24")))
    assert (states(back), claims(back)) == ({"10.0.3.0/24": "Active"}, [])
    other = made(A, MIRROR, old, node("n1", uid="new", pod_cidrs=cidrs("10.0.4.0/24")))
    assert (states(other), claims(other)) == ({}, [("10.0.4.0/24", "n1", "a", True)])


def test_switching_to_pod_cidrs_drains_the_claimed_blocks_once_the_new_ones_are_there():
    """No pod loses its address: first the podCIDRs are blocks, then the older ones give out no more."""
    claimed = block("10.0.0.64/26", "n1")
    one = node("n1", pod_cidrs=cidrs("10.0.3.0/24"))
    busy = status("n1", report("10.0.0.64/26", in_use=9))
    first = made(A, MIRROR, one, claimed, busy)
    assert (states(first), claims(first)) == ({}, [("10.0.3.0/24", "n1", "a", True)])
    second = made(A, MIRROR, one, claimed, block("10.0.3.0/24", "n1", mirrored=True), busy)
    assert states(second) == {"10.0.0.64/26": "Draining"}


@pytest.mark.parametrize(("in_use", "cordoned", "drains"), [(9, False, False), (0, False, True), (9, True, True)])
def test_an_own_block_in_the_way_of_a_pod_cidr(in_use, cordoned, drains):
    """It serves until it is empty or the node is cordoned; the podCIDR waits for that, and says so."""
    one = node("n1", pod_cidrs=cidrs("10.0.0.0/24"), unschedulable=cordoned)
    wished = made(A, MIRROR, one, block("10.0.0.64/26", "n1"), status("n1", report("10.0.0.64/26", in_use=in_use)))
    assert states(wished) == ({"10.0.0.64/26": "Draining"} if drains else {})
    assert claims(wished) == []
    assert reasons(wished) == {(Reason.OVERLAPPING_BLOCK, "Node/n1 spec.podCIDRs")}


def test_switching_to_towpath_keeps_the_pod_cidrs_and_grows_from_the_pools():
    """They are the node's for as long as it lives; they count, and are never given back."""
    own = block("10.0.3.0/24", "n1", mirrored=True)
    one = node("n1", pod_cidrs=cidrs("10.0.3.0/24"))
    calm = made(A, one, own, status("n1", report("10.0.3.0/24", in_use=10, capacity=254)))
    assert (claims(calm), states(calm), reasons(calm)) == ([], {}, set())
    full = made(A, one, own, status("n1", report("10.0.3.0/24", in_use=250, capacity=254)))
    assert [(one[1:], one[0] != "10.0.3.0/24") for one in claims(full)] == [(("n1", "a", False), True)]
    both = own, block("10.0.0.64/26", "n1")
    empty = status("n1", report("10.0.0.64/26", in_use=0), report("10.0.3.0/24", in_use=0, capacity=254))
    first = made(A, one, *both, empty)
    later = plan(cluster(A, one, *both, empty), memory=first.memory, now=601)
    assert states(later) == {"10.0.0.64/26": "Draining"}


def test_pod_cidrs_of_others_inside_a_pool_are_reserved_and_reported():
    """With towpath assigning: no block is cut there, and the pool names the node."""
    small = pool("a", "10.0.0.0/24", blockSize=26)
    taken = node("other", pod_cidrs=cidrs("10.0.0.0/25"), labels={"towpath.io/exclude": ""})
    wished = made(small, taken, *(node(f"n{number}") for number in range(3)))
    assert {one[0] for one in claims(wished)} == {"10.0.0.128/26", "10.0.0.192/26"}
    assert reasons(wished) == {
        (Reason.POD_CIDR_CONFLICT, "IPPool/a spec.cidr"),
        (Reason.POOL_EXHAUSTED, "IPPool/a spec.cidr"),
    }
    assert "10.0.0.0/25 of Node/other" in wished.refusals[0].message


def test_addresses_of_nodes_and_services_inside_a_pool_are_never_given_out():
    """The blocks around them are left out; the pool stays in force and names who is there."""
    small = pool("a", "192.0.2.0/24", blockSize=26)
    wished = made(small, *(node(f"n{number}") for number in range(4)), services=cidrs("192.0.2.128/25"))
    assert {one[0] for one in claims(wished)} == {"192.0.2.64/26"}
    assert {reason for reason, _ in reasons(wished)} == {
        Reason.NODE_ADDRESS,
        Reason.SERVICE_RANGE_CONFLICT,
        Reason.POOL_EXHAUSTED,
    }
    messages = " ".join(refusal.message for refusal in wished.refusals)
    assert "192.0.2.1 of Node/n0" in messages
    assert "and 1 more" in messages
    assert "the service range 192.0.2.128/25" in messages


def test_the_first_blocks_are_written_into_pod_cidrs_where_that_is_asked_for():
    """The oldest of each family, once each family has its own, the node's first family first; never where something stands."""
    old, new, six = block("10.0.0.64/26", "n1"), block("10.0.0.0/26", "n1"), block("fd00::40/122", "n1", pool="b")
    old = replace(old, meta=replace(old.meta, creation_timestamp="2025-01-01T00:00:00Z"))
    assert made(A, B, ASSIGN, node("n1"), old, new).assignments == ()
    (one,) = made(A, B, ASSIGN, node("n1"), old, new, six).assignments
    assert one.pod_cidrs == cidrs("10.0.0.64/26", "fd00::40/122")
    (other,) = made(A, B, ASSIGN, node("n1", addresses=ADDRESSES[::-1]), old, six).assignments
    assert other.pod_cidrs == cidrs("fd00::40/122", "10.0.0.64/26")
    assert made(A, B, ASSIGN, node("n1", pod_cidrs=cidrs("10.0.0.64/26")), old, new, six).assignments == ()
    assert made(A, B, node("n1"), old, new, six).assignments == ()


def test_a_block_that_is_a_pod_cidr_is_never_given_back_and_conflicts_with_nothing():
    """It cannot be: podCIDRs never change."""
    one = node("n1", pod_cidrs=cidrs("10.0.0.64/26"))
    blocks = block("10.0.0.0/26", "n1"), block("10.0.0.64/26", "n1")
    empty = status("n1", report("10.0.0.0/26", in_use=0), report("10.0.0.64/26", in_use=0))
    first = made(A, one, *blocks, empty)
    assert reasons(first) == set()
    later = plan(cluster(A, one, *blocks, empty), memory=first.memory, now=601)
    assert states(later) == {"10.0.0.0/26": "Draining"}


def test_a_family_needs_a_pool_and_an_address_of_the_node():
    """One family of each: what nobody finds the way to is not claimed; what is there stays."""
    four, six = ADDRESSES
    assert [one[2] for one in claims(made(A, B, node("n1", addresses=(four,))))] == ["a"]
    assert [one[2] for one in claims(made(A, B, node("n1", addresses=(six,))))] == ["b"]
    assert [one[2] for one in claims(made(B, node("n1")))] == ["b"]
    assert claims(made(A, B, node("n1", addresses=()))) == []
    annotated = {"towpath.io/ipv6-address": "2001:db8::5/64"}
    assert [one[2] for one in claims(made(A, B, node("n1", addresses=(four,), annotations=annotated)))] == ["a", "b"]
    assert (
        made(A, B, node("n1", addresses=(four,)), block("10.0.0.0/26", "n1"), block("fd00::40/122", "n1")).changes == ()
    )


@pytest.mark.parametrize(
    ("fields", "selector"),
    [
        ({"labels": {"towpath.io/exclude": ""}}, {}),
        ({"annotations": {"towpath.io/exclude": "yes"}}, {}),
        ({"operating_system": "windows"}, {}),
        ({}, {"nodeSelector": "role == 'worker'"}),
    ],
)
def test_a_node_that_is_left_out_later_loses_no_pod(fields, selector):
    """Its blocks drain, and are let go when its agent says that they are empty; nothing new is claimed."""
    configuration = resource("IPAMConfiguration", "default", **selector)
    out, own = node("n1", **fields), block("10.0.0.64/26", "n1")
    first = made(A, configuration, out, own, status("n1", report("10.0.0.64/26", in_use=3)))
    assert (states(first), claims(first)) == ({"10.0.0.64/26": "Draining"}, [])
    draining = block("10.0.0.64/26", "n1", state="Draining")
    second = made(A, configuration, out, draining, status("n1", report("10.0.0.64/26", in_use=3)))
    assert states(second) == {}
    third = made(A, configuration, out, draining, status("n1", report("10.0.0.64/26", in_use=0, drained=True)))
    assert states(third) == {"10.0.0.64/26": "Quarantined"}


def test_what_a_node_said_of_an_earlier_draining_does_not_end_a_later_one():
    """Left out, taken in again and left out once more, while the report of the first time is the newest: pods may be there by now."""
    configuration = resource("IPAMConfiguration", "default", blockSource="PodCIDRs")
    cidr = parse_prefix("10.0.0.64/26")
    known = {"pod_cidrs": (cidr,)}
    inside, outside = node("n1", **known), node("n1", labels={"towpath.io/exclude": ""}, **known)
    fields = {"mirrored": True, "pool": ""}
    drained = replace(report(str(cidr), in_use=0, drained=True), drained_version="2")
    first = made(
        configuration, inside, block(str(cidr), "n1", state="Draining", version="2", **fields), status("n1", drained)
    )
    assert states(first) == {str(cidr): "Active"}
    again = block(str(cidr), "n1", state="Draining", version="4", **fields)
    assert states(made(configuration, outside, again, status("n1", drained))) == {}
    now = replace(drained, drained_version="4")
    assert states(made(configuration, outside, again, status("n1", now))) == {str(cidr): "Quarantined"}


def test_growth_counts_pods_that_wait_and_claims_for_all_of_them_at_once():
    """A hundred pods on a /29: as many blocks as they need, in one pass; not twice."""
    small = pool("a", "10.0.0.0/16", blockSize=29)
    own = block("10.0.0.64/29", "n1")
    for wanted, blocks in ((0, 0), (6, 0), (7, 1), (8, 1), (100, 15)):
        report_ = status("n1", report("10.0.0.64/29", in_use=0, capacity=8), wanted_addresses=wanted)
        wished = made(small, resource("IPAMConfiguration", "default", minFreeAddresses=2), node("n1"), own, report_)
        assert len(wished.claims) == blocks, wanted
    limited = resource("IPAMConfiguration", "default", minFreeAddresses=2, maxBlocksPerHost=4)
    report_ = status("n1", report("10.0.0.64/29", in_use=8, capacity=8), wanted_addresses=100)
    assert len(made(small, limited, node("n1"), own, report_).claims) == 3


def test_pods_that_live_in_draining_blocks_ask_for_nothing():
    """What they have counts as had."""
    blocks = block("10.0.0.0/26", "n1"), block("10.0.0.64/26", "n1", state="Draining")
    reports = report("10.0.0.0/26", in_use=10), report("10.0.0.64/26", in_use=40)
    assert claims(made(A, node("n1"), *blocks, status("n1", *reports, wanted_addresses=50))) == []
    assert len(claims(made(A, node("n1"), *blocks, status("n1", *reports, wanted_addresses=100)))) == 1

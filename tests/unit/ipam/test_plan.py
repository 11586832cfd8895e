"""Who gets which block, when it goes, and who never gets it."""

import random
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.effort import examples
from tests.unit.ipam.world import block, claimed, cluster, node, pool, report, resource, status
from towpath.ipam.memory import Memory
from towpath.ipam.plan import plan, quarantine_time
from towpath.model.net import overlaps
from towpath.model.reason import Reason

A = pool("a", "10.0.0.0/24")
B = pool("b", "fd00::/64")
PERIOD = 300


def made(*objects, memory=None, now=0.0, **options):
    """The plan for these objects."""
    return plan(cluster(*objects), memory=memory or Memory(), now=now, **options)


def owners(plan):
    """Node and pool of each claim."""
    return sorted((claim.spec.node, claim.spec.pool) for claim in plan.claims)


def states(plan):
    """State after each change, by block."""
    return {str(change.spec.cidr): change.spec.state for change in plan.changes}


def test_a_node_gets_a_block_per_family():
    """With its uid and its machine recorded in it."""
    wished = made(A, B, node("n1"))
    assert owners(wished) == [("n1", "a"), ("n1", "b")]
    spec = wished.claims[0].spec
    assert (spec.node_uid, spec.machine_id, spec.system_uuid, spec.state) == (
        "uid-n1",
        "machine-n1",
        "system-n1",
        "Active",
    )


def test_who_takes_part():
    """Not Windows, not what is excluded by label or annotation, not what the selector leaves out."""
    nodes = [
        node("windows", operating_system="windows"),
        node("labelled", labels={"towpath.io/exclude": ""}),
        node("annotated", annotations={"towpath.io/exclude": "true"}),
        node("storage", labels={"role": "storage"}),
        node("worker", labels={"role": "worker"}),
    ]
    only = resource("IPAMConfiguration", "default", nodeSelector="role != 'storage'")
    assert owners(made(A, only, *nodes)) == [("worker", "a")]


def test_pools_are_taken_in_name_order_as_selectors_and_switches_allow():
    """The first pool whose selector matches and that is not disabled; the next one when it is full."""
    first = pool("a", "10.0.0.0/30", blockSize=30, nodeSelector="zone == 'x'")
    off = pool("b", "10.1.0.0/24", disabled=True)
    last = pool("c", "10.2.0.0/24")
    nodes = [node("n1", labels={"zone": "x"}), node("n2", labels={"zone": "x"}), node("n3")]
    wished = made(first, off, last, *nodes)
    assert owners(wished) == [("n1", "a"), ("n2", "c"), ("n3", "c")]
    assert wished.refusals == ()


def test_a_full_pool_is_reported():
    """Once, on the pool, with those that wait."""
    wished = made(pool("a", "10.0.0.0/30", blockSize=30), node("n1"), node("n2"), node("n3"))
    assert owners(wished) == [("n1", "a")]
    (refusal,) = wished.refusals
    assert (refusal.reason, refusal.object.name) == (Reason.POOL_EXHAUSTED, "a")
    assert "n2, n3" in refusal.message


def test_of_overlapping_pools_the_one_with_blocks_stays_in_force():
    """Else the older."""
    old = pool("z", "10.0.0.0/24", created="2025-01-01T00:00:00Z")
    new = pool("b", "10.0.0.0/25", created="2026-01-01T00:00:00Z")
    assert owners(made(old, new, node("n1"))) == [("n1", "z")]
    held = block("10.0.0.0/26", "n2", pool="b")
    assert owners(made(old, new, held, node("n1"), node("n2"))) == [("n1", "b")]


def test_a_block_of_another_size_takes_all_places_that_it_overlaps():
    """A pool made anew with another blockSize never gives out what an older block holds."""
    large = block("10.0.0.0/25", "gone", state="Quarantined", pool="other")
    wished = made(pool("a", "10.0.0.0/24", blockSize=26), large, *(node(f"n{number}") for number in range(4)))
    assert {str(claim.spec.cidr) for claim in wished.claims} == {"10.0.0.128/26", "10.0.0.192/26"}


def test_growth_before_the_last_block_is_full():
    """At the percentage, or with fewer free addresses than wanted; never before the last growth was reported."""
    own = block("10.0.0.0/26", "n1")
    for in_use, grows in ((50, False), (52, True), (57, True)):
        wished = made(A, node("n1"), own, status("n1", report("10.0.0.0/26", in_use=in_use)))
        assert bool(wished.claims) is grows, in_use
    grown = claimed(cluster(A, node("n1"), own, status("n1", report("10.0.0.0/26", in_use=60))), wished)
    assert not plan(grown, memory=Memory(), now=0).claims


def test_growth_ends_at_the_limit():
    """maxBlocksPerHost counts a family's blocks."""
    limit = resource("IPAMConfiguration", "default", maxBlocksPerHost=1)
    full = status("n1", report("10.0.0.0/26", in_use=64))
    assert not made(A, limit, node("n1"), block("10.0.0.0/26", "n1"), full).claims


def test_a_report_of_an_earlier_node_of_that_name_says_nothing():
    """Reports carry the uid of the Node that they are about."""
    stale = status("n1", report("10.0.0.0/26", in_use=64), uid="another")
    assert not made(A, node("n1"), block("10.0.0.0/26", "n1"), stale).claims


def test_a_spare_block_is_given_back_after_ten_minutes():
    """Only while more than twice the wanted addresses stay free, and never one with an address in use."""
    blocks = block("10.0.0.0/26", "n1"), block("10.0.0.64/26", "n1")
    world = cluster(
        A,
        node("n1"),
        *blocks,
        status("n1", report("10.0.0.0/26", in_use=5), report("10.0.0.64/26", in_use=0)),
    )
    first = plan(world, memory=Memory(), now=0)
    assert not first.changes
    assert not plan(world, memory=first.memory, now=599).changes
    assert states(plan(world, memory=first.memory, now=600)) == {"10.0.0.64/26": "Draining"}
    busy = replace(
        world,
        statuses=cluster(status("n1", report("10.0.0.0/26", in_use=5), report("10.0.0.64/26", in_use=1))).statuses,
    )
    between = plan(busy, memory=first.memory, now=300)
    assert not plan(world, memory=between.memory, now=600).changes
    nearly = replace(
        world,
        statuses=cluster(status("n1", report("10.0.0.0/26", in_use=48), report("10.0.0.64/26", in_use=0))).statuses,
    )
    assert not plan(nearly, memory=first.memory, now=600).changes


@pytest.mark.parametrize(("mode", "claimed"), [("Never", False), ("CrossSubnet", True), ("Always", True)])
def test_a_tunnel_reaches_pods_of_a_family_that_the_node_has_not(mode, claimed):
    """A node with IPv4 alone gets an IPv6 block of a pool that encapsulates; of another nobody would find the way to it."""
    made_for = made(pool("six", "fd00::/112", vxlanMode=mode), node("n1", addresses=(ip_address("192.0.2.1"),)))
    assert bool(made_for.claims) is claimed


def test_the_block_with_the_nodes_own_address_in_a_tunnel_stays():
    """The first of a pool that encapsulates, though it is the one without pods; without a tunnel it goes."""
    world = cluster(
        A,
        node("n1"),
        block("10.0.0.0/26", "n1"),
        block("10.0.0.64/26", "n1"),
        status("n1", report("10.0.0.0/26", in_use=0), report("10.0.0.64/26", in_use=5)),
    )
    first = plan(world, memory=Memory(), now=0)
    assert states(plan(world, memory=first.memory, now=600)) == {"10.0.0.0/26": "Draining"}
    tunnelled = replace(world, pools={"a": replace(A, spec=replace(A.spec, vxlan_mode="CrossSubnet"))})
    first = plan(tunnelled, memory=Memory(), now=0)
    assert not plan(tunnelled, memory=first.memory, now=600).changes


def test_draining_ends_when_the_node_says_that_it_is_empty():
    """And not while any address is in use, whatever else is reported."""
    draining = block("10.0.0.64/26", "n1", state="Draining")
    rest = A, node("n1"), block("10.0.0.0/26", "n1"), draining
    other = report("10.0.0.0/26", in_use=1)
    assert states(made(*rest, status("n1", other, report("10.0.0.64/26", in_use=0, drained=True)))) == {
        "10.0.0.64/26": "Quarantined"
    }
    for unfinished in (report("10.0.0.64/26", in_use=1, drained=True), report("10.0.0.64/26", in_use=0)):
        assert not made(*rest, status("n1", other, unfinished)).changes


def test_a_vanished_node_s_block_is_quarantined_then_deleted():
    """From when this leader first saw it so; a write to the block begins it again."""
    assert states(made(A, block("10.0.0.0/26", "gone"))) == {"10.0.0.0/26": "Quarantined"}
    world = cluster(A, block("10.0.0.0/26", "gone", state="Quarantined"))
    first = plan(world, memory=Memory(), now=50)
    assert not first.deletions
    assert not plan(world, memory=first.memory, now=50 + PERIOD - 1).deletions
    assert plan(world, memory=first.memory, now=50 + PERIOD).deletions
    touched = cluster(A, block("10.0.0.0/26", "gone", state="Quarantined", version="7"))
    assert not plan(touched, memory=first.memory, now=50 + PERIOD).deletions
    assert not plan(world, memory=Memory(), now=50 + PERIOD).deletions


def test_the_time_of_quarantine_begins_again_with_a_restored_store():
    """Which may call another quarantine of the same block by the same number: that one began only now."""
    world = cluster(A, block("10.0.0.0/26", "gone", state="Quarantined"))
    seen = plan(world, memory=Memory(), now=0)
    after = plan(world, memory=seen.memory, now=400, restored=True)
    assert not after.deletions
    assert not plan(world, memory=after.memory, now=699).deletions
    assert plan(world, memory=after.memory, now=701).deletions


def test_a_report_during_quarantine_that_shows_pods_begins_it_again():
    """The Node object is gone, the machine is not."""
    gone = block("10.0.0.0/26", "gone", state="Quarantined")
    first = plan(cluster(A, gone, status("gone", report("10.0.0.0/26", in_use=3))), memory=Memory(), now=0)
    alive = cluster(A, gone, status("gone", report("10.0.0.0/26", in_use=2), version="2"))
    second = plan(alive, memory=first.memory, now=200)
    assert not plan(alive, memory=second.memory, now=PERIOD).deletions
    assert plan(alive, memory=second.memory, now=200 + PERIOD).deletions


def test_the_quarantine_covers_every_timer_of_every_peer():
    """holdTime + restartTime + 60 s, of the longest, and the configured time at least."""
    slow = resource(
        "BGPPeer", "slow", peerIP="192.0.2.1", asNumber=65000, timers={"holdTime": "300s"}, maxRestartTime="600s"
    )
    assert quarantine_time(cluster()) == 300
    assert quarantine_time(cluster(slow)) == 960
    assert quarantine_time(cluster(resource("IPAMConfiguration", "default", quarantine="1h"))) == 3600


def test_a_node_that_comes_back_gets_its_blocks_only_if_the_machine_is_the_same():
    """Both ids must be known and equal; else it gets fresh blocks and the old ones stay in quarantine."""
    old = block("10.0.0.0/26", "n1", state="Quarantined")
    back = made(A, node("n1", uid="new"), old)
    assert states(back) == {"10.0.0.0/26": "Active"}
    assert [change.spec.node_uid for change in back.changes] == ["new"]
    assert not back.claims
    for other in ({"machine_id": "x"}, {"system_uuid": "x"}, {"machine_id": ""}):
        fresh = made(A, node("n1", uid="new", **other), old)
        assert not fresh.changes
        assert owners(fresh) == [("n1", "a")]
        assert str(fresh.claims[0].spec.cidr) != "10.0.0.0/26"
    unknown = block("10.0.0.0/26", "n1", state="Quarantined", machine_id="", system_uuid="")
    assert not made(A, node("n1", uid="new", machine_id="", system_uuid=""), unknown).changes


def test_a_block_follows_its_node_to_another_machine():
    """Under the same Node object the newer machine is recorded, and it is the one that gets the block back later."""
    mine = block("10.0.0.0/26", "n1")
    (change,) = made(A, node("n1", machine_id="m2", system_uuid="s2"), mine).changes
    assert (change.spec.machine_id, change.spec.system_uuid, change.spec.state) == ("m2", "s2", "Active")
    for half in ({"machine_id": ""}, {"system_uuid": ""}, {"machine_id": "", "system_uuid": ""}):
        assert not made(A, node("n1", **half), mine).changes
    quarantined = block("10.0.0.0/26", "n1", state="Quarantined")
    assert not made(A, node("n1", machine_id="m2", system_uuid="s2"), quarantined).changes


def test_blocks_made_by_hand_are_left_alone():
    """They count for their node, and nobody but their maker changes or deletes them."""
    ours = block("10.9.0.0/24", "n1", pool="", node_uid="")
    orphan = block("10.8.0.0/24", "gone", pool="", node_uid="")
    wished = made(A, node("n1"), ours, orphan)
    assert (wished.claims, wished.changes, wished.deletions) == ((), (), ())


def test_a_block_by_hand_that_names_its_pool_is_the_controllers_once_its_node_serves():
    """Before that another network may give out what looks free: it is not quarantined, drained or given back."""
    imported = [block(f"10.0.0.{at}/26", "n1", node_uid="", machine_id="", system_uuid="") for at in (0, 64)]
    empty = [report(f"10.0.0.{at}/26", in_use=0) for at in (0, 64)]
    for waiting in (status("n1", *empty), status("n1", *empty, ready=False)):
        memory, wished = None, None
        for now in (0.0, 700.0):
            wished = made(A, node("n1"), *imported, waiting, memory=memory, now=now)
            memory = wished.memory
            assert (wished.claims, wished.changes, wished.deletions) == ((), (), ())
    assert not made(A, *imported).changes, "its node does not exist"
    bound = made(A, node("n1"), *imported, status("n1", *empty, ready=True)).changes
    assert [one.spec for one in bound] == [block(f"10.0.0.{at}/26", "n1").spec for at in (0, 64)]
    younger = block("10.0.0.0/27", "n1", node_uid="", created="2026-01-02T00:00:00Z")
    found = made(A, node("n1"), *imported, younger, status("n1", *empty, ready=True)).changes
    assert "10.0.0.0/27" not in {str(one.spec.cidr) for one in found}


def test_a_claim_without_an_answer_counts_as_made():
    """Its place is taken and its node waits for it."""
    lost = made(A, node("n1")).claims[0].spec
    wished = made(A, node("n1"), node("n2"), uncertain={"x": lost})
    assert owners(wished) == [("n2", "a")]
    assert wished.claims[0].spec.cidr != lost.cidr


def test_a_restored_store_stops_claims_until_every_ready_node_has_reported():
    """Known by a version that went backwards."""
    nodes = node("n1"), node("down", ready=False)
    first = plan(cluster(A, *nodes, block("10.0.0.0/26", "n1", version="9")), memory=Memory(), now=0)
    restored = A, *nodes, block("10.0.0.0/26", "n1", version="5"), node("new")
    stopped = made(*restored, status("n1"), memory=first.memory)
    assert not stopped.claims
    again = made(*restored, status("n1", version="2"), memory=stopped.memory)
    assert not again.claims, "the new node is Ready as well"
    done = made(*restored, status("n1", version="2"), status("new", version="3"), memory=again.memory)
    assert owners(done)[-1] == ("new", "a")


def test_people_are_told_whom_claims_wait_for():
    """While a node waits for a block: the nodes that have not reported to the restored store yet."""
    world = A, node("n1"), block("10.0.0.0/26", "n1", version="9"), status("n1", report("10.0.0.0/26", in_use=1))
    first = made(*world)
    stopped = made(*world, node("n2"), memory=first.memory, restored=True)
    (told,) = stopped.refusals
    assert (told.reason, told.object.name) == (Reason.STORE_RESTORED, "default")
    assert "n2 get none before these nodes have reported what they have: n1, n2" in told.message
    assert not made(*world, memory=first.memory, restored=True).refusals, "nobody waits"


def test_the_first_leader_after_a_long_time_waits_for_every_node_and_not_for_ever():
    """The store may be from a backup, and what nodes claimed since is missing: each one's next report, or a minute, ends it."""
    world = A, node("n1"), node("n2"), block("10.0.0.0/26", "n1"), status("n1", report("10.0.0.0/26", in_use=1))
    first = made(*world, unwatched=True)
    (told,) = first.refusals
    assert not first.claims
    assert (told.reason, told.object.name) == (Reason.STORE_RESTORED, "default")
    assert "the store may be from a backup: n2 get none before" in told.message
    half = made(*world, status("n2"), memory=first.memory, now=1)
    assert not half.claims, "n1 has blocks perhaps that nobody knows of"
    ended = made(*world[:-1], status("n1", version="2"), status("n2"), memory=half.memory, now=2)
    assert owners(ended)[-1] == ("n2", "a")
    assert not made(*world, memory=half.memory, now=59).claims
    assert owners(made(*world, memory=half.memory, now=60)) == [("n2", "a")]


def test_what_is_found_missing_meanwhile_is_waited_for_without_an_end():
    """A report of a block that does not exist says that the store is from a backup indeed."""
    world = A, node("n1"), node("n2"), node("n3")
    first = made(*world, unwatched=True)
    lost = status("n1", report("10.0.0.0/26", in_use=3))
    seen = made(*world, lost, memory=first.memory, now=5)
    sure = made(*world, lost, memory=seen.memory, now=40)
    assert [str(claim.spec.cidr) for claim in sure.claims] == ["10.0.0.0/26"]
    assert made(*world, block("10.0.0.0/26", "n1"), lost, memory=sure.memory, now=400).claims == ()


def test_nobody_waits_for_nodes_that_never_report():
    """Those that take no part have no agent; one that takes no part any more may have, and has reported before."""
    windows, left = node("windows", operating_system="windows"), node("left", labels={"towpath.io/exclude": ""})
    world = A, node("n1"), windows, left, block("10.0.0.0/26", "n1", version="9")
    first = made(*world, status("n1", report("10.0.0.0/26", in_use=1)), status("left"))
    stopped = made(
        *world, status("n1", report("10.0.0.0/26", in_use=1)), status("left"), memory=first.memory, restored=True
    )
    assert set(stopped.memory.awaited) == {"n1", "left"}


def test_what_a_restored_store_has_lost_is_nobodys_until_its_owner_may_be_forgotten():
    """Its node may not be known any more, and have pods: after the time of quarantine the block is free, or it is there again."""
    before = made(A, node("n1"), node("n2"), block("10.0.0.0/26", "n1"), block("10.0.0.64/26", "n2"))
    rest = A, node("n1"), block("10.0.0.0/26", "n1"), status("n1", report("10.0.0.0/26", in_use=1))
    lost = made(*rest, memory=before.memory, now=10, restored=True)
    assert not lost.claims
    spoken = *rest[:-1], status("n1", report("10.0.0.0/26", in_use=1), version="2")
    new = [node(f"new{number}") for number in range(4)]
    waiting = made(*spoken, *new, memory=lost.memory, now=20)
    assert sorted(str(claim.spec.cidr) for claim in waiting.claims) == ["10.0.0.128/26", "10.0.0.192/26"]
    there = made(*spoken, *new, block("10.0.0.64/26", "n2"), node("n2"), memory=waiting.memory, now=30)
    assert there.memory.lost == {}
    over = made(*spoken, *new, memory=waiting.memory, now=20 + PERIOD)
    free = made(*spoken, *new, memory=over.memory, now=21 + PERIOD)
    assert "10.0.0.64/26" in {str(claim.spec.cidr) for claim in free.claims}


def test_what_is_lost_by_a_listing_that_was_not_believed_at_once_counts_too():
    """The breaker holds many blocks for half a minute before they are gone; what we delete ourselves meanwhile is not lost."""
    blocks = block("10.0.0.0/26", "n1"), block("10.0.0.64/26", "n2"), block("10.0.0.128/26", "n3", state="Quarantined")
    before = made(A, node("n1"), *blocks)
    held = made(A, node("n1"), *blocks, memory=before.memory, now=10, restored=True)
    assert held.memory.lost == {}
    released = replace(held.memory, released={blocks[2].spec.cidr: 35.0})
    gone = made(A, node("n1"), blocks[0], memory=released, now=40)
    assert list(gone.memory.lost) == [blocks[1].spec.cidr]


def test_a_reported_block_that_does_not_exist_is_reserved_then_made_anew():
    """Nothing is claimed at once; it lasts for longer than two watches run apart; then its node gets it back."""
    world = cluster(A, node("n1"), node("n2"), status("n1", report("10.0.0.0/26", in_use=3)))
    first = plan(world, memory=Memory(), now=0)
    assert not first.claims
    second = plan(world, memory=first.memory, now=30)
    assert [(str(claim.spec.cidr), claim.spec.node, claim.spec.pool) for claim in second.claims] == [
        ("10.0.0.0/26", "n1", "a")
    ]
    assert {refusal.reason for refusal in second.refusals} == {Reason.BLOCK_MISSING, Reason.STORE_RESTORED}
    after = claimed(world, second)
    reported = replace(
        after, statuses=cluster(status("n1", report("10.0.0.0/26", in_use=3), version="2"), status("n2")).statuses
    )
    assert owners(plan(reported, memory=second.memory, now=31)) == [("n2", "a")]


def test_a_missing_block_that_somebody_else_has_is_a_conflict():
    """It is reported; no living block is taken away."""
    world = cluster(
        A,
        node("n1"),
        node("n2"),
        block("10.0.0.0/25", "n2"),
        status("n1", report("10.0.0.0/26", in_use=3)),
        status("n2", report("10.0.0.0/25", in_use=3, capacity=126)),
    )
    first = plan(world, memory=Memory(), now=0)
    second = plan(world, memory=first.memory, now=30)
    assert not second.claims
    assert not second.changes
    assert {refusal.reason for refusal in second.refusals} == {Reason.OVERLAPPING_BLOCK, Reason.STORE_RESTORED}


def test_a_status_goes_with_the_last_block():
    """Of a node that is gone."""
    assert made(A, status("gone")).statuses == ("gone",)
    assert made(A, status("gone"), block("10.0.0.0/26", "gone")).statuses == ()
    assert made(A, status("n1"), node("n1")).statuses == ()


NAMES = st.sets(st.sampled_from([f"n{number}" for number in range(12)]), max_size=12)


@settings(max_examples=examples(60))
@given(NAMES, st.integers(26, 30), st.sets(st.integers(0, 15), max_size=10), st.randoms())
def test_claims_never_overlap_and_the_plan_is_stable(names, size, old, order: random.Random):
    """Carried out, it is empty; in whatever order the objects come, it is the same."""
    blocks = [
        block(f"10.0.0.{16 * place}/28", f"o{place}", state=order.choice(["Active", "Quarantined"])) for place in old
    ]
    objects = [pool("a", "10.0.0.0/24", blockSize=size), B, *(node(name) for name in names), *blocks]
    before = cluster(*objects)
    wished = plan(before, memory=Memory(), now=0)
    order.shuffle(objects)
    assert plan(cluster(*objects), memory=Memory(), now=0) == wished
    after = claimed(before, wished)
    held = [one.spec.cidr for one in after.blocks.values()]
    assert not any(overlaps(one, other) for place, one in enumerate(held) for other in held[:place])
    again = plan(after, memory=wished.memory, now=0)
    assert (again.claims, again.changes, again.deletions) == ((), (), ())

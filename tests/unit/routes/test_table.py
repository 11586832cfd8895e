"""One family's routes: what becomes dirty, however it does, ends as it is wanted."""

from ipaddress import ip_address

import pytest

from towpath.model.net import Family
from towpath.routes.kernel import Operation
from towpath.routes.route import NextHop, RouteType, Spec, Target, spec
from towpath.routes.table import Table

WIRES = [bytes((24, 10, number >> 8, number & 255)) for number in range(1500)]


def resolved(_family: Family, found: Target) -> Spec:
    """All next hops are on one link."""
    return spec(RouteType.UNICAST, [NextHop(hop, 2) for hop in found.next_hops], metric=1179)


def a_table() -> Table:
    return Table(Family.IPV4, resolve=resolved)


def target(table: Table, *hops: str) -> Target:
    return table.target(tuple(map(ip_address, hops)))


def settle(table: Table) -> dict[Operation, int]:
    """Carry everything out in a kernel that refuses nothing; how many routes each operation took."""
    done = dict.fromkeys(Operation, 0)
    while table.waiting or table.doomed:
        batches = table.plan(table.take(400), now=0.0)
        batches += table.deletions(table.take_doomed(400), everything=True, blackholes=True)
        for batch in batches:
            done[batch.operation] += len(batch.wires)
        table.applied(batches, (), now=0.0)
    return done


def test_bursts_and_single_changes_end_as_wanted():
    """A burst, another target for all of it, some withdrawn, one changed again: all before anything was carried out."""
    table = a_table()
    first, second = target(table, "192.0.2.1"), target(table, "192.0.2.2")
    table.learn(WIRES, first)
    table.learn(WIRES, second)
    table.forget(WIRES[:100])
    table.learn(WIRES[200:201], first)
    done = settle(table)
    wanted = dict.fromkeys(WIRES[100:], second.spec)
    wanted[WIRES[200]] = first.spec
    assert table.installed == wanted
    assert done[Operation.ADD] == len(wanted)
    assert not done[Operation.REPLACE]


def test_a_burst_over_what_is_installed_is_replaced():
    """New next hops for a whole table replace it, and saying the same again does nothing."""
    table = a_table()
    first, second = target(table, "192.0.2.1"), target(table, "192.0.2.2")
    table.learn(WIRES, first)
    settle(table)
    table.learn(WIRES, second)
    assert settle(table)[Operation.REPLACE] == len(WIRES)
    table.learn(list(WIRES), second)
    assert not any(settle(table).values())


@pytest.mark.parametrize("rounds", [31, 200])
def test_a_reader_that_falls_behind_looks_at_each_prefix_a_bounded_number_of_times(rounds):
    """However often bursts come before anything is carried out, what waits does not grow with them."""
    table = a_table()
    targets = [target(table, f"192.0.2.{number}") for number in (1, 2)]
    for number in range(rounds):
        table.learn(list(WIRES), targets[number % 2])
    looked = 0
    while table.waiting:
        taken = table.take(1000)
        looked += len(taken)
        table.applied(table.plan(taken, now=0.0), (), now=0.0)
    assert table.installed == dict.fromkeys(WIRES, targets[(rounds - 1) % 2].spec)
    assert looked <= 33 * len(WIRES)


ONE, TWO, THREE = "192.0.2.1", "192.0.2.2", "192.0.2.3"
WIRE = WIRES[0]


def restarted(*hops: str) -> Table:
    """A new speaker; the last one had told these next hops of one prefix."""
    table = a_table()
    table.learn([WIRE], target(table, *hops))
    settle(table)
    table.begin()
    return table


def leads(table: Table) -> set[str]:
    """Where the prefix leads in the kernel, all being carried out."""
    settle(table)
    have = table.installed.get(WIRE)
    return {str(hop.gateway) for hop in have.next_hops} if have is not None else set()


def tell(table: Table, *hops: str) -> set[str]:
    table.learn([WIRE], target(table, *hops))
    return leads(table)


def test_another_way_waits_for_the_former_one():
    """A worse path that is told first moves nothing; the former one told again is the answer, and later news is news."""
    table = restarted(ONE)
    assert tell(table, TWO) == {ONE}
    assert tell(table, ONE) == {ONE}
    assert tell(table, TWO) == {TWO}


def test_another_way_counts_once_everybody_was_heard():
    """In sync: what was not told again is gone."""
    table = restarted(ONE)
    assert tell(table, TWO) == {ONE}
    table.trust()
    assert leads(table) == {TWO}


def test_a_peer_that_was_heard_holds_nothing_up():
    """Its own next hop is over where somebody told another way, in whichever order; where nobody did the route stays."""
    for first in (True, False):
        table = restarted(ONE)
        if first:
            table.hear([ip_address(ONE)])
            assert leads(table) == {ONE}
            assert tell(table, TWO) == {TWO}
        else:
            tell(table, TWO)
            table.hear([ip_address(THREE)])
            assert leads(table) == {ONE}
            table.hear([ip_address(ONE)])
            assert leads(table) == {TWO}


def test_of_several_former_ways_those_are_left_that_may_be_told_again():
    """Heard without it, or told and withdrawn: that one goes alone."""
    table = restarted(ONE, TWO, THREE)
    assert tell(table, ONE) == {ONE, TWO, THREE}
    table.hear([ip_address(TWO)])
    assert leads(table) == {ONE, THREE}
    table.forget([WIRE])
    assert leads(table) == {THREE}
    assert tell(table, TWO) == {THREE}
    assert tell(table, TWO, THREE) == {TWO, THREE}
    assert tell(table, TWO) == {TWO}


def test_a_next_hop_off_the_link_is_told_again_by_the_ways_to_it():
    """What was read from the kernel are the ways to it: as they come back one by one, and are heard out, none of them goes."""
    table = restarted(ONE, TWO)
    far = target(table, "198.51.100.1")
    both = target(table, ONE, TWO).spec
    far.spec = None
    assert tell(table, "198.51.100.1") == {ONE, TWO}
    far.spec = target(table, ONE).spec
    table.moved({far})
    table.hear([ip_address(ONE)])
    assert leads(table) == {ONE, TWO}
    far.spec = both
    table.moved({far})
    table.hear([ip_address(TWO)])
    assert leads(table) == {ONE, TWO}
    assert not table.former.ways


def test_a_next_hop_that_nothing_leads_to_waits_for_nobody():
    """Its link goes down before it was told again: the other way at once; the link comes back: the former one again."""
    table = restarted(ONE)
    former = target(table, ONE)
    spared = former.spec
    tell(table, TWO)
    former.spec = None
    table.moved({former})
    assert leads(table) == {TWO}
    former.spec = spared
    table.moved({former})
    assert leads(table) == {ONE}


def test_a_speaker_that_restarts_again_before_it_was_in_sync():
    """What the kernel has still waits, and what was told only by the one in between is no former way."""
    table = restarted(ONE)
    tell(table, TWO)
    table.begin()
    assert leads(table) == {ONE}
    assert tell(table, TWO) == {ONE}
    table.trust()
    assert leads(table) == {TWO}

"""One family's routes: what becomes dirty, however it does, ends as it is wanted."""

from ipaddress import ip_address

import pytest

from towpath.model.net import Address, Family
from towpath.routes.kernel import Operation
from towpath.routes.route import NextHop, RouteType, spec
from towpath.routes.table import Table, Target

WIRES = [bytes((24, 10, number >> 8, number & 255)) for number in range(1500)]


def target(table: Table, hop: str) -> Target:
    """A resolved target."""
    address: Address = ip_address(hop)
    found = table.target((address,))
    found.spec = spec(RouteType.UNICAST, (NextHop(address, 2),), metric=1179)
    return found


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
    table = Table(Family.IPV4)
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
    table = Table(Family.IPV4)
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
    table = Table(Family.IPV4)
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

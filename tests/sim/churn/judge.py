"""Whether blocks, ranges and routes still say the same: everything is worked out again here, the long way, and compared.

What the controller and the agents keep from one snapshot to the next must be what they would make of the last one alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.sim.churn.world import Churn
from towpath.bgp.advertise import announcements
from towpath.controller.cluster import KINDS
from towpath.controller.store import FIELDS
from towpath.ipam.cni import conflist, ranges_of
from towpath.ipam.plan import IpamPlan, plan
from towpath.ipam.room import rooms
from towpath.model.blocks import by_node, in_force
from towpath.model.net import Address, Family, Prefix, family_of
from towpath.routes.plan import static_routes

SAMPLE = 5
"""Nodes whose routes are worked out from nothing; those of one more are followed from snapshot to snapshot."""
Ends = tuple[Address, Address, str]
"""First and last address of a range, and whose it is."""


def judge(world: Churn, *, resting: bool) -> None:
    """Look at everything; ``resting``: nothing is under way, so nothing may be missing either."""
    blocks = {ip_network(body["spec"]["cidr"]): body["spec"] for body in world.page("IPAMBlock").items}
    _disjoint((cidr[0], cidr[-1], spec["node"]) for cidr, spec in blocks.items())
    _caches(world)
    _force(world, blocks)
    _pods(world)
    _routes(world, blocks)
    _books(world, resting=resting)
    if resting:
        _ranges(world)
        _ways(world, blocks)


def _disjoint(ranges: Iterable[Ends]) -> None:
    """No address has two owners."""
    for one, other in pairwise(sorted(ranges, key=lambda ends: (ends[0].version, int(ends[0])))):
        assert one[0].version != other[0].version or one[1] < other[0], f"{one} overlaps {other}"  # type: ignore[operator]  # one family


def _caches(world: Churn) -> None:
    """The store has what the server has."""
    for kind in KINDS:
        there = {body["metadata"]["name"]: body["metadata"]["resourceVersion"] for body in world.page(kind).items}
        seen: Mapping[str, Any] = getattr(world.cluster, FIELDS[kind])
        assert {name: one.meta.resource_version for name, one in seen.items()} == there, kind


def _force(world: Churn, blocks: Mapping[Prefix, Any]) -> None:
    """All blocks are in force, for none overlaps another, and each is its node's."""
    found = in_force(world.cluster.blocks)
    assert {cidr: one.spec.node for cidr, one in found.items()} == {cidr: one["node"] for cidr, one in blocks.items()}
    owned = {name: {one.spec.cidr for one in own} for name, own in by_node(found).items()}
    wanted: dict[str, set[Prefix]] = {}
    for cidr, one in blocks.items():
        wanted.setdefault(one["node"], set()).add(cidr)
    assert owned == wanted


def _pods(world: Churn) -> None:
    """Each pod has an address of one of its node's blocks; since these are disjoint, no other pod has it."""
    owned = by_node(in_force(world.cluster.blocks))
    for name, machine in world.machines.items():
        own = [one.spec.cidr for one in owned.get(name, ())]
        strays = [pod for pod in machine.pods if not any(pod in cidr for cidr in own)]
        assert not strays, f"{name} has {strays}, and the blocks {own}"


def _ranges(world: Churn) -> None:
    """What host-local may give out is what blocks say, of every node, and no address of it twice."""
    every: list[Ends] = []
    owned = by_node(in_force(world.cluster.blocks))
    for name, machine in world.machines.items():
        specs = [one.spec for one in owned.get(name, ()) if one.spec.state == "Active"]
        active = {spec.cidr for spec in specs}
        assert machine.served.keys() == active, name
        assert {family_of(cidr) for cidr in active} == set(Family), name
        made = ranges_of(conflist(specs, world.cluster.pools, data_dir=Path("nowhere")))
        ends = [(ip_address(one["rangeStart"]), ip_address(one["rangeEnd"]), name) for one in made]
        assert len(ends) == len(active), name
        for first, last, _ in ends:
            assert any(first in cidr and last in cidr for cidr in active), name
        counted = sum(int(last) - int(first) + 1 for first, last, _ in ends)
        status = world.cluster.statuses[name].status
        assert status is not None
        assert sum(one.capacity for one in status.blocks) == counted, name
        assert sum(one.in_use for one in status.blocks) == len(machine.pods), name
        every += ends
    _disjoint(every)


def _ways(world: Churn, blocks: Mapping[Prefix, Any]) -> None:
    """Who announces a block gives it out, and nobody announces anything else; nor is anything left of nodes that are gone."""
    told = {prefix: name for name, one in world.told.items() for prefix in one.prefixes}
    assert told == {cidr: one["node"] for cidr, one in blocks.items() if one["state"] != "Quarantined"}
    for name, machine in world.machines.items():
        assert announcements(world.cluster, name).keys() == machine.announced == {*machine.served}, name
    cluster = world.cluster
    assert cluster.nodes.keys() == cluster.routing_nodes.keys() == cluster.statuses.keys() == world.machines.keys()
    assert {one["node"] for one in blocks.values()} == world.machines.keys()


def _routes(world: Churn, blocks: Mapping[Prefix, Any]) -> None:
    """A node's routes are those to all blocks in use, by their nodes; the watcher's, which were brought up to date, too."""
    addresses = {name: {family_of(one): one for one in node.addresses} for name, node in world.cluster.nodes.items()}
    names = [world.watcher, *world.order.sample(sorted(world.machines), SAMPLE), world.watcher]
    for here in names:
        found = static_routes(world.cluster, here)
        wanted = dict(_wanted(here, blocks, addresses, known=world.cluster.routing_nodes.keys()))
        assert {prefix: (one.type, one.next_hops) for prefix, one in found.items()} == wanted, here


def _wanted(
    here: str, blocks: Mapping[Prefix, Any], addresses: Mapping[str, Any], *, known: Iterable[str]
) -> Iterator[tuple[Prefix, Any]]:
    for cidr, one in blocks.items():
        if one["state"] == "Quarantined":
            continue
        if one["node"] == here:
            yield cidr, ("blackhole", ())
        elif one["node"] in known and one["node"] in addresses:
            yield cidr, ("unicast", (addresses[one["node"]][family_of(cidr)],))


def _books(world: Churn, *, resting: bool) -> None:
    """The controller's plan and books are what a new one makes of the same snapshot; at rest there is nothing to do."""
    planner = world.controller._planner
    before = planner.memory
    kept, fresh = planner.plan(world.cluster, now=world.time), plan(world.cluster, memory=before, now=world.time)
    assert _told(kept) == _told(fresh)
    if resting:
        assert not any(_told(kept)[:4]), _told(kept)
        held = planner.ledger
        for name, room in rooms(held).items():
            taken = sum(1 for one in world.cluster.blocks.values() if one.spec.pool == name)
            assert room.left == room.blocks - taken, name


def _told(wished: IpamPlan) -> tuple[Any, ...]:
    return wished.claims, wished.changes, wished.deletions, wished.statuses, wished.refusals

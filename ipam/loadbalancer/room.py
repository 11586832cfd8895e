"""How many addresses pools for load balancers have left, and who is told before they end.

What counts is what a service can still get. Pools that select the same services are one to them.
"""

from collections.abc import Iterator, Mapping

from towpath.ipam.loadbalancer.plan import LoadBalancerPlan
from towpath.ipam.room import Room, stage_of
from towpath.model.blocks import is_open
from towpath.model.cluster import IPPool
from towpath.model.net import Family, family_of
from towpath.model.reason import Reason, Refusal, Why, listed


def rooms(made: LoadBalancerPlan) -> dict[str, Room]:
    """Addresses of each pool for load balancers in force, by name, without those that nobody gets."""
    return {name: Room(blocks=left + made.given[name], left=left) for name, left in sorted(made.free.items())}


def running_low(pools: Mapping[str, IPPool], found: Mapping[str, Room]) -> Iterator[Refusal]:
    """Each pool of which little is left, with those beside it."""
    for names in _alike(pools, found):
        stage = stage_of(found[name] for name in names)
        if stage is None:
            continue
        left = f"{stage} % of {{}} addresses or less are left" if stage else "none of {} addresses is left"
        if len(names) > 1:
            of = listed([f"IPPool/{name}" for name in names])
            message = f"{left.format('the')} of {of}, which serve the same services"
        else:
            message = left.format("its")
        for name in names:
            text = f"{message}: add a pool for these services before they need more"
            yield Refusal(Reason.POOL_RUNNING_LOW, text, Why("IPPool", name, "spec.cidr"))


def _alike(pools: Mapping[str, IPPool], found: Mapping[str, Room]) -> Iterator[list[str]]:
    """The names of pools that give out new addresses to the same services, and in the same way."""
    groups: dict[tuple[Family, str, str, str], list[str]] = {}
    for name in found:
        pool = pools.get(name)
        if pool is not None and is_open(pool):
            selectors = (str(one or "") for one in (pool.spec.service_selector, pool.spec.namespace_selector))
            services, namespaces = ("" if text == "all()" else text for text in selectors)
            key = family_of(pool.spec.cidr), pool.spec.assignment_mode, services, namespaces
            groups.setdefault(key, []).append(name)
    yield from groups.values()

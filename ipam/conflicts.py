"""Pools in which others have addresses: nodes, services, the cluster's own assignment of podCIDRs, or whoever people reserve them for.

Such a pool stays in force, and nothing is taken from anybody: the part that others have is never cut into blocks, and the
pool says whose it is.
"""

from collections.abc import Collection, Iterator

from towpath.ipam.ledger import Ledger
from towpath.ipam.reserved import reserved
from towpath.model.kinds.ipam import IPPoolSpec
from towpath.model.net import Prefix, overlaps
from towpath.model.reason import Reason, Refusal, Why, listed


def conflicts(ledger: Ledger, services: Collection[Prefix]) -> Iterator[Refusal]:
    """One refusal a pool and reason."""
    found: dict[tuple[str, Reason], list[str]] = {}
    for name in sorted(ledger.clashes):
        for clash in ledger.clashes[name]:
            found.setdefault((clash.pool, clash.reason), []).append(clash.what)
    pools = [pool for family in ledger.pools.families.values() for pool in family]
    for pool in pools:
        ranges = [str(one) for one in sorted(services, key=str) if overlaps(one, pool.spec.cidr)]
        if ranges:
            found[pool.name, Reason.SERVICE_RANGE_CONFLICT] = [f"the service range {one}" for one in ranges]
    specs = {pool.name: pool.spec for pool in pools}
    for (name, reason), what in sorted(found.items()):
        named = listed(what)
        verb = "overlaps" if reason is not Reason.NODE_ADDRESS else "contains"
        message = f"{specs[name].cidr} {verb} {named}: {_nobody_gets_it(specs[name])}"
        yield Refusal(reason, message, Why("IPPool", name, "spec.cidr"))
    yield from _kept(ledger)


def _kept(ledger: Ledger) -> Iterator[Refusal]:
    """Pools of which reservations leave nothing: said of the pool, and of each reservation."""
    kept = reserved(ledger.cluster.reservations)
    for name, space in sorted(ledger.spaces.items()):
        if space.closed < space.places or not (found := kept.inside(space.cidr)):
            continue
        pool = f"{space.cidr} of IPPool/{name}"
        named = [str(why) for _, why in found]
        nothing = _nobody_gets_it(ledger.cluster.pools[name].spec)
        yield Refusal(
            Reason.POOL_RESERVED,
            f"{space.cidr} is reserved as a whole by {listed(named)}: {nothing}",
            Why("IPPool", name, "spec.cidr"),
        )
        for cidr, why in found:
            alone = " with others" if len(found) > 1 else ""
            unit = "address" if ledger.cluster.pools[name].spec.for_services else "block"
            yield Refusal(Reason.POOL_RESERVED, f"{cidr} leaves{alone} no {unit} of {pool}", why)


def _nobody_gets_it(pool: IPPoolSpec) -> str:
    return "no service gets an address there" if pool.for_services else "no block is cut there"

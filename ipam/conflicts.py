"""Pools in which others have addresses: nodes, services, or the cluster's own assignment of podCIDRs.

Such a pool stays in force, and nothing is taken from anybody: the part that others have is never cut into blocks, and the
pool says whose it is.
"""

from collections.abc import Collection, Iterator

from towpath.ipam.ledger import Ledger
from towpath.model.net import Prefix, overlaps
from towpath.model.reason import Reason, Refusal, Why

NAMED = 3
"""Of one reason, so many are named on a pool."""


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
    cidrs = {pool.name: pool.spec.cidr for pool in pools}
    for (name, reason), what in sorted(found.items()):
        named = ", ".join(what[:NAMED]) + (f" and {len(what) - NAMED} more" if len(what) > NAMED else "")
        verb = "overlaps" if reason is not Reason.NODE_ADDRESS else "contains"
        message = f"{cidrs[name]} {verb} {named}: no block is cut there"
        yield Refusal(reason, message, Why("IPPool", name, "spec.cidr"))

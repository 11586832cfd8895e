"""Addresses that services have in pools for pods: of a pool that was theirs before, and that is another's now.

A service keeps its address until it can have another, whatever becomes of the pool. Until then no block is cut around it.
"""

from collections.abc import Mapping

from towpath.model.cluster import AddressClaim, IPPool
from towpath.model.net import Address, contains, host_prefix
from towpath.model.reason import Reason, Refusal, Why, listed


def strays(claims: Mapping[str, AddressClaim], pools: Mapping[str, IPPool]) -> dict[str, tuple[Address, ...]]:
    """By pool for pods: the addresses that services have in it."""
    others = [pool for pool in pools.values() if not pool.spec.for_services]
    found: dict[str, list[Address]] = {}
    for claim in claims.values():
        if claim.spec.pool in pools and pools[claim.spec.pool].spec.for_services:
            continue  # most of them: pools in force do not overlap
        address = claim.spec.address
        pool = next((one for one in others if contains(one.spec.cidr, host_prefix(address))), None)
        if pool is not None and claim.spec.services:
            found.setdefault(pool.name, []).append(address)
    return {name: tuple(sorted(addresses, key=int)) for name, addresses in sorted(found.items())}


def told(found: Mapping[str, tuple[Address, ...]]) -> tuple[Refusal, ...]:
    """What these pools say of it."""
    return tuple(
        Refusal(
            Reason.SERVICE_RANGE_CONFLICT,
            f"services have {listed([str(one) for one in addresses])} of it (AddressClaim): no block is cut there",
            Why("IPPool", name, "spec.cidr"),
        )
        for name, addresses in found.items()
    )

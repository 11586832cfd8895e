"""What does not fit between claims of load balancers' addresses, the services that have them, and pools.

A pure function of what was listed, for people who ask: claims first, then services, so that what a claim names was there.
"""

from collections.abc import Iterator, Mapping

from towpath.ipam.check import Finding
from towpath.ipam.loadbalancer.sharing import objection
from towpath.model.balanced import Balanced
from towpath.model.blocks import pool_holding
from towpath.model.cluster import AddressClaim, Cluster, IPPool
from towpath.model.kinds.claim import Tenant
from towpath.model.net import Address, host_prefix
from towpath.model.reason import Reason, Why, listed

Services = Mapping[str, Balanced]
"""By namespace and name."""


def claim_findings(cluster: Cluster, services: Services) -> Iterator[Finding]:
    """Of claims, and of what stands in the status of services."""
    pools = {name: pool for name, pool in cluster.pools.items() if pool.spec.for_services}
    for claim in cluster.claims.values():
        yield from _of_claim(claim, pools, services)
    shown: dict[Address, list[Balanced]] = {}
    for service in services.values():
        for address in service.addresses:
            if pool_holding(host_prefix(address), pools) is not None:
                shown.setdefault(address, []).append(service)
    claims = {claim.spec.address: claim for claim in cluster.claims.values()}
    for address, several in shown.items():
        yield from _of_services(address, several, claims.get(address))


def is_forsaken(claim: AddressClaim, services: Services) -> bool:
    """Whether a claim was made for services of which none is there any more, and nobody shows its address."""
    tenants = claim.spec.services
    shown = any(claim.spec.address in service.addresses for service in services.values())
    return bool(tenants) and not shown and not any(_is_there(one, services) for one in tenants)


def _of_claim(claim: AddressClaim, pools: Mapping[str, IPPool], services: Services) -> Iterator[Finding]:
    spec, pool = claim.spec, pool_holding(host_prefix(claim.spec.address), pools)
    if pool is None:
        message = f"{spec.address} lies in no pool with allowedUses LoadBalancer"
        yield Finding(Why("AddressClaim", claim.name, "spec.address"), Reason.NO_POOL, message)
    elif spec.pool and spec.pool != pool.name:
        message = f"{spec.address}: it names the pool {spec.pool} and lies in {pool.name}"
        yield Finding(Why("AddressClaim", claim.name, "spec.pool"), Reason.NO_POOL, message)
    gone = [f"Service/{one.service}" for one in spec.services if not _is_there(one, services)]
    if gone:
        message = f"{spec.address} is claimed for {listed(gone)}, which is not there"
        yield Finding(Why("AddressClaim", claim.name, "spec.services"), Reason.SERVICE_MISSING, message)
    for place, tenant in enumerate(spec.services):
        if (objecting := objection(tenant, spec.services[:place])) is not None:
            message = f"Service/{tenant.service} cannot have {spec.address}: {objecting}"
            why = Why("AddressClaim", claim.name, f"spec.services[{place}]")
            yield Finding(why, Reason.ADDRESS_TAKEN, message)


def _of_services(address: Address, shown: list[Balanced], claim: AddressClaim | None) -> Iterator[Finding]:
    """Of those that show an address of our pools."""
    claimed = {(one.service, one.uid) for one in claim.spec.services} if claim is not None else set()
    ordered = sorted(shown, key=lambda one: one.key)
    for place, service in enumerate(ordered):
        why = Why("Service", service.key, "status.loadBalancer")
        if (service.key, service.uid) not in claimed:
            yield Finding(why, Reason.ADDRESS_UNCLAIMED, f"{address} is in its status, and no AddressClaim says so")
        if (objecting := objection(service.tenant(), [one.tenant() for one in ordered[:place]])) is not None:
            yield Finding(why, Reason.DUPLICATE_ADDRESS, f"{address}: {objecting}")


def _is_there(tenant: Tenant, services: Services) -> bool:
    service = services.get(tenant.service)
    return service is not None and service.uid == tenant.uid

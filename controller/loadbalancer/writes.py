"""Claims of addresses and statuses of services as the controller writes them, each from the version that it was decided on."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec.structs import replace

from towpath.controller.loadbalancer.followed import Followed
from towpath.controller.ports import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from towpath.controller.writes import Writer, may_have_happened
from towpath.controller.written import OwnWrites
from towpath.ipam.loadbalancer.plan import Change, Claim, LoadBalancerPlan, Publication
from towpath.model.balanced import CONDITION, Balanced
from towpath.model.cluster import AddressClaim
from towpath.model.codec import to_builtins
from towpath.model.decode import encode
from towpath.model.kinds.claim import Tenant
from towpath.model.net import address_name
from towpath.model.resource import Meta, Resource

log = structlog.get_logger(__name__)


class ClaimWrites:
    """Carries plans out; knows what was written of claims and is not in the cache yet."""

    def __init__(self, writer: Writer, followed: Followed, *, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._followed = followed
        self._own: OwnWrites[AddressClaim] = OwnWrites("AddressClaim", clock=clock)
        self.barred: frozenset[str] = frozenset()
        """Names that are taken by objects which do not decode."""
        self.published: list[Publication] = []
        """What the API server has taken, for whoever tells people of it and takes it out."""

    def over(self, cached: Mapping[str, AddressClaim]) -> Mapping[str, AddressClaim]:
        """What the cache shows, with our writes laid over."""
        self.barred -= cached.keys()
        return self._own.over(cached)

    def lookups(self) -> Iterable[Awaitable[bool]]:
        """Questions to the API server about every write that the cache should show by now, and claims without an answer."""
        return (self._writer.look_up(self._own, "AddressClaim", name) for name in self._own.doubtful())

    def writes(self, wished: LoadBalancerPlan) -> Iterable[Awaitable[bool]]:
        """Everything that a plan asks for."""
        yield from map(self._claim, wished.claims)
        yield from map(self._change, wished.changes)
        yield from map(self._publish, wished.publications)

    async def _claim(self, claim: Claim) -> bool:
        name, api = address_name(claim.spec.address), self._writer.api
        made: AddressClaim = Resource("AddressClaim", Meta(name), claim.spec)
        try:
            body = await self._writer.write("claim", name, lambda: api.create("AddressClaim", encode(made)))
        except AlreadyExistsError:
            log.info("address.taken", address=str(claim.spec.address), wanted_for=claim.why.name)
            if not await self._writer.look_up(self._own, "AddressClaim", name):
                self._own.lost(made)
            elif self._own.is_unreadable(name):
                self.barred |= {name}
            return False
        except ApiError as error:
            if may_have_happened(error):
                self._own.lost(made)
            return self._writer.failed("claim", name, error)
        except BaseException:
            self._own.lost(made)  # cancelled with the request under way
            raise
        self._own.wrote(body)
        log.info("address.claimed", address=str(claim.spec.address), service=claim.why.name, pool=claim.spec.pool)
        return True

    async def _change(self, change: Change) -> bool:
        """Write a claim anew, or delete it where nobody has the address any more."""
        meta, api = change.claim.meta, self._writer.api
        if not all([await self._is_gone(tenant) for tenant in change.gone]):
            return False
        body = encode(replace(change.claim, spec=change.spec))
        ends = not change.spec.services
        try:
            if ends:
                await self._writer.write(
                    "release",
                    meta.name,
                    lambda: api.delete("AddressClaim", meta.name, uid=meta.uid, resource_version=meta.resource_version),
                )
                self._own.gone(meta.name, uid=meta.uid)
            else:
                written = await self._writer.write("change", meta.name, lambda: api.replace("AddressClaim", body))
                self._own.wrote(written)
        except (ConflictError, NotFoundError) as error:
            await self._writer.look_up(self._own, "AddressClaim", meta.name, uid=meta.uid)
            return self._writer.failed("change", meta.name, error)
        except ApiError as error:
            return self._writer.failed("change", meta.name, error)
        users = [tenant.service for tenant in change.spec.services]
        log.info("address.released" if ends else "address.changed", address=str(change.spec.address), services=users)
        return True

    async def _is_gone(self, tenant: Tenant) -> bool:
        """The API server's word that there is no Service of this name and uid; a uid never comes back."""
        namespace, _, name = tenant.service.partition("/")
        try:
            body = await self._writer.api.get("Service", name, namespace=namespace)
        except NotFoundError:
            return True
        except ApiError as error:
            return self._writer.failed("read", tenant.service, error)
        return str(body["metadata"].get("uid", "")) != tenant.uid

    async def _publish(self, publication: Publication) -> bool:
        service, api = publication.service, self._writer.api
        namespace, _, name = service.key.partition("/")
        patch = status_patch(publication, now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        try:
            body = await self._writer.write(
                "publish", service.key, lambda: api.patch_status("Service", name, patch, namespace=namespace)
            )
        except (ConflictError, NotFoundError) as error:
            await self._look_up(service)
            return self._writer.failed("publish", service.key, error)
        except ApiError as error:
            return self._writer.failed("publish", service.key, error)
        self._followed.wrote(body)
        self.published.append(publication)
        if publication.ingress is not None:
            shown = [str(one.address) for one in publication.ingress]
            log.info("service.published", service=service.key, addresses=shown)
        return True

    async def _look_up(self, service: Balanced) -> None:
        namespace, _, name = service.key.partition("/")
        try:
            self._followed.wrote(await self._writer.api.get("Service", name, namespace=namespace))
        except NotFoundError:
            self._followed.gone(service.key)
        except ApiError as error:
            self._writer.failed("read", service.key, error)


def status_patch(publication: Publication, *, now: str) -> dict[str, Any]:
    """The merge patch of a Service's status, of that version alone; ``now`` is RFC 3339.

    Lists are replaced whole: conditions of others are in it as they were.
    """
    service, condition = publication.service, publication.condition
    conditions = [one for one in service.conditions if one.type != CONDITION]
    if condition is not None:
        before = service.condition
        since = before.last_transition_time if before and before.status == condition.status else now
        conditions.append(replace(condition, last_transition_time=since))
    status: dict[str, Any] = {"conditions": to_builtins(conditions) or None}
    if publication.ingress is not None:
        status["loadBalancer"] = {"ingress": [dict(one.body) for one in publication.ingress] or None}
    return {"metadata": {"uid": service.uid, "resourceVersion": service.resource_version}, "status": status}

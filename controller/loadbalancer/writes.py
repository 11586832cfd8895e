"""Claims of addresses and statuses of services as the controller writes them, each from the version that it was decided on."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec.structs import replace

from towpath.controller.claiming import Claiming
from towpath.controller.loadbalancer.followed import Followed
from towpath.controller.ports import ApiError, ConflictError, NotFoundError
from towpath.controller.writes import Writer
from towpath.ipam.loadbalancer.plan import Change, Claim, LoadBalancerPlan, Publication
from towpath.model.balanced import CONDITION, Balanced
from towpath.model.cluster import AddressClaim
from towpath.model.codec import to_builtins
from towpath.model.kinds.claim import Tenant
from towpath.model.net import address_name
from towpath.model.resource import Meta, Resource

log = structlog.get_logger(__name__)


class ClaimWrites(Claiming[AddressClaim]):
    """Carries plans out."""

    def __init__(self, writer: Writer, followed: Followed, *, clock: Callable[[], float]) -> None:
        super().__init__("AddressClaim", writer, clock=clock)
        self._followed = followed
        self.published: list[Publication] = []
        """What the API server has taken, for whoever tells people of it and takes it out."""

    def writes(self, wished: LoadBalancerPlan) -> Iterable[Awaitable[bool]]:
        """Everything that a plan asks for."""
        yield from map(self._claim, wished.claims)
        yield from map(self._change, wished.changes)
        yield from map(self._publish, wished.publications)

    async def _claim(self, claim: Claim) -> bool:
        spec = claim.spec
        done = await self._create(Resource("AddressClaim", Meta(address_name(spec.address)), spec))
        if done:
            log.info("address.claimed", address=str(spec.address), service=claim.why.name, pool=spec.pool)
        return done

    async def _change(self, change: Change) -> bool:
        """Write a claim anew, or delete it where nobody has the address any more."""
        if not all([await self._is_gone(tenant) for tenant in change.gone]):
            return False
        users = [tenant.service for tenant in change.spec.services]
        wanted = replace(change.claim, spec=change.spec)
        done = await (self._replace(wanted) if users else self._delete(wanted))
        if done:
            event = "address.changed" if users else "address.released"
            log.info(event, address=str(change.spec.address), services=users)
        return done

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
            await self._look_up_service(service)
            return self._writer.failed("publish", service.key, error)
        except ApiError as error:
            return self._writer.failed("publish", service.key, error)
        self._followed.wrote(body)
        self.published.append(publication)
        if publication.ingress is not None:
            shown = [str(one.address) for one in publication.ingress]
            log.info("service.published", service=service.key, addresses=shown)
        return True

    async def _look_up_service(self, service: Balanced) -> None:
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

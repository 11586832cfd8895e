"""Addresses for services of type LoadBalancer: from what is known to what should be written, until nothing is left to write.

A part of the leader with a loop and stores of its own: what is wrong here disturbs no block of any node. Each round plans
from what the caches show with our own answered writes laid over, and carries the plan out.
"""

import time
from collections.abc import Callable, Iterator, Mapping

import structlog

from towpath.bgp.services import configured
from towpath.controller.kube.events import Events, Subject
from towpath.controller.loadbalancer.followed import Followed
from towpath.controller.loadbalancer.writes import ClaimWrites
from towpath.controller.metrics import Measure, Sample, measure, single
from towpath.controller.ports import Api
from towpath.controller.service_ranges import service_ranges
from towpath.controller.store import Store
from towpath.controller.telling import REMIND_AFTER, WhileLeading
from towpath.controller.writes import Leadership, Writer
from towpath.ipam.loadbalancer.book import World
from towpath.ipam.loadbalancer.plan import ASSIGNED, LoadBalancerPlan, plan
from towpath.model.cluster import Cluster, IPAMBlock, IPReservation, Node
from towpath.model.memo import remembered
from towpath.model.net import Prefix, contains, host_prefix
from towpath.model.reason import Reason, Refusal, Why

log = structlog.get_logger(__name__)
CLAIMS = ("AddressClaim",)
"""What its store has to hold."""
ROUNDS = 6
"""Of planning and writing in one pass: a claim, a status and what follows from them need three."""


class LoadBalancers:
    """The composition of this part. ``told`` is called when ``refusals`` are others than before."""

    def __init__(
        self,
        api: Api,
        store: Store,
        claims: Store,
        followed: Followed,
        *,
        lease: Leadership,
        identity: str,
        told: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._claims = claims
        self._followed = followed
        self._told = told
        self._clock = clock
        self._writer = Writer(api, lease=lease)
        self._writes = ClaimWrites(self._writer, followed, clock=clock)
        self._events = Events(WhileLeading(self._writer), component="towpath-controller", host=identity, clock=clock)
        self._said: dict[Refusal, float] = {}
        self._plan: LoadBalancerPlan | None = None
        self.refusals: tuple[Refusal, ...] = ()
        """What is to be said of pools and claims."""

    async def step(self) -> bool:
        """One pass; whether nothing is left to do that could be done now."""
        cluster = self._store.cluster()
        known = self._writes.over(self._claims.cluster().claims)
        wanted = bool(known) or any(pool.spec.for_services for pool in cluster.pools.values())
        self._followed.want(wanted)
        if not self._writer.leading or not wanted:
            self._plan, self._said = None, {}
            self._refuse(())
            return True
        if not (self._store.complete and self._claims.complete and self._followed.complete):
            return True
        for _ in range(ROUNDS):
            self._writes.over(self._claims.cluster().claims)  # what the cache shows by now needs no question
            if not await self._writer.all(*self._writes.lookups()):
                return False
            wished = self._plan = plan(self._world(self._store.cluster()))
            if wished.is_empty:
                break
            if not await self._writer.all(*self._writes.writes(wished)):
                return False
            self._welcome(wished)
        await self._tell(wished)
        return wished.is_empty

    def measures(self) -> Iterator[Measure]:
        """Its metrics: of a replica that leads, once it has planned."""
        return iter(()) if self._plan is None else measures(self._plan)

    def _world(self, cluster: Cluster) -> World:
        unreadable = {one.name for one in self._claims.problems() if one.name}
        return World(
            pools=cluster.pools,
            claims=self._writes.over(self._claims.cluster().claims),
            services=self._followed.services,
            namespaces=self._followed.namespaces,
            takes_all=cluster.ipam.load_balancer_assign_ips == "AllServices",
            reserved=(*_reserved(cluster.reservations, cluster.blocks, cluster.nodes), *service_ranges(cluster)),
            barred=frozenset(unreadable) | self._writes.barred,
        )

    def _welcome(self, wished: LoadBalancerPlan) -> None:
        """An event for each service that has got addresses."""
        for one in wished.publications:
            if one.ingress and one.condition is not None and one.condition.reason == ASSIGNED:
                subject = _service(one.service.key, one.service.uid)
                self._events.emit(subject, reason="AddressAssigned", message=one.condition.message, kind="Normal")

    async def _tell(self, wished: LoadBalancerPlan) -> None:
        """An event for each refusal that is new, or was told long ago; those of pools and claims are told with others'."""
        now = self._clock()
        mine = [one for one in wished.refusals if one.object.kind == "Service"]
        self._said = {one: at for one, at in self._said.items() if one in mine}
        for one in mine:
            if now < self._said.get(one, -REMIND_AFTER) + REMIND_AFTER:
                continue
            self._said[one] = now
            service = self._followed.services.get(one.object.name)
            note = f"{one.object.field} {one.message}".strip()
            subject = _service(one.object.name, service.uid if service else "")
            if self._events.emit(subject, reason=one.reason.value, message=note):
                log.warning("service.refused", object=str(one.object), reason=one.reason, message=one.message)
        others = [one for one in wished.refusals if one.object.kind != "Service"]
        broken = [
            Refusal(one.reason, one.message, Why(one.kind, one.name, one.field))
            for one in self._claims.problems()
            if one.name
        ]
        self._refuse((*others, *broken, *unannounced(self._store.cluster())))
        await self._events.flush()

    def _refuse(self, refusals: tuple[Refusal, ...]) -> None:
        if refusals != self.refusals:
            self.refusals = refusals
            self._told()


def measures(made: LoadBalancerPlan) -> Iterator[Measure]:
    """What of the pools is given out, and who waits."""
    counts = {"free": made.free, "given": made.given}
    yield measure(
        "towpath_load_balancer_addresses",
        "Addresses of pools for load balancers, by pool and state (free, given).",
        *(
            Sample(float(count), {"pool": pool, "state": state})
            for state, pools in counts.items()
            for pool, count in sorted(pools.items())
        ),
    )
    yield single(
        "towpath_load_balancer_waiting",
        "Services of type LoadBalancer that have not the addresses that they need.",
        made.waiting,
    )


def unannounced(cluster: Cluster) -> Iterator[Refusal]:
    """Pools for load balancers whose addresses no node announces: services have them, and nobody finds the way."""
    listed = [one.prefix for one in configured(cluster.bgp).entries if one.kind == "LoadBalancer"]
    for name, pool in sorted(cluster.pools.items()):
        cidr = pool.spec.cidr
        if pool.spec.for_services and not any(contains(one, cidr) or contains(cidr, one) for one in listed):
            message = f"{cidr} is not in serviceLoadBalancerIPs of BGPConfiguration/default: no node announces it"
            yield Refusal(Reason.NOT_LISTED, message, Why("IPPool", name, "spec.cidr"))


@remembered
def _reserved(
    reservations: Mapping[str, IPReservation], blocks: Mapping[str, IPAMBlock], nodes: Mapping[str, Node]
) -> tuple[Prefix, ...]:
    """What no service gets besides addresses of other services: what people keep, and addresses of pods and of nodes."""
    return (
        *(prefix for one in reservations.values() for prefix in one.spec.reserved_cidrs),
        *(block.spec.cidr for block in blocks.values()),
        *(prefix for node in nodes.values() for prefix in (*node.pod_cidrs, *map(host_prefix, node.addresses))),
    )


def _service(key: str, uid: str) -> Subject:
    namespace, _, name = key.partition("/")
    return Subject("Service", name, uid, api_version="v1", namespace=namespace)

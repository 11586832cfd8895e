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
from towpath.ipam.loadbalancer.room import rooms, running_low
from towpath.ipam.loadbalancer.strays import strays, told
from towpath.ipam.room import Trend
from towpath.model.cluster import Cluster, IPAMBlock, IPReservation, Node
from towpath.model.memo import remembered
from towpath.model.net import Address, Prefix, contains, host_prefix
from towpath.model.reason import Reason, Refusal, Why

log = structlog.get_logger(__name__)
CLAIMS = ("AddressClaim",)
"""What its store has to hold."""
ROUNDS = 6
"""Of planning and writing in one pass: a claim, a status and what follows from them need three."""


class LoadBalancers:
    """The composition of this part. ``told`` is called when ``refusals``, or what is ``taken``, are others than before."""

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
        self._trend = Trend()
        self._taken: tuple[Prefix, ...] | None = None
        self.refusals: tuple[Refusal, ...] = ()
        """What is to be said of pools and claims."""

    async def step(self) -> bool:
        """One pass; whether nothing is left to do that could be done now."""
        cluster, taken = self._store.cluster(), self.taken()
        if taken != self._taken:
            self._taken = taken
            self._told()
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
            written = await self._writer.all(*self._writes.writes(wished))
            self._welcome()
            if not written:
                return False
        await self._tell(wished)
        return wished.is_empty

    def measures(self) -> Iterator[Measure]:
        """Its metrics: of a replica that leads, once it has planned."""
        if self._plan is None:
            return
        found, now = rooms(self._plan), self._clock()
        self._trend.note(found, now=now)
        yield from measures(
            self._plan, days={name: self._trend.days_left(name, one, now=now) for name, one in found.items()}
        )

    def taken(self) -> tuple[Prefix, ...] | None:
        """Addresses of pools for pods that services have from before, which no block may have; None: not known yet."""
        if not self._claims.complete and not self._claims.problems():
            return None
        return tuple(host_prefix(one) for found in self._strays().values() for one in found)

    def _strays(self) -> Mapping[str, tuple[Address, ...]]:
        return _strayed(self._writes.over(self._claims.cluster().claims), self._store.cluster().pools)

    def _world(self, cluster: Cluster) -> World:
        unreadable = {one.name for one in self._claims.problems() if one.name}
        return World(
            pools=cluster.pools,
            claims=self._writes.over(self._claims.cluster().claims),
            services=self._followed.services,
            namespaces=self._followed.namespaces,
            takes_all=cluster.ipam.load_balancer_assign_ips == "AllServices",
            reserved=(*_reserved(cluster.reservations, cluster.blocks, cluster.nodes), *service_ranges(cluster)),
            barred=frozenset(unreadable) | self._writes.barred.keys(),
        )

    def _welcome(self) -> None:
        """An event for each service that has got addresses, whatever became of the others'."""
        published, self._writes.published = self._writes.published, []
        for one in published:
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
        cluster = self._store.cluster()
        low = running_low(cluster.pools, rooms(wished))
        self._refuse((*others, *broken, *low, *told(self._strays()), *unannounced(cluster)))
        await self._events.flush()

    def _refuse(self, refusals: tuple[Refusal, ...]) -> None:
        if refusals != self.refusals:
            self.refusals = refusals
            self._told()


def measures(made: LoadBalancerPlan, *, days: Mapping[str, float | None]) -> Iterator[Measure]:
    """What of the pools is given out, for how long the rest lasts (``days``), and who waits."""
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
    yield measure(
        "towpath_load_balancer_days_left",
        "Days until no address of a pool for load balancers is left, at the rate of up to a week; only while it fills up.",
        *(Sample(left, {"pool": pool}) for pool, left in days.items() if left is not None),
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


_strayed = remembered(strays)


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

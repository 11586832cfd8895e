"""The controller process: from what the cluster is to what should be written, again and again.

One pass reads the snapshot with our own writes laid over it, plans, and carries the plan out with bounded concurrency.
Only the leader does, and looks at its lease before each write. A refused write is read anew and planned again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from msgspec.structs import replace

from towpath.controller.conditions import Key, Wanted, conditions
from towpath.controller.kindstore import Problem
from towpath.controller.kube.conditions import set_conditions
from towpath.controller.loop import LevelLoop, Pace
from towpath.controller.node.events import EventFilter
from towpath.controller.ports import (
    AlreadyExistsError,
    Api,
    ApiError,
    ConflictError,
    InvalidObjectError,
    NotFoundError,
    UnreachableError,
)
from towpath.controller.routing_nodes import RoutingNodeCache, RoutingNodes
from towpath.controller.written import OwnWrites
from towpath.ipam.memory import Memory
from towpath.ipam.plan import Change, Claim, IpamPlan, plan
from towpath.model.cluster import Cluster, IPAMBlock, RoutingNode
from towpath.model.decode import encode
from towpath.model.net import Prefix, block_name
from towpath.model.reason import Refusal, Why
from towpath.model.resource import Meta, Resource

log = structlog.get_logger(__name__)
KINDS = (
    "BGPConfiguration",
    "BGPPeer",
    "IPPool",
    "IPAMConfiguration",
    "IPAMBlock",
    "RoutingNode",
    "NodeStatus",
    "Node",
)
"""What the controller's store has to hold."""
CONCURRENCY = 16


class Picture(Protocol):
    """The store, as far as the controller reads it."""

    went_back: bool

    @property
    def complete(self) -> bool:
        """Whether every kind was listed."""

    def cluster(self) -> Cluster:
        """The snapshot."""

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with objects."""

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call back after every change."""


class Leadership(Protocol):
    """The lease."""

    @property
    def leading(self) -> bool:
        """Whether this process may write, now."""

    @property
    def left(self) -> float:
        """For how many seconds it may: a write that is under way then is given up."""


class ClusterController:
    """The composition of one controller on one API client. ``clock`` is monotonic seconds."""

    def __init__(
        self,
        api: Api,
        store: Picture,
        *,
        lease: Leadership,
        identity: str = "towpath-controller",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._store = store
        self._lease = lease
        self._identity = identity
        self._clock = clock
        self._blocks: OwnWrites[IPAMBlock] = OwnWrites("IPAMBlock", clock=clock)
        self._nodes: OwnWrites[RoutingNode] = OwnWrites("RoutingNode", clock=clock)
        self._barred: dict[str, Prefix] = {}
        """Names that are taken by objects which do not decode."""
        self._conditions: dict[Key, Wanted] = {}
        """What was written, or found, last."""
        self._events = EventFilter()
        self._routing_nodes = RoutingNodeCache()
        self._memory = Memory()
        self._limit = asyncio.Semaphore(CONCURRENCY)
        self._was_leading = False

    async def step(self) -> bool:
        """One pass; whether nothing is left to do that could be done now."""
        if not self._lease.leading:
            self._was_leading = False
            return True
        if not self._was_leading:
            self._memory, self._conditions, self._was_leading = Memory(), {}, True
        if not self._store.complete:
            return True
        if not await self._settle():
            return False
        cluster = self._cluster()
        wished = plan(
            cluster,
            memory=self._memory,
            now=self._clock(),
            uncertain={name: claim.spec for name, claim in self._blocks.uncertain.items()},
            barred=self._barred.values(),
            restored=self._store.went_back,
        )
        self._memory, self._store.went_back = wished.memory, False
        nodes = self._routing_nodes.look(cluster)
        done = await self._all(
            *self._node_writes(cluster, nodes),
            *self._block_writes(wished),
            *(self._delete_status(cluster, name) for name in wished.statuses),
        )
        refusals = (*wished.refusals, *nodes.refusals)
        return await self._tell(cluster, refusals) and done

    def _cluster(self) -> Cluster:
        cluster = self._store.cluster()
        self._barred = {name: prefix for name, prefix in self._barred.items() if name not in cluster.blocks}
        return replace(
            cluster,
            blocks=self._blocks.over(cluster.blocks),
            routing_nodes=self._nodes.over(cluster.routing_nodes),
        )

    async def _settle(self) -> bool:
        """Ask the API server about every write that the cache should show by now, and every claim without an answer."""
        cached = self._store.cluster()
        self._blocks.over(cached.blocks)
        self._nodes.over(cached.routing_nodes)
        return await self._all(
            *(self._look_up(self._blocks, "IPAMBlock", name) for name in self._blocks.doubtful()),
            *(self._look_up(self._nodes, "RoutingNode", name) for name in self._nodes.doubtful()),
        )

    async def _all(self, *writes: Awaitable[bool]) -> bool:
        """Carry all out, a bounded number at a time; whether all succeeded."""
        return all(await asyncio.gather(*writes))

    async def _write(self, what: str, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """One call, if we still lead and for as long; its answer. ``ApiError`` flies, also where we do not lead any more."""
        async with self._limit:
            if not self._lease.leading:
                raise ConflictError(f"{what} {name}: not the leader any more", status=409)
            log.debug("api.write", what=what, name=name)
            try:
                async with asyncio.timeout(self._lease.left):
                    return await call()
            except TimeoutError as error:
                raise UnreachableError(f"{what} {name}: no answer while we led") from error

    # -- blocks ---------------------------------------------------------------------------------------------------------

    def _block_writes(self, wished: IpamPlan) -> Iterable[Awaitable[bool]]:
        yield from map(self._claim, wished.claims)
        yield from map(self._change, wished.changes)
        yield from map(self._release, wished.deletions)

    async def _claim(self, claim: Claim) -> bool:
        name = block_name(claim.spec.cidr)
        block: IPAMBlock = Resource("IPAMBlock", Meta(name), claim.spec)
        try:
            body = await self._write("claim", name, lambda: self._api.create("IPAMBlock", encode(block)))
        except AlreadyExistsError:
            log.info("block.taken", block=str(claim.spec.cidr), wanted_for=claim.spec.node)
            if not await self._look_up(self._blocks, "IPAMBlock", name):
                self._blocks.lost(block)
            elif self._blocks.is_unreadable(name):
                self._barred[name] = claim.spec.cidr
            return False
        except ApiError as error:
            if _may_have_happened(error):
                self._blocks.lost(block)
            return self._failed("claim", name, error)
        except BaseException:
            self._blocks.lost(block)  # cancelled with the request under way
            raise
        self._blocks.wrote(body)
        log.info("block.claimed", block=str(claim.spec.cidr), node=claim.spec.node, pool=claim.spec.pool)
        return True

    async def _change(self, change: Change) -> bool:
        name, owner = change.block.name, change.block.spec
        if change.why.kind == "Node" and change.spec.state == "Quarantined":
            gone = await self._is_gone(owner.node, uid=owner.node_uid)
            if not gone:
                return False
        body = encode(replace(change.block, spec=change.spec))
        try:
            written = await self._write("change", name, lambda: self._api.replace("IPAMBlock", body))
        except (ConflictError, NotFoundError) as error:
            await self._look_up(self._blocks, "IPAMBlock", name, uid=change.block.meta.uid)
            return self._failed("change", name, error)
        except ApiError as error:
            return self._failed("change", name, error)
        self._blocks.wrote(written)
        log.info("block.changed", block=str(change.spec.cidr), node=change.spec.node, state=change.spec.state)
        return True

    async def _release(self, block: IPAMBlock) -> bool:
        meta = block.meta
        try:
            await self._write(
                "release",
                meta.name,
                lambda: self._api.delete("IPAMBlock", meta.name, uid=meta.uid, resource_version=meta.resource_version),
            )
        except ConflictError as error:
            await self._look_up(self._blocks, "IPAMBlock", meta.name, uid=meta.uid)
            return self._failed("release", meta.name, error)
        except NotFoundError:
            pass
        except ApiError as error:
            return self._failed("release", meta.name, error)
        self._blocks.gone(meta.name, uid=meta.uid)
        log.info("block.released", block=str(block.spec.cidr), node=block.spec.node)
        return True

    async def _look_up(self, writes: OwnWrites[Any], kind: str, name: str, *, uid: str = "") -> bool:
        """The API server's word on one object; False if there was no answer."""
        try:
            body = await self._api.get(kind, name)
        except NotFoundError:
            writes.gone(name, uid=uid)
        except ApiError as error:
            return self._failed("read", name, error)
        else:
            writes.wrote(body)
        return True

    # -- nodes ----------------------------------------------------------------------------------------------------------

    async def _is_gone(self, node: str, *, uid: str | None = None) -> bool:
        """The API server's word that there is no Node of this name (and uid, where one is given).

        Kinds are watched apart: a block can be in the cache before its node is, and what looks like a node that has
        gone is one that has just come. A uid that is gone never comes back, so the answer stays true.
        """
        try:
            body = await self._api.get("Node", node)
        except NotFoundError:
            return True
        except ApiError as error:
            return self._failed("read", node, error)
        if uid is not None and uid != str(body["metadata"].get("uid", "")):
            return True
        log.info("node.not_gone", node=node, remedy="the list of nodes is behind; decided again when it has caught up")
        return False

    def _node_writes(self, cluster: Cluster, nodes: RoutingNodes) -> Iterable[Awaitable[bool]]:
        for name in nodes.outdated:
            yield self._put_node(nodes.desired[name], cluster.routing_nodes.get(name))
        for name in sorted(cluster.routing_nodes.keys() - nodes.desired.keys()):
            yield self._delete_node(cluster.routing_nodes[name], left_out=name in cluster.nodes)

    async def _put_node(self, wanted: RoutingNode, actual: RoutingNode | None) -> bool:
        name = wanted.name
        try:
            if actual is None:
                body = await self._write("create", name, lambda: self._api.create("RoutingNode", encode(wanted)))
            else:
                meta = replace(actual.meta, labels=wanted.meta.labels, owner_references=wanted.meta.owner_references)
                changed = encode(replace(actual, meta=meta, spec=wanted.spec))
                body = await self._write("change", name, lambda: self._api.replace("RoutingNode", changed))
        except (AlreadyExistsError, ConflictError, NotFoundError) as error:
            await self._look_up(self._nodes, "RoutingNode", name, uid=actual.meta.uid if actual else "")
            return self._failed("put", name, error)
        except ApiError as error:
            return self._failed("put", name, error)
        self._nodes.wrote(body)
        log.info("node.written", node=name)
        return True

    async def _delete_node(self, node: RoutingNode, *, left_out: bool) -> bool:
        """``left_out``: there is a Node, and it takes no part."""
        name, uid = node.name, node.meta.uid
        if not left_out and not await self._is_gone(name):
            return False
        try:
            await self._write("delete", name, lambda: self._api.delete("RoutingNode", name, uid=uid))
        except NotFoundError:
            pass
        except ConflictError as error:
            await self._look_up(self._nodes, "RoutingNode", name, uid=uid)
            return self._failed("delete", name, error)
        except ApiError as error:
            return self._failed("delete", name, error)
        self._nodes.gone(name, uid=uid)
        log.info("node.removed", node=name)
        return True

    async def _delete_status(self, cluster: Cluster, name: str) -> bool:
        meta = cluster.statuses[name].meta
        try:
            await self._write(
                "delete",
                name,
                lambda: self._api.delete("NodeStatus", name, uid=meta.uid, resource_version=meta.resource_version),
            )
        except NotFoundError:
            pass
        except ApiError as error:
            return self._failed("delete", name, error)
        return True

    # -- what people are told -------------------------------------------------------------------------------------------

    async def _tell(self, cluster: Cluster, refusals: Iterable[Refusal]) -> bool:
        """Conditions on the objects that users write, and an event for each refusal."""
        problems = [problem for problem in self._store.problems() if problem.name]
        found = (
            *refusals,
            *(Refusal(one.reason, one.message, Why(one.kind, one.name, one.field)) for one in problems),
        )
        rejected = {(one.kind, one.name): (one.uid, one.generation) for one in problems}
        wanted = conditions(cluster, found, rejected=rejected)
        self._conditions = {key: one for key, one in self._conditions.items() if key in wanted}
        todo = [(key, one) for key, one in wanted.items() if self._conditions.get(key) != one]
        done = await self._all(*(self._set_conditions(key, one) for key, one in todo))
        await self._all(*(self._emit(cluster, refusal) for refusal in sorted(set(found))))
        return done

    async def _set_conditions(self, key: Key, wanted: Wanted) -> bool:
        kind, name = key
        now = _rfc3339(datetime.now(UTC))
        try:
            await self._write(
                "condition",
                name,
                lambda: set_conditions(self._api, kind, name=name, wanted=wanted.conditions, now=now, uid=wanted.uid),
            )
        except NotFoundError:
            return True
        except InvalidObjectError as error:
            # an object that is older than the rules for its name takes no status: its event has to do
            self._failed("condition", name, error)
        except ApiError as error:
            return self._failed("condition", name, error)
        self._conditions[key] = wanted
        return True

    async def _emit(self, cluster: Cluster, refusal: Refusal) -> bool:
        """An event, if the limits let it pass; one that cannot be written is not worth another try."""
        about, note = refusal.object, f"{refusal.object.field} {refusal.message}".strip()
        if not self._events.passes(refusal.reason, f"{about} {note}", now=self._clock()):
            return True
        log.warning("object.refused", object=str(about), reason=refusal.reason, message=refusal.message)
        node = cluster.nodes.get(about.name) if about.kind in ("Node", "NodeStatus") else None
        moment = datetime.now(UTC)
        stamp = _rfc3339(moment)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about.name}.{moment.timestamp():.6f}", "namespace": "default"},
            "involvedObject": {
                "apiVersion": "v1" if node else "towpath.io/v1alpha1",
                "kind": "Node" if node else about.kind,
                "name": about.name,
                "uid": node.meta.uid if node else "",
            },
            "reason": str(refusal.reason),
            "message": note[:1024],
            "type": "Warning",
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": "towpath-controller"},
            "reportingComponent": "towpath.io/controller",
            "reportingInstance": self._identity,
        }
        try:
            await self._write("event", about.name, lambda: self._api.create("Event", body, namespace="default"))
        except ApiError as error:
            log.debug("event.failed", object=str(about), error=str(error))
        return True

    def _failed(self, what: str, name: str, error: ApiError) -> bool:
        log.info("api.refused", what=what, name=name, error=str(error), status=error.status)
        return False


async def run(
    api: Api,
    store: Picture,
    *,
    lease: Leadership,
    identity: str = "towpath-controller",
    pace: Pace | None = None,
    on_loop: Callable[[LevelLoop], None] | None = None,
) -> None:
    """Run the controller until cancelled.

    The store is fed and the lease is run by the caller, who calls ``dirty`` of the loop (handed to ``on_loop``) when the
    lease changes hands; without that the next resync notices. ``store`` must hold ``KINDS``.
    """
    controller = ClusterController(api, store, lease=lease, identity=identity)
    loop = LevelLoop(controller.step, pace=pace)
    store.subscribe(loop.dirty)
    if on_loop is not None:
        on_loop(loop)
    await loop.run()


def _may_have_happened(error: ApiError) -> bool:
    """Whether a write that ended so may have been carried out: no answer, or an answer that does not say."""
    return isinstance(error, UnreachableError) or error.status == 0 or error.status >= 500


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

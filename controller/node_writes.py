"""What the controller writes of nodes: RoutingNodes, podCIDRs where it is to assign them, the end of reports of nodes gone."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import structlog
from msgspec.structs import replace

from towpath.controller.ports import AlreadyExistsError, ApiError, ConflictError, InvalidObjectError, NotFoundError
from towpath.controller.routing_nodes import RoutingNodes
from towpath.controller.writes import Writer
from towpath.controller.written import OwnWrites
from towpath.ipam.plan import Assignment, IpamPlan
from towpath.model.cluster import Cluster, RoutingNode
from towpath.model.decode import encode

log = structlog.get_logger(__name__)


class NodeWrites:
    """Carries out what nodes need; knows what was written and is not in the cache yet."""

    def __init__(self, writer: Writer, *, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._own: OwnWrites[RoutingNode] = OwnWrites("RoutingNode", clock=clock)
        self._assigned: dict[str, str] = {}
        """UIDs of the Nodes whose podCIDRs were written, by name: they never change after that."""

    def over(self, cached: Mapping[str, RoutingNode]) -> Mapping[str, RoutingNode]:
        """What the cache shows, with our writes laid over."""
        return self._own.over(cached)

    def doubt(self) -> None:
        """The store was restored from a backup: what was written before may be undone."""
        self._own.doubt()

    def lookups(self) -> Iterable[Awaitable[bool]]:
        """Questions to the API server about every write that the cache should show by now."""
        return (self._writer.look_up(self._own, "RoutingNode", name) for name in self._own.doubtful())

    def writes(
        self,
        cluster: Cluster,
        nodes: RoutingNodes,
        wished: IpamPlan,
        *,
        unsure: Collection[str],
        spoiled: Collection[str],
    ) -> Iterable[Awaitable[bool]]:
        """RoutingNodes that are not as they should be, podCIDRs to fill in, reports of nodes gone.

        Of ``unsure`` nodes nothing goes.
        ``spoiled`` are there and cannot be read: what is known of them is older than what the API server has.
        """
        for name in sorted(nodes.desired.keys() & set(spoiled)):
            yield self._repair(nodes.desired[name])
        for name in sorted(set(nodes.outdated) - set(spoiled)):
            yield self._put(nodes.desired[name], cluster.routing_nodes.get(name))
        for name in sorted(cluster.routing_nodes.keys() - nodes.desired.keys() - set(unsure)):
            yield self._delete(cluster.routing_nodes[name], left_out=name in cluster.nodes)
        for assignment in wished.assignments:
            if self._assigned.get(assignment.node.meta.name) != assignment.node.meta.uid:
                yield self._assign(assignment)
        for name in wished.statuses:
            yield self._delete_status(cluster, name)

    async def _put(self, wanted: RoutingNode, actual: RoutingNode | None) -> bool:
        name = wanted.name
        try:
            if actual is None:
                body = await self._writer.write(
                    "create", name, lambda: self._writer.api.create("RoutingNode", encode(wanted))
                )
            else:
                meta = replace(actual.meta, labels=wanted.meta.labels, owner_references=wanted.meta.owner_references)
                changed = encode(replace(actual, meta=meta, spec=wanted.spec))
                body = await self._writer.write(
                    "change", name, lambda: self._writer.api.replace("RoutingNode", changed)
                )
        except (AlreadyExistsError, ConflictError, NotFoundError) as error:
            await self._writer.look_up(self._own, "RoutingNode", name, uid=actual.meta.uid if actual else "")
            return self._writer.failed("put", name, error)
        except ApiError as error:
            return self._writer.failed("put", name, error)
        self._own.wrote(body)
        log.info("node.written", node=name)
        return True

    async def _repair(self, wanted: RoutingNode) -> bool:
        """Give an object its spec again that somebody has made unreadable; its status and annotations stay."""
        name, ours = wanted.name, encode(wanted)
        try:
            body = await self._writer.api.get("RoutingNode", name)
            metadata = {**body["metadata"], **{key: ours["metadata"].get(key) for key in ("labels", "ownerReferences")}}
            whole = {**body, "metadata": metadata, "spec": ours["spec"]}
            written = await self._writer.write("repair", name, lambda: self._writer.api.replace("RoutingNode", whole))
        except ApiError as error:
            return self._writer.failed("repair", name, error)
        self._own.wrote(written)
        log.warning("node.repaired", node=name, remedy="annotations of the Node are the way to change it")
        return True

    async def _delete(self, node: RoutingNode, *, left_out: bool) -> bool:
        """``left_out``: there is a Node, and it takes no part."""
        name, uid = node.name, node.meta.uid
        if not left_out and not await self._writer.is_gone(name):
            return False
        try:
            await self._writer.write("delete", name, lambda: self._writer.api.delete("RoutingNode", name, uid=uid))
        except NotFoundError:
            pass
        except ConflictError as error:
            await self._writer.look_up(self._own, "RoutingNode", name, uid=uid)
            return self._writer.failed("delete", name, error)
        except ApiError as error:
            return self._writer.failed("delete", name, error)
        self._own.gone(name, uid=uid)
        log.info("node.removed", node=name)
        return True

    async def _assign(self, assignment: Assignment) -> bool:
        meta, cidrs = assignment.node.meta, [str(one) for one in assignment.pod_cidrs]
        patch = {"metadata": {"uid": meta.uid}, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
        try:
            await self._writer.write(
                "assign podCIDRs of", meta.name, lambda: self._writer.api.patch("Node", meta.name, patch)
            )
        except InvalidObjectError as error:
            # somebody was faster: what stands there shows in the cache
            self._writer.failed("assign podCIDRs of", meta.name, error)
        except ApiError as error:
            return self._writer.failed("assign podCIDRs of", meta.name, error)
        self._assigned[meta.name] = meta.uid
        log.info("node.assigned", node=meta.name, pod_cidrs=cidrs)
        return True

    async def _delete_status(self, cluster: Cluster, name: str) -> bool:
        meta = cluster.statuses[name].meta
        try:
            await self._writer.write(
                "delete",
                name,
                lambda: self._writer.api.delete(
                    "NodeStatus", name, uid=meta.uid, resource_version=meta.resource_version
                ),
            )
        except NotFoundError:
            pass
        except ApiError as error:
            return self._writer.failed("delete", name, error)
        return True

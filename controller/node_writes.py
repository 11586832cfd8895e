"""What the controller writes of nodes: their RoutingNodes, and the end of a NodeStatus whose node is gone."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import structlog
from msgspec.structs import replace

from towpath.controller.ports import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from towpath.controller.routing_nodes import RoutingNodes
from towpath.controller.writes import Writer
from towpath.controller.written import OwnWrites
from towpath.model.cluster import Cluster, RoutingNode
from towpath.model.decode import encode

log = structlog.get_logger(__name__)


class NodeWrites:
    """Carries out what nodes need; knows what was written and is not in the cache yet."""

    def __init__(self, writer: Writer, *, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._own: OwnWrites[RoutingNode] = OwnWrites("RoutingNode", clock=clock)

    def over(self, cached: Mapping[str, RoutingNode]) -> Mapping[str, RoutingNode]:
        """What the cache shows, with our writes laid over."""
        return self._own.over(cached)

    def lookups(self) -> Iterable[Awaitable[bool]]:
        """Questions to the API server about every write that the cache should show by now."""
        return (self._writer.look_up(self._own, "RoutingNode", name) for name in self._own.doubtful())

    def writes(
        self,
        cluster: Cluster,
        nodes: RoutingNodes,
        *,
        statuses: Iterable[str],
        unsure: Collection[str],
        spoiled: Collection[str],
    ) -> Iterable[Awaitable[bool]]:
        """RoutingNodes that are not as they should be; ``statuses`` are those to delete. Of ``unsure`` nodes nothing goes.

        ``spoiled`` are there and cannot be read: what is known of them is older than what the API server has.
        """
        for name in sorted(nodes.desired.keys() & set(spoiled)):
            yield self._repair(nodes.desired[name])
        for name in sorted(set(nodes.outdated) - set(spoiled)):
            yield self._put(nodes.desired[name], cluster.routing_nodes.get(name))
        for name in sorted(cluster.routing_nodes.keys() - nodes.desired.keys() - set(unsure)):
            yield self._delete(cluster.routing_nodes[name], left_out=name in cluster.nodes)
        for name in statuses:
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

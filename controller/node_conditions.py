"""The Node condition ``NetworkUnavailable``, taken back where it is no longer so.

Clouds set it True on a new node, and the cluster keeps pods away by a taint of the same name until somebody says that the
network is there. That is the controller, and never a node of itself: an agent may not write Nodes. It is cleared once
the agent of that very Node reports Ready, and never set. The taint goes with it: Kubernetes' node lifecycle controller
holds ``node.kubernetes.io/network-unavailable`` at what the condition says.
"""

from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from typing import Any

import structlog

from towpath.controller.ports import Api, ApiError, NotFoundError
from towpath.controller.writes import Writer
from towpath.model.cluster import Cluster, Node

log = structlog.get_logger(__name__)
TYPE = "NetworkUnavailable"
REASON = "TowpathIsUp"


def writes(writer: Writer, cluster: Cluster) -> Iterator[Awaitable[bool]]:
    """What a leader has to write; each says whether it was carried out."""
    for node in to_clear(cluster):
        yield _write(writer, node)


def to_clear(cluster: Cluster) -> tuple[Node, ...]:
    """Nodes that are marked as without network and whose agent says that pods can start there, in name order."""
    return tuple(
        cluster.nodes[name]
        for name in sorted(name for name, node in cluster.nodes.items() if node.network_unavailable)
        if _is_up(cluster, name)
    )


async def clear(api: Api, node: Node, *, now: str) -> bool:
    """Say that this very Node has a network; ``now`` is RFC 3339. Whether anything was written.

    The list of conditions is replaced as a whole, the others in it as they were read: whoever writes one of them
    meanwhile makes this a ``ConflictError``. ``NotFoundError`` where the Node is gone.
    """
    found = await api.get("Node", node.meta.name)
    metadata = found["metadata"]
    conditions: list[dict[str, Any]] = list((found.get("status") or {}).get("conditions") or ())
    lying = [one for one in conditions if one.get("type") == TYPE and one.get("status") != "False"]
    if metadata.get("uid", "") != node.meta.uid or not lying:
        return False
    cleared = {
        "type": TYPE,
        "status": "False",
        "reason": REASON,
        "message": "towpath runs on this node, and pods can start",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    others = [one for one in conditions if one.get("type") != TYPE]
    patch = {
        "metadata": {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]},
        "status": {"conditions": [*others, cleared]},
    }
    await api.patch_status("Node", node.meta.name, patch)
    return True


async def _write(writer: Writer, node: Node) -> bool:
    name, now = node.meta.name, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        if await writer.write("condition", name, lambda: clear(writer.api, node, now=now)):
            log.info("node.network_available", node=name)
    except NotFoundError:
        pass
    except ApiError as error:
        return writer.failed("condition", name, error)
    return True


def _is_up(cluster: Cluster, name: str) -> bool:
    """Whether the agent on the Node that stands now, not on an earlier one of this name, reports Ready."""
    found = cluster.statuses.get(name)
    status = found.status if found is not None else None
    if status is None or status.node_uid != cluster.nodes[name].meta.uid:
        return False
    return any(one.type == "Ready" and one.status == "True" for one in status.conditions)

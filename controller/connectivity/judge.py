"""What a cluster that works looks like in its objects, and which paths are to be tried: pure functions of what was listed."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from msgspec import Struct

from towpath.controller.connectivity.paths import Asked
from towpath.model.kinds.node import NodeStatusStatus, RoutingNodeSpec
from towpath.model.reason import Reason

MESH = 50
"""So many other nodes each pod tries, at most: a larger cluster is covered by a ring of neighbours."""
_DELIBERATE = (Reason.SHUTDOWN, Reason.DUPLICATE_PEER)


class PathPod(Struct, frozen=True):
    """One pod of the test: its name, its node and its addresses, none while it does not run."""

    name: str
    node: str
    addresses: tuple[str, ...]
    phase: str


def path_pod(body: Mapping[str, Any]) -> PathPod:
    """A pod as the API has it."""
    status = body.get("status") or {}
    running = status.get("phase") == "Running" and not body["metadata"].get("deletionTimestamp")
    addresses = tuple(str(one["ip"]) for one in status.get("podIPs") or ()) if running else ()
    return PathPod(
        name=str(body["metadata"]["name"]),
        node=str((body.get("spec") or {}).get("nodeName") or ""),
        addresses=addresses,
        phase=_phase(status),
    )


def wrong_objects(
    nodes: Iterable[str], statuses: Mapping[str, NodeStatusStatus | None], pods: Sequence[PathPod]
) -> list[str]:
    """A sentence for everything in the objects that is not as it should be."""
    running = {one.node for one in pods if one.addresses}
    found = []
    for node in sorted(nodes):
        status = statuses.get(node)
        found += [f"{node}: no NodeStatus"] if status is None else [f"{node}: {one}" for one in _wrong_status(status)]
        if node not in running:
            there = next((f"{one.name} is {one.phase}" for one in pods if one.node == node), "there is none")
            found.append(f"{node}: no pod of the test runs here: {there}")
    return found or ([] if statuses else ["there is no node that takes part (no RoutingNode)"])


def _wrong_status(status: NodeStatusStatus) -> Iterable[str]:
    for one in status.conditions:
        if one.type in ("Ready", "APIReachable") and one.status != "True":
            yield f"{one.type} is {one.status}: {one.message or one.reason}"
    if not status.in_sync:
        behind = next((one.message for one in status.conditions if one.type == "InSync"), "")
        yield f"not in sync: {behind or 'no word why'}"
    for session in status.sessions:
        deliberate = session.state == "Withheld" and session.reason.startswith(_DELIBERATE)
        if session.state != "Established" and not deliberate:
            why = f" ({session.reason})" if session.reason else ""
            yield f"session {session.name} with {session.peer} is {session.state}{why}"


def paths(
    nodes: Mapping[str, RoutingNodeSpec],
    statuses: Mapping[str, NodeStatusStatus | None],
    pods: Iterable[PathPod],
    *,
    peers: bool,
) -> dict[str, Asked]:
    """What the pod of each node is to try: the others' pods, and with ``peers`` the routers that its node peers with."""
    running = sorted((one for one in pods if one.addresses and one.node in nodes), key=lambda one: one.node)
    own = {str(ip_address(str(one).partition("/")[0])) for spec in nodes.values() for one in _addresses(spec)}
    asked = {}
    for index, one in enumerate(running):
        others = (running[index + 1 :] + running[:index])[:MESH]
        status = statuses.get(one.node)
        sessions = status.sessions if peers and status is not None else ()
        hosts = sorted({each.peer for each in sessions if each.state == "Established"} - own)
        families = {":" in address for address in one.addresses}
        asked[one.node] = Asked(
            pods={
                address: other.node for other in others for address in other.addresses if (":" in address) in families
            },
            hosts=tuple(peer for peer in hosts if (":" in peer) in families and not _link_local(peer)),
        )
    return asked


def _addresses(spec: RoutingNodeSpec) -> Iterable[object]:
    return (one for one in (spec.bgp.ipv4_address, spec.bgp.ipv6_address) if one is not None)


def _link_local(peer: str) -> bool:
    return ip_address(peer.partition("%")[0]).is_link_local


def _phase(status: Mapping[str, Any]) -> str:
    """Why a pod does not run, in a word or two."""
    containers = status.get("containerStatuses") or ()
    waiting = next((one["state"]["waiting"] for one in containers if "waiting" in (one.get("state") or {})), None)
    conditions = status.get("conditions") or ()
    refused = next((one for one in conditions if one.get("status") == "False" and one.get("message")), None)
    detail = (waiting or {}).get("reason") or (refused or {}).get("message")
    return f"{status.get('phase', 'Unknown')}{f' ({detail})' if detail else ''}"

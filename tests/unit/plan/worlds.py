"""Small clusters, written down in the words of their objects."""

from collections.abc import Iterable
from typing import Any

from towpath.bgp.peering import sessions
from towpath.model.cluster import Cluster
from towpath.model.decode import decode
from towpath.model.net import block_name, parse_prefix
from towpath.model.speaker import Session

FIELDS = {
    "BGPConfiguration": "configurations",
    "BGPPeer": "peers",
    "BGPFilter": "filters",
    "IPPool": "pools",
    "IPAMBlock": "blocks",
    "RoutingNode": "routing_nodes",
}


def obj(kind: str, name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def node(name: str, *addresses: str, labels: dict[str, str] | None = None, **bgp: Any) -> dict[str, Any]:
    for address in addresses:
        bgp["ipv6Address" if ":" in address else "ipv4Address"] = address
    return obj("RoutingNode", name, labels=labels, bgp=bgp)


def peer(name: str, **spec: Any) -> dict[str, Any]:
    return obj("BGPPeer", name, **spec)


def config(name: str = "default", **spec: Any) -> dict[str, Any]:
    return obj("BGPConfiguration", name, **spec)


def block(cidr: str, owner: str, created: str = "", **spec: Any) -> dict[str, Any]:
    found = obj("IPAMBlock", block_name(parse_prefix(cidr)), cidr=cidr, node=owner, **spec)
    found["metadata"]["creationTimestamp"] = created
    return found


def cluster(*objects: dict[str, Any]) -> Cluster:
    found: dict[str, dict[str, Any]] = {field: {} for field in FIELDS.values()}
    for one in objects:
        found[FIELDS[one["kind"]]][one["metadata"]["name"]] = decode(one["kind"], one)
    return Cluster(**found)


def by_name(world: Cluster, name: str) -> dict[str, Session]:
    made = sessions(world, name).sessions
    assert len({session.name for session in made}) == len(made)
    return {session.name: session for session in made}


def warned(world: Cluster, name: str) -> list[str]:
    return [f"{one.reason} {one.object}: {one.message}" for one in sessions(world, name).warnings]


def shown(made: Iterable[Session]) -> list[str]:
    """One line a session, for golden comparisons."""
    return sorted(
        " ".join(
            str(part)
            for part in (
                one.name,
                one.state if one.reason is None else f"{one.state}:{one.reason}",
                f"AS{one.local_as}",
                one.local_address,
                "<-" if one.passive else "->",
                f"AS{one.remote_as}",
                f"{one.peer_address}#{one.peer_port}",
                one.peer_node or "outside",
                f"{one.hold_time}/{one.keepalive_time}/{one.connect_retry_time}/{one.restart_time}",
                f"max={one.max_prefix.limit}",
                f"password={one.password_ref.name}" if one.password_ref else "",
            )
        ).rstrip()
        for one in made
    )

"""``towpath get``: sessions, routes, blocks and announcements of a cluster's nodes, as the nodes report them and the objects have them."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from towpath.bgp.nodes import node_views
from towpath.controller.plan.command import load
from towpath.controller.plan.document import node_document
from towpath.controller.plan.inputs import Inputs
from towpath.controller.plan.output import Format, json_text, yaml_text
from towpath.controller.plan.table import table
from towpath.controller.settings import Source, UsageError
from towpath.model.blocks import in_force
from towpath.model.cluster import Cluster
from towpath.model.codec import to_builtins
from towpath.model.kinds.node import NodeStatusStatus

SCHEMA = "towpath.get/1"
Item = dict[str, Any]


class Request(Struct, frozen=True):
    """What was asked for on the command line."""

    what: str
    files: tuple[str, ...]
    source: Source
    node: str | None = None
    style: Format = "table"


def run(request: Request) -> int:
    """Print the items; the exit code."""
    inputs = load(request.files, request.source)
    cluster = inputs.cluster
    if request.node is not None and request.node not in cluster.nodes.keys() | cluster.routing_nodes.keys():
        raise UsageError(f"--node {request.node}: there is no such node")
    items = [one for one in WHAT[request.what](inputs) if request.node in (None, one["node"])]
    if request.style == "table":
        for line in table((tuple(_cell(cell) for cell in one.values()) for one in items), head=_head(items)):
            print(line)
        return 0
    document = {"schema": SCHEMA, "kind": request.what, "items": items}
    sys.stdout.write(json_text(document) if request.style == "json" else yaml_text(document))
    return 0


def _statuses(cluster: Cluster) -> Iterator[tuple[str, NodeStatusStatus]]:
    for name in sorted(cluster.statuses):
        status = cluster.statuses[name].status
        if status is not None:
            yield name, status


def _sessions(inputs: Inputs) -> Iterator[Item]:
    """As each node reports them."""
    for name, status in _statuses(inputs.cluster):
        for session in status.sessions:
            yield {"node": name, **to_builtins(session)}


def _routes(inputs: Inputs) -> Iterator[Item]:
    """How many each node reports."""
    for name, status in _statuses(inputs.cluster):
        yield {"node": name, **to_builtins(status.routes), "inSync": status.in_sync}


def _blocks(inputs: Inputs) -> Iterator[Item]:
    """The objects, with what their nodes report of them."""
    cluster = inputs.cluster
    used = {(name, one.cidr): one for name, status in _statuses(cluster) for one in status.blocks}
    force = in_force(cluster.blocks)
    ordered = sorted(cluster.blocks.values(), key=lambda one: (one.spec.cidr.version, one.spec.cidr))
    for block in ordered:
        spec = block.spec
        report = used.get((spec.node, spec.cidr))
        yield {
            "node": spec.node,
            "cidr": str(spec.cidr),
            "state": spec.state,
            "pool": spec.pool or None,
            "inForce": force.get(spec.cidr) is block,
            "inUse": report.in_use if report else None,
            "capacity": report.capacity if report else None,
        }


def _announcements(inputs: Inputs) -> Iterator[Item]:
    """What the objects have each node announce."""
    for name in sorted(node_views(inputs.cluster).by_name):
        for one in node_document(inputs, name)["announcements"]:
            yield {"node": name, **one}


WHAT: Mapping[str, Callable[[Inputs], Iterable[Item]]] = {
    "sessions": _sessions,
    "routes": _routes,
    "blocks": _blocks,
    "announcements": _announcements,
}


def _head(items: list[Item]) -> list[str]:
    return [_title(key) for key in items[0]] if items else []


def _title(key: str) -> str:
    return "".join(
        f" {letter}" if letter.isupper() and before.islower() else letter
        for before, letter in zip(" " + key, key, strict=False)
    ).upper()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(f"{one['kind']}/{one['name']}" if isinstance(one, dict) else str(one) for one in value)
    return value

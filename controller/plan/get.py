"""``towpath get``: sessions, routes, blocks and announcements.

Of a cluster's nodes, as the nodes report them and the objects have them; with ``--here`` of this machine alone, as its speaker
and its kernel have them now.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from towpath.bgp.nodes import node_views
from towpath.controller.plan import here
from towpath.controller.plan.command import load
from towpath.controller.plan.document import node_document
from towpath.controller.plan.inputs import Inputs
from towpath.controller.plan.request import Request, show
from towpath.controller.plan.table import table
from towpath.controller.settings import UsageError
from towpath.model.blocks import in_force, reported
from towpath.model.cluster import Cluster
from towpath.model.codec import to_builtins
from towpath.model.kinds.node import NodeStatusStatus

SCHEMA = "towpath.get/1"
Item = dict[str, Any]


def run(request: Request) -> int:
    """Print the items; the exit code."""
    items = _here(request.what, request.here) if request.here is not None else _everywhere(request)
    document = {"schema": SCHEMA, "kind": request.what, "items": items}
    show(
        document,
        request.style,
        table((tuple(map(_cell, one.values())) for one in map(_flat, items)), head=_head(items)),
    )
    return 0


def _everywhere(request: Request) -> list[Item]:
    inputs = load(request.files, request.source)
    cluster = inputs.cluster
    if request.node is not None and request.node not in cluster.nodes.keys() | cluster.routing_nodes.keys():
        raise UsageError(f"--node {request.node}: there is no such node")
    return [one for one in WHAT[request.what](inputs) if request.node in (None, one["node"])]


def _here(what: str, speaker: Path) -> list[Item]:
    asked: Mapping[str, Callable[[Path], list[Item]]] = {
        "sessions": here.sessions,
        "routes": here.routes,
        "announcements": here.announcements,
    }
    if what not in asked:
        raise UsageError(f"get {what} --here: speaker and kernel know {', '.join(asked)}")
    return asked[what](speaker)


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
    reports = reported(cluster.statuses)
    force = in_force(cluster.blocks)
    ordered = sorted(cluster.blocks.values(), key=lambda one: (one.spec.cidr.version, one.spec.cidr))
    for block in ordered:
        spec = block.spec
        report = reports.get((spec.node, spec.cidr))
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
    return [_title(key) for key in _flat(items[0])] if items else []


def _flat(item: Item) -> Item:
    """An item with its attributes beside its other fields, as far as a table has room for them."""
    if "attributes" not in item:
        return item
    attributes = item["attributes"] or {}
    shown = {key: attributes.get(key) for key in ("asPath", "communities", "localPreference", "med")}
    told = {} if "nextHops" in item else {"nextHop": attributes.get("nextHop")}
    flat = {key: value for key, value in item.items() if key != "attributes"} | told | shown
    return flat | ({"kernel": here.kernel_text(flat.pop("kernel"))} if "kernel" in flat else {})


def _title(key: str) -> str:
    return "".join(
        f" {letter}" if letter.isupper() and before.islower() else letter
        for before, letter in zip(" " + key, key, strict=False)
    ).upper()


def _cell(value: object) -> object:
    return ", ".join(map(_entry, value)) if isinstance(value, list) else value


def _entry(value: object) -> str:
    """One of several in a cell: an object, a number of refused prefixes, or a plain value."""
    if not isinstance(value, dict):
        return str(value)
    return f"{value['kind']}/{value['name']}" if "kind" in value else f"{value['prefixes']} {value['reason']}"

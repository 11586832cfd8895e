"""``towpath plan``: from inputs to a printed plan, or to what differs from another, with an exit code for programs."""

import gc
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.nodes import node_views
from towpath.controller.plan.assign import assigned
from towpath.controller.plan.difference import difference, former_rules, other_rules, refreshes, resets
from towpath.controller.plan.document import SCHEMA, Written, node_document, planned, rejected_document
from towpath.controller.plan.inputs import SERVICES, Inputs, Rejected, gathered, read
from towpath.controller.plan.output import Format, streamed
from towpath.controller.plan.sessions import SessionWriter
from towpath.controller.plan.table import difference_lines, node_lines, rejected_lines
from towpath.controller.settings import Source, UsageError
from towpath.controller.store import FIELDS

GOOD, REJECTED, DIFFERENT = 0, 3, 4
DIFFERENCE_SCHEMA = "towpath.plan.difference/1"


class Request(Struct, frozen=True):
    """What was asked for on the command line."""

    files: tuple[str, ...]
    source: Source
    """The live cluster, where there are no files."""
    node: str | None = None
    assign: bool = False
    converged: bool = False
    against: tuple[str, ...] = ()
    style: Format = "table"
    tor: str | None = None
    """The make of router whose configuration is printed in place of the plan."""
    peers: tuple[str, ...] = ()
    """The addresses of that router; none: there must be one."""


def run(request: Request) -> int:
    """Print the plan; the exit code."""
    with _uncollected():
        return _run(request)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles: there are none in a plan, and among millions of sessions it looks for them for a second."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _run(request: Request) -> int:
    if request.peers and request.tor is None:
        raise UsageError("--peer goes with --tor")
    inputs = load(request.files, request.source, assign=request.assign)
    warn(inputs)
    if request.tor is not None:
        from towpath.controller.plan.tor.command import lines

        if request.node is not None:
            _wanted(request.node, node_views(inputs.cluster).by_name)
        _write([f"{line}\n" for line in lines(inputs, request.tor, peers=request.peers, node=request.node)])
        return REJECTED if inputs.rejected else GOOD
    if request.against:
        before = load(request.against, request.source, assign=request.assign)
        warn(before)
        return _print_difference(before, inputs, request)
    nodes = _wanted(request.node, node_views(inputs.cluster).by_name)
    writer = SessionWriter()
    written: dict[Format, Written] = {"json": writer.encoded, "yaml": writer.documents, "table": writer.rows}
    document_of = _documents(inputs, converged=request.converged, sessions=written[request.style])
    documents = ((name, document_of(name)) for name in nodes)
    rejected = rejected_document(inputs.rejected)
    if request.style == "table":
        _write(_lines((node_lines(name, one) for name, one in documents), rejected))
    else:
        _write(streamed(request.style, {"schema": SCHEMA}, documents, {"rejected": rejected}))
    return REJECTED if rejected else GOOD


def load(files: Sequence[str], source: Source, *, assign: bool = False, spared: Collection[str] = ()) -> Inputs:
    """The snapshot of some files, or without any of the live cluster; ``spared`` kinds need not be readable there."""
    if files:
        bodies = read(files)
    else:
        from towpath.controller.plan.live import listed

        bodies = listed(source, (*FIELDS, *SERVICES), secrets=True, spared=spared)
        if any(one["kind"] == "BGPPeer" and "localWorkloadSelector" in (one.get("spec") or {}) for one in bodies):
            bodies += listed(source, ("Pod",), spared=spared)
    inputs = gathered(bodies, secret_namespace=source.secret_namespace)
    if not assign:
        return inputs
    cluster, refusals = assigned(inputs.cluster)
    further = {Rejected(one.object.kind, one.object.name, one.object.field, one.message) for one in refusals}
    return replace(inputs, cluster=cluster, rejected=tuple(sorted({*inputs.rejected, *further})))


def _documents(inputs: Inputs, *, converged: bool, sessions: Written | None = None) -> Callable[[str], dict[str, Any]]:
    """What makes a node's document of its name."""
    if not converged:
        return lambda name: node_document(inputs, name, sessions=sessions)
    from towpath.controller.plan.converge import learned_routes

    learned = learned_routes(inputs)
    return lambda name: node_document(inputs, name, learned=learned[name], sessions=sessions)


def _print_difference(before: Inputs, after: Inputs, request: Request) -> int:
    old, new = node_views(before.cluster).by_name, node_views(after.cluster).by_name
    made = [(there, _documents(one, converged=request.converged)) for one, there in ((before, old), (after, new))]
    former = former_rules(before.cluster, after.cluster)
    found: dict[str, dict[str, Any]] = {}
    for name in _wanted(request.node, old | new):
        documents = [document_of(name) if name in there else None for there, document_of in made]
        if documents[0] == documents[1] and not former:
            continue
        plans = (planned(before, name), planned(after, name)) if name in old and name in new else None
        rules = other_rules(*plans, former=former) if plans else {}
        if documents[0] != documents[1] or rules:
            found[name] = difference(*documents, rules=rules) | {
                "resets": resets(*plans) if plans else [],
                "refreshes": refreshes(*plans, rules=rules) if plans else [],
            }
    rejected = rejected_document(after.rejected)
    if request.style == "table":
        _write(_lines((difference_lines(name, one) for name, one in found.items()), rejected))
    else:
        _write(streamed(request.style, {"schema": DIFFERENCE_SCHEMA}, found.items(), {"rejected": rejected}))
    return DIFFERENT if found else REJECTED if rejected else GOOD


def _wanted(node: str | None, there: Iterable[str]) -> list[str]:
    names = sorted(there)
    if node is None:
        return names
    if node not in names:
        raise UsageError(f"--node {node}: the input has no such node")
    return [node]


def _lines(nodes: Iterable[Iterator[str]], rejected: list[dict[str, Any]]) -> Iterator[str]:
    for lines in nodes:
        yield "\n".join(lines) + "\n\n"
    yield "".join(f"{line}\n" for line in rejected_lines(rejected))


def warn(inputs: Inputs) -> None:
    """What was not read, on standard error."""
    for warning in inputs.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def name_rejected(inputs: Inputs) -> None:
    """The objects that do not count, on standard error."""
    for one in inputs.rejected:
        print(f"rejected: {one.kind}/{one.name} {one.field}: {one.message}", file=sys.stderr)


def _write(pieces: Iterable[str]) -> None:
    sys.stdout.writelines(pieces)
    sys.stdout.flush()

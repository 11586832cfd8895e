"""``towpath ipam check``: what does not fit together in files or in a live cluster, and what to do about it."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from towpath.controller.plan.command import GOOD, warn
from towpath.controller.plan.inputs import Inputs, gathered
from towpath.controller.plan.ipam.command import bodies
from towpath.controller.plan.output import Format
from towpath.controller.plan.request import show
from towpath.controller.service_ranges import service_ranges
from towpath.controller.settings import Source, UsageError
from towpath.ipam.check import Finding, findings
from towpath.ipam.check_claims import claim_findings
from towpath.ipam.check_node import node_findings
from towpath.ipam.cni import Places, network_of
from towpath.ipam.hostlocal import HostLocal
from towpath.model.net import Address
from towpath.model.reason import Why

SCHEMA = "towpath.ipam.check/1"
FOUND: Final = 6
KINDS = (
    "Pod",
    "NodeStatus",
    "IPAMBlock",
    "IPPool",
    "IPReservation",
    "IPAMConfiguration",
    "BGPConfiguration",
    "RoutingNode",
    "Node",
    "ServiceCIDR",
    "AddressClaim",
    "Service",
)
"""What is asked of a live cluster, in this order: what has an address is older than what it has it of, and claims than services."""


class Request(Struct, frozen=True):
    """What was asked for on the command line."""

    files: tuple[str, ...]
    source: Source
    style: Format = "table"
    node: str | None = None
    node_dir: Path | None = None
    """host-local's records of that node lie below it, as below the agent's run dir."""
    here: bool = False
    """The node is this machine: its kernel is asked as well."""


def run(request: Request) -> int:
    """Print the findings; the exit code says whether there are any."""
    # of one node: its own account reads no other's status, nor claims
    kinds = [kind for kind in KINDS if request.node_dir is None or kind not in ("AddressClaim", "Service")]
    spared = ("NodeStatus",) if request.node_dir is not None else ()
    objects = bodies(request.files, request.source, kinds, spared=spared)
    inputs = gathered(objects, secret_namespace=request.source.secret_namespace)
    warn(inputs)
    found = (*everything(inputs), *_on_node(inputs, request))
    said = document(found)
    show(said, request.style, _lines(said))
    return FOUND if found else GOOD


def everything(inputs: Inputs) -> tuple[Finding, ...]:
    """Objects that do not count, and what does not fit among those that do."""
    rejected = (
        Finding(Why(one.kind, one.name, one.field), one.reason, one.message)
        for one in inputs.rejected
        if one.kind in KINDS
    )
    judged = findings(inputs.cluster, services=service_ranges(inputs.cluster))
    return tuple(sorted({*rejected, *judged, *claim_findings(inputs.cluster, inputs.balanced)}))


def _on_node(inputs: Inputs, request: Request) -> Iterator[Finding]:
    """What does not fit in the files of one node."""
    if request.node_dir is None:
        if request.node is not None or request.here:
            raise UsageError("--node and --here go with --node-dir, the folder with the node's files")
        return
    if request.node is None:
        raise UsageError("--node-dir needs --node, the node whose files these are")
    places = Places(run_dir=request.node_dir, conf_dir=request.node_dir)
    records = HostLocal(places.data_dir).records()
    networks = {pool: HostLocal(places.data_dir, network=network_of(pool)).records() for pool in places.given_out()}
    kernel: frozenset[Address] = frozenset()
    if request.here:
        from towpath.routes.holders import ANSWER_WITHIN, holders

        known = {each for pod in inputs.cluster.workloads.values() for each in pod.addresses}
        kernel = holders({one.address for one in records} - known, wait=lambda: time.sleep(ANSWER_WITHIN))
    yield from sorted(node_findings(inputs.cluster, request.node, records=records, kernel=kernel, networks=networks))


def document(found: Iterable[Finding]) -> dict[str, Any]:
    """The findings for programs."""
    return {
        "schema": SCHEMA,
        "findings": [
            {
                "object": {"kind": one.object.kind, "name": one.object.name},
                "field": one.object.field or None,
                "reason": str(one.reason),
                "message": one.message,
                "remedy": one.remedy,
            }
            for one in found
        ],
    }


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    yield from lines(said["findings"])
    if not said["findings"]:
        yield "all fits together"


def lines(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Findings for people."""
    for one in found:
        what = f"{one['object']['kind']}/{one['object']['name']} {one['field'] or ''}".rstrip()
        yield f"{what}: {one['reason']}: {one['message']}"
        yield f"    {one['remedy']}"

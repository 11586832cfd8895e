"""``towpath ipam check``: what does not fit together in files or in a live cluster, and what to do about it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from towpath.controller.plan.command import GOOD, warn
from towpath.controller.plan.inputs import Inputs, gathered
from towpath.controller.plan.ipam.command import bodies
from towpath.controller.plan.output import Format
from towpath.controller.plan.request import show
from towpath.controller.service_ranges import service_ranges
from towpath.controller.settings import Source
from towpath.ipam.check import Finding, findings
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
)
"""What is asked of a live cluster, in this order: what has an address is older than what it has it of."""


class Request(Struct, frozen=True):
    """What was asked for on the command line."""

    files: tuple[str, ...]
    source: Source
    style: Format = "table"


def run(request: Request) -> int:
    """Print the findings; the exit code says whether there are any."""
    inputs = gathered(bodies(request.files, request.source, KINDS), secret_namespace=request.source.secret_namespace)
    warn(inputs)
    found = everything(inputs)
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
    return tuple(sorted({*rejected, *judged}))


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

"""``towpath ipam show``: who has what of the pools, of files or of a live cluster."""

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from towpath.controller.plan.command import GOOD, REJECTED, name_rejected, warn
from towpath.controller.plan.inputs import Body, gathered, read
from towpath.controller.plan.ipam.document import document, lines
from towpath.controller.plan.ipam.shares import shares
from towpath.controller.plan.ipam.svg import svg
from towpath.controller.plan.ipam.text import lines as text_lines
from towpath.controller.plan.output import Format
from towpath.controller.plan.request import show
from towpath.controller.settings import Source
from towpath.model.workload import mapping

KINDS = ("IPPool", "IPReservation", "IPAMConfiguration", "IPAMBlock", "RoutingNode", "Node", "NodeStatus")


class Request(Struct, frozen=True):
    """What was asked for on the command line."""

    files: tuple[str, ...]
    source: Source
    style: Format | Literal["text", "svg"] = "table"


def run(request: Request) -> int:
    """Print; the exit code. Objects that do not count are part of a list; beside a picture, standard error names them."""
    objects = bodies(request.files, request.source, KINDS)
    inputs = gathered(objects, secret_namespace=request.source.secret_namespace)
    warn(inputs)
    found = shares(inputs.cluster, written=dict(written(objects)))
    if request.style == "text" or request.style == "svg":  # noqa: PLR1714  # mypy narrows by this alone
        name_rejected(inputs)
        drawn = svg(found) if request.style == "svg" else "".join(f"{line}\n" for line in text_lines(found))
        sys.stdout.write(drawn)
    else:
        said = document(found, inputs.rejected)
        show(said, request.style, lines(said))
    return REJECTED if inputs.rejected else GOOD


def bodies(files: Sequence[str], source: Source, kinds: Iterable[str], *, spared: Collection[str] = ()) -> list[Body]:
    """The objects of the files, or of the live cluster those of some kinds, which are listed in this order.

    ``spared``: kinds without which it goes on where they may not be read.
    """
    if files:
        return read(files)
    from towpath.controller.plan.live import listed

    return listed(source, kinds, spared=spared)


def written(objects: Iterable[Body]) -> Iterator[tuple[str, str]]:
    """When the state of a block was written, by the block's name, as far as the API server has noted it.

    It notes when a manager of fields has last changed any of its own (Kubernetes, ObjectMeta ``managedFields``).
    """
    for body in objects:
        if body["kind"] != "IPAMBlock":
            continue
        times = [str(one["time"]) for one in _managers(body) if one.get("time") and _has_state(one)]
        if times:
            yield body["metadata"]["name"], max(times)


def _managers(body: Body) -> list[Any]:
    listed = body["metadata"].get("managedFields")
    return [mapping(one) for one in listed] if isinstance(listed, list) else []


def _has_state(manager: Any) -> bool:
    return "f:state" in mapping(mapping(manager.get("fieldsV1")).get("f:spec"))

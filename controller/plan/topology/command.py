"""``towpath topology``: the objects of files or of a live cluster, drawn."""

import sys
from typing import Literal

from msgspec import Struct

from towpath.controller.plan.command import GOOD, REJECTED, load, name_rejected, warn
from towpath.controller.plan.topology.build import topology
from towpath.controller.plan.topology.svg import svg
from towpath.controller.plan.topology.text import lines
from towpath.controller.settings import Source


class Request(Struct, frozen=True):
    """What was asked for on the command line."""

    files: tuple[str, ...]
    source: Source
    assign: bool = False
    """With the blocks that the controller would claim."""
    style: Literal["text", "svg"] = "text"


def run(request: Request) -> int:
    """Draw; the exit code. Objects that do not count are named on standard error."""
    inputs = load(request.files, request.source, assign=request.assign)
    warn(inputs)
    name_rejected(inputs)
    picture = topology(inputs)
    sys.stdout.write(svg(picture) if request.style == "svg" else "".join(f"{line}\n" for line in lines(picture)))
    return REJECTED if inputs.rejected else GOOD

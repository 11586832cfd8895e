"""What ``get`` and ``explain`` are asked on the command line, and how both print their answer."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from towpath.controller.plan.output import Format, json_text, yaml_text
from towpath.controller.settings import Source


class Request(Struct, frozen=True):
    """What was asked for."""

    what: str
    files: tuple[str, ...]
    source: Source
    node: str | None = None
    style: Format = "table"
    here: Path | None = None
    """Ask the speaker that has this socket for its agent, and the kernel of this machine."""


def show(document: Mapping[str, Any], style: Format, lines: Iterable[str]) -> None:
    """Print the document, or for people the lines that say the same."""
    if style == "table":
        sys.stdout.writelines(f"{line}\n" for line in lines)
    else:
        sys.stdout.write(json_text(document) if style == "json" else yaml_text(document))

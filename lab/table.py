"""Text for people: tables that line up, colour where somebody watches."""

import os
import sys
from collections.abc import Iterable, Sequence

_CODES = {"bold": "1", "dim": "2", "green": "32", "red": "31", "cyan": "36"}


def coloured() -> bool:
    """Whether standard output is a terminal that wants colour (https://no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(text: str, *styles: str) -> str:
    """The text in bold, dim, green, red or cyan; plain where nobody watches."""
    if not coloured():
        return text
    return f"\033[{';'.join(_CODES[style] for style in styles)}m{text}\033[0m"


def table(heading: Sequence[str], rows: Iterable[Sequence[object]], *, indent: str = "    ") -> str:
    """Rows under a heading, columns as wide as they need."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in (list(heading), *cells)) for column in range(len(heading))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    top = "  ".join(cell.ljust(width) for cell, width in zip(heading, widths, strict=True)).rstrip()
    return "\n".join([indent + paint(top.upper(), "dim"), *(indent + line for line in lines)])

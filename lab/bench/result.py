"""What a benchmark found, as a table for people and as JSON for programs."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct


class Result(Struct, frozen=True):
    """One comparison. ``ratio`` is ours over theirs, None where there is nobody to compare with."""

    name: str
    against: str
    ratio: float | None
    ours: float
    theirs: float | None
    unit: str


def compared(name: str, *, against: str, ours: float, theirs: float, unit: str = "s") -> Result:
    """A result whose ratio is ours over theirs."""
    return Result(name, against, round(ours / theirs, 3) if theirs else None, round(ours, 5), round(theirs, 5), unit)


def alone(name: str, *, ours: float, unit: str) -> Result:
    """A figure that is compared with nothing but its bar."""
    return Result(name, "", None, round(ours, 5), None, unit)


def table(results: Sequence[Result]) -> str:
    """Aligned columns."""
    rows = [("name", "ours", "theirs", "unit", "ratio", "against")]
    for result in results:
        theirs = "-" if result.theirs is None else f"{result.theirs:.4g}"
        ratio = "-" if result.ratio is None else f"{result.ratio:.2f}"
        rows.append((result.name, f"{result.ours:.4g}", theirs, result.unit, ratio, result.against))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """The document of ``--json``."""
    fields = ("name", "against", "ratio", "ours", "theirs", "unit")
    return {"results": [{field: getattr(result, field) for field in fields} for result in results]}

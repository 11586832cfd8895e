"""The files of the project: what is in the checkout, without what is made from it."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("model", "ipam", "bgp", "routes", "controller", "lab")
RECORDED = ROOT / "tests" / "releases" / "earlier.tar.xz"
"""Sources and chart of the release before this one."""
ASKING = RECORDED.with_name("asking.tar.xz")
"""Of the first state that had ``towpath-ipam``: its sources, and the agent's part that it asks."""
_MADE = {".git", ".venv", "__pycache__", "dist", "build"}


def files() -> Iterator[Path]:
    """Every file, in order; links to folders are not followed."""
    for folder, names, inside in os.walk(ROOT):
        made = {
            name for name in names if name in _MADE or name.endswith(("_cache", ".egg-info")) or name == ".hypothesis"
        }
        names[:] = sorted(set(names) - made)
        yield from (
            Path(folder) / name
            for name in sorted(inside)
            if name not in {".git", ".coverage"} and not name.endswith(".pyc")
        )

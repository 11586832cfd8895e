"""Sysctls of the node: set so that it forwards, and recorded for as long as this boot, so that cleanup can undo them.

The record keeps the oldest value of each, whatever number of agents ran in between, and is written before anything is
changed: an agent that dies between leaves a record of a change that was not made, never a change without a record.
"""

import json
from pathlib import Path

from towpath.ipam.files import write_atomically
from towpath.routes import sysctl


def prepare(record: Path, *, proc_sys: Path) -> None:
    """Let the node forward packets; ``OSError`` where the kernel refuses."""
    changes = sysctl.forwarding_changes(proc_sys / "net")
    if not changes:
        return
    known = _recorded(record)
    before = {one.name: known.get(one.name, one.before) for one in changes}
    write_atomically(record, json.dumps({**known, **before}).encode())
    sysctl.make(changes, proc=proc_sys / "net")


def undo(record: Path, *, proc_sys: Path) -> None:
    """Put back what ``prepare`` changed."""
    sysctl.restore(_recorded(record), proc=proc_sys / "net")
    record.unlink(missing_ok=True)


def _recorded(record: Path) -> dict[str, str]:
    try:
        found = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

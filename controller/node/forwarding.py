"""Sysctls of the node: set so that it forwards, and recorded for as long as this boot, so that cleanup can undo them.

The record keeps the oldest value of each, whatever number of agents ran in between, and is written before anything is
changed: an agent that dies between leaves a record of a change that was not made, never a change without a record. It has
the number of each interface as well, which an interface keeps when somebody gives it another name, and its sysctls with it.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from towpath.ipam.files import write_atomically
from towpath.routes import sysctl

_NUMBER = "ifindex/"
"""What the entries for numbers of interfaces begin with: an older release takes them for sysctls that there are none of."""


def prepare(record: Path, *, proc_sys: Path) -> None:
    """Let the node forward packets; ``OSError`` where the kernel refuses."""
    changes = sysctl.forwarding_changes(proc_sys / "net")
    if not changes:
        return
    known = _recorded(record)
    before = {one.name: known.get(one.name, one.before) for one in changes}
    numbers = {f"{_NUMBER}{name}": str(number) for number, name in socket.if_nameindex()}
    mentioned = {f"{_NUMBER}{sysctl.interface_of(one)}" for one in before}
    numbers = {name: known.get(name, number) for name, number in numbers.items() if name in mentioned}
    write_atomically(record, json.dumps({**known, **numbers, **before}).encode())
    sysctl.make(changes, proc=proc_sys / "net")


def undo(record: Path, *, proc_sys: Path) -> None:
    """Put back what ``prepare`` changed. ``OSError`` where the kernel refuses: the record stays."""
    sysctl.restore(dict(_by_present_names(_recorded(record))), proc=proc_sys / "net")
    record.unlink(missing_ok=True)


def _by_present_names(known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The sysctls of a record, as they are called now."""
    names = {str(number): name for number, name in socket.if_nameindex()}
    for one, value in known.items():
        if one.startswith(_NUMBER):
            continue
        interface = sysctl.interface_of(one)
        now = names.get(known.get(f"{_NUMBER}{interface}", "")) if interface is not None else None
        yield one if now is None else sysctl.about(one, now), value


def _recorded(record: Path) -> dict[str, str]:
    try:
        found = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

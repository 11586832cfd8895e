"""Sysctls of the node: set so that it forwards, and recorded for as long as this boot, so that cleanup can undo them.

The record keeps the oldest value of each, whatever number of agents ran in between, and is written before anything is
changed: an agent that dies between leaves a record of a change that was not made, never a change without a record. It has
the number of each interface as well, which an interface keeps when somebody gives it another name, and its sysctls with it.
"""

import json
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from towpath.ipam.files import write_atomically
from towpath.routes import sysctl

_NUMBER = "ifindex/"
"""What the entries for numbers of interfaces begin with: an older release takes them for sysctls that there are none of."""


def prepare(record: Path, *, proc_sys: Path, below: Collection[str] | None = None) -> None:
    """Let the node forward packets, whatever somebody has set since; ``OSError`` where the kernel refuses.

    ``below``: the interfaces by which packets of tunnels leave, none where there is no tunnel any more: those are as
    they were again. None: it is not known yet whether there is one.
    """
    known = _recorded(record)
    net = proc_sys / "net"
    changes = (
        *sysctl.forwarding_changes(net),
        *sysctl.lost_again(known, net),
        *(sysctl.strict(below, net) if below is not None else ()),
    )
    if below is not None:
        known = _given_back(record, known, below=below, proc_sys=proc_sys)
    if not changes:
        return
    before = {one.name: known.get(one.name, one.before) for one in changes}
    numbers = {f"{_NUMBER}{name}": str(number) for number, name in socket.if_nameindex()}
    mentioned = {f"{_NUMBER}{sysctl.interface_of(one)}" for one in before}
    numbers = {name: known.get(name, number) for name, number in numbers.items() if name in mentioned}
    write_atomically(record, json.dumps({**known, **numbers, **before}).encode())
    sysctl.make(changes, proc=proc_sys / "net")


def _given_back(record: Path, known: dict[str, str], *, below: Collection[str], proc_sys: Path) -> dict[str, str]:
    """What is recorded but for interfaces that are none of those below any more; they are as they were."""
    loosened = [name for name in known if sysctl.is_strictness(name, but_of=below)]
    now = {name: present for name, present, _ in _by_present_names(known)} if loosened else {}
    over = [name for name in loosened if sysctl.is_strictness(now[name], but_of=below)]
    if not over:
        return known
    sysctl.restore({now[name]: known[name] for name in over}, proc=proc_sys / "net")
    left = {name: value for name, value in known.items() if name not in over}
    write_atomically(record, json.dumps(left).encode())
    return left


def undo(record: Path, *, proc_sys: Path) -> None:
    """Put back what ``prepare`` changed. ``OSError`` where the kernel refuses: the record stays."""
    found = {present: value for _, present, value in _by_present_names(_recorded(record))}
    sysctl.restore(found, proc=proc_sys / "net")
    record.unlink(missing_ok=True)


def _by_present_names(known: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The sysctls of a record, what they are called now, and what they were."""
    names = {str(number): name for number, name in socket.if_nameindex()}
    for one, value in known.items():
        if one.startswith(_NUMBER):
            continue
        interface = sysctl.interface_of(one)
        now = names.get(known.get(f"{_NUMBER}{interface}", "")) if interface is not None else None
        yield one, one if now is None else sysctl.about(one, now), value


def _recorded(record: Path) -> dict[str, str]:
    try:
        found = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

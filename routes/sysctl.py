"""The few sysctls without which a node forwards no packets, changed only where needed and remembered for the way back.

Turning on IPv6 forwarding makes the kernel ignore router advertisements where ``accept_ra`` is 1: the node would lose its
default route. It becomes 2 there first. ``ignore_routes_with_linkdown`` stays as it is: it would change what the kernel
does with everybody's routes, and ours leave a link without carrier within milliseconds anyway.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc/sys/net")
_FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")


class Change(NamedTuple):
    """One sysctl: its path below ``proc``, what it says and what it should say."""

    name: str
    before: str
    after: str


def forwarding_changes(proc: Path = PROC) -> tuple[Change, ...]:
    """What has to change, in this order, so that the node forwards; nothing where it does.

    ``proc`` is ``/proc/sys/net`` or, in a container, the path where the host's is mounted.
    """
    lacking = [Change(name, "0", "1") for name in _FORWARDING if _read(proc / name) == "0"]
    if not any(one.name == _FORWARDING[1] for one in lacking):
        return tuple(lacking)
    listening = [f"ipv6/conf/{entry.name}/accept_ra" for entry in sorted((proc / "ipv6/conf").iterdir())]
    return (*(Change(name, "1", "2") for name in listening if _read(proc / name) == "1"), *lacking)


def make(changes: Iterable[Change], *, proc: Path = PROC) -> None:
    """Carry changes out; devices that are gone are passed over. ``OSError`` if refused."""
    for one in changes:
        if (proc / one.name).exists():
            (proc / one.name).write_text(one.after)


def restore(before: Mapping[str, str], *, proc: Path = PROC) -> None:
    """Undo changes, last one first: ``before`` has the former value of each; devices that are gone are passed over."""
    for name, value in reversed(list(before.items())):
        if (proc / name).exists():
            (proc / name).write_text(value)


def _read(path: Path) -> str | None:
    """A sysctl's value; None where this kernel has no such thing."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None

"""The few sysctls without which a node forwards no packets, changed only where needed and remembered for the way back.

Turning on IPv6 forwarding makes the kernel ignore router advertisements where ``accept_ra`` is 1: the node would lose its
default route. It becomes 2 there first. ``ignore_routes_with_linkdown`` stays as it is: it would change what the kernel
does with everybody's routes, and ours leave a link without carrier within milliseconds anyway.
"""

from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc/sys/net")
_FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")


def prepare_forwarding(proc: Path = PROC) -> dict[str, str]:
    """Let the node forward; what was changed, with its former value, by path below ``proc``. ``OSError`` if refused.

    ``proc`` is ``/proc/sys/net`` or, in a container, the path where the host's is mounted.
    """
    changed: dict[str, str] = {}
    if _read(proc / "ipv6/conf/all/forwarding") == "0":
        for entry in sorted((proc / "ipv6/conf").iterdir()):
            path = entry / "accept_ra"
            if _read(path) == "1":
                _write(path, "2", changed=changed, proc=proc)
    for name in _FORWARDING:
        if _read(proc / name) == "0":
            _write(proc / name, "1", changed=changed, proc=proc)
    return changed


def restore(changed: Mapping[str, str], *, proc: Path = PROC) -> None:
    """Undo ``prepare_forwarding``, last change first; devices that are gone are passed over."""
    for name, value in reversed(list(changed.items())):
        if (proc / name).exists():
            (proc / name).write_text(value)


def _read(path: Path) -> str | None:
    """A sysctl's value; None where this kernel has no such thing."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def _write(path: Path, value: str, *, changed: dict[str, str], proc: Path) -> None:
    before = path.read_text().strip()
    path.write_text(value)
    changed[str(path.relative_to(proc))] = before

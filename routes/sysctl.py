"""The few sysctls without which a node forwards no packets, changed only where needed and remembered for the way back.

Turning on IPv6 forwarding makes the kernel ignore router advertisements where ``accept_ra`` is 1: the node would lose its
default route. It becomes 2 there first. Either switch also sets what single interfaces say of forwarding, and that of IPv4
whether redirects are taken (``inet_forward_change`` and ``addrconf_forward_change`` in Linux, and the same on the way back):
what was said of these before is remembered with it. ``ignore_routes_with_linkdown`` stays as it is: it would change what the kernel
does with everybody's routes, and ours leave a link without carrier within milliseconds anyway.

Where the kernel takes packets only from where it would send the answer (``rp_filter`` 1, RFC 3704), and pods' packets come by
a tunnel at one time and without at another, those are lost that come while two nodes do not do the same yet. There the
source has to be reached by any interface (2), for as long as there is a tunnel.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc/sys/net")
_REDIRECTS = "ipv4/conf/all/accept_redirects"
_SWITCHES = {"ipv4/ip_forward": "ipv4/conf", "ipv6/conf/all/forwarding": "ipv6/conf"}
"""And where the interfaces' own are."""
_RETURN = "ipv4/conf/{}/rp_filter"
"""The kernel goes by the larger of an interface's and that of ``all``."""


class Change(NamedTuple):
    """One sysctl: its path below ``proc``, what it says and what it should say."""

    name: str
    before: str
    after: str


def forwarding_changes(proc: Path = PROC) -> tuple[Change, ...]:
    """What has to change, in this order, so that the node forwards; nothing where it does.

    ``proc`` is ``/proc/sys/net`` or, in a container, the path where the host's is mounted.
    """
    return tuple(
        change
        for switch, interfaces in _SWITCHES.items()
        if read(proc / switch) == "0"
        for change in (*_beside(proc, interfaces), Change(switch, "0", "1"))
    )


def _beside(proc: Path, interfaces: str) -> Iterator[Change]:
    """What changes with the switch, and what has to be changed before."""
    names = sorted(entry.name for entry in (proc / interfaces).iterdir()) if (proc / interfaces).is_dir() else []
    if interfaces.startswith("ipv6"):
        listening = (f"{interfaces}/{name}/accept_ra" for name in names)
        yield from (Change(one, "1", "2") for one in listening if read(proc / one) == "1")
    elif (redirects := read(proc / _REDIRECTS)) is not None:
        yield Change(_REDIRECTS, redirects, "0")
    single = (f"{interfaces}/{name}/forwarding" for name in names if name != "all")
    yield from (Change(one, "1", "1") for one in single if read(proc / one) == "1")


def lost_again(before: Collection[str], proc: Path = PROC) -> Iterator[Change]:
    """What somebody has set back of the interfaces' sysctls that were changed with the switch of IPv6: ``before`` has the names of all."""
    if "ipv6/conf/all/forwarding" in before:
        listening = (name for name in before if name.startswith("ipv6/conf/") and name.endswith("/accept_ra"))
        yield from (Change(name, "1", "2") for name in listening if read(proc / name) == "1")


def strict(interfaces: Iterable[str], proc: Path = PROC) -> Iterator[Change]:
    """What has to change so that these take packets whose answers would leave by others; nothing of those that do."""
    for_all = read(proc / _RETURN.format("all"))
    for name in (_RETURN.format(one) for one in interfaces):
        own = read(proc / name)
        if own is not None and "2" not in (own, for_all) and "1" in (own, for_all):
            yield Change(name, own, "2")


def is_strictness(name: str, *, but_of: Iterable[str]) -> bool:
    """Whether a sysctl is one that ``strict`` changes, of any other interface than these."""
    return name.endswith("/rp_filter") and name not in map(_RETURN.format, but_of)


def make(changes: Iterable[Change], *, proc: Path = PROC) -> None:
    """Carry changes out; devices that are gone are passed over. ``OSError`` if refused."""
    for one in changes:
        if (proc / one.name).exists():
            (proc / one.name).write_text(one.after)


def restore(before: Mapping[str, str], *, proc: Path = PROC) -> None:
    """Undo changes, last one first: ``before`` has the former value of each; devices that are gone are passed over.

    ``OSError`` if one is refused; the others are undone all the same.
    """
    refused = None
    for name, value in reversed(list(before.items())):
        try:
            if (proc / name).exists():
                (proc / name).write_text(value)
        except FileNotFoundError:  # its device went meanwhile
            pass
        except OSError as error:
            refused = error
    if refused is not None:
        raise refused


def interface_of(name: str) -> str | None:
    """The interface that a sysctl is about; None: about none, or about all."""
    match name.split("/"):
        case [_, "conf", interface, _] if interface not in {"all", "default"}:
            return interface
    return None


def about(name: str, interface: str) -> str:
    """The same sysctl of an interface, where it is about one."""
    family, conf, _, setting = name.split("/")
    return f"{family}/{conf}/{interface}/{setting}"


def keep(name: str, wanted: str, *, proc: Path) -> None:
    """Write a sysctl that has another value; one that this kernel lacks is passed over. ``OSError`` if refused."""
    with contextlib.suppress(FileNotFoundError):  # its device may go meanwhile
        if read(proc / name) not in (None, wanted):
            (proc / name).write_text(wanted)


def read(path: Path) -> str | None:
    """A sysctl's value; None where this kernel has no such thing."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None

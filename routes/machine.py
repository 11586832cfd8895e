"""The facts of a machine that preflight judges: read from the kernel and from files of the host, changing nothing.

What cannot be seen from here, because a folder of the host is not mounted or a right is missing, counts as well.
"""

import contextlib
import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from towpath.model.net import Family
from towpath.routes.firewall import dropping
from towpath.routes.message import NLM_F_CREATE, NLM_F_EXCL, NUMBER, attribute
from towpath.routes.netsocket import (
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    LINK_HEADER,
    NESTED,
    RTM_DELLINK,
    RTM_NEWLINK,
    open_socket,
    request,
)
from towpath.routes.preflight import DroppingChain, Machine

PATTERNS = ("veth*", "tp-*")
"""Devices of pods, and ours."""
_NETWORKD = ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules")
_FOLDERS = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd")
"""Where systemd looks, the first before the others (systemd-networkd.conf(5))."""
_NETWORKD_MANAGES = frozenset(f"ADMIN_STATE={state}" for state in ("configuring", "configured", "failed"))
_NETWORK_MANAGER_MANAGES = frozenset({"managed=true"})
_NO = frozenset({"no", "n", "0", "false", "f", "off"})
_SIOCGIFMTU = 0x8921
_TCP_MD5SIG = 14
_PROBE = b"tp-probe\0"


def look(*, proc_sys: Path, host: Path, kinds: tuple[str, ...] = ("veth",)) -> Machine:
    """Look at the machine that this thread's network namespace is of.

    ``proc_sys``: where its sysctls are; ``host``: below it lie ``etc/systemd``, ``run/systemd/netif`` and
    ``run/NetworkManager`` of the host, as far as they are mounted.
    """
    return Machine(
        dropping=_dropping(),
        networkd=networkd(host),
        networkd_devices=networkd_devices(host),
        managed_devices=managed_devices(host),
        lacking_kinds=tuple(kind for kind in kinds if not knows_kind(kind)),
        has_md5=_has_md5(),
        families=frozenset(family for family in Family if _has(family, proc_sys)),
        forwards=frozenset(family for family in Family if _forwards(family, proc_sys)),
        bypassed=frozenset(family for family in Family if not _shows_bridged(family, proc_sys)),
        mtus=mtus(),
    )


def networkd(host: Path) -> tuple[str, ...]:
    """Which of networkd's settings make it remove what is not its own; none where it has not run since the boot."""
    return _switched_on(_NETWORKD, host)


def loses_next_hops(host: Path) -> bool:
    """Whether networkd removes next-hop objects that are not its own; before version 256 nothing could forbid it."""
    return bool(_switched_on(("ManageForeignNextHops",), host))


def _switched_on(settings: tuple[str, ...], host: Path) -> tuple[str, ...]:
    """Those of networkd's settings that are on, as they are unless they say no; none where it has not run since the boot."""
    if not (host / "run/systemd/netif/state").exists():
        return ()
    said: dict[str, str] = {}
    for path in _configuration(host):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            said.update(_network_section(path.read_text()))
    return tuple(setting for setting in settings if said.get(setting, "yes").lower() not in _NO)


def _network_section(text: str) -> dict[str, str]:
    """Its assignments; an empty one says nothing (systemd.syntax(7))."""
    section, said = "", {}
    for line in map(str.strip, text.splitlines()):
        key, equals, value = (part.strip() for part in line.partition("="))
        if line.startswith("["):
            section = line
        elif section == "[Network]" and equals and value and not line.startswith(("#", ";")):
            said[key] = value
    return said


def _configuration(host: Path) -> Iterator[Path]:
    """The files that count, the later over the earlier: the main one, then fragments by name, each from its first folder."""
    folders = [host / folder for folder in _FOLDERS]
    main = [path for folder in folders if (path := folder / "networkd.conf").exists()]
    yield from main[:1]
    fragments: dict[str, Path] = {}
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in (folder / "networkd.conf.d").iterdir():
                if path.suffix == ".conf":
                    fragments.setdefault(path.name, path)
    for _, path in sorted(fragments.items()):
        yield path  # one that leads to /dev/null is empty, and hides those of its name behind it


def networkd_devices(host: Path) -> tuple[str, ...]:
    """Devices of pods, or ours, that a .network file of networkd applies to, as its files for each interface say."""
    return _managed(host / "run/systemd/netif/links", _NETWORKD_MANAGES)


def managed_devices(host: Path) -> tuple[str, ...]:
    """Devices of pods, or ours, that NetworkManager says it manages."""
    return _managed(host / "run/NetworkManager/devices", _NETWORK_MANAGER_MANAGES)


def _managed(folder: Path, lines: frozenset[str]) -> tuple[str, ...]:
    """Devices of pods, or ours, whose file in a daemon's folder, which is named by the interface's index, has one of these lines."""
    names = {str(index): name for index, name in socket.if_nameindex()}
    found = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            name = names.get(path.name, "")
            if any(fnmatch(name, pattern) for pattern in PATTERNS):
                with contextlib.suppress(OSError):  # gone meanwhile
                    if lines & set(path.read_text(errors="replace").split()):
                        found.append(name)
    return tuple(sorted(found))


def mtus() -> dict[str, int]:
    """The MTU of every device here."""
    found: dict[str, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # gone meanwhile
                answer = fcntl.ioctl(asking, _SIOCGIFMTU, struct.pack("=16s16x", name.encode()))
                found[name] = int(struct.unpack_from("=i", answer, 16)[0])
    return found


def knows_kind(kind: str) -> bool:
    """Whether the kernel has devices of a kind: it is asked for one with an impossible MTU, and looks for the kind first."""
    info = attribute(IFLA_INFO_KIND, kind.encode() + b"\0")
    impossible = attribute(IFLA_MTU, NUMBER.pack(1))
    body = attribute(IFLA_IFNAME, _PROBE) + impossible + attribute(IFLA_LINKINFO | NESTED, info)
    head = LINK_HEADER.pack(0, 0, 0, 0, 0)
    with open_socket(receive_buffer=64 << 10)[0] as asking:
        code = request(asking, RTM_NEWLINK, head + body, flags=NLM_F_CREATE | NLM_F_EXCL)
        if code == 0:  # a kind that takes any MTU
            request(asking, RTM_DELLINK, head + attribute(IFLA_IFNAME, _PROBE))
    return code != errno.EOPNOTSUPP


def _dropping() -> tuple[DroppingChain, ...]:
    try:
        return dropping()
    except OSError:  # a kernel without nf_tables, or a process without the right
        return ()


def _has_md5() -> bool:
    """Whether keys are known at all: taking one away that is not there is refused for another reason then."""
    nobody = struct.pack("=H2x4s120xBBHI80x", socket.AF_INET, socket.inet_aton("192.0.2.1"), 0, 0, 0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        try:
            asking.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, nobody)
        except OSError as error:
            return error.errno not in (errno.ENOPROTOOPT, errno.EOPNOTSUPP)
    return True


def _has(family: Family, proc_sys: Path) -> bool:
    if family is Family.IPV4 or not (proc_sys / "net").is_dir():
        return True
    return _read(proc_sys / "net/ipv6/conf/all/disable_ipv6") == "0"  # a kernel without it has no such file


def _forwards(family: Family, proc_sys: Path) -> bool:
    name = "net/ipv4/ip_forward" if family is Family.IPV4 else "net/ipv6/conf/all/forwarding"
    return _read(proc_sys / name) != "0"


def _shows_bridged(family: Family, proc_sys: Path) -> bool:
    if not (proc_sys / "net").is_dir():
        return True
    name = "bridge-nf-call-iptables" if family is Family.IPV4 else "bridge-nf-call-ip6tables"
    return _read(proc_sys / "net/bridge" / name) == "1"  # without br_netfilter there is no such file


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None

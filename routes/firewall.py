"""Base chains that drop what is forwarded, as nf_tables and the older ip_tables have them.

Both are read from the kernel itself: no program need be there, and both may hold rules at the same time. Rules are not
looked at, only policies: what a rule takes is its author's business. Reading needs CAP_NET_ADMIN.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from towpath.model.net import Family
from towpath.routes.message import attributes, text
from towpath.routes.netsocket import dump, messages
from towpath.routes.preflight import DroppingChain

_NETLINK_NETFILTER = 12
_NEWCHAIN, _GETCHAIN = 10 << 8 | 3, 10 << 8 | 4
"""Of subsystem nf_tables (linux/netfilter/nf_tables.h)."""
_TABLE, _NAME, _HOOK, _POLICY, _HOOK_NUMBER = 1, 3, 4, 5, 1
_FORWARD, _DROP = 2, 0
_TABLES = {
    1: ("inet", (Family.IPV4, Family.IPV6)),
    2: ("ip", (Family.IPV4,)),
    10: ("ip6", (Family.IPV6,)),
}
"""By NFPROTO number."""
_NUMBER = struct.Struct("!I")
_GET_INFO, _GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32s13I")
"""ipt_getinfo and ip6t_getinfo: name, valid hooks, five entry points, five underflows, number of entries, their size."""
_LEGACY = {
    Family.IPV4: ("iptables", socket.AF_INET, socket.IPPROTO_IP, 88, "ip_tables_names"),
    Family.IPV6: ("ip6tables", socket.AF_INET6, socket.IPPROTO_IPV6, 140, "ip6_tables_names"),
}
"""Program, address family, socket level, offset of ``target_offset`` in ipt_entry or ip6t_entry, list in /proc/net."""


def dropping(*, proc_net: Path = Path("/proc/thread-self/net")) -> tuple[DroppingChain, ...]:
    """All of them, in this network namespace; ``OSError`` where the kernel does not let us look."""
    legacy = (chain for family in Family for chain in _legacy(family, proc_net))
    return tuple(sorted((*_nft(), *legacy)))


def chains() -> frozenset[str]:
    """All chains of nf_tables in families of IP, each as ``FAMILY TABLE NAME``; none in a kernel without nf_tables."""
    try:
        return frozenset(
            " ".join(_name(data, start, end)) for data, start, end in _chains() if data[start + 16] in _TABLES
        )
    except OSError:
        return frozenset()


def _nft() -> Iterator[DroppingChain]:
    for data, start, end in _chains():
        if (found := _chain(data, start, end)) is not None:
            yield found


def _chains() -> Iterator[tuple[bytes, int, int]]:
    """The message of each."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as asking:
        asking.bind((0, 0))
        for data in dump(asking, _GETCHAIN, bytes(4)):
            for start, length, kind, _ in messages(data):
                if kind == _NEWCHAIN:
                    yield data, start, start + length


def _name(data: bytes, start: int, end: int) -> tuple[str, str, str]:
    """Family, table and name of a chain."""
    values = {key & 0x3FFF: value for key, value in attributes(data, start + 20, end)}
    table, name = (text(values[key]) for key in (_TABLE, _NAME))
    return _TABLES[data[start + 16]][0], table, name


def _chain(data: bytes, start: int, end: int) -> DroppingChain | None:
    values = {key & 0x3FFF: value for key, value in attributes(data, start + 20, end)}
    known = _TABLES.get(data[start + 16])
    if known is None or _HOOK not in values or _POLICY not in values:
        return None
    hook = {key & 0x3FFF: value for key, value in attributes(values[_HOOK], 0, len(values[_HOOK]))}
    if _NUMBER.unpack(hook[_HOOK_NUMBER])[0] != _FORWARD or _NUMBER.unpack(values[_POLICY])[0] != _DROP:
        return None
    family, table, name = _name(data, start, end)
    return DroppingChain(f"nftables chain {name} of table {family} {table}", known[1])


def _legacy(family: Family, proc_net: Path) -> Iterator[DroppingChain]:
    """The policy is the verdict of the rule at the chain's underflow (linux/netfilter_ipv4/ip_tables.h)."""
    program, address_family, level, offset, names = _LEGACY[family]
    try:
        tables = (proc_net / names).read_text().split()
    except FileNotFoundError:
        return
    if "filter" not in tables:
        return  # asking for it would bring it into being
    with socket.socket(address_family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        info = _INFO.unpack(_get(asking, level, _GET_INFO, b"filter".ljust(_INFO.size, b"\0")))
        valid, underflows, size = info[1], info[7:12], info[13]
        request = struct.pack("=32sI", b"filter", size)
        # the table begins where its entries, which hold 64-bit counters, are aligned
        data = _get(asking, level, _GET_ENTRIES, request.ljust(40 + size, b"\0"))
    if not valid >> _FORWARD & 1:
        return
    rule = 40 + underflows[_FORWARD]
    (target,) = struct.unpack_from("=H", data, rule + offset)
    (verdict,) = struct.unpack_from("=i", data, rule + target + 32)
    if verdict == -_DROP - 1:
        yield DroppingChain(f"{program}-legacy chain FORWARD", (family,))


def _get(asking: socket.socket, level: int, option: int, request: bytes) -> bytes:
    """``getsockopt`` with a question in its buffer, which Python's own has not."""
    buffer, length = ctypes.create_string_buffer(request, len(request)), ctypes.c_uint32(len(request))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(asking.fileno(), level, option, buffer, ctypes.byref(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw

"""rtnetlink messages in bulk: one template for many prefixes, one look-up for many dumped routes.

pyroute2 encodes each distinct route once, with an empty prefix; for the others only prefix and sequence number differ, and
those are written column by column into copies of the template. Reading goes the other way: all bytes of a dumped route
but its prefix are the key to its parsed form. Layouts: rtnetlink(7), ``fib_dump_info`` and ``rt6_fill_node``.
"""

import functools
import socket
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from towpath.model.net import Address, Family, family_of
from towpath.routes.kernel import Operation, RouteSeen
from towpath.routes.route import MAIN_TABLE, PROTOCOL, NextHop, RouteType, Spec, address, spec
from towpath.routes.rtmsg import rtmsg

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x300, 0x100, 0x200, 0x400
RTNH_F_ONLINK = 4
RTM_F_CLONED = 0x200
SCOPE_NOWHERE = 255
LOOPBACK = 1
"""Index of ``lo`` in every namespace: the device of IPv6 routes that drop."""
HEADER = struct.Struct("=IHHII")
ROUTE = struct.Struct("=BBBBBBBBI")
ATTRIBUTE = struct.Struct("=HH")
NUMBER = struct.Struct("=I")
_NEXT_HOP = struct.Struct("=HBBi")
_SEQUENCE, _LENGTH, _TAIL_OF_RTM, _ATTRIBUTES, _DST = 8, 17, 18, 28, 32
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
_RTA_MULTIPATH, _RTA_VIA, _RTA_ENCAP, _RTA_NH_ID = 9, 18, 22, 30
_FLAGS = {
    Operation.ADD: (RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL),
    Operation.REPLACE: (RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_REPLACE),
    Operation.DELETE: (RTM_DELROUTE, NLM_F_REQUEST),
}
AF = {Family.IPV4: int(socket.AF_INET), Family.IPV6: int(socket.AF_INET6)}
_FAMILIES = {af: family for family, af in AF.items()}
_UNSPECIFIED = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}
_ANYBODY: dict[Family, Address] = {Family.IPV4: ip_address("192.0.2.1"), Family.IPV6: ip_address("2001:db8::1")}
_KNOWN_LIMIT = 4096


def message(
    operation: Operation, family: Family, route: Spec, *, dst: str, length: int, sequence: int, number: int = 0
) -> bytes:
    """One whole message, encoded by pyroute2; the attribute RTA_DST comes first.

    ``number``: of the next-hop object of a shared spec, an attribute that pyroute2 does not know.
    """
    kind, flags = _FLAGS[operation]
    encoded = rtmsg()
    encoded["header"] = {"type": kind, "flags": flags, "sequence_number": sequence, "pid": 0}
    encoded["family"], encoded["dst_len"], encoded["table"] = AF[family], length, MAIN_TABLE
    encoded["proto"], encoded["type"], encoded["flags"] = PROTOCOL, int(route.type), 0
    # a deletion matches any scope with NOWHERE; IPv6 has no scopes
    encoded["scope"] = SCOPE_NOWHERE if operation is Operation.DELETE and family is Family.IPV4 else 0
    attributes: list[tuple[str, Any]] = [("RTA_DST", dst), ("RTA_PRIORITY", route.metric)]
    if route.shared:
        pass
    elif len(route.next_hops) > 1:
        attributes.append(("RTA_MULTIPATH", [_next_hop(hop, family) for hop in route.next_hops]))
    elif route.next_hops:
        (hop,) = route.next_hops
        encoded["flags"] = RTNH_F_ONLINK if hop.onlink else 0
        attributes += _ways(hop, family)
        attributes.append(("RTA_OIF", hop.device))
    elif family is Family.IPV6 and operation is Operation.DELETE:
        attributes.append(("RTA_OIF", LOOPBACK))  # without a device the kernel would take the first of our protocol
    encoded["attrs"] = attributes
    encoded.encode()
    if not route.shared:
        return bytes(encoded.data)
    data = bytes(encoded.data) + attribute(_RTA_NH_ID, NUMBER.pack(number))
    return NUMBER.pack(len(data)) + data[NUMBER.size :]


def _ways(hop: NextHop, family: Family) -> list[tuple[str, Any]]:
    if hop.gateway is None:
        return []
    if family_of(hop.gateway) is family:
        return [("RTA_GATEWAY", str(hop.gateway))]
    return [("RTA_VIA", {"family": AF[family_of(hop.gateway)], "addr": str(hop.gateway)})]


def _next_hop(hop: NextHop, family: Family) -> dict[str, Any]:
    return {"oif": hop.device, "flags": RTNH_F_ONLINK if hop.onlink else 0, "hops": 0, "attrs": _ways(hop, family)}


@functools.lru_cache(maxsize=256)
def _one_way(operation: Operation, family: Family, hop: NextHop, metric: int) -> tuple[bytes, int]:
    """The message of a route by one gateway, and where that stands in it."""
    route = spec(RouteType.UNICAST, (hop,), metric=metric)
    encoded = message(operation, family, route, dst=_UNSPECIFIED[family], length=0, sequence=0)
    for length, kind, start in _places(encoded, _ATTRIBUTES):
        if kind == RTA_GATEWAY and length == ATTRIBUTE.size + family.bits // 8:
            return encoded, start + ATTRIBUTE.size
    raise ValueError("a route by a gateway has one")


def _encoded(operation: Operation, family: Family, route: Spec, *, number: int) -> bytes:
    """Nodes have a gateway each, and their routes differ in that alone: such a message is made once for all of them."""
    hop = route.next_hops[0] if len(route.next_hops) == 1 and not route.shared else None
    if hop is None or hop.gateway is None or family_of(hop.gateway) is not family:
        return message(operation, family, route, dst=_UNSPECIFIED[family], length=0, sequence=0, number=number)
    anybody = NextHop(_ANYBODY[family], hop.device, hop.onlink)
    encoded, place = _one_way(operation, family, anybody, route.metric)
    return encoded[:place] + hop.gateway.packed + encoded[place + family.bits // 8 :]


class Template:
    """The message of one operation, family and spec, ready for any prefix."""

    def __init__(self, operation: Operation, family: Family, route: Spec, *, number: int = 0) -> None:
        self.bytes = _encoded(operation, family, route, number=number)
        self.size = len(self.bytes)
        self.width = 1 + family.bits // 8

    def encode(self, wires: Sequence[bytes], *, sequence: int) -> bytearray:
        """Messages for all prefixes, numbered from ``sequence`` on."""
        size, width, count = self.size, len(wires[0]), len(wires)
        flat = b"".join(wires)
        if set(map(len, wires)) != {width}:
            width = self.width
            flat = b"".join([wire.ljust(width, b"\0") for wire in wires])
        buffer = bytearray(self.bytes * count)
        buffer[_LENGTH::size] = flat[::width]
        for column in range(1, width):
            buffer[_DST + column - 1 :: size] = flat[column::width]
        numbers = array("I", range(sequence, sequence + count)).tobytes()
        for column in range(4):
            buffer[_SEQUENCE + column :: size] = numbers[column::4]
        return buffer


class RouteReader:
    """Parses route messages of the kernel; remembers what it has seen, by all bytes but the prefix."""

    def __init__(self, find: Callable[[int], NextHop | None]) -> None:
        self._find = find
        self._known: dict[bytes, tuple[int, Spec] | None] = {}

    def forget(self) -> None:
        """What a next-hop object is has changed."""
        self._known.clear()

    def read(self, data: bytes, start: int, end: int) -> RouteSeen | None:
        """The route of one message at ``start``; None where it is no business of ours (another table, a cached one)."""
        length = data[start + _LENGTH]
        if length:
            # RTA_TABLE is always first, RTA_DST second
            packed = start + 40
            after = start + 36 + data[start + 36]
            wire = data[start + _LENGTH : start + _TAIL_OF_RTM] + data[packed : packed + ((length + 7) >> 3)]
        else:
            after = start + 36
            wire = b"\0"
        key = data[start + 16 : start + _LENGTH] + data[start + _TAIL_OF_RTM : start + 36] + data[after:end]
        try:
            found = self._known[key]
        except KeyError:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()  # routes with a lifetime are never the same bytes twice
            found = self._known[key] = _parse(data, start, end, find=self._find)
        return None if found is None else RouteSeen(wire, *found)


def _parse(data: bytes, start: int, end: int, *, find: Callable[[int], NextHop | None]) -> tuple[int, Spec] | None:
    family, _, _, tos, table, protocol, _, kind, flags = ROUTE.unpack_from(data, start + 16)
    values = dict(attributes(data, start + _ATTRIBUTES, end))
    if family not in _FAMILIES or tos or flags & RTM_F_CLONED:
        return None
    if int.from_bytes(values.get(15, bytes((table,))), "little") != MAIN_TABLE:
        return None
    metric = int.from_bytes(values.get(RTA_PRIORITY, b""), "little")
    known = RouteType(kind) if kind in (RouteType.UNICAST, RouteType.BLACKHOLE) else RouteType.OTHER
    hops: list[NextHop] = []
    shared = _RTA_NH_ID in values and protocol == PROTOCOL
    if _RTA_ENCAP in values:
        known = RouteType.OTHER  # a tunnel: nothing that we follow
    elif known is RouteType.UNICAST:
        if _RTA_MULTIPATH in values:
            hops = _multipath(values[_RTA_MULTIPATH])
        elif RTA_OIF in values:
            hops = [_hop(values, int.from_bytes(values[RTA_OIF], "little"), flags)]
        elif shared and (hop := find(int.from_bytes(values[_RTA_NH_ID], "little"))) is not None:
            hops = [hop]  # net.ipv4.nexthop_compat_mode is 0: the number says it all
        if not hops:
            known = RouteType.OTHER
    return protocol, spec(known, hops, metric=metric, shared=shared and len(hops) == 1)


def _hop(values: dict[int, bytes], device: int, flags: int) -> NextHop:
    gateway = values.get(RTA_GATEWAY) or values.get(_RTA_VIA, b"")[2:]  # struct rtvia: family, address
    return NextHop(address(gateway) if gateway else None, device, bool(flags & RTNH_F_ONLINK))


def _multipath(data: bytes) -> list[NextHop]:
    hops: list[NextHop] = []
    position = 0
    while position + 8 <= len(data):
        length, flags, _, device = _NEXT_HOP.unpack_from(data, position)
        values = dict(attributes(data, position + 8, position + length))
        if _RTA_ENCAP in values:
            return []
        hops.append(_hop(values, device, flags))
        position += max(8, (length + 3) & ~3)
    return hops


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute between two offsets (netlink(7), NLA)."""
    while start + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & 0x3FFF, data[start + 4 : start + length]
        start += (length + 3) & ~3


def nested(value: bytes) -> dict[int, bytes]:
    """The attributes that the value of one holds."""
    return dict(attributes(value, 0, len(value)))


def text(value: bytes) -> str:
    """A string as the kernel ends it; empty where the attribute was not there."""
    return value.rstrip(b"\0").decode(errors="replace")


def _places(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Length, type and offset of each attribute from an offset on."""
    while start + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, start)
        yield length, kind, start
        start += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to where the next may begin (netlink(7), NLA)."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)

"""Messages about tunnel devices, their neighbours and forwarding entries.

Layouts: rtnetlink(7), ``linux/if_link.h``, ``linux/if_tunnel.h``, ``linux/neighbour.h``; what the kernel makes of them:
``drivers/net/vxlan``, ``net/ipv4/ipip.c``.
"""

import struct
from collections.abc import Mapping, Sequence

from towpath.model.net import Address, Family, family_of
from towpath.routes.devices.device import EVERYONE, Device, Ipip, Link, Neighbour, Seen, Vxlan
from towpath.routes.devices.port import Answer, Change
from towpath.routes.message import (
    AF,
    HEADER,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NUMBER,
    attribute,
    attributes,
    nested,
    text,
)
from towpath.routes.netsocket import (
    ADDRESS_HEADER,
    AF_BRIDGE,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    LINK_HEADER,
    NESTED,
)
from towpath.routes.route import PROTOCOL, address

_NLM_F_APPEND = 0x800
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NDM = struct.Struct("=BxxxiHBB")
NDA_IFINDEX = 8
NDA_DST, _NDA_LLADDR, _NDA_PORT, _NDA_VNI, _NDA_PROTOCOL = 1, 2, 6, 7, 12
_NUD_PERMANENT, _NTF_USE, _NTF_SELF = 0x80, 0x01, 0x02
_ANSWERS: Mapping[int, Answer] = {
    0x02: "found",
    0x04: "found",
    0x08: "found",
    0x10: "found",
    0x20: "lost",
    0x80: "fixed",
}
"""By what the kernel says of a neighbour: reachable, stale, delay, probe; failed; permanent."""
_VXLAN_ID, _VXLAN_LINK, _VXLAN_TTL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_COLLECT = 1, 3, 5, 7, 15, 25
_VXLAN_GROUP = {Family.IPV4: 2, Family.IPV6: 16}
_VXLAN_LOCAL = {Family.IPV4: 4, Family.IPV6: 17}
_TTL = b"\x40"
"""Of packets of a device with a group: without one those to the group would end on the first link."""
_AF_SPEC, _ADDRESS_MODE, _MODE_NONE = 26, 8, b"\1"
_SCOPE_LINK, _LINK_LOCAL_LENGTH = 253, 64
_PORT = struct.Struct("!H")
_IPIP_LOCAL, _IPIP_DONT_FRAGMENT = 2, 10
_IPIP_OTHERS = frozenset({1, 3, 4, 5, 15, 19, 20})
"""A device below, another end, a TTL, a type of service, one more header around it, told by each packet, a mark: we ask for none."""


def link_body(device: Device) -> bytes:
    """What makes a device, switched on unless its link-local address is for us to say."""
    link = device.link
    up = IFF_UP if device.link_local is None else 0
    if isinstance(link, Ipip):
        mac, data = b"", attribute(_IPIP_LOCAL, link.local.packed)
    else:
        mac = attribute(IFLA_ADDRESS, _packed(link.mac))
        data = (
            attribute(_VXLAN_ID, NUMBER.pack(link.vni))
            + attribute(_VXLAN_LOCAL[family_of(link.local)], link.local.packed)
            + attribute(_VXLAN_PORT, _PORT.pack(link.port))
            + attribute(_VXLAN_LEARNING, b"\0" if link.group is None else b"\1")
        )
        if link.group is not None:
            data += attribute(_VXLAN_GROUP[family_of(link.group)], link.group.packed)
            data += attribute(_VXLAN_LINK, NUMBER.pack(link.below)) + attribute(_VXLAN_TTL, _TTL)
    info = attribute(IFLA_INFO_KIND, link.kind.encode() + b"\0") + attribute(IFLA_INFO_DATA | NESTED, data)
    return (
        LINK_HEADER.pack(0, 0, 0, up, up)
        + attribute(IFLA_IFNAME, device.name.encode() + b"\0")
        + mac
        + (attribute(IFLA_MTU, NUMBER.pack(device.mtu)) if device.mtu is not None else b"")
        + attribute(IFLA_LINKINFO | NESTED, info)
    )


def without_link_local(index: int) -> bytes:
    """What has the kernel give a device no link-local address when it is switched on: one of its own it would try out first."""
    family = attribute(AF[Family.IPV6] | NESTED, attribute(_ADDRESS_MODE, _MODE_NONE))
    return LINK_HEADER.pack(0, 0, index, 0, 0) + attribute(_AF_SPEC | NESTED, family)


def change_body(index: int, *, mtu: int | None) -> bytes:
    """What switches a device on, and changes its MTU."""
    head = LINK_HEADER.pack(0, 0, index, IFF_UP, IFF_UP)
    return head + (attribute(IFLA_MTU, NUMBER.pack(mtu)) if mtu is not None else b"")


def named(name: str) -> bytes:
    """The body of a question about one device."""
    return LINK_HEADER.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name.encode() + b"\0")


def numbered(index: int) -> bytes:
    """The body of a request about one device."""
    return LINK_HEADER.pack(0, 0, index, 0, 0)


def read_device(data: bytes, start: int, end: int) -> Seen | None:
    """The device of a link message, without what other messages say; None where it is about a bridge port."""
    family, _, index, flags, _ = LINK_HEADER.unpack_from(data, start + 16)
    if family:
        return None
    values = dict(attributes(data, start + 32, end))
    info = nested(values.get(IFLA_LINKINFO, b""))
    kind = text(info.get(IFLA_INFO_KIND, b""))
    return Seen(
        index,
        text(values.get(IFLA_IFNAME, b"")),
        kind,
        _link(kind, nested(info.get(IFLA_INFO_DATA, b"")), mac=values.get(IFLA_ADDRESS, b"")),
        frozenset(),
        mtu=int.from_bytes(values.get(IFLA_MTU, b""), "little"),
        up=bool(flags & IFF_UP),
        offloads=False,
    )


def _link(kind: str, data: dict[int, bytes], *, mac: bytes) -> Link | None:
    if kind == Vxlan.kind:
        return _vxlan(data, mac)
    return _ipip(data) if kind == Ipip.kind else None


def _ipip(data: dict[int, bytes]) -> Ipip | None:
    """The device with this data; None: one that differs from ours in more than its address."""
    local = data.get(_IPIP_LOCAL, b"")
    others = any(
        any(data[key]) or not data[key] for key in _IPIP_OTHERS & data.keys()
    )  # some are there or not, and empty
    if not any(local) or others or not any(data.get(_IPIP_DONT_FRAGMENT, b"")):
        return None
    return Ipip(address(local))


def _vxlan(data: dict[int, bytes], mac: bytes) -> Vxlan | None:
    """The device with this data; None: one that takes what others tell it of each packet, or learns and has no group, or the other way round."""
    local, group = (
        next((address(data[key]) for key in keys.values() if any(data.get(key, b""))), None)
        for keys in (_VXLAN_LOCAL, _VXLAN_GROUP)
    )
    learns, collects = (any(data.get(key, b"")) for key in (_VXLAN_LEARNING, _VXLAN_COLLECT))
    if local is None or collects or learns != (group is not None) or not {_VXLAN_ID, _VXLAN_PORT} <= data.keys():
        return None
    vni, port = int.from_bytes(data[_VXLAN_ID], "little"), int(_PORT.unpack(data[_VXLAN_PORT])[0])
    if group is None:
        return Vxlan(vni, port, local, mac.hex(":"))
    below = int.from_bytes(data.get(_VXLAN_LINK, b""), "little")
    return Vxlan(vni, port, local, mac.hex(":"), group, below) if data.get(_VXLAN_TTL) == _TTL else None


def address_body(index: int, one: Address) -> bytes:
    """What gives a device a single address, or a link-local one with its subnet, or takes it from it."""
    family = family_of(one)
    length, scope = (_LINK_LOCAL_LENGTH, _SCOPE_LINK) if one.is_link_local else (family.bits, 0)
    head = ADDRESS_HEADER.pack(AF[family], length, IFA_F_NODAD if family is Family.IPV6 else 0, scope, index)
    return head + attribute(IFA_LOCAL, one.packed) + attribute(IFA_ADDRESS, one.packed)


def read_single_address(data: bytes, start: int, end: int) -> tuple[int, Address | None]:
    """The device of an address message, and the address if it is a single one, or a link-local one of IPv6."""
    family, length, _, scope, index = ADDRESS_HEADER.unpack_from(data, start + 16)
    values = dict(attributes(data, start + 24, end))
    packed = values.get(IFA_LOCAL, values.get(IFA_ADDRESS, b""))
    of_link = scope == _SCOPE_LINK
    single = len(packed) == 16 if of_link else family in AF.values() and packed and length == 8 * len(packed)
    return index, address(packed) if single else None


def encoded(index: int, changes: Sequence[Change], *, number: int) -> bytes:
    """Messages for changes of entries, numbered from ``number`` on."""
    return b"".join(_encoded(index, one, number=number + place) for place, one in enumerate(changes))


def _encoded(index: int, change: Change, *, number: int) -> bytes:
    entry = change.entry
    if isinstance(entry, Neighbour):
        head = NDM.pack(AF[family_of(entry.address)], index, _NUD_PERMANENT, 0, 0)
        values = attribute(NDA_DST, entry.address.packed)
        if not change.remove:
            values += attribute(_NDA_LLADDR, _packed(entry.mac)) + attribute(_NDA_PROTOCOL, bytes((PROTOCOL,)))
    else:
        head = NDM.pack(AF_BRIDGE, index, _NUD_PERMANENT, _NTF_SELF, 0)
        values = attribute(_NDA_LLADDR, _packed(entry.mac))
        if not change.remove:
            values += attribute(NDA_DST, entry.node.packed)
            if entry.via:
                values += attribute(NDA_IFINDEX, NUMBER.pack(entry.via))
    # what is for everyone the kernel does not replace: it may be several places
    how = _NLM_F_APPEND if entry.mac == EVERYONE else NLM_F_REPLACE
    kind, flags = (RTM_DELNEIGH, 0) if change.remove else (RTM_NEWNEIGH, NLM_F_CREATE | how)
    length = HEADER.size + len(head) + len(values)
    return HEADER.pack(length, kind, NLM_F_REQUEST | flags, number, 0) + head + values


def question(index: int, one: Address) -> bytes:
    """What has the kernel ask for an address unless it knows its MAC."""
    head = NDM.pack(AF[family_of(one)], index, 0, _NTF_USE, 0)
    return head + attribute(NDA_DST, one.packed)


def read_neighbour(data: bytes, start: int, end: int) -> tuple[int, Address, str | None, Answer | None] | None:
    """Device, address and MAC of a neighbour that we wrote down; of another what is known in place of its MAC; None: no such thing."""
    family, index, state, _, _ = NDM.unpack_from(data, start + 16)
    values = dict(attributes(data, start + 16 + NDM.size, end))
    if family not in AF.values() or NDA_DST not in values:
        return None
    if state & _NUD_PERMANENT and values.get(_NDA_PROTOCOL) == bytes((PROTOCOL,)):
        return index, address(values[NDA_DST]), values.get(_NDA_LLADDR, b"").hex(":"), None
    return index, address(values[NDA_DST]), None, _ANSWERS.get(state)


def read_forwarding(data: bytes, start: int, end: int) -> tuple[int, str, Address | None] | None:
    """Device, MAC and node of a permanent forwarding entry, None in place of the node where it says more than that; None: no such thing."""
    family, index, state, flags, _ = NDM.unpack_from(data, start + 16)
    values = dict(attributes(data, start + 16 + NDM.size, end))
    if family != AF_BRIDGE or not flags & _NTF_SELF or not state & _NUD_PERMANENT or _NDA_LLADDR not in values:
        return None
    mac = values[_NDA_LLADDR].hex(":")
    more = {_NDA_PORT, _NDA_VNI} if mac == EVERYONE else {_NDA_PORT, _NDA_VNI, NDA_IFINDEX}
    plain = NDA_DST in values and not values.keys() & more
    return index, mac, address(values[NDA_DST]) if plain else None


def _packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))

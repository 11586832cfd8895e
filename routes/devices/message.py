"""Messages about tunnel devices, their neighbours and forwarding entries.

Layouts: rtnetlink(7), ``linux/if_link.h``, ``linux/if_tunnel.h``, ``linux/neighbour.h``; what the kernel makes of them:
``drivers/net/vxlan``, ``net/ipv4/ipip.c``.
"""

import struct
from collections.abc import Sequence

from towpath.model.net import Address, Family, family_of
from towpath.routes.devices.device import Device, Ipip, Link, Neighbour, Seen, Vxlan
from towpath.routes.devices.port import Change
from towpath.routes.message import (
    AF,
    HEADER,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NUMBER,
    attribute,
    attributes,
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
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    LINK_HEADER,
    NESTED,
)
from towpath.routes.route import PROTOCOL, address

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NDM = struct.Struct("=BxxxiHBB")
NDA_IFINDEX = 8
_NDA_DST, _NDA_LLADDR, _NDA_PORT, _NDA_VNI, _NDA_PROTOCOL = 1, 2, 6, 7, 12
_NUD_PERMANENT, _NTF_SELF = 0x80, 0x02
_INFO_DATA = 2
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_COLLECT, _VXLAN_GROUP6 = 1, 2, 7, 15, 25, 16
_VXLAN_LOCAL = {Family.IPV4: 4, Family.IPV6: 17}
_SCOPE_LINK = 253
_PORT = struct.Struct("!H")
_IPIP_LOCAL, _IPIP_DONT_FRAGMENT = 2, 10
_IPIP_OTHERS = frozenset({1, 3, 4, 5, 15, 19, 20})
"""A device below, another end, a TTL, a type of service, one more header around it, told by each packet, a mark: we ask for none."""


def link_body(device: Device) -> bytes:
    """What makes a device, switched on."""
    link = device.link
    if isinstance(link, Ipip):
        mac, data = b"", attribute(_IPIP_LOCAL, link.local.packed)
    else:
        mac = attribute(IFLA_ADDRESS, _packed(link.mac))
        data = (
            attribute(_VXLAN_ID, NUMBER.pack(link.vni))
            + attribute(_VXLAN_LOCAL[family_of(link.local)], link.local.packed)
            + attribute(_VXLAN_PORT, _PORT.pack(link.port))
            + attribute(_VXLAN_LEARNING, b"\0")
        )
    info = attribute(IFLA_INFO_KIND, link.kind.encode() + b"\0") + attribute(_INFO_DATA | NESTED, data)
    return (
        LINK_HEADER.pack(0, 0, 0, IFF_UP, IFF_UP)
        + attribute(IFLA_IFNAME, device.name.encode() + b"\0")
        + mac
        + (attribute(IFLA_MTU, NUMBER.pack(device.mtu)) if device.mtu is not None else b"")
        + attribute(IFLA_LINKINFO | NESTED, info)
    )


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
    info = _nested(values.get(IFLA_LINKINFO, b""))
    kind = info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
    return Seen(
        index,
        values.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        kind,
        _link(kind, _nested(info.get(_INFO_DATA, b"")), mac=values.get(IFLA_ADDRESS, b"")),
        frozenset(),
        mtu=int.from_bytes(values.get(IFLA_MTU, b""), "little"),
        up=bool(flags & IFF_UP),
        offloads=False,
    )


def _nested(value: bytes) -> dict[int, bytes]:
    return dict(attributes(value, 0, len(value)))


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
    """The device with this data; None: one that learns, or has a group, or takes what others tell it of each packet."""
    local = next((data[key] for key in _VXLAN_LOCAL.values() if any(data.get(key, b""))), None)
    others = any(any(data.get(key, b"")) for key in (_VXLAN_GROUP, _VXLAN_GROUP6, _VXLAN_COLLECT, _VXLAN_LEARNING))
    if local is None or others or not {_VXLAN_ID, _VXLAN_PORT} <= data.keys():
        return None
    vni = int.from_bytes(data[_VXLAN_ID], "little")
    return Vxlan(vni, int(_PORT.unpack(data[_VXLAN_PORT])[0]), address(local), mac.hex(":"))


def address_body(index: int, one: Address) -> bytes:
    """What gives a device a single address, or takes it from it."""
    family = family_of(one)
    head = ADDRESS_HEADER.pack(AF[family], family.bits, IFA_F_NODAD if family is Family.IPV6 else 0, 0, index)
    return head + attribute(IFA_LOCAL, one.packed) + attribute(IFA_ADDRESS, one.packed)


def read_single_address(data: bytes, start: int, end: int) -> tuple[int, Address | None]:
    """The device of an address message, and the address if it is a single one that is not of its link alone."""
    family, length, _, scope, index = ADDRESS_HEADER.unpack_from(data, start + 16)
    values = dict(attributes(data, start + 24, end))
    packed = values.get(IFA_LOCAL, values.get(IFA_ADDRESS, b""))
    single = family in AF.values() and scope != _SCOPE_LINK and packed and length == 8 * len(packed)
    return index, address(packed) if single else None


def encoded(index: int, changes: Sequence[Change], *, number: int) -> bytes:
    """Messages for changes of entries, numbered from ``number`` on."""
    return b"".join(_encoded(index, one, number=number + place) for place, one in enumerate(changes))


def _encoded(index: int, change: Change, *, number: int) -> bytes:
    entry = change.entry
    if isinstance(entry, Neighbour):
        head = NDM.pack(AF[family_of(entry.address)], index, _NUD_PERMANENT, 0, 0)
        values = attribute(_NDA_DST, entry.address.packed)
        if not change.remove:
            values += attribute(_NDA_LLADDR, _packed(entry.mac)) + attribute(_NDA_PROTOCOL, bytes((PROTOCOL,)))
    else:
        head = NDM.pack(AF_BRIDGE, index, _NUD_PERMANENT, _NTF_SELF, 0)
        values = attribute(_NDA_LLADDR, _packed(entry.mac))
        if not change.remove:
            values += attribute(_NDA_DST, entry.node.packed)
    kind, flags = (RTM_DELNEIGH, 0) if change.remove else (RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE)
    length = HEADER.size + len(head) + len(values)
    return HEADER.pack(length, kind, NLM_F_REQUEST | flags, number, 0) + head + values


def read_neighbour(data: bytes, start: int, end: int) -> tuple[int, Address, str | None] | None:
    """Device, address and MAC of a neighbour, None in place of the MAC of one that is not permanent or not ours; None: no such thing."""
    family, index, state, _, _ = NDM.unpack_from(data, start + 16)
    values = dict(attributes(data, start + 16 + NDM.size, end))
    if family not in AF.values() or _NDA_DST not in values:
        return None
    permanent = state & _NUD_PERMANENT and values.get(_NDA_PROTOCOL) == bytes((PROTOCOL,))
    mac = values.get(_NDA_LLADDR, b"").hex(":") if permanent else None
    return index, address(values[_NDA_DST]), mac


def read_forwarding(data: bytes, start: int, end: int) -> tuple[int, str, Address | None] | None:
    """Device, MAC and node of a permanent forwarding entry, None in place of the node where it says more than that; None: no such thing."""
    family, index, state, flags, _ = NDM.unpack_from(data, start + 16)
    values = dict(attributes(data, start + 16 + NDM.size, end))
    mac = values.get(_NDA_LLADDR, b"")
    if family != AF_BRIDGE or not flags & _NTF_SELF or not state & _NUD_PERMANENT or not any(mac):
        return None
    plain = _NDA_DST in values and not values.keys() & {_NDA_PORT, _NDA_VNI, NDA_IFINDEX}
    return index, mac.hex(":"), address(values[_NDA_DST]) if plain else None


def _packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))

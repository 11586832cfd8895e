"""The next hops that paths have, and what they are known by."""

from ipaddress import IPv4Address, IPv6Address

from towpath.bgp.attributes import is_link_local
from towpath.bgp.path import NextHop
from towpath.model.net import Address, scoped, zone_of


def hop_key(address: Address) -> bytes:
    """What a next hop is known by: its bytes, and of a link-local one the device as well."""
    return address.packed + zone_of(address).encode()


class NextHops:
    """The next hops that paths have, shared by all sessions. A key is an address, packed, and a device (``hop_key``)."""

    def __init__(self) -> None:
        self.known: dict[bytes, NextHop] = {}
        self.own: frozenset[bytes] = frozenset()
        """Our own addresses."""
        self.nodes: dict[bytes, str] = {}
        """Addresses of nodes of ours."""
        self.begun = 0
        """How often a session began to use one, known before or not."""

    def get(self, packed: bytes, *, device: str = "") -> NextHop:
        """The next hop with this address; ``device``: the one whose link a link-local address is on."""
        self.begun += 1
        key = packed + device.encode()
        hop = self.known.get(key)
        if hop is None:
            hop = self.known[key] = NextHop(_address(packed, device), interface=device)
        return hop


def _address(packed: bytes, device: str) -> Address:
    if len(packed) == 4:
        return IPv4Address(packed)
    address = IPv6Address(packed)
    return scoped(address, device) if device else address


def counting(told: bytes, *, on_link: bool) -> bytes:
    """The one that counts of the next hops in MP_REACH_NLRI (RFC 2545 §3, RFC 8950 §4).

    Where two are told the second is link-local. It counts where it is known on which link the peer is (``on_link``): the
    first one may be unspecified (BIRD), the same (FRR), or an address that no route leads to.
    """
    if len(told) != 32:
        return told
    return told[16:] if on_link and is_link_local(told[16:]) else told[:16]

"""Addresses and prefixes: the standard library's types, their wire form, and the names made of them.

Values are ``ipaddress`` objects everywhere off the hot path. On it a prefix is its BGP wire form (RFC 4271 §4.3:
one byte of length, then as few bytes as that length needs), which is unique within a family: tables are per family.
"""

import enum
from abc import ABCMeta
from collections.abc import Iterator
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    Address = IPv4Address | IPv6Address
    Prefix = IPv4Network | IPv6Network
    Interface = IPv4Interface | IPv6Interface
else:
    # At run time one abstract class each: msgspec takes one custom type a field, not a union of two, and isinstance
    # works for both families.
    class Address(metaclass=ABCMeta):  # noqa: B024  # registered types, no methods of its own
        """An IPv4 or IPv6 address."""

    class Prefix(metaclass=ABCMeta):  # noqa: B024  # registered types, no methods of its own
        """An IPv4 or IPv6 network, host bits zero."""

    class Interface(metaclass=ABCMeta):  # noqa: B024  # registered types, no methods of its own
        """An IPv4 or IPv6 address with its prefix length."""

    for _family_types in ((IPv4Address, IPv4Network, IPv4Interface), (IPv6Address, IPv6Network, IPv6Interface)):
        for _abstract, _concrete in zip((Address, Prefix, Interface), _family_types, strict=True):
            _abstract.register(_concrete)

WirePrefix = NewType("WirePrefix", bytes)
"""A prefix as BGP sends it, without path identifier: 1 to 5 bytes for IPv4, 1 to 17 for IPv6."""


class Family(enum.IntEnum):
    """An address family; the value is the IP version."""

    IPV4 = 4
    IPV6 = 6

    @property
    def afi(self) -> int:
        """The IANA address family number (RFC 4760)."""
        return 1 if self is Family.IPV4 else 2

    @property
    def bits(self) -> int:
        """Length of an address in bits."""
        return 32 if self is Family.IPV4 else 128

    @property
    def key(self) -> str:
        """The name in objects and output: ``ipv4`` or ``ipv6``."""
        return f"ipv{self.value}"


def parse_address(text: str) -> Address:
    """Parse an address without zone; ``ValueError`` says what is wrong with it."""
    _refuse_zone(text)
    return _not_mapped(ip_address(text))


def parse_scoped(text: str) -> Address:
    """Parse an address that may be link-local with the device whose link it is on: ``fe80::1%eth0`` (RFC 4007 §11)."""
    address, zone, device = text.partition("%")
    return scoped(parse_address(address), device) if zone else parse_address(text)


def scoped(address: Address, device: str) -> Address:
    """An IPv6 address on the link of a device: another one than the same address on another link."""
    return IPv6Address(f"{address}%{device}")


def zone_of(address: Address) -> str:
    """The device whose link a link-local address is on; empty where the address says so itself."""
    return getattr(address, "scope_id", None) or ""


def unscoped(address: Address) -> Address:
    """The address alone, without the device."""
    return IPv6Address(address.packed) if zone_of(address) else address


def parse_prefix(text: str) -> Prefix:
    """Parse a prefix whose host bits are zero; ``ValueError`` says what is wrong with it."""
    if "/" not in text:
        raise ValueError(f"{text!r} is not a prefix: it has no length")
    _refuse_zone(text)
    _refuse_mask(text)
    prefix = ip_network(text)
    _not_mapped(prefix.network_address)
    return prefix


def parse_interface(text: str) -> Interface:
    """Parse an address with or without prefix length; without one it is a /32 or /128."""
    _refuse_zone(text)
    _refuse_mask(text)
    interface = ip_interface(text)
    _not_mapped(interface.ip)
    return interface


def _refuse_zone(text: str) -> None:
    if "%" in text:
        raise ValueError(f"{text!r} carries a zone, which is not allowed here")


def _refuse_mask(text: str) -> None:
    """Refuse a netmask or leading zeros after the slash, as the API server does; the standard library takes both."""
    length = text.partition("/")[2]
    if length and str(int(length) if length.isdecimal() else "") != length:
        raise ValueError(f"{text!r} has {length!r} for a prefix length")


def _not_mapped(address: Address) -> Address:
    """An address that is written one way only: ``::ffff:10.0.0.1`` is 10.0.0.1 to the kernel, and two keys to us."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"{str(address)!r} is an IPv4 address written as IPv6")
    return address


def family_of(value: Address | Prefix) -> Family:
    """The family of an address, interface or prefix."""
    return Family.IPV4 if value.version == 4 else Family.IPV6


def to_wire(prefix: Prefix) -> WirePrefix:
    """The BGP wire form of a prefix."""
    length = prefix.prefixlen
    return WirePrefix(bytes((length,)) + prefix.network_address.packed[: (length + 7) >> 3])


def from_wire(family: Family, wire: bytes) -> Prefix:
    """The prefix of a wire form; host bits beyond the length are cleared, as receivers must (RFC 4271 §4.3)."""
    length = wire[0]
    size = family.bits // 8
    packed = wire[1:].ljust(size, b"\0")
    if family is Family.IPV4:
        return IPv4Network((packed, length), strict=False)
    return IPv6Network((packed, length), strict=False)


def split_wire(packed: bytes) -> Iterator[WirePrefix]:
    """Split concatenated wire prefixes; the caller vouches for their lengths."""
    position, end = 0, len(packed)
    while position < end:
        following = position + 1 + ((packed[position] + 7) >> 3)
        yield WirePrefix(packed[position:following])
        position = following


def overlaps(one: Prefix, other: Prefix) -> bool:
    """Whether two prefixes share an address; prefixes of different families never do."""
    return one.version == other.version and one.overlaps(other)


def parts(prefix: Prefix, *, length: int) -> int:
    """How many prefixes of a length, its own or a longer one, it can be cut into."""
    return 1 << (length - prefix.prefixlen)


def contains(outer: Prefix, inner: Prefix) -> bool:
    """Whether ``inner`` lies in ``outer`` or equals it."""
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # same version was just seen


def block_name(prefix: Prefix) -> str:
    """The object name of a block: its canonical CIDR with ``.``, ``:`` and ``/`` as dashes (RULES: blocks)."""
    return str(prefix).replace(".", "-").replace(":", "-").replace("/", "-")


def address_name(address: Address) -> str:
    """The object name of a single address: its canonical form with ``.`` and ``:`` as dashes."""
    return str(address).replace(".", "-").replace(":", "-")


def host_prefix(address: Address) -> Prefix:
    """The /32 or /128 of an address."""
    return ip_network(address)

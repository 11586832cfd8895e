"""The values that fields hold beyond numbers and strings: how each is written, read and described to the API server.

Every type here parses from its JSON form (``ValueError`` with a sentence for the user) and prints back to it.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Annotated, Any

from msgspec import Meta as Field

from towpath.model.community import PATTERN as COMMUNITY_PATTERN
from towpath.model.community import Community
from towpath.model.net import Address, Interface, Prefix, parse_address, parse_interface, parse_prefix
from towpath.model.selector import MAX_LENGTH, Selector, parse_selector

MAX_AS = 4294967294
_OCTET = "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
IPV4_TEXT = rf"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]?)(\.{_OCTET}){{3}}"
"""A pattern for four decimal bytes of which the first is not zero, in the syntax of Python and of RE2."""
RESERVED_AS = frozenset({0, 23456, 65535})
_DURATION = re.compile(r"(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,5})s)?")
InterfaceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,14}$")]


class ASNumber(int):
    """An autonomous system number (RFC 6793): an integer or dotted ``high.low``; reserved numbers are refused."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "ASNumber":
        """Read an integer, its decimal text or ``high.low`` (RFC 5396 asdot+)."""
        number = parse_as_number(value)
        if number > MAX_AS or number in RESERVED_AS:
            raise ValueError(f"{value} is not usable as an AS number: 1 to {MAX_AS} without 23456 and 65535")
        return cls(number)


def parse_as_number(value: object) -> int:
    """Any number of four bytes that can stand in an AS path, reserved ones included."""
    text = str(value)
    if isinstance(value, bool | float) or not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,5})?", text):
        raise ValueError(f"{value!r} is not an AS number: an integer or dotted high.low")
    high, dot, low = text.partition(".")
    if dot and (int(high) > 65535 or int(low) > 65535):
        raise ValueError(f"{text!r} is not an AS number: each half is 0 to 65535")
    number = (int(high) << 16) + int(low) if dot else int(text)
    if number > 0xFFFFFFFF:
        raise ValueError(f"{text} is not an AS number: it has more than four bytes")
    return number


class Duration(int):
    """Whole seconds, written as Kubernetes writes durations: ``90s``, ``5m``, ``1h30m``."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "Duration":
        """Read a duration of whole seconds."""
        match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
        if match is None:
            raise ValueError(f"{value!r} is not a duration of whole seconds such as 90s, 5m or 1h30m")
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return cls(hours * 3600 + minutes * 60 + seconds)

    def __str__(self) -> str:
        return f"{int(self)}s"


class PeerIP:
    """The address of a peer, with a port where one is written: ``ip``, ``ip:port``, ``[v6]:port``.

    A class of its own and no ``Struct``: msgspec would read a struct from an object, and this is written as text.
    """

    __slots__ = ("address", "port")

    def __init__(self, address: Address, port: int | None = None) -> None:
        self.address = address
        self.port = port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PeerIP) and (self.address, self.port) == (other.address, other.port)

    def __hash__(self) -> int:
        return hash((self.address, self.port))

    def __repr__(self) -> str:
        return f"PeerIP({str(self)!r})"

    @classmethod
    def parse(cls, value: object) -> "PeerIP":
        """Read an address, alone or with a port."""
        text = str(value)
        match = re.fullmatch(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]:([0-9]{1,5})", text) or re.fullmatch(
            r"([0-9.]+):([0-9]{1,5})", text
        )
        try:
            address = parse_address(match[1] if match else text)
        except ValueError:
            raise ValueError(f"{text!r} is no peer address: ip, ip:port or [v6]:port, never a name") from None
        if address.is_unspecified or address.is_multicast:
            raise ValueError(f"{text!r} is no peer address: nobody answers there")
        if match is None:
            return cls(address)
        if not 1 <= int(match[2]) <= 65535:
            raise ValueError(f"{text!r} has a port outside 1 to 65535")
        return cls(address, int(match[2]))

    def __str__(self) -> str:
        if self.port is None:
            return str(self.address)
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def _written(parse: Callable[[str], object]) -> Callable[[object], object]:
    """A parser of text that refuses numbers and the like (``ipaddress`` takes an integer for an address)."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} must be written as text")  # noqa: TRY004  # a user's mistake, as all parsers report it
        return parse(value)

    return read


PARSERS: dict[Any, Callable[[Any], object]] = {
    IPv4Address: _written(IPv4Address),
    Address: _written(parse_address),
    Prefix: _written(parse_prefix),
    Interface: _written(parse_interface),
    ASNumber: ASNumber.parse,
    Duration: Duration.parse,
    PeerIP: PeerIP.parse,
    Selector: parse_selector,
    Community: Community.parse,
}
"""How each type is read from JSON; every parser raises ``ValueError`` with a sentence."""

_AS_IN_RANGE = "{0} >= 1 && {0} <= 4294967294 && {0} != 23456 && {0} != 65535"
_DOTTED = "(int(string(self).split('.')[0]) * 65536 + int(string(self).split('.')[1]))"
_NOBODY = r"^(0[.]0[.]0[.]0(:|$)|(22[4-9]|23[0-9])[.]|[[]?[0:]*:[0:]*([]]|$)|[[]?[fF]{2}[0-9a-fA-F]{2}:)"
"""Unspecified and multicast addresses, with or without a port."""
_PORT_IN_RANGE = "int({0}) >= 1 && int({0}) <= 65535"
_PORT_AFTER_COLON = _PORT_IN_RANGE.format("self.split(':')[1]")
_PORT_AFTER_BRACKET = _PORT_IN_RANGE.format("self.split(']:')[1]")


def _said(cel: str, message: str) -> list[dict[str, str]]:
    return [{"rule": cel, "message": message}]


SCHEMAS: dict[Any, dict[str, Any]] = {
    IPv4Address: {
        "type": "string",
        "maxLength": 15,
        "x-kubernetes-validations": _said("isIP(self) && ip(self).family() == 4", "must be an IPv4 address"),
    },
    Address: {
        "type": "string",
        "maxLength": 45,
        "x-kubernetes-validations": _said("isIP(self)", "must be an IPv4 or IPv6 address"),
    },
    Prefix: {
        "type": "string",
        "maxLength": 49,
        "x-kubernetes-validations": _said(
            "isCIDR(self) && cidr(self) == cidr(self).masked()", "must be a CIDR whose host bits are zero"
        ),
    },
    Interface: {
        "type": "string",
        "maxLength": 49,
        "x-kubernetes-validations": _said(
            "isCIDR(self) || isIP(self)", "must be an address, with or without prefix length"
        ),
    },
    ASNumber: {
        "x-kubernetes-int-or-string": True,
        "maxLength": 16,
        "pattern": r"^[0-9]{1,10}(\.[0-9]{1,5})?$",
        "x-kubernetes-validations": _said(
            f"type(self) == int ? {_AS_IN_RANGE.format('int(self)')}"
            " : !string(self).matches('^[0-9]{1,10}([.][0-9]{1,5})?$')"
            f" || (string(self).contains('.') ? {_AS_IN_RANGE.format(_DOTTED)}"
            " && int(string(self).split('.')[0]) <= 65535 && int(string(self).split('.')[1]) <= 65535"
            f" : {_AS_IN_RANGE.format('int(string(self))')})",
            f"must be an AS number: 1 to {MAX_AS} without 23456 and 65535",
        ),
    },
    Duration: {
        "type": "string",
        "minLength": 2,
        "maxLength": 18,
        "pattern": r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$",
    },
    PeerIP: {
        "type": "string",
        "maxLength": 53,
        "x-kubernetes-validations": _said(
            "isIP(self)"
            " || (self.matches('^[0-9.]+:[0-9]{1,5}$') && isIP(self.split(':')[0])"
            f" && {_PORT_AFTER_COLON})"
            " || (self.matches('^[[][0-9a-fA-F:.]*:[0-9a-fA-F:.]*[]]:[0-9]{1,5}$') && isIP(self.split(']:')[0].substring(1))"
            f" && {_PORT_AFTER_BRACKET})",
            "must be ip, ip:port or [v6]:port, never a name",
        )
        + _said(f"!self.matches('{_NOBODY}')", "must be an address where somebody answers"),
    },
    Selector: {"type": "string", "maxLength": MAX_LENGTH},
    Community: {"type": "string", "maxLength": 32, "pattern": COMMUNITY_PATTERN},
}
"""How each type is described to the API server, as far as its schema and CEL can tell."""

"""The values that fields hold beyond numbers and strings: how each is written, read and described to the API server.

Every type here parses from its JSON form (``ValueError`` with a sentence for the user) and prints back to it.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from towpath.model.net import Address, Interface, Prefix, parse_address, parse_interface, parse_prefix
from towpath.model.selector import Selector, parse_selector

MAX_AS = 4294967294
RESERVED_AS = frozenset({0, 23456, 65535})
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class ASNumber(int):
    """An autonomous system number (RFC 6793): an integer or dotted ``high.low``; reserved numbers are refused."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "ASNumber":
        """Read an integer, its decimal text or ``high.low`` (RFC 5396 asdot+)."""
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,10}(\.\d{1,5})?", text):
            raise ValueError(f"{value!r} is not an AS number: an integer or dotted high.low")
        high, dot, low = text.partition(".")
        if dot and (int(high) > 65535 or int(low) > 65535):
            raise ValueError(f"{text!r} is not an AS number: each half is 0 to 65535")
        number = (int(high) << 16) + int(low) if dot else int(text)
        if number > MAX_AS or number in RESERVED_AS:
            raise ValueError(f"{text} is not usable as an AS number: 1 to {MAX_AS} without 23456 and 65535")
        return cls(number)


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
        match = re.fullmatch(r"\[([^\]]+)\]:(\d+)", text) or re.fullmatch(r"([^:\[\]]+):(\d+)", text)
        try:
            address = parse_address(match[1] if match else text)
        except ValueError:
            raise ValueError(f"{text!r} is no peer address: ip, ip:port or [v6]:port, never a name") from None
        if match is None:
            return cls(address)
        if not 1 <= int(match[2]) <= 65535:
            raise ValueError(f"{text!r} has a port outside 1 to 65535")
        return cls(address, int(match[2]))

    def __str__(self) -> str:
        if self.port is None:
            return str(self.address)
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


PARSERS: dict[Any, Callable[[Any], object]] = {
    IPv4Address: IPv4Address,
    Address: parse_address,
    Prefix: parse_prefix,
    Interface: parse_interface,
    ASNumber: ASNumber.parse,
    Duration: Duration.parse,
    PeerIP: PeerIP.parse,
    Selector: parse_selector,
}
"""How each type is read from JSON; every parser raises ``ValueError`` with a sentence."""

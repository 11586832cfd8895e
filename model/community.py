"""BGP communities: ``aa:nn`` (RFC 1997), ``aa:nn:mm`` (RFC 8092) and the well-known ones by name; one value for both kinds.

What ``aa:nn`` means on the wire is four bytes of COMMUNITIES, ``aa:nn:mm`` twelve bytes of LARGE_COMMUNITY.
"""

import re
from typing import Final

WELL_KNOWN: Final = {
    "graceful-shutdown": 0xFFFF0000,
    "accept-own": 0xFFFF0001,
    "llgr-stale": 0xFFFF0006,
    "no-llgr": 0xFFFF0007,
    "blackhole": 0xFFFF029A,
    "no-export": 0xFFFFFF01,
    "no-advertise": 0xFFFFFF02,
    "no-export-subconfed": 0xFFFFFF03,
    "no-peer": 0xFFFFFF04,
}
"""IANA's registry of well-known communities; names may also be written as ``NO_EXPORT``."""
_U16: Final = "(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_U32: Final = (
    "(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}"
    "|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])"
)
_NAMES: Final = "|".join((*WELL_KNOWN, *(name.upper().replace("-", "_") for name in WELL_KNOWN)))
PATTERN: Final = f"^({_U16}:{_U16}|{_U32}:{_U32}:{_U32}|{_NAMES})$"
"""What can be written, in the syntax of Python and of RE2."""
_WRITTEN: Final = re.compile(PATTERN)


class Community:
    """One community; ``wire`` is its four or twelve bytes. Prints as numbers, whatever it was written as.

    A class of its own and no ``Struct``: msgspec would read a struct from an object, and this is written as text.
    """

    __slots__ = ("wire",)

    def __init__(self, wire: bytes) -> None:
        self.wire = wire

    @classmethod
    def parse(cls, value: object) -> "Community":
        """Read ``aa:nn``, ``aa:nn:mm`` or a well-known name."""
        if not isinstance(value, str) or not _WRITTEN.match(value) or value.endswith("\n"):
            raise ValueError(f"{value!r} is no community: aa:nn, aa:nn:mm or a well-known name such as no-export")
        known = WELL_KNOWN.get(value.lower().replace("_", "-"))
        if known is not None:
            return cls(known.to_bytes(4, "big"))
        numbers = [int(part) for part in value.split(":")]
        width = 2 if len(numbers) == 2 else 4
        return cls(b"".join(number.to_bytes(width, "big") for number in numbers))

    @property
    def large(self) -> bool:
        """Whether it goes in LARGE_COMMUNITY."""
        return len(self.wire) == 12

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Community) and self.wire == other.wire

    def __hash__(self) -> int:
        return hash(self.wire)

    def __lt__(self, other: "Community") -> bool:
        return (len(self.wire), self.wire) < (len(other.wire), other.wire)

    def __str__(self) -> str:
        width = 4 if self.large else 2
        return ":".join(
            str(int.from_bytes(self.wire[at : at + width], "big")) for at in range(0, len(self.wire), width)
        )

    def __repr__(self) -> str:
        return f"Community({str(self)!r})"

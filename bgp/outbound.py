"""What one session is told, as UPDATE messages: the difference to what was sent before.

Prefixes are kept beside the attributes that they were sent with (``sent``). A change only marks prefixes as pending; what they
are to be told, and the messages, are made when the engine pulls, so a slow peer gets the newest state and none of those
in between. After a session comes up everything is pending, and End-of-RIB follows each family's first complete dump
(RFC 4724 §4: our own announcements are whole from the start, there is nothing to wait for).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from towpath.bgp.attributes import is_link_local
from towpath.bgp.carried import attribute
from towpath.bgp.identified import IDENTIFIER
from towpath.bgp.ports import Negotiated
from towpath.bgp.sent import Difference, Encoded, Sent, SentPaths, SentPrefixes
from towpath.model.net import Family, family_of

MARKER: Final = b"\xff" * 16
HEADER: Final = 19
UPDATE: Final = 2
ROUTE_REFRESH: Final = 5
OVERHEAD: Final = HEADER + 4
"""Header and both length fields of an UPDATE."""
LOOKS: Final = 20_000
"""So many prefixes are looked at in one pull, even where nothing is to be said of them."""
_SMALLEST_WIRE: Final = 4
"""Bytes of a short prefix: more of them than ``limit`` holds need not be looked at."""

Tell = Callable[[Family, Sequence[bytes]], Iterable[tuple[tuple[Encoded, ...], Sequence[bytes]]]]
"""What prefixes are to be told with, all of them in groups: more than one thing only with path identifiers; empty: nothing."""

Made = dict[tuple[int, Family, Encoded, tuple[bytes, ...]], tuple[bytes, int]]
"""Messages made of late, for all sessions: those that are told the same share the bytes."""
SHARED: Final = 64
"""More prefixes than these are no trouble to pack again, but to compare."""
REMEMBERED: Final = 4096
"""Messages that are remembered at a time."""


def message(withdrawn: bytes, attributes: bytes, announced: bytes) -> bytes:
    """One UPDATE message (RFC 4271 §4.3)."""
    size = OVERHEAD + len(withdrawn) + len(attributes) + len(announced)
    return b"".join(
        (
            MARKER,
            size.to_bytes(2, "big"),
            bytes((UPDATE,)),
            len(withdrawn).to_bytes(2, "big"),
            withdrawn,
            len(attributes).to_bytes(2, "big"),
            attributes,
            announced,
        )
    )


def end_of_rib(family: Family) -> bytes:
    """The End-of-RIB marker (RFC 4724 §2)."""
    if family is Family.IPV4:
        return message(b"", b"", b"")
    return message(b"", attribute(0x80, 15, family.afi.to_bytes(2, "big") + b"\x01"), b"")


def in_reach(negotiated: Negotiated, family: Family) -> bool:
    """Whether prefixes of a family go in MP_REACH_NLRI and MP_UNREACH_NLRI: IPv4 does where its next hop may be IPv6."""
    return family is Family.IPV6 or negotiated.ipv6_next_hops


def own_next_hop(negotiated: Negotiated, family: Family) -> bytes:
    """Ourselves as the next hop of a family, packed; empty: our end of the session is none.

    A link-local address takes the place of the global one too (RFC 2545 §3 has no word for a link without any), as others
    do on such links.
    """
    packed = negotiated.local_address.packed
    own = family_of(negotiated.local_address)
    if own is not family and not (own is Family.IPV6 and negotiated.ipv6_next_hops):
        return b""
    return packed + packed if is_link_local(packed) else packed


def route_refresh(family: Family) -> bytes:
    """A ROUTE-REFRESH message (RFC 2918 §3): the peer is asked to send a family again."""
    body = family.afi.to_bytes(2, "big") + b"\0\x01"
    return MARKER + (HEADER + len(body)).to_bytes(2, "big") + bytes((ROUTE_REFRESH,)) + body


class AdjRibOut:
    """What one established session was told and what it is yet to be told. Prefixes are in wire form."""

    def __init__(self, negotiated: Negotiated, tell: Tell, made: Made, *, holding: bool) -> None:
        self._size = negotiated.message_size
        self._tell = tell
        self._made = made
        self.holding = holding
        """End-of-RIB is held back: more is to be told that is not known yet."""
        self.carried = frozenset(negotiated.families)
        self._sent: dict[Family, Sent] = {
            family: SentPaths() if family in negotiated.paths_told else SentPrefixes() for family in negotiated.families
        }
        self._pending: dict[Family, dict[bytes, None]] = {family: {} for family in negotiated.families}
        self._owed: set[Family] = set(negotiated.families)
        self._in_reach = frozenset(family for family in Family if in_reach(negotiated, family))

    @property
    def announced(self) -> int:
        """Prefixes that the peer was told."""
        return sum(map(len, self._sent.values()))

    def told(self, family: Family) -> Sent:
        """What the peer was told of a family."""
        return self._sent.get(family, SentPrefixes())

    @property
    def waiting(self) -> bool:
        """Whether ``pull`` has something to look at."""
        return bool(self._owed and not self.holding) or any(self._pending.values())

    def touch(self, family: Family, wires: Iterable[bytes]) -> None:
        """These prefixes may have changed."""
        if family in self.carried:
            self._pending[family].update(dict.fromkeys(wires))

    def look_again(self) -> None:
        """Whatever was sent may be said otherwise now."""
        for family in self.carried:
            self.touch(family, self._sent[family].prefixes())

    def resend(self, family: Family) -> None:
        """Forget what was sent of a family and send it again (RFC 2918)."""
        if family in self.carried:
            self.touch(family, self._sent[family].prefixes())
            self._sent[family].forget()

    def pull(self, *, limit: int) -> bytes:
        """Messages of about ``limit`` bytes; what does not fit, or was not looked at yet, stays pending."""
        messages: list[bytes] = []
        room, looks = limit, LOOKS
        for family, pending in self._pending.items():
            while pending and room > 0 and looks > 0:
                # no more than may fit: what is looked at in vain is looked at again
                some = list(islice(pending, limit // _SMALLEST_WIRE + 1))
                looks -= len(some)
                for wire in some:
                    del pending[wire]
                room = self._some(family, some, room=room, messages=messages)
            if not pending:
                pending.clear()  # a dictionary that was emptied piece by piece keeps its size
            if not pending and family in self._owed and not self.holding and room > 0:
                self._owed.discard(family)
                messages.append(end_of_rib(family))
        return b"".join(messages)

    def _some(self, family: Family, wires: list[bytes], *, room: int, messages: list[bytes]) -> int:
        """Add messages for these prefixes while there is room; the others are pending again. Returns the room left."""
        sent = self._sent[family]
        difference = Difference()
        # longer attributes than the peer takes beside one prefix stay here (RFC 8654 §4)
        longest = self._size - OVERHEAD - 10 - IDENTIFIER - family.bits // 8
        told_of: list[tuple[tuple[Encoded, ...], Sequence[bytes]]] = []
        for told, some in self._tell(family, wires):
            fitting = told
            if any(len(hop) + len(block) > longest for hop, block in told):
                fitting = tuple((hop, block) for hop, block in told if len(hop) + len(block) <= longest)
            sent.compare(fitting, some, difference)
            told_of.append((fitting, some))
        unsent: list[bytes] = []
        for encoded, rest in difference.announce.items():
            if len(rest) <= SHARED and room > 0:
                made, count = self._shared(family, encoded, rest)
                messages.append(made)
                room -= len(made)
                sent.announced(encoded, rest[:count])
                del rest[:count]
            while rest and room > 0:
                made, count = self._announcement(family, encoded, rest)
                messages.append(made)
                room -= len(made)
                sent.announced(encoded, rest[:count])
                del rest[:count]
            unsent += rest
        withdraw = difference.withdraw
        while withdraw and room > 0:
            made, count = self._withdrawal(family, withdraw)
            messages.append(made)
            room -= len(made)
            sent.withdrawn(withdraw[:count])
            del withdraw[:count]
        left = dict.fromkeys(sent.wires(unsent + withdraw))
        for told, some in told_of:
            sent.settled(told, some if not left else [wire for wire in some if wire not in left])
        self._pending[family].update(left)
        return room

    def farewell(self) -> bytes:
        """Withdrawals of all that was sent; nothing is pending afterwards."""
        messages: list[bytes] = []
        for family, sent in self._sent.items():
            withdraw = sent.all()
            while withdraw:
                made, count = self._withdrawal(family, withdraw)
                messages.append(made)
                withdraw = withdraw[count:]
            sent.clear()
            self._pending[family].clear()
        self._owed.clear()
        return b"".join(messages)

    def _shared(self, family: Family, encoded: Encoded, wires: list[bytes]) -> tuple[bytes, int]:
        """``_announcement`` for few prefixes: a message that another session was sent is not made again."""
        key = self._size, family, encoded, tuple(wires)
        known = self._made.get(key)
        if known is None:
            if len(self._made) >= REMEMBERED:
                self._made.clear()
            known = self._made[key] = self._announcement(family, encoded, wires)
        return known

    def _announcement(self, family: Family, encoded: Encoded, wires: list[bytes]) -> tuple[bytes, int]:
        """One message with as many of the prefixes as it holds, and how many those are."""
        next_hop, block = encoded
        size = self._size - OVERHEAD - len(block)
        if family not in self._in_reach:
            packed, count = _pack(wires, size)
            return message(b"", block, packed), count
        head = family.afi.to_bytes(2, "big") + b"\x01" + bytes((len(next_hop),)) + next_hop + b"\0"
        packed, count = _pack(wires, size - len(head) - 4)
        return message(b"", attribute(0x80, 14, head + packed) + block, b""), count

    def _withdrawal(self, family: Family, wires: list[bytes]) -> tuple[bytes, int]:
        size = self._size - OVERHEAD
        if family not in self._in_reach:
            packed, count = _pack(wires, size)
            return message(packed, b"", b""), count
        packed, count = _pack(wires, size - 7)
        return message(b"", attribute(0x80, 15, family.afi.to_bytes(2, "big") + b"\x01" + packed), b""), count


def _pack(wires: list[bytes], size: int) -> tuple[bytes, int]:
    """As many wire prefixes as fit, and how many those are."""
    longest = len(max(wires[: size // 2 + 1], key=len))
    count = min(len(wires), size // longest)
    room = size - sum(map(len, wires[:count]))
    while count < len(wires) and len(wires[count]) <= room:
        room -= len(wires[count])
        count += 1
    return b"".join(wires[:count]), count

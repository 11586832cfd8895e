"""What one session is told: announcements as UPDATE messages, the difference to what was sent before.

Prefixes are kept beside the attribute block that they were sent with. A change only marks prefixes as pending; messages
are made when the engine pulls, so a slow peer gets the newest state and none of those in between. After a session comes
up everything is pending, and End-of-RIB follows each family's first complete dump (RFC 4724 §4: our own announcements
are whole from the start, there is nothing to wait for).
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from towpath.bgp.attributes import AS_TRANS
from towpath.bgp.ports import Negotiated
from towpath.model.net import Family, Prefix, family_of, to_wire
from towpath.model.speaker import Announcement

MARKER: Final = b"\xff" * 16
HEADER: Final = 19
UPDATE: Final = 2
OVERHEAD: Final = HEADER + 4
"""Header and both length fields of an UPDATE."""
_SMALLEST_WIRE: Final = 4
"""Bytes of a short prefix: more of them than ``limit`` holds need not be looked at."""


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


def attribute(flags: int, kind: int, value: bytes) -> bytes:
    """One path attribute, with a two-byte length where one byte is too short."""
    if len(value) < 256:
        return bytes((flags, kind, len(value))) + value
    return bytes((flags | 0x10, kind)) + len(value).to_bytes(2, "big") + value


def end_of_rib(family: Family) -> bytes:
    """The End-of-RIB marker (RFC 4724 §2)."""
    if family is Family.IPV4:
        return message(b"", b"", b"")
    return message(b"", attribute(0x80, 15, family.afi.to_bytes(2, "big") + b"\x01"), b"")


def attribute_block(announcement: Announcement, negotiated: Negotiated) -> bytes:
    """The attributes of an announcement of ours without its next hop, in ascending order of type."""
    local_as, ebgp = negotiated.local_as, negotiated.local_as != negotiated.peer_as
    block = attribute(0x40, 1, b"\0")
    as4 = b""
    if not ebgp:
        block += attribute(0x40, 2, b"")
    elif negotiated.four_octet_as:
        block += attribute(0x40, 2, b"\x02\x01" + local_as.to_bytes(4, "big"))
    else:
        block += attribute(0x40, 2, b"\x02\x01" + (local_as if local_as <= 0xFFFF else AS_TRANS).to_bytes(2, "big"))
        if local_as > 0xFFFF:
            as4 = attribute(0xC0, 17, b"\x02\x01" + local_as.to_bytes(4, "big"))
    if family_of(announcement.prefix) is Family.IPV4:
        block += attribute(0x40, 3, negotiated.local_address.packed)
    if not ebgp:
        block += attribute(0x40, 5, announcement.local_preference.to_bytes(4, "big"))
    plain, large = communities(announcement.communities)
    if plain:
        block += attribute(0xC0, 8, plain)
    block += as4
    if large:
        block += attribute(0xC0, 32, large)
    return block


def communities(names: Iterable[str]) -> tuple[bytes, bytes]:
    """Values of COMMUNITY (``aa:nn``, RFC 1997) and LARGE_COMMUNITY (``aa:nn:mm``, RFC 8092), sorted, each once."""
    plain: set[bytes] = set()
    large: set[bytes] = set()
    for name in names:
        numbers = [int(part) for part in name.split(":")]
        if len(numbers) == 2:
            plain.add(numbers[0].to_bytes(2, "big") + numbers[1].to_bytes(2, "big"))
        else:
            large.add(b"".join(number.to_bytes(4, "big") for number in numbers))
    return b"".join(sorted(plain)), b"".join(sorted(large))


class AdjRibOut:
    """What one established session was told and what it is yet to be told."""

    def __init__(self, negotiated: Negotiated) -> None:
        self._negotiated = negotiated
        own = family_of(negotiated.local_address)
        self._carried = frozenset(family for family in negotiated.families if family is own)
        self.uncarried: tuple[Family, ...] = tuple(f for f in negotiated.families if f is not own)
        """Families of the session for which our end of it gives no next hop: nothing can be announced in them."""
        self._blocks: dict[tuple[int, tuple[str, ...], Family], bytes] = {}
        self._sent: dict[Family, dict[Prefix, bytes]] = {family: {} for family in negotiated.families}
        self._pending: dict[Family, dict[Prefix, None]] = {family: {} for family in negotiated.families}
        self._owed: set[Family] = set(negotiated.families)

    @property
    def announced(self) -> int:
        """Prefixes that the peer was told."""
        return sum(map(len, self._sent.values()))

    @property
    def waiting(self) -> bool:
        """Whether ``pull`` has something to give."""
        return bool(self._owed) or any(self._pending.values())

    def touch(self, prefixes: Iterable[Prefix]) -> None:
        """These prefixes may have changed."""
        for prefix in prefixes:
            family = family_of(prefix)
            if family in self._carried:
                self._pending[family][prefix] = None

    def resend(self, family: Family, desired: Mapping[Prefix, Announcement]) -> None:
        """Forget what was sent of a family and send it again (RFC 2918)."""
        if family in self._carried:
            self._pending[family].update(dict.fromkeys(self._sent[family]))
            self._sent[family] = dict.fromkeys(self._sent[family], b"")
            self.touch(prefix for prefix in desired if family_of(prefix) is family)

    def pull(self, desired: Mapping[Prefix, Announcement], *, limit: int) -> bytes:
        """Messages of about ``limit`` bytes; what does not fit stays pending."""
        messages: list[bytes] = []
        room = limit
        for family, pending in self._pending.items():
            while pending and room > 0:
                # no more than may fit: what is looked at in vain is looked at again
                some = list(islice(pending, limit // _SMALLEST_WIRE + 1))
                for prefix in some:
                    del pending[prefix]
                room = self._some(family, some, desired, room=room, messages=messages)
            if not pending and family in self._owed and room > 0:
                self._owed.discard(family)
                messages.append(end_of_rib(family))
        return b"".join(messages)

    def _some(
        self,
        family: Family,
        prefixes: list[Prefix],
        desired: Mapping[Prefix, Announcement],
        *,
        room: int,
        messages: list[bytes],
    ) -> int:
        """Add messages for these prefixes while there is room; the others are pending again. Returns the room left."""
        announce: dict[bytes, list[Prefix]] = {}
        withdraw: list[Prefix] = []
        sent = self._sent[family]
        for prefix in prefixes:
            announcement = desired.get(prefix)
            if announcement is not None:
                block = self._block(announcement, family)
                if sent.get(prefix) != block:
                    announce.setdefault(block, []).append(prefix)
            elif prefix in sent:
                withdraw.append(prefix)
        unsent: list[Prefix] = []
        for block, rest in announce.items():
            while rest and room > 0:
                made, count = self._announcement(family, block, rest)
                messages.append(made)
                room -= len(made)
                sent.update(dict.fromkeys(rest[:count], block))
                del rest[:count]
            unsent += rest
        while withdraw and room > 0:
            made, count = self._withdrawal(family, withdraw)
            messages.append(made)
            room -= len(made)
            for prefix in withdraw[:count]:
                del sent[prefix]
            del withdraw[:count]
        self._pending[family].update(dict.fromkeys(unsent + withdraw))
        return room

    def farewell(self) -> bytes:
        """Withdrawals of all that was sent; nothing is pending afterwards."""
        messages: list[bytes] = []
        for family, sent in self._sent.items():
            withdraw = list(sent)
            while withdraw:
                made, count = self._withdrawal(family, withdraw)
                messages.append(made)
                withdraw = withdraw[count:]
            sent.clear()
            self._pending[family].clear()
        self._owed.clear()
        return b"".join(messages)

    def _block(self, announcement: Announcement, family: Family) -> bytes:
        key = (announcement.local_preference, announcement.communities, family)
        block = self._blocks.get(key)
        if block is None:
            if len(self._blocks) >= 1024:
                self._blocks.clear()
            block = self._blocks[key] = attribute_block(announcement, self._negotiated)
        return block

    def _announcement(self, family: Family, block: bytes, prefixes: list[Prefix]) -> tuple[bytes, int]:
        """One message with as many of the prefixes as it holds, and how many those are."""
        size = self._negotiated.message_size - OVERHEAD - len(block)
        if family is Family.IPV4:
            packed, count = _pack(prefixes, size)
            return message(b"", block, packed), count
        next_hop = self._negotiated.local_address.packed
        head = family.afi.to_bytes(2, "big") + b"\x01" + bytes((len(next_hop),)) + next_hop + b"\0"
        packed, count = _pack(prefixes, size - len(head) - 4)
        return message(b"", attribute(0x80, 14, head + packed) + block, b""), count

    def _withdrawal(self, family: Family, prefixes: list[Prefix]) -> tuple[bytes, int]:
        size = self._negotiated.message_size - OVERHEAD
        if family is Family.IPV4:
            packed, count = _pack(prefixes, size)
            return message(packed, b"", b""), count
        packed, count = _pack(prefixes, size - 7)
        return message(b"", attribute(0x80, 15, family.afi.to_bytes(2, "big") + b"\x01" + packed), b""), count


def _pack(prefixes: list[Prefix], size: int) -> tuple[bytes, int]:
    """As many wire prefixes as fit, and how many those are."""
    wires: list[bytes] = []
    for prefix in prefixes:
        wire = to_wire(prefix)
        size -= len(wire)
        if size < 0:
            break
        wires.append(wire)
    return b"".join(wires), len(wires)

"""One session's receiving side: UPDATE bodies in, cut apart and handed to the receivers of their families.

Why it is fast is told in ``receive``.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from typing import Final

from towpath.bgp import alike
from towpath.bgp.layers import Layers
from towpath.bgp.ports import SessionError
from towpath.bgp.receive import Receiver
from towpath.bgp.update import (
    MP_REACH,
    MP_UNREACH,
    UNICAST,
    Multiprotocol,
    leading_reach,
    multiprotocol,
    prefixes,
    split,
)
from towpath.model.net import Family
from towpath.model.reason import Reason
from towpath.model.speaker import MaxPrefix

CEASE: Final = 6
MAXIMUM_PREFIXES: Final = 1
END_OF_RIB: Final = b"\0\0\0\0"
_HEADS: Final = frozenset({4 + 4, 4 + 16, 4 + 32})
"""Lengths of AFI, SAFI, next hop length and next hop."""


class Inbound:
    """One session's receiving side, both families."""

    def __init__(self, receivers: dict[Family, Receiver], limit: MaxPrefix) -> None:
        self.receivers = receivers
        """The first of each family, which holds the only path of nearly every prefix."""
        self.limit = limit
        self._accepted = (receivers[Family.IPV4].rib.accepted, receivers[Family.IPV6].rib.accepted)
        self.forgot: set[Reason] = set()
        """Verdicts of prefixes that were too many to be held: if those change, the peer has to send them again."""
        self._layers = {family: Layers(first) for family, first in receivers.items()}
        self.carry(())

    def carry(self, families: Iterable[Family], *, with_paths: Iterable[Family] = ()) -> None:
        """The established session carries these; prefixes of others are ignored (RFC 4760 §7).

        ``with_paths``: families whose prefixes come with path identifiers (RFC 7911).
        """
        self.families = frozenset(families)
        self._with_paths = frozenset(with_paths)
        for layers in self._layers.values():
            layers.begin()
        self._piled = bool(self._with_paths) or any(len(layers.receivers) > 1 for layers in self._layers.values())
        self._carried = {
            family.afi.to_bytes(2, "big") + bytes((UNICAST,)): self.receivers[family] for family in self.families
        }

    def of(self, family: Family) -> Sequence[Receiver]:
        """All of a family: the first, and those of prefixes that have several paths."""
        return self._layers[family].receivers

    @property
    def all(self) -> Iterable[Receiver]:
        """Those of both families."""
        return chain.from_iterable(layers.receivers for layers in self._layers.values())

    @property
    def accepted(self) -> int:
        """Paths accepted, both families: as many as prefixes where each has one."""
        if self._piled:
            return sum(len(receiver.rib.accepted) for receiver in self.all)
        one, other = self._accepted
        return len(one) + len(other)

    @property
    def room(self) -> int:
        """How many more paths may be accepted."""
        return self.limit.limit - self.accepted

    def updates(self, bodies: Sequence[bytes]) -> set[Family]:
        """Take in UPDATEs; returns the families for which End-of-RIB came. Raises ``SessionError``."""
        complete: set[Family] = set()
        if self._with_paths:
            for body in bodies:
                self._any(body, complete)
        else:
            self._all(bodies, complete)
        self._enforce_limit()
        for receiver in self.all:
            self.forgot |= receiver.rib.trim()
        return complete & self.families

    def _all(self, bodies: Sequence[bytes], complete: set[Family]) -> None:
        """UPDATEs of a session without path identifiers."""
        at = 0
        for _, run in groupby(map(len, bodies)):
            count = sum(1 for _ in run)
            some = bodies[at : at + count]
            at += count
            if count > alike.LEAST:
                self._of_one_size(some, complete)
            else:
                self._each(some, complete)

    def _of_one_size(self, bodies: Sequence[bytes], complete: set[Family]) -> None:
        """Bodies of one size: those that look like the one before them together, the others one by one.

        Where they do not look alike, twice as many are taken in before it is tried again.
        """
        at, step, window = 0, 1, 64
        while at < len(bodies):
            self._each(bodies[at : at + step], complete)
            at += step
            if len(bodies) - at < alike.LEAST:
                step = alike.LEAST
                continue
            found = self._layout(bodies[at - 1])
            count = alike.alike(bodies[at - 1 : at + window], found.varying) - 1 if found is not None else 0
            if found is not None and count and alike.announce(found, bodies[at : at + count], room=self.room):
                at += count
                step, window = 1, window * 8 if count == window else max(16, count * 2)
            else:
                step *= 2

    def _layout(self, body: bytes) -> alike.Layout | None:
        """The layout of a body that was taken in, if it is of a usual kind: it announces in one family, and withdraws nothing."""
        withdrawn, block, announced = split(body)
        end = 4 + len(block)
        if withdrawn:
            return None
        if announced:
            ipv4 = self.receivers[Family.IPV4]
            path = ipv4.recall(block) if Family.IPV4 in self.families else None
            if path is None:
                return None
            whole = slice(4, end), slice(end, len(body))
            return alike.layout(ipv4, body, path=path, block=whole[0], reached=whole[1], next_hop=None)
        parts = leading_reach(block)
        receiver = self._carried.get(parts[0][:3]) if parts is not None else None
        if parts is None or receiver is None:
            return None
        head, rest, packed = parts
        path = receiver.recall(head + rest)
        if path is None:
            return None
        start = end - len(rest)
        return alike.layout(
            receiver,
            body,
            path=path,
            block=slice(start, end),
            reached=slice(start - len(packed), start),
            next_hop=receiver.next_hop(head[4:]),
        )

    def _each(self, bodies: Sequence[bytes], complete: set[Family]) -> None:
        ipv4 = self.receivers[Family.IPV4]
        mine, other = self._accepted
        limit = self.room + len(mine) + len(other)
        plain = Family.IPV4 in self.families
        for body in bodies:
            withdrawn, block, announced = split(body)
            if withdrawn and plain:
                self._withdraw(ipv4, withdrawn)
            if announced and plain:
                path = ipv4.recall(block)
                if path is None and MP_REACH not in block and MP_UNREACH not in block:
                    path = ipv4.know(block, block, None)
                if path is not None:
                    ipv4.announce(announced, path, room=limit - len(mine) - len(other))
                    continue
            if block:
                parts = None if announced else leading_reach(block)
                if parts is not None and parts[0][:3] in self._carried:
                    head, rest, packed = parts
                    self._reached(self._carried[head[:3]], head, rest, packed)
                else:
                    self._unusual(block, announced if plain else b"", complete)
            elif body == END_OF_RIB:
                complete.add(Family.IPV4)

    def _any(self, body: bytes, complete: set[Family]) -> None:
        """An UPDATE of a session with path identifiers, in whatever family."""
        withdrawn, block, announced = split(body)
        plain = Family.IPV4 in self.families
        if withdrawn and plain:
            self._withdraw(self.receivers[Family.IPV4], withdrawn)
        if block or announced:
            self._unusual(block, announced if plain else b"", complete)
        elif body == END_OF_RIB:
            complete.add(Family.IPV4)

    def _reached(self, receiver: Receiver, head: bytes, rest: bytes, packed: bytes) -> None:
        """Prefixes of MP_REACH_NLRI; ``head`` is its AFI, SAFI and next hop with its length (RFC 4760 §3)."""
        if len(head) not in _HEADS:
            raise SessionError(3, 9, message="next hop of MP_REACH_NLRI has an impossible length")
        key = head + rest
        path = receiver.recall(key)
        if path is None:
            path = receiver.know(key, rest, receiver.next_hop(head[4:]))
        if packed:
            receiver.announce(packed, path, room=self.room)

    def _unusual(self, block: bytes, announced: bytes, complete: set[Family]) -> None:
        """A block not seen before, or one with multiprotocol attributes (RFC 4760): those carry prefixes."""
        parts = multiprotocol(block)
        if parts.unreach is not None:
            self._unreach(parts, complete)
        if announced:
            ipv4 = self.receivers[Family.IPV4]
            key = block if parts.reach is None and parts.unreach is None else parts.rest
            if Family.IPV4 in self._with_paths:
                self._layers[Family.IPV4].announce(announced, key, parts.rest, None, room=lambda: self.room)
            else:
                ipv4.announce(announced, ipv4.recall(key) or ipv4.know(key, parts.rest, None), room=self.room)
        reach = parts.reach
        if reach is not None and reach.family in self.families:
            head = reach.family.afi.to_bytes(2, "big") + b"\x01" + bytes((len(reach.next_hop),)) + reach.next_hop
            if reach.family in self._with_paths:
                layers, hop = self._layers[reach.family], self.receivers[reach.family].next_hop(reach.next_hop)
                layers.announce(reach.packed, head + parts.rest, parts.rest, hop, room=lambda: self.room)
            else:
                self._reached(self.receivers[reach.family], head, parts.rest, reach.packed)

    def _unreach(self, parts: Multiprotocol, complete: set[Family]) -> None:
        unreach = parts.unreach
        if unreach is None or unreach.family not in self.families:
            return
        if unreach.packed:
            self._withdraw(self.receivers[unreach.family], unreach.packed)
        elif not parts.rest and parts.reach is None:
            complete.add(unreach.family)

    def _withdraw(self, receiver: Receiver, packed: bytes) -> None:
        if receiver.family in self._with_paths:
            self._layers[receiver.family].withdraw(packed)
        else:
            receiver.rib.remove(prefixes(receiver.family, packed))

    def _enforce_limit(self) -> None:
        capped = [receiver for receiver in self.all if receiver.rib.capped]
        if not capped:
            return
        if self.limit.action == "Reset":
            data = capped[0].family.afi.to_bytes(2, "big") + b"\x01" + self.limit.limit.to_bytes(4, "big")
            message = f"more than {self.limit.limit} prefixes accepted"
            raise SessionError(CEASE, MAXIMUM_PREFIXES, data=data, message=message)
        self.admit()

    def admit(self) -> None:
        """Give room that has become free to prefixes that were refused for lack of it."""
        for receiver in self.all:
            if receiver.rib.capped:
                receiver.rib.admit(self.room)

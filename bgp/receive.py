"""One session's receiving side: UPDATE bodies in, judged paths in the Adj-RIBs-In. This is the hot path.

What makes it fast, from the bytes to the table:

1. An UPDATE is cut at three places (``update.split``); its attribute block is a dictionary key. A block seen before
   costs that look-up; a new one is decoded and judged once, and if it differs from another in its communities alone, not
   even that (``Receiver._judgement``). The caches are bounded; what is in use survives in a second generation.
2. Prefixes are cut from the message by a regular expression and stay bytes.
3. The verdict on a prefix far from every special range is the block's own; the first bytes tell (``Policy.special``).
   Only the others are judged one by one, and whole blocks of other nodes by one look-up.
4. The tables are updated by ``dict.update``: no Python statement runs once a prefix.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from towpath.bgp.attributes import Attributes, Decoder, ends_in_communities, next_hop_refusal
from towpath.bgp.origin import Claim
from towpath.bgp.path import ACCEPTED, NextHop, Path, Selection, Source, Via
from towpath.bgp.policy import Policy, Standing
from towpath.bgp.ports import SessionError
from towpath.bgp.rib import AdjRibIn
from towpath.bgp.update import (
    HOST_BITS,
    MP_REACH,
    MP_UNREACH,
    SIZE,
    UNICAST,
    Multiprotocol,
    leading_reach,
    multiprotocol,
    prefixes,
    split,
)
from towpath.model.net import Address, Family, Prefix, from_wire
from towpath.model.reason import Reason
from towpath.model.speaker import MaxPrefix

GENERATION: Final = 4096
"""Attribute blocks in one generation of the cache; two are kept."""
CEASE: Final = 6
MAXIMUM_PREFIXES: Final = 1
END_OF_RIB: Final = b"\0\0\0\0"
_HEADS: Final = frozenset({4 + 4, 4 + 16, 4 + 32})
"""Lengths of AFI, SAFI, next hop length and next hop."""

Judgement = tuple[Attributes, Via, Reason, bool]
"""The fields of a ``Path`` that a block decides, whatever its communities."""
Tell = Callable[[Reason, Prefix], None]
"""Called with one of the prefixes of an UPDATE that were refused one by one."""


class NextHops:
    """The next hops that paths have, shared by all sessions."""

    def __init__(self) -> None:
        self.known: dict[bytes, NextHop] = {}
        self.own: frozenset[bytes] = frozenset()
        """Our own addresses."""
        self.nodes: dict[bytes, str] = {}
        """Addresses of nodes of ours."""

    def get(self, packed: bytes) -> NextHop:
        """The next hop with this address."""
        hop = self.known.get(packed)
        if hop is None:
            hop = self.known[packed] = NextHop(_address(packed))
        return hop


def _address(packed: bytes) -> Address:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


class Receiver:
    """One session and family: its Adj-RIB-In and what judges the paths in it."""

    def __init__(self, rib: AdjRibIn, *, source: Source, peer: bytes, hops: NextHops) -> None:
        self.rib = rib
        self.family = rib.family
        self.source = source
        self._peer = peer
        self._hops = hops
        self._longest = rib.family.bits
        self._young: dict[bytes, Path] = {}
        self._old: dict[bytes, Path] = {}
        self._judgements: dict[bytes, Judgement] = {}
        self._cut = 0
        self.vias: dict[tuple[bytes, bool], Via] = {}

    def judge_by(self, policy: Policy, *, standing: Standing, decoder: Decoder, tell: Tell) -> None:
        """From now on judge by these; paths already held keep their verdict until ``rejudge``."""
        self._policy = policy
        self._standing = standing
        self._decoder = decoder
        self._tell = tell
        self._plain = policy.plain(standing)
        self._young.clear()
        self._old.clear()
        self._judgements.clear()
        for via in self.vias.values():
            via.refusal = self._hop_refusal(via.hop.address.packed)
            via.node = self._hops.nodes.get(via.hop.address.packed)

    def know(self, key: bytes, block: bytes, next_hop: bytes | None) -> Path:
        """The path of a block that the young generation does not have; ``key`` is unique for block and next hop."""
        path = self._old.pop(key, None)
        if path is None:
            attributes, via, verdict, accepted = self._judgement(block, next_hop)
            path = Path(via, attributes, verdict, accepted, block)
        if len(self._young) >= GENERATION:
            self._old = self._young
            self._young = {}
        self._young[key] = path
        return path

    def recall(self, key: bytes) -> Path | None:
        """The path of a block of the young generation."""
        return self._young.get(key)

    def _judgement(self, block: bytes, next_hop: bytes | None) -> Judgement:
        """What the block is worth. One that differs from an earlier one in trailing communities alone is worth the same.

        Where they begin is guessed from the block before: neighbours look alike.
        """
        cut = self._cut
        if cut and ends_in_communities(block, cut):
            found = self._judgements.get((next_hop or b"") + block[:cut])
            if found is not None:
                return found
        attributes, cut = self._decoder.read(block, next_hop=next_hop)
        found = self._judged(attributes)
        self._cut = 0
        if cut < len(block) and ends_in_communities(block, cut):
            self._cut = cut
            if len(self._judgements) >= GENERATION:
                self._judgements.clear()
            self._judgements[(next_hop or b"") + block[:cut]] = found
        return found

    def _judged(self, attributes: Attributes) -> Judgement:
        via = self._via(attributes.next_hop, provisional=False)
        verdict = attributes.refusal or via.refusal or self._plain
        return attributes, via, verdict, verdict in ACCEPTED

    def _via(self, packed: bytes, *, provisional: bool) -> Via:
        via = self.vias.get((packed, provisional))
        if via is None:
            via = self._new_via(packed, provisional=provisional)
            self.vias[packed, provisional] = via
        return via

    def _new_via(self, packed: bytes, *, provisional: bool) -> Via:
        usable = packed if len(packed) in {4, 16} else b"\0\0\0\0"
        hop = self._hops.get(usable)
        via = Via(
            self.source,
            hop,
            self.source.ebgp and usable == self._peer,
            provisional,
            self._hop_refusal(packed),
            self._hops.nodes.get(usable),
            None,
        )
        resolve(via)
        return via

    def _hop_refusal(self, packed: bytes) -> Reason | None:
        refusal = next_hop_refusal(self.family, packed)
        return Reason.NEXT_HOP_OURS if refusal is None and packed in self._hops.own else refusal

    def _path(self, plain: Path, verdict: Reason) -> Path:
        """The same attributes with another verdict."""
        if verdict is plain.verdict:
            return plain
        others = plain.others
        if others is None:
            others = plain.others = {}
        path = others.get(verdict)
        if path is None:
            via = plain.via
            if verdict is Reason.PROVISIONAL:
                via = self._via(via.hop.address.packed, provisional=True)
            path = others[verdict] = Path(via, plain.attributes, verdict, verdict in ACCEPTED, plain.block)
        return path

    def _claim(self, path: Path) -> Claim:
        return path.attributes.path.origin if self.source.ebgp else path.via.node

    def announce(self, packed: bytes, path: Path, *, room: int) -> None:
        """Prefixes with this path; ``room``: how many more the session may have accepted."""
        length = packed[0]
        if len(packed) == SIZE[length] and 8 <= length <= self._longest and not packed[-1] & HOST_BITS[length]:
            if not self._policy.special.one(packed) or path.closed:
                self.rib.store_one(packed, path, room=room)
                return
            wires = near = [packed]
        else:
            wires = prefixes(self.family, packed)
            near = [] if path.closed else self._policy.special.pick(wires)
            if not near:
                self.rib.store(wires, path, room=room)
                return
        rib = self.rib
        before = len(rib.accepted)
        if len(near) < len(wires):
            rib.store(list(dict.fromkeys(wires).keys() - set(near)), path, room=room)
        for verdict, judged in self._by_verdict(near, self._claim(path)).items():
            rib.store(judged, self._path(path, verdict), room=room + before - len(rib.accepted))
            if verdict is not path.verdict and verdict not in ACCEPTED:
                self._tell(verdict, from_wire(self.family, judged[0]))

    def _by_verdict(self, wires: list[bytes], claim: Claim) -> dict[Reason, list[bytes]]:
        judged: dict[Reason, list[bytes]] = {}
        judge, standing = self._policy.judge, self._standing
        for wire in wires:
            verdict = judge(wire, claim=claim, standing=standing)
            if verdict in judged:
                judged[verdict].append(wire)
            else:
                judged[verdict] = [wire]
        return judged

    def rejudge(self, wires: Iterable[tuple[bytes, Path]], *, room: int, decode: bool) -> None:
        """Judge paths that are held again; ``decode``: also what their attributes say of themselves."""
        rib = self.rib
        total = room + len(rib.accepted)
        memory: dict[tuple[bytes, bytes], Path] = {}
        for wire, path in list(wires):
            attributes = path.attributes
            key = (attributes.next_hop, path.block)
            plain = memory.get(key)
            if plain is None:
                if decode:
                    attributes = self._decoder.decode(path.block, next_hop=attributes.next_hop or None)
                _, via, verdict, accepted = self._judged(attributes)
                plain = memory[key] = Path(via, attributes, verdict, accepted, path.block)
            verdict = (
                plain.verdict
                if plain.closed
                else self._policy.judge(wire, claim=self._claim(plain), standing=self._standing)
            )
            if decode or verdict is not path.verdict:
                stale = wire in rib.stale
                rib.store([wire], self._path(plain, verdict), room=total - len(rib.accepted))
                if stale:
                    rib.stale[wire] = None

    def hops_changed(self, hops: set[NextHop]) -> None:
        """The kernel said something new of these next hops."""
        touched = [via for via in self.vias.values() if via.hop in hops]
        for via in touched:
            resolve(via)
        if touched:
            self.rib.dirty.update(
                dict.fromkeys(wire for wire, path in self.rib.accepted.items() if path.via.hop in hops)
            )

    def sweep_vias(self) -> None:
        """Forget next hops that no path has any more."""
        self._young.clear()
        self._old.clear()
        self._judgements.clear()
        live = {path.via for _, path in self.rib}
        self.vias = {key: via for key, via in self.vias.items() if via in live or _twin(self.vias, key) in live}


def _twin(vias: dict[tuple[bytes, bool], Via], key: tuple[bytes, bool]) -> Via | None:
    return vias.get((key[0], not key[1]))


def resolve(via: Via) -> None:
    """Set what a prefix uses whose single path goes by here."""
    via.selection = Selection((via.hop.address,), (via.source.session,), via.provisional) if via.reachable else None


class Inbound:
    """One session's receiving side, both families."""

    def __init__(self, receivers: dict[Family, Receiver], limit: MaxPrefix) -> None:
        self.receivers = receivers
        self.limit = limit
        self._accepted = (receivers[Family.IPV4].rib.accepted, receivers[Family.IPV6].rib.accepted)
        self.carry(())

    def carry(self, families: Iterable[Family]) -> None:
        """The established session carries these; prefixes of others are ignored (RFC 4760 §7)."""
        self.families = frozenset(families)
        self._carried = {
            family.afi.to_bytes(2, "big") + bytes((UNICAST,)): self.receivers[family] for family in self.families
        }

    @property
    def accepted(self) -> int:
        """Prefixes accepted, both families."""
        one, other = self._accepted
        return len(one) + len(other)

    @property
    def room(self) -> int:
        """How many more prefixes may be accepted."""
        one, other = self._accepted
        return self.limit.limit - len(one) - len(other)

    def updates(self, bodies: Sequence[bytes]) -> set[Family]:
        """Take in UPDATEs; returns the families for which End-of-RIB came. Raises ``SessionError``."""
        complete: set[Family] = set()
        ipv4 = self.receivers[Family.IPV4]
        mine, other = self._accepted
        limit = self.limit.limit
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
        self._enforce_limit()
        return complete & self.families

    def _reached(self, receiver: Receiver, head: bytes, rest: bytes, packed: bytes) -> None:
        """Prefixes of MP_REACH_NLRI; ``head`` is its AFI, SAFI and next hop with its length (RFC 4760 §3)."""
        if len(head) not in _HEADS:
            raise SessionError(3, 9, message="next hop of MP_REACH_NLRI has an impossible length")
        key = head + rest
        path = receiver.recall(key)
        if path is None:
            # a second, link-local next hop is of no use without an interface (RFC 2545 §3)
            path = receiver.know(key, rest, head[4:20])
        if packed:
            one, other = self._accepted
            receiver.announce(packed, path, room=self.limit.limit - len(one) - len(other))

    def _unusual(self, block: bytes, announced: bytes, complete: set[Family]) -> None:
        """A block not seen before, or one with multiprotocol attributes (RFC 4760): those carry prefixes."""
        parts = multiprotocol(block)
        if parts.unreach is not None:
            self._unreach(parts, complete)
        if announced:
            ipv4 = self.receivers[Family.IPV4]
            key = block if parts.reach is None and parts.unreach is None else parts.rest
            ipv4.announce(announced, ipv4.recall(key) or ipv4.know(key, parts.rest, None), room=self.room)
        reach = parts.reach
        if reach is not None and reach.family in self.families:
            head = reach.family.afi.to_bytes(2, "big") + b"\x01" + bytes((len(reach.next_hop),)) + reach.next_hop
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
        receiver.rib.remove(prefixes(receiver.family, packed))

    def _enforce_limit(self) -> None:
        capped = [receiver for receiver in self.receivers.values() if receiver.rib.capped]
        if not capped:
            return
        if self.limit.action == "Reset":
            data = capped[0].family.afi.to_bytes(2, "big") + b"\x01" + self.limit.limit.to_bytes(4, "big")
            message = f"more than {self.limit.limit} prefixes accepted"
            raise SessionError(CEASE, MAXIMUM_PREFIXES, data=data, message=message)
        self.admit()

    def admit(self) -> None:
        """Give room that has become free to prefixes that were refused for lack of it."""
        for receiver in self.receivers.values():
            if receiver.rib.capped:
                receiver.rib.admit(self.room)

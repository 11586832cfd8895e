"""One session and family: attribute blocks and prefixes in, judged paths in the Adj-RIB-In. With ``inbound`` the hot path.

What makes it fast, from the bytes to the table:

1. An UPDATE is cut at three places (``update.split``); its attribute block is a dictionary key. A block seen before
   costs that look-up; a new one is decoded and judged once, and if it differs from another in its communities alone, not
   even that (``Receiver.worth``). The caches are bounded; what is in use survives in a second generation.
2. Prefixes are cut from the message by a regular expression and stay bytes.
3. The verdict on a prefix far from every special range is the block's own; the first bytes tell (``Policy.special``).
   Only the others are judged one by one, and whole blocks of other nodes by one look-up.
4. The tables are updated by ``dict.update``: no Python statement runs once a prefix.
5. What UPDATEs that look alike have in common is found out once for all of them (``alike``).
6. Where the session has filters, the rules that fit a block's attributes are found once for the block (``Path.mask``);
   if the first of them asks for a prefix, the prefixes of an UPDATE are told apart by one look-up each (``Chain.split``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from towpath.bgp.attributes import Attributes, Decoder, ends_in_communities, is_link_local, next_hop_refusal
from towpath.bgp.carried import GRACEFUL_SHUTDOWN, carries
from towpath.bgp.filter import Chain, Rule, changed, priority_of
from towpath.bgp.nexthops import NextHops, counting
from towpath.bgp.origin import Claim, passed_on
from towpath.bgp.path import ACCEPTED, NextHop, Path, Selection, Source, Via
from towpath.bgp.policy import Policy, Standing
from towpath.bgp.rib import AdjRibIn
from towpath.bgp.update import HOST_BITS, SIZE, prefixes
from towpath.model.net import Prefix, from_wire
from towpath.model.reason import Reason

GENERATION: Final = 4096
"""Attribute blocks in one generation of the cache; two are kept."""

Judgement = tuple[Via, Attributes, Reason, bool, int]
"""The fields of a ``Path`` that a block decides, whatever its communities; the mask is of the rules that may fit."""
Memory = dict[tuple[bytes, bytes], Path]
"""Paths by next hop and block."""
Tell = Callable[[Reason, Prefix], None]
"""Called with one of the prefixes of an UPDATE that were refused one by one."""


class Receiver:
    """One session and family: its Adj-RIB-In and what judges the paths in it."""

    def __init__(
        self, rib: AdjRibIn, *, source: Source, peer: bytes, hops: NextHops, interface: str | None = None
    ) -> None:
        self.rib = rib
        self.ipv6_next_hops = False
        """IPv4 routes may have IPv6 next hops (RFC 8950)."""
        self._interface = interface
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
        self.chain: Chain | None = None
        """The session's filters; None: there is nothing to ask them."""

    def judge_by(
        self, policy: Policy, *, standing: Standing, chain: Chain, normal: int, decoder: Decoder, tell: Tell
    ) -> None:
        """From now on judge by these; paths already held keep their verdict until ``rejudge``.

        ``normal``: the priority of a route whose LOCAL_PREF says none.
        """
        self._policy = policy
        self._standing = standing
        self.chain = chain if chain and not standing.accept_none else None
        self._normal = normal
        self._decoder = decoder
        self._tell = tell
        self._plain = policy.plain(standing)
        self._young.clear()
        self._old.clear()
        self._judgements.clear()
        for (packed, _), via in self.vias.items():
            via.refusal = self._hop_refusal(packed)
            via.direct = standing.neighbour and packed == self._peer
            resolve(via)
            via.node = self._hops.nodes.get(via.hop.address.packed)

    def twin(self) -> "Receiver":
        """Another one for the same session and family, with a table of its own: it judges as this one does."""
        rib, source = AdjRibIn(self.family, self.rib.dirty), replace(self.source)
        other = Receiver(rib, source=source, peer=self._peer, hops=self._hops, interface=self._interface)
        other.ipv6_next_hops = self.ipv6_next_hops
        other._policy, other._standing, other._plain = self._policy, self._standing, self._plain
        other.chain, other._normal, other._decoder, other._tell = self.chain, self._normal, self._decoder, self._tell
        return other

    def know(self, key: bytes, block: bytes, next_hop: bytes | None) -> Path:
        """The path of a block that the young generation does not have; ``key`` is unique for block and next hop."""
        path = self._old.pop(key, None)
        if path is None:
            judgement = self.worth(block, next_hop)
            if judgement[4] or GRACEFUL_SHUTDOWN in block:
                path = self._made(block, judgement)
            else:
                path = Path(judgement[0], judgement[1], judgement[2], judgement[3], block)
        if len(self._young) >= GENERATION:
            self._old = self._young
            self._young = {}
        self._young[key] = path
        return path

    def recall(self, key: bytes) -> Path | None:
        """The path of a block of the young generation."""
        return self._young.get(key)

    def worth(self, block: bytes, next_hop: bytes | None) -> Judgement:
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

    def _made(self, block: bytes, judgement: Judgement) -> Path:
        """The path of a block whose judgement is known: with what its communities say, and what filters may want of it."""
        via, attributes, verdict, accepted, mask = judgement
        if GRACEFUL_SHUTDOWN in block and attributes.refusal is None and carries(block, GRACEFUL_SHUTDOWN):
            attributes = replace(attributes, local_preference=0)  # RFC 8326 §4.1
            mask = self._mask(attributes, via)
        if mask and self.chain is not None:
            mask = self.chain.with_communities(mask, block)
        return Path(via, attributes, verdict, accepted, block, None, None, mask)

    def _judged(self, attributes: Attributes) -> Judgement:
        via = self._via(attributes.next_hop, provisional=False)
        verdict = attributes.refusal or via.refusal or self._plain
        return via, attributes, verdict, verdict in ACCEPTED, self._mask(attributes, via) if self.chain else 0

    def _mask(self, attributes: Attributes, via: Via) -> int:
        """The filters' rules that attributes fit, communities apart."""
        if self.chain is None or attributes.refusal is not None or via.refusal is not None:
            return 0
        return self.chain.mask(
            path=attributes.path.sequence,
            priority=priority_of(attributes.local_preference, self._normal),
            interface=via.hop.interface,
        )

    def _via(self, packed: bytes, *, provisional: bool) -> Via:
        via = self.vias.get((packed, provisional))
        if via is None:
            via = self._new_via(packed, provisional=provisional)
            self.vias[packed, provisional] = via
        return via

    def _new_via(self, packed: bytes, *, provisional: bool) -> Via:
        usable = packed if len(packed) in {4, 16} else b"\0\0\0\0"
        hop = self._hops.get(usable, device=self._device(usable))
        via = Via(
            self.source,
            hop,
            self._standing.neighbour and usable == self._peer,
            provisional,
            self._hop_refusal(packed),
            self._hops.nodes.get(usable),
            None,
        )
        resolve(via)
        return via

    def next_hop(self, told: bytes) -> bytes:
        """The next hop that counts of those in MP_REACH_NLRI, packed."""
        return counting(told, on_link=self._interface is not None)

    def _device(self, packed: bytes) -> str:
        return self._interface if self._interface is not None and is_link_local(packed) else ""

    def _hop_refusal(self, packed: bytes) -> Reason | None:
        on_link = self._interface is not None
        refusal = next_hop_refusal(self.family, packed, ipv6=self.ipv6_next_hops, link_local=on_link)
        if refusal is None and packed + self._device(packed).encode() in self._hops.own:
            return Reason.NEXT_HOP_OURS
        if refusal is None and self._standing.hops and packed not in self._standing.hops:
            return Reason.NEXT_HOP_NOT_PEER
        return refusal

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

    def _by_rule(self, plain: Path, rule: Rule | None) -> Path:
        """The path as a filter's rule decides it; None: no rule matched."""
        if rule is None:
            return plain
        others = plain.others
        if others is None:
            others = plain.others = {}
        path = others.get(rule.name)
        if path is None:
            attributes = changed(plain.attributes, rule.changes)
            path = others[rule.name] = Path(plain.via, attributes, rule.reason, rule.accept, plain.block, rule=rule)
        return path

    def _claim(self, path: Path) -> Claim:
        if self.source.workload:
            return None
        if self.source.ebgp:
            return path.attributes.path.origin
        if path.via.node is not None:
            return path.via.node
        return passed_on(path.attributes, inside_as=self._standing.inside_as, insiders=self._standing.insiders)

    def announce(self, packed: bytes, path: Path, *, room: int) -> None:
        """Prefixes with this path; ``room``: how many more the session may have accepted."""
        length = packed[0]
        if len(packed) == SIZE[length] and 8 <= length <= self._longest and not packed[-1] & HOST_BITS[length]:
            if not self._policy.special.one(packed) or path.closed:
                self.rib.store_one(packed, self._far(packed, path) if path.mask else path, room=room)
                return
            wires = near = [packed]
        else:
            wires = prefixes(self.family, packed)
            near = None
        if path.mask:
            self._filtered(wires, path, room=room)
            return
        if near is None:
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

    def near(self, wires: Iterable[bytes]) -> bool:
        """Whether any of these prefixes is to be judged by itself, because a special range may be near."""
        return bool(self._policy.special.pick(wires))

    def _filtered(self, wires: list[bytes], path: Path, *, room: int) -> None:
        """``announce`` for a path that filters have rules for."""
        rib = self.rib
        before = len(rib.accepted)
        for judged, some in self._classified(wires, path):
            rib.store(list(some), judged, room=room + before - len(rib.accepted))
            if judged.rule is None and judged is not path and not judged.accepted:
                self._tell(judged.verdict, from_wire(self.family, some[0]))

    def _classified(self, wires: list[bytes], path: Path) -> list[tuple[Path, Sequence[bytes]]]:
        """Prefixes by the path that each gets: safety first, then the filters, then what is built in."""
        if path.closed:
            return [(path, wires)]
        near = self._policy.special.pick(wires)
        far: Sequence[bytes] = wires
        if near:
            far = list(dict.fromkeys(wires).keys() - set(near))
        found: list[tuple[Path, Sequence[bytes]]] = []
        if far:
            if self.chain is None or not path.mask:
                found.append((path, far))
            else:
                found += [(self._by_rule(path, rule), some) for rule, some in self.chain.split(path.mask, far)]
        ones: dict[int, tuple[Path, list[bytes]]] = {}
        claim = self._claim(path)
        for wire in near:
            judged = self._special(wire, path, claim)
            ones.setdefault(id(judged), (judged, []))[1].append(wire)
        found += ones.values()
        return found

    def _far(self, wire: bytes, path: Path) -> Path:
        """The path that a prefix far from the special ranges gets."""
        if self.chain is None or not path.mask:
            return path
        return self._by_rule(path, self.chain.first(path.mask, wire))

    def _special(self, wire: bytes, path: Path, claim: Claim) -> Path:
        """The path that a prefix near one of the special ranges gets."""
        if self.chain is not None and path.mask:
            refusal = self._policy.never.covering(wire)
            if refusal is not None:
                return self._path(path, refusal)
            rule = self.chain.first_imported(path.mask, wire)
            if rule is not None:
                return self._by_rule(path, rule)
        return self._path(path, self._policy.judge(wire, claim=claim, standing=self._standing))

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

    def rejudge(self, held: Mapping[bytes, Path], memory: "Memory", *, room: int, decode: bool) -> None:
        """Judge paths that are held again; ``decode``: also what their attributes say of themselves.

        ``memory`` holds what was found out of the blocks; give the same one to all calls of one occasion.
        """
        rib = self.rib
        total = room + len(rib.accepted)
        groups: dict[int, tuple[Path, list[bytes]]] = {}
        for wire, path in held.items():
            groups.setdefault(id(path), (path, []))[1].append(wire)
        for path, wires in groups.values():
            plain = self._again(path, memory, decode=decode)
            found: Sequence[tuple[Path, Sequence[bytes]]]
            if len(wires) == 1 and (plain.closed or not self._policy.special.one(wires[0])):
                found = ((self._far(wires[0], plain), wires),)
            else:
                found = self._classified(wires, plain)
            for judged, some in found:
                if not decode and (judged.verdict, judged.rule) == (path.verdict, path.rule):
                    continue
                stale = [wire for wire in some if wire in rib.stale] if rib.stale else []
                rib.store(list(some), judged, room=total - len(rib.accepted))
                rib.stale.update(dict.fromkeys(stale))

    def _again(self, path: Path, memory: "Memory", *, decode: bool) -> Path:
        """The path of a block as it is judged now, before any prefix is looked at."""
        attributes = path.attributes
        key = (attributes.next_hop, path.block)
        plain = memory.get(key)
        if plain is None:
            as_received = path.rule is None or not path.rule.changes.decide
            if decode or not as_received or attributes.local_preference == 0:
                attributes = self._decoder.decode(path.block, next_hop=attributes.next_hop or None)
            plain = memory[key] = self._made(path.block, self._judged(attributes))
        return plain

    def hops_changed(self, hops: set[NextHop]) -> None:
        """The kernel said something new of these next hops."""
        touched = [via for via in self.vias.values() if via.hop in hops]
        for via in touched:
            resolve(via)
        if touched:
            self.rib.dirty.update(
                dict.fromkeys(wire for wire, path in self.rib.accepted.items() if path.via.hop in hops)
            )

    def asks_for(self, hops: set[NextHop]) -> bool:
        """Whether a filter asks by which interface any of these next hops is reached; blocks are judged anew then."""
        if self.chain is None or not self.chain.by_interface or not any(via.hop in hops for via in self.vias.values()):
            return False
        self._young.clear()
        self._old.clear()
        self._judgements.clear()
        return True

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

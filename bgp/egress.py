"""The outward side of the table: which routes there are to announce, and what each session is told of them.

A session asks for prefixes (``Egress``); here they are looked up among our own announcements and, where the session may
be told them, among the best paths of the Loc-RIB, then judged by export policy and encoded. All of it is done once for
prefixes that have the same route and meet the same criteria, and once for all sessions that are told the same
(``UpdateGroup``): what a route reflector does for one client it has done for all.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from msgspec.structs import replace

from towpath.bgp.carried import read, write
from towpath.bgp.export import ANNOUNCED, Candidate, Criteria, Export, own
from towpath.bgp.identified import identifier
from towpath.bgp.outbound import in_reach, own_next_hop
from towpath.bgp.path import Path
from towpath.bgp.ports import Negotiated
from towpath.bgp.sent import Encoded
from towpath.model.delta import diff
from towpath.model.net import Family, Prefix, family_of, to_wire
from towpath.model.reason import Reason
from towpath.model.speaker import Announcement, Session, SpeakerState

REMEMBERED: Final = 4096
"""Routes, and verdicts on them, that are remembered at a time."""
LOOKED_UP: Final = 1 << 17
"""Prefixes whose learned route is remembered at a time."""
RECENT: Final = 16
"""Requests of an update group that are remembered: its members ask for the same prefixes one after the other."""
NOBODY: Final = IPv4Address(0)
Ranked = Callable[[Family, bytes, int], Sequence[Path]]
"""Up to so many paths of a prefix, the best first; each has another next hop."""
Candidates = tuple[Candidate, ...]


def session_part(session: Session) -> tuple[object, ...]:
    """What of a session decides what it is told."""
    return (
        session.filters,
        session.advertise,
        session.next_hop,
        session.shared_subnet,
        session.local_address,
        session.next_hop_beside,
        session.cluster_id,
        session.route_reflector_client,
        session.role,
        session.peer_address,
    )


def _state_part(state: SpeakerState) -> tuple[object, ...]:
    """What of a state decides it, filters and announcements apart."""
    settings = state.settings
    own_blocks = frozenset(prefix for prefix, node in state.blocks.items() if node == settings.node)
    return (
        *(settings.pools, settings.unexported, settings.tagged, settings.normal_priority, settings.maximum_paths),
        own_blocks,
    )


class Announcing:
    """What all sessions have in common: our announcements, export criteria, and learned routes as candidates."""

    def __init__(self, ranked: Ranked) -> None:
        self._ranked = ranked
        self._state: SpeakerState | None = None
        self._criteria: dict[tuple[tuple[str, ...], bool, Family], Criteria] = {}
        self._own: dict[Family, dict[bytes, Candidate]] = {family: {} for family in Family}
        self._alike: dict[Candidate, Candidate] = {}
        self._found: dict[bool, dict[Family, dict[bytes, Candidates]]] = {
            all_paths: {family: {} for family in Family} for all_paths in (False, True)
        }
        """Learned routes of prefixes: the best one, or all of them."""
        self._sets: dict[tuple[int, ...], Candidates] = {}
        self._groups: WeakValueDictionary[tuple[object, ...], UpdateGroup] = WeakValueDictionary()
        self.generation = 0
        """Another number whenever a prefix may have another route, or a route may be told otherwise."""
        self.deferring = False
        """Learned routes are not told yet (RFC 4724 §4.1)."""
        self._tunnels: dict[Family, dict[bytes, str]] = {family: {} for family in Family}
        """Prefixes that leave by a tunnel, wherever their next hop is."""
        self._through: dict[tuple[int, str], tuple[Candidate, Candidate]] = {}
        """Learned routes, and the same by a tunnel."""
        self._learned: dict[int, tuple[Path, tuple[str, bool, int, int | None], Candidate]] = {}

    def adopt(self, before: SpeakerState | None, state: SpeakerState) -> tuple[dict[Family, list[bytes]], bool]:
        """Make this the state. Returns our prefixes that changed, and whether anything may be said otherwise now."""
        self._state = state
        old = before.announcements if before else {}
        changed: dict[Family, list[bytes]] = {family: [] for family in Family}
        if old is not state.announcements:
            delta = diff(old, state.announcements)
            for prefix in delta.removed:
                self._own[family_of(prefix)].pop(to_wire(prefix), None)
                changed[family_of(prefix)].append(to_wire(prefix))
            for prefix, announcement in delta.changed.items():
                self._own[family_of(prefix)][to_wire(prefix)] = self._shared(announcement)
                changed[family_of(prefix)].append(to_wire(prefix))
        for family, wires in self._dig(before.tunnels if before else {}, state.tunnels).items():
            self.moved(family, wires)
            changed[family] += wires
        everything = before is None or before.filters != state.filters or _state_part(before) != _state_part(state)
        self.generation += 1
        if everything:
            self._criteria.clear()
            self._learned.clear()
            self._groups.clear()
            self.forget()
        return changed, everything

    def _dig(self, before: dict[Prefix, str], tunnels: dict[Prefix, str]) -> dict[Family, list[bytes]]:
        """Take in which prefixes leave by a tunnel; those of which that is something new."""
        moved: dict[Family, list[bytes]] = {family: [] for family in Family}
        delta = diff(before, tunnels) if before is not tunnels else None
        if delta:
            for prefix in (*delta.removed, *delta.changed):
                wire, device = to_wire(prefix), tunnels.get(prefix)
                moved[family_of(prefix)].append(wire)
                if device is None:
                    self._tunnels[family_of(prefix)].pop(wire, None)
                else:
                    self._tunnels[family_of(prefix)][wire] = device
            self._through.clear()
        return moved

    def forget(self) -> None:
        """Learned routes may have other properties than when they were looked up."""
        self.generation += 1
        for by_family in self._found.values():
            for found in by_family.values():
                found.clear()
        self._sets.clear()

    def moved(self, family: Family, wires: Iterable[bytes]) -> None:
        """These prefixes may have another learned route."""
        self.generation += 1
        for by_family in self._found.values():
            found = by_family[family]
            if found:
                for wire in wires:
                    found.pop(wire, None)

    def _shared(self, announcement: Announcement) -> Candidate:
        """One object for all announcements that are alike."""
        candidate = own(announcement)
        return self._alike.setdefault(candidate, candidate)

    def own(self, family: Family) -> Iterable[bytes]:
        """The prefixes of our announcements."""
        return self._own[family]

    def export(self, session: Session, family: Family) -> Export:
        """The export policy of a session."""
        assert self._state is not None
        key = session.filters, session.ebgp, family
        criteria = self._criteria.get(key)
        if criteria is None:
            criteria = self._criteria[key] = Criteria(family, self._state, filters=session.filters, ebgp=session.ebgp)
        return Export(session, criteria)

    def group(self, session: Session, negotiated: Negotiated) -> "UpdateGroup":
        """Where all sessions belong that are told the same as this one."""
        key = (
            *session_part(session)[:-1],
            session.ebgp,
            session.local_as,
            negotiated.local_address,
            negotiated.four_octet_as,
            negotiated.ipv6_next_hops,
            negotiated.paths_told,
        )
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = UpdateGroup(self, session, negotiated)
        return group

    def routes(
        self, family: Family, wires: Sequence[bytes], *, learned: bool, all_paths: bool
    ) -> Iterable[tuple[Candidates, Sequence[bytes]]]:
        """The routes of each prefix, the best first, those with the same ones together; ``all_paths``: not it alone."""
        mine = self._own[family]
        known = self._found[all_paths][family]
        most = self._most if all_paths else 1
        groups: dict[tuple[int, int], tuple[Candidate | None, Candidates, list[bytes]]] = {}
        for wire in wires:
            own = mine.get(wire)
            others: Candidates = ()
            if learned and (own is None or all_paths):
                found = known.get(wire)
                others = self._look_up(family, wire, known, most=most) if found is None else found
            group = groups.get((id(own), id(others)))
            if group is None:
                group = groups[id(own), id(others)] = own, others, []
            group[2].append(wire)
        return ((others if own is None else (own, *others), some) for own, others, some in groups.values())

    def _look_up(self, family: Family, wire: bytes, known: dict[bytes, Candidates], *, most: int) -> Candidates:
        """The same tuple for prefixes with the same routes."""
        if len(known) >= LOOKED_UP:
            known.clear()
        if len(self._sets) >= REMEMBERED:
            self._sets.clear()
        candidates = tuple(map(self._candidate, self._ranked(family, wire, most)))
        if (device := self._tunnels[family].get(wire)) is not None:
            candidates = tuple(self._by(one, device) for one in candidates)
        found = known[wire] = self._sets.setdefault(tuple(map(id, candidates)), candidates)
        return found

    @property
    def _most(self) -> int:
        return self._state.settings.maximum_paths if self._state is not None else 1

    def _by(self, candidate: Candidate, device: str) -> Candidate:
        """The same object for the same route and tunnel."""
        known = self._through.get((id(candidate), device))
        if known is None or known[0] is not candidate:
            if len(self._through) >= REMEMBERED:
                self._through.clear()
            known = self._through[id(candidate), device] = candidate, replace(candidate, interface=device)
        return known[1]

    def _candidate(self, path: Path) -> Candidate:
        known, source = self._learned.get(id(path)), path.via.source
        beside = path.via.hop.interface, source.client, source.router_id, source.customers_only
        if known is not None and known[0] is path and known[1] == beside:
            return known[2]
        if len(self._learned) >= REMEMBERED:
            self._learned.clear()
        candidate = learned(path)
        self._learned[id(path)] = path, beside, candidate
        return candidate


def learned(path: Path) -> Candidate:
    """A path of a peer as a candidate: its attributes as they are in the Loc-RIB."""
    source, preference = path.via.source, path.attributes.local_preference
    carried = read(path.block, four_octet_as=source.four_octet_as, external=source.ebgp)
    if path.rule is not None:
        carried = path.rule.changes.apply(carried)
    marked = source.customers_only if carried.customers_only is None else carried.customers_only
    return Candidate(
        source="BGP",
        carried=replace(
            carried,
            local_preference=source.preference if preference is None else preference,
            customers_only=marked,
        ),
        session=source.session,
        ebgp=source.ebgp,
        next_hop=path.attributes.next_hop,
        interface=path.via.hop.interface,
        client=source.client,
        workload=source.workload,
        teller=source.router_id.to_bytes(4, "big"),
        passing=path.verdict is Reason.SERVICE_RANGE,
    )


class Option(NamedTuple):
    """A route, the criteria that hold for it, and what a peer is told of it; None: nothing."""

    route: Candidate
    held: int
    told: Encoded | None


class Judged(NamedTuple):
    """Prefixes with the same routes for which the same criteria hold."""

    options: tuple[Option, ...]
    told: tuple[Encoded, ...]
    """What a member is told that is neither the teller nor the way of any of them."""
    wires: Sequence[bytes]


class UpdateGroup:
    """Sessions that are told the same, split horizon apart: policy and encoding are worked out once for all of them."""

    def __init__(self, announcing: Announcing, session: Session, negotiated: Negotiated) -> None:
        self._announcing = announcing
        anyone = replace(session, name="", peer_address=NOBODY)
        self.exports = {family: announcing.export(anyone, family) for family in Family}
        self.redistributes = any(export.redistributes for export in self.exports.values())
        beside = {family_of(one): one.packed for one in (session.next_hop_beside,) if one is not None}
        self._self = {family: own_next_hop(negotiated, family) or beside.get(family, b"") for family in Family}
        self._in_reach = {family: in_reach(negotiated, family) for family in Family}
        self._four_octet_as = negotiated.four_octet_as
        self._all_paths = frozenset(negotiated.paths_told)
        self._known: dict[tuple[int, int, Family], tuple[Candidate, Encoded | None]] = {}
        self._recent: dict[tuple[int, Family, bool, tuple[bytes, ...]], list[Judged]] = {}

    def has_next_hop(self, family: Family) -> bool:
        """Whether we are a next hop of the family on these sessions."""
        return bool(self._self[family])

    def judged(self, family: Family, wires: Sequence[bytes], *, learned: bool) -> list[Judged]:
        """What members are told."""
        key = self._announcing.generation, family, learned, tuple(wires)
        found = self._recent.get(key)
        if found is None:
            if len(self._recent) >= RECENT:
                self._recent.clear()
            found = self._recent[key] = list(self._judge(family, wires, learned=learned))
        return found

    def _judge(self, family: Family, wires: Sequence[bytes], *, learned: bool) -> Iterable[Judged]:
        export = self.exports[family]
        all_paths = family in self._all_paths
        for routes, some in self._announcing.routes(family, wires, learned=learned, all_paths=all_paths):
            if not routes:
                yield Judged((), (), some)
                continue
            for held, alike in export.split(some).items():
                options = tuple(Option(route, held, self._encoded(route, held, family)) for route in routes)
                yield Judged(options, distinct(option.told for option in options), alike)

    def _encoded(self, candidate: Candidate, held: int, family: Family) -> Encoded | None:
        key = (id(candidate), held, family)
        known = self._known.get(key)
        if known is None or known[0] is not candidate:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            encoded = self.encode(self.exports[family], candidate, held, family)
            known = self._known[key] = candidate, encoded
        return known[1]

    def encode(self, export: Export, candidate: Candidate, held: int, family: Family) -> Encoded | None:
        """What the session of ``export`` is told of a route."""
        told = export.decide(candidate, held)
        if told.carried is None or told.reason not in ANNOUNCED:
            return None
        hop = told.next_hop or self._self[family]
        if not hop or hop == candidate.address:
            return None
        if len(hop) > 4 and not self._in_reach[family]:
            return None  # the peer takes no IPv6 next hop of an IPv4 route (RFC 8950 §4)
        in_block = b"" if self._in_reach[family] else hop
        return hop, write(told.carried, next_hop=in_block, four_octet_as=self._four_octet_as)


def distinct(told: Iterable[Encoded | None]) -> tuple[Encoded, ...]:
    """What is told, the first of each path identifier."""
    found: dict[bytes, Encoded] = {}
    for encoded in told:
        if encoded is not None:
            found.setdefault(identifier(encoded[0]), encoded)
    return tuple(found.values())


class Egress:
    """What one established session is told."""

    def __init__(self, negotiated: Negotiated, announcing: Announcing, session: Session) -> None:
        self._negotiated = negotiated
        self._announcing = announcing
        self.adopt(session)

    def adopt(self, session: Session) -> None:
        """From now on what it is told is decided by this and by the present state."""
        self._session = session
        self._peer = session.peer_address.packed
        self._group = self._announcing.group(session, self._negotiated)
        self.redistributes = self._group.redistributes
        """Whether it may be told what others told us; asked of every session for every change."""

    @property
    def mute(self) -> tuple[Family, ...]:
        """Families of the session in which we have no next hop to tell: nothing of our own can be announced in them."""
        return tuple(family for family in self._negotiated.families if not self._group.has_next_hop(family))

    def told(self, family: Family, wires: Sequence[bytes]) -> Iterable[tuple[tuple[Encoded, ...], Sequence[bytes]]]:
        """What prefixes are told with, several ways only where the session carries all paths; empty: not at all."""
        group = self._group
        learned = group.exports[family].redistributes and not self._announcing.deferring
        for options, told, alike in group.judged(family, wires, learned=learned):
            if any(map(self._concerned, options)):
                own = self._announcing.export(self._session, family)
                yield distinct(self._again(option, own, family) for option in options), alike
            else:
                yield told, alike

    def _concerned(self, option: Option) -> bool:
        """Whether the peer told us the route, or is its way."""
        return option.route.session == self._session.name or option.route.next_hop == self._peer

    def _again(self, option: Option, own: Export, family: Family) -> Encoded | None:
        """What this peer is told of a route."""
        if self._concerned(option):
            return self._group.encode(own, option.route, option.held, family)
        return option.told

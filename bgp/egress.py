"""The outward side of the table: which routes there are to announce, and what each session is told of them.

A session asks for prefixes (``Egress``); here they are looked up among our own announcements and, where the session may
be told them, among the best paths of the Loc-RIB, then judged by export policy and encoded. All of it is done once for
prefixes that have the same route and meet the same criteria.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from towpath.bgp.carried import read, write
from towpath.bgp.export import ANNOUNCED, Candidate, Criteria, Export, own
from towpath.bgp.outbound import Encoded
from towpath.bgp.path import Path
from towpath.bgp.ports import Negotiated
from towpath.model.delta import diff
from towpath.model.net import Family, family_of, to_wire
from towpath.model.speaker import Announcement, Session, SpeakerState

REMEMBERED: Final = 4096
"""Routes, and verdicts on them, that are remembered at a time."""
Best = Callable[[Family, bytes], Path | None]
"""The path that a prefix uses, the best one where it uses several."""


def session_part(session: Session) -> tuple[object, ...]:
    """What of a session decides what it is told."""
    return session.filters, session.advertise, session.next_hop, session.shared_subnet, session.peer_address


def _state_part(state: SpeakerState) -> tuple[object, ...]:
    """What of a state decides it, filters and announcements apart."""
    settings = state.settings
    own_blocks = frozenset(prefix for prefix, node in state.blocks.items() if node == settings.node)
    return settings.pools, settings.unexported, settings.tagged, settings.normal_priority, own_blocks


class Announcing:
    """What all sessions have in common: our announcements, export criteria, and learned routes as candidates."""

    def __init__(self, best: Best) -> None:
        self._best = best
        self._state: SpeakerState | None = None
        self._criteria: dict[tuple[tuple[str, ...], bool, Family], Criteria] = {}
        self._own: dict[Family, dict[bytes, Candidate]] = {family: {} for family in Family}
        self._alike: dict[Candidate, Candidate] = {}
        self._learned: dict[int, tuple[Path, str, Candidate]] = {}

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
        everything = before is None or before.filters != state.filters or _state_part(before) != _state_part(state)
        if everything:
            self._criteria.clear()
            self._learned.clear()
        return changed, everything

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

    def routes(
        self, family: Family, wires: Sequence[bytes], *, learned: bool
    ) -> Iterable[tuple[Candidate | None, Sequence[bytes]]]:
        """The route of each prefix, those with the same one together; None: there is none."""
        found = self._own[family]
        groups: dict[int, tuple[Candidate | None, list[bytes]]] = {}
        for wire in wires:
            candidate = found.get(wire)
            if candidate is None and learned:
                path = self._best(family, wire)
                candidate = None if path is None else self._candidate(path)
            group = groups.get(id(candidate))
            if group is None:
                group = groups[id(candidate)] = candidate, []
            group[1].append(wire)
        return groups.values()

    def _candidate(self, path: Path) -> Candidate:
        known = self._learned.get(id(path))
        interface = path.via.hop.interface
        if known is not None and known[0] is path and known[1] == interface:
            return known[2]
        if len(self._learned) >= REMEMBERED:
            self._learned.clear()
        candidate = learned(path)
        self._learned[id(path)] = path, interface, candidate
        return candidate


def learned(path: Path) -> Candidate:
    """A path of a peer as a candidate: its attributes as they are in the Loc-RIB."""
    source, preference = path.via.source, path.attributes.local_preference
    carried = read(path.block, four_octet_as=source.four_octet_as, external=source.ebgp)
    if path.rule is not None:
        carried = path.rule.changes.apply(carried)
    return Candidate(
        source="BGP",
        carried=replace(carried, local_preference=source.preference if preference is None else preference),
        session=source.session,
        ebgp=source.ebgp,
        next_hop=path.attributes.next_hop,
        interface=path.via.hop.interface,
    )


class Egress:
    """What one established session is told."""

    def __init__(self, negotiated: Negotiated, announcing: Announcing, session: Session) -> None:
        self._negotiated = negotiated
        self._announcing = announcing
        self._self = negotiated.local_address.packed
        self.adopt(session)

    def adopt(self, session: Session) -> None:
        """From now on what it is told is decided by this and by the present state."""
        self._exports: Mapping[Family, Export] = {family: self._announcing.export(session, family) for family in Family}
        self._known: dict[tuple[int, int, Family], tuple[Candidate, Encoded | None]] = {}

    @property
    def redistributes(self) -> bool:
        """Whether it may be told what others told us."""
        return any(export.redistributes for export in self._exports.values())

    def told(self, family: Family, wires: Sequence[bytes]) -> Iterable[tuple[Encoded | None, Sequence[bytes]]]:
        """What prefixes are told with, None: not at all."""
        export = self._exports[family]
        for candidate, some in self._announcing.routes(family, wires, learned=export.redistributes):
            if candidate is None:
                yield None, some
                continue
            for held, alike in export.split(some).items():
                yield self._encoded(candidate, held, family), alike

    def _encoded(self, candidate: Candidate, held: int, family: Family) -> Encoded | None:
        key = (id(candidate), held, family)
        known = self._known.get(key)
        if known is None or known[0] is not candidate:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = candidate, self._encode(candidate, held, family)
        return known[1]

    def _encode(self, candidate: Candidate, held: int, family: Family) -> Encoded | None:
        told = self._exports[family].decide(candidate, held)
        if told.carried is None or told.reason not in ANNOUNCED:
            return None
        hop = told.next_hop or self._self
        in_block = hop if family is Family.IPV4 else b""
        return hop, write(told.carried, next_hop=in_block, four_octet_as=self._negotiated.four_octet_as)

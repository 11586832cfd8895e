"""What policy says of one route: the pure entry for ``towpath policy test`` and ``explain``.

Nothing is decided here. An imported route becomes the UPDATE that would bring it and goes through the receiving side of
a table that holds nothing else; an exported one goes through the export policy that the speaker asks. So whatever the
speaker does with a route, this says.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.attributes import is_link_local
from towpath.bgp.carried import Carried, attribute, prepend, write
from towpath.bgp.egress import Announcing, learned
from towpath.bgp.export import ANNOUNCED, Candidate, Told
from towpath.bgp.filter import priority_of
from towpath.bgp.judging import Judging
from towpath.bgp.path import Path
from towpath.bgp.peer import Peer
from towpath.model.community import Community
from towpath.model.kinds.values import PeerIP
from towpath.model.net import Address, Family, Prefix, family_of, to_wire
from towpath.model.reason import Reason
from towpath.model.speaker import NORMAL_LOCAL_PREF_BASE, Session, SpeakerState

_SOMEBODY = IPv6Address("fe80::1")
"""Stands for the peer of an interface, whose address only the node knows."""
Source = Literal["Block", "Service", "Tunnel", "Node", "Kernel", "Connected", "BGP"]


class Route(Struct, frozen=True):
    """A route as somebody writes it down. Where nothing is said of its preference, ``priority`` gives it."""

    prefix: Prefix
    source: Source = "BGP"
    next_hop: Address | None = None
    """None: of a learned route the peer itself, of one of ours ourselves."""
    interface: str = ""
    origin: int = 0
    """0 IGP, 1 EGP, 2 INCOMPLETE."""
    as_path: tuple[int, ...] = ()
    communities: tuple[Community, ...] = ()
    local_preference: int | None = None
    med: int | None = None
    priority: int | None = None


class Outcome(Struct, frozen=True):
    """The attributes after policy: on the wire after an export, in the Loc-RIB after an import."""

    next_hop: Address | None
    """None: ourselves."""
    as_path: tuple[int, ...]
    communities: tuple[Community, ...]
    local_preference: int | None
    med: int | None
    priority: int


class Verdict(Struct, frozen=True):
    """Whether the route is taken, why, and by which rule of which filter; ``outcome`` None: it is not."""

    accepted: bool
    reason: Reason
    rule: str = ""
    outcome: Outcome | None = None


def imported(state: SpeakerState, session: Session, route: Route) -> Verdict:
    """What becomes of a route that the peer of ``session`` tells us. Every next hop counts as reachable."""
    if family_of(route.prefix) not in session.families:
        return Verdict(accepted=False, reason=Reason.FAMILY_NOT_CARRIED)
    path = _received(state, session, route)
    if path is None:
        return Verdict(accepted=False, reason=Reason.MALFORMED)
    if not path.accepted:
        return Verdict(accepted=False, reason=path.verdict, rule=path.rule.name if path.rule else "")
    candidate = learned(path)
    return Verdict(
        accepted=True,
        reason=path.verdict,
        rule=path.rule.name if path.rule else "",
        outcome=outcome(candidate.carried, candidate.next_hop, _normal(state, route.prefix)),
    )


def exported(state: SpeakerState, session: Session, route: Route, *, came_by: Session | None = None) -> Verdict:
    """What the peer of ``session`` is told of a route. ``came_by``: the session that a learned one came by.

    A learned route that we would not accept from there is not announced either, and import says why.
    """
    if family_of(route.prefix) not in session.families:
        return Verdict(accepted=False, reason=Reason.FAMILY_NOT_CARRIED)
    if route.source == "BGP" and came_by is not None:
        path = _received(state, came_by, route)
        passing = path is not None and path.verdict is Reason.SERVICE_RANGE and session.cluster_id is not None
        if path is None or not (path.accepted or passing):
            reason = Reason.MALFORMED if path is None else path.verdict
            return Verdict(accepted=False, reason=reason, rule=path.rule.name if path and path.rule else "")
        candidate = learned(path)
    else:
        candidate = _own(state, route)
    announcing = Announcing(lambda _family, _wire, _limit: ())
    announcing.adopt(None, state)
    family = family_of(route.prefix)
    told = announcing.export(session, family).judge(candidate, to_wire(route.prefix))
    return _told(told, _normal(state, route.prefix))


def _told(told: Told, normal: int) -> Verdict:
    if told.carried is None or told.reason not in ANNOUNCED:
        return Verdict(accepted=False, reason=told.reason, rule=told.rule)
    found = outcome(told.carried, told.next_hop, normal)
    return Verdict(accepted=True, reason=told.reason, rule=told.rule, outcome=replace(found, priority=told.priority))


def _normal(state: SpeakerState, prefix: Prefix) -> int:
    return state.settings.normal_priority[family_of(prefix) is Family.IPV6]


def _preference(route: Route) -> int | None:
    """LOCAL_PREF as given, or by the priority as given."""
    if route.local_preference is not None or route.priority is None:
        return route.local_preference
    return NORMAL_LOCAL_PREF_BASE - route.priority if route.priority < NORMAL_LOCAL_PREF_BASE else None


def _carried(route: Route, preference: int | None) -> Carried:
    wires = sorted({community.wire for community in route.communities})
    return Carried(
        origin=route.origin,
        path=prepend((), route.as_path),
        med=route.med,
        local_preference=preference,
        communities=tuple(wire for wire in wires if len(wire) == 4),
        large=tuple(wire for wire in wires if len(wire) == 12),
    )


def _own(state: SpeakerState, route: Route) -> Candidate:
    preference = _preference(route)
    if preference is None:
        preference = NORMAL_LOCAL_PREF_BASE - _normal(state, route.prefix)
    return Candidate(
        source=route.source,
        carried=_carried(route, preference),
        address=route.prefix.network_address.packed if route.source == "Node" else b"",
        ebgp=True,
        next_hop=route.next_hop.packed if route.next_hop is not None else b"",
        interface=route.interface,
    )


def _received(state: SpeakerState, session: Session, route: Route) -> Path | None:
    """The path that a table holds of a route after the peer has sent it; None: it could not be sent at all."""
    family = family_of(route.prefix)
    judging = Judging(lambda _session, _reason, _prefix: None)
    judging.adopt(None, state)
    peer = Peer(session, judging.inbound(session, state, dirty={each: {} for each in Family}))
    peer.inbound.carry(tuple(Family))
    for receiver in peer.receivers:
        receiver.ipv6_next_hops = session.ipv6_next_hops
    judging.judge_by(peer, state)
    hop = (route.next_hop or (session.peer_address if session.found else _SOMEBODY)).packed
    if route.interface:
        link = session.interface if session.interface is not None and is_link_local(hop) else ""
        judging.hops.get(hop, device=link).interface = route.interface
    carried = _carried(route, None if session.ebgp else _preference(route))
    peer.inbound.updates([_update(family, to_wire(route.prefix), carried, hop)])
    return peer.inbound.receivers[family].rib.get(to_wire(route.prefix))


def _update(family: Family, wire: bytes, carried: Carried, hop: bytes) -> bytes:
    """An UPDATE body with one prefix."""
    if family is Family.IPV4 and len(hop) == 4:
        block = write(carried, next_hop=hop, four_octet_as=True)
        return b"\0\0" + len(block).to_bytes(2, "big") + block + wire
    head = family.afi.to_bytes(2, "big") + b"\x01" + bytes((len(hop),)) + hop + b"\0"
    block = attribute(0x80, 14, head + wire) + write(carried, next_hop=b"", four_octet_as=True)
    return b"\0\0" + len(block).to_bytes(2, "big") + block


def outcome(carried: Carried, next_hop: bytes, normal: int) -> Outcome:
    """Attributes after policy, as a value; ``normal`` is the priority of a route that carries none."""
    return Outcome(
        next_hop=_address(next_hop),
        as_path=tuple(number for _, numbers in carried.path for number in numbers),
        communities=tuple(map(Community, (*carried.communities, *carried.large))),
        local_preference=carried.local_preference,
        med=carried.med,
        priority=priority_of(carried.local_preference, normal),
    )


def attributes(found: Outcome | None) -> dict[str, Any] | None:
    """An outcome as plain data, as the command line has it; None: there is no route."""
    if found is None:
        return None
    return {
        "nextHop": "self" if found.next_hop is None else str(found.next_hop),
        "asPath": list(found.as_path),
        "communities": list(map(str, found.communities)),
        "localPreference": found.local_preference,
        "med": found.med,
        "priority": found.priority,
    }


def _address(packed: bytes) -> Address | None:
    if not packed:
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed[-16:])  # of two the link-local one


def session_of(sessions: Sequence[Session], name: str) -> Session | None:
    """The session with a name, or with a peer's address, with its port where one is written: of several the first that runs."""
    found = [one for one in sessions if one.name == name] or [one for one in sessions if _is_with(one, name)]
    return next((one for one in found if one.state == "Active"), found[0] if found else None)


def _is_with(session: Session, peer: str) -> bool:
    try:
        written = PeerIP.parse(peer)
    except ValueError:
        return False
    return session.peer_address == written.address and written.port in {None, session.peer_port}

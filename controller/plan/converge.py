"""``--converged``: the sessions between nodes of ours come up in memory, and the routes that follow are told.

Every node gets the table that its speaker has. What one pulls the other hears, until nobody has anything to say. Every
next hop counts as reachable; peers outside say nothing, because nobody knows what they would say.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from towpath.bgp.nodes import node_views
from towpath.bgp.ports import Kick, Negotiated
from towpath.bgp.role import agree
from towpath.bgp.running import Mode, mode
from towpath.bgp.table import Table
from towpath.controller.plan.document import planned
from towpath.controller.plan.inputs import Inputs
from towpath.model.cluster import Cluster
from towpath.model.net import Address, Prefix, block_name, contains, family_of, from_wire, split_wire
from towpath.model.speaker import Routes, Session, SpeakerState
from towpath.routes.plan import unprogrammed
from towpath.routes.route import MAIN_TABLE

_HEADER = 19
"""Bytes before an UPDATE's body (RFC 4271 §4.1)."""
_LONGEST = 65535
_LATER = 1e6
"""Seconds after which everybody has stopped waiting for anybody."""
_PULL = 1 << 20
_AT_ONCE = 1 << 30
Ends = Mapping[tuple[str, str], tuple[str, str]]
"""Each end of a session, node and name, and its other end."""


class _Speaker(Struct):
    """One node's speaker in memory."""

    state: SpeakerState
    table: Table


def learned_routes(inputs: Inputs) -> dict[str, list[dict[str, Any]]]:
    """The routes of each node's Loc-RIB, as a plan has them, once everybody has told everything."""
    cluster = inputs.cluster
    states = {name: planned(inputs, name).state for name in node_views(cluster).by_name}
    ends = dict(ends_of(states))
    waiting: deque[tuple[str, str]] = deque()
    clock = [0.0]
    speakers: dict[str, _Speaker] = {}
    for name, state in states.items():
        table = Table(kick=_kick(name, waiting), clock=lambda: clock[0])
        table.apply(state)
        speakers[name] = _Speaker(state, table)
    for (name, session), (other, back) in ends.items():
        own, others = states[name], states[other]
        met = _negotiated(own.sessions[session], own, others, others.sessions[back])
        speakers[name].table.established(session, met)
    _talk(speakers, ends, waiting)
    clock[0] = _LATER  # a reflector waits no longer for peers that say nothing
    for speaker in speakers.values():
        speaker.table.expire(_LATER)
    waiting.extend(ends)
    _talk(speakers, ends, waiting)
    return {name: _routes(speaker, inputs.cluster) for name, speaker in speakers.items()}


def _kick(node: str, waiting: deque[tuple[str, str]]) -> Kick:
    return lambda session: waiting.append((node, session))


def _talk(speakers: Mapping[str, _Speaker], ends: Ends, waiting: deque[tuple[str, str]]) -> None:
    """Carry what is said until all is said; a way that has no end of it (a policy dispute) is cut off."""
    patience = 1000 * (len(ends) + 1)
    while waiting and patience:
        patience -= 1
        name, session = waiting.popleft()
        if (name, session) not in ends:
            continue
        other, back = ends[name, session]
        said = speakers[name].table.pull(session, _PULL)
        if not said:
            continue
        table = speakers[other].table
        table.updates(back, list(_bodies(said)))
        table.metrics(dict.fromkeys(table.interest().addresses, 0), interfaces={})
        table.drain(_AT_ONCE)
        waiting.append((name, session))


def _bodies(messages: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(messages):
        length = int.from_bytes(messages[at + 16 : at + 18], "big")
        yield messages[at + _HEADER : at + length]
        at += length


def ends_of(states: Mapping[str, SpeakerState]) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """The two halves of sessions that can come up."""
    for name, state in states.items():
        for session in state.sessions.values():
            other = states.get(session.peer_node or "")
            if other is None or not _runs(session, state):
                continue
            own = _own_address(session, state)
            back = next((one for one in _ordered(other) if _fits(session, state, one, other, own=own)), None)
            if back is not None and session.peer_node is not None:
                yield (name, session.name), (session.peer_node, back.name)


def _ordered(state: SpeakerState) -> Sequence[Session]:
    return [state.sessions[name] for name in sorted(state.sessions)]


def _runs(session: Session, state: SpeakerState) -> bool:
    return mode(session, settings=state.settings, passwords=state.passwords) is Mode.RUN


def _own_address(session: Session, state: SpeakerState) -> Address | None:
    family = family_of(session.peer_address)
    addresses = state.nodes[state.settings.node].addresses
    return session.local_address or next((one for one in addresses if family_of(one) is family), None)


def _fits(session: Session, state: SpeakerState, back: Session, other: SpeakerState, *, own: Address | None) -> bool:
    """Whether two halves make one session: addresses, AS numbers and passwords agree, and one of them dials a port that listens."""
    agreed = (
        back.peer_address == own
        and back.local_address in (None, session.peer_address)
        and _runs(back, other)
        and (session.remote_as, session.local_as) == (back.local_as, back.remote_as)
        and state.passwords.get(session.name) == other.passwords.get(back.name)
        and agree((session.role, session.strict_role), (back.role, back.strict_role))
        and set(session.families) & set(back.families)
    )
    return bool(agreed) and (_dials(session, other) or _dials(back, state))


def _dials(session: Session, other: SpeakerState) -> bool:
    return not session.passive and any(listen.port == session.peer_port for listen in other.settings.listen)


def _negotiated(session: Session, state: SpeakerState, other: SpeakerState, back: Session) -> Negotiated:
    """What the two OPENs agree on: both are ours."""
    families = tuple(family for family in session.families if family in back.families)
    all_paths = families if session.add_paths and back.add_paths else ()
    return Negotiated(
        families=families,
        peer_router_id=int(other.settings.router_id),
        peer_as=session.remote_as,
        local_as=session.local_as,
        local_address=_own_address(session, state) or session.peer_address,
        peer_address=session.peer_address,
        hold_time=min(session.hold_time, back.hold_time),
        four_octet_as=True,
        message_size=_LONGEST,
        restart=None,
        paths_taken=all_paths,
        paths_told=all_paths,
    )


def _routes(speaker: _Speaker, cluster: Cluster) -> list[dict[str, Any]]:
    found: dict[Prefix, dict[str, Any]] = {}
    for frame in speaker.table.whole():
        if not isinstance(frame, Routes):
            continue
        for wire in split_wire(frame.prefixes):
            prefix = from_wire(frame.family, wire)
            if any(contains(cidr, prefix) for cidr in unprogrammed(cluster)):
                continue
            found[prefix] = {
                "prefix": str(prefix),
                "type": "unicast",
                "nextHops": [{"gateway": str(hop), "device": None, "onlink": False} for hop in frame.next_hops],
                "metric": cluster.bgp.kernel_metric,
                "table": MAIN_TABLE,
                "origin": "BGP",
                "why": _why(speaker.state, prefix, frame.sessions),
            }
    return [found[prefix] for prefix in sorted(found, key=lambda one: (one.version, one))]


def _why(state: SpeakerState, prefix: Prefix, sessions: Sequence[str]) -> list[dict[str, Any]]:
    """The sessions' objects; of a block the block."""
    whys: dict[tuple[str, str, str | None], None] = {}
    if prefix in state.blocks:
        whys["IPAMBlock", block_name(prefix), "spec.node"] = None
    for name in sessions:
        for why in state.sessions[name].why:
            whys[why.kind, why.name, why.field or None] = None
    return [{"kind": kind, "name": name, "field": field} for kind, name, field in whys]

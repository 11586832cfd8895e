"""The table's report: counts by session, refusals by reason, own blocks in which others' paths are held."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Literal, cast

from towpath.bgp.peer import Peer
from towpath.bgp.ports import Standing
from towpath.bgp.ranges import Near, Ranges
from towpath.bgp.rib import AdjRibIn
from towpath.model.kinds.node import RefusedReport, SessionReport
from towpath.model.net import Family, Prefix
from towpath.model.reason import Reason
from towpath.model.speaker import Report, Session

_ECHOES = frozenset({Reason.AS_LOOP, Reason.ORIGINATOR_LOOP})
"""Why a path of our own is refused when it comes back."""
_State = Literal["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Withheld"]


def report(
    sessions: Mapping[str, Session],
    peers: Mapping[str, Peer],
    *,
    states: Mapping[str, Standing],
    own_blocks: Mapping[Family, Ranges[Prefix]],
    announced: Container[Prefix],
) -> Report:
    """``states``: each session as the engine has it."""
    return Report(
        tuple(_session(session, peers.get(name), states.get(name, Standing())) for name, session in sessions.items()),
        _foreign_paths(own_blocks, peers.values(), announced=announced),
        _ordered(block for own in own_blocks.values() for block in own.exact.values()),
    )


def _session(session: Session, peer: Peer | None, standing: Standing) -> SessionReport:
    state, reason, lost = standing
    if session.state == "Withheld" and state != "Established":
        state, reason = "Withheld", str(session.reason or reason)
    ribs = [receiver.rib for receiver in peer.receivers] if peer is not None else []
    return SessionReport(
        name=session.name,
        peer=str(session.peer_address) if session.found else session.interface or "",
        remote_as=session.remote_as,
        state=cast("_State", state),
        reason=reason,
        received=sum(map(len, ribs)),
        accepted=peer.inbound.accepted if peer is not None else 0,
        announced=peer.out.announced if peer is not None and peer.out is not None else 0,
        refused=_refused(ribs),
        lost=lost,
        bgp_peer=next((why.name for why in session.why if why.kind == "BGPPeer"), ""),
    )


def _refused(ribs: Iterable[AdjRibIn]) -> tuple[RefusedReport, ...]:
    refusing = [rib for rib in ribs if rib.refused or rib.capped]
    if not refusing:
        return ()
    counts: Counter[Reason] = Counter()
    for rib in refusing:
        counts.update(rib.refusals())
    return tuple(RefusedReport(reason, count) for reason, count in sorted(counts.items()))


def _foreign_paths(
    own_blocks: Mapping[Family, Ranges[Prefix]], peers: Iterable[Peer], *, announced: Container[Prefix]
) -> tuple[Prefix, ...]:
    """Own blocks inside which somebody's path is held, stale or not. Such paths are always among the refused.

    What we announce comes back from a second router or a reflector: that is not somebody's.
    """
    found: set[Prefix] = set()
    ribs: list[AdjRibIn] = [receiver.rib for peer in peers for receiver in peer.receivers]
    for family, own in own_blocks.items():
        if own:
            near = Near(family, own)
            for rib in (rib for rib in ribs if rib.family is family):
                for wire in near.pick(rib.refused):
                    block = own.covering(wire)
                    ours = rib.refused[wire].verdict in _ECHOES and own.exact.get(wire) in announced
                    if block is not None and not ours:
                        found.add(block)
    return _ordered(found)


def _ordered(blocks: Iterable[Prefix]) -> tuple[Prefix, ...]:
    return tuple(sorted(blocks, key=lambda block: (block.version, block.network_address.packed, block.prefixlen)))

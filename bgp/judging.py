"""What paths are judged by: the policies of the present state, the own blocks, the next hops that are nodes.

Where a state changes any of it, ``adopt`` says near which prefixes verdicts may differ: only those are judged again.
"""

from collections.abc import Callable, Mapping
from typing import Final

from towpath.bgp.attributes import Decoder, PeerView
from towpath.bgp.filter import Chain, compiled
from towpath.bgp.inbound import Inbound
from towpath.bgp.nexthops import NextHops, hop_key
from towpath.bgp.path import Source
from towpath.bgp.peer import Peer, global_settings
from towpath.bgp.policy import Policy, never_accepted, node_addresses, standing
from towpath.bgp.ranges import Near, Ranges
from towpath.bgp.receive import Receiver
from towpath.bgp.rib import AdjRibIn
from towpath.bgp.role import mark_of_arriving
from towpath.model.delta import diff
from towpath.model.net import Family, Prefix
from towpath.model.reason import Reason
from towpath.model.speaker import NORMAL_LOCAL_PREF_BASE, Session, Settings, SpeakerState

IBGP_LOCAL_PREFERENCE: Final = 100
"""LOCAL_PREF of an internal path that carries none."""
Places = dict[Family, tuple[Ranges[bool], Near]]
"""Prefixes near which verdicts may differ, and the quick look for them; empty: nowhere."""


class Judging:
    """What holds for the paths of all sessions. ``tell`` hears of refusals: session, reason, prefix."""

    def __init__(self, tell: Callable[[str, Reason, Prefix], None]) -> None:
        self._tell = tell
        self._policies: dict[Family, Policy] = {}
        self._chains: dict[tuple[tuple[str, ...], bool, Family], Chain] = {}
        self.own_blocks: dict[Family, Ranges[Prefix]] = {}
        self.hops = NextHops()

    def adopt(self, before: SpeakerState | None, state: SpeakerState) -> Places | None:
        """New policies where the state asks for them; near which prefixes verdicts may differ, None for everywhere."""
        old, new = before.settings if before else None, state.settings
        blocks = diff(before.blocks if before else {}, state.blocks)
        nodes = diff(before.nodes if before else {}, state.nodes)
        refused = diff(never_accepted(before) if before else {}, never_accepted(state))
        addresses = diff(node_addresses(before) if before else {}, node_addresses(state))
        if before is None or before.filters != state.filters:
            self._chains.clear()
        everywhere = old is None or global_settings(old) != global_settings(new)
        pools = old is None or _by_pools(old) != _by_pools(new)
        changed: dict[Prefix, bool] = dict.fromkeys(
            (
                *blocks.changed,
                *blocks.removed,
                *refused.changed,
                *refused.removed,
                *addresses.changed,
                *addresses.removed,
            ),
            True,
        )
        if nodes or pools:
            changed |= dict.fromkeys([*state.blocks, *new.pools, *(old.pools if old else ())], True)
        if not (everywhere or nodes or changed):
            return {}
        self._policies = {family: Policy(family, state) for family in Family}
        self.hops.own = frozenset(map(hop_key, new.own_addresses))
        self.hops.nodes = {address.packed: name for name, origin in state.nodes.items() for address in origin.addresses}
        own = {prefix: prefix for prefix, node in state.blocks.items() if node == new.node}
        self.own_blocks = {family: Ranges(family, own) for family in Family}
        if everywhere:
            return None
        ranges = {family: Ranges(family, changed) for family in Family}
        return {family: (each, Near(family, each)) for family, each in ranges.items()}

    def inbound(self, session: Session, state: SpeakerState, *, dirty: Mapping[Family, dict[bytes, None]]) -> Inbound:
        """The receiving side of a new session; what changes in it is marked in ``dirty``."""
        receivers = {}
        for family, priority in zip(Family, state.settings.normal_priority, strict=True):
            source = Source(
                session=session.name,
                ebgp=session.ebgp,
                preference=NORMAL_LOCAL_PREF_BASE - priority if session.ebgp else IBGP_LOCAL_PREFERENCE,
                router_id=0,
                address=int(session.peer_address),
                workload=session.workload,
            )
            rib = AdjRibIn(family, dirty[family])
            receivers[family] = Receiver(
                rib,
                source=source,
                peer=session.peer_address.packed,
                hops=self.hops,
                interface=session.interface,
            )
        return Inbound(receivers, session.max_prefix)

    def judge_by(self, peer: Peer, state: SpeakerState) -> None:
        """From now on the peer's paths are judged by the present policies; those held keep their verdict."""
        session = peer.session
        decoder = Decoder(
            PeerView(
                ebgp=session.ebgp,
                four_octet_as=all(receiver.source.four_octet_as for receiver in peer.receivers),
                local_as=session.local_as,
                peer_as=session.remote_as,
                allow_local_as=session.allow_local_as,
                router_id=state.settings.router_id.packed,
                cluster_id=session.cluster_id.packed if session.cluster_id is not None else b"",
                role=session.role,
            )
        )
        for receiver in peer.receivers:
            receiver.source.client = session.route_reflector_client
            receiver.source.customers_only = mark_of_arriving(session.role, peer_as=session.remote_as)
            receiver.judge_by(
                self._policies[receiver.family],
                standing=standing(session, state),
                chain=self._chain(session, receiver.family, state),
                normal=state.settings.normal_priority[receiver.family is Family.IPV6],
                decoder=decoder,
                tell=lambda reason, prefix: self._tell(session.name, reason, prefix),
            )
            if session.ebgp:
                priority = state.settings.normal_priority[receiver.family is Family.IPV6]
                receiver.source.preference = NORMAL_LOCAL_PREF_BASE - priority

    def _chain(self, session: Session, family: Family, state: SpeakerState) -> Chain:
        """The session's import filters, made once for all sessions that name the same."""
        key = session.filters, session.ebgp, family
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = compiled(
                session.filters, state.filters, family=family, direction="import", ebgp=session.ebgp
            )
        return chain


def _by_pools(settings: Settings) -> tuple[object, ...]:
    """What verdicts inside pools depend on."""
    return settings.pools, settings.provisional, settings.internal_routers


def rejudge(peer: Peer, near: Places) -> None:
    """Judge held paths near the ranges again."""
    for receiver in peer.receivers:
        ranges, quick = near[receiver.family]
        if ranges:
            held = receiver.rib.paths()
            wires = {wire: held[wire] for wire in quick.pick(held) if ranges.touches(wire)}
            if wires:
                receiver.rejudge(wires, {}, room=peer.inbound.room, decode=False)

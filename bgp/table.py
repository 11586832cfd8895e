"""The table: everything between the bytes that peers send and the routes that the agent gets, without any I/O.

It is given the whole desired state (``apply``), what sessions deliver (``SessionSink``) and what the kernel knows of
next hops (``metrics``). It gives the difference of the Loc-RIB (``drain``), the messages for each session (``pull``) and
reports. Time comes in by the clock it is given.

Cost: one changed prefix costs that prefix. A changed block or node has only the prefixes near it judged again. The fast
path of receiving is explained in ``receive``, that of deciding in ``rib``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from towpath.bgp.attributes import Decoder, PeerView
from towpath.bgp.notices import Notices
from towpath.bgp.outbound import AdjRibOut
from towpath.bgp.path import NextHop, Source
from towpath.bgp.peer import Peer, global_settings, judgement
from towpath.bgp.policy import Policy, never_accepted, standing
from towpath.bgp.ports import Kick, Loss, LossKind, Negotiated
from towpath.bgp.ranges import Near, Ranges
from towpath.bgp.receive import Inbound, NextHops, Receiver
from towpath.bgp.report import report
from towpath.bgp.restart import kept_families, preserved
from towpath.bgp.rib import AdjRibIn, LocRib
from towpath.bgp.running import identity, withheld
from towpath.model.delta import diff
from towpath.model.net import Address, Family, Prefix
from towpath.model.reason import Reason
from towpath.model.speaker import (
    NORMAL_LOCAL_PREF_BASE,
    Notice,
    Report,
    Routes,
    Session,
    SpeakerState,
    StateChange,
    Withdrawn,
    apply_state,
)

IBGP_LOCAL_PREFERENCE: Final = 100
"""LOCAL_PREF of an internal path that carries none."""
SWEEP: Final = 30.0
"""Seconds between looks for next hops that no path has any more."""
LIMIT_INTERVAL: Final = 300.0
"""Seconds between notices that a prefix limit is near or reached."""
_TOLD_AT_ONCE: Final = {
    Reason.ORIGIN_INVALID: "announces {}, which lies in or over the block of another node",
    Reason.OWN_BLOCK: "announces {}, which lies in a block of this node",
    Reason.OWN_ADDRESS: "announces {}, an address of this node",
}
_Places = dict[Family, tuple[Ranges[bool], Near]]
"""Prefixes near which verdicts may differ, and the quick look for them."""


class Table:
    """Adj-RIBs-In, Loc-RIB and Adj-RIBs-Out of the speaker: implements ``SessionSink`` and ``Outbound``."""

    def __init__(self, *, kick: Kick, clock: Callable[[], float]) -> None:
        self._kick = kick
        self._clock = clock
        self._state: SpeakerState | None = None
        self._started = 0.0
        self._synced = False
        self._peers: dict[str, Peer] = {}
        self._loc = {family: LocRib(family) for family in Family}
        self._policies: dict[Family, Policy] = {}
        self._own_blocks: dict[Family, Ranges[Prefix]] = {}
        self._hops = NextHops()
        self._notices = Notices()
        self._interest: frozenset[Address] = frozenset()
        self._interest_hops = 0
        self._swept_at = 0.0

    # what is desired

    def change(self, change: StateChange) -> None:
        """Apply a difference to the state of the last ``apply``."""
        if self._state is None:
            raise ValueError("a change needs a state that it changes")
        self.apply(apply_state(self._state, change))

    def apply(self, state: SpeakerState) -> None:
        """Make this the state: sessions, policy and announcements; what did not change is not touched."""
        before, self._state = self._state, state
        now = self._clock()
        if before is None:
            self._started = self._swept_at = now
        policies = self._policies
        near = self._adopt_policy(before, state)
        sessions = diff(before.sessions if before else {}, state.sessions)
        for name in sessions.removed:
            self._remove(name)
        if self._policies is not policies:
            for peer in self._peers.values():
                self._judge_by(peer, state)
                self._rejudge(peer, near)
                peer.inbound.admit()
        for name, session in sessions.changed.items():
            self._adopt_session(name, session, state)
        if before is not None and before.settings.maximum_paths != state.settings.maximum_paths:
            for family, loc in self._loc.items():
                for rib in self._ribs(family):
                    loc.dirty.update(dict.fromkeys(rib.accepted))
        announcements = diff(before.announcements if before else {}, state.announcements)
        touched = [*announcements.changed, *announcements.removed]
        if touched:
            for name, peer in self._peers.items():
                if peer.out is not None:
                    peer.out.touch(touched)
                    if peer.out.waiting:
                        self._kick(name)

    def _adopt_policy(self, before: SpeakerState | None, state: SpeakerState) -> _Places | None:
        """New policies where the state asks for them; returns near which prefixes they differ, None for everywhere."""
        old, new = before.settings if before else None, state.settings
        blocks = diff(before.blocks if before else {}, state.blocks)
        nodes = diff(before.nodes if before else {}, state.nodes)
        refused = diff(never_accepted(before) if before else {}, never_accepted(state))
        everywhere = old is None or global_settings(old) != global_settings(new)
        pools = old is None or (old.pools, old.provisional) != (new.pools, new.provisional)
        changed: dict[Prefix, bool] = dict.fromkeys(
            [*blocks.changed, *blocks.removed, *refused.changed, *refused.removed], True
        )
        if nodes or pools:
            changed |= dict.fromkeys([*state.blocks, *new.pools, *(old.pools if old else ())], True)
        if not (everywhere or nodes or changed):
            return {}
        self._policies = {family: Policy(family, state) for family in Family}
        self._hops.own = frozenset(address.packed for address in new.own_addresses)
        self._hops.nodes = {
            address.packed: name for name, origin in state.nodes.items() for address in origin.addresses
        }
        own = {prefix: prefix for prefix, node in state.blocks.items() if node == new.node}
        self._own_blocks = {family: Ranges(family, own) for family in Family}
        if everywhere:
            return None
        ranges = {family: Ranges(family, changed) for family in Family}
        return {family: (each, Near(family, each)) for family, each in ranges.items()}

    def _adopt_session(self, name: str, session: Session, state: SpeakerState) -> None:
        peer = self._peers.get(name)
        if withheld(session) or (peer is not None and identity(peer.session) != identity(session)):
            self._remove(name)
            peer = None
        if peer is None:
            peer = self._peers[name] = Peer(session, self._inbound(session, state))
            self._judge_by(peer, state)
            return
        judged, peer.session = judgement(peer.session), session
        peer.inbound.limit = session.max_prefix
        if judged == judgement(session):
            return
        self._judge_by(peer, state)
        self._rejudge(peer, None, decode=True)
        peer.inbound.admit()

    def _inbound(self, session: Session, state: SpeakerState) -> Inbound:
        receivers = {}
        for family, priority in zip(Family, state.settings.normal_priority, strict=True):
            source = Source(
                session=session.name,
                ebgp=session.ebgp,
                preference=NORMAL_LOCAL_PREF_BASE - priority if session.ebgp else IBGP_LOCAL_PREFERENCE,
                router_id=0,
                address=int(session.peer_address),
            )
            rib = AdjRibIn(family, self._loc[family].dirty)
            receivers[family] = Receiver(rib, source=source, peer=session.peer_address.packed, hops=self._hops)
        return Inbound(receivers, session.max_prefix)

    def _judge_by(self, peer: Peer, state: SpeakerState) -> None:
        session = peer.session
        decoder = Decoder(
            PeerView(
                ebgp=session.ebgp,
                four_octet_as=peer.negotiated is None or peer.negotiated.four_octet_as,
                local_as=session.local_as,
                peer_as=session.remote_as,
                allow_local_as=session.allow_local_as,
                router_id=state.settings.router_id.packed,
            )
        )
        for receiver in peer.receivers:
            receiver.judge_by(
                self._policies[receiver.family],
                standing=standing(session, state),
                decoder=decoder,
                tell=lambda reason, prefix: self._refused(session.name, reason, prefix),
            )
            if session.ebgp:
                priority = state.settings.normal_priority[receiver.family is Family.IPV6]
                receiver.source.preference = NORMAL_LOCAL_PREF_BASE - priority

    def _rejudge(self, peer: Peer, near: _Places | None, *, decode: bool = False) -> None:
        """Judge held paths again: those near the ranges, or all."""
        for receiver in peer.receivers:
            if near is None:
                wires = list(receiver.rib)
            else:
                ranges, quick = near[receiver.family]
                if not ranges:
                    continue
                held = receiver.rib.paths()
                wires = [(wire, held[wire]) for wire in quick.pick(held) if ranges.touches(wire)]
            if wires:
                receiver.rejudge(wires, room=peer.inbound.room, decode=decode)
            if near is None:
                receiver.rib.dirty.update(dict.fromkeys(receiver.rib.accepted))

    def _remove(self, name: str) -> None:
        peer = self._peers.pop(name, None)
        if peer is not None:
            for receiver in peer.receivers:
                receiver.rib.clear()
            self._notices.forget(name)

    # sessions

    def established(self, name: str, negotiated: Negotiated) -> None:
        """A session is up: stale routes that the peer did not preserve go, and it is told everything."""
        peer = self._peers.get(name)
        if peer is None or self._state is None:
            return
        now = self._clock()
        if peer.negotiated is not None:
            self._keep(peer, Loss(LossKind.REPLACED), now)
        peer.negotiated = negotiated
        peer.inbound.carry(negotiated.families)
        self._judge_by(peer, self._state)
        for receiver in peer.receivers:
            family = receiver.family
            kept = preserved(family, negotiated.restart, changed=peer.restart.changed)
            if receiver.rib.stale and not (kept and family in negotiated.families):
                receiver.rib.sweep()
            if receiver.source.router_id != negotiated.peer_router_id:
                receiver.source.router_id = negotiated.peer_router_id
                receiver.rib.dirty.update(dict.fromkeys(receiver.rib.accepted))
        peer.restart.back(now, negotiated.restart.restart_time if negotiated.restart else 0)
        self._complete_if_fresh(peer)
        peer.progress.established_at = peer.progress.heard_at = now
        promised = negotiated.restart.families if negotiated.restart is not None else ()
        peer.progress.graceful = bool(set(promised) & set(negotiated.families))
        peer.progress.missing = set(negotiated.families)
        if peer.progress.graceful:
            peer.progress.missing &= set(promised)
        peer.out = AdjRibOut(negotiated)
        peer.out.touch(self._state.announcements)
        for family in peer.out.uncarried:
            self._notices.say(
                Notice(
                    Reason.NO_ADDRESS,
                    f"nothing is announced in {family.key}: the session's local address {negotiated.local_address} "
                    "is no next hop for it",
                    name,
                ),
                now=now,
            )
        self._kick(name)

    def updates(self, name: str, bodies: Sequence[bytes]) -> None:
        """UPDATE bodies of an established session. Raises ``SessionError`` where the session must end."""
        peer = self._peers.get(name)
        if peer is None or peer.negotiated is None:
            return
        now = self._clock()
        peer.progress.heard_at = now
        try:
            complete = peer.inbound.updates(bodies)
        finally:
            self._watch_limit(peer, now)
        for family in complete:
            peer.inbound.receivers[family].rib.sweep()
            peer.progress.missing.discard(family)
        if complete:
            self._complete_if_fresh(peer)
            if not peer.progress.missing:
                peer.progress.done = True

    def refresh(self, name: str, family: Family) -> None:
        """The peer wants our announcements of a family again."""
        peer = self._peers.get(name)
        if peer is not None and peer.out is not None and self._state is not None:
            peer.out.resend(family, self._state.announcements)
            if peer.out.waiting:
                self._kick(name)

    def lost(self, name: str, loss: Loss) -> None:
        """The session ended: its routes turn stale or go."""
        peer = self._peers.get(name)
        if peer is None or peer.negotiated is None:
            return
        self._keep(peer, loss, self._clock())

    def _keep(self, peer: Peer, loss: Loss, now: float) -> None:
        negotiated = cast("Negotiated", peer.negotiated)
        families = kept_families(loss, negotiated)
        peer.negotiated = peer.out = peer.progress.established_at = None
        for receiver in peer.receivers:
            if receiver.family in families:
                receiver.rib.mark_stale()
            else:
                receiver.rib.clear()
        if families and negotiated.restart is not None:
            changed = loss.kind is LossKind.CHANGED
            peer.restart.lost(now, negotiated.restart.restart_time, changed=changed)
        self._complete_if_fresh(peer)

    def _complete_if_fresh(self, peer: Peer) -> None:
        if not any(receiver.rib.stale for receiver in peer.receivers):
            peer.restart.complete()

    # what peers are told

    def pull(self, name: str, limit: int) -> bytes:
        """Messages for a session, about ``limit`` bytes; empty: nothing to send."""
        peer = self._peers.get(name)
        if peer is None or peer.out is None or self._state is None:
            return b""
        return peer.out.pull(self._state.announcements, limit=limit)

    def farewell(self, name: str) -> bytes:
        """Withdrawals of all that a session was told."""
        peer = self._peers.get(name)
        return b"" if peer is None or peer.out is None else peer.out.farewell()

    # what the kernel says

    def metrics(self, metrics: Mapping[Address, int | None]) -> None:
        """The kernel's metric of next hops, None where there is no way."""
        changed: set[NextHop] = set()
        for address, metric in metrics.items():
            hop = self._hops.known.get(address.packed)
            if hop is not None and hop.metric != metric:
                hop.metric = metric
                changed.add(hop)
        if changed:
            for peer in self._peers.values():
                for receiver in peer.receivers:
                    receiver.hops_changed(changed)

    def interest(self) -> frozenset[Address]:
        """Next hops that paths have; one that no path has any more stays for up to ``SWEEP`` seconds."""
        now = self._clock()
        due = now - self._swept_at >= SWEEP
        if due:
            self._swept_at = now
            for peer in self._peers.values():
                for receiver in peer.receivers:
                    receiver.sweep_vias()
            live = {via.hop for receiver in self._all_receivers() for via in receiver.vias.values()}
            self._hops.known = {packed: hop for packed, hop in self._hops.known.items() if hop in live}
        if due or self._interest_hops != len(self._hops.known):
            self._interest_hops = len(self._hops.known)
            self._interest = frozenset(
                via.hop.address
                for receiver in self._all_receivers()
                for via in receiver.vias.values()
                if via.refusal is None
            )
        return self._interest

    # what the agent is told

    @property
    def dirty(self) -> bool:
        """Whether ``drain`` has something to decide."""
        return any(loc.dirty for loc in self._loc.values())

    def drain(self, limit: int) -> list[Routes | Withdrawn]:
        """Decide up to ``limit`` changed prefixes; what is now different from what was last drained."""
        frames: list[Routes | Withdrawn] = []
        for family, loc in self._loc.items():
            count = min(limit, len(loc.dirty))
            if count:
                limit -= count
                frames += loc.drain(self._ribs(family), limit=count, maximum_paths=self._maximum_paths)
        return frames

    def whole(self) -> list[Routes | Withdrawn]:
        """The whole Loc-RIB, for an agent that has been told nothing."""
        frames: list[Routes | Withdrawn] = []
        for family, loc in self._loc.items():
            ribs = self._ribs(family)
            loc.forget(ribs)
            frames += loc.drain(ribs, limit=len(loc.dirty), maximum_paths=self._maximum_paths)
        return frames

    @property
    def _maximum_paths(self) -> int:
        return self._state.settings.maximum_paths if self._state is not None else 1

    @property
    def in_sync(self) -> bool:
        """Whether every session of the start was complete once or may no longer be waited for; stays true."""
        if not self._synced and self._state is not None:
            now = self._clock()
            self._synced = all(at is None or at <= now for at in self._settling())
        return self._synced

    def _settling(self) -> list[float | None]:
        return [peer.progress.settled_at(peer.session, started=self._started) for peer in self._peers.values()]

    # time

    def deadline(self) -> float | None:
        """When ``expire`` should be called next, on the table's clock."""
        times = [peer.restart.deadline for peer in self._peers.values()]
        times.append(self._notices.deadline)
        if not self._synced and self._state is not None:
            times += self._settling()
        return min((time for time in times if time is not None), default=None)

    def expire(self, now: float) -> None:
        """Do what is due: forget stale paths of peers that did not come back, say what lasted."""
        for peer in self._peers.values():
            if peer.restart.deadline is not None and peer.restart.deadline <= now:
                for receiver in peer.receivers:
                    receiver.rib.sweep()
                peer.restart.complete()
                peer.inbound.admit()
        self._notices.expire(now, {Reason.ORIGIN_UNKNOWN: self._still_unknown})

    # what operators are told

    def report(self, states: Mapping[str, tuple[str, str]]) -> Report:
        """Counts by session; ``states``: each session's state and last reason, as the engine has them."""
        sessions = self._state.sessions if self._state is not None else {}
        return report(sessions, self._peers, states=states, own_blocks=self._own_blocks)

    def notices(self) -> list[Notice]:
        """Notices since the last call."""
        return self._notices.drain()

    def _refused(self, name: str, reason: Reason, prefix: Prefix) -> None:
        now = self._clock()
        if reason in _TOLD_AT_ONCE:
            self._notices.say(Notice(reason, _TOLD_AT_ONCE[reason].format(prefix), name), now=now)
        elif reason is Reason.ORIGIN_UNKNOWN:
            self._notices.watch(name, reason, now=now)

    def _still_unknown(self, name: str) -> Notice | None:
        peer = self._peers.get(name)
        if peer is None:
            return None
        count = sum(receiver.rib.refusals()[Reason.ORIGIN_UNKNOWN] for receiver in peer.receivers)
        if not count:
            return None
        return Notice(
            Reason.ORIGIN_UNKNOWN, f"announces {count} prefixes inside pools that lie in no known block", name
        )

    def _watch_limit(self, peer: Peer, now: float) -> None:
        limit, accepted = peer.session.max_prefix, peer.inbound.accepted
        if accepted * 100 < limit.limit * limit.warn_percent:
            return
        capped = any(receiver.rib.capped for receiver in peer.receivers)
        text = f"{accepted} of at most {limit.limit} prefixes are accepted"
        if capped:
            text += "; more are sent and refused" if limit.action == "Refuse" else "; more are sent, the session ends"
        self._notices.say(Notice(Reason.MAX_PREFIX, text, peer.session.name), now=now, interval=LIMIT_INTERVAL)

    # both families

    def _ribs(self, family: Family) -> list[AdjRibIn]:
        return [peer.inbound.receivers[family].rib for peer in self._peers.values()]

    def _all_receivers(self) -> list[Receiver]:
        return [receiver for peer in self._peers.values() for receiver in peer.receivers]

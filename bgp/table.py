"""The table: everything between the bytes that peers send and the routes that the agent gets, without any I/O.

It is given the whole desired state (``apply``), what sessions deliver (``SessionSink``) and what the kernel knows of
next hops (``metrics``). It gives the difference of the Loc-RIB (``drain``), the messages for each session (``pull``) and
reports. Time comes in by the clock it is given.

Cost: one changed prefix costs that prefix. A changed block or node has only the prefixes near it judged again. The fast
path of receiving is explained in ``receive``, that of deciding in ``rib``.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final, cast

from towpath.bgp.decision import ranked
from towpath.bgp.egress import Announcing, Egress, session_part
from towpath.bgp.interest import Interest
from towpath.bgp.judging import Judging, rejudge
from towpath.bgp.look import Look
from towpath.bgp.nexthops import hop_key
from towpath.bgp.notices import Notices
from towpath.bgp.outbound import AdjRibOut, Made, route_refresh
from towpath.bgp.path import NextHop, Path
from towpath.bgp.peer import Opening, Peer, judgement, reflection
from towpath.bgp.ports import Kick, Loss, LossKind, Negotiated, Standing
from towpath.bgp.receive import Receiver
from towpath.bgp.refreshes import Refreshes
from towpath.bgp.rejudging import Rejudgings
from towpath.bgp.report import report
from towpath.bgp.restart import kept_families, preserved
from towpath.bgp.rib import HELD, AdjRibIn, LocRib
from towpath.bgp.running import identity, withheld
from towpath.bgp.startup import Startup
from towpath.bgp.ways import Ways
from towpath.model.delta import diff
from towpath.model.net import Address, Family, Prefix
from towpath.model.reason import Reason
from towpath.model.speaker import (
    NextHopInterest,
    Notice,
    Report,
    Routes,
    Session,
    SpeakerState,
    StateChange,
    Withdrawn,
    apply_state,
)

SETTLE_PREFIXES: Final = 10_000
"""So many held prefixes are judged again at a time."""
LIMIT_INTERVAL: Final = 300.0
"""Seconds between notices that a prefix limit is near or reached."""
NEAR_BLOCKS: Final = frozenset(
    {Reason.ORIGIN_UNKNOWN, Reason.ORIGIN_INVALID, Reason.OWN_BLOCK, Reason.OWN_ADDRESS, Reason.SERVICE_RANGE}
)
"""Verdicts that blocks, nodes and ranges give: those that change with them."""
_TOLD_AT_ONCE: Final = {
    Reason.ORIGIN_INVALID: "announces {}, which lies in or over what is another node's",
    Reason.OWN_BLOCK: "announces {}, which lies in a block of this node",
    Reason.OWN_ADDRESS: "announces {}, an address of this node",
}


class Table:
    """Adj-RIBs-In, Loc-RIB and Adj-RIBs-Out of the speaker: implements ``SessionSink`` and ``Outbound``."""

    def __init__(self, *, kick: Kick, clock: Callable[[], float]) -> None:
        self._kick = kick
        self._clock = clock
        self._state: SpeakerState | None = None
        self._peers: dict[str, Peer] = {}
        self._startup = Startup(self._peers)
        self._loc = {family: LocRib(family) for family in Family}
        self._dirty = {family: loc.dirty for family, loc in self._loc.items()}
        self._judging = Judging(self._refused)
        self._announcing = Announcing(self._ranked)
        self._made: Made = {}
        self._rejudging = Rejudgings()
        self._interest = Interest(self._judging.hops)
        self._ways = Ways(self._ribs)
        self._notices = Notices()
        self._refreshes = Refreshes()

    # what is desired

    def change(self, change: StateChange) -> None:
        """Apply a difference to the state of the last ``apply``."""
        if self._state is None:
            raise ValueError("a change needs a state that it changes")
        self.apply(apply_state(self._state, change))

    def apply(self, state: SpeakerState) -> None:
        """Make this the state: sessions, policy and announcements; what did not change is not touched."""
        before, self._state = self._state, state
        self._startup.adopt(
            self._clock(),
            reflector=any(one.cluster_id is not None for one in state.sessions.values()),
            preserved=state.settings.forwarding_preserved,
        )
        self._announcing.deferring = self._startup.deferring
        near = self._judging.adopt(before, state)
        others_pools = before is None or before.settings.pools != state.settings.pools
        announced, reconsider = self._announcing.adopt(before, state)
        sessions = diff(before.sessions if before else {}, state.sessions)
        if sessions or others_pools:
            self._ways.adopt(state.settings.pools)
        for name in sessions.removed:
            self._remove(name)
        filters = diff(before.filters if before else {}, state.filters)
        for name, peer in self._peers.items():
            if near is None or not (filters.removed | filters.changed.keys()).isdisjoint(peer.session.filters):
                self._rejudge_all(name, peer)
            elif near:
                self._judge_by(name, peer)
                rejudge(peer, near)
                peer.inbound.admit()
                if others_pools or not NEAR_BLOCKS.isdisjoint(peer.inbound.forgot):
                    self._ask_again(name, peer)
        for name, session in sessions.changed.items():
            reconsider = self._adopt_session(name, session, state) or reconsider
        self._defer_no_longer()
        if before is not None and before.settings.maximum_paths != state.settings.maximum_paths:
            for family, loc in self._loc.items():
                for rib in self._ribs(family):
                    loc.dirty.update(dict.fromkeys(rib.accepted))
        for name, peer in self._peers.items():
            if reconsider:
                self._reconsider(name, peer)
            elif peer.out is not None:
                for family, wires in announced.items():
                    peer.out.touch(family, wires)
                if peer.out.waiting:
                    self._kick(name)
        self.settle(SETTLE_PREFIXES)

    def _adopt_session(self, name: str, session: Session, state: SpeakerState) -> bool:
        """Returns whether what this session told us may be told to others otherwise now."""
        peer = self._peers.get(name)
        if withheld(session) or (peer is not None and identity(peer.session) != identity(session)):
            self._remove(name)
            peer = None
        if peer is None:
            peer = self._peers[name] = Peer(session, self._judging.inbound(session, state, dirty=self._dirty))
            self._judging.judge_by(peer, state)
            return False
        before, peer.session = peer.session, session
        peer.inbound.limit = session.max_prefix
        if judgement(before) != judgement(session):
            self._rejudge_all(name, peer, decode=True)
        if session_part(before) != session_part(session):
            self._reconsider(name, peer)
        if reflection(before) == reflection(session):
            return False
        self._judge_by(name, peer)
        self._announcing.forget()
        return True

    def _judge_by(self, name: str, peer: Peer) -> None:
        """Judge by the present state from now on."""
        self._judging.judge_by(peer, cast("SpeakerState", self._state))
        self._rejudging.again(name, peer)

    def _rejudge_all(self, name: str, peer: Peer, *, decode: bool = False) -> None:
        """Judge by the present state from now on, and what is held piece by piece (``settle``)."""
        self._judging.judge_by(peer, cast("SpeakerState", self._state))
        for receiver in peer.receivers:
            self._rejudging.begin(name, receiver, decode=decode)
        self._ask_again(name, peer)

    def _ask_again(self, name: str, peer: Peer) -> None:
        """What was forgotten cannot be judged again: the peer has to send it once more."""
        if peer.inbound.forgot and peer.negotiated is not None and peer.negotiated.refresh:
            self._refreshes.want(name)
            self._kick(name)

    @property
    def unsettled(self) -> bool:
        """Whether held paths wait for being judged again."""
        return bool(self._rejudging)

    def settle(self, limit: int) -> None:
        """Judge up to ``limit`` held prefixes by the present state, where it changed for more than a few."""
        self._rejudging.settle(limit, self._peers)

    def _reconsider(self, name: str, peer: Peer) -> None:
        """Decide anew all that a session is told; only what differs is sent."""
        if peer.out is None or peer.egress is None:
            return
        peer.egress.adopt(peer.session)
        peer.out.look_again()
        self._touch_all(peer)
        self._kick(name)

    def _touch_all(self, peer: Peer) -> None:
        if peer.out is not None and peer.egress is not None:
            self._touch_out(peer.out, peer.egress)

    def _touch_out(self, out: AdjRibOut, egress: Egress) -> None:
        for family in out.carried:
            out.touch(family, self._announcing.own(family))
            if egress.redistributes and not self._announcing.deferring:
                for rib in self._ribs(family):
                    out.touch(family, rib.candidates())

    def _remove(self, name: str) -> None:
        peer = self._peers.pop(name, None)
        if peer is not None:
            self._startup.removed(peer)
            for receiver in peer.receivers:
                receiver.rib.clear()
            self._notices.forget(name)
            self._refreshes.forget(name)

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
        peer.inbound.forgot.clear()
        self._refreshes.forget(name)
        peer.inbound.carry(negotiated.families, with_paths=negotiated.paths_taken)
        for receiver in peer.receivers:
            receiver.source.four_octet_as = negotiated.four_octet_as
            receiver.ipv6_next_hops = negotiated.ipv6_next_hops
        self._judge_by(name, peer)
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
        peer.progress.restarting = negotiated.restart is not None and negotiated.restart.restarting
        peer.progress.missing = set(negotiated.families)
        if peer.progress.graceful:
            peer.progress.missing &= set(promised)
        self._startup.progressed()
        for family in self._begin_out(peer, negotiated).mute:
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
        self._defer_no_longer()

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
            for receiver in peer.inbound.of(family):
                receiver.rib.sweep()
            peer.progress.missing.discard(family)
        if complete:
            self._complete_if_fresh(peer)
            if not peer.progress.missing:
                peer.progress.done = True
                self._startup.progressed()
            self._defer_no_longer()

    def _defer_no_longer(self) -> None:
        """Tell what was learned, and that it is all, once a reflector that has started waits for nobody any more."""
        if not self._announcing.deferring or self._startup.deferred(self._clock()):
            return
        self._announcing.deferring = False
        learned = {family: dict.fromkeys(chain(*(rib.candidates() for rib in self._ribs(family)))) for family in Family}
        for name, peer in self._peers.items():
            if peer.out is not None and peer.egress is not None and peer.egress.redistributes:
                peer.out.holding = False
                for family, wires in learned.items():
                    peer.out.touch(family, wires)
                self._kick(name)

    def refresh(self, name: str, family: Family) -> None:
        """The peer wants our announcements of a family again."""
        peer = self._peers.get(name)
        if peer is not None and peer.out is not None:
            peer.out.resend(family)
            self._touch_all(peer)
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
        self._startup.progressed()
        peer.negotiated = peer.out = peer.egress = peer.progress.established_at = None
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

    def opening(self, name: str, negotiated: Negotiated, limit: int) -> bytes:
        """The first messages of a session that is up for the peer with them, and not yet for us."""
        peer = self._peers.get(name)
        if peer is None or self._state is None:
            return b""
        peer.opening = self._opening(peer, negotiated)
        return peer.opening.out.pull(limit=limit)

    def _opening(self, peer: Peer, negotiated: Negotiated) -> Opening:
        egress = Egress(negotiated, self._announcing, peer.session)
        holding = self._announcing.deferring and egress.redistributes
        out = AdjRibOut(negotiated, egress.told, self._made, holding=holding)
        self._touch_out(out, egress)
        return Opening(negotiated, out, egress, self._decides(peer))

    def _decides(self, peer: Peer) -> tuple[object, ...]:
        """What a session is told depends on."""
        return self._announcing.generation, self._announcing.deferring, peer.session

    def _begin_out(self, peer: Peer, negotiated: Negotiated) -> Egress:
        """Tell a session that is up what it was not told as it came up, or what differs by now."""
        opening, peer.opening = peer.opening, None
        if opening is None or opening.negotiated is not negotiated:
            opening = self._opening(peer, negotiated)
        elif opening.made_from != self._decides(peer):
            opening.egress.adopt(peer.session)
            opening.out.holding = self._announcing.deferring and opening.egress.redistributes
            opening.out.look_again()
            self._touch_out(opening.out, opening.egress)
        peer.out, peer.egress = opening.out, opening.egress
        return peer.egress

    def pull(self, name: str, limit: int) -> bytes:
        """Messages for a session, about ``limit`` bytes; empty: nothing to send."""
        peer = self._peers.get(name)
        if peer is None or peer.out is None:
            return b""
        asked = peer.negotiated is not None and self._refreshes.take(name, self._clock())
        questions = b"".join(map(route_refresh, sorted(peer.inbound.families))) if asked else b""
        made = peer.out.pull(limit=limit)
        if not made and peer.out.waiting:
            self._kick(name)  # it has looked at many prefixes in vain; others come first now
        return questions + made

    def farewell(self, name: str) -> bytes:
        """Withdrawals of all that a session was told."""
        peer = self._peers.get(name)
        return b"" if peer is None or peer.out is None else peer.out.farewell()

    # what the kernel says

    def metrics(self, metrics: Mapping[Address, int | None], *, interfaces: Mapping[Address, str]) -> None:
        """The kernel's metric of next hops, None where there is no way, and the interfaces that they are reached by."""
        changed: set[NextHop] = set()
        moved: set[NextHop] = set()
        for address, metric in metrics.items():
            hop = self._judging.hops.known.get(hop_key(address))
            if hop is None:
                continue
            if hop.metric != metric:
                hop.metric = metric
                changed.add(hop)
            if hop.interface != interfaces.get(address, ""):
                hop.interface = interfaces.get(address, "")
                moved.add(hop)
        if moved:
            self._announcing.forget()
        for name, peer in self._peers.items():
            for receiver in peer.receivers:
                if changed:
                    receiver.hops_changed(changed)
                if receiver.asks_for(moved):
                    self._rejudging.begin(name, receiver, decode=False)
            if moved and peer.egress is not None and peer.egress.redistributes:
                self._reconsider(name, peer)
        self.settle(SETTLE_PREFIXES)

    def interest(self) -> NextHopInterest:
        """Next hops that paths have, one that no path has any more for a while, and what leads to those off the link."""
        hops = self._interest
        hops.look(self._all_receivers, now=self._clock())
        return NextHopInterest(hops.addresses, hops.near, self._ways.look(hops.far, maximum_paths=self._maximum_paths))

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
                self._ways.decided(family, loc.decided)
                self._redistribute(family, loc.decided)
        return frames

    def _redistribute(self, family: Family, wires: Mapping[bytes, None]) -> None:
        """Sessions that are told what others told us look at prefixes that were decided."""
        if not wires:
            return
        self._announcing.moved(family, wires)
        if self._announcing.deferring:
            return
        for name, peer in self._peers.items():
            if peer.out is not None and peer.egress is not None and peer.egress.redistributes:
                peer.out.touch(family, wires)
                self._kick(name)

    @property
    def redistributes(self) -> bool:
        """Whether any session is told what others told us."""
        return any(peer.egress is not None and peer.egress.redistributes for peer in self._peers.values())

    def _ranked(self, family: Family, wire: bytes, limit: int) -> Sequence[Path]:
        """The best paths of a prefix, or of those that are nodes' and only for others; each has another next hop."""
        paths = [path for rib in self._ribs(family) if (path := rib.accepted.get(wire)) is not None]
        if not paths:
            passing = [path for rib in self._ribs(family) if (path := rib.passing.get(wire)) is not None]
            paths = [path for path in passing if path.via.node is not None and not path.via.source.ebgp]
        return ranked(paths, limit=limit)

    def whole(self) -> list[Routes | Withdrawn]:
        """The whole Loc-RIB, for an agent that has been told nothing."""
        frames: list[Routes | Withdrawn] = []
        for family, loc in self._loc.items():
            ribs = self._ribs(family)
            self._redistribute(family, loc.dirty)  # those that were not decided yet; the others are only told again
            loc.forget(ribs)
            frames += loc.drain(ribs, limit=len(loc.dirty), maximum_paths=self._maximum_paths)
            self._ways.decided(family, loc.decided)
        return frames

    @property
    def _maximum_paths(self) -> int:
        return self._state.settings.maximum_paths if self._state is not None else 1

    @property
    def in_sync(self) -> bool:
        """Whether every session of the start was complete once or may no longer be waited for; stays true."""
        return self._startup.in_sync(self._clock())

    def heard(self) -> frozenset[Address]:
        """Before that: the peers of which it is true already."""
        return self._startup.heard(self._clock())

    # time

    def deadline(self) -> float | None:
        """When ``expire`` should be called next, on the table's clock."""
        times = [peer.restart.deadline for peer in self._peers.values()]
        times += [self._notices.deadline, self._refreshes.deadline, *self._startup.deadlines(self._clock())]
        return min((time for time in times if time is not None), default=None)

    def expire(self, now: float) -> None:
        """Do what is due: forget stale paths of peers that did not come back, say what lasted."""
        for peer in self._peers.values():
            if peer.restart.deadline is not None and peer.restart.deadline <= now:
                for receiver in peer.receivers:
                    receiver.rib.sweep()
                peer.restart.complete()
                peer.inbound.admit()
        for name in self._refreshes.due(now):
            self._kick(name)
        self._defer_no_longer()
        self._notices.expire(now, {Reason.ORIGIN_UNKNOWN: self._still_unknown})

    # what operators are told

    def report(self, states: Mapping[str, Standing]) -> Report:
        """Counts by session; ``states``: each session as the engine has it."""
        if self._state is None:
            return Report(sessions=())
        return report(
            self._state.sessions,
            self._peers,
            states=states,
            own_blocks=self._judging.own_blocks,
            announced=self._state.announcements,
        )

    def look(self, states: Mapping[str, Standing]) -> Look:
        """For those who ask what is heard, used and told; ``states`` as for ``report``."""
        return Look(self._peers, self._loc, normal=self._normal_priority, report=self.report(states))

    def _normal_priority(self, family: Family) -> int:
        priorities = self._state.settings.normal_priority if self._state is not None else (0, 0)
        return priorities[family is Family.IPV6]

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
        if peer.inbound.forgot:
            text = f"sends more than {HELD} prefixes that may not be used; those beyond it are forgotten"
            self._notices.say(
                Notice(Reason.TOO_MANY_REFUSED, text, peer.session.name), now=now, interval=LIMIT_INTERVAL
            )
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
        return [receiver.rib for peer in self._peers.values() for receiver in peer.inbound.of(family)]

    def _all_receivers(self) -> list[Receiver]:
        return [receiver for peer in self._peers.values() for receiver in peer.receivers]

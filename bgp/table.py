"""The table: everything between the bytes that peers send and the routes that the agent gets, without any I/O.

It is given the whole desired state (``apply``), what sessions deliver (``SessionSink``) and what the kernel knows of
next hops (``metrics``). It gives the difference of the Loc-RIB (``drain``), the messages for each session (``pull``) and
reports. Time comes in by the clock it is given.

Cost: one changed prefix costs that prefix. A changed block or node has only the prefixes near it judged again. The fast
path of receiving is explained in ``receive``, that of deciding in ``rib``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from towpath.bgp.egress import session_part
from towpath.bgp.interest import Interest
from towpath.bgp.judging import Judging, rejudge
from towpath.bgp.look import Look
from towpath.bgp.nexthops import hop_key
from towpath.bgp.outbound import route_refresh
from towpath.bgp.path import NextHop
from towpath.bgp.peer import Peer, judgement, reflection
from towpath.bgp.ports import Kick, Loss, LossKind, Negotiated, Standing
from towpath.bgp.receive import Receiver
from towpath.bgp.refreshes import Refreshes
from towpath.bgp.rejudging import Rejudgings
from towpath.bgp.remarks import Remarks
from towpath.bgp.report import report
from towpath.bgp.restart import preserved
from towpath.bgp.rib import AdjRibIn, LocRib
from towpath.bgp.running import identity, withheld
from towpath.bgp.startup import Startup
from towpath.bgp.telling import Telling
from towpath.bgp.ways import Ways
from towpath.model.delta import diff
from towpath.model.net import Address, Family
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
NEAR_BLOCKS: Final = frozenset(
    {Reason.ORIGIN_UNKNOWN, Reason.ORIGIN_INVALID, Reason.OWN_BLOCK, Reason.OWN_ADDRESS, Reason.SERVICE_RANGE}
)
"""Verdicts that blocks, nodes and ranges give: those that change with them."""


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
        self._remarks = Remarks(self._peers, clock)
        self._judging = Judging(self._remarks.refused)
        self._telling = Telling(self._peers, ribs=self._ribs, startup=self._startup, kick=kick)
        self._rejudging = Rejudgings()
        self._interest = Interest(self._judging.hops)
        self._ways = Ways(self._ribs)
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
        self._telling.announcing.deferring = self._startup.deferring
        near = self._judging.adopt(before, state)
        others_pools = before is None or before.settings.pools != state.settings.pools
        announced, reconsider = self._telling.announcing.adopt(before, state)
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
        self._telling.defer_no_longer(self._clock())
        if before is not None and before.settings.maximum_paths != state.settings.maximum_paths:
            for family, loc in self._loc.items():
                for rib in self._ribs(family):
                    loc.dirty.update(dict.fromkeys(rib.accepted))
        self._telling.announced(announced, everything=reconsider)
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
            self._telling.reconsider(name, peer)
        if reflection(before) == reflection(session):
            return False
        self._judge_by(name, peer)
        self._telling.announcing.forget()
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

    def _remove(self, name: str) -> None:
        peer = self._peers.pop(name, None)
        if peer is not None:
            self._startup.removed(peer)
            for receiver in peer.receivers:
                receiver.rib.clear()
            self._remarks.forget(name)
            self._refreshes.forget(name)

    # sessions

    def established(self, name: str, negotiated: Negotiated) -> None:
        """A session is up: stale routes that the peer did not preserve go, and it is told everything."""
        peer = self._peers.get(name)
        if peer is None or self._state is None:
            return
        now = self._clock()
        if peer.negotiated is not None:
            peer.lose(Loss(LossKind.REPLACED), now)
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
        peer.complete_if_fresh()
        peer.progress.begin(negotiated, now)
        self._startup.progressed()
        for family in self._telling.begin(peer, negotiated).mute:
            self._remarks.mute(name, family, negotiated)
        self._kick(name)
        self._telling.defer_no_longer(self._clock())

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
            self._remarks.limits(peer)
        for family in complete:
            for receiver in peer.inbound.of(family):
                receiver.rib.sweep()
            peer.progress.missing.discard(family)
        if complete:
            peer.complete_if_fresh()
            if not peer.progress.missing:
                peer.progress.done = True
                self._startup.progressed()
            self._telling.defer_no_longer(self._clock())

    def refresh(self, name: str, family: Family) -> None:
        """The peer wants our announcements of a family again."""
        self._telling.resend(name, family)

    def lost(self, name: str, loss: Loss) -> None:
        """The session ended: its routes turn stale or go."""
        peer = self._peers.get(name)
        if peer is None or peer.negotiated is None:
            return
        self._startup.progressed()
        peer.lose(loss, self._clock())

    # what peers are told

    def opening(self, name: str, negotiated: Negotiated, limit: int) -> bytes:
        """The first messages of a session that is up for the peer with them, and not yet for us."""
        return self._telling.opening(name, negotiated, limit)

    def pull(self, name: str, limit: int) -> bytes:
        """Messages for a session, about ``limit`` bytes; empty: nothing to send."""
        peer = self._peers.get(name)
        if peer is None or peer.out is None:
            return b""
        asked = peer.negotiated is not None and self._refreshes.take(name, self._clock())
        questions = b"".join(map(route_refresh, sorted(peer.inbound.families))) if asked else b""
        return questions + self._telling.pull(name, limit)

    def farewell(self, name: str) -> bytes:
        """Withdrawals of all that a session was told."""
        return self._telling.farewell(name)

    @property
    def redistributes(self) -> bool:
        """Whether any session is told what others told us."""
        return self._telling.redistributes

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
            self._telling.announcing.forget()
        for name, peer in self._peers.items():
            for receiver in peer.receivers:
                if changed:
                    receiver.hops_changed(changed)
                if receiver.asks_for(moved):
                    self._rejudging.begin(name, receiver, decode=False)
            if moved and peer.egress is not None and peer.egress.redistributes:
                self._telling.reconsider(name, peer)
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
                self._telling.decided(family, loc.decided)
        return frames

    def whole(self) -> list[Routes | Withdrawn]:
        """The whole Loc-RIB, for an agent that has been told nothing."""
        frames: list[Routes | Withdrawn] = []
        for family, loc in self._loc.items():
            ribs = self._ribs(family)
            self._telling.decided(family, loc.dirty)  # those that were not decided yet; the others are only told again
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
        times += [self._remarks.deadline, self._refreshes.deadline, *self._startup.deadlines(self._clock())]
        return min((time for time in times if time is not None), default=None)

    def expire(self, now: float) -> None:
        """Do what is due: forget stale paths of peers that did not come back, say what lasted."""
        for peer in self._peers.values():
            if peer.restart.deadline is not None and peer.restart.deadline <= now:
                peer.sweep()
        for name in self._refreshes.due(now):
            self._kick(name)
        self._telling.defer_no_longer(self._clock())
        self._remarks.expire(now)

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
        return self._remarks.drain()

    # both families

    def _ribs(self, family: Family) -> list[AdjRibIn]:
        return [receiver.rib for peer in self._peers.values() for receiver in peer.inbound.of(family)]

    def _all_receivers(self) -> list[Receiver]:
        return [receiver for peer in self._peers.values() for receiver in peer.receivers]

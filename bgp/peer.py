"""A Peer: one session of the desired state and everything that the table knows of it; and what of a session matters."""

from collections.abc import Iterable
from typing import NamedTuple, cast

from towpath.bgp.egress import Egress
from towpath.bgp.inbound import Inbound
from towpath.bgp.outbound import AdjRibOut
from towpath.bgp.ports import Loss, LossKind, Negotiated
from towpath.bgp.receive import Receiver
from towpath.bgp.restart import Progress, Restart, kept_families
from towpath.model.speaker import Session, Settings


def judgement(session: Session) -> tuple[object, ...]:
    """What the verdicts on a session's paths depend on."""
    return (
        session.import_policy,
        session.max_prefix,
        session.allow_local_as,
        session.peer_node,
        session.neighbour,
        session.filters,
        session.cluster_id,
        session.role,
        session.own_hops,
    )


def global_settings(settings: Settings) -> tuple[object, ...]:
    """What the verdicts on all paths depend on."""
    return settings.node, settings.router_id, settings.own_addresses, settings.normal_priority


def reflection(session: Session) -> tuple[object, ...]:
    """What decides whom a session's paths are told, and with which marks."""
    return session.cluster_id, session.route_reflector_client, session.role


class Opening(NamedTuple):
    """What a session that is not up yet was told behind its KEEPALIVE."""

    negotiated: Negotiated
    out: AdjRibOut
    egress: Egress
    made_from: tuple[object, ...]
    """What decided it: if that is the same when the session is up, there is nothing to look at again."""


class Peer:
    """One session of the desired state and everything that is known of it."""

    def __init__(self, session: Session, inbound: Inbound) -> None:
        self.session = session
        self.inbound = inbound
        self.negotiated: Negotiated | None = None
        self.out: AdjRibOut | None = None
        self.egress: Egress | None = None
        self.opening: Opening | None = None
        self.restart = Restart()
        self.progress = Progress()

    @property
    def receivers(self) -> Iterable[Receiver]:
        """The receiving side, both families."""
        return self.inbound.all

    def lose(self, loss: Loss, now: float) -> None:
        """The session ended: what it told us turns stale, or goes."""
        negotiated, self.negotiated = cast("Negotiated", self.negotiated), None
        families = kept_families(loss, negotiated)
        self.out = self.egress = self.progress.established_at = None
        for receiver in self.receivers:
            if receiver.family in families:
                receiver.rib.mark_stale()
            else:
                receiver.rib.clear()
        if families and negotiated.restart is not None:
            self.restart.lost(now, negotiated.restart.restart_time, changed=loss.kind is LossKind.CHANGED)
        self.complete_if_fresh()

    def complete_if_fresh(self) -> None:
        """Its restart is over once nothing is stale."""
        if not any(receiver.rib.stale for receiver in self.receivers):
            self.restart.complete()

    def sweep(self) -> None:
        """Forget what is stale: it did not come back in time."""
        for receiver in self.receivers:
            receiver.rib.sweep()
        self.restart.complete()
        self.inbound.admit()

"""Graceful restart (RFC 4724, RFC 8538): what a loss does to a peer's routes, and when our own restart is over.

Helper: after a loss that may be a restart the routes stay, marked stale, until the peer has sent them again and
End-of-RIB, or its restart time is over. Restarter: we know what we do not know until every peer that was configured at
the start has sent End-of-RIB or may no longer be waited for; before that an absence means nothing.
"""

from typing import Final

from msgspec import Struct

from towpath.bgp.ports import Loss, LossKind, Negotiated, PeerRestart
from towpath.model.net import Family
from towpath.model.speaker import Session

CEASE: Final = 6
RESEND_TIME: Final = 60.0
"""Least time, in seconds, that a peer gets to send its table again once it is back."""
QUIET: Final = 3.0
"""A peer without graceful restart may never send End-of-RIB: after this many silent seconds its table is complete."""
PATIENCE: Final = 30.0
"""How long, from the start, a session is waited for on which we offer no graceful restart."""

_LOST_CONNECTION: Final = frozenset({LossKind.CONNECTION, LossKind.REPLACED, LossKind.CHANGED})
_NOTIFICATION: Final = frozenset({LossKind.NOTIFIED, LossKind.HOLD_TIMER, LossKind.REFUSED})


def kept_families(loss: Loss, negotiated: Negotiated) -> tuple[Family, ...]:
    """Families whose routes stay, stale, after this loss.

    A lost TCP connection keeps them wherever graceful restart was negotiated, and so does a session that we start anew
    with other parameters: the peer forwards all the while. Anything else that involves a NOTIFICATION does only with the
    N bit (RFC 8538 §4). What we ended on purpose (Cease), a hard reset, a removed session and a dead link keep nothing.
    """
    restart = negotiated.restart
    if restart is None:
        return ()
    ours = loss.kind is LossKind.REFUSED and loss.code == CEASE
    if loss.kind in _LOST_CONNECTION or (loss.kind in _NOTIFICATION and restart.notification and not ours):
        return tuple(family for family in negotiated.families if family in restart.families)
    return ()


def preserved(family: Family, restart: PeerRestart | None, *, changed: bool) -> bool:
    """Whether stale routes of a family outlive the new OPEN: it names the family and sets its F bit (RFC 4724 §4.2).

    F is the word of a peer that restarts. Where we ended the session to change it (``changed``) and the peer does not say
    that it restarts (R), nothing became of its forwarding, and F is not asked for: BIRD sets it only when it restarts.
    """
    if restart is None or family not in restart.families:
        return False
    return family in restart.preserved or (changed and not restart.restarting)


class Restart:
    """Timers of one peer; all times are those of the table's clock."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        """When what is still stale goes."""
        self.lost_at: float | None = None
        """The first loss since the peer was last complete."""
        self.changed = False
        """The last loss was a change of ours."""

    def lost(self, now: float, restart_time: int, *, changed: bool) -> None:
        """Routes were marked stale. A peer that is lost again before it was complete gets no more time than once."""
        self.changed = changed
        if self.lost_at is None or self.deadline is None:
            self.lost_at = now
        self.deadline = min(now, self.lost_at + RESEND_TIME) + restart_time

    def back(self, now: float, restart_time: int) -> None:
        """The session is up again: End-of-RIB is due."""
        if self.deadline is not None:
            self.deadline = now + max(float(restart_time), RESEND_TIME)

    def complete(self) -> None:
        """Nothing is stale any more."""
        self.deadline = None
        self.lost_at = None


class Progress(Struct):
    """How far one session has told us its table."""

    established_at: float | None = None
    graceful: bool = False
    missing: set[Family] = set()
    """Families without End-of-RIB in this session."""
    heard_at: float = 0.0
    restarting: bool = False
    """The peer itself has just restarted: it waits for us (RFC 4724 §4.1)."""
    done: bool = False
    """It was complete once since the start."""

    def begin(self, negotiated: Negotiated, now: float) -> None:
        """The session is up."""
        self.established_at = self.heard_at = now
        promised = negotiated.restart.families if negotiated.restart is not None else ()
        self.graceful = bool(set(promised) & set(negotiated.families))
        self.restarting = negotiated.restart is not None and negotiated.restart.restarting
        self.missing = set(negotiated.families)
        if self.graceful:
            self.missing &= set(promised)

    def settled_at(self, session: Session, *, started: float) -> float | None:
        """When this session is no longer waited for; None: it is not now."""
        if self.done or (session.state != "Active" and self.established_at is None):
            return None
        patience = started + (PATIENCE if session.restart_time is None else session.restart_time)
        if self.established_at is not None and not self.graceful:
            return min(patience, self.heard_at + QUIET)
        return patience

    def deferred(self, session: Session) -> bool:
        """Whether a reflector that has restarted waits for this session (RFC 4724 §4.1)."""
        if self.done or session.restart_time is None:
            return False
        if self.established_at is None:
            return session.state == "Active"
        return self.graceful and not self.restarting

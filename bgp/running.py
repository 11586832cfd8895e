"""Which sessions run, and what makes one another session: asked by the engine and by the table, so that they agree.

A session whose secret is missing is held: nothing new is opened, but one that is up goes on and keeps its routes
(RULES: who talks to whom, 10). All other reasons to withhold a session end it, on the wire and in the table alike.
"""

import enum
from collections.abc import Container

from msgspec import Struct

from towpath.model.reason import Reason
from towpath.model.secret import Secret
from towpath.model.speaker import Session, Settings


class Mode(enum.Enum):
    """Whether a session is to run."""

    RUN = "run"
    HOLD = "hold"
    """Nothing new, but what is established stays: the password is missing."""
    WITHHELD = "withheld"
    SEVERED = "severed"
    """The interface has no carrier."""
    SOUGHT = "sought"
    """Nobody knows the peer's address yet."""


def mode(session: Session, *, settings: Settings, passwords: Container[str]) -> Mode:
    """How a session is to run; ``passwords``: names of the sessions that have one."""
    if session.name in settings.severed:
        return Mode.SEVERED
    if withheld(session):
        return Mode.WITHHELD
    if session.state != "Active" or (session.password_ref is not None and session.name not in passwords):
        return Mode.HOLD
    return Mode.RUN if session.found else Mode.SOUGHT


def withheld(session: Session) -> bool:
    """Whether a session must not be up, and has no routes."""
    return session.state == "Withheld" and session.reason is not Reason.SECRET_MISSING


def identity(session: Session) -> tuple[object, ...]:
    """What makes it another session: its routes say nothing of the former's, and the peer must forget ours."""
    return session.peer_address, session.remote_as, session.local_as


def seen_by_peer(session: Session, settings: Settings, password: Secret | None) -> tuple[object, ...]:
    """All that the peer sees of a session beside its routes: if this changes, it must start anew.

    TTLs, keepalive and retry time are not among it: a connection that is up takes them over.
    """
    return (
        *(session.peer_address, session.peer_port, session.remote_as, session.local_as, session.local_address),
        *(session.families, session.hold_time, session.restart_time, session.role, session.strict_role),
        session.add_paths,
        *(settings.router_id, password),
    )


class Order(Struct, frozen=True):
    """What a session should be."""

    session: Session
    settings: Settings
    password: Secret | None
    mode: Mode

    @property
    def parameters(self) -> tuple[object, ...]:
        """All that the peer sees of it: if this changes, the session must start anew."""
        return seen_by_peer(self.session, self.settings, self.password)

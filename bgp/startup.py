"""Whom the table still waits for since its process has started, and what it does not say until then.

Two things wait: what the agent may believe to be gone (``in_sync``, and peer by peer ``heard``), and what a route
reflector tells its peers, which keep all that it told them before it restarted until its End-of-RIB (RFC 4724 §4.1).
Both end once, and stay so. Asked at every turn, each remembers one session that it waits for: only when that is done is
another looked for.
"""

from collections.abc import Mapping
from typing import Final

from towpath.bgp.peer import Peer
from towpath.model.net import Address

SHARE: Final = 0.75
"""Part of the shortest restart time for which a reflector waits: its peers keep its routes for the whole of it."""
COLD: Final = 10.0
"""The same, in seconds, where no routes of ours were found in the kernel: peers keep nothing of us then."""
ABSENT: Final = 30.0
"""Seconds from the start: a peer that is not back by then holds nothing up that another one has told."""


class Startup:
    """What is waited for, on the table's clock. ``peers`` is the table's own mapping."""

    def __init__(self, peers: Mapping[str, Peer]) -> None:
        self._peers = peers
        self._began: float | None = None
        self._synced = False
        self._unsettled: Peer | None = None
        self.deferring = False
        """Learned routes are not told yet, nor that they are all."""
        self._preserved = False
        self._awaited: Peer | None = None
        self._patience = 0.0
        self._heard: frozenset[Address] = frozenset()
        self._over: set[Address] = set()
        """Peers with a session that is not waited for; some may have another one."""
        self._look_again_at: float | None = 0.0
        """When somebody may have been waited for long enough; None: only events tell."""

    def adopt(self, now: float, *, reflector: bool, preserved: bool) -> None:
        """There is a state, or another one; ``preserved``: our routes were found in the kernel."""
        if self._began is None:
            self._began = now
            self.deferring = reflector
        self._preserved = preserved
        self._awaited = None

    def in_sync(self, now: float) -> bool:
        """Whether every session of the start was complete once or may no longer be waited for."""
        if not self._synced and self._began is not None:
            self._synced = self._settles(now) is None
        return self._synced

    def heard(self, now: float) -> frozenset[Address]:
        """Peers that have told all they have, are not back after ``ABSENT`` or have no session any more; none in sync.

        What others have told waits for none of them.
        """
        if self.in_sync(now) or self._began is None:
            return frozenset()
        if self._look_again_at is not None and self._look_again_at <= now:
            awaited: set[Address] = set()
            self._look_again_at = None
            for peer in self._peers.values():
                until = self._waits_until(peer)
                if until is not None and until > now:
                    awaited.add(peer.session.peer_address)
                    self._look_again_at = min(until, self._look_again_at or until)
                else:
                    self._over.add(peer.session.peer_address)
            self._heard |= self._over - awaited
        return self._heard

    def progressed(self) -> None:
        """A peer has told all it has, or a session came up or went."""
        self._look_again_at = 0.0

    def removed(self, peer: Peer) -> None:
        """A session was taken away."""
        if not self._synced:
            self._over.add(peer.session.peer_address)
            self.progressed()

    def _waits_until(self, peer: Peer) -> float | None:
        """How long what others have told waits for a peer; None: it does not."""
        began = self._began or 0.0
        at = peer.progress.settled_at(peer.session, started=began)
        return at if at is None or peer.progress.established_at is not None else min(at, began + ABSENT)

    def deferred(self, now: float) -> bool:
        """Whether a reflector still waits: for every peer that restarts gracefully and does so not at the same time."""
        if self.deferring:
            until = self._deferred_until()
            self.deferring = until is not None and until > now
        return self.deferring

    def deadlines(self, now: float) -> tuple[float | None, ...]:
        """When to ask again at the latest."""
        settles = look_again_at = None
        if not self._synced and self._began is not None:
            # who was waited for when ``in_sync`` was asked may not be any more: then it has to be asked again at once
            settles, look_again_at = self._settles(now) or now, self._look_again_at
        return settles, look_again_at or None, self._deferred_until() if self.deferring else None

    def _settles(self, now: float) -> float | None:
        """When a session that is waited for may no longer be; None: there is none."""
        for peer in (self._unsettled, *self._peers.values()):
            if peer is not None and self._is_there(peer):
                at = peer.progress.settled_at(peer.session, started=self._began or 0.0)
                if at is not None and at > now:
                    self._unsettled = peer
                    return at
        return None

    def _deferred_until(self) -> float | None:
        peer = self._awaited
        if peer is None or not self._is_there(peer) or not peer.progress.deferred(peer.session):
            self._awaited = next((one for one in self._peers.values() if one.progress.deferred(one.session)), None)
            if self._awaited is None:
                return None
            offered = (one.session.restart_time for one in self._peers.values())
            patience = SHARE * min(time for time in offered if time is not None)
            self._patience = patience if self._preserved else min(patience, COLD)
        return (self._began or 0.0) + self._patience

    def _is_there(self, peer: Peer) -> bool:
        return self._peers.get(peer.session.name) is peer

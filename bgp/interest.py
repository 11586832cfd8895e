"""Which next hops the kernel is asked about: those of all held paths that may be used, next hops of the past left out."""

from collections.abc import Callable, Iterable
from typing import Final

from towpath.bgp.nexthops import NextHops
from towpath.bgp.receive import Receiver
from towpath.model.net import Address

SWEEP: Final = 30.0
"""Seconds between looks for next hops that no path has any more."""


class Interest:
    """The sets, kept: they are looked for anew only when a session has begun to use a next hop or ``SWEEP`` seconds have passed."""

    def __init__(self, hops: NextHops) -> None:
        self._hops = hops
        self.addresses: frozenset[Address] = frozenset()
        self.near: frozenset[Address] = frozenset()
        """Those at which an external neighbour on the link is itself, whoever else tells of them; ``far``: the others."""
        self.far: frozenset[Address] = frozenset()
        self._begun = 0
        self._swept_at: float | None = None

    def look(self, receivers: Callable[[], Iterable[Receiver]], *, now: float) -> None:
        """Bring the sets up to date; ``receivers`` gives the receivers of all sessions."""
        if self._swept_at is None:
            self._swept_at = now
        due = now - self._swept_at >= SWEEP
        if due:
            self._swept_at = now
            for receiver in receivers():
                receiver.sweep_vias()
            live = {via.hop for receiver in receivers() for via in receiver.vias.values()}
            self._hops.known = {packed: hop for packed, hop in self._hops.known.items() if hop in live}
        if due or self._begun != self._hops.begun:
            self._begun = self._hops.begun
            vias = [via for receiver in receivers() for via in receiver.vias.values() if via.refusal is None]
            self.addresses = frozenset(via.hop.address for via in vias)
            self.near = frozenset(via.hop.address for via in vias if via.direct)
            self.far = self.addresses - self.near

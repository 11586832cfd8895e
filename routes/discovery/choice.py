"""Which router is the peer of an interface: the one that is there, and another only once that one is gone.

Anybody on a link can say to be a router. So whoever was chosen stays chosen while the session with it is up, and also
without a session while it answers. A link that was down may have another router at its end: then the first to be heard
is chosen. Two fields are all that is remembered, however many say to be routers. Pure; times are seconds of any clock.
"""

from towpath.model.net import Address

SILENCE = 5.0
"""Seconds without a word, asked every second, after which a chosen router counts as gone where its session is down."""


class Choice:
    """The router of one interface. ``router``: who was chosen before, if anybody."""

    def __init__(self, router: Address | None, *, now: float) -> None:
        self.router = router
        self._heard = now
        self.established = False
        """Whether the session with it is up."""

    def doubt(self) -> None:
        """The link was down: who is at its other end now is open."""
        self._heard = float("-inf")

    def hear(self, router: Address, *, now: float) -> bool:
        """A router said that it is there; whether that makes it another choice."""
        if router == self.router:
            self._heard = now
            return False
        if self.router is not None and (self.established or now - self._heard < SILENCE):
            return False
        self.router, self._heard = router, now
        return True

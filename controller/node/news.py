"""Which of a node's warnings are news: each once, for as long as it lasts, and none that a node gets over while it joins."""

from collections.abc import Iterable

from towpath.model.reason import Reason, Refusal, Why

JOINING = 10.0
"""Seconds for which a node may be without addresses before anybody is told: the controller writes them when it sees the node."""
_TOLD_BY_OTHERS = frozenset({Reason.LISTEN_REFUSED, Reason.ADDRESS_DIFFERS})
"""By the speaker, of a port; by the controller, of the pod itself."""


class News:
    """Remembers what was said of which object."""

    def __init__(self) -> None:
        self._since: dict[tuple[Reason, Why], float] = {}
        self._told: set[tuple[Reason, Why]] = set()

    @property
    def waiting(self) -> bool:
        """Whether something is to be told if it is still so after a while."""
        return len(self._told) < len(self._since)

    def of(self, warnings: Iterable[Refusal], *, now: float) -> list[Refusal]:
        """Those that are about another object, or for another reason, than all that hold since before.

        ``now`` is the monotonic clock in seconds.
        """
        held = {(one.reason, one.object): one for one in warnings if one.reason not in _TOLD_BY_OTHERS}
        self._since = {key: self._since.get(key, now) for key in held}
        self._told &= held.keys()
        found = [
            key
            for key, since in self._since.items()
            if key not in self._told and now - since >= (JOINING if key[0] is Reason.NO_ADDRESS else 0)
        ]
        self._told.update(found)
        return [held[key] for key in found]

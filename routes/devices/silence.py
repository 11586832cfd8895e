"""Ends that a device asks for in its group and that do not answer: since when, and whether that is long enough to be said.

One that answers is forgotten at once. One of which the kernel knows nothing any more counts as before: nobody has asked.
"""

from collections.abc import Collection, Mapping

from towpath.model.net import Address
from towpath.routes.devices.port import Answer, AnswerEvent

PATIENCE = 30.0
"""Seconds for which an end may be silent: a node that starts anew is."""


class Silence:
    """Times are those of the event loop."""

    def __init__(self) -> None:
        self._since: dict[str, dict[Address, float]] = {}

    def is_news(self, event: AnswerEvent) -> bool:
        """Whether an answer changes what is known of its device."""
        return (event.answer == "lost") is not (event.address in self._since.get(event.name, ()))

    def look(self, name: str, ends: Collection[Address], *, answers: Mapping[Address, Answer], now: float) -> None:
        """What became of asking for the ends of a device."""
        before = self._since.get(name, {})
        lost = {
            address: before.get(address, now)
            for address in ends
            if answers.get(address) == "lost" or (address in before and address not in answers)
        }
        if lost:
            self._since[name] = lost
        else:
            self._since.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Forget other devices."""
        self._since = {name: lost for name, lost in self._since.items() if name in names}

    def overdue(self, now: float) -> dict[str, tuple[Address, ...]]:
        """The ends that are silent for too long, by device."""
        found = {
            name: tuple(address for address, since in lost.items() if now - since >= PATIENCE)
            for name, lost in self._since.items()
        }
        return {name: lost for name, lost in found.items() if lost}

    def due_in(self, now: float) -> float | None:
        """Seconds until another end is; None: none will be."""
        left = (since + PATIENCE - now for lost in self._since.values() for since in lost.values())
        return min((one for one in left if one > 0), default=None)

"""Notices to operators, at a bearable rate: each kind has a patience (silent that long) and an interval (then one each).

What has passed before its patience is over was never worth a word.
"""

from collections.abc import Callable, Mapping
from typing import Final

from towpath.model.reason import Reason
from towpath.model.speaker import Notice

INTERVAL: Final = 30.0
PATIENCE: Final = 30.0


class Notices:
    """Notices due and to come, by session and reason."""

    def __init__(self) -> None:
        self._due: list[Notice] = []
        self._said: dict[tuple[str, Reason], float] = {}
        self._since: dict[tuple[str, Reason], float] = {}

    def say(self, notice: Notice, *, now: float, interval: float = INTERVAL) -> None:
        """Say it now, unless the same was said less than ``interval`` seconds ago."""
        key = (notice.session, notice.reason)
        if now - self._said.get(key, float("-inf")) >= interval:
            self._said[key] = now
            self._due.append(notice)

    def watch(self, session: str, reason: Reason, *, now: float) -> None:
        """Something began that is worth a word only if it lasts."""
        self._since.setdefault((session, reason), now)

    @property
    def deadline(self) -> float | None:
        """When a watched thing has lasted long enough."""
        return min(self._since.values()) + PATIENCE if self._since else None

    def expire(self, now: float, lasting: Mapping[Reason, Callable[[str], Notice | None]]) -> None:
        """Ask about what was watched for long enough: a notice, or None where it has passed."""
        for key, since in list(self._since.items()):
            if now - since >= PATIENCE:
                del self._since[key]
                notice = lasting[key[1]](key[0])
                if notice is not None:
                    self.say(notice, now=now)

    def forget(self, session: str) -> None:
        """The session is gone."""
        for known in (self._said, self._since):
            for key in [key for key in known if key[0] == session]:
                del known[key]

    def drain(self) -> list[Notice]:
        """What is due, once."""
        due, self._due = self._due, []
        return due

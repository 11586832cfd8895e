"""Which peers are to be asked for their routes again (RFC 2918): those of whom more was refused than is held, when policy changes.

Each is asked at most once in a while, however often policy changes: the answer may be a million prefixes.
"""

from typing import Final

INTERVAL: Final = 60.0
"""Seconds between two questions to one peer."""


class Refreshes:
    """Questions that are to be asked, by session; all times are the table's."""

    def __init__(self) -> None:
        self._wanted: set[str] = set()
        self._asked: dict[str, float] = {}

    def want(self, session: str) -> None:
        """Ask this peer, as soon as it may be asked again."""
        self._wanted.add(session)

    def due(self, now: float) -> list[str]:
        """Whom to ask now."""
        return sorted(name for name in self._wanted if self._at(name) <= now)

    def take(self, session: str, now: float) -> bool:
        """Whether it is to be asked now; then it counts as asked."""
        if session not in self._wanted or self._at(session) > now:
            return False
        self._wanted.discard(session)
        self._asked[session] = now
        return True

    def forget(self, session: str) -> None:
        """The session has ended: whoever comes back sends everything."""
        self._wanted.discard(session)
        self._asked.pop(session, None)

    @property
    def deadline(self) -> float | None:
        """When somebody may be asked next."""
        return min(map(self._at, self._wanted), default=None)

    def _at(self, session: str) -> float:
        return self._asked.get(session, float("-inf")) + INTERVAL

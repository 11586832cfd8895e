"""The mass-withdraw breaker: many objects that vanish at once are not believed before a second look agrees.

One breaker a kind; it knows names and times only. What vanishes beyond the limit is *held*: it stays in force until a
listing at least ``CONFIRM_AFTER`` seconds later lacks it too. What was believed moments before the limit was crossed
comes back into force, because it belongs to the same event.
"""

from collections.abc import Collection

BREAKER_KINDS = frozenset({"Node", "RoutingNode", "IPPool", "IPAMBlock", "BGPPeer"})
WINDOW = 30.0
CONFIRM_AFTER = 30.0
FEW = 3
"""This many may always go."""


class Breaker:
    """Which of the objects of one kind are in force. ``now`` is monotonic seconds, in every call."""

    def __init__(self) -> None:
        self._present: set[str] = set()
        self._recent: dict[str, float] = {}
        self._expected: frozenset[str] = frozenset()
        self._listed = False
        self.held: dict[str, float] = {}
        """Objects that vanished and are not believed to be gone, with the time of the first sight of that."""

    @property
    def in_force(self) -> frozenset[str]:
        """All names that count."""
        return frozenset(self._present | self.held.keys())

    def __contains__(self, name: str) -> bool:
        return name in self._present or name in self.held

    @property
    def look_again_at(self) -> float | None:
        """When a listing can settle what is held; None while nothing is."""
        return max(self.held.values()) + CONFIRM_AFTER if self.held else None

    def expect(self, names: Collection[str], *, now: float) -> None:
        """Objects that existed before this process began: one that is not there has vanished, now or by the first listing."""
        if self._listed:
            self._vanish(set(names) - self._present - self.held.keys(), now=now)
        else:
            self._expected |= frozenset(names)

    def added(self, name: str) -> None:
        """The object exists."""
        self._present.add(name)
        self.held.pop(name, None)
        self._recent.pop(name, None)

    def deleted(self, name: str, *, now: float) -> None:
        """A watch says that the object is gone."""
        if name in self._present:
            self._vanish({name}, now=now)

    def listed(self, names: Collection[str], *, now: float) -> None:
        """A complete listing: what it has exists, what it lacks for the second time is gone."""
        for name in names:
            self.added(name)
        self._forget(now)
        for name, since in list(self.held.items()):
            if now >= since + CONFIRM_AFTER:
                del self.held[name]
        missing = (self._present | self._expected).difference(names)
        self._listed, self._expected = True, frozenset()
        self._vanish(missing, now=now)

    def doubt(self, *, now: float) -> None:
        """The kind itself is in doubt: what vanished within the window comes back until a listing agrees."""
        self._forget(now)
        self.held |= {name: now for name in self._recent if name not in self.held}
        self._recent.clear()

    def recalls(self, name: str) -> bool:
        """Whether the object may still come back into force: its value has to be kept."""
        return name in self._recent or name in self.held

    def _forget(self, now: float) -> None:
        self._recent = {name: when for name, when in self._recent.items() if now < when + WINDOW}

    def _vanish(self, names: set[str], *, now: float) -> None:
        if not names:
            return
        self._forget(now)
        lost = names | self._recent.keys() | self.held.keys()
        before = len(self._present | lost)
        self._present -= names
        if len(lost) > FEW and 4 * len(lost) > before:
            self.held |= {name: now for name in lost if name not in self.held}
            self._recent.clear()
        else:
            self._recent |= dict.fromkeys(names, now)

"""Events on the Node object: what the speaker or the agent wants an operator to see, limited and never in the way."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

LONGEST_NOTE = 1024
"""Of an Event's note, by the API."""


class EventLimits(Struct, frozen=True):
    """Events with the same words at most once in ``repeat`` seconds; of all, ``burst`` at once and one each ``refill`` seconds."""

    repeat: float = 300.0
    burst: int = 20
    refill: float = 10.0


class EventFilter:
    """Says which events pass the limits; times are of one monotonic clock."""

    def __init__(self, limits: EventLimits | None = None) -> None:
        self._limits = limits or EventLimits()
        self._seen: dict[tuple[str, str], float] = {}
        self._tokens = float(self._limits.burst)
        self._at = 0.0

    def passes(self, reason: str, note: str, *, now: float) -> bool:
        """Whether this event may be written now; then it counts as written."""
        limits = self._limits
        self._seen = {key: at for key, at in self._seen.items() if now - at < limits.repeat}
        self._tokens = min(limits.burst, self._tokens + (now - self._at) / limits.refill)
        self._at = now
        if (reason, note) in self._seen or self._tokens < 1:
            return False
        self._tokens -= 1
        self._seen[reason, note] = now
        return True


def event(node: str, *, uid: str, reason: str, note: str, now: Callable[[], datetime] | None = None) -> dict[str, Any]:
    """An ``Event`` (core/v1) of type Warning that concerns a Node; it lies in namespace ``default``, as kubelet's do."""
    moment = (now or (lambda: datetime.now(UTC)))()
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{node}.{moment.timestamp():.6f}".replace("_", "-"), "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid or node},
        "reason": reason,
        "message": note[:LONGEST_NOTE],
        "type": "Warning",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": "towpath-agent", "host": node},
        "reportingComponent": "towpath.io/agent",
        "reportingInstance": node,
    }

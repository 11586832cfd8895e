"""What a node reports of itself: its ``NodeStatus`` and the status of its ``RoutingNode``, neither too often.

Composing a status and deciding when to write it are pure functions; ``StatusWriter`` is the few lines that write.
"""

import contextlib
import random
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from towpath.controller.ports import AlreadyExistsError, Api, NotFoundError
from towpath.model.codec import to_builtins
from towpath.model.kinds.kind import API_VERSION
from towpath.model.kinds.node import NodeStatusStatus, RoutingNodeStatus
from towpath.model.reason import Reason
from towpath.model.resource import Condition

NAMED = 8
"""Names that a message lists at most, before it counts the others."""


class Limits(Struct, frozen=True):
    """Seconds between two writes: for numbers that drift, and for conditions that changed."""

    calm: float = 30.0
    urgent: float = 1.0
    jitter: float = 0.2


def condition(kind: str, *, holds: bool | None, reason: str, message: str = "") -> Condition:
    """A condition without its time; ``holds`` None is Unknown."""
    status = "Unknown" if holds is None else str(holds)
    return Condition(type=kind, status=status, reason=reason, message=message)


def problem(kind: str, reason: Reason, sentences: Iterable[str], *, fine: str) -> Condition:
    """A condition that is True while there are sentences, False with reason ``fine`` otherwise."""
    known = sorted(set(sentences))
    if not known:
        return condition(kind, holds=False, reason=fine)
    return condition(kind, holds=True, reason=reason, message=listed(known))


def listed(names: Iterable[str]) -> str:
    """Names joined for a message; a long list ends with how many more there are."""
    known = list(names)
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return "; ".join(known[:NAMED]) + more


def with_times(conditions: Iterable[Condition], *, before: Iterable[Condition], now: str) -> tuple[Condition, ...]:
    """Conditions with their transition times: kept where the status is as before, ``now`` (RFC 3339) elsewhere."""
    earlier = {one.type: one for one in before}
    timed = []
    for one in sorted(conditions, key=lambda each: each.type):
        same = earlier.get(one.type)
        kept = same is not None and same.status == one.status and same.last_transition_time
        timed.append(msgspec.structs.replace(one, last_transition_time=kept or now))
    return tuple(timed)


def urgent(before: NodeStatusStatus | None, after: NodeStatusStatus) -> bool:
    """Whether a difference should be seen at once: conditions, session states, whose block is whose; not counters."""
    return before is None or _gist(before) != _gist(after)


def _gist(status: NodeStatusStatus) -> object:
    return (
        status.node_uid,
        status.in_sync,
        {one.name: one.state for one in status.sessions},
        {one.cidr: one.drained for one in status.blocks},
        status.foreign_paths,
        {(one.type, one.status, one.reason) for one in status.conditions},
    )


class Schedule:
    """When a status may be written; all times are of one monotonic clock."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._last = -1e9
        self._calm = self._limits.calm

    def wait(self, *, now: float, is_urgent: bool) -> float:
        """Seconds until it may be written; zero or less is now."""
        return self._last + (self._limits.urgent if is_urgent else self._calm) - now

    def written(self, *, now: float) -> None:
        """It was written, or tried."""
        self._last = now
        self._calm = self._limits.calm * (1 + random.uniform(0, self._limits.jitter))


class StatusWriter:
    """Writes the objects of one node; remembers what it wrote and stays silent while nothing differs."""

    def __init__(self, api: Api, *, node: str, limits: Limits | None = None) -> None:
        self._api = api
        self._node = node
        self._schedule = Schedule(limits)
        self.written: NodeStatusStatus | None = None
        self._found: RoutingNodeStatus | None = None

    async def offer(self, status: NodeStatusStatus, found: RoutingNodeStatus | None, *, now: float) -> float | None:
        """Write what changed if it is time to; returns seconds until it should be offered again, None: nothing to write.

        Raises ``ApiError``; then nothing counts as written.
        """
        changed, moved = status != self.written, found is not None and found != self._found
        if not changed and not moved:
            return None
        wait = self._schedule.wait(now=now, is_urgent=moved or urgent(self.written, status))
        if wait > 0:
            return wait
        self._schedule.written(now=now)
        if moved and found is not None:
            try:
                await self._api.patch_status("RoutingNode", self._node, {"status": to_builtins(found)})
                self._found = found
            except NotFoundError:
                pass  # the controller makes it; offered again with the next status
        if changed:
            await self._write(to_builtins(status))
            self.written = status
        return None

    async def _write(self, status: Mapping[str, Any]) -> None:
        try:
            await self._api.patch_status("NodeStatus", self._node, {"status": status})
        except NotFoundError:
            body = {"apiVersion": API_VERSION, "kind": "NodeStatus", "metadata": {"name": self._node}, "spec": {}}
            with contextlib.suppress(AlreadyExistsError):
                await self._api.create("NodeStatus", body)
            await self._api.patch_status("NodeStatus", self._node, {"status": status})

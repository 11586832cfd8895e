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
from towpath.controller.reports import beyond_limit
from towpath.model.codec import to_builtins
from towpath.model.decode import decode
from towpath.model.kinds.kind import API_VERSION
from towpath.model.kinds.node import NodeStatusStatus, RoutingNodeStatus
from towpath.model.net import Family, family_of
from towpath.model.reason import InvalidSpecError, Reason
from towpath.model.resource import Condition

NAMED = 8
"""Names that a message lists at most, before it counts the others."""


class Limits(Struct, frozen=True):
    """Seconds between two writes: for numbers that drift, and for conditions that changed."""

    calm: float = 30.0
    urgent: float = 1.0
    burst: int = 10
    """Writes because of conditions at most, before one that flaps has to wait for ``refill`` seconds each."""
    refill: float = 10.0
    jitter: float = 0.2
    """The part of ``calm`` and ``heartbeat`` that chance makes longer or shorter: nodes do not write in step."""
    heartbeat: float = 540.0
    """After so long it is written although nothing changed: who offers once a minute writes it within ten."""
    watched: float = 45.0
    """The same where somebody waits for every report: once a minute."""


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
    """Whether a difference should be seen at once: conditions, and what the controller waits for; no numbers or messages."""
    return before is None or _gist(before) != _gist(after)


def _content(status: NodeStatusStatus) -> NodeStatusStatus:
    return msgspec.structs.replace(status, reported_at="")


def _gist(status: NodeStatusStatus) -> object:
    return (
        status.node_uid,
        {one.cidr: one.drained and one.drained_version for one in status.blocks},
        status.foreign_paths,
        {(one.type, one.status, one.reason) for one in status.conditions},
        {(one.kind, one.name, one.field, one.reason) for one in status.refusals},
        {one.name for one in status.sessions if beyond_limit(one)},
        {(one.pools, one.waiting.bit_length(), one.pods > 0) for one in status.pool_needs},
        status.requested_addresses,
        _lack(status).bit_length(),  # when pods come by the dozen: each time that twice as many wait
    )


def _lack(status: NodeStatusStatus) -> int:
    """How many addresses the node's blocks are short of, in the family that has fewest."""
    room: dict[Family, int] = {}
    for one in (block for block in status.blocks if block.primary):
        room[family_of(one.cidr)] = room.get(family_of(one.cidr), 0) + one.capacity
    return max(0, status.wanted_addresses - min(room.values(), default=0))


class Schedule:
    """When a status may be written; all times are of one monotonic clock."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._last: float | None = None
        self._tokens = float(self._limits.burst)
        self._drawn = 0.0
        self._draw()

    def wait(self, *, now: float, is_urgent: bool) -> float:
        """Seconds until it may be written; zero or less is now."""
        limits = self._limits
        if is_urgent:
            spaced = self._last + limits.urgent - now if self._last is not None else 0.0
            return max(spaced, (1 - self._held(now)) * limits.refill)
        if self._last is None:  # a new process: nodes that start together do not write together
            self._last = now - self._calm * random.random()
        return self._last + self._calm - now

    def beats(self, *, now: float, watched: bool) -> bool:
        """Whether it has been silent for too long."""
        return self._last is None or now - self._last >= (self._limits.watched if watched else self._beat)

    def written(self, *, now: float, is_urgent: bool) -> None:
        """It was written, or tried."""
        if is_urgent:
            self._tokens, self._drawn = self._held(now) - 1, now
        self._last = now
        self._draw()

    def _held(self, now: float) -> float:
        return min(self._limits.burst, self._tokens + max(0.0, now - self._drawn) / self._limits.refill)

    def _draw(self) -> None:
        limits = self._limits
        self._calm = limits.calm * (1 + random.uniform(0, limits.jitter))
        self._beat = limits.heartbeat * (1 - random.uniform(0, limits.jitter))


class StatusWriter:
    """Writes the objects of one node; remembers what it wrote, and while nothing differs writes a sign of life now and then.

    A controller whose store was restored from a backup claims nothing before every node has reported again, and a report
    that changes nothing is no report: the API server does not keep it. So each has the time in it. Offer once a minute.
    """

    def __init__(self, api: Api, *, node: str, alone: bool = False, limits: Limits | None = None) -> None:
        """``alone``: a status may be there without a Node; else it is made for a Node only, as nobody would remove it."""
        self._api = api
        self._node = node
        self._alone = alone
        self._schedule = Schedule(limits)
        self.written: NodeStatusStatus | None = None
        self._found: RoutingNodeStatus | None = None
        self._recalled = self._doubted = False

    def doubt(self) -> None:
        """What was written may be undone, and somebody wait for it: it is written once more."""
        self._doubted, self._found = True, None

    async def recall(self) -> None:
        """Once: take what an earlier process wrote as written, so that conditions keep their times. ``ApiError``: again."""
        if self._recalled:
            return
        try:
            body = await self._api.get("NodeStatus", self._node)
            self.written = decode("NodeStatus", {**body, "spec": {}}).status
        except (NotFoundError, InvalidSpecError):
            pass
        self._recalled = True

    async def offer(
        self, status: NodeStatusStatus, found: RoutingNodeStatus | None, *, now: float, watched: bool = False
    ) -> float | None:
        """Write what changed if it is time to; returns seconds until it should be offered again, None: nothing to write.

        ``watched``: somebody waits for every report. Raises ``ApiError``; then nothing counts as written.
        """
        changed = self.written is None or _content(status) != _content(self.written)
        changed = changed or self._doubted or self._schedule.beats(now=now, watched=watched)
        moved = found is not None and found != self._found
        self._found = None if found is None else self._found  # it is gone: the next one says nothing of us yet
        if not changed and not moved:
            return None
        is_urgent = moved or self._doubted or urgent(self.written, status)
        wait = self._schedule.wait(now=now, is_urgent=is_urgent)
        if wait > 0:
            return wait
        self._schedule.written(now=now, is_urgent=is_urgent)
        if moved and found is not None:
            try:
                await self._api.patch_status("RoutingNode", self._node, {"status": to_builtins(found)})
                self._found = found
            except NotFoundError:
                pass  # the controller makes it; offered again with the next status
        if changed:
            await self._write(to_builtins(status), create=self._alone or bool(status.node_uid))
            self.written, self._doubted = status, False
        return None

    async def _write(self, status: Mapping[str, Any], *, create: bool) -> None:
        try:
            await self._api.patch_status("NodeStatus", self._node, {"status": status})
        except NotFoundError:
            if not create:
                return
            body = {"apiVersion": API_VERSION, "kind": "NodeStatus", "metadata": {"name": self._node}, "spec": {}}
            with contextlib.suppress(AlreadyExistsError):
                await self._api.create("NodeStatus", body)
            await self._api.patch_status("NodeStatus", self._node, {"status": status})

"""A controller cut into its single requests: the real planner, books and writes, with a cache that somebody else feeds.

One pass is what ``ClusterController.step`` does of blocks: ask about writes that are in doubt, lay our own writes over
the cache, plan, carry the plan out. Between any two requests it can be copied, and it can end.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from msgspec.structs import replace

from tests.leading import AlwaysLeading
from tests.sim.ipam.model.server import FIELDS, Line, Request, Server
from towpath.controller.block_writes import BlockWrites
from towpath.controller.ports import ApiError
from towpath.controller.writes import Writer
from towpath.ipam.memory import Memory
from towpath.ipam.plan import IpamPlan, Planner
from towpath.model.cluster import Cluster

KINDS = tuple(FIELDS)
Answer = Any
Task = Coroutine[Request, Answer, bool]


class PlainWriter(Writer):
    """Without bounds of number and time, which need a loop."""

    async def write(self, what: str, name: str, call: Callable[[], Any]) -> Any:
        return await call()


class Call:
    """A coroutine of the controller, waiting for the answer to ``request``."""

    def __init__(self, begin: Callable[[BlockWrites], Task], writes: BlockWrites) -> None:
        self._begin = begin
        self._answers: list[Answer] = []
        self.request: Request | None = None
        self.result = False
        self._task = begin(writes)
        self._advance(None)

    def answer(self, answer: Answer) -> None:
        """Go on with this answer, to the next request or the end."""
        self._answers.append(answer)
        self._advance(answer)

    def copy(self, writes: BlockWrites) -> "Call":
        """The same at the same place, in the name of another controller."""
        other = Call(self._begin, writes)
        for one in self._answers:
            other.answer(one)
        return other

    def end(self) -> None:
        """It is given up."""
        self._task.close()

    @property
    def past(self) -> tuple[Answer, ...]:
        """The answers so far."""
        return tuple(self._answers)

    def _advance(self, answer: Answer) -> None:
        try:
            if isinstance(answer, ApiError):
                self.request = self._task.throw(type(answer)(str(answer), status=answer.status))
            else:
                self.request = self._task.send(answer)
        except StopIteration as end:
            self.request, self.result = None, end.value


class Controller:
    """One replica. ``clock``: its own monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.cache = Cluster()
        self.version = 0
        """Of the newest list that the cache has seen."""
        self.went_back = False
        self.memory = Memory()
        self.plan: IpamPlan | None = None
        """The one that is being carried out; None while questions are asked."""
        self.calls: list[Call] = []
        self.running = False
        self._planner: Planner | None = None
        self.writes = BlockWrites(PlainWriter(Line(), lease=AlwaysLeading()), clock=clock)  # type: ignore[arg-type]  # what blocks need of an Api

    def copy(self, clock: Callable[[], float]) -> "Controller":
        """The same at the same place."""
        other = Controller(clock)
        other.cache, other.version, other.went_back = self.cache, self.version, self.went_back
        other.memory, other.plan, other.running = self.memory, self.plan, self.running
        for name, value in vars(self.writes._own).items():
            if isinstance(value, dict):
                setattr(other.writes._own, name, dict(value))
        other.writes.barred = dict(self.writes.barred)
        other.calls = [call.copy(other.writes) for call in self.calls]
        return other

    def see(self, server: Server, *kinds: str) -> None:
        """The cache of these kinds catches up."""
        self.cache = server.snapshot(kinds, self.cache)
        if server.version < self.version:
            self.went_back = True
        self.version = server.version

    def begin(self) -> None:
        """A pass, up to its first requests."""
        self.running, self.plan = True, None
        if self.went_back:
            self.writes.doubt()
        self.writes.over(self.cache.blocks)
        names = self.writes._own.doubtful()
        self.calls = [Call(_look_up(name), self.writes) for name in names]
        self.go_on()

    def go_on(self) -> None:
        """As far as it goes without an answer."""
        if any(call.request for call in self.calls):
            return
        if self.plan is None and all(call.result for call in self.calls):
            if self._planner is None:
                self._planner = Planner(self.memory)
            self.plan = self._planner.plan(
                replace(self.cache, blocks=self.writes.over(self.cache.blocks)),
                now=self.clock(),
                uncertain={name: claim.spec for name, claim in self.writes.uncertain.items()},
                barred=[one.spec.cidr for one in self.writes.barred.values()],
                restored=self.went_back,
            )
            self.memory, self.went_back = self.plan.memory, False
            self.calls = [Call(begin, self.writes) for begin in _writes(self.plan)]
            if any(call.request for call in self.calls):
                return
        self.calls, self.plan, self.running = [], None, False

    def end(self) -> None:
        """The process dies."""
        for call in self.calls:
            call.end()


def _look_up(name: str) -> Callable[[BlockWrites], Task]:
    return lambda writes: writes._writer.look_up(writes._own, "IPAMBlock", name)


def _writes(plan: IpamPlan) -> list[Callable[[BlockWrites], Task]]:
    """What ``BlockWrites.writes`` carries out, each so that it can be begun again in a copy."""
    return [
        *(lambda writes, one=one: writes._claim(one) for one in plan.claims),
        *(lambda writes, one=one: writes._change(one) for one in plan.changes),
        *(lambda writes, one=one: writes._release(one) for one in plan.deletions),
    ]

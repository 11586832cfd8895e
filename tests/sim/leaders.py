"""Controllers that must not be trusted: one server in memory, a network that loses and delays, and a machine that plays."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from towpath.controller.kube.resources import RESOURCES
from towpath.controller.ports import ApiError, UnreachableError
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.selectors import Wanted
from towpath.lab.apiserver.storage import Storage
from towpath.lab.fake_api import FakeApi

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
REPLICAS = st.sampled_from([0, 1])
FATES = st.lists(st.sampled_from(["arrives", "lost", "late", "answer lost"]), max_size=5)
DEAF = st.sampled_from([False, False, True])


class Network:
    """Requests on their way. ``plan`` says what becomes of each write, in turn; after it everything arrives."""

    def __init__(self) -> None:
        self.plan: deque[str] = deque()
        self.under_way: list[Callable] = []

    async def send(self, step: Callable):
        """Carry out a write as the plan says."""
        fate = self.plan.popleft() if self.plan else "arrives"
        await asyncio.sleep(0)
        if fate == "lost":
            raise UnreachableError("the request is lost")
        if fate == "late":
            self.under_way.append(step)
            raise UnreachableError("the request is still under way")
        result = await step()
        if fate == "answer lost":
            raise UnreachableError("the answer is lost")
        return result


class FaultyApi:
    """An ``Api`` whose writes of some kinds go through a network; reads are the server's own word or nothing."""

    def __init__(self, server: FakeApi, network: Network, *, written: Collection[str]) -> None:
        self.server = server
        self.network = network
        self.written = written
        self.deaf = False

    async def get(self, kind, name, *, namespace=""):
        if self.deaf:
            raise UnreachableError("no answer")
        return await self.server.get(kind, name, namespace=namespace)

    def __getattr__(self, verb):
        async def call(kind, *arguments, **options):
            step = lambda: getattr(self.server, verb)(kind, *arguments, **options)  # noqa: E731  # reads as one line
            return await (self.network.send(step) if kind in self.written else step())

        return call


class InMemory:
    """A server, its clock, and whoever judges every change in ``judge``. ``keep``: changes that the server remembers."""

    def __init__(self, *, keep: int = 20_000) -> None:
        self.time = 1000.0
        self.objects = Objects(Storage(":memory:", keep=keep), clock=self._stamp)
        self.server = FakeApi(self.objects)
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()
        self.objects.storage.close()

    def run(self, coroutine):
        """Run to the end, then judge what happened."""
        result = self._loop.run_until_complete(coroutine)
        self.judge()
        return result

    def page(self, kind: str):
        """All objects of a kind and the version that they are of, as the server has them."""
        return self.objects.list(RESOURCES[kind], Wanted(RESOURCES[kind], labels="", fields=""))

    def arrive(self, step: Callable) -> None:
        """A request that was under way is carried out now, or refused."""

        async def carry_out() -> None:
            try:
                await step()
            except ApiError:
                return

        self.run(carry_out())

    def judge(self) -> None:
        """Look at every change since the last look."""
        raise NotImplementedError

    def _stamp(self) -> str:
        return (EPOCH + timedelta(seconds=self.time)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Leaders(RuleBasedStateMachine):
    """Two controllers that both believe they lead: ``world``, ``network`` and ``replicas`` are the subclass' to make."""

    def pass_of(self, which: int, kinds: Collection[str], *, fates: Collection[str], deaf: bool) -> None:
        """Its cache catches up with some kinds, it does one pass; what is under way arrives some day."""
        replica = self.replicas[which]
        replica.refresh(*kinds)
        replica.api.deaf = deaf
        self.network.plan.extend(fates)
        replica.step()
        self.network.plan.clear()

    @rule(which=REPLICAS)
    def controller_restarts(self, which):
        self.replicas[which].restart()

    @precondition(lambda self: self.network.under_way)
    @rule(data=st.data())
    def late_request_arrives(self, data):
        index = data.draw(st.integers(0, len(self.network.under_way) - 1))
        self.world.arrive(self.network.under_way.pop(index))

    def settle(self) -> None:
        """With everything working again it comes to an end."""
        raise NotImplementedError

    def teardown(self):
        try:
            self.settle()
        finally:
            self.world.close()

"""Worlds in which things happen at random, and what has to come of them once nothing goes wrong any more."""

import random
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from tests.sim.ipam.model.controller import KINDS
from tests.sim.ipam.model.machine import Machine
from tests.sim.ipam.model.world import Action, Shape, ViolatedError, World

FATES = ("arrives", "arrives", "arrives", "lost", "answer lost", "late", "twice")
TIMES = (0.0, 1.0, 5.0, 6.0, 31.0, 61.0, 211.0, 301.0)
CACHES = ("Node", "IPAMBlock", "NodeStatus")
WEIGHTS: Mapping[str, int] = {
    "wait": 12,
    "set_clock": 1,
    "see": 14,
    "begin": 16,
    "call": 40,
    "end": 2,
    "arrive": 5,
    "register": 8,
    "delete": 4,
    "exclude": 3,
    "set_state": 2,
    "off": 3,
    "boot": 5,
    "restart_agent": 2,
    "cut": 4,
    "sync": 20,
    "report": 14,
    "pod": 14,
    "pod_ends": 8,
    "back_up": 1,
    "restore": 1,
}


class Plan(Struct, frozen=True):
    """What kind of world, and how long."""

    shape: Shape = Shape()
    steps: int = 60
    weights: Mapping[str, int] = {}
    """Other than usual."""
    fates: Sequence[str] = FATES
    honest: bool = False


class Chance:
    """One world. ``trace`` is what was done in it."""

    def __init__(self, plan: Plan, order: random.Random) -> None:
        self.plan, self.order = plan, order
        self.world = World(plan.shape)
        self.world.honest = plan.honest
        self.trace: list[Action] = []
        self._unheard: set[int] = set()
        """Machines that have not reported since the store was restored."""
        weights = {**WEIGHTS, **plan.weights}
        self._words, self._weights = list(weights), list(weights.values())

    def run(self) -> None:
        """All steps, and the settling; ``ViolatedError`` names the trace."""
        try:
            for index in range(len(self.world.controllers)):
                self._do(("see", index, *KINDS))
            for _ in range(self.plan.steps):
                self.step()
            Settled(self.world, self._do).run(everything=self.order.random() < 0.25)
        except ViolatedError as error:
            raise ViolatedError(f"{error} after {self.trace}") from None

    def step(self) -> None:
        """One thing that happens."""
        word = self.order.choices(self._words, self._weights)[0]
        action = getattr(self, f"_{word}")()
        if action is not None:
            self._do((word, *action))

    def _do(self, action: Action) -> None:
        self.trace.append(action)
        self.world.apply(action)
        if action[0] == "restore":
            self._unheard = {one.number for one in self.world.machines}
        elif action[0] == "report" and action[-1] != "late" and self.world.machines[action[1]].api:
            self._unheard.discard(action[1])

    def _machine(self, wanted: Callable[[Machine], bool]) -> Machine | None:
        found = [one for one in self.world.machines if wanted(one)]
        return self.order.choice(found) if found else None

    def _wait(self) -> Action:
        return (self.order.choice(TIMES),)

    def _set_clock(self) -> Action:
        return (self.order.choice((-86400.0, -2.0, 2.0, 86400.0)),)

    def _see(self) -> Action:
        index = self.order.randrange(len(self.world.controllers))
        if self.order.random() < 0.5:
            return (index, *KINDS)
        return (index, *(one for one in CACHES if self.order.random() < 0.5))

    def _begin(self) -> Action:
        return (self.order.randrange(len(self.world.controllers)),)

    def _call(self) -> Action | None:
        calls = self.world.calls()
        if not calls:
            return None
        return (*self.order.choice(calls), self.order.choice(self.plan.fates))

    def _end(self) -> Action | None:
        """None begins just after the store was restored, before the nodes have reported again: that is taken for granted."""
        index = self.order.randrange(len(self.world.controllers))
        return None if any(self.world.machines[one].alive for one in self._unheard) else (index,)

    def _arrive(self) -> Action | None:
        return (self.order.randrange(len(self.world.late)),) if self.world.late else None

    def _register(self) -> Action | None:
        machine = self._machine(lambda one: one.alive and one.api and self.world.node(one) is None)
        return (machine.number,) if machine else None

    def _delete(self) -> Action | None:
        names = sorted(self.world.server.objects["Node"])
        return (self.order.choice(names),) if names else None

    _exclude = _delete

    def _set_state(self) -> Action | None:
        blocks = sorted(self.world.blocks())
        return (self.order.choice(blocks), self.order.choice(("Draining", "Active"))) if blocks else None

    def _off(self) -> Action | None:
        machine = self._machine(lambda one: one.alive)
        return (machine.number,) if machine else None

    def _boot(self) -> Action | None:
        machine = self._machine(lambda one: not one.alive)
        if machine is None:
            return None
        names = [name for name in self.plan.shape.names if may_be_called(self.world, name)]
        return (machine.number, self.order.choice(names)) if names else None

    def _restart_agent(self) -> Action | None:
        machine = self._machine(lambda one: one.alive)
        return (machine.number,) if machine else None

    def _cut(self) -> Action | None:
        machine = self._machine(lambda one: one.alive)
        if machine is None:
            return None
        api, peers = self.order.choice(((False, True), (False, False), (True, True), (True, True)))
        return (machine.number, api, peers) if not api or may_come_back(self.world, machine) else None

    def _sync(self) -> Action | None:
        machine = self._machine(lambda one: one.alive and one.api)
        return (machine.number,) if machine else None

    def _report(self) -> Action | None:
        machine = self._machine(lambda one: one.alive and one.api and one.view is not None)
        return (machine.number, self.order.choice(("arrives", "arrives", "late"))) if machine else None

    def _pod(self) -> Action | None:
        machine = self._machine(lambda one: one.alive and bool(one.served))
        return (machine.number, self.order.choice(sorted(machine.served))) if machine else None

    def _pod_ends(self) -> Action | None:
        machine = self._machine(lambda one: bool(one.pods))
        if machine is None:
            return None
        blocks = sorted({block for block in (*machine.served, *machine.announced) if machine.in_use([block])})
        return (machine.number, self.order.choice(blocks)) if blocks else None

    def _back_up(self) -> Action:
        return ()

    def _restore(self) -> Action | None:
        return () if self.world.backup else None


def may_be_called(world: World, name: str) -> bool:
    """Whether a machine may come up with a name: no other that reaches the API server has it, and no Node but of one that is off."""
    if any(one.alive and one.api and one.name == name for one in world.machines):
        return False
    found = world.server.objects["Node"].get(name)
    return found is None or not world.stands(found.value.meta.uid, name)


def may_come_back(world: World, machine: Machine) -> bool:
    """Whether a machine may reach the API server again: nobody who does has its name."""
    return not any(one is not machine and one.alive and one.api and one.name == machine.name for one in world.machines)


class Settled:
    """What has to come once nothing is lost or late any more: everybody is served, and what nobody has is free again."""

    def __init__(self, world: World, do: Callable[[Action], None]) -> None:
        self.world = world
        self.do = do

    def run(self, *, everything: bool) -> None:
        """``everything``: at the end all nodes go, and all blocks with them."""
        world = self.world
        world.late.clear()
        for machine in world.machines:
            if machine.alive and not may_come_back(world, machine):
                self.do(("off", machine.number))
            elif machine.alive:
                self.do(("cut", machine.number, True, True))
        for name, entry in list(world.server.objects["Node"].items()):
            if not world.stands(entry.value.meta.uid, name):
                self.do(("delete", name))
            elif entry.value.meta.labels:
                self.do(("exclude", name))
        for number, machine in enumerate(world.machines):
            if machine.alive:
                self.do(("register", number))
                self.do(("empty", number))
        rounds = (0, 31, 31, 301, 301, 6, 61, 301, 301, 6, 6)
        for seconds in rounds:
            self.round(seconds)
        for _ in range(4):  # a block that is not needed any more is given back late, and then drains
            if all(one.spec.state == "Active" for one in world.blocks().values()):
                break
            self.round(6)
            self.round(301)
        for number, machine in enumerate(world.machines):
            if machine.alive:  # hears of what the last round has claimed
                self.do(("sync", number))
        alive = [one for one in world.machines if one.alive]
        without = [one.name for one in alive if not one.served]
        if len(without) > max(0, len(alive) - world.places):
            raise ViolatedError(f"{without} have no addresses to give: {self.told()}")
        left = [one for one in world.blocks().values() if one.spec.state != "Active"]
        if left:
            raise ViolatedError(f"blocks that nobody may ever use again: {self.told()}")
        if everything:
            self.empty()

    def empty(self) -> None:
        """All nodes go."""
        for machine in self.world.machines:
            if machine.alive:
                self.do(("off", machine.number))
        for name in list(self.world.server.objects["Node"]):
            self.do(("delete", name))
        for seconds in (0, 301, 301):
            self.round(seconds)
        if self.world.blocks():
            raise ViolatedError(f"blocks without nodes are left: {self.told()}")

    def round(self, seconds: float) -> None:
        """Time passes, everybody looks and does what he finds to do."""
        world = self.world
        self.do(("wait", seconds))
        for machine in world.machines:
            if machine.alive:
                self.do(("sync", machine.number))
                self.do(("report", machine.number))
        for index in range(len(world.controllers)):
            self.do(("see", index, *KINDS))
            self.do(("begin", index))
            while calls := [(whose, number) for whose, number in world.calls() if whose == index]:
                self.do(("call", *calls[0], "arrives"))

    def told(self) -> str:
        """The blocks."""
        return "; ".join(f"{one.name} {one.spec.state} {one.spec.node}" for one in self.world.blocks().values())


def worlds(plan: Plan, count: int, *, seed: str) -> int:
    """Run so many; how many things happened in them."""
    done = 0
    for number in range(count):
        one = Chance(plan, random.Random(f"{seed}:{number}"))
        one.run()
        done += len(one.trace)
    return done

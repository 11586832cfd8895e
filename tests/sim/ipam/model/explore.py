"""Every sequence of actions in a small world, up to a length: breadth first, and each state once.

Two worlds are the same state if only uids, versions and times differ that nobody compares: uids are numbered as they are
met, versions by their order, times are ages.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from tests.sim.ipam.model.chance import may_be_called, may_come_back
from tests.sim.ipam.model.controller import KINDS, Controller
from tests.sim.ipam.model.machine import Machine
from tests.sim.ipam.model.server import Request
from tests.sim.ipam.model.world import Action, Shape, ViolatedError, World
from towpath.controller.ports import ApiError
from towpath.model.cluster import Cluster, IPAMBlock, Node, NodeStatus

OLD = 700.0
"""Seconds after which a time is as any that is longer ago."""
Key = Any


class Menu(Struct, frozen=True):
    """What can happen, and how often in one sequence."""

    shape: Shape
    times: Mapping[str, int]
    """By word; those that are not named cannot happen."""
    waits: tuple[float, ...] = (301.0,)
    fates: tuple[str, ...] = ("arrives", "late")
    caches: tuple[tuple[str, ...], ...] = (KINDS,)
    """What a controller may have seen when it begins a pass."""
    faults: int = 1
    """How many requests fare otherwise than the first of ``fates``; one that only reads never does."""
    first: tuple[Action, ...] = ()
    """What has happened before, after every node has got its block and reported it."""
    raw: bool = False
    """Nothing has happened before that."""


class Found(Struct, frozen=True):
    """What an exploration came to; ``trace`` leads to what must not be, if there is such a thing."""

    states: int
    depth: int
    steps: int
    violated: str = ""
    trace: tuple[Action, ...] = ()


def explore(menu: Menu, *, depth: int, states: int = 1 << 30) -> Found:
    """All sequences of at most so many actions, or until so many states were seen or an invariant is broken."""
    world = begin(menu)
    seen = {(key(world), ())}
    edge: list[tuple[World, tuple[Action, ...]]] = [(world, ())]
    steps = 0
    for length in range(1, depth + 1):
        following: list[tuple[World, tuple[Action, ...]]] = []
        for before, trace in edge:
            for action in actions(before, menu, trace):
                after = before.copy()
                steps += 1
                try:
                    after.apply(action)
                except ViolatedError as error:
                    return Found(len(seen), length, steps, str(error), (*trace, action))
                known = key(after), _used(menu, (*trace, action))
                if known not in seen:
                    seen.add(known)
                    following.append((after, (*trace, action)))
            if len(seen) > states:
                return Found(len(seen), length, steps)
        edge = following
    return Found(len(seen), depth, steps)


def begin(menu: Menu) -> World:
    """The world that all sequences begin in."""
    world = World(menu.shape)
    for _ in range(0 if menu.raw else 3):
        for machine in world.machines:
            if machine.alive:
                world.apply(("sync", machine.number))
                world.apply(("report", machine.number))
        world.apply(("pass", 0))
    for index in range(len(world.controllers)):
        world.apply(("see", index, *KINDS))
    for action in menu.first:
        world.apply(action)
    return world


def _used(menu: Menu, trace: tuple[Action, ...]) -> tuple[tuple[str, int], ...]:
    """How often what may not happen any number of times has happened."""
    words = [action[0] for action in trace]
    faults = sum(one[0] == "call" and one[3] != menu.fates[0] for one in trace)
    counts = tuple((word, count) for word in menu.times if menu.times[word] < OFTEN and (count := words.count(word)))
    return (*counts, ("faults", faults))


OFTEN = 99


def actions(world: World, menu: Menu, trace: tuple[Action, ...]) -> Iterator[Action]:
    """All that can happen next."""
    words = [action[0] for action in trace]
    for word, times in menu.times.items():
        if words.count(word) < times:
            for arguments in _CHOICES[word](world, menu):
                if word != "call" or _may_fare(world, menu, arguments, trace):
                    yield (word, *arguments)


def _may_fare(world: World, menu: Menu, call: Action, trace: tuple[Action, ...]) -> bool:
    index, number, fate = call
    if fate == menu.fates[0]:
        return True
    request = world.controllers[index].calls[number].request
    faults = sum(one[0] == "call" and one[3] != menu.fates[0] for one in trace)
    return request is not None and request.verb != "get" and faults < menu.faults


def _look(world: World, menu: Menu) -> Iterator[Action]:
    for index, one in enumerate(world.controllers):
        if not one.running:
            for kinds in menu.caches:
                yield (index, *kinds)


def _call(world: World, menu: Menu) -> Iterator[Action]:
    return ((*call, fate) for call in world.calls() for fate in menu.fates)


def _alive(world: World, _: Menu) -> Iterator[Action]:
    return ((one.number,) for one in world.machines if one.alive)


def _reaching(world: World, _: Menu) -> Iterator[Action]:
    return ((one.number,) for one in world.machines if one.alive and one.api)


def _register(world: World, _: Menu) -> Iterator[Action]:
    return ((one.number,) for one in world.machines if one.alive and one.api and world.node(one) is None)


def _nodes(world: World, _: Menu) -> Iterator[Action]:
    return ((name,) for name in sorted(world.server.objects["Node"]))


def _boot(world: World, menu: Menu) -> Iterator[Action]:
    off = [one.number for one in world.machines if not one.alive]
    return ((number, name) for number in off for name in menu.shape.names if may_be_called(world, name))


def _cut(world: World, _: Menu) -> Iterator[Action]:
    for machine in world.machines:
        if machine.alive and machine.api:
            yield (machine.number, False, True)
        elif machine.alive and may_come_back(world, machine):
            yield (machine.number, True, True)


def _pod(world: World, _: Menu) -> Iterator[Action]:
    for machine in world.machines:
        for block in sorted(machine.served):
            if machine.alive and machine.free(block) and not machine.in_use([block]):
                yield (machine.number, block)


def _pod_ends(world: World, _: Menu) -> Iterator[Action]:
    return ((one.number, block) for one in world.machines for block in sorted(one.served) if one.in_use([block]))


def _set_state(world: World, _: Menu) -> Iterator[Action]:
    for name, block in sorted(world.blocks().items()):
        if block.spec.state != "Quarantined":
            yield (name, "Active" if block.spec.state == "Draining" else "Draining")


_CHOICES = {
    "wait": lambda _, menu: ((seconds,) for seconds in menu.waits),
    "look": _look,
    "see": lambda world, menu: (
        (index, *kinds) for index, one in enumerate(world.controllers) if not one.running for kinds in menu.caches
    ),
    "pass": lambda world, _: ((index,) for index, one in enumerate(world.controllers) if not one.running),
    "call": _call,
    "arrive": lambda world, _: ((number,) for number in range(len(world.late))),
    "end": lambda world, _: ((index,) for index, one in enumerate(world.controllers) if one.running),
    "register": _register,
    "delete": _nodes,
    "exclude": _nodes,
    "set_state": _set_state,
    "off": _alive,
    "boot": _boot,
    "cut": _cut,
    "restart_agent": _alive,
    "sync": _reaching,
    "report": _reaching,
    "pod": _pod,
    "pod_ends": _pod_ends,
    "back_up": lambda world, _: () if world.backup else ((),),
    "restore": lambda world, _: ((),) if world.backup else (),
}


class _Names:
    """Uids and versions as they appear, to be numbered."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._uids: dict[str, int] = {"": -1}

    def uid(self, uid: str) -> int:
        return self._uids.setdefault(uid, len(self._uids))

    def age(self, when: float) -> float:
        return min(self.now - when, OLD)


class _Version(Struct, frozen=True):
    number: int


def key(world: World) -> Key:
    """The state; equal for worlds that are the same."""
    names = _Names(world.now)
    server = world.server.objects
    tree = (
        tuple(_object(names, one.value) for kind in server for one in server[kind].values()),
        tuple(
            (names.uid(entry.value.meta.uid), world.machine_of[entry.value.meta.uid])
            for entry in server["Node"].values()
        ),
        tuple(_controller(names, one, world.now) for one in world.controllers),
        tuple(_machine(names, one) for one in world.machines),
        tuple(
            sorted((str(path), names.age(one.since), _left(one.until, world.now)) for path, one in world.paths.items())
        ),
        tuple(sorted((names.uid(uid), names.age(when)) for uid, when in world.quarantined.items())),
        tuple(_request(names, late.request) for late in world.late),
        None
        if world.backup is None
        else tuple(_object(names, e.value) for k in world.backup.objects.values() for e in k.values()),
    )
    numbers: set[int] = set()
    _versions(tree, numbers)
    order = {number: rank for rank, number in enumerate(sorted(numbers))}
    return _ranked(tree, order)


def _left(until: float | None, now: float) -> float | None:
    return None if until is None else until - now


def _versions(tree: Any, numbers: set[int]) -> None:
    if isinstance(tree, tuple):
        for one in tree:
            _versions(one, numbers)
    elif isinstance(tree, _Version):
        numbers.add(tree.number)


def _ranked(tree: Any, order: Mapping[int, int]) -> Any:
    if isinstance(tree, tuple):
        return tuple([_ranked(one, order) for one in tree])
    return order[tree.number] if isinstance(tree, _Version) else tree


def _version(text: str) -> Any:
    return _Version(int(text)) if text else None


def _object(names: _Names, value: Any) -> Key:
    if value is None:
        return None
    meta = value.meta
    identity = meta.name, names.uid(meta.uid), _version(meta.resource_version)
    if isinstance(value, Node):
        return (*identity, value.machine_id, tuple(meta.labels))
    if isinstance(value.status, object) and value.kind == "NodeStatus":
        return (*identity, _report(names, value))
    if value.kind == "IPAMBlock":
        return (*identity, *_spec(names, value.spec))
    return identity


def _spec(names: _Names, spec: Any) -> Key:
    return spec.cidr, spec.state, spec.node, names.uid(spec.node_uid), spec.machine_id


def _report(names: _Names, value: NodeStatus) -> Key:
    status = value.status
    return status and (
        names.uid(status.node_uid),
        tuple((one.cidr, one.in_use, _version(one.drained_version)) for one in status.blocks),
    )


def _cluster(names: _Names, cluster: Cluster | None) -> Key:
    if cluster is None:
        return None
    kinds = cluster.blocks, cluster.nodes, cluster.statuses
    return tuple(_object(names, one) for kind in kinds for one in kind.values())


def _request(names: _Names, request: Request | None) -> Key:
    if request is None:
        return None
    body = request.body or {}
    spec, meta = body.get("spec", {}), body.get("metadata", {})
    blocks = tuple((one["cidr"], one["inUse"], _version(one["drainedVersion"])) for one in body.get("blocks", ()))
    return (
        request.verb,
        request.kind,
        request.name,
        names.uid(request.uid),
        _version(request.version),
        (spec.get("state"), spec.get("node"), names.uid(spec.get("nodeUID", "")), spec.get("machineID")),
        (_version(meta.get("resourceVersion", "")), names.uid(body.get("nodeUID", "")), blocks),
    )


def _answer(names: _Names, answer: Any) -> Key:
    if isinstance(answer, ApiError):
        return type(answer).__name__
    return answer and (names.uid(answer["metadata"]["uid"]), _version(answer["metadata"]["resourceVersion"]))


def _controller(names: _Names, one: Controller, now: float) -> Key:
    own, memory, offset = one.writes._own, one.memory, one.clock() - now
    return (
        _cluster(names, one.cache),
        one.went_back,
        one.running,
        one.plan is None,
        tuple(
            (_request(names, call.request), call.result, tuple(_answer(names, a) for a in call.past))
            for call in one.calls
        ),
        tuple(
            (name, _Version(w.version), now + offset - w.at >= 5, w.value and _object(names, w.value))
            for name, w in sorted(own._written.items())
        ),
        tuple((name, names.uid(uid)) for name, uid in sorted(own._gone.items())),
        tuple((name, *_spec(names, claim.spec)) for name, claim in sorted(own.uncertain.items())),
        _cluster(names, memory.seen),
        tuple(
            (names.uid(uid), _version(version), names.age(q.since - offset), _version(q.report))
            for (uid, version), q in memory.quarantined.items()
        ),
        tuple((names.uid(uid), names.age(when - offset)) for uid, when in memory.spare.items()),
        tuple(memory.released),
        tuple((*what, names.age(when - offset)) for what, when in memory.missing.items()),
        tuple(sorted(memory.answered)),
        tuple((name, _version(version)) for name, version in memory.awaited.items()),
        tuple((cidr, names.age(when - offset)) for cidr, when in memory.lost.items()),
        None if memory.restored is None else names.age(memory.restored - offset),
    )


def _draining(block: IPAMBlock) -> Any:
    return _version(block.meta.resource_version) if block.spec.state == "Draining" else None


def _machine(names: _Names, one: Machine) -> Key:
    blocks: Iterable[IPAMBlock] = one.view.blocks.values() if one.view else ()
    return (
        (one.name, one.alive, one.api, one.peers, one.stepped),
        tuple(sorted(one.pods)),
        tuple(sorted(one.reserved)),
        tuple((block, names.age(since)) for block, since in sorted(one.served.items())),
        tuple(_object(names, value) for value in one.own.values()),
        tuple((value.name, *_spec(names, value.spec), _draining(value)) for value in blocks),
        one.view is None or names.uid(one.view.nodes[one.name].meta.uid)
        if one.view and one.name in one.view.nodes
        else None,
        one.addressing.usable,
        one.addressing.draining,
        tuple(sorted(one.announced)),
        tuple(sorted(one.watch._empty.items())),
        tuple(sorted(one.drained)),
        names.now - one.observed >= 5,
    )

"""A small cluster, all that can happen to it as actions, and what must never be so.

An action is a word and its arguments; a world is where a sequence of them leads. Nothing is random in here, and a world
can be copied at any place: whoever drives it chooses at random, or tries everything.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import Struct

from tests.sim.ipam.model.controller import KINDS, Controller
from tests.sim.ipam.model.machine import Holding, Machine
from tests.sim.ipam.model.server import Change, Request, Server, outcome
from towpath.controller.ports import ApiError, UnreachableError
from towpath.ipam.plan import quarantine_time
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import Address, Prefix, overlaps, parse_prefix

STALE = 210.0
"""Seconds for which peers keep the paths of a speaker that is gone: hold time and restart time."""
DEAD = "dead"
Action = tuple[Any, ...]


class Shape(Struct, frozen=True):
    """What a world has at its beginning."""

    pool: str = "10.0.0.0/28"
    names: tuple[str, ...] = ("a", "b", "c")
    spares: int = 1
    """Machines that are off and have no name yet."""
    controllers: int = 2
    offsets: tuple[float, ...] = (0.0, 7e5)
    """How far apart the controllers' clocks are."""
    limit: int = 0
    """``maxBlocksPerHost``."""
    least: int = 1
    """``minFreeAddresses``."""
    between: int = 1000
    """Versions that everything else in a cluster uses up between a backup and the present."""


class ViolatedError(AssertionError):
    """Something is so that must never be."""


class Late(NamedTuple):
    """A request that its sender has given up, and the network has not."""

    request: Request
    who: int


class World:
    """``apply`` an action; ``ViolatedError`` where an invariant is broken by it."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.now = 1000.0
        self.server = Server()
        self.late: list[Late] = []
        self.paths: dict[tuple[int, Prefix], Holding] = {}
        """Paths that somebody holds, by the machine that they lead to."""
        self.machine_of: dict[str, int] = {}
        """By uid of every Node that there ever was: the one that it stands for."""
        self.stood: frozenset[tuple[str, tuple[str, str]]] = frozenset()
        """Nodes by uid and all machines that they ever stood for."""
        self.quarantined: dict[str, float] = {}
        """Since when the blocks that are in quarantine have been, by uid."""
        self.backup: Server | None = None
        self.honest = False
        """One controller alone, and no answer is lost: it has to know what it has done."""
        ipam = {"minFreeAddresses": shape.least, "growAtPercent": 100, "maxBlocksPerHost": shape.limit}
        self._ask(Request("create", "IPPool", "four", _object("IPPool", "four", {"cidr": shape.pool, "blockSize": 30})))
        self._ask(
            Request("create", "IPAMConfiguration", "default", _object("IPAMConfiguration", "default", ipam)),
        )
        self.controllers = [self._controller(index) for index in range(shape.controllers)]
        self.machines = [Machine(number, name) for number, name in enumerate(shape.names)]
        for _ in range(shape.spares):
            spare = Machine(len(self.machines), "")
            spare.alive = False
            self.machines.append(spare)
        for machine in self.machines:
            if machine.alive:
                self.apply(("register", machine.number))

    def _controller(self, index: int) -> Controller:
        offset = self.shape.offsets[index % len(self.shape.offsets)]
        return Controller(lambda: self.now + offset)

    def copy(self) -> "World":
        """Another one at the same place."""
        other: World = object.__new__(World)
        vars(other).update(vars(self))
        other.server = self.server.copy()
        other.late, other.paths = list(self.late), dict(self.paths)
        other.machine_of, other.quarantined = dict(self.machine_of), dict(self.quarantined)
        other.machines = [one.copy() for one in self.machines]
        offsets = [other.shape.offsets[index % len(other.shape.offsets)] for index in range(len(self.controllers))]
        other.controllers = [
            one.copy(lambda offset=offset: other.now + offset)  # type: ignore[misc]  # bound now
            for one, offset in zip(self.controllers, offsets, strict=True)
        ]
        return other

    def apply(self, action: Action) -> None:
        """Do it, and judge all that came of it."""
        step: Callable[..., None] = getattr(self, f"_{action[0]}")
        step(*action[1:])

    @property
    def places(self) -> int:
        """How many blocks there can be."""
        return 1 << (30 - parse_prefix(self.shape.pool).prefixlen)

    # what can be done now

    def calls(self) -> list[tuple[int, int]]:
        """Requests that controllers wait for: whose, and which."""
        return [
            (index, number)
            for index, one in enumerate(self.controllers)
            for number, call in enumerate(one.calls)
            if call.request is not None
        ]

    def node(self, machine: Machine) -> Any:
        """The Node that stands for a machine."""
        entry = self.server.objects["Node"].get(machine.name)
        if entry is None or self.machine_of[entry.value.meta.uid] != machine.number:
            return None
        return entry.value

    def stands(self, uid: str, name: str) -> bool:
        """Whether the machine that a Node was made for runs, under that name."""
        machine = self.machines[self.machine_of[uid]]
        return machine.alive and machine.name == name

    def blocks(self) -> dict[str, IPAMBlock]:
        """As the server has them."""
        return {name: one.value for name, one in self.server.objects["IPAMBlock"].items()}

    # time

    def _wait(self, seconds: float) -> None:
        """Time passes, for everybody."""
        self.now += seconds
        self.server.now += seconds
        self.paths = {key: one for key, one in self.paths.items() if one.until is None or one.until > self.now}

    def _set_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock of the API server."""
        self.server.now += seconds

    # controllers

    def _see(self, index: int, *kinds: str) -> None:
        """A controller's cache of these kinds catches up."""
        self.controllers[index].see(self.server, *kinds)

    def _begin(self, index: int) -> None:
        """A controller begins a pass."""
        if not self.controllers[index].running:
            self.controllers[index].begin()

    def _look(self, index: int, *kinds: str) -> None:
        """A controller's cache of these kinds catches up, and it begins a pass."""
        self._see(index, *kinds)
        self._begin(index)

    def _pass(self, index: int) -> None:
        """A whole pass of a controller that sees everything, and of which everything arrives."""
        self._look(index, *KINDS)
        while calls := [call for call in self.calls() if call[0] == index]:
            self._call(*calls[0], "arrives")

    def _end(self, index: int) -> None:
        """A controller's process dies, and what it has under way with it; another begins."""
        self.controllers[index].end()
        self.controllers[index] = self._controller(index)
        self.controllers[index].see(self.server, *KINDS)

    def _call(self, index: int, number: int, fate: str) -> None:
        """What becomes of a request that a controller waits for."""
        controller = self.controllers[index]
        request = controller.calls[number].request
        assert request is not None
        answer: Any = UnreachableError("no answer")
        if fate in ("arrives", "answer lost", "twice"):
            done = self._ask(request, checked=False)
            answer = answer if fate == "answer lost" else done
        if fate in ("late", "twice"):
            self.late.append(Late(request, index))
        controller.calls[number].answer(answer)
        controller.go_on()

    def _arrive(self, number: int) -> None:
        """A request that somebody has given up arrives after all."""
        self._ask(self.late.pop(number).request, checked=False)

    # nodes

    def _register(self, number: int) -> None:
        """A machine's kubelet makes its Node, or takes one over that stood for a machine which is off."""
        machine = self.machines[number]
        if not (machine.alive and machine.api):
            return
        machine_id, system_uuid = machine.identity
        status = {
            "nodeInfo": {"machineID": machine_id, "systemUUID": system_uuid, "operatingSystem": "linux"},
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        }
        found = self.server.objects["Node"].get(machine.name)
        if found is None:
            body = {"metadata": {"name": machine.name}, "spec": {}, "status": status}
            self._ask(Request("create", "Node", machine.name, body))
        elif not self.stands(found.value.meta.uid, machine.name):
            self._ask(Request("replace", "Node", machine.name, {**found.body, "status": status}))
        else:
            return
        uid = self.server.objects["Node"][machine.name].value.meta.uid
        self.machine_of[uid] = number
        self.stood |= {(uid, machine.identity)}

    def _delete(self, name: str) -> None:
        """Somebody deletes a Node."""
        if name in self.server.objects["Node"]:
            self._ask(Request("delete", "Node", name))

    def _exclude(self, name: str) -> None:
        """Somebody leaves a node out, or takes it in again."""
        found = self.server.objects["Node"].get(name)
        if found is not None:
            labels = {} if found.value.meta.labels else {"towpath.io/exclude": ""}
            body = {**found.body, "metadata": {**found.body["metadata"], "labels": labels}}
            self._ask(Request("replace", "Node", name, body))

    def _set_state(self, name: str, state: str) -> None:
        """Somebody changes a block's state by hand, to one that people may set."""
        found = self.server.objects["IPAMBlock"].get(name)
        if found is not None and found.value.spec.state != "Quarantined":
            body = {**found.body, "spec": {**found.body["spec"], "state": state}}
            self._ask(Request("replace", "IPAMBlock", name, body))

    # machines

    def _off(self, number: int) -> None:
        """A machine loses its power; its peers keep its paths until their timers end."""
        machine = self.machines[number]
        machine.alive = False
        self._go_stale(machine)

    def _boot(self, number: int, name: str) -> None:
        """A machine that was off comes up, perhaps under another name; it knows nothing."""
        machine = self.machines[number]
        machine.name, machine.api, machine.peers = name, True, True
        machine.boot()
        self._tell(machine)

    def _restart_agent(self, number: int) -> None:
        """The agent's process ends, and another begins."""
        self.machines[number].restart_agent()

    def _cut(self, number: int, api: bool, peers: bool) -> None:
        """From now on a machine reaches these."""
        machine = self.machines[number]
        lost = machine.peers and not peers
        machine.api, machine.peers = api, peers
        if lost:
            self._go_stale(machine)
        else:
            self._tell(machine)

    def _sync(self, number: int) -> None:
        """A machine's agent reads the present and does what follows."""
        machine = self.machines[number]
        if not (machine.alive and machine.api):
            return
        before = set(machine.served)
        foreign = [prefix for (whose, prefix) in self.paths if whose != number]
        machine.sync(self.server.snapshot(KINDS, Cluster()), now=self.now, foreign=foreign)
        self._tell(machine)
        for block in machine.served.keys() - before:
            self._judge_service(machine, block)

    def _report(self, number: int, fate: str = "arrives") -> None:
        """A machine's agent says how full its blocks are."""
        machine = self.machines[number]
        status = machine.report(now=self.now) if machine.alive and machine.api else None
        if status is None:
            return
        request = Request("status", "NodeStatus", machine.name, status)
        if fate == "late":
            self.late.append(Late(request, -1))
        else:
            self._ask(request)

    def _pod(self, number: int, block: Prefix) -> None:
        """A pod starts, with the first address that host-local gives it."""
        machine = self.machines[number]
        free = machine.free(block) if machine.alive and block in machine.served else []
        if free:
            node = self.node(machine)
            machine.pods.add(free[0])
            machine.homes[block] = node.meta.uid if node else ""
            self._judge_address(machine, block, free[0])

    def _pod_ends(self, number: int, block: Prefix) -> None:
        """All pods of a block end."""
        machine = self.machines[number]
        machine.pods = {one for one in machine.pods if one not in block}

    def _empty(self, number: int) -> None:
        """All pods of a machine end."""
        self.machines[number].pods = set()

    # the store

    def _back_up(self) -> None:
        """Somebody makes a backup of the store."""
        self.backup = self.server.copy()
        self.server.version += self.shape.between

    def _restore(self) -> None:
        """The backup takes the present's place. No request survives that, and every controller lists again.

        It takes longer than watches lag, so each has seen what there was.
        """
        if self.backup is None:
            return
        for index in range(len(self.controllers)):
            self._see(index, *KINDS)
        made, now = self.server.made, self.server.now
        self.server, self.backup, self.late = self.backup, None, []
        self.server.made, self.server.now = made, now
        quiet = [one.meta.uid for one in self.blocks().values() if one.spec.state == "Quarantined"]
        self.quarantined = {uid: self.quarantined.get(uid, self.now) for uid in quiet}
        for index, controller in enumerate(self.controllers):
            while pending := [call for call in controller.calls if call.request is not None]:
                pending[0].answer(UnreachableError("the API server ends"))
            if controller.running:
                controller.calls, controller.plan, controller.running = [], None, False
            self._see(index, *KINDS)

    # between

    def _ask(self, request: Request, *, checked: bool = True) -> Any:
        if request.verb == "status":
            found = self.server.objects["NodeStatus"].get(request.name)
            body = _object("NodeStatus", request.name, {}) if found is None else found.body
            verb = "create" if found is None else "replace"
            request = Request(verb, "NodeStatus", request.name, {**body, "status": request.body})
        answer = outcome(self.server, request)
        changes, self.server.changes = self.server.changes, []
        for change in changes:
            self._judge(change)
        if checked:
            assert not isinstance(answer, ApiError), (request, answer)
        return answer

    def _tell(self, machine: Machine) -> None:
        """What a machine announces reaches its peers."""
        if machine.alive and machine.peers:
            old = {prefix: one for (whose, prefix), one in self.paths.items() if whose == machine.number}
            for prefix in old:
                del self.paths[machine.number, prefix]
            for prefix in machine.announced:
                since = old[prefix].since if prefix in old else self.now
                self.paths[machine.number, prefix] = Holding(since)

    def _go_stale(self, machine: Machine) -> None:
        for key, one in self.paths.items():
            if key[0] == machine.number and one.until is None:
                self.paths[key] = Holding(one.since, self.now + STALE)

    # what must never be

    def _judge(self, change: Change) -> None:
        """Whether what happened to a block may happen."""
        if change.kind != "IPAMBlock":
            return
        before: IPAMBlock | None = change.before
        after: IPAMBlock | None = change.after
        if before is None:
            assert after is not None
            for other in self.blocks().values():
                if other.name != after.name and overlaps(other.spec.cidr, after.spec.cidr):
                    raise ViolatedError(f"{_told(after)} overlaps {_told(other)}")
            self._judge_number(after)
            self._judge_claim(after)
        elif after is None:
            self._judge_release(before)
        elif before.meta.uid != after.meta.uid:
            raise ViolatedError(f"{_told(after)} took the place of {_told(before)}")
        else:
            self._judge_change(before, after)

    def _judge_claim(self, block: IPAMBlock) -> None:
        """What a node that is there was given and has pods in goes to nobody else, whatever became of its object."""
        cidr = block.spec.cidr
        for machine in self.machines:
            node = self.node(machine)
            if not (machine.alive and machine.api) or node is None or node.meta.uid == block.spec.node_uid:
                continue
            if machine.in_use([cidr]) and machine.homes[cidr] == node.meta.uid:
                raise ViolatedError(f"{_told(block)} was claimed while {machine.name} has pods in it")

    def _judge_number(self, block: IPAMBlock) -> None:
        if not (self.honest and self.shape.limit):
            return
        uid = block.spec.node_uid
        own = [one for one in self.blocks().values() if one.spec.node_uid == uid and one.spec.state != "Quarantined"]
        if len(own) > self.shape.limit:
            raise ViolatedError(f"node {block.spec.node} has {len(own)} blocks of {self.shape.limit} that it may have")

    def _judge_change(self, before: IPAMBlock, after: IPAMBlock) -> None:
        old, new = before.spec, after.spec
        bound = new.node_uid, (old.machine_id, old.system_uuid)
        if old.node_uid != new.node_uid and (old.node != new.node or bound not in self.stood):
            raise ViolatedError(f"{_told(before)} became {_told(after)}: another machine's")
        if new.state == "Quarantined" and old.state != "Quarantined":
            self._judge_empty(before, "put into quarantine")
            self._judge_empty(after, "put into quarantine")
        if new.state != "Quarantined":
            self.quarantined.pop(after.meta.uid, None)
        else:
            self.quarantined.setdefault(after.meta.uid, self.now)

    def _judge_release(self, block: IPAMBlock) -> None:
        if block.spec.state != "Quarantined":
            raise ViolatedError(f"{_told(block)} was deleted")
        lasted = self.now - self.quarantined.pop(block.meta.uid)
        if lasted < quarantine_time(self.controllers[0].cache):
            raise ViolatedError(f"{_told(block)} was deleted after {lasted} s of quarantine")
        self._judge_empty(block, "deleted")

    def _judge_empty(self, block: IPAMBlock, what: str) -> None:
        """Pods of a node that exists keep their addresses."""
        entry = self.server.objects["Node"].get(block.spec.node)
        if entry is None or entry.value.meta.uid != block.spec.node_uid:
            return
        machine = self.machines[self.machine_of[block.spec.node_uid]]
        if machine.alive and machine.in_use([block.spec.cidr]):
            raise ViolatedError(f"{_told(block)} has pods and is {what}")

    def _judge_service(self, machine: Machine, block: Prefix) -> None:
        """Nobody begins to give out addresses of a block while others find the way to another machine's pods in it."""
        for other in self.machines:
            held = [p for whose, p in self.paths if whose == other.number and p.overlaps(block)]
            if other is not machine and held and other.in_use([block]):
                raise ViolatedError(f"{machine.name} serves {block} while {other.name} is found for its pods in it")

    def _judge_address(self, machine: Machine, block: Prefix, address: Address) -> None:
        """No pod gets an address that a pod of another machine has and is found by."""
        for other in self.machines:
            if other is machine or address not in other.pods:
                continue
            found = [one for (whose, prefix), one in self.paths.items() if whose == other.number and address in prefix]
            if any(one.since <= machine.served[block] for one in found):
                raise ViolatedError(f"{machine.name} gives out {address}, by which pods of {other.name} are found")
            if other.alive and machine.api and block not in machine.addressing.usable:
                raise ViolatedError(f"{machine.name} gives out {address} without having been told that it may")


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "towpath.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _told(block: IPAMBlock) -> str:
    spec = block.spec
    return f"{spec.cidr} ({spec.state}) of {spec.node}/{spec.node_uid}"

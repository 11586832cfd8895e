"""A large cluster in which everything changes all the time: pods, nodes, pools; a whole controller, and every node's agent.

The controller is the real one, on the lab's API server, fed by the log of changes as its watches feed it. The agents decide by
their own code (``tests/sim/ipam/model/machine.py``); whoever is touched by a change does a step, as in a cluster. Time is the
simulation's. Nothing goes wrong in here but what goes wrong every day: what must survive worse is in ``tests/sim/ipam``.
"""

import json
import random
from ipaddress import ip_address
from typing import Any

from msgspec import Struct

from tests.leading import AlwaysLeading
from tests.sim.ipam.model.machine import Machine
from tests.sim.leaders import InMemory
from towpath.controller.cluster import KINDS, ClusterController
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.store import Store
from towpath.ipam.memory import RELEASED_FOR
from towpath.ipam.pools import EXCLUDE
from towpath.lab import objects
from towpath.lab.api import custom
from towpath.model.blocks import by_node, in_force
from towpath.model.cluster import Cluster
from towpath.model.net import Family, Prefix, family_of, parse_prefix
from towpath.model.spans import Spans, span
from towpath.routes.plan import static_routes

STALE = 210.0
"""Seconds for which peers keep the paths of a speaker that is gone: hold time and restart time."""
PAUSES = (1.0, 2.0, 5.0, 5.0, 10.0, 20.0)
POOLS = {"base-ipv4": "10.64.0.0/10", "base-ipv6": "fd00:10::/48"}
PAUSE, PATIENCE = 301.0, 100
"""Seconds between two looks while all comes to rest, and how many there are at most."""
POOLS_CHANGE = 0.1
"""How likely that is in one step: all agents look then."""
RACKS = 20
REST = 6
"""Pods of each node while nothing happens."""
MOST = 110
"""Pods that a kubelet runs at most."""
HAPPENINGS = {"pods": 60, "join": 4, "leave": 4, "reboot": 3, "anew": 3, "exclude": 2}


class Told(Struct):
    """What peers have of a machine, and until when if nobody renews it."""

    prefixes: frozenset[Prefix] = frozenset()
    until: float | None = None


class Churn(InMemory):
    """``step`` lets something happen; ``settle`` lets everything come to rest, as it was at the beginning."""

    def __init__(self, nodes: int, order: random.Random) -> None:
        super().__init__(keep=5 * nodes)
        self.order = order
        self.size = nodes
        self.store = Store(KINDS, clock=lambda: self.time)
        self.controller = ClusterController(self.server, self.store, lease=AlwaysLeading(), clock=lambda: self.time)
        self.machines: dict[str, Machine] = {}
        """By the name of their node, which is theirs alone."""
        self.wanted: dict[str, int] = {}
        """Pods that each is to run."""
        self.told: dict[str, Told] = {}
        self.spans = Spans()
        """What peers have, and of whom."""
        self.happened = 0
        self._made = 0
        self._touched: set[str] = set()
        self._restless: set[str] = set()
        """Nodes that look again: they wait for something, or a block of theirs drains."""
        self._reported: dict[str, Any] = {}
        self._extra: dict[str, str] = {}
        """Pools that come and go, and their states."""
        self._versions = dict.fromkeys(KINDS, 0)
        for name, cidr in POOLS.items():
            self._create(custom("IPPool", name, {"cidr": cidr}))
        self._create(custom("BGPConfiguration", "default", {"clusterRoutes": "Kubernetes"}))
        for _ in range(nodes):
            self._join()
        self.watcher = next(iter(self.machines))
        """A node that stays, and whose routes are followed from one snapshot to the next."""
        for kind in KINDS:
            self._list(kind)
        self.settle()

    def judge(self) -> None:
        """Everything is looked at when it has come to rest (``judge.py``)."""

    @property
    def cluster(self) -> Cluster:
        """What the controller sees."""
        return self.store.cluster()

    def step(self) -> None:
        """Some things happen, time passes, and whoever has something to do does it."""
        for _ in range(max(3, self.size // 250)):
            word = self.order.choices(list(HAPPENINGS), list(HAPPENINGS.values()))[0]
            getattr(self, f"_{word}")()
            self.happened += 1
        if self.order.random() < POOLS_CHANGE:
            self._pools()
        self._round(self.order.choice(PAUSES))

    def settle(self) -> None:
        """Nobody does anything any more: pods as at first, as many nodes, the first pools."""
        for name in list(self._extra):
            self._remove(name)
        while len(self.machines) > self.size:
            self._leave()
        while len(self.machines) < self.size:
            self._join()
        for name in self.machines:
            self._label(name, excluded=False)
        for pods in (0, REST):  # none at first: a block whose pool is gone goes once it is empty
            self.wanted = dict.fromkeys(self.machines, pods)
            self._touched.update(self.machines)
            self._rest()

    def _rest(self) -> None:
        """Wait until nothing happens for longer than anything is remembered."""
        quiet = 0
        for _ in range(PATIENCE):
            before = self.objects.storage.latest
            self._round(PAUSE)
            quiet = quiet + 1 if self.objects.storage.latest == before and not self._restless else 0
            if quiet * PAUSE > RELEASED_FOR:
                return
        raise AssertionError(f"no rest: {sorted(self._restless)[:10]}")

    # what happens

    def _pods(self) -> None:
        name = self.order.choice(list(self.machines))
        self.wanted[name] = min(MOST, max(0, self.wanted[name] + self.order.choice((-60, -20, -3, -1, 1, 3, 10, 40))))
        self._touched.add(name)

    def _join(self) -> None:
        self._made += 1
        name = f"node-{self._made}"
        self.machines[name] = Machine(self._made, name)
        self.wanted[name] = REST
        self._register(name)

    def _leave(self) -> None:
        """A machine is gone for good; its peers keep its paths for a while."""
        name = self._somebody()
        self._delete("Node", name)
        self._lose(name)
        del self.machines[name], self.wanted[name]
        self._reported.pop(name, None)

    def _reboot(self) -> None:
        """A machine comes up again at once: it knows nothing, and its pods are gone."""
        name = self._somebody()
        self.machines[name].boot()
        self._lose(name)
        self._touched.add(name)

    def _anew(self) -> None:
        """A Node is deleted, and its kubelet makes it anew: the pods run on."""
        name = self._somebody()
        self._delete("Node", name)
        if self.order.random() < 0.5:
            self._round(1.0)
        self._register(name)

    def _exclude(self) -> None:
        self._label(self._somebody(), excluded=self.order.random() < 0.5)

    def _add(self) -> None:
        """A pool for one rack; its blocks are smaller, and it comes before the others."""
        if len(self._extra) < 8:
            self._made += 1
            family = self.order.choice(list(Family))
            number, rack = self._made % 200, self.order.randrange(RACKS)
            cidr, size = (
                (f"10.{number // 16}.{number % 16 * 16}.0/20", 28)
                if family is Family.IPV4
                else (f"fd00:ff:{number:x}::/112", 124)
            )
            name = f"added-{self._made}"
            if any(parse_prefix(cidr) == one.spec.cidr for one in self.cluster.pools.values()):
                return
            self._create(
                custom("IPPool", name, {"cidr": cidr, "blockSize": size, "nodeSelector": f"rack == 'r{rack}'"})
            )
            self._extra[name] = "in use"
            self._touched.update(self.machines)

    def _disable(self) -> None:
        used = sorted(name for name, state in self._extra.items() if state == "in use")
        if used:
            name = self.order.choice(used)
            self._patch("IPPool", name, {"spec": {"disabled": True}})
            self._extra[name] = "disabled"
            self._touched.update(self.machines)

    def _remove(self, name: str = "") -> None:
        disabled = [name] if name else sorted(one for one, state in self._extra.items() if state == "disabled")
        if disabled:
            name = self.order.choice(disabled)
            self._delete("IPPool", name)
            del self._extra[name]
            self._touched.update(self.machines)

    def _pools(self) -> None:
        """A pool comes, takes no more nodes, or goes."""
        self.order.choice((self._add, self._disable, self._remove))()

    def _somebody(self) -> str:
        return self.order.choice([name for name in self.machines if name != getattr(self, "watcher", "")])

    def _register(self, name: str) -> None:
        number = self.machines[name].number
        addresses = ip_address((172 << 24) + (16 << 16) + number % (1 << 20)), ip_address(f"fd00:16::{number:x}")
        body = objects.node(name, addresses, rack=f"r{number % RACKS}")
        machine_id, system_uuid = self.machines[name].identity
        body["status"]["nodeInfo"] |= {"machineID": machine_id, "systemUUID": system_uuid}
        self._create(body)
        self._touched.add(name)

    def _label(self, name: str, *, excluded: bool) -> None:
        node = self.objects.get(RESOURCES["Node"], name)
        if (EXCLUDE in node["metadata"]["labels"]) is not excluded:
            self._patch("Node", name, {"metadata": {"labels": {EXCLUDE: "" if excluded else None}}})

    # the API server

    def _create(self, body: dict[str, Any]) -> None:
        self.objects.create(RESOURCES[body["kind"]], body)

    def _patch(self, kind: str, name: str, patch: dict[str, Any], *, status: bool = False) -> None:
        self.objects.patch(RESOURCES[kind], patch, name=name, status=status)

    def _delete(self, kind: str, name: str, *, namespace: str = "") -> None:
        self.objects.delete(RESOURCES[kind], name, namespace=namespace)

    def _list(self, kind: str) -> None:
        page = self.page(kind)
        self.store.listed(kind, page.items, version=str(page.version))
        self._versions[kind] = page.version

    # everybody's turn

    def _round(self, seconds: float) -> None:
        self.time += seconds
        self._forget()
        self._feed()
        self.run(self.controller.step())
        self._feed()
        self._tend()
        self._feed()
        static_routes(self.cluster, self.watcher)
        self.server.calls.clear()
        for event in self.page("Event").items:  # a real server forgets them after an hour
            self._delete("Event", event["metadata"]["name"], namespace=event["metadata"]["namespace"])

    def _feed(self) -> None:
        """What the watches tell; whose agent has to do with it looks again."""
        storage = self.objects.storage
        for kind in KINDS:
            for change in storage.changes(RESOURCES[kind].qualified, self._versions[kind]):
                self._versions[kind] = change.version
                body = json.loads(change.body)
                if change.type == "DELETED":
                    self.store.deleted(kind, change.name)
                else:
                    self.store.upserted(kind, body)
                if kind in ("IPAMBlock", "Node"):
                    self._touched.add(body["spec"]["node"] if kind == "IPAMBlock" else change.name)
            if self.store.look_again_in(kind) == 0:
                self._list(kind)

    def _tend(self) -> None:
        """The agents that have something to do do it."""
        cluster, names = self.cluster, self._touched | self._restless
        self._touched, self._restless = set(), set()
        owned = by_node(in_force(cluster.blocks))
        for name in sorted(names & self.machines.keys()):
            machine = self.machines[name]
            own = (block.spec.cidr for block in owned.get(name, ()))
            machine.sync(cluster, now=self.time, foreign=[one for one in own if self.spans.owners(span(one)) - {name}])
            self._tell(name, Told(machine.announced))
            self._fill(machine)
            self._report(machine, cluster)
            if machine.addressing.draining or machine.addressing.lacking:
                self._restless.add(name)

    def _fill(self, machine: Machine) -> None:
        """Pods end or start until there are as many as there are to be, as far as there are addresses."""
        for family in Family:
            pods = sorted(one for one in machine.pods if family_of(one) is family)
            more = self.wanted[machine.name] - len(pods)
            machine.pods.difference_update(self.order.sample(pods, -more) if more < 0 else ())
            for block in sorted(machine.served, key=str):
                if more > 0 and family_of(block) is family:
                    given = machine.free(block)[:more]
                    machine.pods.update(given)
                    more -= len(given)

    def _report(self, machine: Machine, cluster: Cluster) -> None:
        status = machine.report(now=self.time)
        assert status is not None
        status |= {
            "wantedAddresses": self.wanted[machine.name],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}],
        }
        said = {**status, "reportedAt": ""}
        there = machine.name in cluster.statuses
        if not there or self._reported.get(machine.name) != said:
            self._reported[machine.name] = said
            if not there:
                self._create(custom("NodeStatus", machine.name, {}))
            self._patch("NodeStatus", machine.name, {"status": status}, status=True)

    # what peers have

    def _tell(self, name: str, told: Told) -> None:
        before = self.told.get(name, Told())
        for prefix in before.prefixes - told.prefixes:
            self.spans.remove(span(prefix), name)
        for prefix in told.prefixes - before.prefixes:
            self.spans.add(span(prefix), name)
        if told.prefixes:
            self.told[name] = told
        else:
            self.told.pop(name, None)

    def _lose(self, name: str) -> None:
        self._tell(name, Told(self.told.get(name, Told()).prefixes, self.time + STALE))

    def _forget(self) -> None:
        for name in [name for name, one in self.told.items() if one.until is not None and one.until <= self.time]:
            self._tell(name, Told())

"""The controller's plan for thousands of nodes with two blocks each, without any API server: from nothing, and after one change.

What is measured of a change is all that the controller computes until it knows what to write: the event is decoded and put
into the store, the snapshot is brought up to date, and the planner looks at it.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from towpath.controller.cluster import KINDS
from towpath.controller.store import Store
from towpath.ipam.plan import IpamPlan, Planner
from towpath.lab.api import custom
from towpath.lab.bench.nodes import POOLS, node
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.usage import resident
from towpath.model.decode import encode
from towpath.model.net import block_name
from towpath.model.resource import Meta, Resource

COUNT = 5_000
TIMES = 25
"""Changes of each kind, of which the median counts."""
WHOLE = 5
CAPACITY, FULL = 62, 60
Body = dict[str, Any]


def ipam_plan(count: int = COUNT) -> Iterator[Result]:
    """Seconds of a whole plan, milliseconds of one after a change, MB of store and planner."""
    before = resident()
    here = _Cluster(count)
    took, wished = _timed(here.plan)
    yield alone(f"plan, first blocks of {count} nodes", ours=took, unit="s")
    here.carry_out(wished)
    here.plan()
    used = resident() - before
    what = f"{count} nodes, {2 * count} blocks"
    whole = [_timed(lambda: Planner().plan(here.store.cluster(), now=here.now))[0] for _ in range(WHOLE)]
    yield alone(f"plan, {what}, whole", ours=statistics.median(whole), unit="s")
    changes: dict[str, Callable[[int], IpamPlan]] = {
        "a node's pods": lambda turn: here.change(here.status(turn, in_use=10 + turn)),
        "a node that needs more": lambda turn: here.change(here.status(turn, in_use=FULL)),
        "a node's labels": lambda turn: here.change(_labelled(node(turn), turn)),
        "a block that drains": lambda turn: here.change(here.draining(turn)),
        "a node more": lambda turn: here.change(node(count + turn)),
        "a node less": lambda turn: here.gone(f"node-{count - 1 - turn}"),
    }
    for name, change in changes.items():
        took = statistics.median(_timed(change, turn)[0] for turn in range(TIMES))
        yield alone(f"plan, {what}, {name}", ours=1000 * took, unit="ms")
    yield alone(f"plan, {what}, memory", ours=used, unit="MB")


class _Cluster:
    """A store with such a cluster, and the planner that has seen it."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.store = Store(KINDS, clock=lambda: self.now)
        self.planner = Planner()
        self._version = 1
        self._blocks: dict[str, list[Body]] = {}
        found: dict[str, list[Body]] = {kind: [] for kind in KINDS}
        found["IPPool"] = [custom("IPPool", family.key, {"cidr": cidr}) for family, cidr in POOLS.items()]
        found["Node"] = [node(number) for number in range(count)]
        for kind, bodies in found.items():
            self.store.listed(kind, map(self._stored, bodies), version="1")

    def plan(self) -> IpamPlan:
        return self.planner.plan(self.store.cluster(), now=self.now)

    def carry_out(self, wished: IpamPlan) -> None:
        """Every claim is made, and every node reports what it has got."""
        for claim in wished.claims:
            name = block_name(claim.spec.cidr)
            body = self._stored(encode(Resource("IPAMBlock", Meta(name), claim.spec)))
            self._blocks.setdefault(claim.spec.node, []).append(body)
            self.store.upserted("IPAMBlock", body)
        for number in range(len(self._blocks)):
            self.store.upserted("NodeStatus", self._stored(self.status(number, in_use=10)))

    def change(self, body: Body) -> IpamPlan:
        """An object is other than before, or new."""
        self.store.upserted(body["kind"], self._stored(body))
        return self.plan()

    def gone(self, name: str) -> IpamPlan:
        """A node is gone."""
        self.now += 60  # not so many at once that it would not be believed
        self.store.deleted("Node", name)
        return self.plan()

    def status(self, number: int, *, in_use: int) -> Body:
        """What a node says of its blocks."""
        name = f"node-{number}"
        blocks = [{"cidr": body["spec"]["cidr"], "inUse": in_use, "capacity": CAPACITY} for body in self._blocks[name]]
        status = {"nodeUID": f"Node/{name}", "wantedAddresses": in_use, "blocks": blocks}
        return {**custom("NodeStatus", name, {}), "status": status}

    def draining(self, number: int) -> Body:
        """A node's first block, as somebody makes it drain."""
        body = self._blocks[f"node-{number}"][0]
        return {**body, "spec": {**body["spec"], "state": "Draining"}}

    def _stored(self, body: Body) -> Body:
        """As a server sends it."""
        self._version += 1
        metadata = {
            **body["metadata"],
            "uid": f"{body['kind']}/{body['metadata']['name']}",
            "resourceVersion": str(self._version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        return {**body, "metadata": metadata}


def _labelled(body: Body, turn: int) -> Body:
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "labels": {**metadata["labels"], "turn": str(turn)}}}


def _timed(step: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds of processor time, and the answer."""
    began = time.process_time()
    result = step(*arguments)
    return time.process_time() - began, result

"""A cluster in memory for controllers that must not be trusted: one server, a network that loses and delays, old caches."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta

from towpath.controller.cluster import KINDS, ClusterController
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.ports import ApiError, UnreachableError
from towpath.controller.store import Store
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.storage import Storage
from towpath.lab.fake_api import FakeApi
from towpath.model.cluster import IPAMBlock
from towpath.model.decode import decode
from towpath.model.net import overlaps

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
QUARANTINE = 300
ADDRESSES = [{"type": "InternalIP", "address": address} for address in ("192.0.2.1", "2001:db8::1")]


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


class Lease:
    """A process that is sure that it leads."""

    leading = True
    left = 3600.0


class Replica:
    """One controller with a cache of its own."""

    def __init__(self, world: "World", network: Network) -> None:
        self.world = world
        self.network = network
        self.store = Store(KINDS, clock=lambda: world.time)
        self.api = FaultyApi(world.server, network, written=("IPAMBlock", "RoutingNode"))
        self.restart()

    def restart(self) -> None:
        """A new process; its cache is as old as the caller makes it."""
        self.controller = ClusterController(self.api, self.store, lease=Lease(), clock=lambda: self.world.time)

    def refresh(self, *kinds: str) -> None:
        """The cache of these kinds sees the present."""
        for kind in kinds:
            page = self.world.objects.list(RESOURCES[kind], self.world.everything(kind))
            self.store.listed(kind, page.items, version=str(page.version))

    def step(self) -> bool:
        """One pass."""
        return self.world.run(self.controller.step())


class World:
    """The server, its clock, and the history of all blocks, judged as it happens."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.objects = Objects(Storage(":memory:"), clock=self._stamp)
        self.server = FakeApi(self.objects)
        self._loop = asyncio.new_event_loop()
        self.pods: dict[tuple[str, str], int] = {}
        """Pods by node uid and block name, as they really are."""
        self.sealed: set[tuple[str, str]] = set()
        self.machines: dict[str, tuple[str, str]] = {}
        """Machine id and system uuid of every Node there ever was, by uid."""
        self._seen = self.objects.storage.latest
        self._blocks: dict[str, IPAMBlock] = {}
        self._quarantined: dict[str, float] = {}
        self._past: list[tuple[IPAMBlock, float]] = []
        """Blocks that were deleted, and when their quarantine had begun."""

    def close(self) -> None:
        self._loop.close()
        self.objects.storage.close()

    def run(self, coroutine):
        """Run to the end, then judge what happened."""
        result = self._loop.run_until_complete(coroutine)
        self.judge()
        return result

    def everything(self, kind: str):
        """A selection without a selector."""
        from towpath.lab.apiserver.selectors import Wanted

        return Wanted(RESOURCES[kind], labels="", fields="")

    def items(self, kind: str) -> dict[str, dict]:
        """All objects of a kind, as the server has them."""
        return {one["metadata"]["name"]: one for one in self.objects.list(RESOURCES[kind], self.everything(kind)).items}

    def blocks(self) -> dict[str, IPAMBlock]:
        """All blocks, as the server has them."""
        return {name: decode("IPAMBlock", body) for name, body in self.items("IPAMBlock").items()}

    def put(self, kind: str, name: str, *, spec=None, status=None) -> None:
        """Create an object, or change it."""
        body = {"apiVersion": RESOURCES[kind].api_version, "kind": kind, "metadata": {"name": name}, "spec": spec or {}}
        if name in self.items(kind):
            if spec is not None:
                self.run(self.server.patch(kind, name, {"spec": spec}))
        else:
            self.run(self.server.create(kind, body))
        if status is not None:
            self.run(self.server.patch_status(kind, name, {"status": status}))

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, if it is there."""
        with contextlib.suppress(ApiError):
            self.run(self.server.delete(kind, name))

    def add_node(self, name: str, machine: str, *, pod_cidrs: Iterable[str] = ()) -> None:
        """A Node registers; the cluster may have assigned it podCIDRs."""
        info = {"machineID": f"m-{machine}", "systemUUID": f"s-{machine}", "operatingSystem": "linux"}
        ready = [{"type": "Ready", "status": "True"}]
        spec = {"podCIDRs": list(pod_cidrs)} if pod_cidrs else None
        self.put("Node", name, spec=spec, status={"nodeInfo": info, "conditions": ready, "addresses": ADDRESSES})
        self.machines[self.items("Node")[name]["metadata"]["uid"]] = info["machineID"], info["systemUUID"]

    def report(self, name: str) -> None:
        """The node's agent says how full its blocks are; a draining block without pods is sealed by it."""
        node = self.items("Node").get(name)
        if node is None:
            return
        uid, reports = node["metadata"]["uid"], []
        for block in self.blocks().values():
            if block.spec.node_uid != uid or block.spec.state == "Quarantined":
                continue
            key = (uid, block.name)
            if block.spec.state == "Draining":
                self.sealed.add(key)
            else:
                self.sealed.discard(key)
            in_use = self.pods.get(key, 0)
            drained = key in self.sealed and not in_use
            reports.append({"cidr": str(block.spec.cidr), "inUse": in_use, "capacity": 4, "drained": drained})
        self.put("NodeStatus", name, status={"nodeUID": uid, "blocks": reports})

    def judge(self) -> None:
        """Look at every change of a block since the last look."""
        for change in self.objects.storage.changes(RESOURCES["IPAMBlock"].qualified, self._seen):
            self._seen = change.version
            block = decode("IPAMBlock", json.loads(change.body))
            before = self._blocks.get(change.name)
            if change.type == "ADDED":
                self._judge_claim(block)
            elif change.type == "MODIFIED":
                assert before is not None
                self._judge_change(before, block)
            else:
                assert before is not None
                self._judge_release(before)
                del self._blocks[change.name]
                continue
            self._blocks[change.name] = block

    def _judge_claim(self, block: IPAMBlock) -> None:
        """No address goes to a second owner before the first one's quarantine is over."""
        for other in self._blocks.values():
            assert not overlaps(other.spec.cidr, block.spec.cidr), f"{block} overlaps {other}"
        for other, since in self._past:
            if overlaps(other.spec.cidr, block.spec.cidr):
                assert self.time - since >= QUARANTINE, f"{block} was claimed too early after {other}"

    def _judge_change(self, before: IPAMBlock, after: IPAMBlock) -> None:
        old, new = before.spec, after.spec
        assert (old.node, old.machine_id, old.system_uuid) == (new.node, new.machine_id, new.system_uuid), (old, new)
        if old.node_uid != new.node_uid:
            assert self.machines[new.node_uid] == (old.machine_id, old.system_uuid), "bound to another machine"
        if new.state == "Quarantined" and old.state != "Quarantined":
            self._quarantined[after.name] = self.time
            self._judge_empty(after, "put into quarantine")
        elif new.state != "Quarantined":
            self._quarantined.pop(after.name, None)

    def _judge_release(self, block: IPAMBlock) -> None:
        assert block.spec.state == "Quarantined", f"{block} was deleted without quarantine"
        since = self._quarantined.pop(block.name)
        assert self.time - since >= QUARANTINE, f"{block} was deleted after {self.time - since} s"
        self._judge_empty(block, "deleted")
        self._past.append((block, since))

    def _judge_empty(self, block: IPAMBlock, what: str) -> None:
        uid = block.spec.node_uid
        alive = any(node["metadata"]["uid"] == uid for node in self.items("Node").values())
        assert not (alive and self.pods.get((uid, block.name))), f"{block} has pods and is {what}"

    def _stamp(self) -> str:
        return (EPOCH + timedelta(seconds=self.time)).strftime("%Y-%m-%dT%H:%M:%SZ")

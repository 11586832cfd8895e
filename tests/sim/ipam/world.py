"""A cluster in memory for controllers that must not be trusted, with old caches: every change of a block is judged."""

import contextlib
import json
from collections.abc import Iterable

from tests.leading import AlwaysLeading
from tests.sim.leaders import FaultyApi, InMemory, Network
from towpath.controller.cluster import KINDS, ClusterController
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.ports import ApiError
from towpath.controller.store import Store
from towpath.model.cluster import IPAMBlock
from towpath.model.decode import decode
from towpath.model.net import overlaps

QUARANTINE = 300
ADDRESSES = [{"type": "InternalIP", "address": address} for address in ("192.0.2.1", "2001:db8::1")]


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
        self.controller = ClusterController(self.api, self.store, lease=AlwaysLeading(), clock=lambda: self.world.time)

    def refresh(self, *kinds: str) -> None:
        """The cache of these kinds sees the present."""
        for kind in kinds:
            page = self.world.page(kind)
            self.store.listed(kind, page.items, version=str(page.version))

    def step(self) -> bool:
        """One pass."""
        return self.world.run(self.controller.step())


class World(InMemory):
    """The server, its clock, and the history of all blocks, judged as it happens."""

    def __init__(self) -> None:
        super().__init__()
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

    def items(self, kind: str) -> dict[str, dict]:
        """All objects of a kind, as the server has them."""
        return {one["metadata"]["name"]: one for one in self.page(kind).items}

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
            version = block.meta.resource_version if drained else ""
            report = {"cidr": str(block.spec.cidr), "inUse": in_use, "capacity": 4}
            reports.append(report | {"drained": drained, "drainedVersion": version})
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

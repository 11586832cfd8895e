"""Everything is killed at random on a real API server, while nodes and pods come and go: no address ever has two owners.

Every version of every block is read from the store, and every address that a pod gets is compared with those of all others.
Times are short (``hasty``), so that blocks go from node to node all the while.
"""

import contextlib
import http.client
import random
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_interface, ip_network

import pytest

from tests.effort import chance, examples
from tests.kube import hasty
from tests.kube.history import Judge, Store
from tests.names import own
from tests.netns.path.cluster import telling
from towpath.lab import facts, objects, pods
from towpath.lab.api import AnswerError
from towpath.lab.process import WaitError, patience, wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab

PREFIX = own("tpk")
KILLS = examples(20, soak=200)
SHAPE = Shape(
    nodes=4,
    api="kubernetes",
    configuration=hasty.CONFIGURATION,
    pools={
        "ipv4": {"cidr": "10.244.0.0/26", "blockSize": 30},  # sixteen blocks
        "ipv6": {"cidr": "fd00:10:244::/122", "blockSize": 126},
    },
    ipam={"quarantine": "1s", "minFreeAddresses": 1, "growAtPercent": 100},
)
DECK = ("controller",) * 8 + ("agent",) * 6 + ("speaker",) * 2 + ("api",) * 2 + ("etcd",) * 2
"""Who is killed, of twenty."""
UNREACHED = (OSError, http.client.HTTPException, AnswerError)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four nodes, two controllers, and few blocks; etcd and kube-apiserver in a namespace of the lab."""
    with Lab(PREFIX, SHAPE) as made, telling(made):
        made.programs.module = "tests.kube.hasty"
        made.up()
        facts.wait_ready(made)
        yield made


class Churn:
    """Nodes and pods that come and go at random; whatever the API server does not hear of now is done another time."""

    def __init__(self, lab: Lab, order: random.Random) -> None:
        self.lab, self.order = lab, order
        self.living: dict[str, str] = {}
        """Addresses of pods that run, and each one's node."""
        self.wrong: list[str] = []
        self.off: set[str] = set()
        """Machines without power."""
        self.without: set[str] = set()
        """Machines that run and whose Node somebody deleted."""
        self.left_out: set[str] = set()
        self.done: Counter[str] = Counter()
        self._machine = dict.fromkeys(lab.nodes, 0)
        """Which machine has the name: the how manieth."""

    def step(self) -> None:
        """One thing that happens."""
        deed = self.order.choices(
            (self.pod, self.pod_ends, self.vanish, self.come_back, self.delete, self.leave_out), (10, 6, 2, 4, 2, 1)
        )[0]
        with contextlib.suppress(*UNREACHED):
            if deed():
                self.done[deed.__name__] += 1

    def pod(self, node: str = "") -> bool:
        """A pod starts, if its node lets it."""
        node = node or self._one(lambda name: name not in self.off) or ""
        if not node:
            return False
        try:
            made = self.lab.add_pod(node)
        except (pods.NotReadyError, pods.PluginError):
            return False
        for text in made.addresses:
            address = str(ip_interface(text).ip)
            if address in self.living:
                self.wrong.append(f"a pod of {node} got {address}, which one of {self.living[address]} has")
            self.living[address] = node
        return True

    def pod_ends(self, name: str = "") -> bool:
        """A pod goes."""
        names = [one.name for one in self.lab.pods.values()]
        if not names:
            return False
        name = name or self.order.choice(names)
        self._forget(name)
        self.lab.delete_pod(name)
        return True

    def vanish(self) -> bool:
        """A machine loses its power, and somebody deletes its Node."""
        name = self._one(lambda name: name not in self.off)
        if name is None or len(self.off | self.without) > 1:
            return False
        self.power_off(name)
        self.lab.api.delete("Node", name)
        return True

    def power_off(self, name: str) -> None:
        """A machine loses its power, and its pods with it."""
        for pod in [one.name for one in self.lab.pods.values() if one.node == name]:
            self._forget(pod)
        self.lab.power_off(name)
        self.off.add(name)
        self.without.discard(name)

    def remove(self, name: str) -> None:
        """A machine goes for good, and its Node with it."""
        for pod in [one.name for one in self.lab.pods.values() if one.node == name]:
            self._forget(pod)
        self.lab.delete_node(name)

    def delete(self) -> bool:
        """Somebody deletes a Node whose machine runs on."""
        name = self._one(lambda name: name not in self.off | self.without)
        if name is None or len(self.off | self.without) > 1:
            return False
        self.without.add(name)  # also where the answer is lost
        self.lab.api.delete("Node", name)
        return True

    def come_back(self) -> bool:
        """A machine comes up, now and then another one under the same name; or one that runs makes its Node again."""
        name = self._one(lambda name: name in self.off | self.without)
        if name is None:
            return False
        body = objects.node(name, self.lab.node_addresses(name), rack=self.lab.state.nodes[name].rack)
        if name in self.off:
            self._machine[name] += self.order.random() < 0.3
            # the Node of the machine that was off may still be there: a kubelet would take it over, if it is the same machine
            if self.lab.api.get("Node", name) is not None:
                self.lab.api.delete("Node", name)
        body["status"]["nodeInfo"] |= objects.identity(f"{name}-{self._machine[name]}")
        self.lab.api.apply(body)
        if name in self.off:
            self.lab.power_on(name)
            self.off.discard(name)
        self.without.discard(name)
        self.left_out.discard(name)
        return True

    def leave_out(self, name: str = "") -> bool:
        """Somebody leaves a node out, or takes it in again."""
        name = name or self._one(lambda name: name not in self.off | self.without) or ""
        if not name:
            return False
        value = None if name in self.left_out else ""
        self.lab.api.request(
            "PATCH",
            f"/api/v1/nodes/{name}",
            {"metadata": {"labels": {"towpath.io/exclude": value}}},
            content="application/merge-patch+json",
        )
        self.left_out ^= {name}
        return True

    def kill(self, what: str) -> None:
        """``kill -9``, and a new one begins: at once, or after the next thing that happens."""
        name = {"api": "api", "etcd": "api/etcd", "controller": self.order.choice(("ctl1", "ctl2"))}.get(what)
        if name is None:
            # whose Node is gone has nobody but its agent to say that pods live there: a slow start is not what is tried here
            node = self._one(lambda node: node not in self.off | self.without)
            if node is None:
                return
            name = f"{node}/{what}"
        self.lab.kill(name)
        if self.order.random() < 0.5:
            self.step()
        if name.partition("/")[0] not in self.off:
            self.lab.start(name)

    def settle(self) -> None:
        """Nobody is off or left out any more, whatever was answered when it was asked for."""
        while self.off | self.without:
            self.come_back()
        self.left_out = set(self.lab.nodes)
        for name in self.lab.nodes:
            self.leave_out(name)

    def _forget(self, name: str) -> None:
        for text in self.lab.pods[name].addresses:
            self.living.pop(str(ip_interface(text).ip), None)

    def _one(self, wanted: Callable[[str], bool]) -> str | None:
        found = [name for name in self.lab.nodes if wanted(name)]
        return self.order.choice(found) if found else None


def test_whatever_is_killed_no_address_has_two_owners(lab: Lab) -> None:
    """Controllers, agents, speakers, the API server and its store; in the end everybody serves, and what nobody has is free."""
    churn = Churn(lab, chance("killed"))
    judge = Judge(quarantine=hasty.QUARANTINE, living=lambda: dict(churn.living))
    with Store(lab.host("api"), take=judge.take) as store:
        deck: list[str] = []
        for _ in range(KILLS):
            deck = deck or churn.order.sample(DECK, k=len(DECK))
            for _ in range(3):
                churn.step()
            churn.kill(deck.pop())
            seen = judge.versions
            with contextlib.suppress(WaitError):  # until something has come of it, and not for ever
                wait_for(lambda seen=seen: judge.versions > seen + 2, deadline=1.5 / patience(), what="blocks change")
            assert (judge.wrong, churn.wrong, store.error) == ([], [], None), churn.done
        wait_for(lab.api.ready, deadline=60, what="the API server answers")
        churn.settle()
        churn.remove(lab.nodes[-1])
        wait_for(
            lambda: free(lab, churn, judge), deadline=90, what="nobody has a block but who serves it", interval=0.2
        )
        facts.wait_ready(lab)
        for node in lab.nodes:
            wait_for(lambda node=node: churn.pod(node), deadline=30, what=f"a pod starts on {node}", interval=0.2)
        facts.wait_converged(lab)
        facts.wait_reachable(lab)
    assert (judge.wrong, churn.wrong, store.error) == ([], [], None)
    print(
        f"{KILLS} kills, {dict(churn.done)}, {judge.versions} versions of blocks, {judge.passed_on} places had several owners"
    )
    print(dict(sorted(judge.states.items())))
    assert judge.states["Quarantined", "-"]


def free(lab: Lab, churn: Churn, judge: Judge) -> bool:
    """Whether every block is Active and of a node that is there; pods in others end."""
    there = lab.api.items("IPAMBlock")
    known = {name: item["metadata"]["uid"] for name, item in lab.api.items("Node").items()}
    left = [item["spec"] for item in there.values() if item["spec"].get("state", "Active") != "Active"]
    for spec in left:
        for pod in list(lab.pods.values()):
            if any(ip_interface(text).ip in ip_network(spec["cidr"]) for text in pod.addresses):
                churn.pod_ends(pod.name)
    others = [item["spec"] for item in there.values() if known.get(item["spec"]["node"]) != item["spec"]["nodeUID"]]
    same = {name: item["metadata"]["uid"] for name, item in judge.blocks.items()} == {
        name: item["metadata"]["uid"] for name, item in there.items()
    }
    return not left and not others and same

"""The store of a real API server is put back to a backup: no address gets a second owner, and what is in conflict is told.

Times are short (``hasty``). The store is put back by a copy of its files, which is what a snapshot is restored to.
"""

import contextlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_interface
from typing import Any

import pytest

from tests.kube import hasty
from tests.kube.history import Judge, Store, Version
from tests.names import own
from tests.netns.path.cluster import telling
from towpath.controller.replica import LEASE
from towpath.ipam.cni import Places, served
from towpath.lab import facts, pods
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family, Prefix, block_name, family_of

PREFIX = own("tpr")
SHAPE = Shape(
    nodes=3,
    api="kubernetes",
    configuration=hasty.CONFIGURATION,
    pools={
        "ipv4": {"cidr": "10.244.0.0/25", "blockSize": 29},  # sixteen blocks
        "ipv6": {"cidr": "fd00:10:244::/121", "blockSize": 125},
    },
    ipam={"minFreeAddresses": 1, "growAtPercent": 100},
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes with a pod each, two controllers; etcd and kube-apiserver in a namespace of the lab."""
    with Lab(PREFIX, SHAPE) as made, telling(made, lines=60):
        made.programs.module = "tests.kube.hasty"
        made.up()
        facts.wait_ready(made)
        for node in made.nodes:
            made.add_pod(node)
        facts.wait_reachable(made)
        yield made


def stop(lab: Lab) -> None:
    """The API server and its store are gone."""
    lab.kill("api", "api/etcd")


def start(lab: Lab) -> None:
    """They are back."""
    lab.start("api/etcd", "api")
    wait_for(lab.api.ready, deadline=60, what="the API server answers", interval=0.1)


def back_up(lab: Lab) -> None:
    """A copy of the store, made while it is down."""
    stop(lab)
    shutil.rmtree(lab.root / "backup", ignore_errors=True)
    shutil.copytree(lab.root / "kubernetes" / "etcd", lab.root / "backup")
    start(lab)
    facts.wait_healthy(lab)


def put_back(lab: Lab) -> None:
    """The copy takes the place of the store, which is down."""
    shutil.rmtree(lab.root / "kubernetes" / "etcd")
    shutil.copytree(lab.root / "backup", lab.root / "kubernetes" / "etcd")


def mine(lab: Lab, node: str) -> set[Prefix]:
    """The blocks of a node that are in force and Active."""
    return {prefix for prefix, owner in facts.blocks(lab).items() if owner == node}


def inhabitants(lab: Lab, prefix: Prefix) -> set[str]:
    """The pods with an address in a prefix."""
    return {pod.name for pod in lab.pods.values() if any(ip_interface(text).ip in prefix for text in pod.addresses)}


def serves(lab: Lab, node: str) -> bool:
    """Whether pods of a node get addresses of all its blocks: one that starts before that may have one family alone."""
    starts = served(Places(run_dir=lab.root / node / "run", conf_dir=lab.root / node / "cni"))
    return all(any(start in prefix for start in starts) for prefix in mine(lab, node))


def try_pod(lab: Lab, node: str) -> pods.Pod | None:
    """A pod starts, if it can."""
    with contextlib.suppress(pods.NotReadyError, pods.PluginError):
        return lab.add_pod(node)
    return None


def grow(lab: Lab, node: str) -> set[Prefix]:
    """Pods until some live in a new block of each family; these blocks."""
    before = mine(lab, node)

    def grown() -> set[Prefix]:
        try_pod(lab, node)
        found = {one for one in mine(lab, node) - before if inhabitants(lab, one)}
        return found if {family_of(one) for one in found} == set(Family) else set()

    return wait_for(grown, deadline=60, what=f"{node} has pods in more blocks", interval=0.1)


def told(lab: Lab, node: str, reason: str) -> str:
    """What a node says of itself for a reason; empty: nothing."""
    return said(facts.reports(lab).get(node, {}), reason)


def said(status: dict[str, Any], reason: str) -> str:
    """The same of one status."""
    conditions: list[dict[str, Any]] = status.get("conditions", [])
    return next((one["message"] for one in conditions if (one["type"], one["status"]) == (reason, "True")), "")


def living(lab: Lab) -> dict[str, str]:
    """The addresses of all pods, and each one's node."""
    return {str(ip_interface(text).ip): pod.node for pod in tuple(lab.pods.values()) for text in pod.addresses}


def twice(lab: Lab) -> list[str]:
    """Addresses that several pods have."""
    every = [str(ip_interface(text).ip) for pod in lab.pods.values() for text in pod.addresses]
    return sorted({one for one in every if every.count(one) > 1})


def test_what_was_claimed_since_the_backup_stays_its_nodes(lab: Lab) -> None:
    """Its node keeps it and says so, others go on sending there, and it is made anew; nobody gets any block before all have reported."""
    back_up(lab)
    grown = grow(lab, "node1")
    facts.wait_converged(lab)
    stop(lab)
    put_back(lab)
    versions: list[Version] = []
    judge = Judge(quarantine=hasty.QUARANTINE, living=lambda: living(lab))

    def take(version: Version) -> None:
        versions.append(version)
        judge.take(version)

    lab.start("api/etcd")
    with Store(lab.host("api"), take=take) as store:
        wait_for(lambda: any(one.kind == "NodeStatus" for one in versions), deadline=20, what="the backup is read")
        before = store.revision()
        start(lab)
        lab.add_node("node4")
        wait_for(  # of several a condition names one; and not for long: they are made anew
            lambda: any(
                str(cidr) in said(one.body or {}, "BlockMissing")
                for one in tuple(versions)
                if (one.kind, one.name) == ("NodeStatus", "node1") and one.revision > before
                for cidr in grown
            ),
            deadline=60,
            what="that they are missing is told",
        )
        assert grown <= facts.kernel_routes(lab, "tor", protocol="bird").keys()
        wait_for(lambda: grown <= mine(lab, "node1"), deadline=60, what="they are made anew for their node")
        wait_for(lambda: not told(lab, "node1", "BlockMissing"), deadline=30, what="all is well")
        facts.wait_ready(lab, "node4", deadline=60)
        lab.add_pod("node4")
        facts.wait_converged(lab)
        facts.wait_reachable(lab)
    assert (judge.wrong, store.error, twice(lab)) == ([], None, [])
    since = [one for one in versions if one.revision > before]
    first = next(one.revision for one in since if one.kind == "IPAMBlock" and one.body["spec"]["node"] == "node4")
    reported = {one.name for one in since if one.kind == "NodeStatus" and one.revision < first}
    assert {"node1", "node2", "node3"} <= reported
    lab.delete_node("node4")


def test_controllers_that_begin_anew_wait_for_what_nodes_have(lab: Lab) -> None:
    """Nobody had watched when the store went back, and the agent that has more blocks is slow: they are claimed for nobody meanwhile."""
    back_up(lab)
    grown = grow(lab, "node1")
    facts.wait_converged(lab)
    stop(lab)
    lab.kill("ctl1", "ctl2", "node1/agent")
    put_back(lab)
    start(lab)
    wait_for(
        lambda: led_ago(lab) > hasty.UNWATCHED, deadline=60, what="the leader of the backup is long gone", interval=0.2
    )
    lab.add_node("node5")
    lab.start("ctl1", "ctl2")
    wait_for(
        lambda: any(
            one["reason"] == "StoreRestored" and "the store may be from a backup: node5 get none" in one["message"]
            for one in lab.api.items("Event").values()
        ),
        deadline=60,
        what="node5 waits for the others",
    )
    assert mine(lab, "node5") == set()
    lab.start("node1/agent")
    wait_for(lambda: grown <= mine(lab, "node1"), deadline=60, what="they are made anew for their node")
    facts.wait_ready(lab, "node5", deadline=60)
    lab.add_pod("node5")
    facts.wait_converged(lab)
    facts.wait_reachable(lab)
    assert (twice(lab), mine(lab, "node5") & grown) == ([], set())
    lab.delete_node("node5")


def led_ago(lab: Lab) -> float:
    """Seconds since somebody led, as the store says."""
    lease = lab.api.items("Lease")[LEASE]
    return (datetime.now(UTC) - datetime.fromisoformat(lease["spec"]["renewTime"])).total_seconds()


def test_a_block_that_was_anothers_is_not_given_out_while_that_ones_pods_live(lab: Lab) -> None:
    """By the backup it is the former owner's. The pods keep their addresses, their node says what to do, and the owner waits."""
    wait_for(lambda: len(mine(lab, "node3")) == 2, deadline=60, what="node3 has its blocks alone")
    old = mine(lab, "node3")
    back_up(lab)
    # since then: node3 has given its blocks back, node2 has got them and has pods in them, and node3 lives in others
    lab.kill("ctl1", "ctl2")
    for pod in [one.name for one in lab.pods.values() if one.node == "node3"]:
        lab.delete_pod(pod)
    uid = lab.api.items("Node")["node2"]["metadata"]["uid"]
    for cidr in old:
        body = lab.api.get("IPAMBlock", block_name(cidr))
        assert body is not None
        lab.api.delete("IPAMBlock", block_name(cidr))
        spec = {**body["spec"], "node": "node2", "nodeUID": uid, **identity_of(lab, "node2")}
        lab.api.apply({**body, "metadata": {"name": block_name(cidr)}, "spec": spec})
    lab.start("ctl1", "ctl2")
    settle(lab, old)
    stop(lab)
    put_back(lab)
    start(lab)
    for cidr in old:
        wait_for(
            lambda cidr=cidr: str(cidr) in told(lab, "node2", "OverlappingBlock"),
            deadline=60,
            what=f"the conflict over {cidr} is told",
        )
    wait_for(lambda: mine(lab, "node3") > old, deadline=60, what="node3 has its later blocks again")
    strangers = {name for cidr in old for name in inhabitants(lab, cidr)}
    wait_for(lambda: not told(lab, "node3", "BlockMissing"), deadline=30, what="node3 knows")
    wait_for(lambda: try_pod(lab, "node3"), deadline=30, what="a pod starts on node3")
    for _ in range(8):  # as many as there are addresses in a block
        try_pod(lab, "node3")
    assert twice(lab) == []
    assert strangers == {name for cidr in old for name in inhabitants(lab, cidr)}
    # their pods end, and it is node3's to give out
    for name in strangers:
        lab.delete_pod(name)

    def given() -> bool:
        try_pod(lab, "node3")
        return any(inhabitants(lab, cidr) for cidr in old)

    wait_for(given, deadline=60, what="node3 gives out its block", interval=0.2)
    assert twice(lab) == []
    facts.wait_reachable(lab)


def identity_of(lab: Lab, node: str) -> dict[str, str]:
    """What a block says of its node's machine."""
    info = lab.api.items("Node")[node]["status"]["nodeInfo"]
    return {key: info[key] for key in ("machineID", "systemUUID")}


def settle(lab: Lab, old: set[Prefix]) -> None:
    """Pods of node2 live in the blocks that were node3's, and one of node3 in others."""

    def settled() -> bool:
        if all(inhabitants(lab, cidr) for cidr in old):
            return True
        try_pod(lab, "node2")
        return False

    wait_for(settled, deadline=60, what="node2 has pods in the blocks", interval=0.1)
    wait_for(lambda: len(mine(lab, "node3")) == 2 and serves(lab, "node3"), deadline=60, what="node3 has others")
    wait_for(lambda: try_pod(lab, "node3"), deadline=60, what="node3 has a pod in them")

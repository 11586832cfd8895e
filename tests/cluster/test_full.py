"""Nodes that are full: of pods beyond what a block has addresses for, of pods beyond what pools have, and of files; on containerd 2.

Blocks have eight addresses each, and the controller manager gives ranges inside the pool away.
"""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import burst, web, witness
from tests.cluster.leases import in_use, wait_no_leaks
from tests.cluster.shapes import assigned, release_of
from towpath.lab.addressing import PODS
from towpath.lab.api import custom
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.machine import Machine
from towpath.lab.cluster.release import Release
from towpath.lab.cluster.shape import Shape
from towpath.lab.process import wait_for
from towpath.lab.tools import CONTAINERD
from towpath.model.net import Family

MANY, WITHIN = 100, 60.0
"""Pods that one node gets at once, for which a kubelet has just room; seconds in which all run."""
SOME = 12
"""More than the free addresses of a block."""
SMALL, SPACIOUS = ip_network("10.250.0.0/29"), ip_network("10.250.1.0/26")
WAITING = 3
"""Pods for which there is no address."""
CONFIGURATION = "run/towpath/cni-conf"
FOLDER = "etc/cni/net.d"
LINK = "10-towpath.conflist"
NO_ROOM = "No space left on device"


@pytest.fixture(scope="module")
def release(towpath_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Two nodes with containerd 2, a web server on each."""
    pools = [{"cidr": str(PODS[Family.IPV4]), "blockSize": 29}, {"cidr": str(PODS[Family.IPV6]), "blockSize": 125}]
    shape = Shape(nodes=2, pod_cidrs=True, containerd=CONTAINERD)
    scratch = tmp_path_factory.mktemp("witness")
    place = functools.partial(witness.place, scratch=scratch)
    with release_of("tpsmall", shape, towpath_image, before=place, pools=pools) as made:
        yield made


def conditions(cluster: Cluster, node: str) -> dict[str, dict[str, Any]]:
    """What a node's agent says."""
    return {one["type"]: one for one in cluster.get("nodestatus", node)["status"]["conditions"]}


def refused(cluster: Cluster, node: str) -> str:
    """What the node's agent says that its disks refuse; empty where nothing."""
    return str(conditions(cluster, node).get("DiskRefused", {}).get("message", ""))


def files(machine: Machine, folder: str) -> dict[str, str]:
    """Everything in a folder of a node: what files say, where links lead."""
    found = {}
    for path in machine.path(folder).iterdir():
        with contextlib.suppress(FileNotFoundError):  # renamed just now
            found[path.name] = str(path.readlink()) if path.is_symlink() else path.read_text()
    return found


def fill(machine: Machine, mount: str) -> None:
    """A file system in memory takes no more; what is in it stays."""
    machine.run("sh", "-c", f"mount -o remount,size=$(($(df --output=used -k {mount} | tail -1) + 64))k {mount}")

    def full() -> bool:
        """Somebody may have let go of something meanwhile."""
        machine.run("sh", "-c", f"cat /dev/zero >> {mount}/filler", check=False)
        return machine.run("df", "--output=avail", mount).split()[1] == "0"

    wait_for(full, deadline=20, what=f"{mount} is full")


def make_room(machine: Machine, mount: str) -> None:
    machine.run("rm", f"{mount}/filler")
    machine.run("mount", "-o", "remount,size=50%", mount)


def test_a_hundred_pods_at_once(release: Release, record_property: Callable[[str, object], None]) -> None:
    """Blocks for pods that wait come before any pod of them has an address: all of them run within a minute.

    Ranges of the controller manager are left alone.
    """
    cluster = release.cluster
    others = assigned(cluster)
    assert len(others) == 2 * len(Family)

    def disjoint() -> list[str]:
        conditions = [one for body in cluster.get("ippools") for one in body.get("status", {}).get("conditions", ())]
        return [one["status"] for one in conditions if one["type"] == "Disjoint"]

    wait_for(lambda: disjoint() == ["False", "False"], deadline=60, what="the pools say so", interval=0.5)
    began = time.monotonic()
    cluster.apply(burst.replicas("many", MANY, node="node2"))
    wait_for(lambda: running(cluster, "app=many") == MANY, deadline=WITHIN, what=f"all {MANY} pods run", interval=0.5)
    took = time.monotonic() - began
    cluster.wait_pods("app=many", count=MANY)
    burst.assert_owned(cluster, "app=many", count=MANY * len(Family))
    assert not [
        address for _, address in burst.pod_addresses(cluster, "app=many") for cidr in others if address in cidr
    ]
    web.everybody(cluster, cluster.nodes)
    again = tried_again(cluster)
    record_property("seconds until all pods ran", round(took, 1))
    record_property("sandboxes tried again", again)
    print(
        f"{MANY} pods at once on one node in blocks of eight addresses ran after {took:.0f} s;"
        f" {again} sandboxes were tried again"
    )


def running(cluster: Cluster, selector: str) -> int:
    """How many of these pods run."""
    return sum(pod["status"].get("phase") == "Running" for pod in cluster.pods(selector))


def tried_again(cluster: Cluster) -> int:
    """How many sandboxes could not be made at first, by the kubelets' events."""
    events = cluster.get("events", "-n", "default", "--field-selector=reason=FailedCreatePodSandBox")
    return sum(int((event.get("series") or {}).get("count") or event.get("count") or 1) for event in events)


def test_containerd_2_speaks_the_newest_cni(release: Release) -> None:
    """It attaches and detaches pods in CNI 1.1.0, and asks for the plugins' STATUS, on which a node's readiness stands.

    Nothing is left of pods that went.
    """
    cluster = release.cluster
    node2 = cluster.machine("node2")
    known = [node for node in cluster.get("nodes") if node["metadata"]["name"] == "node2"]
    assert known[0]["status"]["nodeInfo"]["containerRuntimeVersion"] == f"containerd://{CONTAINERD.removeprefix('v')}"
    cluster.apply(burst.replicas("brief", 1, node="node2"))
    cluster.wait_pods("app=brief", count=1)
    cluster.kubectl("delete", "replicaset", "brief", "--cascade=foreground", "--wait=true")
    wait_no_leaks(cluster, "node2")
    calls = witness.calls(node2)
    assert {version for _, version in calls} == {"1.1.0"}
    assert {command for command, _ in calls} >= {"ADD", "DEL", "STATUS"}


def test_run_is_full(release: Release) -> None:
    """A node needs another block and cannot write it down: it says so, what stood stands whole, and what runs goes on.

    With room again the pods that waited have addresses, and nothing is left over.
    """
    cluster = release.cluster
    node1 = cluster.machine("node1")
    before = files(node1, CONFIGURATION)
    assert json.loads(before[LINK])["plugins"]
    fill(node1, "/run")
    try:
        cluster.apply(burst.replicas("some", SOME, node="node1"))
        wait_for(
            lambda: NO_ROOM in refused(cluster, "node1"),
            deadline=90,
            what="the node says that it is full",
            interval=0.3,
        )
        # a write that is refused may be under way, beside what stands
        wait_for(lambda: files(node1, CONFIGURATION) == before, deadline=20, what="what stood stands alone")
        client = cluster.host("client")
        pods = cluster.pods("app=web")
        servers = [(str(address), web.PORT) for pod in pods for address in cluster.addresses(pod).values()]
        assert "-" not in web.ask_from_host(client, servers)
    finally:
        make_room(node1, "/run")
    cluster.wait_pods("app=some", count=SOME)
    burst.assert_owned(cluster, "app=some", count=SOME * len(Family))
    wait_for(lambda: not refused(cluster, "node1"), deadline=90, what="the node has room", interval=0.5)
    wait_for(lambda: files(node1, CONFIGURATION).keys() == before.keys(), deadline=20, what="nothing is left over")
    web.everybody(cluster, cluster.nodes)
    wait_no_leaks(cluster, "node1")


def test_the_cni_folder_is_full(release: Release) -> None:
    """A node whose agent finds no room for its configuration is not ready, says why, and has nothing half-written there.

    The folder is one that takes no file at all; then it does.
    """
    cluster = release.cluster
    node1 = cluster.machine("node1")
    node1.run("mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", f"/{FOLDER}")
    renew(release, "node1")
    cluster.restart("node1/containerd")  # it looks at the folder that was there when it started
    wait_for(
        lambda: (
            all(words in refused(cluster, "node1") for words in (NO_ROOM, LINK))
            and conditions(cluster, "node1")["Ready"]["status"] == "False"
        ),
        deadline=90,
        what="the node says that it is full",
        interval=0.3,
    )
    assert files(node1, FOLDER) == {}
    wait_for(lambda: not cluster.nodes_ready()["node1"], deadline=90, what="it is NotReady", interval=0.3)
    node1.run("mount", "-o", "remount,nr_inodes=100", f"/{FOLDER}")
    cluster.wait_ready("node1")
    wait_for(lambda: not refused(cluster, "node1"), deadline=90, what="the node has room", interval=0.5)
    wait_for(lambda: files(node1, FOLDER) == {LINK: f"/{CONFIGURATION}/{LINK}"}, deadline=20, what="the link alone")
    web.everybody(cluster, cluster.nodes)


def test_a_pool_runs_out_and_another_one_comes(release: Release) -> None:
    """Pods beyond its last address wait, and their events say which pool, which node and what to do; so do pool and node.

    They start by themselves as soon as another pool has room.
    """
    cluster, node = release.cluster, "node1"
    spec = {"blockSize": 29, "nodeSelector": f"kubernetes.io/hostname == '{node}'"}
    cluster.kubectl("patch", "ippool", "default-ipv4", "--type=merge", "-p", json.dumps({"spec": {"disabled": True}}))
    try:
        wait_for(lambda: known(cluster, "default-ipv4"), deadline=60, what="the pool is seen disabled", interval=0.3)
        cluster.apply(custom("IPPool", "small", {**spec, "cidr": str(SMALL)}))
        free = sum(
            cidr.num_addresses for cidr, owner in burst.blocks(cluster).items() if owner == node and cidr.version == 4
        )
        free += SMALL.num_addresses - len([one for one in in_use(cluster, node) if one.version == 4])
        count = free + WAITING
        cluster.apply(burst.replicas("beyond", count, node=node))
        wait_for(lambda: refused_for_want(cluster, node), deadline=120, what="pods, pool and node say it", interval=0.5)
        waiting = count - running(cluster, "app=beyond")
        assert waiting >= WAITING
        cluster.apply(custom("IPPool", "spacious", {**spec, "cidr": str(SPACIOUS)}))
        cluster.wait_pods("app=beyond", count=count)
        burst.assert_owned(cluster, "app=beyond", count=count * len(Family))
        assert [one for _, one in burst.pod_addresses(cluster, "app=beyond") if one in SPACIOUS]
        wait_for(
            lambda: (
                told(cluster, "small")["Available"]["status"] == "True"
                and not conditions(cluster, node).keys() & {"PodsWaiting", "PoolExhausted"}
            ),
            deadline=90,
            what="neither pool nor node says that anybody waits",
            interval=0.5,
        )
    finally:
        cluster.kubectl("delete", "replicaset", "beyond", "--ignore-not-found", "--cascade=foreground", "--wait=true")
        enabled = json.dumps({"spec": {"disabled": False}})
        cluster.kubectl("patch", "ippool", "default-ipv4", "--type=merge", "-p", enabled)


def told(cluster: Cluster, pool: str) -> dict[str, dict[str, Any]]:
    """What a pool says, by type; before anybody has looked at it nothing."""
    nothing: dict[str, Any] = {"status": "", "message": "", "observedGeneration": 0}
    found = cluster.get("ippool", pool).get("status", {}).get("conditions", ())
    return {"Available": nothing, "Accepted": nothing} | {one["type"]: one for one in found}


def known(cluster: Cluster, pool: str) -> bool:
    """Whether the controller knows a pool as it is now."""
    return bool(
        told(cluster, pool)["Accepted"]["observedGeneration"] == cluster.get("ippool", pool)["metadata"]["generation"]
    )


def refused_for_want(cluster: Cluster, node: str) -> bool:
    """Whether the events of pods name pool, node and what to do, and pool and node have their conditions."""
    events = cluster.get("events", "-n", "default", "--field-selector=reason=FailedCreatePodSandBox")
    said = [one["message"] for one in events if one["involvedObject"]["name"].startswith("beyond")]
    wanted = (f"no IPv4 address is free on node {node}", "IPPool/small", "kubectl describe ippools")
    available = told(cluster, "small")["Available"]
    return (
        any(all(text in one for text in wanted) for one in said)
        and (available["status"], available["reason"]) == ("False", "PoolExhausted")
        and f"is left for {node}: add a pool" in available["message"]
        and "PodsWaiting" in conditions(cluster, node)
    )


def renew(release: Release, node: str) -> None:
    """Another pod of ours on a node, which sees the folders as they are now."""
    which = ("-l", "app.kubernetes.io/component=node", f"--field-selector=spec.nodeName={node}")
    release.cluster.kubectl("delete", "pod", "-n", "towpath-system", *which, "--wait=true")

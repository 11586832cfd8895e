"""Programs and machines of a node that end: what runs goes on, what ended comes back, and no address is lost on the way."""

from pathlib import Path
from typing import Any

import pytest

from tests.cluster import web
from tests.cluster.leases import wait_no_leaks
from tests.cluster.traffic import watched
from towpath.lab.cluster.release import Release
from towpath.lab.process import wait_for


@pytest.fixture(scope="module")
def pods(installed: Release) -> list[dict[str, Any]]:
    """A web server on every node."""
    installed.cluster.apply(web.daemonset("web"))
    return installed.cluster.wait_pods("app=web", count=len(installed.cluster.nodes))


def on(pods: list[dict[str, Any]], node: str) -> dict[str, Any]:
    (found,) = (pod for pod in pods if pod["spec"]["nodeName"] == node)
    return found


def test_kubelet_and_containerd_restart_unnoticed(
    installed: Release, pods: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Both are killed and start again: every probe arrives, and pods made afterwards get addresses."""
    cluster = installed.cluster
    before = on(pods, "node1")
    with watched(cluster, pods, tmp_path) as seen:
        for program in ("node1/kubelet", "node1/containerd"):
            cluster.kill(program)
            cluster.start(program)
        cluster.restart("node1/containerd", "node1/kubelet")
        cluster.wait_ready("node1")
        installed.wait()
    seen.nothing_lost()
    assert on(cluster.wait_pods("app=web", count=len(pods)), "node1")["status"]["podIPs"] == before["status"]["podIPs"]
    cluster.kubectl("delete", "pod", before["metadata"]["name"], "--wait=true")
    cluster.wait_pods("app=web", count=len(pods))
    web.everybody(cluster, ["node1"])
    wait_no_leaks(cluster, "node1")


def test_a_node_reboots(installed: Release, pods: list[dict[str, Any]], tmp_path: Path) -> None:
    """Its kernel and /run are new: pods come back with addresses of the node's own blocks, and none is left behind.

    The other nodes and the client do not notice.
    """
    cluster = installed.cluster
    own = {body["spec"]["cidr"] for body in cluster.get("ipamblocks") if body["spec"]["node"] == "node2"}
    boot = cluster.get("node", "node2")["status"]["nodeInfo"]["bootID"]
    others = [pod for pod in cluster.wait_pods("app=web", count=len(pods)) if pod["spec"]["nodeName"] != "node2"]
    with watched(cluster, others, tmp_path) as seen:
        cluster.reboot("node2")
        wait_for(
            lambda: cluster.get("node", "node2")["status"]["nodeInfo"]["bootID"] != boot,
            deadline=120,
            what="the kubelet reports the reboot",
            interval=0.3,
        )
        installed.wait()
    seen.every_probe_arrived()
    web.everybody(cluster, cluster.nodes)
    wait_no_leaks(cluster, "node2")
    assert {body["spec"]["cidr"] for body in cluster.get("ipamblocks") if body["spec"]["node"] == "node2"} == own

"""A pod network by hand: what towpath does, for tests that have only the lab on trial."""

import json
from typing import Any

from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import BUSYBOX
from towpath.lab.process import wait_for


def write_network(cluster: Cluster, name: str, number: int) -> None:
    """A conflist with the CNI project's ptp and host-local on a node."""
    ranges = {4: (f"10.244.{number}.0/24", "0.0.0.0/0"), 6: (f"fd00:10:244::{number}00/120", "::/0")}
    wanted = [ranges[family.value] for family in cluster.shape.families]
    ipam = {
        "type": "host-local",
        "dataDir": "/run/hand",
        "ranges": [[{"subnet": subnet}] for subnet, _ in wanted],
        "routes": [{"dst": everything} for _, everything in wanted],
    }
    plugins = [{"type": "ptp", "ipam": ipam}]
    text = json.dumps({"cniVersion": "1.0.0", "name": "hand", "plugins": plugins})
    (cluster.machine(name).disk / "etc" / "cni" / "net.d" / "10-hand.conflist").write_text(text)


def pod(name: str, *, node: str, command: str = "sleep 1000000") -> dict[str, Any]:
    """A pod of the lab's busybox on a node."""
    container = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", command]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"pod": name}},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def start_pod(cluster: Cluster, body: dict[str, Any]) -> dict[str, Any]:
    """Create a pod; it is Ready. The default service account is made some time after the namespace."""
    wait_for(
        lambda: cluster.kubectl("get", "serviceaccount", "default", "-o", "name", check=False),
        deadline=60,
        what="the default service account is there",
    )
    cluster.apply(body)
    return cluster.wait_pods(f"pod={body['metadata']['name']}", count=1)[0]

"""Many pods for one node, and whose the addresses are that they get."""

from ipaddress import ip_network
from typing import Any

from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import BUSYBOX
from towpath.model.net import Address, Prefix


def replicas(name: str, count: int, *, node: str) -> dict[str, Any]:
    """So many pods of a name on a node; they only sleep."""
    labels = {"app": name}
    container = {"name": "main", "image": BUSYBOX, "command": ["sleep", "1000000"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": node},
                    "terminationGracePeriodSeconds": 0,
                    "containers": [container],
                },
            },
        },
    }


def blocks(cluster: Cluster) -> dict[Prefix, str]:
    """Every block and whose it is."""
    return {ip_network(body["spec"]["cidr"]): body["spec"]["node"] for body in cluster.get("ipamblocks")}


def pod_addresses(cluster: Cluster, selector: str) -> list[tuple[str, Address]]:
    """Where each address of these pods is used."""
    return [
        (pod["spec"]["nodeName"], address)
        for pod in cluster.pods(selector)
        for address in cluster.addresses(pod).values()
    ]


def assert_owned(cluster: Cluster, selector: str, *, count: int) -> None:
    """These pods have ``count`` addresses, no two the same, each of a block of its node."""
    found = pod_addresses(cluster, selector)
    assert len({address for _, address in found}) == len(found) == count
    owners = blocks(cluster)
    for node, address in found:
        assert [owner for cidr, owner in owners.items() if address in cidr] == [node]

"""Clusters of other shapes: one family alone, and ranges that the controller manager gives to nodes, used or in the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.cluster import web
from tests.cluster.conftest import cluster_of
from towpath.lab.addressing import PODS
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import BUSYBOX
from towpath.lab.cluster.release import Release
from towpath.lab.cluster.shape import Shape
from towpath.model.net import Address, Family, Prefix, family_of

BURST = 60
"""Pods that one node gets at once; a kubelet has room for 110."""


@contextmanager
def release_of(prefix: str, shape: Shape, image: Path, **values: Any) -> Iterator[Release]:
    """A cluster of this shape with towpath on it and a web server on every node."""
    for cluster in cluster_of(prefix, shape):
        cluster.load_image(image)
        made = Release(cluster)
        made.install(**values)
        made.wait()
        cluster.apply(web.daemonset("web"))
        web.everybody(cluster, cluster.nodes)
        yield made


def blocks(cluster: Cluster) -> dict[Prefix, str]:
    """Every block and whose it is."""
    return {ip_network(body["spec"]["cidr"]): body["spec"]["node"] for body in cluster.get("ipamblocks")}


def assigned(cluster: Cluster) -> dict[Prefix, str]:
    """Every range that the controller manager gave, and to whom."""
    return {
        ip_network(cidr): node["metadata"]["name"]
        for node in cluster.get("nodes")
        for cidr in node["spec"].get("podCIDRs", ())
    }


def pod_addresses(cluster: Cluster, selector: str) -> list[tuple[str, Address]]:
    """Where each address of these pods is used."""
    return [
        (pod["spec"]["nodeName"], address)
        for pod in cluster.pods(selector)
        for address in cluster.addresses(pod).values()
    ]


def test_ipv4_alone_with_ranges_of_the_cluster(towpath_image: Path) -> None:
    """``blockSource: PodCIDRs``: the blocks are the ranges that the controller manager gave, and pods have addresses of them."""
    shape = Shape(nodes=2, families=(Family.IPV4,), pod_cidrs=True)
    with release_of("tpfour", shape, towpath_image, ipamConfiguration={"blockSource": "PodCIDRs"}) as release:
        cluster = release.cluster
        assert len(assigned(cluster)) == 2
        assert blocks(cluster) == assigned(cluster)
        for node, address in pod_addresses(cluster, "app=web"):
            assert [owner for cidr, owner in assigned(cluster).items() if address in cidr] == [node]


def test_ipv6_alone(towpath_image: Path) -> None:
    """Nodes, pods, services, sessions and the way to the API server have no IPv4 anywhere."""
    shape = Shape(nodes=2, families=(Family.IPV6,))
    with release_of("tpsix", shape, towpath_image) as release:
        cluster = release.cluster
        assert {cidr.version for cidr in blocks(cluster)} == {6}
        assert sorted(blocks(cluster).values()) == ["node1", "node2"]
        assert {family_of(address) for _, address in pod_addresses(cluster, "app=web")} == {Family.IPV6}
        assert set(cluster.tor.routes()) == set(blocks(cluster))


def test_small_blocks_around_ranges_of_the_cluster(towpath_image: Path) -> None:
    """Ranges of the controller manager inside the pool are left alone; a node that gets many pods at once has room for all.

    Blocks have eight addresses each: the node needs blocks for pods that wait, before any pod of them has an address.
    """
    pools = [{"cidr": str(PODS[Family.IPV4]), "blockSize": 29}, {"cidr": str(PODS[Family.IPV6]), "blockSize": 125}]
    shape = Shape(nodes=2, pod_cidrs=True)
    with release_of("tpsmall", shape, towpath_image, pools=pools) as release:
        cluster = release.cluster
        others = assigned(cluster)
        assert len(others) == 2 * len(Family)
        conditions = {
            (body["metadata"]["name"], one["type"]): one["status"]
            for body in cluster.get("ippools")
            for one in body["status"]["conditions"]
        }
        assert [status for (_, kind), status in conditions.items() if kind == "Disjoint"] == ["False", "False"]
        cluster.apply(burst("node2"))
        cluster.wait_pods("app=burst", count=BURST, deadline=400)
        found = pod_addresses(cluster, "app=burst")
        assert len({address for _, address in found}) == len(found) == BURST * len(Family)
        owners = blocks(cluster)
        for node, address in found:
            assert [owner for cidr, owner in owners.items() if address in cidr] == [node]
            assert not [cidr for cidr in others if address in cidr]
        web.everybody(cluster, cluster.nodes)


def burst(node: str) -> dict[str, Any]:
    """Many pods for one node."""
    labels = {"app": "burst"}
    container = {"name": "main", "image": BUSYBOX, "command": ["sleep", "1000000"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "burst", "namespace": "default"},
        "spec": {
            "replicas": BURST,
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

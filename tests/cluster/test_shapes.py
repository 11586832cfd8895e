"""Clusters of other shapes: one family alone, and ranges that the controller manager gives to nodes."""

from pathlib import Path

from tests.cluster import witness
from tests.cluster.burst import blocks, pod_addresses
from tests.cluster.shapes import assigned, release_of
from towpath.lab.cluster.shape import Shape
from towpath.model.net import Family, family_of


def test_ipv4_alone_with_ranges_of_the_cluster(towpath_image: Path, tmp_path: Path) -> None:
    """``blockSource: PodCIDRs``: the blocks are the ranges that the controller manager gave, and pods have addresses of them.

    The distribution's containerd calls the plugins in the CNI version that it knows.
    """
    values = {"ipamConfiguration": {"blockSource": "PodCIDRs"}}
    shape = Shape(nodes=2, families=(Family.IPV4,), pod_cidrs=True)
    with release_of("tpfour", shape, towpath_image, scratch=tmp_path, **values) as release:
        cluster = release.cluster
        assert len(assigned(cluster)) == 2
        assert blocks(cluster) == assigned(cluster)
        for node, address in pod_addresses(cluster, "app=web"):
            assert [owner for cidr, owner in assigned(cluster).items() if address in cidr] == [node]
        for name in cluster.nodes:
            assert set(witness.calls(cluster.machine(name))) == {("ADD", "1.0.0")}


def test_ipv6_alone(towpath_image: Path) -> None:
    """Nodes, pods, services, sessions and the way to the API server have no IPv4 anywhere."""
    shape = Shape(nodes=2, families=(Family.IPV6,))
    with release_of("tpsix", shape, towpath_image) as release:
        cluster = release.cluster
        assert {cidr.version for cidr in blocks(cluster)} == {6}
        assert sorted(blocks(cluster).values()) == ["node1", "node2"]
        assert {family_of(address) for _, address in pod_addresses(cluster, "app=web")} == {Family.IPV6}
        assert set(cluster.tor.routes()) == set(blocks(cluster))

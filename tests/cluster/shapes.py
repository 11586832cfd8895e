"""Clusters of other shapes with towpath on them, and what their controller managers give to nodes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.cluster import web
from tests.cluster.conftest import cluster_of
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.cluster.shape import Shape
from towpath.model.net import Prefix


@contextmanager
def release_of(
    prefix: str, shape: Shape, image: Path, *, before: Callable[[Cluster], object] = lambda _: None, **values: Any
) -> Iterator[Release]:
    """A cluster of this shape with towpath on it and a web server on every node; ``before`` is done to it first."""
    for cluster in cluster_of(prefix, shape):
        before(cluster)
        cluster.load_image(image)
        made = Release(cluster)
        made.install(**values)
        made.wait()
        cluster.apply(web.daemonset("web"))
        web.everybody(cluster, cluster.nodes)
        yield made


def assigned(cluster: Cluster) -> dict[Prefix, str]:
    """Every range that the controller manager gave, and to whom."""
    return {
        ip_network(cidr): node["metadata"]["name"]
        for node in cluster.get("nodes")
        for cidr in node["spec"].get("podCIDRs", ())
    }

"""The release before this one and this one on one cluster: either's controllers with the other's nodes, up, and back.

The order of the tests is that of an upgrade and a rollback; each begins where the one before it ended.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import burst, earlier, web
from tests.cluster.conftest import cluster_of
from tests.cluster.traffic import watched
from towpath.controller.definitions import RELEASE
from towpath.controller.definitions import release as this_release
from towpath.lab.addressing import PODS
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.console import OURS
from towpath.lab.cluster.release import CHART, NAME, Release
from towpath.lab.cluster.shape import Shape
from towpath.lab.image import recipe
from towpath.lab.process import wait_for
from towpath.model.kinds.registry import KINDS
from towpath.model.net import Family

OURS_NOW = f"{recipe.NAME}:{recipe.version()}"
SMALL = [{"cidr": str(PODS[Family.IPV4]), "blockSize": 30}, {"cidr": str(PODS[Family.IPV6]), "blockSize": 126}]
GROWTH = {"growAtPercent": 100, "minFreeAddresses": 0}
"""A node has another block only when it is full."""
MORE = 4
"""As many pods as a block has addresses."""
USERS = ("ippools", "bgppeers", "bgpconfigurations")


@pytest.fixture(scope="module")
def release(towpath_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release before this one on two nodes with small blocks, a pod on each; this one's image is there as well."""
    before = earlier.release(tmp_path_factory.mktemp("earlier"), base=towpath_image)
    for cluster in cluster_of("tpk", Shape(nodes=2)):
        cluster.load_image(towpath_image)
        cluster.load_image(before.image)
        made = Release(cluster, chart=before.chart)
        made.install(pools=SMALL, ipamConfiguration=GROWTH)
        made.wait()
        cluster.apply(web.daemonset("web"))
        web.everybody(cluster, cluster.nodes)
        yield made


def images(release: Release, component: str) -> dict[str, set[str]]:
    """The images that pods of a component run, by node."""
    found: dict[str, set[str]] = {}
    for pod in release.cluster.pods(f"app.kubernetes.io/component={component}", namespace=OURS):
        found.setdefault(pod["spec"]["nodeName"], set()).update(one["image"] for one in pod["spec"]["containers"])
    return found


def wait_controllers(release: Release, image: str) -> None:
    """All controllers are of this image and ready."""
    release.rolled_out("deployment/towpath-controller")
    wait_for(
        lambda: set().union(*images(release, "controller").values()) == {image},
        deadline=60,
        what=f"controllers of {image} alone",
        interval=0.3,
    )


def renew(release: Release, node: str) -> None:
    """What an administrator does with ``updateStrategy: OnDelete``: the pod goes, and one of the new version comes."""
    cluster = release.cluster
    which = ("-l", "app.kubernetes.io/component=node", f"--field-selector=spec.nodeName={node}")
    cluster.kubectl("delete", "pod", "-n", OURS, *which, "--wait=true")
    cluster.wait_pods("app.kubernetes.io/component=node", count=len(cluster.nodes), namespace=OURS)


def works(release: Release) -> None:
    """Every node gets more pods than it has addresses: its agent says so, a controller claims blocks, the agent uses them."""
    cluster = release.cluster
    before = burst.blocks(cluster)
    for node in cluster.nodes:
        name = f"more-{node}"
        count = MORE + len(cluster.pods(f"app={name}"))
        cluster.apply(burst.replicas(name, count, node=node))
    for node in cluster.nodes:
        name = f"more-{node}"
        count = int(cluster.get("replicaset", name)["spec"]["replicas"])
        cluster.wait_pods(f"app={name}", count=count)
        burst.assert_owned(cluster, f"app={name}", count=count * len(Family))
    more = burst.blocks(cluster).keys() - before.keys()
    assert {burst.blocks(cluster)[cidr] for cidr in more} == set(cluster.nodes)


@contextmanager
def nothing_lost(release: Release, folder: Path) -> Iterator[None]:
    """Every probe between the pods and the client arrives, no route is deleted and no session ends within the block."""
    pods = release.cluster.wait_pods("app=web", count=len(release.cluster.nodes))
    with watched(release.cluster, pods, folder) as seen:
        yield
    seen.nothing_lost()


def specs(cluster: Cluster) -> dict[tuple[str, str], dict[str, Any]]:
    """What users wrote, as it is read now."""
    return {(body["kind"], body["metadata"]["name"]): body["spec"] for plural in USERS for body in cluster.get(plural)}


def definitions(cluster: Cluster) -> dict[str, tuple[str, list[str]]]:
    """Our definitions: the release that wrote each, and the versions that objects are stored in."""
    found = [body for body in cluster.get("customresourcedefinitions") if body["spec"]["group"] == "towpath.io"]
    return {
        body["spec"]["names"]["kind"]: (
            body["metadata"].get("annotations", {}).get(RELEASE, ""),
            body["status"]["storedVersions"],
        )
        for body in found
    }


def written_by_this_release(cluster: Cluster) -> bool:
    return definitions(cluster) == {kind: (this_release(), ["v1alpha1"]) for kind in KINDS}


def test_controllers_of_this_release_serve_nodes_of_the_one_before(release: Release, tmp_path: Path) -> None:
    """The chart of this release with ``OnDelete``: nodes stay as they are until their pods are deleted, one by one.

    What was stored is read as before under the newer definitions, and accepted.
    """
    cluster = release.cluster
    assert definitions(cluster).keys() < KINDS.keys()
    before = specs(cluster)
    with nothing_lost(release, tmp_path):
        release.chart = CHART
        release.upgrade(node={"updateStrategy": "OnDelete"})
        wait_controllers(release, OURS_NOW)
        wait_for(
            lambda: written_by_this_release(cluster), deadline=60, what="definitions of this release", interval=0.3
        )
        works(release)
        assert images(release, "node") == {"node1": {earlier.IMAGE}, "node2": {earlier.IMAGE}}
        renew(release, "node1")
        works(release)
        assert images(release, "node") == {"node1": {OURS_NOW}, "node2": {earlier.IMAGE}}
    after = specs(cluster)
    assert {key: {field: after[key][field] for field in spec} for key, spec in before.items()} == before
    for plural in USERS:
        for body in cluster.get(plural):
            told = {one["type"]: one["status"] for one in body["status"]["conditions"]}
            assert told["Accepted"] == "True", body


def test_nodes_of_this_release_are_served_by_controllers_of_the_one_before(release: Release, tmp_path: Path) -> None:
    """Old controllers under the new chart, with all nodes new: blocks are claimed as ever, and no definition becomes older."""
    cluster = release.cluster
    with nothing_lost(release, tmp_path):
        release.upgrade(node={})
        release.wait()
        cluster.kubectl("-n", OURS, "set", "image", "deployment/towpath-controller", f"controller={earlier.IMAGE}")
        wait_controllers(release, earlier.IMAGE)
        works(release)
    assert images(release, "node") == {"node1": {OURS_NOW}, "node2": {OURS_NOW}}
    assert written_by_this_release(cluster)


def test_a_rollback_to_the_release_before_loses_nothing(release: Release, tmp_path: Path) -> None:
    """``helm rollback`` takes everything back but the definitions, under which the release before goes on as it did."""
    cluster = release.cluster
    with nothing_lost(release, tmp_path):
        cluster.helm("rollback", NAME, "1", "-n", OURS)
        wait_controllers(release, earlier.IMAGE)
        release.wait()
        works(release)
    assert images(release, "node") == {"node1": {earlier.IMAGE}, "node2": {earlier.IMAGE}}
    assert written_by_this_release(cluster)

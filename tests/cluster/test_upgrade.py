"""The promise of ``helm upgrade``: the processes on every node are replaced and no packet notices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import newer, web
from tests.cluster.archives import REPOSITORY
from tests.cluster.traffic import watched
from towpath.lab.cluster.console import OURS
from towpath.lab.cluster.release import NAME, Release
from towpath.lab.process import wait_for

TAG = "0.1.0-next"


@pytest.fixture(scope="module")
def pods(installed: Release) -> list[dict[str, Any]]:
    """A pod on every node."""
    installed.cluster.apply(web.daemonset("web"))
    return installed.cluster.wait_pods("app=web", count=len(installed.cluster.nodes))


@pytest.fixture(scope="module")
def original(installed: Release, towpath_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Every node has a newer image as well; the image that runs at first, and again afterwards."""
    archive = newer.image(towpath_image, tag=TAG, target=tmp_path_factory.mktemp("newer") / "towpath-next.oci.tar")
    installed.cluster.load_image(archive)
    (first,) = running(installed)
    yield first
    if running(installed) != {first}:  # a test failed half-way
        installed.upgrade(image={})
        installed.wait()


def running(release: Release) -> set[str]:
    """The images of all our containers."""
    return {
        container["image"] for pod in release.cluster.pods(namespace=OURS) for container in pod["spec"]["containers"]
    }


def processes(release: Release) -> set[str]:
    """The uids of our pods."""
    return {pod["metadata"]["uid"] for pod in release.cluster.pods(namespace=OURS)}


def every_session(release: Release) -> int:
    return len(release.cluster.nodes) * len(release.cluster.shape.families)


def test_an_upgrade_to_another_image_loses_nothing(
    installed: Release, pods: list[dict[str, Any]], original: str, tmp_path: Path
) -> None:
    """Agent and speaker of every node are new, each session was restarted gracefully, and every probe arrived."""
    before = processes(installed)
    with watched(installed.cluster, pods, tmp_path) as seen:
        installed.upgrade(image={"tag": TAG})
        installed.wait()
    assert running(installed) == {f"{REPOSITORY}:{TAG}"}
    assert not before & processes(installed)
    assert len(seen.restarts) == every_session(installed)
    seen.nothing_lost()


def test_a_rollback_loses_nothing(
    installed: Release, pods: list[dict[str, Any]], original: str, tmp_path: Path
) -> None:
    """``helm rollback`` brings the image back that ran before, as quietly."""
    before = processes(installed)
    with watched(installed.cluster, pods, tmp_path) as seen:
        installed.cluster.helm("rollback", NAME, "-n", OURS)
        installed.wait()
    installed.values = {name: value for name, value in installed.values.items() if name != "image"}
    assert running(installed) == {original}
    assert not before & processes(installed)
    assert len(seen.restarts) == every_session(installed)
    seen.nothing_lost()


def test_killed_processes_lose_nothing(installed: Release, pods: list[dict[str, Any]], tmp_path: Path) -> None:
    """SIGKILL for agent and speaker of a node at once: the kubelet starts them again, and every probe arrived."""
    cluster = installed.cluster

    def restarts() -> list[int]:
        (ours,) = (
            pod
            for pod in cluster.pods("app.kubernetes.io/component=node", namespace=OURS)
            if pod["spec"]["nodeName"] == "node1"
        )
        return [status["restartCount"] for status in ours["status"]["containerStatuses"]]

    before = restarts()
    with watched(cluster, pods, tmp_path) as seen:
        cluster.machine("node1").run("pkill", "-KILL", "-f", "bin/towpath (agent|speaker)$")
        wait_for(
            lambda: all(now > then for now, then in zip(restarts(), before, strict=True)),
            deadline=90,
            what="the kubelet has started both again",
            interval=0.3,
        )
        installed.wait()
    seen.nothing_lost()

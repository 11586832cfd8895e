"""What an operator sees with kubectl of what the controller and the agents say."""

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from towpath.controller import cluster
from towpath.controller.kube.connect import connect
from towpath.controller.kube.events import Events, Subject
from towpath.controller.store import Store
from towpath.lab import tools
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[RealKubernetes]:
    with RealKubernetes() as made:
        made.install_crds()
        yield made


def described(kubernetes: RealKubernetes, *what: str) -> str:
    """What kubectl describe prints."""
    cache = str(kubernetes.place.folder / "kubectl")
    command = [
        str(tools.kubectl()),
        "--kubeconfig",
        str(kubernetes.kubeconfig),
        "--cache-dir",
        cache,
        "describe",
        *what,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env={**os.environ}).stdout


class Leading:
    leading = True
    left = 3600.0


async def test_describe_shows_what_is_wrong_with_an_object(kubernetes: RealKubernetes) -> None:
    """An overlapping pool has its condition and its event, once, with the controller as its source."""
    async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
        for name in ("one", "two"):
            await api.create("IPPool", custom("IPPool", name, {"cidr": "10.0.0.0/16"}))
        store = Store(cluster.KINDS)
        for kind in store.kinds:
            page = await api.list(kind)
            store.listed(kind, page.items, version=page.resource_version)
        controller = cluster.ClusterController(api, store, lease=Leading())
        for _ in range(3):
            await controller.step()
    losers = [one for one in ("one", "two") if "OverlappingPool" in described(kubernetes, "ippool", one)]
    assert len(losers) == 1
    events = described(kubernetes, "ippool", losers[0]).partition("Events:")[2]
    assert (
        len(re.findall(r"Warning +OverlappingPool .*towpath-controller +spec.cidr 10.0.0.0/16 overlaps", events)) == 1
    )


async def test_describe_shows_what_an_agent_says_of_its_node(kubernetes: RealKubernetes) -> None:
    """An event about a Node is shown with it, and its count where it was said again."""
    async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
        node = await api.create("Node", {"metadata": {"name": "n1"}})
        now = [1000.0]
        events = Events(api, component="towpath-agent", host="n1", clock=lambda: now[0])
        subject = Subject("Node", "n1", node["metadata"]["uid"], api_version="v1")
        for _ in range(4):
            events.emit(subject, reason="MaxPrefix", message="peer tor")
            await events.flush()
            now[0] += 61
    text = described(kubernetes, "node", "n1").partition("Events:")[2]
    assert re.search(r"Warning +MaxPrefix +\S+ \(x4 over \S+\) +towpath-agent +peer tor", text), text

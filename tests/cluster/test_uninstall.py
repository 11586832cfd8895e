"""The way back: towpath taken off a cluster, and installed again."""

from contextlib import suppress

from tests.cluster.nodes import state
from towpath.ipam.ending import FINALIZER
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.process import WaitError, wait_for
from towpath.model.net import Family


def blocks(cluster: Cluster) -> dict[str, str]:
    """The blocks of the nodes that are there, and whose each is; those of nodes that left are in quarantine."""
    found = {body["metadata"]["name"]: body["spec"]["node"] for body in cluster.get("ipamblocks")}
    return {name: node for name, node in found.items() if node in cluster.nodes}


def test_every_node_is_as_before_and_an_installation_finds_its_blocks(
    installed: Release, untouched: dict[str, dict[str, str]]
) -> None:
    """After the documented cleanup a node has nothing of ours; the objects stay, and the blocks are the same afterwards."""
    cluster = installed.cluster
    before = blocks(cluster)
    assert set(before.values()) == set(cluster.nodes)
    assert state(cluster.machine("node1")) != untouched["node1"]
    # pods that had addresses keep them until they go; here they go first
    cluster.kubectl("delete", "daemonset", "--all", "-n", "default", "--wait=true")
    cluster.kubectl("delete", "service", "web", "-n", "default", "--ignore-not-found")
    wait_for(lambda: not cluster.get("pods", "-n", "default"), deadline=120, what="the pods are gone", interval=0.3)
    held = {one["metadata"]["name"] for one in cluster.get("ippools") if FINALIZER in one["metadata"]["finalizers"]}
    assert held == {f"default-{family.key}" for family in Family}
    installed.clean()
    assert not any(one["metadata"].get("finalizers") for one in cluster.get("ippools")), "anybody may delete them"
    for name in cluster.nodes:
        # the kernel takes away the devices of pods that have ended when it comes to it
        with suppress(WaitError):
            wait_for(lambda name=name: state(cluster.machine(name)) == untouched[name], deadline=15, what="as before")  # type: ignore[misc]  # bound now
        assert state(cluster.machine(name)) == untouched[name]
    wait_for(lambda: not any(cluster.nodes_ready().values()), deadline=90, what="the nodes are NotReady", interval=0.5)
    installed.install()
    installed.wait()
    assert blocks(cluster) == before

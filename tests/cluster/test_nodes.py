"""Nodes that leave and come back: whose the addresses are then."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import web
from tests.cluster.traffic import watched
from tests.cluster.web import everybody
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.process import wait_for
from towpath.model.net import Family

NODE = "node5"


def blocks(cluster: Cluster, state: str = "Active") -> set[str]:
    """The blocks of the node in a state."""
    return {
        body["spec"]["cidr"]
        for body in cluster.get("ipamblocks")
        if body["spec"]["node"] == NODE and body["spec"]["state"] == state
    }


def leave(cluster: Cluster) -> None:
    """Drained, switched off, its Node object deleted: its blocks go into quarantine."""
    mine = blocks(cluster)
    cluster.drain(NODE)
    cluster.power_off(NODE)
    cluster.kubectl("delete", "node", NODE)
    wait_for(
        lambda: mine <= blocks(cluster, "Quarantined"), deadline=60, what="its blocks are in quarantine", interval=0.3
    )


def works(release: Release) -> None:
    """The node takes part: Ready, in sync, in session, and its pod and all the others and the client reach each other."""
    release.wait()
    everybody(release.cluster, [NODE])


@pytest.fixture(scope="module")
def joined(installed: Release) -> Iterator[Release]:
    """One more node in the second rack, and a pod on every node."""
    cluster = installed.cluster
    cluster.apply(web.daemonset("web"))
    cluster.add_node(NODE, rack="b")
    try:
        works(installed)
        yield installed
    finally:
        if NODE in cluster.nodes:
            if not cluster.machine(NODE).first:  # a test failed half-way
                cluster.power_on(NODE)
            cluster.remove_node(NODE)
        cluster.kubectl("delete", "node", NODE, "--ignore-not-found")


def test_a_machine_that_comes_back_has_its_blocks_again(joined: Release, tmp_path: Path) -> None:
    """Drained, deleted and switched on again: the Node object is another, the machine is the same, and so are the blocks.

    The other nodes and the client do not notice.
    """
    cluster = joined.cluster
    before, uid = blocks(cluster), cluster.get("node", NODE)["metadata"]["uid"]
    assert len(before) == len(Family)
    others = [pod for pod in cluster.pods("app=web") if pod["spec"]["nodeName"] != NODE]
    with watched(cluster, others, tmp_path) as seen:
        leave(cluster)
        cluster.power_on(NODE)
        cluster.wait_registered([NODE])
        works(joined)
    seen.every_probe_arrived()
    assert cluster.get("node", NODE)["metadata"]["uid"] != uid
    assert blocks(cluster) == before
    assert not blocks(cluster, "Quarantined")


def test_another_machine_under_its_name_has_fresh_blocks(joined: Release) -> None:
    """What the machine before it had stays in quarantine, for somebody out there may still know it."""
    cluster = joined.cluster
    before = blocks(cluster)
    leave(cluster)
    cluster.replace_machine(NODE)
    cluster.wait_registered([NODE])
    works(joined)
    assert len(blocks(cluster)) == len(Family)
    assert not blocks(cluster) & before
    assert blocks(cluster, "Quarantined") == before


def test_a_machine_that_is_replaced_under_its_node_object_has_its_blocks(joined: Release) -> None:
    """Its pods are bound to the Node object and start again there; the blocks record the newer machine from then on."""
    cluster = joined.cluster
    before, uid = blocks(cluster), cluster.get("node", NODE)["metadata"]["uid"]
    cluster.replace_machine(NODE)
    machine = cluster.state.nodes[NODE].machine

    def recorded() -> set[Any]:
        specs = [body["spec"] for body in cluster.get("ipamblocks")]
        return {spec["machineID"] for spec in specs if spec["node"] == NODE and spec["state"] == "Active"}

    wait_for(lambda: recorded() == {machine}, deadline=120, what="the blocks record the new machine", interval=0.3)
    works(joined)
    assert cluster.get("node", NODE)["metadata"]["uid"] == uid
    assert blocks(cluster) == before

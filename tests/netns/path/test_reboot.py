"""A node comes back with an empty kernel and an old disk."""

from collections.abc import Iterator

import pytest

from tests.netns.path.cluster import cluster, preserved
from towpath.lab import facts
from towpath.lab.api import collection
from towpath.lab.pods import NotReadyError
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes with a pod each."""
    with cluster(Shape(nodes=3)) as made:
        yield made


def seen_by_the_router(lab: Lab) -> set[tuple[str, int]]:
    """How often each of the router's sessions with the node has changed its state."""
    names = (f"node2_v{family.value}" for family in lab.families)
    return {(name, lab.tor.changes(name)) for name in names}


def test_a_rebooted_node_has_its_blocks_and_pods_again(lab: Lab) -> None:
    """The same blocks are its own; pods start once the agent has seen that. The router is not told that packets went on."""
    before, changes = facts.blocks(lab), seen_by_the_router(lab)
    lab.power_off("node2")
    lab.power_on("node2", start=False)
    with pytest.raises(NotReadyError):
        lab.add_pod("node2")
    lab.start("node2/speaker", "node2/agent")
    facts.wait_ready(lab, "node2")
    # until the new connections are up the router counts the old ones as sessions
    wait_for(lambda: not changes & seen_by_the_router(lab), deadline=30, what="the router has new sessions")
    facts.wait_sessions(lab)
    assert not any(preserved(lab, "node2").values())
    lab.add_pod("node2")
    # node3 dials node2 and was told nothing: it must find out long before its next KEEPALIVE
    facts.wait_converged(lab, deadline=15)
    facts.wait_reachable(lab)
    assert facts.blocks(lab) == before


def test_no_pod_gets_an_address_of_blocks_that_another_node_owns_by_now(lab: Lab) -> None:
    """While it was off its blocks went to another: it gives out none of them, first without and then with the API server."""
    old = {prefix for prefix, owner in facts.blocks(lab).items() if owner == "node3"}
    lab.power_off("node3")
    heir = lab.api.get("Node", "node1")
    assert heir is not None
    for name, item in lab.api.items("IPAMBlock").items():
        if item["spec"]["node"] == "node3":
            spec = {"node": "node1", "nodeUID": heir["metadata"]["uid"]}
            lab.api.patch(f"{collection('IPAMBlock')}/{name}", {"spec": spec})
    lab.power_on("node3", start=False)
    lab.cut_api("node3")
    lab.start("node3/speaker", "node3/agent")
    wait_for(lambda: "snapshot.used" in lab.programs["node3/agent"].log, deadline=30, what="it runs on its old picture")
    with pytest.raises(NotReadyError):
        lab.add_pod("node3")
    lab.mend_api("node3")
    facts.wait_ready(lab, "node3", deadline=60)
    pod = lab.add_pod("node3")
    for family in lab.families:
        address = pod.address(family)
        assert not any(address in prefix for prefix in old)
        assert [owner for prefix, owner in facts.blocks(lab).items() if address in prefix] == ["node3"]
    facts.wait_converged(lab)
    facts.wait_reachable(lab)

"""Labels that leave a selector with nothing, on a running cluster: no session ends before somebody says that it is meant."""

from collections.abc import Iterator

import pytest

from tests.netns.path.cluster import cluster, connections, restarted, watched
from towpath.lab import facts
from towpath.lab.api import collection
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.selection import ACKNOWLEDGE

PEERS = {"tor-a-ipv4", "tor-a-ipv6", "tor-b-ipv4", "tor-b-ipv6"}
RACKS = {"node1": "a", "node2": "b"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes in two racks, whose sessions with the router are asked for by their labels."""
    with cluster(Shape(nodes=2, rack_b=1)) as made:
        yield made


def label(lab: Lab, racks: dict[str, str | None]) -> None:
    """Give nodes this value of the label that the peers select, or none; returns when it has arrived."""
    for node, rack in racks.items():
        lab.api.patch(f"{collection('Node')}/{node}", {"metadata": {"labels": {"rack": rack}}})

    def arrived() -> bool:
        found = lab.api.items("RoutingNode").items()
        return {name: one["metadata"].get("labels", {}).get("rack") for name, one in found} == racks

    wait_for(arrived, deadline=10, what="the RoutingNodes have the labels")


def held(lab: Lab) -> dict[str, bool]:
    """Which nodes say that they hold a selection."""
    said = {node: facts.conditions(lab, node).get("SelectionHeld", {}) for node in lab.nodes}
    return {node: one.get("status") == "True" for node, one in said.items()}


def accepted(lab: Lab) -> dict[str, tuple[str, str]]:
    """Status and reason of what each of the peers says of itself."""
    found = lab.api.items("BGPPeer")
    said = {
        peer: {one["type"]: one for one in found[peer].get("status", {}).get("conditions", ())}.get("Accepted", {})
        for peer in PEERS
    }
    return {peer: (one.get("status", ""), one.get("reason", "")) for peer, one in said.items()}


def test_labels_that_are_lost_move_nothing_until_it_is_acknowledged(lab: Lab) -> None:
    """Every agent holds and says so, also a new process; acknowledged the sessions go; labelled again they come back."""
    before = connections(lab)
    with watched(lab, *lab.nodes, "tor") as moved:
        label(lab, dict.fromkeys(lab.nodes))
        wait_for(lambda: all(held(lab).values()), deadline=20, what="all nodes say what they hold")
        restarted(lab, "node1/agent")
        wait_for(lambda: all(held(lab).values()), deadline=40, what="the new process says so too")
        assert connections(lab) == before
        assert moved() == {}
    wait_for(lambda: set(accepted(lab).values()) == {("True", "SelectionHeld")}, deadline=60, what="the peers say so")
    for peer in PEERS:
        lab.api.patch(f"{collection('BGPPeer')}/{peer}", {"metadata": {"annotations": {ACKNOWLEDGE: "1"}}})
    wait_for(lambda: len(facts.sessions_down(lab)) == 4, deadline=20, what="the sessions with the router are gone")
    wait_for(lambda: not any(held(lab).values()), deadline=20, what="nobody holds anything")
    label(lab, {**RACKS})
    facts.wait_sessions(lab)
    facts.wait_reachable(lab)

"""``--converged``: sessions that can come up do, in memory, and everything is told."""

import pytest

from towpath.controller.plan.converge import learned_routes
from towpath.controller.plan.inputs import Inputs, gathered
from towpath.controller.settings import SECRET_NAMESPACE

API = "towpath.io/v1alpha1"
COUNT = 5


def block(place: int) -> str:
    """The block of a node."""
    return f"10.244.{place}.0/26"


def world(*more: dict, reflector: bool = False, numbers: tuple[int, ...] = ()) -> Inputs:
    """Nodes n0 … n4 with a block each."""
    objects: list[dict] = [
        {"apiVersion": API, "kind": "IPPool", "metadata": {"name": "p"}, "spec": {"cidr": "10.244.0.0/16"}}
    ]
    for place in range(COUNT):
        annotations = {"towpath.io/ipv4-address": f"10.0.0.{place + 1}/24"}
        if reflector and place == 0:
            annotations["towpath.io/route-reflector-cluster-id"] = "1.1.1.1"
        if numbers:
            annotations["towpath.io/as-number"] = str(numbers[place])
        name = f"n{place}"
        labels = {"reflector": "yes"} if place == 0 else {}
        metadata = {"name": name, "annotations": annotations, "labels": labels}
        spec = {"cidr": block(place), "node": name, "pool": "p"}
        objects += [
            {"apiVersion": "v1", "kind": "Node", "metadata": metadata},
            {"apiVersion": API, "kind": "IPAMBlock", "metadata": {"name": f"10-244-{place}-0-26"}, "spec": spec},
        ]
    made = gathered([*objects, *more], secret_namespace=SECRET_NAMESPACE)
    assert made.rejected == ()
    return made


def peer(name: str, **spec: object) -> dict:
    """A BGPPeer."""
    return {"apiVersion": API, "kind": "BGPPeer", "metadata": {"name": name}, "spec": spec}


def learned(inputs: Inputs) -> dict[str, dict[str, list[str]]]:
    """Gateways by prefix and node."""
    return {
        node: {route["prefix"]: [hop["gateway"] for hop in route["nextHops"]] for route in routes}
        for node, routes in learned_routes(inputs).items()
    }


def everything(node: int) -> dict[str, list[str]]:
    """The blocks of all others, each by its own node."""
    return {block(place): [f"10.0.0.{place + 1}"] for place in range(COUNT) if place != node}


@pytest.mark.parametrize("numbers", [(), (65001, 65002, 65003, 65004, 65005)])
def test_a_mesh_learns_every_block(numbers: tuple[int, ...]) -> None:
    """Within one AS, and between nodes that have one each."""
    assert learned(world(numbers=numbers)) == {f"n{place}": everything(place) for place in range(COUNT)}


def test_a_reflector_passes_on_what_it_learned_although_a_peer_outside_says_nothing() -> None:
    """It waits for that peer after its start, and no longer than it has to."""
    tor = peer("tor", peerIP="10.0.0.254", asNumber=65000)
    inputs = world(tor, peer("reflector", peerSelector="reflector == 'yes'"), reflector=True)
    clients = {f"n{place}": everything(place) for place in range(COUNT)}
    assert learned(inputs) == clients


def test_a_session_whose_ends_do_not_agree_does_not_come_up() -> None:
    """Another AS, a password at one end: that session's routes are missing, no others."""
    config = {
        "apiVersion": API,
        "kind": "BGPConfiguration",
        "metadata": {"name": "default"},
        "spec": {"nodeToNodeMeshEnabled": False},
    }
    good = peer("good", node="n1", peerIP="10.0.0.1", asNumber=64512)
    bad = peer("bad", node="n2", peerIP="10.0.0.1", asNumber=64999)
    found = learned(world(config, good, bad))
    assert found == {
        "n0": {block(1): ["10.0.0.2"]},
        "n1": {block(0): ["10.0.0.1"]},
        "n2": {},
        "n3": {},
        "n4": {},
    }


def test_learned_routes_stay_out_where_they_are_not_programmed() -> None:
    """``programClusterRoutes: Disabled``."""
    spec = {"programClusterRoutes": "Disabled"}
    config = {"apiVersion": API, "kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": spec}
    assert learned(world(config)) == {f"n{place}": {} for place in range(COUNT)}

"""Pools on the nodes' own network: nobody announces or routes them, and what their nodes lead elsewhere comes back by them."""

from ipaddress import ip_network

import pytest

from tests.unit.plan.worlds import cluster, config, node, obj
from towpath.bgp.advertise import announcements
from towpath.controller.node.guard import rules_of
from towpath.controller.plan.document import documents_by_node
from towpath.controller.plan.explain import explained
from towpath.controller.plan.inputs import gathered
from towpath.controller.plan.topology.build import topology
from towpath.model.encapsulation import mac_of
from towpath.routes.plan import static_routes
from towpath.routes.ruleset import script

NODES = node("a", "10.0.0.1/24", "fd00::1/64"), node("b", "10.0.0.2/24")
BESIDE = {"type": "macvlan", "master": "eth0", "mode": "bridge", "gateway": "10.0.0.254"}
OBJECTS = (
    obj("IPPool", "on", cidr="10.0.0.64/26", blockSize=28, attachment=BESIDE),
    obj("IPPool", "off", cidr="10.244.0.0/16"),
    obj("IPAMBlock", "10-0-0-64-28", cidr="10.0.0.64/28", node="a", pool="on"),
    obj("IPAMBlock", "10-0-0-80-28", cidr="10.0.0.80/28", node="b"),
    obj("IPAMBlock", "10-244-1-0-26", cidr="10.244.1.0/26", node="a", pool="off"),
    obj("IPAMBlock", "10-244-2-0-26", cidr="10.244.2.0/26", node="b", pool="off"),
)


@pytest.mark.parametrize(
    ("cluster_routes", "expected"),
    [("BGP", {"10.244.1.0/26"}), ("Kubernetes", {"10.244.1.0/26", "10.244.2.0/26"})],
)
def test_whoever_asks_on_the_network_finds_its_pods(cluster_routes: str, expected: set[str]) -> None:
    """No announcement, no route that drops, none to other nodes; pools beside them are as ever."""
    world = cluster(*NODES, *OBJECTS, config(clusterRoutes=cluster_routes))
    assert set(map(str, announcements(world, "a"))) == {"10.244.1.0/26"}
    assert set(map(str, static_routes(world, "a"))) == expected


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_pods_behind_an_interface_are_routed_to(mode: str) -> None:
    """With addresses of their own they are announced, and what none of them has is dropped; the node's services need the same care."""
    behind = obj("IPPool", "off", cidr="10.244.0.0/16", attachment={"type": "ipvlan", "master": "eth0", "mode": mode})
    world = cluster(*NODES, behind, *OBJECTS[4:])
    assert set(map(str, announcements(world, "a"))) == {"10.244.1.0/26"}
    assert {str(prefix): one.type for prefix, one in static_routes(world, "a").items()} == {
        "10.244.1.0/26": "blackhole"
    }
    assert set(map(str, rules_of(world, "a", announcements=(), sessions=()).beside)) == {"10.244.0.0/16"}


def test_what_a_node_leads_elsewhere_comes_back_by_it() -> None:
    """From and to such pods, in the node's name; the rule is of pools, and there is none without."""
    rules = rules_of(cluster(*NODES, *OBJECTS), "a", announcements=(), sessions=())
    assert set(map(str, rules.beside)) == {"10.0.0.64/26"}
    lines = [line.strip() for line in script(rules, nat=rules.translates).splitlines()]
    assert [line for line in lines if "snat" in line] == [
        "ct status dnat ip saddr @beside4 counter snat ip to 10.0.0.1",
        "ct status dnat ip daddr @beside4 counter snat ip to 10.0.0.1",
        "ct status dnat ip6 saddr @beside6 counter snat ip6 to fd00::1",
        "ct status dnat ip6 daddr @beside6 counter snat ip6 to fd00::1",
    ]
    without = rules_of(cluster(*NODES, OBJECTS[1]), "a", announcements=(), sessions=())
    assert (without.beside, without.own, without.translates) == ((), (), False)


def test_a_plan_shows_the_shim_and_the_network() -> None:
    """With the node's own addresses for those of the master."""
    objects = [{"apiVersion": "towpath.io/v1alpha1", **one} for one in (*NODES, OBJECTS[0], OBJECTS[2])]
    ((_, document),) = documents_by_node(gathered(objects, secret_namespace="x"), ["a"])
    (shim,) = document["devices"]
    assert (shim["name"], shim["kind"]) == ("tp-shim", "macvlan")
    assert shim["attributes"] == {
        "master": "eth0",
        "mode": "bridge",
        "mac": mac_of("a"),
        "routes": [{"prefix": "10.0.0.64/28", "source": "10.0.0.1"}],
    }
    device = document["cni"]["plugins"][0]
    assert [one["subnet"] for each in device["ipam"]["ranges"] for one in each] == ["10.0.0.0/24"]


def test_explain_and_the_picture_say_which_network() -> None:
    """Nobody announces such a block, and that is no fault."""
    objects = [{"apiVersion": "towpath.io/v1alpha1", **one} for one in (*NODES, OBJECTS[0], OBJECTS[2])]
    inputs = gathered(objects, secret_namespace="x")
    found = explained(inputs, ip_network("10.0.0.70/32"))
    assert (found["pool"], found["network"], found["announcedBy"]) == ("on", "eth0", [])
    (drawn,) = topology(inputs).pools
    assert drawn.how == ("macvlan bridge on eth0",)

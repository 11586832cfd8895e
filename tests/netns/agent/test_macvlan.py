"""Pods on the network of their nodes by macvlan: who reaches whom and by which way, services, repair, and a node left as it was."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.node import kernel
from tests.netns.agent.underlay import NODE_PORT, NODES, SERVICE, SHIM, SUBNETS, Segment, objects
from towpath.lab.netns import Network
from towpath.model.net import Family

BRIDGE = {"type": "macvlan", "master": "eth0", "mode": "bridge"}
PODS = {"a1": "a", "a2": "a", "b1": "b"}
EVERYBODY = ("a1", "b1", "a", "b", "gw")
STRANGER = "macvlan9"
"""A device of somebody else's on the same master, with a route."""


@pytest.fixture(scope="module")
def segment() -> Iterator[tuple[Segment, dict[str, list[str]]]]:
    """Two nodes with pods on their network, and what their kernels had before."""
    prefix = own("tpmv")
    with in_memory(prefix) as root, Network(prefix) as network:
        made = Segment(network, root, objects(**BRIDGE), nodes=("a", "b"))
        node = made.host("a")
        node.ip("link", "add", STRANGER, "link", "eth0", "type", "macvlan", "mode", "bridge")
        node.ip("link", "set", STRANGER, "up")
        node.ip("route", "add", "203.0.113.0/24", "dev", STRANGER)
        before = {name: kernel(one.node) for name, one in made.nodes.items()}
        made.start()
        for name, at in PODS.items():
            made.pod(name, at)
        yield made, before


def test_who_reaches_whom(segment: tuple[Segment, Any]) -> None:
    """Whole packets pass both ways between pods, nodes and the router; an address that no pod has answers nobody."""
    made, _ = segment
    for source in EVERYBODY:
        for target in ("a1", "a2", "b1", "a", "b", "gw"):
            if source != target:
                wait_reached(made, source, target)
    nobody = {family: made.address("a1", family) + 10 for family in Family}
    for source in ("a", "gw"):
        made.host(source).ip("neigh", "flush", "all")
        assert not made.answer(source, nobody[Family.IPV4])


def test_pods_learn_what_the_way_takes(segment: tuple[Segment, Any]) -> None:
    """Behind the router: it tells the pod itself, and on the link nothing changes."""
    made, _ = segment
    made.learns("a1", meanwhile=lambda: wait_reached(made, "a1", "b1"))


def test_nobody_learns_the_shim_for_the_node(segment: tuple[Segment, Any]) -> None:
    """While node and pods speak, the others know the node by its interface: the shim may go without their losing it."""
    made, _ = segment
    (shim,) = made.host("a").ip_json("link", "show", SHIM)
    (interface,) = made.host("a").ip_json("link", "show", "eth0")
    for one in ("a", "b", "gw"):
        made.host(one).ip("neigh", "flush", "all")
    for pair in (("gw", "a"), ("b", "a"), ("a", "a1"), ("a1", "a"), ("a", "b"), ("b", "a")):
        wait_reached(made, *pair)
    for one in ("b", "gw", "b1"):
        known = {
            entry["dst"]: entry["lladdr"] for entry in made.host(one).ip_json("neigh", "show") if "lladdr" in entry
        }
        addresses = {str(made.address("a", family)) for family in Family}
        assert {known[address] for address in addresses & known.keys()} <= {interface["address"]} != {shim["address"]}


@pytest.mark.parametrize("target", ["a1", "a2", "b1"])
def test_services_answer(segment: tuple[Segment, Any], target: str) -> None:
    """A pod reaches itself, its neighbour and pods of other nodes by a service, as do its node and a client at a node's port."""
    made, _ = segment
    made.serve("a", target)
    made.wait(lambda: set(said(made).values()) == {target}, f"{target} answers everybody")


def test_pods_reach_no_speaker(segment: tuple[Segment, Any]) -> None:
    """Of no node, by any of its addresses, those of its links as well, nor by a service that leads there; others on the network do."""
    made, _ = segment
    (interface,) = made.host("b").ip_json("-6", "addr", "show", "dev", "eth0")
    (near,) = (f"{one['local']}%eth0" for one in interface["addr_info"] if one["scope"] == "link")
    assert "1 received" in made.host("a1").run("ping", "-n", "-c", "1", "-W", "10", near)
    assert made.speakers_reached("a1") == set()


@pytest.mark.parametrize(
    "harm",
    [
        ("link", "del", SHIM),
        ("link", "set", SHIM, "down"),
        ("link", "set", SHIM, "mtu", "1300"),
        ("link", "set", SHIM, "address", "02:00:00:00:00:99"),
        ("link", "set", SHIM, "type", "macvlan", "mode", "private"),
        ("addr", "flush", "dev", SHIM),
        ("addr", "add", "10.0.0.200/24", "dev", SHIM),
        ("route", "del", "10.0.0.64/28"),
        ("route", "add", "198.51.100.0/24", "dev", SHIM, "proto", "static"),
        ("-6", "route", "del", "fd00::1:0/124"),
    ],
    ids=" ".join,
)
def test_what_others_do_to_the_shim_is_undone(segment: tuple[Segment, Any], harm: tuple[str, ...]) -> None:
    """The device is again what it was, with its addresses and routes, and leads to the pods."""
    made, _ = segment
    before = shim(made)
    made.host("a").ip(*harm)
    made.wait(lambda: shim(made) == before, "the shim as it was")
    made.wait(lambda: all(made.reaches("a", "a1", size=None).values()), "the way to the pod")


@pytest.fixture(scope="module")
def behind_a_switch() -> Iterator[Segment]:
    """A node whose pods are on its network by way of the switch, and the other end of that network."""
    prefix = own("tpmvv")
    with in_memory(prefix) as root, Network(prefix) as network:
        attachment = {"type": "macvlan", "master": "eth0", "mode": "vepa", "hairpin": True}
        made = Segment(network, root, objects(**attachment), nodes=("a",))
        made.start()
        for name in ("a1", "a2"):
            made.pod(name, "a")
        yield made


@pytest.mark.parametrize("hairpin", ["off", "on"])
def test_a_switch_brings_pods_and_their_node_together(behind_a_switch: Segment, hairpin: str) -> None:
    """vepa: what the switch does not send back reaches neither pods of the same node nor the node; all else is as ever."""
    made = behind_a_switch
    made.switch.run("bridge", "link", "set", "dev", "to-a", "hairpin", hairpin)
    for name in ("a", "a1", "a2", "gw"):
        made.host(name).ip("neigh", "flush", "all")
    near, far = [("a1", "a2"), ("a1", "a"), ("a", "a1")], [("a1", "gw"), ("gw", "a1"), ("a", "gw"), ("gw", "a")]
    for pair in far:
        wait_reached(made, *pair)
    for pair in near:
        if hairpin == "on":
            wait_reached(made, *pair)
        else:
            assert not any(made.reaches(*pair, wait=1).values()), pair
    assert SHIM not in made.host("a").ip("link")


def test_pods_behind_a_switch_learn_what_the_way_takes(behind_a_switch: Segment) -> None:
    """The router tells them; to a pod of the same node, by way of the switch, whole packets go on."""
    made = behind_a_switch
    made.switch.run("bridge", "link", "set", "dev", "to-a", "hairpin", "on")
    made.learns("a1", meanwhile=lambda: wait_reached(made, "a1", "a2"))


@pytest.mark.parametrize("target", ["a1", "a2"])
def test_services_answer_by_way_of_the_switch(behind_a_switch: Segment, target: str) -> None:
    """A pod reaches itself and its neighbour by a service, as do its node and a client at the node's port; nothing goes round."""
    made = behind_a_switch
    made.switch.run("bridge", "link", "set", "dev", "to-a", "hairpin", "on")
    made.serve("a", target)
    made.wait(lambda: set(said(made).values()) == {target}, f"{target} answers everybody")


def wait_reached(made: Segment, source: str, target: str) -> None:
    """Whole packets of both families are answered."""
    made.wait(lambda: all(made.reaches(source, target).values()), f"{source} reaches {target}")


def said(made: Segment) -> dict[tuple[str, str, str], str]:
    """Who answers a pod and its node by a service, and a client by the node's port."""
    found = {
        (source, by, family.key): made.answer(source, SERVICE[family], by=by)
        for source in ("a1", "a")
        for by in ("tcp", "udp")
        for family in Family
    }
    return found | {
        ("gw", "port", family.key): made.answer("gw", made.address("a", family), port=NODE_PORT) for family in Family
    }


def shim(made: Segment) -> list[Any]:
    """What it is, and what is on it."""
    host = made.host("a")
    links = host.ip_json("-d", "link", "show", "type", "macvlan")
    found = [
        (one["address"], "UP" in one["flags"], one["mtu"], one["linkinfo"]["info_data"]["mode"])
        for one in links
        if one["ifname"] == SHIM
    ]
    addresses = {
        (entry["local"], entry["prefixlen"])
        for one in host.ip_json("addr", "show")
        if one["ifname"] == SHIM
        for entry in one["addr_info"]
    }
    ways = {
        (one["dst"], one.get("prefsrc"))
        for family in ("-4", "-6")
        for one in host.ip_json(family, "route", "show")
        if one["dev"] == SHIM and one.get("protocol") != "kernel"
    }
    return [found, addresses, ways]


def test_what_cannot_be_is_said_of_the_pool_alone(segment: tuple[Segment, Any]) -> None:
    """A larger MTU than the master's, and a master that is not there: the pools say so, and pods that live go on."""
    made, _ = segment
    node = made.nodes["a"]

    def told() -> set[tuple[str, str, str]]:
        return {(one["reason"], one["name"], one["field"]) for one in node.status().get("refusals", ())}

    node.write(objects(**BRIDGE, mtu=9000))
    wanted = {("AttachmentMTU", name, "spec.attachment.mtu") for name in ("v4", "v6")}
    made.wait(lambda: told() == wanted, "the MTU")
    assert node.plugin()["mtu"] == 1500
    node.write(objects(**{**BRIDGE, "master": "eth7"}))
    wanted = {("AttachmentMaster", name, "spec.attachment.master") for name in ("v4", "v6")}
    made.wait(lambda: told() == wanted, "the master")
    assert node.plugin()["master"] == "eth0"
    wait_reached(made, "a", "a1")
    node.write(objects(**BRIDGE))
    made.wait(lambda: not told(), "all is well again")


def test_a_dhcp_server_is_told_of_by_the_pool_alone(segment: tuple[Segment, Any]) -> None:
    """The node's address has a lifetime, as a DHCP client gives it: its pool says so, and pods go on; so it is until that ends."""
    made, _ = segment
    node = made.nodes["a"]

    def told() -> set[tuple[str, str, str]]:
        return {(one["reason"], one["name"], one["field"]) for one in node.status().get("refusals", ())}

    own = ("addr", "change", SUBNETS[0].format(NODES["a"]), "dev", "eth0")
    node.node.ip(*own, "valid_lft", "3600", "preferred_lft", "3600")
    made.wait(lambda: told() == {("AttachmentDHCP", "v4", "spec.cidr")}, "the pool says so")
    assert node.plugin()["master"] == "eth0"
    made.wait(lambda: all(made.reaches("a", "a1").values()), "the pod goes on")
    noted = objects(**BRIDGE)
    for one in noted:
        if one["kind"] == "IPPool":
            one["metadata"]["annotations"] = {"towpath.io/outside-dhcp": "true"}
    node.write(noted)
    made.wait(lambda: not told(), "it is seen to")
    node.write(objects(**BRIDGE))
    made.wait(lambda: bool(told()), "it is not any more")
    node.node.ip(*own, "valid_lft", "forever", "preferred_lft", "forever")
    made.wait(lambda: not told(), "the address stays")


def test_cleanup_leaves_the_nodes_as_they_were(segment: tuple[Segment, Any]) -> None:
    """As the last of these tests: others' devices, routes and rules included."""
    made, before = segment
    made.clear()
    for name, node in made.nodes.items():
        assert SHIM in node.node.ip("link")
        node.clean_up()
        assert list(node.cni.iterdir()) == []
        assert kernel(node.node) == before[name]

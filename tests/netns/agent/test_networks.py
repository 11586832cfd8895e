"""Networks beside that of all pods: what Multus would call, who reaches whom by macvlan private and passthru, and what cannot be."""

import functools
import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.sites import Sites, has, names, told, with_what_cannot_be
from tests.netns.path.mtu import BEYOND, FAR, beyond, forgetful, wait_learned_and_forgotten
from towpath.lab import pods
from towpath.lab.netns import Network
from towpath.model.net import Family

EDGE, ALONE, OWN6 = "towpath-edge", "towpath-alone", "towpath-own6"
"""Networks of eth1, where the nodes have addresses, of eth2, which is for one pod, and of eth1 in IPv6."""
POOLS: dict[str, dict[str, Any]] = {
    "pods": {"cidr": "10.244.0.0/24", "blockSize": 28},
    "edge": {
        "cidr": "10.9.0.64/26",
        "blockSize": 28,
        "attachment": {
            "type": "macvlan",
            "mode": "private",
            "master": "eth1",
            "gateway": "10.9.0.254",
            "primary": False,
        },
    },
    "edge6": {
        "cidr": "fd09::1:0/112",
        "blockSize": 124,
        "attachment": {"type": "macvlan", "mode": "bridge", "master": "eth1", "primary": False},
    },
    "own6": {
        "cidr": "fd09::2:0/112",
        "blockSize": 124,
        "attachment": {"type": "macvlan", "mode": "private", "master": "eth1", "primary": False},
    },
    "alone": {
        "cidr": "10.8.0.0/24",
        "blockSize": 28,
        "attachment": {
            "type": "macvlan",
            "mode": "passthru",
            "master": "eth2",
            "gateway": "10.8.0.254",
            "primary": False,
        },
    },
}
CANNOT: dict[str, tuple[str, dict[str, Any]]] = {
    "x1": ("AttachmentConflict type", {"type": "ipvlan", "mode": "l2", "master": "eth1"}),
    "x2": ("AttachmentConflict mode", {"type": "macvlan", "mode": "passthru", "master": "eth2"}),
    "x3": ("AttachmentConflict mode", {"type": "macvlan", "mode": "bridge", "master": "eth2"}),
    "x4": ("AttachmentMaster master", {"type": "macvlan", "mode": "passthru", "master": "eth0"}),
    "x5": ("AttachmentMaster master", {"type": "macvlan", "mode": "private", "master": "eth7"}),
    "x6": ("KernelLacks type", {"type": "ipvlan", "mode": "l2", "master": "eth3"}),
}
"""Pools that node b has beside, and what it says of them."""
BLOCKS = {
    "a": {
        "10.244.0.0/28": "pods",
        "10.9.0.64/28": "edge",
        "fd09::1:0/124": "edge6",
        "fd09::2:0/124": "own6",
        "10.8.0.0/28": "alone",
    },
    "b": {
        "10.244.0.16/28": "pods",
        "10.9.0.80/28": "edge",
        "fd09::1:10/124": "edge6",
        "fd09::2:10/124": "own6",
        "10.8.0.16/28": "alone",
    },
}


def told_to(reader: str) -> list[dict[str, Any]]:
    """What a node is told."""
    return with_what_cannot_be(reader, POOLS, CANNOT, BLOCKS)


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    """The nodes, with pods that have an interface in the networks beside their own."""
    prefix = own("tpu")
    with in_memory(prefix) as root, Network(prefix) as network:
        made = Sites(network, root, told_to, (EDGE, ALONE, OWN6))
        made.start()
        made.pod("a1", "a", net1=EDGE, net2=ALONE, net3=OWN6)
        made.pod("a2", "a", net1=EDGE, net3=OWN6)
        made.pod("b1", "b", net1=EDGE, net2=ALONE, net3=OWN6)
        yield made


def test_a_pod_has_further_interfaces(sites: Sites) -> None:
    """Each with an address of the pool's block of that node; its own one keeps its address and the way to all others."""
    host = sites.network.hosts["a1"]
    found = {
        one["ifname"]: f"{entry['local']}/{entry['prefixlen']}"
        for one in host.ip_json("-4", "addr")
        for entry in one["addr_info"]
        if one["ifname"] != "lo"
    }
    assert found == {"eth0": "10.244.0.2/24", "net1": "10.9.0.64/24", "net2": "10.8.0.2/24"}
    (default,) = host.ip_json("-4", "route", "show", "default")
    assert default["dev"] == "eth0"
    sites.wait(lambda: pods.ping(host, ip_address("10.0.0.2")), "the way by its own interface")


def test_what_was_made_is_what_is_checked(sites: Sites) -> None:
    """CHECK finds the interface, and says so when its address is gone; a second interface of one network comes and goes."""
    node, host = sites.nodes["a"], sites.network.hosts["a2"]
    made = sites.attach("a2", "net9", "towpath-edge6")
    where = {"folder": node.networks, "network": "towpath-edge6", "interface": "net9", "plugins": sites.bin}
    pods.check(node.node, host, made, **where)
    host.ip("addr", "flush", "dev", "net9", "scope", "global")
    with pytest.raises(pods.PluginError, match="CHECK"):
        pods.check(node.node, host, made, **where)
    sites.detach("a2", "net9", "towpath-edge6")
    assert "net9" not in host.ip("link")


PRIVATE = {
    ("a1", "b1"): True,
    ("b1", "a1"): True,
    ("a1", "gw"): True,
    ("gw", "a1"): True,
    ("a1", "b"): True,
    ("b", "a1"): True,
    ("a1", "a2"): False,
    ("a2", "a1"): False,
    ("a1", "a"): False,
    ("a", "a1"): False,
}
WHOLE = {("a1", "b1"): True, ("b1", "a1"): True, ("a1", "gw"): True, ("gw", "a1"): True}


@pytest.mark.parametrize(
    ("number", "family", "wanted"),
    [(1, Family.IPV4, PRIVATE), (3, Family.IPV6, PRIVATE), (2, Family.IPV4, WHOLE)],
    ids=["private", "private IPv6", "passthru"],
)
def test_who_reaches_whom(sites: Sites, number: int, family: Family, wanted: dict[tuple[str, str], bool]) -> None:
    """private: all but pods of the same node and that node. passthru: whoever is on the network, as the interface itself did."""
    sites.answer(number, wanted, family=family)


@pytest.mark.parametrize("number", [1, 2], ids=["private", "passthru"])
def test_pods_learn_what_the_way_takes(sites: Sites, number: int) -> None:
    """Behind the network's router, to which whoever gives the interface gives a route: it tells the pod, and on the link nothing changes."""
    pod, router = sites.network.hosts["a1"], sites.network.hosts["gw"]
    with beyond(sites.network, router) as far:
        to = BEYOND[0].format(FAR).partition("/")[0]
        pod.ip("route", "add", to, "via", str(sites.on("gw", number)), "dev", f"net{number}")
        forgetful(pod, far)
        ways = [(pod, far, ip_address(to)), (far, pod, sites.on("a1", number))]
        link = functools.partial(sites.wait, lambda: sites.reaches("a1", "b1", number), "the other node's pod")
        wait_learned_and_forgotten(router, ways, meanwhile=link)
        pod.ip("route", "del", to)


def test_an_interface_is_taken_by_one_pod(sites: Sites) -> None:
    """Another pod is refused with who has it, has no address, and keeps all else; when the first lets go the next one gets it.

    The node hears nothing on its interface while a pod has it.
    """
    node, gateway = sites.nodes["a"].node, sites.network.hosts["gw"]
    (link,) = gateway.ip_json("-6", "addr", "show", "dev", "eth2", "scope", "link")
    near = ip_address(f"{link['addr_info'][0]['local']}%eth2")
    assert not pods.ping(node, near, wait=1)
    said = r"IPPool/alone spec\.attachment\.mode: passthru gives all of eth2 to one pod, and pod default/a1 has it on this node"
    sites.wait(lambda: re.search(said, sites.refused("a2", "net2", ALONE)), "the pod's name is known")
    assert "net2" not in sites.network.hosts["a2"].ip("link")
    assert sites.given("a", ALONE) == {sites.made["a1"][1].container}
    sites.nodes["a"].agent.stop()
    assert "failed to create macvlan" in sites.refused("a2", "net2", ALONE), "without an agent the kernel says it"
    sites.nodes["a"].start_agent()
    sites.wait(lambda: re.search(said, sites.refused("a2", "net2", ALONE)), "the agent is back")
    sites.wait(lambda: sites.reaches("a1", "gw", 2), "the one that has it goes on")
    sites.detach("a1", "net2", ALONE)
    sites.wait(lambda: pods.ping(node, near), "the node hears the router")
    sites.attach("a2", "net2", ALONE)
    assert not pods.ping(node, near, wait=1)
    sites.detach("a2", "net2", ALONE)
    sites.made["a1"][2]["net2"] = sites.attach("a1", "net2", ALONE)
    sites.wait(lambda: sites.reaches("a1", "gw", 2), "it is the first one's again")


def test_what_cannot_be_is_said_of_the_pool_alone(sites: Sites) -> None:
    """Another kind or a second passthru on one interface, one with addresses, one that is not there, a kernel without the kind."""
    node = sites.nodes["b"]
    sites.wait(lambda: told(node).items() >= {name: said for name, (said, _) in CANNOT.items()}.items(), "all of them")
    assert names(node) == {f"towpath-{one}.conflist" for one in ("edge", "edge6", "own6", "alone")}
    wanted = {
        "10.244.0.16/28": (16, True),
        "10.9.0.80/28": (16, False),
        "fd09::1:10/124": (16, False),
        "fd09::2:10/124": (16, False),
        "10.8.0.16/28": (1, False),
    }
    sites.wait(
        lambda: {one["cidr"]: (one["capacity"], one["primary"]) for one in node.status()["blocks"]} == wanted,
        "what its blocks are for",
    )


def test_an_interface_goes_and_comes_back(sites: Sites) -> None:
    """Its pool says so, the others go on, and pods get it again when it is there."""
    node = sites.nodes["b"]
    node.node.ip("link", "set", "eth1", "name", "gone")

    lost = dict.fromkeys(("edge", "edge6", "own6"), "AttachmentMaster master")
    sites.wait(lambda: told(node).items() >= lost.items(), "that it is gone")
    assert has(node.networks, EDGE)
    sites.wait(lambda: sites.reaches("b1", "gw", 2), "the other network goes on")
    node.node.ip("link", "set", "gone", "name", "eth1")
    sites.wait(lambda: not told(node).keys() & lost.keys(), "that it is back")
    sites.wait(lambda: sites.reaches("b1", "gw", 1), "the pod on it")


def test_a_pool_goes(sites: Sites) -> None:
    """Its configuration goes with it, those of the others stay as they are."""
    node = sites.nodes["a"]
    node.write(sites.told("a", without="edge6"))
    sites.wait(
        lambda: names(node) == {f"{EDGE}.conflist", f"{OWN6}.conflist", f"{ALONE}.conflist"},
        "its configuration has gone",
    )
    assert has(node.cni)
    node.write(sites.told("a"))
    sites.wait(lambda: has(node.networks, "towpath-edge6"), "it is back")


def test_cleanup_leaves_the_nodes_as_they_were(sites: Sites) -> None:
    """As the last of these tests."""
    sites.are_as_they_were()

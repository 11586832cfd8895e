"""Networks beside that of all pods, by ipvlan: who reaches whom, what one interface cannot carry, and what containers leave behind."""

import asyncio
import json
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.sites import Sites, names, told, with_what_cannot_be
from towpath.controller.node.leaks import EVERY, Leaks
from towpath.ipam.hostlocal import HostLocal
from towpath.ipam.leaks import GONE_AFTER
from towpath.lab.netns import Network
from towpath.model.net import Family
from towpath.model.speaker import Notice

FLAT, ROUTED = "towpath-flat", "towpath-routed"
"""A part of the network of eth1, and addresses that nodes route to each other by eth0."""
POOLS: dict[str, dict[str, Any]] = {
    "pods": {"cidr": "10.244.0.0/24", "blockSize": 28},
    "flat": {
        "cidr": "10.9.0.64/26",
        "blockSize": 28,
        "attachment": {"type": "ipvlan", "mode": "l2", "master": "eth1", "primary": False},
    },
    "routed": {
        "cidr": "10.10.0.0/24",
        "blockSize": 28,
        "attachment": {"type": "ipvlan", "mode": "l3", "master": "eth0", "primary": False},
    },
}
CANNOT: dict[str, tuple[str, dict[str, Any]]] = {
    "x1": ("AttachmentConflict mode", {"type": "ipvlan", "mode": "l3s", "master": "eth1"}),
    "x2": ("AttachmentConflict type", {"type": "macvlan", "mode": "private", "master": "eth0"}),
    "x3": ("AttachmentMaster master", {"type": "ipvlan", "mode": "l2", "master": "eth7"}),
    "x4": ("AttachmentMTU mtu", {"type": "ipvlan", "mode": "l2", "master": "eth2", "mtu": 9000}),
}
"""Pools that node b has beside, and what it says of them."""
BLOCKS = {
    "a": {"10.244.0.0/28": "pods", "10.9.0.64/28": "flat", "10.10.0.0/28": "routed"},
    "b": {"10.244.0.16/28": "pods", "10.9.0.80/28": "flat", "10.10.0.16/28": "routed"},
}


def told_to(reader: str) -> list[dict[str, Any]]:
    """What a node is told."""
    return with_what_cannot_be(reader, POOLS, CANNOT, BLOCKS)


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    """The nodes, with pods that have an interface in both networks beside their own."""
    prefix = own("tpun")
    with in_memory(prefix) as root, Network(prefix) as network:
        made = Sites(network, root, told_to, (FLAT, ROUTED))
        made.start()
        for name, at in {"a1": "a", "a2": "a", "b1": "b"}.items():
            made.pod(name, at, net1=FLAT, net2=ROUTED)
        yield made


L2 = {
    ("a1", "a2"): True,
    ("a1", "b1"): True,
    ("b1", "a1"): True,
    ("a1", "gw"): True,
    ("gw", "a1"): True,
    ("b", "a1"): True,
    ("a1", "a"): False,
    ("a", "a1"): False,
}
L3 = {("a1", "a2"): True, ("a2", "a1"): True, ("a1", "b1"): True, ("b1", "a1"): True}


@pytest.mark.parametrize(("number", "wanted"), [(1, L2), (2, L3)], ids=["l2", "l3"])
def test_who_reaches_whom(sites: Sites, number: int, wanted: dict[tuple[str, str], bool]) -> None:
    """l2: everybody on that network but their own node. l3: pods of all nodes, by the nodes' routes to their blocks."""
    sites.wait(lambda: sites.reaches("a1", "b1", number), "the way to the other node")
    sites.answer(number, wanted)


def test_what_one_interface_cannot_carry_is_said_of_the_pool_alone(sites: Sites) -> None:
    """Another mode of ipvlan, macvlan beside it, an interface that is not there, a larger MTU; the others go on."""
    node = sites.nodes["b"]
    sites.wait(lambda: told(node).items() >= {name: said for name, (said, _) in CANNOT.items()}.items(), "all of them")
    assert names(node) == {f"{one}.conflist" for one in (FLAT, ROUTED)}
    sites.wait(lambda: sites.reaches("b1", "gw", 1), "the pod goes on")


def findings(sites: Sites, at: str) -> set[tuple[str, str]]:
    """What ``towpath ipam check`` finds in a node's files: field and reason."""
    node = sites.nodes[at]
    said = node.node.run(
        *(sys.executable, "-m", "towpath.controller.cli", "ipam", "check", "-o", "json"),
        *("-f", str(node.folder), "--node", at, "--node-dir", str(node.run_dir)),
        check=False,
    )
    return {(one["field"], one["reason"]) for one in json.loads(said)["findings"] if "cni/" in (one["field"] or "")}


def test_what_a_container_leaves_behind_is_found_and_freed(sites: Sites) -> None:
    """Its own network was told that it goes and the other one was not: check names the record, and the node frees it in time."""
    node = sites.nodes["a"]
    sites.pod("a3", "a", net1=FLAT)
    (lost,) = {str(sites.on("a3", 1))}
    assert findings(sites, "a") == set()
    sites.own_goes("a3")
    node.write(sites.told("a"))
    assert findings(sites, "a") == {(f"cni/{FLAT}/{lost}", "AddressLeaked")}
    clock, notices = [0.0], list[Notice]()
    data = node.run_dir / "cni"
    lives = frozenset(one.address(Family.IPV4) for at, one, _ in sites.made.values() if at == "a")
    leaks = Leaks(
        "a",
        HostLocal(data),
        pods=lambda: lives,  # type: ignore[arg-type]  # each has one
        blocks=lambda: [ip_network("10.244.0.0/28")],
        neighbours=frozenset,
        holders=lambda _: frozenset(),
        noticed=notices.append,
        clock=lambda: clock[0],
        networks=lambda: [HostLocal(data, network=one) for one in (FLAT, ROUTED)],
        attached=frozenset,
    )

    async def look() -> None:
        for clock[0] in (0.0, EVERY, GONE_AFTER):
            assert await leaks.look()

    asyncio.run(look())
    assert [one.message.partition(" was")[0] for one in notices] == [f"{lost} of {FLAT}"]
    assert findings(sites, "a") == set()
    sites.wait(lambda: sites.reaches("a1", "a2", 1), "others go on")


def test_cleanup_leaves_the_nodes_as_they_were(sites: Sites) -> None:
    """As the last of these tests."""
    sites.are_as_they_were()

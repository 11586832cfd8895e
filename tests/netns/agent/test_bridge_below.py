"""Pods on the nodes' network where the node's interface is a port of a bridge, which has the node's addresses: that is their master."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.node import kernel
from tests.netns.agent.underlay import NODE_PORT, NODES, ROUTER, SERVICE, SHIM, SUBNETS, Segment, objects
from towpath.lab.netns import Host, Network
from towpath.model.net import Family

BELOW = "br0"
WAY = {"type": "macvlan", "mode": "bridge", "master": BELOW}


def put_below(host: Host, number: int) -> None:
    """As an administrator or a network daemon does: eth0 becomes a port, and the bridge has its MAC, addresses and routes."""
    (link,) = host.ip_json("link", "show", "dev", "eth0")
    host.ip("link", "add", BELOW, "address", link["address"], "type", "bridge")
    host.ip("addr", "flush", "dev", "eth0")
    host.ip("link", "set", "eth0", "master", BELOW)
    host.ip("link", "set", BELOW, "up")
    host.address(*(subnet.format(number) for subnet in SUBNETS), dev=BELOW)
    for subnet in SUBNETS:
        host.ip("route", "replace", "default", "via", subnet.format(ROUTER).split("/")[0])


@pytest.fixture(scope="module")
def segment() -> Iterator[tuple[Segment, dict[str, list[str]]]]:
    """A node with two pods, and what its kernel had before."""
    prefix = own("tpbb")
    with in_memory(prefix) as root, Network(prefix) as network:
        made = Segment(network, root, objects(nodes=("a",), **WAY), nodes=("a",))
        put_below(made.host("a"), NODES["a"])
        before = {name: kernel(one.node) for name, one in made.nodes.items()}
        made.start()
        for name in ("a1", "a2"):
            made.pod(name, "a")
        yield made, before


def test_who_reaches_whom(segment: tuple[Segment, Any]) -> None:
    """Whole packets pass both ways between pods, their node and the router; one byte more is refused where it is sent."""
    made, _ = segment
    everybody = ("a1", "a2", "a", "gw")
    for source in everybody:
        for target in everybody:
            if source != target:
                made.wait(lambda pair=(source, target): all(made.reaches(*pair).values()), f"{source} reaches {target}")  # type: ignore[misc]  # bound now
    assert not any(made.reaches("a1", "gw", size=1501).values())


@pytest.mark.parametrize("target", ["a1", "a2"])
def test_services_answer(segment: tuple[Segment, Any], target: str) -> None:
    """A pod reaches itself and its neighbour by a service, as do its node and a client at a node's port, though the kernel shows filters what the bridge hands on."""
    made, _ = segment
    made.serve("a", target)
    for family in Family:
        for source, port in (("a1", None), ("a", None), ("gw", NODE_PORT)):
            address = made.address("a", family) if port else SERVICE[family]
            words = {"port": port} if port else {}
            made.wait(
                lambda source=source, address=address, words=words: made.answer(source, address, **words) == target,  # type: ignore[misc]  # bound now
                f"{target} answers {source}",
            )


def test_the_port_itself_is_no_master(segment: tuple[Segment, Any]) -> None:
    """It is said of the pool; pods go on."""
    made, _ = segment
    node = made.nodes["a"]

    def told() -> set[tuple[str, str]]:
        return {(one["name"], one["message"].partition(",")[0]) for one in node.status().get("refusals", ())}

    node.write(objects(nodes=("a",), **{**WAY, "master": "eth0"}))
    wanted = {(name, "eth0 is a port of a bridge") for name in ("v4", "v6")}
    made.wait(lambda: told() == wanted, "the pools say so")
    made.wait(lambda: all(made.reaches("a", "a1").values()), "pods go on")
    node.write(objects(nodes=("a",), **WAY))
    made.wait(lambda: not told(), "all is well again")


def test_cleanup_leaves_the_node_as_it_was(segment: tuple[Segment, Any]) -> None:
    """As the last of these tests: the bridge and its port included."""
    made, before = segment
    made.clear()
    node = made.nodes["a"]
    assert SHIM in node.node.ip("link")
    node.clean_up()
    assert list(node.cni.iterdir()) == []
    assert kernel(node.node) == before["a"]

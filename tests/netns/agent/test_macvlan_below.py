"""Pods on the network of their nodes by macvlan, while the interface below them changes: the node's own device and its ways follow."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.underlay import NODES, ROUTER, SERVICE, SHIM, SUBNETS, Segment, objects
from towpath.lab.netns import Network
from towpath.model.net import Family

BRIDGE = {"type": "macvlan", "master": "eth0", "mode": "bridge"}
PODS = {"a1": "a", "b1": "b"}
PAIRS = (("a", "a1"), ("a1", "a"), ("a1", "b1"), ("b1", "a1"), ("a1", "gw"), ("gw", "a1"), ("a", "b1"), ("b1", "a"))


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    """Two nodes with a pod each."""
    prefix = own("tpmb")
    with in_memory(prefix) as root, Network(prefix) as network:
        made = Segment(network, root, objects(**BRIDGE), nodes=("a", "b"))
        made.start()
        for name, at in PODS.items():
            made.pod(name, at)
        yield made


def ways(made: Segment) -> Any:
    """The node's device beside its pods, and its routes by it."""
    host = made.host("a")
    (link,) = host.ip_json("-d", "link", "show", "dev", SHIM)
    found = {
        (one["dst"], one.get("prefsrc"))
        for family in ("-4", "-6")
        for one in host.ip_json(family, "route", "show", "dev", SHIM)
        if one.get("protocol") != "kernel"
    }
    return link["address"], "UP" in link["flags"], link["mtu"], found


def configure(made: Segment, device: str = "eth0") -> None:
    """As a distribution does when a link is up: addresses and the default route."""
    host = made.host("a")
    for subnet in SUBNETS:
        nodad = ("nodad",) if ":" in subnet else ()
        host.ip("addr", "replace", subnet.format(NODES["a"]), "dev", device, *nodad)
        host.ip("route", "replace", "default", "via", subnet.format(ROUTER).partition("/")[0])


def destinations(made: Segment) -> set[str]:
    """Of the routes that new pods get."""
    return {one["dst"] for one in made.nodes["a"].plugin()["ipam"]["routes"]}


def reach(made: Segment, *, size: int | None = 1500) -> None:
    """Pods, nodes and the router reach each other."""
    for pair in PAIRS:
        made.wait(lambda pair=pair: all(made.reaches(*pair, size=size).values()), f"{pair[0]} reaches {pair[1]}")


def test_the_link_goes_down_and_comes_back(segment: Segment) -> None:
    """The node loses its addresses and routes with it, and has its ways to its pods again."""
    before, host = ways(segment), segment.host("a")
    host.ip("link", "set", "dev", "eth0", "down")
    host.ip("link", "set", "dev", "eth0", "up")
    configure(segment)
    segment.wait(lambda: ways(segment) == before, "the ways to its pods")
    reach(segment)


def test_another_name_is_no_master(segment: Segment) -> None:
    """The pools name the interface: both say so while it has another name, and all is well when it has its own again."""
    before, host, node = ways(segment), segment.host("a"), segment.nodes["a"]

    def renamed(old: str, new: str) -> None:
        host.ip("link", "set", "dev", old, "down")
        host.ip("link", "set", "dev", old, "name", new)
        host.ip("link", "set", "dev", new, "up")
        configure(segment, new)

    renamed("eth0", "lan0")

    def told() -> set[tuple[str, str]]:
        return {(one["name"], one["reason"]) for one in node.status().get("refusals", ())}

    segment.wait(lambda: told() == {("v4", "AttachmentMaster"), ("v6", "AttachmentMaster")}, "the pools say so")
    renamed("lan0", "eth0")
    segment.wait(lambda: not told(), "they do not any more")
    segment.wait(lambda: ways(segment) == before, "the ways to its pods")
    reach(segment)


def test_a_node_has_another_address(segment: Segment) -> None:
    """It sends to its pods from that, and new pods reach it and services by that; those from before keep the routes that they began with.

    So of IPv6 they do not reach their own node until it has the former address again, or they are made anew.
    """
    host = segment.host("a")
    before = NODES["a"]
    try:
        for number in (7, before):
            former, NODES["a"] = NODES["a"], number
            configure(segment)
            for subnet in SUBNETS:
                host.ip("addr", "del", subnet.format(former), "dev", "eth0")
            configure(segment)  # the kernel takes those that were added after the first one away with it
            for node in segment.nodes.values():
                node.write(objects(**BRIDGE))
            own = {str(segment.address("a", family)) for family in Family}
            segment.wait(lambda own=own: {source for _, source in ways(segment)[3]} == own, "its ways")  # type: ignore[misc]  # bound now
            segment.wait(lambda: segment.reaches("a", "a1")["ipv4"], "the pod by IPv4")
            to = {f"{segment.address('a', Family.IPV6)}/128"}
            segment.wait(lambda to=to: to <= destinations(segment), "the way of new pods to it")  # type: ignore[misc]  # bound now
            segment.pod("a9", "a")
            for pair in (("a", "a9"), ("a9", "a"), ("b1", "a"), ("a9", "b1")):
                segment.wait(lambda pair=pair: all(segment.reaches(*pair).values()), f"{pair}")  # type: ignore[misc]  # bound now
            segment.serve("a", "b1")
            for family in Family:
                segment.wait(lambda family=family: segment.answer("a9", SERVICE[family]) == "b1", "a service")  # type: ignore[misc]  # bound now
            segment.leave("a9")
    finally:
        NODES["a"] = before
    reach(segment)


def test_the_link_takes_less_and_more(segment: Segment) -> None:
    """As the last of these tests: the node's device has the MTU of its master. Pods' own devices shrink with it, and do not grow again."""
    before, host = ways(segment), segment.host("a")
    for mtu in (1400, 1500):
        host.ip("link", "set", "dev", "eth0", "mtu", str(mtu))
        segment.wait(lambda mtu=mtu: ways(segment)[2] == mtu, f"{SHIM} takes {mtu}")  # type: ignore[misc]  # bound now
        reach(segment, size=None)
    assert ways(segment) == before

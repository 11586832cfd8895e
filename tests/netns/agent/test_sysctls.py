"""The sysctls that packets of pods need, in a real kernel: set without harm to the node, and put right while packets come."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.node import OneNode, manifests
from towpath.lab import pods
from towpath.lab.events import RouteEvents
from towpath.lab.netns import Host, Network
from towpath.lab.probe import Flow, Probe
from towpath.lab.process import wait_for
from towpath.model.net import Family

SWITCHES = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
LISTENS = "net/ipv6/conf/eth0/accept_ra"
DEFAULT = ("-6", "route", "show", "default", "proto", "ra")


def told(attachment: str) -> list[dict[str, Any]]:
    """The node's objects, with pods that are attached so."""
    objects = manifests()
    for one in objects:
        if one["kind"] == "IPPool":
            one["spec"] |= {"attachment": {"type": attachment}}
    return objects


class World:
    """A node that has its IPv6 default route from the router's advertisements."""

    def __init__(self, network: Network, one: OneNode) -> None:
        self.one, self.node, self.router = one, one.node, one.router

    @contextlib.contextmanager
    def pod(self, name: str, *, attachment: str = "ptp") -> Iterator[tuple[Host, pods.Pod]]:
        """A pod that is attached so, while there is no other."""
        self.one.write(told(attachment))
        wait_for(lambda: self.one.plugin().get("type") == attachment, deadline=60, what="how pods are attached")
        host = self.node.network.host(name, forwarding=False)
        pod = pods.add(self.node, host, folder=self.one.cni)
        try:
            yield host, pod
        finally:
            pods.remove(self.node, host, folder=self.one.cni, container=pod.container)
            self.node.network.remove_host(name)

    def said(self, *names: str) -> list[str]:
        return [self.node.run("cat", f"/proc/sys/{name}").strip() for name in names]


def advertise(host: Host) -> None:
    """An advertisement of a router to all on the link (RFC 4861 section 4.2): it is one for half an hour."""
    with host.entered():
        sending = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        index = socket.if_nametoindex("eth0")
    with sending:
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sending.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0))


def link_local(host: Host) -> str:
    (shown,) = host.ip_json("-6", "addr", "show", "dev", "eth0")
    return str(next(one["local"] for one in shown["addr_info"] if one["scope"] == "link"))


def routers(node: Host) -> set[str]:
    """By whom the node's packets leave, as routers have said themselves."""
    found: set[str] = set()
    for route in node.ip_json(*DEFAULT):
        found |= {str(one["gateway"]) for one in route.get("nexthops", [route])}
    return found


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The node forwards nothing before it is towpath's."""
    prefix = own("tpsy")
    with in_memory(prefix) as root, Network(prefix) as network:
        one = OneNode(network, root)
        made = World(network, one)
        made.node.sysctl(
            net__ipv4__ip_forward=0,
            net__ipv6__conf__all__forwarding=0,
            net__ipv6__conf__default__accept_ra=1,
            net__ipv6__conf__eth0__accept_ra=1,
        )
        wait_for(lambda: "tentative" not in made.node.ip("addr"), deadline=20, what="addresses that count")
        yield made


def test_a_node_that_begins_to_forward_keeps_its_router(world: World) -> None:
    """The default route of its advertisements is never gone, and is made anew by the next one."""
    node, router = world.node, world.router
    wait_for(lambda: (advertise(router), routers(node))[1], deadline=20, what="the node knows its router")
    with RouteEvents(node) as events:
        world.one.start()
        world.one.converged(deadline=40)
        gone = [one for one in events.read() if one.deed == "deleted" and one.prefix in ("default", "::/0")]
    assert not gone
    assert world.said(*SWITCHES, LISTENS) == ["1", "1", "2"]
    assert routers(node) == {link_local(router)}
    node.ip("-6", "route", "flush", "default", "proto", "ra")
    wait_for(lambda: (advertise(router), routers(node))[1], deadline=20, what="what it says counts")


@pytest.mark.parametrize("attachment", ["ptp", "bridge"])
def test_a_pod_is_nobodys_router(world: World, attachment: str) -> None:
    """What it advertises to its node counts for nothing, on a cable of its own and on the bridge."""
    router = {link_local(world.router)}
    with world.pod("p1", attachment=attachment) as (host, _):
        for _ in range(3):
            advertise(host)
            # on the same cable: what was sent before it has come
            wait_for(lambda: pods.ping(host, ip_address("fd00::1"), wait=5), deadline=30, what="the node answers")
            assert routers(world.node) == router


@pytest.mark.parametrize(
    ("name", "value"), [*((name, "0") for name in SWITCHES), (LISTENS, "1")], ids=lambda one: one.rpartition("/")[2]
)
def test_what_others_do_to_them_is_undone(world: World, name: str, value: str) -> None:
    """While packets come, which are lost for a moment and no longer; no other sysctl of the node has changed."""

    def others() -> list[str]:
        listed = world.node.run("sysctl", "--all", "--pattern", "^net[.]ip").splitlines()
        return [line for line in listed if ".tp-br0." not in line]  # which goes when it likes

    with world.pod("p2") as (_, pod):
        before = others()
        to = [str(pod.address(family)) for family in Family]
        flows = (
            *(Flow("tor", "p2", one) for one in to),
            *(Flow("p2", "tor", one) for one in ("10.0.0.254", "fd00::254")),
        )
        with Probe(world.node.network, flows, directory=world.one.root) as probe:
            world.node.run("sh", "-c", f"echo {value} > /proc/sys/{name}")
            wait_for(lambda: world.said(*SWITCHES, LISTENS) == ["1", "1", "2"], deadline=5, what=f"{name} is as it was")
            wait_for(
                lambda: all(pods.ping(world.router, ip_address(one), wait=1) for one in to),
                deadline=5,
                what="packets pass",
            )
        assert others() == before
    print(f"{name}: {probe.result}")
    assert all(flow.received for flow in probe.result.flows)


def test_afterwards_all_is_as_before(world: World) -> None:
    """As the last of these tests: what was set back and put right more than once too."""
    world.one.clean_up()
    assert world.said(*SWITCHES, LISTENS) == ["0", "0", "1"]
    assert world.said("net/ipv6/conf/default/accept_ra") == ["1"]

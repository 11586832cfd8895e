"""Packets between nodes in tunnels of ours are not tracked by the kernel, and what the network says of them still is heard."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from tests.names import own
from tests.netns.tracked import counts, watch
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for
from towpath.routes import nft
from towpath.routes.ruleset import Rules

ENDS = {4: ("10.0.1.1", "10.0.2.2"), 6: ("fd00:1::1", "fd00:2::2")}
NARROW = 1300
STRICT = (
    "table inet strict {\n chain in {\n type filter hook input priority -10\n ct state invalid counter drop\n }\n}\n"
)
"""As common host firewalls have it."""


@pytest.fixture
def nodes() -> Iterator[tuple[Host, Host, Host]]:
    """A node with our table, another node, and the router between them, which has a narrow link to the other."""
    with Network(own("tpft")) as network:
        node, router = network.host("a", forwarding=False), network.host("r")
        other = network.host("o", forwarding=False)
        network.link(node, "eth0", router, "eth0")
        network.link(router, "eth1", other, "eth0", mtu=NARROW)
        node.address("10.0.1.1/24", "fd00:1::1/64", dev="eth0")
        router.address("10.0.1.9/24", "fd00:1::9/64", dev="eth0")
        router.address("10.0.2.9/24", "fd00:2::9/64", dev="eth1")
        other.address("10.0.2.2/24", "fd00:2::2/64", dev="eth0")
        for host, third in ((node, 1), (other, 2)):
            host.ip("route", "add", "default", "via", f"10.0.{third}.9")
            host.ip("-6", "route", "add", "default", "via", f"fd00:{third}::9")
        yield node, other, router


RULES = Rules(
    speakers=tuple((ip_address(one), 179) for pair in ENDS.values() for one in pair),
    tunnels=((4096, 4789),),
    outside=("eth0",),
    own=tuple(ip_address(mine) for mine, _ in ENDS.values()),
)


def filtered(node: Host) -> None:
    with node.entered():
        asyncio.run(nft.Table().desire(RULES))


@contextlib.contextmanager
def speaking(host: Host, version: int, *, whole: bool = False) -> Iterator[Callable[[str, int, int], int]]:
    """Send a VXLAN packet with a number and so many bytes to an address; ``whole``: nobody on the way may break it up."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with host.entered():
        sending = socket.socket(family, socket.SOCK_DGRAM)
    with sending:
        if whole:  # linux/in.h, linux/in6.h: IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, always
            level, option = (socket.IPPROTO_IPV6, 23) if version == 6 else (socket.IPPROTO_IP, 10)
            sending.setsockopt(level, option, 2)
        yield lambda address, vni, size: sending.sendto(
            b"\x08\0\0\0" + vni.to_bytes(3) + bytes(size - 7), (address, 4789)
        )


def sent(host: Host, version: int, address: str, vni: int) -> None:
    with speaking(host, version) as say:
        say(address, vni, 100)


@pytest.mark.parametrize("version", [4, 6])
def test_what_nodes_send_each_other_is_not_tracked(nodes: tuple[Host, Host, Host], version: int) -> None:
    """With a number of ours, between nodes; all else is as it was."""
    node, other, router = nodes
    mine, theirs = ENDS[version]
    filtered(node)
    watch(node)
    sent(other, version, mine, 4096)
    wait_for(lambda: counts(node) == {"in_untracked": 1}, deadline=10, what="the node has it")
    sent(other, version, mine, 9)
    wait_for(lambda: counts(node) == {"in_untracked": 1, "in_tracked": 1}, deadline=10, what="another program has it")
    sent(router, version, mine, 4096)
    sent(other, version, mine, 4096)
    wait_for(
        lambda: counts(node)["in_untracked"] == 2, deadline=10, what="the node has it, and nothing of the stranger"
    )
    sent(node, version, theirs, 4096)
    assert counts(node)["out_untracked"] == 1
    sent(node, version, theirs, 9)
    gateway = "fd00:1::9" if version == 6 else "10.0.1.9"
    sent(node, version, gateway, 4096)
    assert counts(node) == {"in_untracked": 2, "in_tracked": 1, "out_untracked": 1, "out_tracked": 2}


@pytest.mark.parametrize("version", [4, 6])
def test_a_narrow_link_between_nodes_is_learned(nodes: tuple[Host, Host, Host], version: int) -> None:
    """The router's word belongs to no connection; a firewall that drops what belongs to none lets it pass."""
    node, _, _ = nodes
    _, theirs = ENDS[version]
    filtered(node)
    node.run("nft", "-f", "-", stdin=STRICT)

    def learned() -> bool:
        with contextlib.suppress(OSError):  # once it is known the packet is refused
            say(theirs, 4096, 1400)
        (route,) = node.ip_json("route", "get", theirs)
        return {"mtu": NARROW} in route.get("metrics", ())

    with speaking(node, version, whole=True) as say:
        wait_for(learned, deadline=10, what="the node knows what the link takes")

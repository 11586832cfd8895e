"""``towpath cleanup`` in a kernel with IP-in-IP and ipvlan: a node is as it was before towpath came, also after a kill at any moment."""

from collections.abc import Iterator

import pytest

from tests.names import in_memory, own
from tests.netns.agent import underlay
from tests.netns.agent.leaving import BESIDE, FAR, OTHER, ROUNDS, Cleaned, Way, beside, translates
from towpath.lab.netns import Network
from towpath.model.encapsulation import IPIP, IPIP_DEVICE
from towpath.model.net import Family

LONGEST = 8.0
"""This kernel has one processor, and a slow one."""


def by_ipvlan(mode: str) -> Way:
    """Pods behind the node's interface, in a mode in which they are of networks of their own; and one network beside pods' own."""
    attachment = {"type": "ipvlan", "mode": mode, "master": "eth0"}
    return Way(
        stands=lambda one: behind(one, mode),
        pools={"attachment": attachment},
        more=tuple(beside("edge", "10.9.0.0/24", "10.9.0.64/28", type="ipvlan", mode="l2", master=BESIDE[0])),
        networks=("towpath-edge",),
    )


def behind(one: Cleaned, mode: str) -> bool:
    """New pods are, and the node has its own way to them."""
    plugin = one.plugin()
    return [plugin.get("type"), plugin.get("mode")] == ["ipvlan", mode] and underlay.SHIM in one.node.ip("link")


def goes(one: Cleaned, block: str, device: str) -> bool:
    """A block of another node is reached by this device."""
    return f"dev {device} " in one.node.ip("route", "show", block, "proto", "179")


WAYS = {
    IPIP: Way(
        stands=lambda one: goes(one, OTHER[0], "eth0") and goes(one, FAR[0], IPIP_DEVICE) and translates(one),
        pools={"ipipMode": "CrossSubnet", "natOutgoing": True},
        families=frozenset({Family.IPV4}),
        far=FAR[:1],
    ),
    "ipvlan l2": Way(
        stands=lambda one: behind(one, "l2"),
        instead=tuple(underlay.objects(type="ipvlan", mode="l2", master="eth0")),
    ),
    "ipvlan l3": by_ipvlan("l3"),
    "ipvlan l3s": by_ipvlan("l3s"),
}


@pytest.fixture(scope="module")
def node() -> Iterator[Cleaned]:
    """The node, before towpath came."""
    prefix = own("tpucl")
    with in_memory(prefix) as root, Network(prefix) as network:
        yield Cleaned(network, root, longest=LONGEST)


def test_a_node_is_as_it_was(node: Cleaned) -> None:
    """Links, addresses, rules, routes, neighbours, packet filters, sysctls and files, what CNI plugins made included.

    With ipvlan those do it that have its pods.
    """
    node.comes_and_goes(WAYS[IPIP])


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("name", WAYS)
def test_a_node_is_as_it_was_after_a_kill(node: Cleaned, name: str, number: int) -> None:
    """``kill -9`` at a random moment, of some after the node was told to do something else: cleanup needs no goodbye."""
    node.is_killed(name, WAYS, number=number)

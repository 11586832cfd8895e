"""``towpath cleanup``, way by way: a node is as it was before towpath came, also after it was killed at any moment.

One node goes through all of it, one way after the other, and is compared with how it was at the very first.
"""

from collections.abc import Iterator

import pytest

from tests.names import in_memory, own
from tests.netns.agent import underlay
from tests.netns.agent.leaving import FAR, OTHER, ROUNDS, TUNNELS, Cleaned, Way, translates
from tests.netns.agent.node import BLOCKS, LEARNED, ours
from towpath.lab.netns import Network

SMALL = ("10.244.1.0/29", "fd00:244::80/125")
"""Blocks of the node with few addresses."""
LONGEST = 2.0
DIRECT = dict.fromkeys(OTHER, "eth0")
TUNNELLED = dict(zip(OTHER, TUNNELS, strict=True))


def on_bridge(one: Cleaned) -> bool:
    return one.plugin().get("type") == "bridge" and "10.244.1.1/29" in one.node.ip("addr")


WAYS = {
    "direct": Way(stands=lambda one: ours(one.node) >= {*BLOCKS, *LEARNED}),
    "host-gw": Way(
        stands=lambda one: one.routed(DIRECT),
        configuration={"clusterRoutes": "Kubernetes", "nodeToNodeMeshEnabled": False},
    ),
    "vxlan": Way(stands=lambda one: one.routed(TUNNELLED), pools={"vxlanMode": "Always"}),
    "vxlan by multicast": Way(
        stands=lambda one: one.routed(dict.fromkeys(OTHER, TUNNELS[0])),
        pools={"vxlanMode": "Always", "vxlan": {"discovery": "Multicast", "group": "239.1.1.1"}},
    ),
    "between subnets": Way(
        stands=lambda one: one.routed({**DIRECT, **dict(zip(FAR, TUNNELS, strict=True))}),
        pools={"vxlanMode": "CrossSubnet"},
        far=FAR,
    ),
    "bridge": Way(stands=on_bridge, pools={"attachment": {"type": "bridge"}}, blocks=SMALL),
    "macvlan": Way(
        stands=lambda one: one.plugin().get("type") == "macvlan" and underlay.SHIM in one.node.ip("link"),
        instead=tuple(underlay.objects(type="macvlan", mode="bridge", master="eth0")),
    ),
    "natOutgoing": Way(stands=translates, pools={"natOutgoing": True}),
    "all at once": Way(
        stands=lambda one: one.routed(TUNNELLED) and on_bridge(one) and translates(one),
        pools={"vxlanMode": "Always", "attachment": {"type": "bridge"}, "natOutgoing": True},
        blocks=SMALL,
    ),
}


@pytest.fixture(scope="module")
def node() -> Iterator[Cleaned]:
    """The node, before towpath came."""
    prefix = own("tpacl")
    with in_memory(prefix) as root, Network(prefix) as network:
        yield Cleaned(network, root, longest=LONGEST)


@pytest.mark.parametrize("name", WAYS)
def test_a_node_is_as_it_was(node: Cleaned, name: str) -> None:
    """Links, addresses, rules, routes, neighbours, packet filters, sysctls and files, what CNI plugins made included."""
    node.comes_and_goes(WAYS[name])


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("name", WAYS)
def test_a_node_is_as_it_was_after_a_kill(node: Cleaned, name: str, number: int) -> None:
    """``kill -9`` at a random moment, of some after the node was told to do something else: cleanup needs no goodbye."""
    node.is_killed(name, WAYS, number=number)

"""Two edge nodes alone peer with the router and speak for the whole mesh: pods elsewhere are reached through them."""

from collections.abc import Iterator

import pytest

from tests.netns.path.cluster import cluster
from towpath.lab import facts
from towpath.lab.addressing import RACKS, TOR, TOR_AS
from towpath.lab.api import custom
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab, Shape
from towpath.model.net import Prefix, family_of

EDGES = ("node1", "node2")


def peers(lab: Lab, *nodes: str, **spec: object) -> None:
    """Only these nodes peer with the router."""
    for family in lab.families:
        wanted = {
            "peerIP": str(RACKS["a"].address(family, TOR)),
            "asNumber": TOR_AS,
            "nodeSelector": f"kubernetes.io/hostname in ({', '.join(nodes)})",
            **spec,
        }
        lab.api.apply(custom("BGPPeer", f"tor-a-{family.key}", wanted))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four nodes, a pod each."""
    with cluster(Shape(nodes=4)) as made:
        yield made


def gateways(lab: Lab, prefix: Prefix) -> set[str]:
    """The nodes by which the router reaches a block."""
    route = lab.tor.routes().get(prefix)
    at = {str(address): node for node in lab.nodes for address in lab.node_addresses(node)}
    return {at[gateway] for gateway in route.gateways} if route else set()


def test_the_router_learns_all_blocks_from_the_edge_nodes_alone(lab: Lab) -> None:
    """With nextHopMode Self every block leads to the edge nodes, and packets pass; Auto names the owners on a shared subnet."""
    peers(lab, *EDGES, advertise="Cluster", nextHopMode="Self")
    owners = facts.blocks(lab)

    # each edge node speaks for the other as well: from outside the two are alike
    wait_for(
        lambda: all(gateways(lab, prefix) == set(EDGES) for prefix in owners),
        deadline=40,
        what="all blocks lead to the edge nodes",
    )
    inner = {
        protocol.name for protocol in lab.tor.protocols().values() if protocol.established and protocol.kind == "BGP"
    }
    assert len(inner) == len(EDGES) * len(lab.families)
    facts.wait_reachable(lab)
    peers(lab, *EDGES, advertise="Cluster", nextHopMode="Auto")
    wait_for(
        lambda: all(gateways(lab, prefix) == {owner} for prefix, owner in owners.items()),
        deadline=40,
        what="the owners themselves",
    )
    facts.wait_reachable(lab)


def test_one_edge_node_is_enough(lab: Lab) -> None:
    """When one stops peering, everything goes through the other; when none may speak for others, only its own block is left."""
    peers(lab, "node2", advertise="Cluster", nextHopMode="Self")
    owners = facts.blocks(lab)
    wait_for(
        lambda: all(gateways(lab, prefix) == {"node2"} for prefix in owners), deadline=40, what="all by one edge node"
    )
    facts.wait_reachable(lab)
    peers(lab, "node2", advertise="Own", nextHopMode="Self")
    own = {prefix for prefix, owner in owners.items() if owner == "node2"}
    wait_for(lambda: lab.tor.routes().keys() == own, deadline=40, what="only its own blocks")
    assert {family_of(prefix) for prefix in own} == set(lab.families)

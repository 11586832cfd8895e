"""A whole cluster in another kernel than the host's: the same programs, the same path from a Node object to packets."""

from collections.abc import Iterator

import pytest

from tests.netns.path.cluster import cluster
from towpath.lab import facts, pods
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family, family_of


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes with a pod each, the router and the client."""
    with cluster(Shape(nodes=2, controllers=1)) as made:
        yield made


def test_everyone_reaches_everyone(lab: Lab) -> None:
    """Pods on both nodes and the client behind the router, each way, in both families."""
    assert len(facts.flows(lab)) == 3 * 2 * 2
    facts.wait_reachable(lab)


def test_routes_lead_to_the_owner_of_the_block(lab: Lab) -> None:
    """Each node has its own block as a blackhole, and the other's by the other's address; the router has them too."""
    for prefix, owner in facts.blocks(lab).items():
        gateway = str(lab.node_addresses(owner)[lab.families.index(family_of(prefix))])
        for node in lab.nodes:
            route = facts.kernel_routes(lab, node)[prefix]
            assert route["type"] == "blackhole" if node == owner else route["gateway"] == gateway
        assert set(lab.tor.routes()[prefix].gateways) == {gateway}


def test_packets_of_full_size_pass_in_both_families(lab: Lab) -> None:
    """As large as the link takes them, and no fragment; one byte more is refused where it is sent."""
    (one, other) = lab.pods.values()
    for family in (Family.IPV4, Family.IPV6):
        address = other.address(family)
        assert address is not None
        assert pods.ping(lab.host(one.name), address, wait=5, size=1500)
        assert not pods.ping(lab.host(one.name), address, wait=5, size=1501)

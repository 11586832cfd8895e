"""Which routes the objects give."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from towpath.model.blocks import in_force, node_addresses
from towpath.model.cluster import BGPConfiguration, Cluster, IPAMBlock, RoutingNode
from towpath.model.kinds.bgp import BGPConfigurationSpec
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.kinds.node import NodeBGP, RoutingNodeSpec, RoutingNodeStatus
from towpath.model.net import Family, block_name
from towpath.model.resource import Meta
from towpath.routes.plan import static_routes


def block(cidr: str, node: str, *, state: str = "Active", created: str = "2026-01-01T00:00:00Z") -> IPAMBlock:
    prefix = ip_network(cidr)
    return IPAMBlock(
        "IPAMBlock", Meta(block_name(prefix), creation_timestamp=created), IPAMBlockSpec(prefix, node, state=state)
    )


def routing_node(name: str, ipv4: str | None, ipv6: str | None = None, *, found: str | None = None) -> RoutingNode:
    bgp = NodeBGP(
        ipv4_address=ip_interface(ipv4) if ipv4 else None,
        ipv6_address=ip_interface(ipv6) if ipv6 else None,
    )
    status = RoutingNodeStatus(ipv4_address=ip_interface(found)) if found else None
    return RoutingNode("RoutingNode", Meta(name), RoutingNodeSpec(bgp), status)


def cluster(*blocks: IPAMBlock, nodes: tuple[RoutingNode, ...] = (), routes: str = "BGP") -> Cluster:
    configuration = BGPConfiguration("BGPConfiguration", Meta("default"), BGPConfigurationSpec(cluster_routes=routes))
    return Cluster(
        configurations={"default": configuration},
        blocks={one.name: one for one in blocks},
        routing_nodes={node.name: node for node in nodes},
    )


NODES = (routing_node("a", "10.0.0.1/24", "fd00::1/64"), routing_node("b", "10.0.0.2/24", "fd00::2/64"))


@pytest.mark.parametrize(
    ("cidr", "state", "blackholed"),
    [
        ("10.244.0.0/26", "Active", True),
        ("10.244.0.0/26", "Draining", True),
        ("10.244.0.0/26", "Quarantined", False),
        ("10.244.0.1/32", "Active", False),
        ("fd00:244::/122", "Active", True),
        ("fd00:244::1/128", "Active", False),
    ],
)
def test_own_block(cidr, state, blackholed) -> None:
    """An own block is blackholed while it is in use, unless it is a single address."""
    routes = static_routes(cluster(block(cidr, "a", state=state), nodes=NODES), "a")
    assert [(route.type, route.origin, str(route.why[0])) for route in routes.values()] == (
        [("blackhole", "Block", f"IPAMBlock/{block_name(ip_network(cidr))} spec.node")] if blackholed else []
    )


def test_others_blocks_come_by_bgp() -> None:
    """Without host-gw the objects give no routes to others' blocks."""
    assert static_routes(cluster(block("10.244.1.0/26", "b"), nodes=NODES), "a") == {}


@pytest.mark.parametrize(
    ("cidr", "state", "gateway"),
    [
        ("10.244.1.0/26", "Active", "10.0.0.2"),
        ("10.244.1.0/26", "Draining", "10.0.0.2"),
        ("10.244.1.0/26", "Quarantined", None),
        ("10.244.1.1/32", "Active", "10.0.0.2"),
        ("fd00:244::/122", "Active", "fd00::2"),
    ],
)
def test_host_gateway(cidr, state, gateway) -> None:
    """With host-gw others' blocks are reached by their node's address of the family."""
    routes = static_routes(cluster(block(cidr, "b", state=state), nodes=NODES, routes="Kubernetes"), "a")
    if gateway is None:
        assert routes == {}
    else:
        (route,) = routes.values()
        assert (route.type, route.origin, route.next_hops) == ("unicast", "Kubernetes", (ip_address(gateway),))
        assert [str(why) for why in route.why][1].startswith("RoutingNode/b spec.bgp.ipv")


def test_host_gateway_needs_the_address() -> None:
    """A node that is unknown, or has no address of the family, is no gateway."""
    nodes = (routing_node("b", "10.0.0.2/24"),)
    blocks = (block("fd00:244::/122", "b"), block("10.244.9.0/26", "nobody"))
    assert static_routes(cluster(*blocks, nodes=nodes, routes="Kubernetes"), "a") == {}


def test_overlap() -> None:
    """Of overlapping blocks the older is in force, of equally old ones the first by name; neighbours do not matter."""
    old, young = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
    blocks = [
        block("10.244.0.0/24", "a", created=young),
        block("10.244.0.64/26", "b", created=old),
        block("10.244.1.0/26", "a", created=old),
        block("10.244.1.0/27", "b", created=old),
        block("10.244.2.0/26", "a", created=young),
        block("fd00:244::/122", "a", created=young),
    ]
    for order in (blocks, blocks[::-1]):
        chosen = in_force({one.name: one for one in order})
        assert sorted(map(str, chosen)) == ["10.244.0.64/26", "10.244.1.0/26", "10.244.2.0/26", "fd00:244::/122"]


def test_overlap_of_three() -> None:
    """A block that is out of force still bars the younger ones inside it: no third one's going hands a range over."""
    first = block("10.244.0.0/26", "a", created="2026-01-01T00:00:00Z")
    wide = block("10.244.0.0/24", "b", created="2026-02-01T00:00:00Z")
    inner = block("10.244.0.128/26", "c", created="2026-03-01T00:00:00Z")
    assert sorted(map(str, in_force({one.name: one for one in (first, wide, inner)}))) == ["10.244.0.0/26"]
    assert sorted(map(str, in_force({one.name: one for one in (wide, inner)}))) == ["10.244.0.0/24"]


@pytest.mark.parametrize(
    ("given", "found", "expected"),
    [
        ("10.0.0.1/24", None, "10.0.0.1/24"),
        ("10.0.0.1/32", "10.0.0.1/24", "10.0.0.1/24"),
        ("10.0.0.1/16", "10.0.0.1/24", "10.0.0.1/16"),
        ("10.0.0.1/32", "10.0.0.9/24", "10.0.0.1/32"),
    ],
)
def test_node_addresses(given, found, expected) -> None:
    """The specification's address, with the prefix length that the node found where the specification has none."""
    assert node_addresses(routing_node("a", given, found=found)) == {Family.IPV4: ip_interface(expected)}

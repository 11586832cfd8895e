"""The routes that the objects give a node: blackholes for its own blocks, and with host-gw the ways to the others'.

A blackhole keeps packets to addresses of ours that no pod has from following the default route to the ToR, which would
send them back. Where pods are on the nodes' own network nobody needs either: who asks there finds them, or nobody.
"""

from collections.abc import Container, Mapping

from towpath.model.blocks import by_node, in_force, node_addresses, on_underlay
from towpath.model.cluster import Cluster
from towpath.model.net import Prefix, contains, family_of
from towpath.model.reason import Reason, Why
from towpath.routes.route import StaticRoute


def static_routes(cluster: Cluster, node: str) -> Mapping[Prefix, StaticRoute]:
    """The routes of a node by prefix; next hops are addresses of nodes, not yet resolved."""
    routes: dict[Prefix, StaticRoute] = {}
    host_gateway = cluster.bgp.cluster_routes == "Kubernetes"
    blocks = in_force(cluster.blocks)
    for block in blocks.values() if host_gateway else by_node(blocks).get(node, ()):
        prefix = block.spec.cidr
        if block.spec.state == "Quarantined" or on_underlay(block.spec, cluster.pools):
            continue
        why = Why("IPAMBlock", block.name, "spec.node")
        if block.spec.node == node:
            # the one address of a block of one is routed by its pod alone
            if prefix.prefixlen < family_of(prefix).bits:
                routes[prefix] = StaticRoute(prefix, "blackhole", "Block", why=(why,))
        elif host_gateway and (owner := cluster.routing_nodes.get(block.spec.node)) is not None:
            address = node_addresses(owner).get(family_of(prefix))
            if address is not None:
                field = f"spec.bgp.{family_of(prefix).key}Address"
                reasons = (
                    why,
                    Why("RoutingNode", owner.name, field),
                    Why("BGPConfiguration", "default", "spec.clusterRoutes"),
                )
                routes[prefix] = StaticRoute(prefix, "unicast", "Kubernetes", (address.ip,), reasons)
    return routes


def unprogrammed(cluster: Cluster) -> tuple[Prefix, ...]:
    """The ranges in which learned routes stay out of the kernel."""
    if cluster.bgp.program_cluster_routes == "Enabled":
        return ()
    return tuple(pool.spec.cidr for pool in cluster.pools.values())


def left_out(cluster: Cluster, prefix: Prefix, *, given: Container[Prefix]) -> Reason | None:
    """Why a route that the speaker has selected is not installed on a node; None: it is. ``given``: what objects give it."""
    if prefix in given:
        return Reason.OBJECTS_FIRST
    inside = any(contains(cidr, prefix) for cidr in unprogrammed(cluster))
    return Reason.NOT_PROGRAMMED if inside else None

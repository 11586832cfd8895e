"""All routes that the objects give a node: of blocks, by tunnels or without, to peers through a gateway, those by which pods reach it."""

from collections.abc import Mapping

from towpath.bgp.nodes import node_views
from towpath.bgp.reach import gateways
from towpath.bgp.workloads import peering_causes
from towpath.model.cluster import Cluster
from towpath.model.net import Prefix, host_prefix
from towpath.routes.devices.plan import TunnelPlan, tunnel_plan
from towpath.routes.plan import static_routes
from towpath.routes.route import StaticRoute


def given_routes(cluster: Cluster, node: str, tunnels: TunnelPlan | None = None) -> Mapping[Prefix, StaticRoute]:
    """By prefix; a block's wins over a peer's, and what its pool says of encapsulation over ``clusterRoutes``.

    ``tunnels``: the node's, where they are planned already.
    """
    tunnels = tunnels or tunnel_plan(cluster, node)
    return {**_to_peers(cluster, node), **static_routes(cluster, node), **tunnels.routes}


def _to_peers(cluster: Cluster, node: str) -> Mapping[Prefix, StaticRoute]:
    """Routes to the node's peers alone, for those that lie behind a gateway."""
    return {
        prefix: StaticRoute(prefix, "unicast", "Peer", (gateway.address,), (gateway.why,))
        for prefix, gateway in gateways(cluster, node).items()
    }


def local_routes(cluster: Cluster, node: str) -> Mapping[Prefix, StaticRoute]:
    """By prefix: the addresses that pods peer with, which are the node's own although no device has them."""
    me = node_views(cluster).by_name.get(node)
    if me is None:
        return {}
    return {
        host_prefix(address): StaticRoute(host_prefix(address), "local", "Peer", why=(why,))
        for address, why in peering_causes(cluster, me).values()
    }

"""All routes that the objects give a node: those of blocks, and those that reach peers through a gateway."""

from collections.abc import Mapping

from towpath.bgp.reach import gateways
from towpath.model.cluster import Cluster
from towpath.model.net import Prefix
from towpath.routes.plan import static_routes
from towpath.routes.route import StaticRoute


def given_routes(cluster: Cluster, node: str) -> Mapping[Prefix, StaticRoute]:
    """By prefix; a block's wins over a peer's."""
    return {**_to_peers(cluster, node), **static_routes(cluster, node)}


def _to_peers(cluster: Cluster, node: str) -> Mapping[Prefix, StaticRoute]:
    """Routes to the node's peers alone, for those that lie behind a gateway."""
    return {
        prefix: StaticRoute(prefix, "unicast", "Peer", (gateway.address,), (gateway.why,))
        for prefix, gateway in gateways(cluster, node).items()
    }

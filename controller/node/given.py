"""All routes that the objects give a node: those of blocks, those that reach peers through a gateway, those by which pods reach it."""

from collections.abc import Mapping

from towpath.bgp.nodes import node_views
from towpath.bgp.reach import gateways
from towpath.bgp.workloads import peering_addresses
from towpath.model.cluster import Cluster
from towpath.model.net import Prefix, host_prefix
from towpath.model.reason import Why
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


def local_routes(cluster: Cluster, node: str) -> Mapping[Prefix, StaticRoute]:
    """By prefix: the addresses that pods peer with, which are the node's own although no device has them."""
    me = node_views(cluster).by_name.get(node)
    if me is None:
        return {}
    own = f"node.{node}"
    found: dict[Prefix, StaticRoute] = {}
    for family, address in peering_addresses(cluster, me).items():
        field = f"localWorkloadPeeringIPV{family:d}"
        said = cluster.configurations.get(own)
        is_own = said is not None and address in (
            said.spec.local_workload_peering_ipv4,
            said.spec.local_workload_peering_ipv6,
        )
        why = Why("BGPConfiguration", own if is_own else "default", f"spec.{field}")
        prefix = host_prefix(address)
        found[prefix] = StaticRoute(prefix, "local", "Peer", why=(why,))
    return found

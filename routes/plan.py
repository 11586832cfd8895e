"""The routes that the objects give a node: blackholes for its own blocks, and with host-gw the ways to the others'.

A blackhole keeps packets to addresses of ours that no pod has from following the default route to the ToR, which would
send them back. Where pods are on the nodes' own network nobody needs either: who asks there finds them, or nobody.
"""

from collections.abc import Container, Iterable, Mapping

from towpath.model.blocks import by_node, in_force, node_addresses, on_underlay
from towpath.model.cluster import Cluster, IPAMBlock, IPPool, RoutingNode
from towpath.model.memo import Pieces, Together
from towpath.model.net import Prefix, contains, family_of
from towpath.model.reason import Reason, Why
from towpath.routes.route import StaticRoute


def static_routes(cluster: Cluster, node: str) -> Mapping[Prefix, StaticRoute]:
    """The routes of a node by prefix; next hops are addresses of nodes, not yet resolved."""
    owned = by_node(in_force(cluster.blocks))
    own = _own(owned.get(node, ()), cluster.pools)
    if cluster.bgp.cluster_routes != "Kubernetes":
        return own
    others = _TO_OTHERS.of(owned, cluster.routing_nodes, common=(cluster.pools, node))
    return own | _PROGRAMMED.of(others).get(None, {})


def _own(blocks: Iterable[IPAMBlock], pools: Mapping[str, IPPool]) -> dict[Prefix, StaticRoute]:
    """The one address of a block of one is routed by its pod alone."""
    return {
        block.spec.cidr: StaticRoute(
            block.spec.cidr, "blackhole", "Block", why=(Why("IPAMBlock", block.name, "spec.node"),)
        )
        for block in blocks
        if _routed(block, pools) and block.spec.cidr.prefixlen < family_of(block.spec.cidr).bits
    }


def _routed(block: IPAMBlock, pools: Mapping[str, IPPool]) -> bool:
    return block.spec.state != "Quarantined" and not on_underlay(block.spec, pools)


def _to_other(
    pools: Mapping[str, IPPool], node: str, blocks: tuple[IPAMBlock, ...], owner: RoutingNode
) -> tuple[StaticRoute, ...] | None:
    """To the blocks of another node, by its address; None: there are none."""
    if owner.name == node:
        return None
    addresses = node_addresses(owner)
    found: list[StaticRoute] = []
    for block in blocks:
        address = addresses.get(family_of(block.spec.cidr))
        if address is not None and _routed(block, pools):
            why = (
                Why("IPAMBlock", block.name, "spec.node"),
                Why("RoutingNode", owner.name, f"spec.bgp.{family_of(block.spec.cidr).key}Address"),
                Why("BGPConfiguration", "default", "spec.clusterRoutes"),
            )
            found.append(StaticRoute(block.spec.cidr, "unicast", "Kubernetes", (address.ip,), why))
    return tuple(found) or None


_TO_OTHERS: Pieces[tuple[StaticRoute, ...]] = Pieces(_to_other)
_PROGRAMMED: Together[tuple[StaticRoute, ...], None, Prefix, StaticRoute] = Together(
    lambda routes: ((None, one.prefix, one) for one in routes)
)


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

"""natOutgoing: what of pods' packets leaves their node with an address of that node, and what keeps the pod's.

Every node does the same, whatever blocks it has: the rule is of pools, not of pods. Of overlapping pools the one in force
says what it wants; where packets keep their source, every pool counts.
"""

from collections.abc import Iterable
from ipaddress import ip_network

from towpath.bgp.nodes import BGP_PORT, node_views
from towpath.bgp.services import covering
from towpath.model.cluster import Cluster, IPPool
from towpath.model.encapsulation import by_vxlan
from towpath.model.memo import remembered
from towpath.model.net import Prefix, host_prefix
from towpath.model.overlap import pools_in_force
from towpath.model.speaker import Session

MULTICAST: tuple[Prefix, ...] = (ip_network("224.0.0.0/4"), ip_network("ff00::/8"))
"""Nobody answers to these, so that there is nothing to translate back."""


@remembered
def translated(cluster: Cluster) -> tuple[IPPool, ...]:
    """The pools whose pods' packets are translated, in name order."""
    asking = any(pool.spec.nat_outgoing for pool in cluster.pools.values())
    winners = pools_in_force(cluster.pools, cluster.blocks.values())[0] if asking else {}
    return tuple(pool for pool in winners.values() if pool.spec.nat_outgoing)


@remembered
def beside(cluster: Cluster) -> tuple[IPPool, ...]:
    """The pools whose pods are behind an interface of their node, in name order: they answer past the node that asked them.

    Nobody asks pods by a network that they have beside their own.
    """
    how = ((pool, pool.spec.attachment) for _, pool in sorted(cluster.pools.items()))
    return tuple(pool for pool, one in how if one.by_master and one.primary)


@remembered
def exclusions(cluster: Cluster) -> tuple[Prefix, ...]:
    """Destinations that see who it was: pods, nodes, and groups. None lies in another."""
    nodes = (host_prefix(address) for view in node_views(cluster) for address in view.addresses.values())
    pools = (pool.spec.cidr for pool in cluster.pools.values())
    return covering({*pools, *nodes, *MULTICAST})


def excluded_ports(cluster: Cluster, sessions: Iterable[Session]) -> tuple[tuple[str, int], ...]:
    """Ports, each with its protocol, at which a node is believed by its address: those of speakers and of our tunnels."""
    speakers = {BGP_PORT, *(view.listen_port for view in node_views(cluster)), *(one.peer_port for one in sessions)}
    vxlans = {one.port for one in by_vxlan(cluster)}
    return (*(("tcp", port) for port in sorted(speakers)), *(("udp", port) for port in sorted(vxlans)))

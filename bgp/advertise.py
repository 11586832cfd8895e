"""What a node announces of its own: the blocks in force that it owns, and its addresses (RULES: announced, candidates)."""

from collections.abc import Mapping

from towpath.model.blocks import by_node, in_force, node_addresses, on_underlay
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import Family, Prefix, family_of, host_prefix
from towpath.model.reason import Why
from towpath.model.speaker import NORMAL_LOCAL_PREF_BASE, Announcement


def announcements(cluster: Cluster, node: str) -> dict[Prefix, Announcement]:
    """The announcements of ``node`` by prefix. A draining block is still announced: its pods still run."""
    return block_announcements(cluster, node, blocks=in_force(cluster.blocks))


def block_announcements(
    cluster: Cluster, node: str, *, blocks: Mapping[Prefix, IPAMBlock]
) -> dict[Prefix, Announcement]:
    """The same, with the blocks in force at hand. Where pods are on the nodes' own network, all are found there."""
    used = (
        block for block in filter(is_used, by_node(blocks).get(node, ())) if not on_underlay(block.spec, cluster.pools)
    )
    own = sorted(used, key=lambda block: block.name)
    return {
        block.spec.cidr: announcement(block.spec.cidr, cluster, why=Why("IPAMBlock", block.name, "spec.node"))
        for block in own
    }


def announcement(prefix: Prefix, cluster: Cluster, *, why: Why) -> Announcement:
    """What is said of a block, or of what of one is in use."""
    preference = _preference(cluster)[family_of(prefix)]
    return Announcement(prefix=prefix, source="Block", local_preference=preference, why=(why,))


def address_announcements(cluster: Cluster, node: str) -> dict[Prefix, Announcement]:
    """The node's own addresses, where the nodes announce theirs."""
    found = cluster.routing_nodes.get(node)
    if found is None or not cluster.bgp.advertise_node_addresses:
        return {}
    preference = _preference(cluster)
    why = (Why("BGPConfiguration", "default", "spec.advertiseNodeAddresses"), Why("RoutingNode", node, "spec.bgp"))
    return {
        prefix: Announcement(prefix, "Node", local_preference=preference[family], why=why)
        for family, address in node_addresses(found).items()
        for prefix in (host_prefix(address.ip),)
    }


def _preference(cluster: Cluster) -> dict[Family, int]:
    return {
        Family.IPV4: NORMAL_LOCAL_PREF_BASE - cluster.bgp.ipv4_normal_route_priority,
        Family.IPV6: NORMAL_LOCAL_PREF_BASE - cluster.bgp.ipv6_normal_route_priority,
    }


def is_used(block: IPAMBlock) -> bool:
    """Whether a block's owner may have addresses of it in use: one in quarantine is nobody's."""
    return block.spec.state != "Quarantined"

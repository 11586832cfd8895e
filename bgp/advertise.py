"""What a node announces of its own: the blocks in force that it owns (RULES: announced, candidates)."""

from collections.abc import Mapping

from towpath.model.blocks import in_force
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import Family, Prefix, family_of
from towpath.model.reason import Why
from towpath.model.speaker import NORMAL_LOCAL_PREF_BASE, Announcement


def announcements(cluster: Cluster, node: str) -> dict[Prefix, Announcement]:
    """The announcements of ``node`` by prefix. A draining block is still announced: its pods still run."""
    return block_announcements(cluster, node, blocks=in_force(cluster.blocks))


def block_announcements(
    cluster: Cluster, node: str, *, blocks: Mapping[Prefix, IPAMBlock]
) -> dict[Prefix, Announcement]:
    """The same, with the blocks in force at hand."""
    preference = {
        Family.IPV4: NORMAL_LOCAL_PREF_BASE - cluster.bgp.ipv4_normal_route_priority,
        Family.IPV6: NORMAL_LOCAL_PREF_BASE - cluster.bgp.ipv6_normal_route_priority,
    }
    own = sorted(
        (block for block in blocks.values() if block.spec.node == node and is_used(block)), key=lambda block: block.name
    )
    return {
        block.spec.cidr: Announcement(
            prefix=block.spec.cidr,
            source="Block",
            local_preference=preference[family_of(block.spec.cidr)],
            why=(Why("IPAMBlock", block.name, "spec.node"),),
        )
        for block in own
    }


def is_used(block: IPAMBlock) -> bool:
    """Whether a block's owner may have addresses of it in use: one in quarantine is nobody's."""
    return block.spec.state != "Quarantined"

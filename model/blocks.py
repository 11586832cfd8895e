"""Which blocks count, and where a node is: decided here, once, for everybody who reads the objects."""

from bisect import bisect_right
from collections.abc import Mapping

from towpath.model.cluster import IPAMBlock, RoutingNode
from towpath.model.net import Family, Interface, Prefix, family_of


def in_force(blocks: Mapping[str, IPAMBlock]) -> Mapping[Prefix, IPAMBlock]:
    """The blocks of a snapshot that count, by CIDR: of those that overlap the oldest, of equally old ones the first by name.

    Blocks of every state are judged: an older one in quarantine keeps a younger one out of force.
    """
    chosen: dict[Prefix, IPAMBlock] = {}
    # chosen ranges never overlap, so only the one that starts last before our end can be in the way
    starts: dict[Family, list[int]] = {family: [] for family in Family}
    ends: dict[Family, list[int]] = {family: [] for family in Family}
    for block in sorted(blocks.values(), key=lambda found: (found.meta.creation_timestamp, found.name)):
        cidr = block.spec.cidr
        family = family_of(cidr)
        first, last = int(cidr.network_address), int(cidr.broadcast_address)
        position = bisect_right(starts[family], last)
        if position and ends[family][position - 1] >= first:
            continue
        starts[family].insert(position, first)
        ends[family].insert(position, last)
        chosen[cidr] = block
    return chosen


def node_addresses(node: RoutingNode) -> Mapping[Family, Interface]:
    """The addresses of a node by family: the specification's, with the prefix length that the node found in its kernel."""
    found: dict[Family, Interface] = {}
    for family, given, seen in (
        (Family.IPV4, node.spec.bgp.ipv4_address, node.status.ipv4_address if node.status else None),
        (Family.IPV6, node.spec.bgp.ipv6_address, node.status.ipv6_address if node.status else None),
    ):
        if given is None:
            continue
        bare = given.network.prefixlen == family.bits
        found[family] = seen if bare and seen is not None and seen.ip == given.ip else given
    return found

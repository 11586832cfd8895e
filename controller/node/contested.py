"""Addresses of pods here that lie in another node's block, as a store that was restored from a backup may have it.

Nothing is taken from anybody: the pods keep their addresses, and every peer is told of each of them. So the owner of the
block hears that others are found inside, and gives none of it out until they have ended (``gate``). People are told.
"""

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.advertise import announcement
from towpath.model.blocks import by_node, in_force, is_beside, on_underlay
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import Address, Prefix, host_prefix
from towpath.model.reason import Reason, Refusal, Why, listed
from towpath.model.speaker import SpeakerState


class Contested(Struct, frozen=True):
    """Other nodes' blocks that pods of this node have addresses in, and these."""

    blocks: Mapping[Prefix, IPAMBlock] = {}
    addresses: Mapping[Address, IPAMBlock] = {}


def contested(cluster: Cluster, node: str, addresses: Collection[Address]) -> Contested:
    """Those of the ``addresses`` that pods of ``node`` have which another node may give out, by the objects."""
    blocks = in_force(cluster.blocks)
    own = [block.spec.cidr for block in by_node(blocks).get(node, ())]
    strangers = [one for one in addresses if not any(one in cidr for cidr in own)]
    if not strangers:
        return Contested()
    lengths = {(cidr.version, cidr.prefixlen) for cidr in blocks}
    found: dict[Address, IPAMBlock] = {}
    for address in strangers:
        around = (
            ip_network((address, length), strict=False) for version, length in lengths if version == address.version
        )
        block = next((blocks[cidr] for cidr in around if cidr in blocks), None)
        if block is not None and _gives_out(block, cluster):
            found[address] = block
    return Contested({block.spec.cidr: block for block in found.values()}, found)


def _gives_out(block: IPAMBlock, cluster: Cluster) -> bool:
    """Whether a block's node may have pods in it that others find by it."""
    spec = block.spec
    return spec.state != "Quarantined" and not is_beside(spec, cluster.pools) and not on_underlay(spec, cluster.pools)


def added_to(state: SpeakerState, found: Contested, cluster: Cluster) -> SpeakerState:
    """The state with an announcement of each contested address in it."""
    if not found.addresses:
        return state
    mine = {
        host_prefix(address): announcement(host_prefix(address), cluster, why=Why("IPAMBlock", block.name, "spec.node"))
        for address, block in found.addresses.items()
    }
    return replace(state, announcements=mine | state.announcements)


def refusals(found: Contested, node: str) -> Iterable[Refusal]:
    """What people have to decide, for each block."""
    for cidr, block in sorted(found.blocks.items(), key=lambda item: str(item[0])):
        owner, name = block.spec.node, f"IPAMBlock/{block.name}"
        lived_in = sorted(str(address) for address, one in found.addresses.items() if one is block)
        yield Refusal(
            Reason.OVERLAPPING_BLOCK,
            f"pods of node {node} have {listed(lived_in)}, and {cidr} is node {owner}'s: they keep them, and {owner} begins "
            f"to give out addresses of it once they have ended; or delete {name}, if no pod of {owner} is in it: it is made "
            f"anew for {node}",
            Why("IPAMBlock", block.name),
        )

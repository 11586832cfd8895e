"""``--assign``: the blocks that the controller would claim for nodes that lack them, put into the snapshot."""

from msgspec.structs import replace

from towpath.ipam.memory import Memory
from towpath.ipam.plan import plan
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import block_name
from towpath.model.reason import Refusal
from towpath.model.resource import Meta, Resource


def assigned(cluster: Cluster) -> tuple[Cluster, tuple[Refusal, ...]]:
    """The snapshot after the controller's claims, and what it could not claim.

    Older blocks win over younger ones: claimed ones are dated after all that can be written.
    """
    wished = plan(cluster, memory=Memory(), now=0.0)
    claimed: dict[str, IPAMBlock] = {}
    for claim in wished.claims:
        name = block_name(claim.spec.cidr)
        claimed[name] = Resource("IPAMBlock", Meta(name, creation_timestamp="9999"), claim.spec)
    if not claimed:
        return cluster, wished.refusals
    return replace(cluster, blocks={**cluster.blocks, **claimed}), wished.refusals

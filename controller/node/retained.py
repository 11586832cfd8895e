"""Own blocks that are gone although pods live in them: kept until the pods are gone, or the controller has made them anew.

A store that was restored from a backup, or somebody who deletes too much, must not take the network from running pods.
But what is gone may be somebody else's by now: that is another matter (``contested``).
"""

from collections.abc import Collection, Iterable

from msgspec import Struct
from msgspec.structs import replace

from towpath.model.blocks import is_beside
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import Prefix, overlaps
from towpath.model.reason import Reason, Refusal, Why


class Retained(Struct, frozen=True):
    """A picture of the cluster with the kept blocks in it."""

    cluster: Cluster
    gone: tuple[IPAMBlock, ...] = ()
    """Blocks with addresses in use whose object is not there (any more) for this node, kept or not."""
    refusals: tuple[Refusal, ...] = ()


def missing(cluster: Cluster, node: str, *, before: Iterable[IPAMBlock]) -> tuple[IPAMBlock, ...]:
    """Those of the blocks that this node owned before, and does not any more."""
    return tuple(
        block for block in before if block.name not in cluster.blocks or cluster.blocks[block.name].spec.node != node
    )


def retained(cluster: Cluster, node: str, *, gone: Iterable[IPAMBlock], in_use: Collection[Prefix]) -> Retained:
    """The complete ``cluster`` with those of the ``gone`` blocks of ``node`` kept that are ``in_use`` and nobody's.

    A kept block drains: it stays announced and blackholed, and no new address of it is given out.
    """
    own = cluster.nodes.get(node)
    lived_in = tuple(block for block in gone if block.spec.cidr in in_use)
    kept: dict[str, IPAMBlock] = {}
    refusals: list[Refusal] = []
    for block in lived_in:
        cidr, why = block.spec.cidr, Why("IPAMBlock", block.name)
        others = [one for one in cluster.blocks.values() if overlaps(one.spec.cidr, cidr)]
        if others:
            if is_beside(block.spec, cluster.pools):  # else each address is told of (``contested``)
                holders = ", ".join(sorted(f"IPAMBlock/{one.name} of node {one.spec.node}" for one in others))
                message = f"pods of node {node} have addresses in {cidr}, which is gone, and overlapped by {holders}"
                refusals.append(Refusal(Reason.OVERLAPPING_BLOCK, message, why))
            continue
        uid = own.meta.uid if own is not None and block.spec.node_uid else block.spec.node_uid
        kept[block.name] = replace(block, spec=replace(block.spec, state="Draining", node_uid=uid))
        message = (
            f"{cidr} is gone while pods of node {node} have addresses in it: it stays routed, and gives out no more"
        )
        refusals.append(Refusal(Reason.BLOCK_MISSING, message, why))
    whole = replace(cluster, blocks={**cluster.blocks, **kept}) if kept else cluster
    return Retained(whole, lived_in, tuple(refusals))

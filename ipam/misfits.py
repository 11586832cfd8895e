"""Blocks that do not fit, as people make them by hand or a pool's end leaves them: each is told, and taken as it is.

Nothing in here changes what becomes of a block: of two that overlap the older counts, one outside of all pools is used by
its node, and everybody else's go on.
"""

from collections.abc import Iterator, Mapping

from towpath.ipam.ledger import Account
from towpath.model.blocks import pool_around
from towpath.model.cluster import Cluster, IPAMBlock, IPPool
from towpath.model.net import overlaps
from towpath.model.reason import Reason, Refusal, Why


def misfits(account: Account, cluster: Cluster) -> Iterator[Refusal]:
    """Of one node's blocks. Those that the controller made for a node that is gone are its own to quarantine."""
    for block in account.blocks:
        if block.name in account.out_of_force:
            yield overlapped(block, cluster.blocks)
        if not block.spec.mirrored and (found := outside(block, cluster.pools)) is not None:
            yield found
        if account.node is None and not block.spec.managed and block.spec.state != "Quarantined":
            yield ownerless(block)


def overlapped(block: IPAMBlock, blocks: Mapping[str, IPAMBlock]) -> Refusal:
    """That an older block lies over it."""
    spec = block.spec
    others = [one for one in blocks.values() if one is not block and overlaps(one.spec.cidr, spec.cidr)]
    older = min(others, key=lambda one: (one.meta.creation_timestamp, one.name)).spec
    message = f"{spec.cidr} overlaps the older {older.cidr} of {older.node} and counts for nobody"
    return Refusal(Reason.OVERLAPPING_BLOCK, message, Why("IPAMBlock", block.name, "spec.cidr"))


def outside(block: IPAMBlock, pools: Mapping[str, IPPool]) -> Refusal | None:
    """That it lies in no pool, or in another than it names."""
    spec, pool = block.spec, pool_around(block.spec, pools)
    field = "spec.pool" if spec.pool else "spec.cidr"
    if pool is None:
        none = f"the pool {spec.pool} that it names is not around it, nor is another"
        message = none if spec.pool else "no pool is around it"
    elif spec.pool and spec.pool != pool.name:
        message = f"it names the pool {spec.pool} and lies in {pool.name}"
    else:
        return None
    return Refusal(Reason.NO_POOL, f"{spec.cidr}: {message}", Why("IPAMBlock", block.name, field))


def ownerless(block: IPAMBlock) -> Refusal:
    """That there is no node of its owner's name."""
    return Refusal(
        Reason.NODE_MISSING, f"there is no node {block.spec.node}", Why("IPAMBlock", block.name, "spec.node")
    )

"""Pools that somebody has deleted: they stay, with all that hangs on them, until the last of their blocks is gone.

The API server keeps an object that carries a finalizer. Ours is put on a pool before a block is cut from it, and taken off
once the pool is deleted and nothing is left of it. Pools that nobody has cut a block from go at once.
"""

from collections.abc import Collection, Iterable, Iterator

from towpath.ipam.byneed import candidates
from towpath.ipam.ledger import Ledger
from towpath.model.blocks import is_ending, pool_around, reported
from towpath.model.cluster import Cluster, IPAMBlock, IPPool
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.net import Prefix, family_of, overlaps
from towpath.model.reason import Reason, Refusal, Why

FINALIZER = "towpath.io/blocks"
"""On a pool: it stays while there are blocks of it."""


def is_held(pool: IPPool) -> bool:
    """Whether the API server keeps a pool for us."""
    return FINALIZER in pool.meta.finalizers


def to_hold(ledger: Ledger, claims: Iterable[IPAMBlockSpec]) -> tuple[IPPool, ...]:
    """The pools that have to be kept from going from now on: with blocks, or about to have some."""
    claimed = {spec.pool for spec in claims}
    return tuple(
        pool
        for name, pool in ledger.cluster.pools.items()
        if not is_ending(pool) and not is_held(pool) and (name in claimed or ledger.blocks_of(name))
    )


def to_release(ledger: Ledger, uncertain: Collection[IPAMBlockSpec]) -> tuple[IPPool, ...]:
    """The deleted pools of which nothing is left, claims without an answer included."""
    ending = [pool for pool in ledger.cluster.pools.values() if is_ending(pool) and is_held(pool)]
    if not ending:
        return ()
    taken = [block.spec.cidr for block in ledger.cluster.blocks.values()]
    taken += [spec.cidr for spec in uncertain]
    return tuple(pool for pool in ending if is_empty(pool, taken))


def is_empty(pool: IPPool, blocks: Iterable[Prefix]) -> bool:
    """Whether none of these blocks lies in a pool."""
    return not any(overlaps(pool.spec.cidr, cidr) for cidr in blocks)


def remainders(ledger: Ledger) -> Iterator[tuple[str, Refusal]]:
    """What is left of deleted pools: a node that has blocks, and how many there are and in what use, or that others are lacking."""
    cluster = ledger.cluster
    ending = {name: pool for name, pool in cluster.pools.items() if is_ending(pool)}
    if not ending:
        return
    left: dict[str, list[IPAMBlock]] = {}
    for block in cluster.blocks.values():
        pool = pool_around(block.spec, cluster.pools)
        if pool is not None and pool.name in ending:
            left.setdefault(pool.name, []).append(block)
    reports = reported(cluster.statuses)
    for name, blocks in left.items():
        why = Why("IPPool", name, "metadata.deletionTimestamp")
        found = (reports.get((block.spec.node, block.spec.cidr)) for block in blocks)
        in_use = sum(report.in_use for report in found if report is not None)
        count = f"{len(blocks)} block{'s' if len(blocks) > 1 else ''} of it with {in_use} addresses in use"
        going = Refusal(Reason.POOL_DELETED, f"it is deleted, and stays until they are gone: {count}", why)
        needed = Refusal(Reason.POOL_DELETED, "new pods get addresses of it: no other pool is for these nodes", why)
        for block in blocks:
            yield block.spec.node, going
            if block.spec.state == "Active" and _has_nothing_else(block, cluster, ledger):
                yield block.spec.node, needed


def _has_nothing_else(block: IPAMBlock, cluster: Cluster, ledger: Ledger) -> bool:
    node = cluster.nodes.get(block.spec.node)
    return node is not None and not candidates(node, family_of(block.spec.cidr), ledger.pools)

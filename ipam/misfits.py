"""Blocks that do not fit, as people make them by hand or a pool's end leaves them: each is told, and taken as it is.

Nothing in here changes what becomes of a block: of two that overlap the older counts, one outside of all pools is used by
its node, and everybody else's go on.
"""

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from towpath.ipam.belief import believable, demand, pods_of
from towpath.ipam.ledger import Account, current_report
from towpath.model.blocks import pool_around
from towpath.model.cluster import Cluster, IPAMBlock, IPPool
from towpath.model.net import block_name, overlaps
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
        if not block.spec.managed and (wrong := missized(block, cluster.pools)) is not None:
            yield wrong
    yield from _lies(account, cluster)


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


def missized(block: IPAMBlock, pools: Mapping[str, IPPool]) -> Refusal | None:
    """That it is none of the blocks that the pool is cut into which it names."""
    spec, pool = block.spec, pool_around(block.spec, pools)
    if pool is None or not spec.pool or spec.mirrored or spec.cidr.prefixlen == pool.spec.block_length:
        return None
    message = f"{spec.cidr}: blocks of {pool.name} are of /{pool.spec.block_length}"
    return Refusal(Reason.BLOCK_SIZE, message, Why("IPAMBlock", block.name, "spec.cidr"))


def _lies(account: Account, cluster: Cluster) -> Iterator[Refusal]:
    """What a node reports and cannot be: nothing follows from that for others, and for itself what can be."""
    status = current_report(cluster, account.name)
    if status is None or status.status is None or account.node is None:
        return
    why = Why("NodeStatus", account.name, "status.blocks")
    for report in status.status.blocks:
        block = cluster.blocks.get(block_name(report.cidr))
        if block is not None and block.spec.node != account.name:
            yield Refusal(Reason.OTHERS_BLOCK, f"{report.cidr} is a block of {block.spec.node}", why)
        if believable(report) is not report:
            message = f"{report.cidr}: {report.in_use} addresses in use and {report.capacity} to be had cannot be"
            yield Refusal(Reason.COUNT_DIFFERS, message, why)
    said, found = status.status, demand(status.status, account.node)
    most = f"cannot be: Node/{account.name} takes {pods_of(account.node)} pods at most"
    if found.wanted != said.wanted_addresses:
        message = f"{said.wanted_addresses} pods that need addresses {most}"
        yield Refusal(Reason.COUNT_DIFFERS, message, replace(why, field="status.wantedAddresses"))
    wrong = [at for at, asked in enumerate(said.pool_needs) if asked != found.needs[at]]
    for at in wrong[:1]:
        asked, more = said.pool_needs[at], f", and {len(wrong) - 1} more of them" if wrong[1:] else ""
        message = f"{asked.pods} pods, {asked.waiting} of them without an address{more}, {most}"
        yield Refusal(Reason.COUNT_DIFFERS, message, replace(why, field=f"status.poolNeeds[{at}]"))
    if found.requested != said.requested_addresses:
        message = f"{len(said.requested_addresses)} addresses that pods ask for {most}"
        yield Refusal(Reason.COUNT_DIFFERS, message, replace(why, field="status.requestedAddresses"))


def ownerless(block: IPAMBlock) -> Refusal:
    """That there is no node of its owner's name."""
    return Refusal(
        Reason.NODE_MISSING, f"there is no node {block.spec.node}", Why("IPAMBlock", block.name, "spec.node")
    )

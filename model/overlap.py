"""Which of overlapping pools is in force: the one with blocks, else the older. Every reader decides alike."""

from collections.abc import Iterable, Mapping

from towpath.model.cluster import IPAMBlock, IPPool
from towpath.model.net import overlaps


def pools_in_force(
    pools: Mapping[str, IPPool], blocks: Iterable[IPAMBlock]
) -> tuple[dict[str, IPPool], dict[str, str]]:
    """The pools that count, and for each other one the name of the pool that it loses to."""
    with_blocks = {block.spec.pool for block in blocks}
    ordered = sorted(
        pools.values(), key=lambda pool: (pool.name not in with_blocks, pool.meta.creation_timestamp, pool.name)
    )
    winners: list[IPPool] = []
    losers: dict[str, str] = {}
    for pool in ordered:
        winner = next((one for one in winners if overlaps(one.spec.cidr, pool.spec.cidr)), None)
        if winner is None:
            winners.append(pool)
        else:
            losers[pool.name] = winner.name
    return {pool.name: pool for pool in sorted(winners, key=lambda pool: pool.name)}, losers

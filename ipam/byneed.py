"""Blocks that a node gets once a pod needs them, and not before: of pools that are for some pods only (``ipam.apart``).

Counted apart from all others: a pod that may have no address of a block finds no room in it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from towpath.ipam.apart import apart, by_need, up_front
from towpath.ipam.growth import Stock
from towpath.ipam.ledger import Account
from towpath.ipam.pools import Pools
from towpath.model.blocks import is_open, pool_around
from towpath.model.cluster import IPAMBlock, IPPool, Node
from towpath.model.encapsulation import endpoints
from towpath.model.kinds.ipam import IPAMBlockSpec, IPAMConfigurationSpec
from towpath.model.kinds.node import BlockReport, PoolNeed
from towpath.model.net import Address, Family, Prefix, contains, family_of

Specs = Collection[IPAMBlockSpec]


def candidates(node: Node, family: Family, pools: Pools) -> Sequence[IPPool]:
    """The pools that a node's blocks of a family are cut from, in order, also where no pod asks for any."""
    if all(pool.spec.is_common for pool in pools.named.values()):
        return [pool for pool in pools.of(node, family) if is_open(pool)]
    always = {pool.name for pool in up_front(_of(node, pools).values())}
    return [pool for pool in pools.of(node, family) if pool.name in always]


def by_themselves(node: Node, family: Family, pools: Pools) -> Sequence[IPPool]:
    """The pools for some namespaces only that a node gets blocks of by need: no other one stands in for them."""
    always = {pool.name for pool in candidates(node, family, pools)}
    others = (pool for pool in pools.of(node, family) if not pool.spec.is_common and is_open(pool))
    return [pool for pool in others if pool.name not in always and pool.spec.assignment_mode == "Automatic"]


def parted(account: Account, specs: Specs, pools: Pools) -> tuple[Account, frozenset[Prefix]]:
    """A node's page without the blocks that it has by need, and those."""
    if account.node is None or all(pool.spec.is_common for pool in pools.named.values()):
        return account, frozenset()
    around = ((spec.cidr, pool_around(spec, pools.named)) for spec in specs)
    others = by_need({cidr: pool for cidr, pool in around if pool is not None}, _of(account.node, pools).values())
    page = replace(
        account,
        blocks=tuple(block for block in account.blocks if block.spec.cidr not in others),
        reports={cidr: one for cidr, one in account.reports.items() if cidr not in others},
        uncertain=tuple(spec for spec in account.uncertain if spec.cidr not in others),
    )
    return page, others


def needed(
    account: Account, specs: Specs, pools: Pools, ipam: IPAMConfigurationSpec, *, besides: Mapping[Family, int]
) -> tuple[tuple[tuple[str, ...], int], ...]:
    """How many blocks a node needs beyond its own, by the pools that they may be of; ``besides``: blocks of common pools that it gets at once."""
    if account.node is None or not account.needs:
        return ()
    here, found = _of(account.node, pools), []
    names, used = apart(here.values()), Counter(family_of(spec.cidr) for spec in specs)
    used.update(besides)
    for need in account.needs:
        serving = [here[name] for name in need.pools if name in names]
        enabled = tuple(pool.name for pool in serving if is_open(pool))
        active = [spec for spec in specs if spec.state == "Active" and _inside(spec, serving)]
        if not enabled or not need.pods or not all(spec.cidr in account.reports for spec in active):
            continue  # nobody asks, or it has not even used what it got last
        pool = here[enabled[0]]
        family = family_of(pool.spec.cidr)
        size = 1 << (family.bits - pool.spec.block_length)
        stock = _stock((account.reports[spec.cidr] for spec in active), need)
        short = stock.blocks_short(size, percent=ipam.grow_at_percent)
        count = short if active else max(1, -(-need.waiting // size))
        if ipam.max_blocks_per_host:
            count = min(count, ipam.max_blocks_per_host - used[family])
        if count > 0:
            used[family] += count
            found.append((enabled, count))
    return tuple(found)


def requested(account: Account, specs: Specs, pools: Pools) -> tuple[tuple[str, Address], ...]:
    """Addresses that pods ask for and that lie in none of the node's blocks, each with its pool: blocks around them would help."""
    if account.node is None or not account.requested:
        return ()
    own = {spec.cidr for spec in specs} | {block.spec.cidr for block in account.blocks}
    here = [pool for pool in _of(account.node, pools).values() if is_open(pool)]
    found = [
        (pool.name, address)
        for address in account.requested
        if not any(address in cidr for cidr in own)
        for pool in here
        if address in pool.spec.cidr
    ]
    return tuple(found)


def left(account: Account, specs: Specs, ipam: IPAMConfigurationSpec, *, besides: Counter[Family]) -> dict[Family, int]:
    """How many more blocks a node may have of each family, ``besides`` those that it gets at once; empty: there is no limit."""
    own = {spec.cidr for spec in specs} | {block.spec.cidr for block in account.blocks}
    used = Counter(map(family_of, own)) + besides
    return {family: ipam.max_blocks_per_host - used[family] for family in Family if ipam.max_blocks_per_host}


def spare(
    account: Account, others: Collection[Prefix], pools: Pools, ipam: IPAMConfigurationSpec
) -> Iterator[IPAMBlock]:
    """Of the blocks by need, those, one a family at most, that no pod needs any more, or that leave enough without them."""
    blocks = [block for block in account.blocks if block.spec.cidr in others]
    for family in Family:
        own = [block for block in blocks if family_of(block.spec.cidr) is family]
        if any(block.spec.state == "Draining" for block in own):
            continue
        active = [block for block in own if block.spec.state == "Active"]
        found = (block for block in in_turn(active, pools) if _is_spare(block, active, account, pools.named, ipam))
        yield from (block for block, _ in zip(found, range(1), strict=False))


def in_turn(blocks: Sequence[IPAMBlock], pools: Pools) -> list[IPAMBlock]:
    """Blocks of a node in the order in which they are given back: those of pools first that no new ones are cut from."""
    around = ((block, pool_around(block.spec, pools.named)) for block in reversed(blocks))
    cut = [(block, pool is not None and is_open(pool)) for block, pool in around]
    return [block for wanted in (False, True) for block, is_cut in cut if is_cut is wanted]


def _is_spare(
    block: IPAMBlock,
    active: Sequence[IPAMBlock],
    account: Account,
    pools: Mapping[str, IPPool],
    ipam: IPAMConfigurationSpec,
) -> bool:
    cidr = block.spec.cidr
    report = account.reports.get(cidr)
    if report is None or report.in_use or not block.spec.managed or block.spec.mirrored:
        return False
    if any(address in cidr for address in account.requested) or _is_endpoint(block, account, pools):
        return False
    for need in account.needs:
        serving = [pools[name] for name in need.pools if name in pools]
        if not need.pods or not _inside(block.spec, serving):
            continue
        rest = [one.spec.cidr for one in active if one is not block and _inside(one.spec, serving)]
        stock = _stock((account.reports[one] for one in rest if one in account.reports), need)
        if not stock.is_ample(percent=ipam.grow_at_percent):
            return False
    return True


def _stock(reports: Iterable[BlockReport], need: PoolNeed) -> Stock:
    found = [(one.capacity, one.in_use) for one in reports]
    return Stock(sum(room for room, _ in found), sum(used for _, used in found) + need.waiting)


def _is_endpoint(block: IPAMBlock, account: Account, pools: Mapping[str, IPPool]) -> bool:
    """Whether its lowest address is the node's own in a tunnel, which without it would become that of another block."""
    key = next((key for key, one in endpoints(account.blocks, pools).items() if one is block), None)
    return key is not None and key in endpoints((one for one in account.blocks if one is not block), pools)


def _of(node: Node, pools: Pools) -> dict[str, IPPool]:
    return {pool.name: pool for family in Family for pool in pools.of(node, family)}


def _inside(spec: IPAMBlockSpec, pools: Collection[IPPool]) -> bool:
    return any(contains(pool.spec.cidr, spec.cidr) for pool in pools)

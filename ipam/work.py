"""What one node asks for: which of its blocks change, how many more it needs, which it could do without.

A pure function of the node's page in the books and of the rules that hold for all: asked again only where one of the two
is another than before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from towpath.ipam.byneed import candidates, in_turn, left, needed, parted, requested, spare
from towpath.ipam.changes import Change, Rules, cluster_assigns, transition
from towpath.ipam.growth import Stock
from towpath.ipam.ledger import Account
from towpath.ipam.pools import Pools, takes_part
from towpath.model.blocks import is_beside, is_ending, is_open, pool_around
from towpath.model.cluster import IPAMBlock, IPPool, Node
from towpath.model.encapsulation import endpoints
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.net import Address, Family, Prefix, family_of


class Work(Struct, frozen=True):
    """What is to be done for a node, or could be."""

    changes: tuple[Change, ...] = ()
    needs: tuple[tuple[Family, int], ...] = ()
    """How many blocks of each family it needs beyond its own, of pools for all."""
    needs_apart: tuple[tuple[tuple[str, ...], int], ...] = ()
    """The same of pools for some, the first that has one left."""
    requested: tuple[tuple[str, Address], ...] = ()
    """Addresses that its pods ask for and that lie in none of its blocks, each with its pool."""
    room: Mapping[Family, int] = {}
    """How many blocks around these it may have; a family that is not in it has no limit."""
    beside: tuple[tuple[str, int], ...] = ()
    """The same of each pool that is a network beside that of all pods."""
    mirrors: tuple[Prefix, ...] = ()
    """Its podCIDRs that are no blocks yet."""
    unassigned: bool = False
    """It waits for podCIDRs."""
    assignment: tuple[Prefix, ...] = ()
    """What its podCIDRs are to be."""
    spare: tuple[IPAMBlock, ...] = ()
    """Blocks, one a family and network at most, that could go."""
    unknown: tuple[Prefix, ...] = ()
    """Blocks that it reports and that do not exist."""

    @property
    def asks_for_blocks(self) -> bool:
        """Whether any is to be claimed for it."""
        return bool(self.needs or self.needs_apart or self.requested or self.beside or self.mirrors)


NOTHING = Work()


def work(account: Account, rules: Rules, *, exists: Iterable[Prefix]) -> Work:
    """The work for one node; ``exists``: those of the blocks that it reports which do exist, whoever has them."""
    changes = tuple(change for block in account.blocks if (change := transition(block, account, rules)) is not None)
    changed = {change.block.name: change.spec for change in changes}
    own = {
        block.name: changed.get(block.name, block.spec)
        for block in account.blocks
        if block.name not in account.out_of_force
    }
    node, ipam, (main, beside) = account.node, rules.ipam, _networks(account, rules.pools)
    common, others = parted(main, (*own.values(), *main.uncertain), rules.pools)
    needs: tuple[tuple[Family, int], ...] = ()
    needs_apart: tuple[tuple[tuple[str, ...], int], ...] = ()
    asked_for: tuple[tuple[str, Address], ...] = ()
    room: Mapping[Family, int] = {}
    mirrors: tuple[Prefix, ...] = ()
    assignment: tuple[Prefix, ...] = ()
    part = node is not None and takes_part(node, ipam)
    if node is not None and part and ipam.block_source == "Towpath":
        serving = ((family, _for_all(node, family, rules.pools)) for family in Family)
        needs = tuple(
            (family, count)
            for family, pools in serving
            if (count := _needed(pools, own, common, rules, besides=[family_of(one) for one in others].count(family)))
        )
        known_main = (*(own[block.name] for block in main.blocks if block.name in own), *main.uncertain)
        specs = [spec for spec in known_main if spec.state != "Quarantined"]
        needs_apart = needed(main, specs, rules.pools, ipam, besides=dict(needs))
        asked_for = requested(main, specs, rules.pools)
        promised = Counter(dict(needs))
        for names, count in needs_apart:
            promised[family_of(rules.pools.named[names[0]].spec.cidr)] += count
        room = left(main, specs, ipam, besides=promised)
        if ipam.assign_pod_cidrs and not node.pod_cidrs and not needs:
            assignment = _first_of_each_family(node, own, main.blocks)
    elif node is not None and part:
        known = {block.spec.cidr for block in account.blocks} | {spec.cidr for spec in account.uncertain}
        mirrors = tuple(prefix for prefix in node.pod_cidrs if prefix not in known)
    return Work(
        changes=changes,
        needs=needs,
        needs_apart=needs_apart,
        requested=asked_for,
        room=room,
        beside=tuple(_needed_beside(rules.pools.beside(node), own, beside, rules)) if node is not None and part else (),
        mirrors=mirrors,
        unassigned=node is not None and part and ipam.block_source == "PodCIDRs" and not node.pod_cidrs,
        assignment=assignment,
        spare=(
            *_spares(common, beside, own, rules),
            *spare(main, () if cluster_assigns(rules) else others, rules.pools, ipam),
        )
        if part
        else (),
        unknown=tuple(sorted(account.reports.keys() - set(exists), key=str)),
    )


def _networks(account: Account, pools: Pools) -> tuple[Account, dict[str, Account]]:
    """What a node has for the network of all pods, and for each one beside it by its pool: they grow and shrink by themselves."""
    named = pools.named
    if all(pool.spec.attachment.primary for pool in named.values()) and all(one.spec.primary for one in account.blocks):
        return account, {}

    def network(spec: IPAMBlockSpec) -> str:
        around = pool_around(spec, named)
        return (around.name if around is not None else spec.pool or str(spec.cidr)) if is_beside(spec, named) else ""

    reports = account.reports
    # blocks that are reported and are not there come first: those that are there know more
    known = [IPAMBlockSpec(cidr=cidr, node=account.name, primary=one.primary) for cidr, one in reports.items()]
    known += [*account.uncertain, *(one.spec for one in account.blocks)]
    of = {spec.cidr: network(spec) for spec in known}
    found = {
        name: replace(
            account,
            blocks=tuple(one for one in account.blocks if of[one.spec.cidr] == name),
            uncertain=tuple(spec for spec in account.uncertain if of[spec.cidr] == name),
            reports={cidr: one for cidr, one in reports.items() if of[cidr] == name},
            wanted=0 if name else account.wanted,
        )
        for name in {"", *of.values()}
    }
    return found.pop(""), found


def _needed_beside(
    pools: Iterable[IPPool],
    own: Mapping[str, IPAMBlockSpec],
    beside: Mapping[str, Account],
    rules: Rules,
) -> Iterator[tuple[str, int]]:
    """The pools of networks beside that of all pods of which a node needs blocks, and how many: of those for one pod only one."""
    for pool in pools:
        account = beside.get(pool.name)
        if not is_open(pool):
            continue
        if account is None:
            yield pool.name, 1
        elif count := _needed([pool], own, account, rules):
            has_one = any(own[one.name].state == "Active" for one in account.blocks if one.name in own)
            if not pool.spec.attachment.whole or not (has_one or account.uncertain):
                yield pool.name, 1 if pool.spec.attachment.whole else count


def _for_all(node: Node, family: Family, pools: Pools) -> Sequence[IPPool]:
    """The pools that a node has blocks of before any pod asks; where all are disabled, those that were."""
    return candidates(node, family, pools) or [pool for pool in pools.of(node, family) if pool.spec.is_common]


def _needed(
    pools: Sequence[IPPool],
    specs: Mapping[str, IPAMBlockSpec],
    account: Account,
    rules: Rules,
    *,
    besides: int = 0,
) -> int:
    """How many blocks a node needs of these pools beyond its own: one at least, and room for all its pods before the last is full.

    ``specs``: its blocks in force by name, as they will be; ``besides``: how many it has by need.
    """
    if not pools:
        return 0
    ipam, family = rules.ipam, family_of(pools[0].spec.cidr)
    known = (*(specs[one.name] for one in account.blocks if one.name in specs), *account.uncertain)
    own = [spec for spec in known if spec.state != "Quarantined" and family_of(spec.cidr) is family]
    # what is left of a deleted pool goes, once others have taken its place
    staying = [spec for spec in own if not _ends(spec, rules)] if is_open(pools[0]) else own
    active = [spec for spec in staying if spec.state == "Active"]
    if not all(spec.cidr in account.reports for spec in active):
        return 0  # it has not even used what it got last
    total = sum(account.reports[spec.cidr].capacity for spec in active)
    in_use = sum(account.reports[spec.cidr].in_use for spec in active)
    stock = Stock(total, max(in_use, account.wanted - _in_use_elsewhere(active, family, account)))
    size = 1 << (family.bits - pools[0].spec.block_length)
    count = stock.blocks_short(size, percent=ipam.grow_at_percent, free=ipam.min_free_addresses)
    if not active and not stock.demand:
        count = 1  # what is free beyond it is seen when the node reports
    limit = ipam.max_blocks_per_host
    return max(0, min(count, limit - len(own) - besides)) if limit else count


def _ends(spec: IPAMBlockSpec, rules: Rules) -> bool:
    pool = pool_around(spec, rules.pools.named)
    return pool is not None and is_ending(pool)


def _in_use_elsewhere(active: Sequence[IPAMBlockSpec], family: Family, account: Account) -> int:
    """Addresses that the node's pods have of blocks that give out no more."""
    serving = {spec.cidr for spec in active}
    return sum(
        report.in_use for cidr, report in account.reports.items() if family_of(cidr) is family and cidr not in serving
    )


def _first_of_each_family(node: Node, own: dict[str, IPAMBlockSpec], blocks: Sequence[IPAMBlock]) -> tuple[Prefix, ...]:
    """The oldest block of each family that pods use, the node's own first family first."""
    first: dict[Family, Prefix] = {}
    for block in sorted(blocks, key=lambda one: (one.meta.creation_timestamp, one.name)):
        spec = own.get(block.name)
        if spec is not None and spec.state == "Active" and spec.managed and spec.node_uid == node.meta.uid:
            first.setdefault(family_of(spec.cidr), spec.cidr)
    order = [family_of(address) for address in node.addresses]
    return tuple(first[family] for family in sorted(first, key=lambda one: order.index(one) if one in order else one))


def _spares(
    main: Account, beside: Mapping[str, Account], own: dict[str, IPAMBlockSpec], rules: Rules
) -> Iterator[IPAMBlock]:
    """The blocks that could go; where the cluster assigns those of the network of all pods are not ours to give back."""
    for account in (*(() if cluster_assigns(rules) else (main,)), *beside.values()):
        yield from _spare(account, own, rules)


def _spare(account: Account, own: dict[str, IPAMBlockSpec], rules: Rules) -> tuple[IPAMBlock, ...]:
    """The one block of each family that could go: empty, and its pool is gone, or enough stays free without it."""
    found: list[IPAMBlock] = []
    for family in Family:
        specs = {name: spec for name, spec in own.items() if family_of(spec.cidr) is family}
        active = [block for block in account.blocks if block.name in specs and specs[block.name].state == "Active"]
        known = {pool.name for pool in rules.pools.families.get(family, ()) if not is_ending(pool)}
        if not active or any(spec.state == "Draining" for spec in specs.values()):
            continue
        if not all(block.spec.cidr in account.reports for block in active):
            continue
        if len(active) == 1 and active[0].spec.pool in known:
            continue
        spare = _one_spare(active, account, rules, known=known)
        if spare is not None:
            found.append(spare)
    return tuple(found)


def _one_spare(active: Sequence[IPAMBlock], account: Account, rules: Rules, *, known: set[str]) -> IPAMBlock | None:
    ipam, reports = rules.ipam, account.reports
    family = family_of(active[0].spec.cidr)
    in_use = sum(reports[block.spec.cidr].in_use for block in active)
    elsewhere = _in_use_elsewhere([block.spec for block in active], family, account)
    demand = max(in_use, account.wanted - elsewhere)
    total = sum(reports[block.spec.cidr].capacity for block in active)
    assigned = account.node.pod_cidrs if account.node else ()
    pools = {pool.name: pool for pool in rules.pools.families.get(family, ()) if pool.name in known}
    of_the_node = endpoints(account.blocks, pools).values()
    for block in in_turn(active, rules.pools):
        report = reports[block.spec.cidr]
        if block in of_the_node:
            continue  # its lowest address is the node's own in a tunnel, by which others send
        if report.in_use or not block.spec.managed or block.spec.mirrored or block.spec.cidr in assigned:
            continue
        if block.spec.pool not in known:
            return block
        rest = Stock(total - report.capacity, demand)
        if rest.total - demand > 2 * ipam.min_free_addresses and rest.is_ample(percent=ipam.grow_at_percent):
            return block
    return None

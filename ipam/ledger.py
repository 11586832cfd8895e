"""The snapshot by node: what each has, reports and occupies, kept from one snapshot to the next.

Only objects that are not the very same as before are looked at (snapshots share what did not change), so one more node
costs the same among five as among five thousand. The books follow from the last snapshot alone, never from how it came.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from towpath.ipam.belief import Demand, believable, demand
from towpath.ipam.blocks import Space, space_of
from towpath.ipam.pools import Pools, pools_by_family
from towpath.ipam.reserved import reserved
from towpath.model.blocks import in_force, is_ending
from towpath.model.cluster import Cluster, IPAMBlock, Node, NodeStatus
from towpath.model.delta import exchanged
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.kinds.node import BlockReport, PoolNeed
from towpath.model.net import Address, Prefix, host_prefix, overlaps
from towpath.model.reason import Reason
from towpath.model.resource import version_number
from towpath.model.spans import Spans, span


class Account(Struct, frozen=True):
    """One node as the books have it. ``node`` None: blocks or a report name it, and it does not exist."""

    name: str
    node: Node | None
    blocks: tuple[IPAMBlock, ...]
    """All of its blocks, by name."""
    out_of_force: frozenset[str]
    """Names of those that an older one overlaps."""
    uncertain: tuple[IPAMBlockSpec, ...]
    """Claims for it whose answer was lost."""
    reports: Mapping[Prefix, BlockReport]
    """How full its blocks are; empty where what is there was written about an earlier Node of this name."""
    wanted: int
    """Addresses of each family that its pods need of pools for all."""
    needs: tuple[PoolNeed, ...] = ()
    """What they need of other pools."""
    requested: tuple[Address, ...] = ()
    """Addresses that they ask for."""
    serves: bool = False
    """Whether it says that it gives pods addresses itself: no other network does any more."""


class Clash(Struct, frozen=True, order=True):
    """Something of a node that lies in a pool and is no block of the node's."""

    pool: str
    reason: Reason
    what: str


class Ledger:
    """The books. ``look`` brings them up to a snapshot."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.pools = Pools({})
        self.spaces: dict[str, Space] = {}
        """The places of each pool in force."""
        self.blocks = Spans()
        """All blocks, and their nodes."""
        self.uncertain = Spans()
        """Claims whose answer was lost, and their nodes."""
        self.quarantined: dict[str, IPAMBlock] = {}
        self.added: set[Prefix] = set()
        """Blocks that the last look found new."""
        self.went_back = False
        """Whether an object was older in the last look than in the one before."""
        self.clashes: dict[str, tuple[Clash, ...]] = {}
        """By node, where there are any."""
        self._own: dict[str, dict[str, IPAMBlock]] = {}
        self._of_pool: Counter[str] = Counter()
        self._rules: object = None
        self._out_of_force: frozenset[str] = frozenset()
        self._lost: dict[str, tuple[IPAMBlockSpec, ...]] = {}
        self._barred: frozenset[Prefix] = frozenset()
        self._reporters: dict[Prefix, set[str]] = {}
        self._occupied: dict[str, tuple[tuple[Prefix, ...], tuple[Prefix, ...]]] = {}
        """What each node takes beside its blocks: what it reports, and its podCIDRs and addresses."""
        self._held: Counter[Prefix] = Counter()

    def look(
        self,
        cluster: Cluster,
        *,
        uncertain: Mapping[str, IPAMBlockSpec] | None = None,
        barred: Iterable[Prefix] = (),
    ) -> set[str]:
        """Names of the nodes of which anything that counts is other than before.

        ``uncertain``: claims without an answer; ``barred``: whatever else no block may be cut from.
        """
        before, self.cluster = self.cluster, cluster
        self.added, self.went_back = set(), False
        touched: set[str] = set()
        for name, old_node, new_node in exchanged(before.nodes, cluster.nodes):
            self.went_back |= _is_older(new_node, old_node)
            touched.add(name)
        touched.update(name for name, _, _ in exchanged(before.statuses, cluster.statuses))
        for name, old, new in exchanged(before.blocks, cluster.blocks):
            self.went_back |= _is_older(new, old)
            touched |= self._enter(name, old, new)
        touched |= self._judge_force()
        touched |= self._note_uncertain(uncertain or {})
        self._bar(frozenset(barred))
        rules = self._read_rules()
        if rules != self._rules:
            self._rules = rules
            self.pools, kept = pools_by_family(cluster), reserved(cluster.reservations)
            self.spaces = {
                pool.name: space_of(pool.spec, kept=kept, taken=map(span, self._held))
                for family in self.pools.families.values()
                for pool in family
            }
            touched |= {*cluster.nodes, *self._own, *cluster.statuses}
        for name in touched:
            self._occupy(name)
        return touched

    def account(self, name: str) -> Account:
        """The page of one node."""
        own = self._own.get(name, {})
        status = current_report(self.cluster, name)
        body = status.status if status else None
        node = self.cluster.nodes.get(name)
        asked = demand(body, node) if body and node else Demand()
        return Account(
            name=name,
            node=node,
            blocks=tuple(own[block] for block in sorted(own)),
            out_of_force=self._out_of_force & own.keys() if self._out_of_force else self._out_of_force,
            uncertain=self._lost.get(name, ()),
            reports={report.cidr: believable(report) for report in body.blocks} if body else {},
            wanted=asked.wanted,
            serves=body is not None and any(one.type == "Ready" and one.status == "True" for one in body.conditions),
            needs=asked.needs,
            requested=asked.requested,
        )

    def keeps(self, name: str) -> bool:
        """Whether a node has blocks that are not in quarantine: others must find the way to it."""
        return any(block.spec.state != "Quarantined" for block in self._own.get(name, {}).values())

    def has_blocks(self, name: str) -> bool:
        """Whether a node has any block, quarantined ones included."""
        return name in self._own

    def blocks_of(self, pool: str) -> int:
        """How many blocks name a pool."""
        return self._of_pool[pool]

    def _enter(self, name: str, old: IPAMBlock | None, new: IPAMBlock | None) -> set[str]:
        """Take a block's old state out of the books and its new one in; the nodes concerned."""
        touched: set[str] = set()
        same = old is not None and new is not None and (old.spec.cidr, old.spec.node) == (new.spec.cidr, new.spec.node)
        if old is not None:
            owner = old.spec.node
            touched.add(owner)
            self._of_pool[old.spec.pool] -= 1
            self.quarantined.pop(name, None)
            if not same:
                del self._own[owner][name]
                if not self._own[owner]:
                    del self._own[owner]
                self.blocks.remove(span(old.spec.cidr), owner)
                self._release(old.spec.cidr)
                touched |= self._reporters.get(old.spec.cidr, set())
        if new is not None:
            owner = new.spec.node
            touched.add(owner)
            self._of_pool[new.spec.pool] += 1
            if new.spec.state == "Quarantined":
                self.quarantined[name] = new
            self._own.setdefault(owner, {})[name] = new
            if not same:
                self.blocks.add(span(new.spec.cidr), owner)
                self._hold(new.spec.cidr)
                self.added.add(new.spec.cidr)
                touched |= self._reporters.get(new.spec.cidr, set())
        return touched

    def _judge_force(self) -> set[str]:
        blocks = self.cluster.blocks
        before = self._out_of_force
        if self.blocks.disjoint:
            self._out_of_force = frozenset()
        else:
            self._out_of_force = frozenset(blocks) - {block.name for block in in_force(blocks).values()}
        changed = self._out_of_force ^ before
        return {blocks[name].spec.node for name in changed if name in blocks}

    def _note_uncertain(self, uncertain: Mapping[str, IPAMBlockSpec]) -> set[str]:
        after: dict[str, tuple[IPAMBlockSpec, ...]] = {}
        for spec in uncertain.values():
            after[spec.node] = (*after.get(spec.node, ()), spec)
        before, self._lost = self._lost, after
        touched = {name for name in (*before, *after) if before.get(name) != after.get(name)}
        for name in touched:
            for spec in before.get(name, ()):
                self.uncertain.remove(span(spec.cidr), name)
                self._release(spec.cidr)
            for spec in after.get(name, ()):
                self.uncertain.add(span(spec.cidr), name)
                self._hold(spec.cidr)
        return touched

    def _bar(self, barred: frozenset[Prefix]) -> None:
        before, self._barred = self._barred, barred
        for prefix in before - barred:
            self._release(prefix)
        for prefix in barred - before:
            self._hold(prefix)

    def _read_rules(self) -> object:
        """What every node is judged by: pools, which of them have blocks, what is kept of them, and the configuration."""
        pools = {
            name: (pool.spec, pool.meta.creation_timestamp, is_ending(pool))
            for name, pool in self.cluster.pools.items()
        }
        kept = {name: one.spec for name, one in self.cluster.reservations.items()}
        return pools, {name for name in pools if self._of_pool[name] > 0}, self.cluster.ipam, kept

    def _occupy(self, name: str) -> None:
        node, status = self.cluster.nodes.get(name), current_report(self.cluster, name)
        reported = tuple(one.cidr for one in status.status.blocks) if status and status.status else ()
        fixed = (*node.pod_cidrs, *map(host_prefix, node.addresses)) if node else ()
        before = self._occupied.pop(name, ((), ()))
        if reported or fixed:
            self._occupied[name] = reported, fixed
        if before != (reported, fixed):
            for prefix in before[0]:
                self._reporters[prefix].discard(name)
                if not self._reporters[prefix]:
                    del self._reporters[prefix]
            for prefix in reported:
                self._reporters.setdefault(prefix, set()).add(name)
            for prefix in (*reported, *fixed):
                self._hold(prefix)
            for prefix in (*before[0], *before[1]):
                self._release(prefix)
        self.clashes.pop(name, None)
        found = tuple(sorted(self._clashes(node))) if node and fixed else ()
        if found:
            self.clashes[name] = found

    def _clashes(self, node: Node) -> Iterator[Clash]:
        for pool in (pool for family in self.pools.families.values() for pool in family):
            cidr = pool.spec.cidr
            for address in node.addresses:
                if address in cidr:
                    yield Clash(pool.name, Reason.NODE_ADDRESS, f"{address} of Node/{node.meta.name}")
            if self.cluster.ipam.block_source == "PodCIDRs":
                continue
            own = {block.spec.cidr for block in self._own.get(node.meta.name, {}).values()}
            for prefix in node.pod_cidrs:
                if overlaps(prefix, cidr) and prefix not in own:
                    yield Clash(pool.name, Reason.POD_CIDR_CONFLICT, f"{prefix} of Node/{node.meta.name}")

    def _hold(self, prefix: Prefix) -> None:
        self._held[prefix] += 1
        if self._held[prefix] == 1:
            one = span(prefix)
            for space in self.spaces.values():
                space.hold(one)

    def _release(self, prefix: Prefix) -> None:
        self._held[prefix] -= 1
        if not self._held[prefix]:
            del self._held[prefix]
            one = span(prefix)
            for space in self.spaces.values():
                space.drop(one)


def current_report(cluster: Cluster, node: str) -> NodeStatus | None:
    """The status that a node's agent wrote for the Node object that is there now."""
    status = cluster.statuses.get(node)
    here = cluster.nodes.get(node)
    if status is None or here is None or status.status is None or status.status.node_uid != here.meta.uid:
        return None
    return status


def _is_older(new: Node | IPAMBlock | None, old: Node | IPAMBlock | None) -> bool:
    """Whether an object is an older version of itself than before: only a restored store shows that."""
    if new is None or old is None or new.meta.uid != old.meta.uid:
        return False
    return version_number(new.meta.resource_version) < version_number(old.meta.resource_version)

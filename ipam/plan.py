"""Who owns which block: what to claim, bind, drain, quarantine and delete, from one snapshot.

Every node that takes part has a block per family that has a pool for it, and another one before the last is full. What
is planned here is only wished for: a claim is an object's creation, and all other changes carry the version that they
were decided on, so a plan that was made from an old snapshot is refused by the API server and made again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from towpath.ipam.blocks import Space, Span, span, start_of
from towpath.ipam.memory import Memory, Observation, current_report, observe, reported_blocks
from towpath.ipam.pools import Pools, pool_of, pools_by_family, takes_part
from towpath.model.blocks import in_force
from towpath.model.cluster import Cluster, IPAMBlock, IPPool, Node
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.kinds.node import BlockReport
from towpath.model.net import Family, Prefix, family_of, overlaps
from towpath.model.reason import Reason, Refusal, Why

GIVE_BACK_AFTER = 600.0
"""Seconds for which a block must have been spare before it is given back."""
MARGIN = 60
"""Seconds of quarantine beyond the time for which a peer may keep a route of a speaker that is gone."""
HOLD_TIME = 90
"""Seconds of hold time where nothing else is configured."""


class Claim(Struct, frozen=True):
    """A block to create."""

    spec: IPAMBlockSpec
    why: Why


class Change(Struct, frozen=True):
    """A block to write anew, from the version that is in ``block``."""

    block: IPAMBlock
    spec: IPAMBlockSpec
    why: Why


class IpamPlan(Struct, frozen=True):
    """What to write, what was refused, and what to remember for the next plan."""

    claims: tuple[Claim, ...]
    changes: tuple[Change, ...]
    deletions: tuple[IPAMBlock, ...]
    statuses: tuple[str, ...]
    """NodeStatus objects of nodes that are gone with all their blocks."""
    refusals: tuple[Refusal, ...]
    memory: Memory


def plan(
    cluster: Cluster,
    *,
    memory: Memory,
    now: float,
    uncertain: Mapping[str, IPAMBlockSpec] | None = None,
    barred: Collection[Prefix] = (),
    restored: bool = False,
    unsure: Collection[str] = (),
) -> IpamPlan:
    """The plan for a complete snapshot in which all our own confirmed writes are seen.

    ``now`` is the monotonic clock in seconds. ``uncertain`` are claims whose answer was lost, by block name: taken, and
    counted as their node's, until it is known. ``barred``: places that are taken
    by objects nobody can read. ``restored``: a list of the API server's went back to an older version.
    ``unsure``: nodes that may exist although nothing is known of them: what is theirs stays theirs.
    """
    seen = observe(cluster, memory=memory, now=now, restored=restored)
    pools = pools_by_family(cluster)
    quarantine = quarantine_time(cluster)
    reports = _Reports(cluster)
    changes: list[Change] = []
    deletions: list[IPAMBlock] = []
    for name in sorted(cluster.blocks):
        block = cluster.blocks[name]
        node = cluster.nodes.get(block.spec.node)
        entry = seen.memory.quarantined.get((block.meta.uid, block.meta.resource_version))
        change = None if node is None and block.spec.node in unsure else _transition(block, node, reports)
        if change is not None:
            changes.append(change)
        elif entry is not None and block.spec.pool and now - entry.since >= quarantine:
            deletions.append(block)
    changed = {change.block.name: change.spec for change in changes}
    blocks = {block.name: changed.get(block.name, block.spec) for block in in_force(cluster.blocks).values()}
    claims = _Claims(
        cluster, pools=pools, seen=seen, blocks=blocks, uncertain=uncertain or {}, barred=barred, reports=reports
    )
    claims.make()
    back, spare = _give_back(cluster, blocks=blocks, reported=reports, memory=memory, now=now)
    changes += [change for change in back if change.block.name not in changed]
    return IpamPlan(
        claims=tuple(claims.made),
        changes=tuple(changes),
        deletions=tuple(deletions),
        statuses=_orphaned_statuses(cluster, unsure),
        refusals=(*pools.refusals, *claims.refusals),
        memory=replace(
            seen.memory,
            spare=spare,
            released=seen.memory.released | {block.spec.cidr for block in deletions},
        ),
    )


def quarantine_time(cluster: Cluster) -> int:
    """Seconds of quarantine: no speaker anywhere may still hold a path of the node that is gone."""
    hold, restart = HOLD_TIME, 0
    for configuration in cluster.configurations.values():
        spec = configuration.spec
        if spec.timers:
            hold = max(hold, spec.timers.hold_time or 0)
        restart = max(restart, spec.graceful_restart.restart_time, spec.node_mesh_max_restart_time or 0)
    for peer in cluster.peers.values():
        if peer.spec.timers:
            hold = max(hold, peer.spec.timers.hold_time or 0)
        restart = max(restart, peer.spec.max_restart_time or 0)
    restart = max(restart, cluster.bgp.graceful_restart.restart_time)
    return max(hold + restart + MARGIN, cluster.ipam.quarantine)


def same_machine(block: IPAMBlockSpec, node: Node) -> bool:
    """Whether a node is surely the machine that a block was bound to."""
    recorded, present = (block.machine_id, block.system_uuid), (node.machine_id, node.system_uuid)
    return all(recorded) and recorded == present


def _transition(
    block: IPAMBlock, node: Node | None, reports: Mapping[str, Mapping[Prefix, BlockReport]]
) -> Change | None:
    """The change that a block's owner or its own state asks for; blocks made by hand are their maker's."""
    spec = block.spec
    if not spec.pool or block.meta.deletion_timestamp:
        return None
    if node is None or node.meta.uid != spec.node_uid:
        if node is not None and same_machine(spec, node):
            return Change(block, replace(spec, node_uid=node.meta.uid, state="Active"), Why("Node", node.meta.name))
        if spec.state != "Quarantined":
            return Change(block, replace(spec, state="Quarantined"), Why("Node", spec.node))
        return None
    if not (spec.machine_id or spec.system_uuid) and (node.machine_id or node.system_uuid):
        known = replace(spec, machine_id=node.machine_id, system_uuid=node.system_uuid)
        return Change(block, known, Why("Node", node.meta.name, "status.nodeInfo"))
    if spec.state == "Draining":
        report = reports[spec.node].get(spec.cidr)
        if report is not None and report.drained and not report.in_use:
            return Change(block, replace(spec, state="Quarantined"), Why("NodeStatus", spec.node, "status.blocks"))
    return None


class _Claims:
    """Walks the nodes in name order; each takes what it needs from its pools."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        pools: Pools,
        seen: Observation,
        blocks: Mapping[str, IPAMBlockSpec],
        uncertain: Mapping[str, IPAMBlockSpec],
        barred: Collection[Prefix],
        reports: Mapping[str, Mapping[Prefix, BlockReport]],
    ) -> None:
        self.made: list[Claim] = []
        self.refusals: list[Refusal] = []
        self._cluster = cluster
        self._pools = pools
        self._seen = seen
        self._own: dict[tuple[str, Family], list[IPAMBlockSpec]] = {}
        for spec in (*blocks.values(), *uncertain.values()):
            if spec.state != "Quarantined":
                self._own.setdefault((spec.node, family_of(spec.cidr)), []).append(spec)
        self._uncertain = uncertain
        self._barred = barred
        self._reports = reports
        self._spaces: dict[str, Space] = {}
        self._waiting: dict[str, list[str]] = {}

    def make(self) -> None:
        """Plan all claims."""
        self._recreate()
        if self._cluster.ipam.auto_allocate_blocks and not self._seen.claims_wait:
            for name in sorted(self._cluster.nodes):
                node = self._cluster.nodes[name]
                if takes_part(node, self._cluster.ipam):
                    for family in Family:
                        self._claim(node, family)
        for pool, nodes in sorted(self._waiting.items()):
            length = self._cluster.pools[pool].spec.block_length
            message = f"no free block of /{length} is left for {_listed(nodes)}"
            self.refusals.append(Refusal(Reason.POOL_EXHAUSTED, message, Why("IPPool", pool, "spec.cidr")))

    def _claim(self, node: Node, family: Family) -> None:
        candidates = self._pools.of(node, family)
        if not candidates:
            return
        own = self._own.get((node.meta.name, family), [])
        limit = self._cluster.ipam.max_blocks_per_host
        for _ in range(self._needed(node, own, candidates)):
            if limit and len(own) >= limit:
                return
            spec = self._take(node, candidates)
            if spec is None:
                return
            own = [*own, spec]

    def _needed(self, node: Node, own: Sequence[IPAMBlockSpec], candidates: Sequence[IPPool]) -> int:
        """How many blocks a node needs beyond its own: one at least, and room before the last is full."""
        active = [spec for spec in own if spec.state == "Active"]
        if not active:
            return 1
        reports = self._reports[node.meta.name]
        if not all(spec.cidr in reports for spec in active):
            return 0  # it has not even used what it got last
        ipam = self._cluster.ipam
        in_use = sum(reports[spec.cidr].in_use for spec in active)
        total = sum(reports[spec.cidr].capacity for spec in active)
        shortfall = ipam.min_free_addresses - (total - in_use)
        if shortfall <= 0 and in_use * 100 < ipam.grow_at_percent * total:
            return 0
        size = 1 << (family_of(candidates[0].spec.cidr).bits - candidates[0].spec.block_length)
        return max(1, -(-shortfall // size))

    def _take(self, node: Node, candidates: Sequence[IPPool]) -> IPAMBlockSpec | None:
        for pool in candidates:
            space = None if pool.spec.disabled else self._space(pool)
            block = space and space.find(
                start_of(node.meta.name, places=space.places), last_of_all=self._seen.memory.released
            )
            if block:
                return self._add(node, block, pool.name, Why("IPPool", pool.name))
        for pool in candidates:
            if not pool.spec.disabled:
                self._waiting.setdefault(pool.name, []).append(node.meta.name)
        return None

    def _add(self, node: Node, block: Prefix, pool: str, why: Why) -> IPAMBlockSpec:
        spec = IPAMBlockSpec(
            cidr=block,
            node=node.meta.name,
            node_uid=node.meta.uid,
            machine_id=node.machine_id,
            system_uuid=node.system_uuid,
            pool=pool,
        )
        self.made.append(Claim(spec, why))
        return spec

    def _space(self, pool: IPPool) -> Space:
        """The places of a pool; taken is what any block, lost answer or report of a live node holds."""
        if not self._spaces:
            spans = {span(block.spec.cidr) for block in self._cluster.blocks.values()}
            spans |= {span(spec.cidr) for spec in self._uncertain.values()}
            spans |= {span(claim.spec.cidr) for claim in self.made}
            spans |= {span(prefix) for _, prefix in reported_blocks(self._cluster)}
            spans |= {span(prefix) for prefix in self._barred}
            sorted_spans = sorted(spans)
            for other in (pool for pools in self._pools.families.values() for pool in pools):
                self._spaces[other.name] = Space(
                    other.spec.cidr, length=other.spec.block_length, taken=_within(sorted_spans, span(other.spec.cidr))
                )
        return self._spaces[pool.name]

    def _recreate(self) -> None:
        """Blocks that a node reports and nobody has: made anew for it, unless somebody else has claimed them by now."""
        reported = [key for key in self._seen.missing if self._cluster.nodes[key[0]].ready]
        for name, prefix in reported:
            node = self._cluster.nodes[name]
            report = self._reports[name].get(prefix)
            if report is None or not report.in_use:
                continue
            holders = {
                spec.node
                for spec in (
                    *(block.spec for block in self._cluster.blocks.values()),
                    *self._uncertain.values(),
                    *(claim.spec for claim in self.made),
                )
                if overlaps(spec.cidr, prefix)
            }
            if holders:
                message = f"{prefix} is in use on this node and claimed by {_listed(sorted(holders))}"
                self.refusals.append(Refusal(Reason.OVERLAPPING_BLOCK, message, Why("Node", name)))
                continue
            pool = next((pool for pool in self._cluster.pools.values() if pool_of(prefix, {"": pool}, "")), None)
            spec = self._add(node, prefix, pool.name if pool else "", Why("NodeStatus", name, "status.blocks"))
            self._own.setdefault((name, family_of(prefix)), []).append(spec)
            message = f"{prefix} is in use on this node and its IPAMBlock was gone: it is made anew"
            self.refusals.append(Refusal(Reason.BLOCK_MISSING, message, Why("Node", name)))


def _give_back(
    cluster: Cluster,
    *,
    blocks: Mapping[str, IPAMBlockSpec],
    reported: Mapping[str, Mapping[Prefix, BlockReport]],
    memory: Memory,
    now: float,
) -> tuple[list[Change], dict[str, float]]:
    """Blocks to drain because they have been spare for long, and since when the others have been."""
    changes: list[Change] = []
    since: dict[str, float] = {}
    active: dict[tuple[str, Family], list[str]] = {}
    busy: set[tuple[str, Family]] = set()
    for name, spec in blocks.items():
        key = spec.node, family_of(spec.cidr)
        if spec.state == "Active":
            active.setdefault(key, []).append(name)
        elif spec.state == "Draining":
            busy.add(key)
    for key, names in active.items():
        if key in busy or (len(names) == 1 and blocks[names[0]].pool in cluster.pools):
            continue
        reports = reported[key[0]]
        if not all(blocks[name].cidr in reports for name in names):
            continue
        spare = _spare(cluster, [cluster.blocks[name] for name in sorted(names)], reports=reports)
        if spare is not None:
            since[spare.meta.uid] = memory.spare.get(spare.meta.uid, now)
            if now - since[spare.meta.uid] >= GIVE_BACK_AFTER:
                spec = replace(blocks[spare.name], state="Draining")
                changes.append(Change(spare, spec, Why("NodeStatus", key[0], "status.blocks")))
    return changes, since


def _spare(cluster: Cluster, blocks: Sequence[IPAMBlock], *, reports: Mapping[Prefix, BlockReport]) -> IPAMBlock | None:
    """The one block of a node that could go: empty, and its pool is gone, or enough addresses stay free without it."""
    ipam = cluster.ipam
    in_use = sum(reports[block.spec.cidr].in_use for block in blocks)
    total = sum(reports[block.spec.cidr].capacity for block in blocks)
    for block in reversed(blocks):
        report = reports[block.spec.cidr]
        if report.in_use or not block.spec.pool:
            continue
        if block.spec.pool not in cluster.pools:
            return block
        rest = total - report.capacity
        if rest - in_use > 2 * ipam.min_free_addresses and in_use * 100 < ipam.grow_at_percent * rest:
            return block
    return None


def _orphaned_statuses(cluster: Cluster, unsure: Collection[str]) -> tuple[str, ...]:
    gone = cluster.statuses.keys() - cluster.nodes.keys() - set(unsure)
    return tuple(sorted(gone - {block.spec.node for block in cluster.blocks.values()})) if gone else ()


class _Reports(dict[str, dict[Prefix, BlockReport]]):
    """How full the blocks of a node are, by node; made from its status when first asked for."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster

    def __missing__(self, node: str) -> dict[Prefix, BlockReport]:
        status = current_report(self._cluster, node)
        found = {report.cidr: report for report in status.status.blocks} if status and status.status else {}
        self[node] = found
        return found


def _within(spans: Sequence[Span], pool: Span) -> Iterable[Span]:
    return (one for one in spans if one.family is pool.family and one.first <= pool.last and one.last >= pool.first)


def _listed(names: Sequence[str]) -> str:
    """``a, b, c and 12 more``."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"

"""Who owns which block: what to claim, bind, drain, quarantine and delete, from one snapshot.

Every node that takes part has a block per family that has a pool for it, and more before the last is full; or, where the
cluster assigns, the blocks that its podCIDRs are. What is planned here is only wished for: a claim is an object's
creation, and all other changes carry the version that they were decided on, so a plan that was made from an old snapshot
is refused by the API server and made again.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from towpath.ipam.blocks import start_of
from towpath.ipam.byneed import candidates
from towpath.ipam.changes import Change, Rules
from towpath.ipam.conflicts import conflicts
from towpath.ipam.ledger import Ledger
from towpath.ipam.memory import Memory, Observation, observe
from towpath.ipam.misfits import misfits
from towpath.ipam.work import NOTHING, Work, work
from towpath.model.blocks import pool_holding
from towpath.model.cluster import Cluster, IPAMBlock, IPPool, Node
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.net import Address, Prefix, family_of
from towpath.model.reason import Reason, Refusal, Why, listed
from towpath.model.spans import Spans, span

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


class Assignment(Struct, frozen=True):
    """What ``spec.podCIDRs`` of a Node is to be, where it is empty."""

    node: Node
    pod_cidrs: tuple[Prefix, ...]


class IpamPlan(Struct, frozen=True):
    """What to write, what was refused, and what to remember for the next plan."""

    claims: tuple[Claim, ...]
    changes: tuple[Change, ...]
    deletions: tuple[IPAMBlock, ...]
    assignments: tuple[Assignment, ...]
    statuses: tuple[str, ...]
    """NodeStatus objects of nodes that are gone with all their blocks."""
    refusals: tuple[Refusal, ...]
    memory: Memory


class Planner:
    """Plans for one snapshot after another, and looks only at what changed between two."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.ledger = Ledger()
        self._work: dict[str, Work] = {}
        """By node, where there is any."""
        self._misfits: dict[str, tuple[Refusal, ...]] = {}
        """By node, where any of its blocks does not fit."""
        self._rules: Rules | None = None
        self._learn(self.ledger.look(self.memory.seen))

    def plan(
        self,
        cluster: Cluster,
        *,
        now: float,
        uncertain: Mapping[str, IPAMBlockSpec] | None = None,
        barred: Collection[Prefix] = (),
        services: Collection[Prefix] = (),
        restored: bool = False,
        unwatched: bool = False,
        unsure: Collection[str] = (),
    ) -> IpamPlan:
        """The plan for a complete snapshot in which all our own confirmed writes are seen.

        ``now`` is the monotonic clock in seconds. ``uncertain`` are claims whose answer was lost, by block name: taken,
        and counted as their node's, until it is known. ``barred``: places that are taken by objects nobody can read.
        ``services``: the ranges of services. ``restored``: a list of the API server's went back to an older version.
        ``unwatched``: nobody watched the API server for long until now, so that its store may have gone back.
        ``unsure``: nodes that may exist although nothing is known of them: what is theirs stays theirs.
        """
        ledger = self.ledger
        self._learn(ledger.look(cluster, uncertain=uncertain, barred=(*barred, *services, *self.memory.lost)))
        unknown = [(name, prefix) for name, one in self._ordered() for prefix in one.unknown]
        seen = observe(
            ledger,
            memory=self.memory,
            now=now,
            unknown=unknown,
            quarantine=quarantine_time(cluster),
            restored=restored,
            unwatched=unwatched,
        )
        lost = {name for name in unsure if name not in cluster.nodes}
        changes = [change for name, one in self._ordered() if name not in lost for change in one.changes]
        deletions = self._deletions(seen, changes, now=now)
        claims = _Claims(ledger, self._ordered(), seen=seen)
        claims.make()
        back, spare = self._give_back(changes, now=now)
        self.memory = replace(
            seen.memory,
            spare=spare,
            released={**seen.memory.released, **dict.fromkeys((one.spec.cidr for one in deletions), now)},
        )
        return IpamPlan(
            claims=tuple(claims.made),
            changes=(*changes, *back),
            deletions=tuple(deletions),
            assignments=tuple(
                Assignment(cluster.nodes[name], one.assignment) for name, one in self._ordered() if one.assignment
            ),
            statuses=_orphaned_statuses(cluster, ledger, unsure),
            refusals=(
                *ledger.pools.refusals,
                *conflicts(ledger, services),
                *(refusal for name in sorted(self._misfits.keys() - lost) for refusal in self._misfits[name]),
                *claims.refusals,
                *self._unassigned(),
            ),
            memory=self.memory,
        )

    def _learn(self, touched: Iterable[str]) -> None:
        ledger = self.ledger
        rules = Rules(ledger.cluster.ipam, ledger.pools)
        for name in touched:
            account = ledger.account(name)
            exists = [prefix for prefix in account.reports if span(prefix) in ledger.blocks]
            found = work(account, rules, exists=exists)
            if wrong := tuple(misfits(account, ledger.cluster)):
                self._misfits[name] = wrong
            else:
                self._misfits.pop(name, None)
            if found == NOTHING:
                self._work.pop(name, None)
            else:
                self._work[name] = found

    def _ordered(self) -> Iterator[tuple[str, Work]]:
        return iter(sorted(self._work.items()))

    def _deletions(self, seen: Observation, changes: Iterable[Change], *, now: float) -> list[IPAMBlock]:
        quarantine = quarantine_time(self.ledger.cluster)
        changing = {change.block.name for change in changes}
        since = seen.memory.quarantined
        return [
            block
            for name, block in sorted(self.ledger.quarantined.items())
            if name not in changing
            and block.spec.managed
            and now - since[block.meta.uid, block.meta.resource_version].since >= quarantine
        ]

    def _give_back(self, changing: Iterable[Change], *, now: float) -> tuple[list[Change], dict[str, float]]:
        """Blocks to drain because they have been spare for long, and since when all that are spare have been."""
        changes: list[Change] = []
        since: dict[str, float] = {}
        busy = {change.block.name for change in changing}
        for name, one in self._ordered():
            for block in (block for block in one.spare if block.name not in busy):
                since[block.meta.uid] = self.memory.spare.get(block.meta.uid, now)
                if now - since[block.meta.uid] >= GIVE_BACK_AFTER:
                    spec = replace(block.spec, state="Draining")
                    changes.append(Change(block, spec, Why("NodeStatus", name, "status.blocks")))
        return changes, since

    def _unassigned(self) -> Iterator[Refusal]:
        waiting = [name for name, one in self._ordered() if one.unassigned]
        if waiting:
            message = (
                f"no podCIDRs yet for {listed(waiting)}: does the controller manager run with --allocate-node-cidrs?"
            )
            yield Refusal(Reason.NO_POD_CIDRS, message, Why("IPAMConfiguration", "default", "spec.blockSource"))


def plan(cluster: Cluster, *, memory: Memory, now: float, **known: object) -> IpamPlan:
    """One plan, from nothing but a snapshot and what was remembered; as ``Planner.plan``."""
    return Planner(memory).plan(cluster, now=now, **known)  # type: ignore[arg-type]  # passed on as they are


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


class _Claims:
    """Walks the nodes that need blocks in name order; each takes what it needs from its pools."""

    def __init__(self, ledger: Ledger, nodes: Iterable[tuple[str, Work]], *, seen: Observation) -> None:
        self.made: list[Claim] = []
        self.refusals: list[Refusal] = []
        self._ledger = ledger
        self._nodes = [(name, one) for name, one in nodes if one.asks_for_blocks]
        self._seen = seen
        self._new = Spans()
        self._waiting: dict[str, list[str]] = {}

    def make(self) -> None:
        """Plan all claims; the books are as before then."""
        cluster = self._ledger.cluster
        self._recreate()
        if self._nodes and self._seen.awaited:
            named = listed([name for name, _ in self._nodes])
            lost = "nobody has led for long, and the store may be from a backup"
            lost = lost if self._seen.doubted else "blocks are lost, as with a store from a backup"
            message = f"{lost}: {named} get none before these nodes have reported what they have: {listed(self._seen.awaited)}"
            why = Why("IPAMConfiguration", "default", "spec.autoAllocateBlocks")
            self.refusals.append(Refusal(Reason.STORE_RESTORED, message, why))
        if cluster.ipam.auto_allocate_blocks and not self._seen.claims_wait:
            for name, one in self._nodes:
                node = cluster.nodes[name]
                pools = self._ledger.pools
                wanted = [(candidates(node, family, pools), count) for family, count in one.needs]
                wanted += [([pools.named[pool]], count) for pool, count in one.beside]
                wanted += [([cluster.pools[pool] for pool in names], count) for names, count in one.needs_apart]
                for sources, count in wanted:
                    for _ in range(count):
                        if not self._take(node, sources):
                            break
                room = Counter(one.room)
                for pool, address in one.requested:
                    family = family_of(address)
                    if family not in one.room or room[family] > 0:
                        room[family] -= self._take_around(node, cluster.pools[pool], address)
                for prefix in one.mirrors:
                    self._mirror(node, prefix)
        for claim in self.made:
            for space in self._ledger.spaces.values():
                space.drop(span(claim.spec.cidr))
        for pool, nodes in sorted(self._waiting.items()):
            length = cluster.pools[pool].spec.block_length
            message = f"no free block of /{length} is left for {listed(nodes)}: add a pool for them"
            self.refusals.append(Refusal(Reason.POOL_EXHAUSTED, message, Why("IPPool", pool, "spec.cidr")))

    def _take(self, node: Node, pools: Sequence[IPPool]) -> bool:
        for pool in pools:
            space = self._ledger.spaces[pool.name]
            start = start_of(node.meta.name, places=space.places)
            block = space.find(start, last_of_all=self._seen.memory.released)
            if block is not None:
                space.drop(span(block))  # held by ``_add`` in all pools alike
                self._add(node, block, pool.name, Why("IPPool", pool.name))
                return True
        for pool in pools:
            self._waiting.setdefault(pool.name, []).append(node.meta.name)
        return False

    def _take_around(self, node: Node, pool: IPPool, address: Address) -> bool:
        """The block around an address, if it is free: else its pod is told whose it is. Whether it was."""
        space = self._ledger.spaces[pool.name]
        block = space.find(space.place_of(address))
        if block is None:
            return False
        space.drop(span(block))
        if address in block:
            self._add(node, block, pool.name, Why("IPPool", pool.name))
        return address in block

    def _mirror(self, node: Node, prefix: Prefix) -> None:
        why = Why("Node", node.meta.name, "spec.podCIDRs")
        holders = self._holders(prefix)
        if holders:
            message = f"{prefix} waits: addresses of it are in a block of {listed(sorted(holders))}"
            self.refusals.append(Refusal(Reason.OVERLAPPING_BLOCK, message, why))
            return
        self._add(node, prefix, self._pool_around(prefix), why, mirrored=True)

    def _add(
        self, node: Node, block: Prefix, pool: str, why: Why, *, mirrored: bool = False, primary: bool = True
    ) -> None:
        """``primary``: what is reported of a block that has no pool any more."""
        of = self._ledger.cluster.pools.get(pool)
        spec = IPAMBlockSpec(
            cidr=block,
            node=node.meta.name,
            node_uid=node.meta.uid,
            machine_id=node.machine_id,
            system_uuid=node.system_uuid,
            pool=pool,
            mirrored=mirrored,
            primary=of.spec.attachment.primary if of is not None else primary,
        )
        self.made.append(Claim(spec, why))
        self._new.add(span(block), node.meta.name)
        for space in self._ledger.spaces.values():
            space.hold(span(block))

    def _holders(self, prefix: Prefix) -> set[str]:
        wanted = span(prefix)
        return {
            name for spans in (self._ledger.blocks, self._ledger.uncertain, self._new) for name in spans.owners(wanted)
        }

    def _pool_around(self, prefix: Prefix) -> str:
        pool = pool_holding(prefix, self._ledger.cluster.pools)
        return pool.name if pool is not None else ""

    def _recreate(self) -> None:
        """Blocks that a node reports and nobody has: made anew for it, unless somebody else has claimed them by now."""
        cluster = self._ledger.cluster
        for name, prefix in self._seen.missing:
            node = cluster.nodes[name]
            report = self._ledger.account(name).reports[prefix]
            if not node.ready or not report.in_use:
                continue
            holders = self._holders(prefix)
            if holders:
                message = f"{prefix} is in use on this node and claimed by {listed(sorted(holders))}"
                self.refusals.append(Refusal(Reason.OVERLAPPING_BLOCK, message, Why("Node", name)))
                continue
            mirrored = cluster.ipam.block_source == "PodCIDRs" and prefix in node.pod_cidrs
            why = Why("NodeStatus", name, "status.blocks")
            self._add(node, prefix, self._pool_around(prefix), why, mirrored=mirrored, primary=report.primary)
            message = f"{prefix} is in use on this node and its IPAMBlock was gone: it is made anew"
            self.refusals.append(Refusal(Reason.BLOCK_MISSING, message, Why("Node", name)))


def _orphaned_statuses(cluster: Cluster, ledger: Ledger, unsure: Collection[str]) -> tuple[str, ...]:
    if cluster.statuses.keys() <= cluster.nodes.keys():
        return ()
    gone = cluster.statuses.keys() - cluster.nodes.keys() - set(unsure)
    return tuple(sorted(name for name in gone if not ledger.has_blocks(name)))

"""The controller process: from what the cluster is to what should be written, again and again.

One pass reads the snapshot with our own writes laid over it, plans, and carries the plan out with bounded concurrency.
Only the leader does, and looks at its lease before each write. A refused write is read anew and planned again.
"""

import time
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from msgspec.structs import replace

from towpath.bgp.references import unknown_names
from towpath.controller import node_conditions
from towpath.controller.block_writes import BlockWrites
from towpath.controller.folding import folded, losses
from towpath.controller.kindstore import Problem
from towpath.controller.loop import LevelLoop, Pace
from towpath.controller.node_writes import NodeWrites
from towpath.controller.peer_review import PeerReview
from towpath.controller.pod_subjects import PodSubjects
from towpath.controller.pool_writes import PoolWrites
from towpath.controller.ports import Server
from towpath.controller.reports import Reports
from towpath.controller.routing_nodes import RoutingNodeCache
from towpath.controller.service_ranges import service_ranges
from towpath.controller.telling import Telling
from towpath.controller.writes import Leadership, Writer
from towpath.ipam import memory
from towpath.ipam.ending import remainders
from towpath.ipam.plan import Planner
from towpath.ipam.room import running_low
from towpath.model.cluster import Cluster
from towpath.model.encapsulation import tunnel_conflicts
from towpath.model.net import Prefix
from towpath.model.reason import Reason, Refusal

KINDS = (
    "BGPConfiguration",
    "BGPPeer",
    "BGPFilter",
    "IPPool",
    "IPReservation",
    "IPAMConfiguration",
    "IPAMBlock",
    "RoutingNode",
    "NodeStatus",
    "Node",
)
"""What the controller's store has to hold."""


class Picture(Protocol):
    """The store, as far as the controller reads it."""

    went_back: bool

    @property
    def complete(self) -> bool:
        """Whether every kind was listed."""

    def cluster(self) -> Cluster:
        """The snapshot."""

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with objects."""

    def expect(self, kind: str, names: Collection[str]) -> None:
        """Objects of these names were there not long ago."""

    def unsure(self, kind: str) -> frozenset[str]:
        """Names of objects that may exist although the listing lacks them."""

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call back after every change."""


class ClusterController:
    """The composition of one controller on one API client. ``clock`` is monotonic seconds, ``others`` what else is to be said.

    ``leaving``: towpath is being taken off the cluster, and keeps no pool from going. ``taken``: what else has addresses of
    pools for pods, so that no block may; None: not known yet, and nothing is planned.
    """

    def __init__(
        self,
        api: Server,
        store: Picture,
        *,
        lease: Leadership,
        identity: str = "towpath-controller",
        clock: Callable[[], float] = time.monotonic,
        others: Callable[[], Iterable[Refusal]] = tuple,
        leaving: bool = False,
        taken: Callable[[], tuple[Prefix, ...] | None] = tuple,
    ) -> None:
        self._store = store
        self._clock = clock
        self._others = others
        self._taken = taken
        self._writer = Writer(api, lease=lease)
        self._blocks = BlockWrites(self._writer, clock=clock)
        self._nodes = NodeWrites(self._writer, clock=clock)
        self._pools = PoolWrites(api, self._writer, leaving=leaving)
        self._telling = Telling(self._writer, identity=identity, clock=clock)
        self._routing_nodes = RoutingNodeCache()
        self._review = PeerReview()
        self._reports = Reports(self._review.concerns)
        self._pods = PodSubjects(api)
        self._planner = Planner()
        self._was_leading = False
        self._unwatched = False
        """Nobody had led for long, or watched, when this process began."""
        self._began = clock()
        self._owners_told = False

    async def step(self) -> bool:
        """One pass; whether nothing is left to do that could be done now."""
        if not self._writer.leading:
            self._was_leading = False
            return True
        if not self._was_leading:
            self._planner, self._was_leading = Planner(), True
            self._unwatched = self._writer.idle > max(memory.UNWATCHED, self._clock() - self._began)
            self._reports = Reports(self._review.concerns)
            self._telling.forget()
        taken = self._taken()
        if not self._store.complete or taken is None:
            return True
        if not self._owners_told:
            # who owned blocks when the last controller ended, and has no Node now, vanished while nobody looked
            self._store.expect("Node", _owners(self._store.cluster()))
            self._owners_told = True
        if self._store.went_back:
            self._blocks.doubt()
            self._nodes.doubt()
            self._pools.doubt()
        if not await self._settle():
            return False
        cluster, unsure, problems = self._cluster(), self._store.unsure("Node"), self._store.problems()
        uncertain = {name: claim.spec for name, claim in self._blocks.uncertain.items()}
        wished = self._planner.plan(
            cluster,
            now=self._clock(),
            uncertain=uncertain,
            barred=(*(one.spec.cidr for one in self._blocks.barred.values()), *taken),
            services=service_ranges(cluster),
            restored=self._store.went_back,
            unwatched=self._unwatched,
            unsure=unsure,
        )
        self._store.went_back = self._unwatched = False
        going = await self._pools.hold(self._planner.ledger, (one.spec for one in wished.claims))
        if going:
            wished = replace(wished, claims=tuple(one for one in wished.claims if one.spec.pool not in going))
        nodes = self._routing_nodes.look(cluster, keeps=self._planner.ledger.keeps)
        done = await self._writer.all(
            *self._nodes.writes(cluster, nodes, wished, unsure=unsure, spoiled=_spoiled(problems)),
            *self._blocks.writes(wished),
            *self._pools.writes(self._planner.ledger, uncertain.values()),
            *node_conditions.writes(self._writer, cluster),
        )
        refusals = (
            *wished.refusals,
            *nodes.refusals,
            *unknown_names(cluster),
            *tunnel_conflicts(cluster.pools),
            *self._others(),
        )
        contradictions = await self._review.look(cluster)
        lost = self._reports.look(cluster)
        said = (
            *((node, one) for node, found in contradictions.items() for one in found),
            *await self._pods.believed(self._reports.said(cluster)),
            *running_low(self._planner.ledger),
            *remainders(self._planner.ledger),
        )
        told = await self._telling.tell(
            cluster, refusals, problems=problems, folded=folded(said), losses=losses(lost), pods=self._pods.uids
        )
        return told and done and not going

    def _cluster(self) -> Cluster:
        cluster = self._store.cluster()
        return replace(
            cluster,
            blocks=self._blocks.over(cluster.blocks),
            routing_nodes=self._nodes.over(cluster.routing_nodes),
        )

    async def _settle(self) -> bool:
        """Ask the API server about every write that the cache should show by now, and every claim without an answer."""
        self._cluster()
        return await self._writer.all(*self._blocks.lookups(), *self._nodes.lookups())


def _spoiled(problems: Iterable[Problem]) -> frozenset[str]:
    """RoutingNodes whose spec, which is ours to write, somebody has made unreadable."""
    return frozenset(
        one.name
        for one in problems
        if one.kind == "RoutingNode" and one.reason is Reason.INVALID_SPEC and one.field.startswith("spec")
    )


def _owners(cluster: Cluster) -> frozenset[str]:
    blocks = (block.spec for block in cluster.blocks.values())
    return frozenset(spec.node for spec in blocks if spec.pool and spec.state != "Quarantined")


async def run(
    api: Server,
    store: Picture,
    *,
    lease: Leadership,
    identity: str = "towpath-controller",
    pace: Pace | None = None,
    others: Callable[[], Iterable[Refusal]] = tuple,
    taken: Callable[[], tuple[Prefix, ...] | None] = tuple,
    on_loop: Callable[[LevelLoop], None] | None = None,
    leaving: bool = False,
) -> None:
    """Run the controller until cancelled.

    The store is fed and the lease is run by the caller, who calls ``dirty`` of the loop (handed to ``on_loop``) when the
    lease changes hands; without that the next resync notices. ``store`` must hold ``KINDS``. ``others``: what else is to be
    said of objects; ``taken``: what else has addresses of pools, as soon as it is known; ``leaving``: no pool is kept from going.
    """
    controller = ClusterController(
        api, store, lease=lease, identity=identity, others=others, taken=taken, leaving=leaving
    )
    loop = LevelLoop(controller.step, pace=pace)
    store.subscribe(loop.dirty)
    if on_loop is not None:
        on_loop(loop)
    await loop.run()

"""One node, brought to where its objects say: each step looks at everything and hands every part its whole desired state.

The order within a step is the promise: withdraw, then program the kernel, then announce what stands in it, then let pods
have addresses. Until a complete picture is there, from the API or from disk, nothing is told to anybody.
"""

import asyncio

import msgspec
import structlog
from msgspec import Struct

from towpath.controller.conditions import USER_KINDS
from towpath.controller.node import endpoints
from towpath.controller.node.contested import Contested, added_to, contested, refusals
from towpath.controller.node.gate import (
    Addressing,
    Picture,
    Standing,
    addressing,
    announceable,
    clear_of_others,
    needs_blackhole,
    waits_for,
)
from towpath.controller.node.guard import Guard
from towpath.controller.node.parts import Firewall, Kernel, Pods, Services, Source, Speaker, Taken, Workloads
from towpath.controller.node.planning import Planning
from towpath.controller.node.report import Facts, about, compose, named, with_versions
from towpath.controller.node.retained import Retained, missing, retained
from towpath.controller.node.service_routes import ServiceRoutes
from towpath.controller.secrets import Passwords, missing_passwords, references
from towpath.ipam.apart import NOTHING, Needs, in_apart
from towpath.ipam.attachment import attached_to
from towpath.model.blocks import in_force
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.kinds.node import BlockReport, NodeStatusStatus
from towpath.model.net import Prefix
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.speaker import SpeakerState

log = structlog.get_logger()


class Patience(Struct, frozen=True):
    """Seconds: how long a start waits for the API before the disk counts, and from when on the API counts as away."""

    snapshot_after: float = 3.0
    provisional_after: float = 30.0
    first_words_after: float = 3.0
    """How long the first state for a speaker waits for a blackhole that does not come."""


class NodeAgent:
    """The agent's state is only what was told to others; everything else is looked up anew in every step."""

    def __init__(
        self,
        node: str,
        *,
        source: Source,
        kernel: Kernel,
        speaker: Speaker,
        pods: Pods | None,
        services: Services,
        workloads: Workloads,
        firewall: Firewall,
        passwords: Passwords,
        saved: Cluster | None,
        alone: bool,
        patience: Patience | None = None,
    ) -> None:
        """``alone``: no controller is there that tells users what is wrong with their objects."""
        self.node = node
        self._alone = alone
        self._source = source
        self._kernel = kernel
        self._speaker = speaker
        self._pods = pods
        self._service_routes = ServiceRoutes(node, services=services)
        self._workloads = workloads
        self._guard = Guard(node, firewall, kernel)
        self._passwords = passwords
        self._saved = saved
        self._patience = patience or Patience()
        self._started = asyncio.get_running_loop().time()
        self._waiting_since: float | None = None
        self._planning = Planning(node, kernel=kernel, speaker=speaker, workloads=workloads, passwords=passwords)
        self._announced: frozenset[Prefix] = frozenset()
        self._said: SpeakerState | None = None
        self.state: SpeakerState | None = None
        """What the speaker was told last."""
        self.picture: Picture | None = None
        """What the last step was made from."""
        self._asked_wrong: tuple[Refusal, ...] = ()
        """What is wrong with what the objects ask of this node, as of the last step."""
        self._taken: Taken = {}
        self.machine: tuple[Refusal, ...] = ()
        """What is wrong with the machine itself and with its pods' addresses; whoever looks at it puts it here."""
        self._own: dict[str, IPAMBlock] = self._owned(saved) if saved is not None else {}
        """This node's blocks as of the last complete picture, those included that are gone and in use."""
        self._retained, self._contested = Retained(Cluster()), Contested()
        self.addressing = Addressing()
        """Blocks that pods may have addresses from, as of the last step."""

    async def step(self) -> bool:
        """Bring everything one step on; whether it is all in place. ``OSError`` where the machine said no."""
        picture = self._look()
        if picture is None or not self._knows_passwords(picture):
            return True  # what is missing wakes us when it comes
        if not self._kernel.started:
            await self._kernel.start()
        self.picture = picture
        plan = self._planning.plan(picture.cluster, told=self.state, provisional=self.provisional)
        self._contested = contested(picture.cluster, self.node, self._pods.addresses() if self._pods else ())
        state = self._service_routes.added_to(plan.state, picture.cluster)
        state = added_to(state, self._contested, picture.cluster)
        self._asked_wrong = (
            *plan.warnings,
            *missing_passwords(state.sessions.values(), self._passwords.missing),
            *self._retained.refusals,
            *refusals(self._contested, self.node),
            *attached_to(picture.cluster, self.node).refusals.values(),
        )
        await self._drop(picture, *((self.state,) if self.state is not None else ()), state)
        if self.state is not None:
            self._tell(state)  # a block that goes is withdrawn before its blackhole goes
        if self._pods is not None:
            self._taken = endpoints.hold(self._pods, picture.cluster, self.node, live=picture.live)
        await self._kernel.desire(picture.cluster, live=picture.live, taken=self._taken)
        if self.state is None and picture.live and not self._first_words_ready(state):
            return False  # a speaker that runs already would withdraw what it is not told
        self._tell(state)
        await self._drop(picture, state)
        return self._serve(picture, state)

    @property
    def warnings(self) -> tuple[Refusal, ...]:
        """What is wrong with what the objects ask of this node, with its files, or with the machine."""
        report = self._speaker.report
        deaf, keyless = (report.deaf, report.keyless) if report is not None else ((), ())
        return (
            *self._wrongly_asked,
            *(self._pods.problems if self._pods else ()),
            *self._guard.problems,
            *endpoints.refusals(self._taken, self.node),
            *(Refusal(Reason.LISTEN_REFUSED, said, Why("Node", self.node)) for said in deaf),
            *(Refusal(Reason.KEY_LIMIT, said, Why("Node", self.node)) for said in keyless),
            *self.machine,
        )

    @property
    def _wrongly_asked(self) -> tuple[Refusal, ...]:
        """What is wrong with what the objects ask of this node, and of how its pods are attached."""
        return (*self._asked_wrong, *(self._pods.refusals if self._pods else ()))

    @property
    def provisional(self) -> bool:
        """Whether the API server has been away for so long that paths of unknown origin count."""
        return self._source.unreachable_for() > self._patience.provisional_after

    @property
    def drained(self) -> bool:
        """Whether the time is over in which this node still announces services while it leaves."""
        return self._service_routes.drained

    def patience_ends(self) -> float:
        """Seconds until the disk counts at a start without the API server."""
        return max(0.0, self._started + self._patience.snapshot_after - asyncio.get_running_loop().time())

    def _look(self) -> Picture | None:
        if self._source.complete:
            cluster = self._source.cluster()
            self._service_routes.want(cluster)
            known = self._service_routes.settled and (self._workloads.settled or not self._needs_pods(cluster))
            if self.state is None and not known and not self._waited_long():
                return None  # a speaker that runs already would withdraw what it is not told
            return Picture(self._retain(cluster), live=True)
        if self._saved is not None and self.patience_ends() == 0:
            if self.picture is None:
                log.warning("snapshot.used", remedy="the API server does not answer; changes wait until it does")
            self._service_routes.want(self._saved)
            return Picture(self._saved, live=False)
        return None

    def _needs_pods(self, cluster: Cluster) -> bool:
        """Whether it matters already which pods there are: as peers, or because they have addresses of before us."""
        return self._planning.peers_with_pods(cluster) or (self._pods is not None and not self._pods.standing)

    def _waited_long(self) -> bool:
        """Whether what is known of services and pods from before has to do: nobody answers, or has for long said only of others."""
        waited = asyncio.get_running_loop().time() - self._started
        patience = self._patience
        return waited > (patience.snapshot_after if self._source.unreachable_for() else patience.provisional_after)

    def _retain(self, cluster: Cluster) -> Cluster:
        """The picture with blocks in it that pods of this node live in although they are gone."""
        gone = missing(cluster, self.node, before=self._own.values())
        in_use = self._pods.in_use([one.spec.cidr for one in gone]) if self._pods and gone else ()
        self._retained = retained(cluster, self.node, gone=gone, in_use=in_use)
        self._own = {**self._owned(cluster), **{one.name: one for one in self._retained.gone}}
        return self._retained.cluster

    def _owned(self, cluster: Cluster) -> dict[str, IPAMBlock]:
        return {name: one for name, one in cluster.blocks.items() if one.spec.node == self.node}

    @property
    def retaining(self) -> bool:
        """Whether pods live in blocks that are gone, or another's: the going of a pod changes what is to be done."""
        return bool(self._retained.gone or self._contested.blocks)

    @property
    def peers_with_pods(self) -> bool:
        """Whether any pod of this node may be a peer: then it matters which there are."""
        return self.picture is None or self._planning.peers_with_pods(self.picture.cluster)

    @property
    def heeds_pods(self) -> bool:
        """Whether it changes what is to be done when pods come and go."""
        return self.peers_with_pods or (self._pods is not None and self._pods.heeding)

    async def _drop(self, picture: Picture, *states: SpeakerState) -> None:
        """Have packets dropped that would go round, or come to the speaker from pods that are no peers in these states."""
        await self._guard.desire(
            picture.cluster,
            announcements=[one for state in states for one in state.announcements.values()],
            sessions=[one for state in states for one in state.sessions.values()],
        )

    @property
    def waits_for_pods(self) -> bool:
        """Whether a pod has an address that the node needs itself: its going changes what is to be done."""
        return bool(self._taken)

    def _first_words_ready(self, state: SpeakerState) -> bool:
        """Whether all blackholes stand, or have been waited for long enough (somebody's route may be in the way)."""
        now = asyncio.get_running_loop().time()
        self._waiting_since = self._waiting_since or now
        blocks = {
            prefix for prefix, one in state.announcements.items() if one.source == "Block" and needs_blackhole(prefix)
        }
        return self._kernel.blackholed(blocks) == blocks or now - self._waiting_since > self._patience.first_words_after

    def _tell(self, state: SpeakerState) -> None:
        """Tell the speaker what may be said now."""
        announcements = announceable(
            state.announcements,
            in_kernel=self._kernel.blackholed(state.announcements),
            announced=self._announced,
        )
        now = frozenset(announcements)
        if self._said is state and now == self._announced and self.state is not None:
            self._speaker.tell(self.state)
            return
        self._said, self._announced = state, now
        self.state = msgspec.structs.replace(state, announcements=announcements)
        self._speaker.tell(self.state)

    def _serve(self, picture: Picture, state: SpeakerState) -> bool:
        """Let pods have addresses of the blocks that are ours for certain."""
        blocks = [block for block in in_force(picture.cluster.blocks).values() if block.spec.node == self.node]
        prefixes = [block.spec.cidr for block in blocks]
        standing = Standing(
            in_kernel=self._kernel.blackholed(prefixes),
            clear=clear_of_others(self._speaker.report),
            served=self._pods.served(prefixes) if self._pods else (),
            otherwise=self._pods.attached_otherwise(picture.cluster, prefixes) if self._pods else (),
        )
        self.addressing = addressing(picture.cluster, self.node, blocks=blocks, standing=standing)
        written = not picture.live or self._pods is None or self._pods.desire(picture.cluster, self.addressing)
        return written and self._announced == frozenset(state.announcements)

    def _knows_passwords(self, picture: Picture) -> bool:
        """Whether each password was found or is known to be missing: a session must not lose one that was not read yet.

        On the picture from disk there is nobody to ask: what the run dir kept has to do.
        """
        wanted = references(picture.cluster)
        return not picture.live or wanted <= self._passwords.held.keys() | self._passwords.missing.keys()

    @property
    def announced(self) -> frozenset[Prefix]:
        """What the speaker was told to announce."""
        return self._announced

    @property
    def uid(self) -> str:
        """UID of this node's Node object; empty where it is not known."""
        own = self.picture.cluster.nodes.get(self.node) if self.picture else None
        return own.meta.uid if own else ""

    def inactive_in_use(self, status: NodeStatusStatus) -> bool:
        """Whether pods have addresses of a block that is not Active: the controller waits for each word on it."""
        serving = (*self.addressing.serving, *self.addressing.idle)
        return any(block.in_use and block.cidr not in serving for block in status.blocks)

    def status(self, *, before: NodeStatusStatus | None, now: str, needs: Needs = NOTHING) -> NodeStatusStatus | None:
        """What to report of this node, whose pods need these addresses; None before the first step."""
        if self.picture is None:
            return None
        cluster, kernel = self.picture.cluster, self._kernel.state()
        blocks: tuple[BlockReport, ...] = ()
        if self._pods is not None:
            own = {one.spec.cidr for one in cluster.blocks.values() if one.spec.node == self.node}
            # of a step that is under way: its picture may lack blocks of the last one's addressing
            usable = [cidr for cidr in self.addressing.serving if cidr in own]
            draining = [cidr for cidr in self.addressing.leaving if cidr in own]
            idle = [cidr for cidr in self.addressing.idle if cidr in own]
            # somebody lives there
            others = own.difference(usable, draining, idle) | self._contested.blocks.keys()
            serving = (*usable, *sorted(self._pods.in_use(others), key=str))
            blocks = with_versions(self._pods.usage(cluster, serving, draining=draining, idle=idle), cluster)
        facts = Facts(
            node=self.node,
            node_uid=self.uid,
            live=self.picture.live,
            provisional=self.provisional,
            connected=self._speaker.connected,
            in_sync=kernel.in_sync and self._speaker.report is not None,
            report=self._speaker.report,
            blocks=blocks,
            needs=needs,
            apart=in_apart(cluster, self.node, (one.cidr for one in blocks)),
            routes=kernel.routes,
            lacking=self._lacking(cluster),
            leaving=cluster.bgp.shutdown,
            problems=(*map(named, kernel.problems), *self._object_problems(), *map(named, self.warnings)),
            asked_wrong=(*self._wrongly_asked, *about("IPPool", kernel.problems), *about("Pod", self.machine)),
        )
        return compose(facts, before=before.conditions if before else (), now=now)

    def _lacking(self, cluster: Cluster) -> tuple[str, ...]:
        """What keeps pods from getting addresses; nothing where no pods are served."""
        if self._pods is None:
            return self.addressing.lacking
        nothing = None if self.addressing.usable else waits_for(cluster, self.node)
        return (*self.addressing.lacking, *self._pods.lacking, *((nothing,) if nothing else ()))

    def _object_problems(self) -> list[Refusal]:
        """What is wrong with objects, but for those that a controller marks themselves: once there, not once a node.

        What a selector holds is every reader's own memory.
        """
        return [
            named(Refusal(one.reason, one.message, Why(one.kind, one.name, one.field)))
            for one in self._source.problems()
            if self._alone or not one.name or one.kind not in USER_KINDS or one.reason is Reason.SELECTION_HELD
        ]

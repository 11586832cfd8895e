"""The agent process: the parts of one node put together, each in a loop of its own, until somebody ends it.

Ending it changes nothing on the node: routes, sessions and the CNI configuration stay, and the next process takes over.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import structlog
from msgspec.structs import replace

from towpath.bgp.nodes import log_severity
from towpath.controller import metrics
from towpath.controller.following import follow, follow_while
from towpath.controller.health import Health
from towpath.controller.lock import only_one
from towpath.controller.logging import set_level
from towpath.controller.loop import LevelLoop, Pace
from towpath.controller.node import metrics as node_metrics
from towpath.controller.node.agent import NodeAgent
from towpath.controller.node.bound import BoundPods
from towpath.controller.node.bridge import Bridge
from towpath.controller.node.leaks import Leaks, leaks_of
from towpath.controller.node.namespaces import WatchedNamespaces
from towpath.controller.node.notices import Notices
from towpath.controller.node.pods import CNIPods
from towpath.controller.node.preflight import EVERY, Preflight
from towpath.controller.node.report import unready
from towpath.controller.node.retelling import retelling
from towpath.controller.node.services import WatchedServices
from towpath.controller.node.serving import desk_of, pods_of
from towpath.controller.node.source import Opened, opened
from towpath.controller.node.upkeep import Upkeep
from towpath.controller.ports import ApiError
from towpath.controller.secret_watch import WatchedSecrets
from towpath.controller.secrets import Passwords, file_on_tmpfs, references
from towpath.controller.settings import AgentSettings
from towpath.controller.snapshot import SnapshotError, SnapshotFile
from towpath.controller.status import StatusWriter
from towpath.ipam.apart import NOTHING
from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import SecretKey
from towpath.model.kinds.node import NodeStatusStatus
from towpath.model.reason import Reason, Refusal, Why
from towpath.routes import nft
from towpath.routes.machine import loses_next_hops

log = structlog.get_logger()
STUCK_AFTER = 120.0
"""Seconds after which a step that has not ended counts as dead: ``/healthz`` says so."""


def main(settings: AgentSettings) -> int:
    """Run until SIGTERM or SIGINT; 0 then."""
    with only_one(settings.run_dir):
        return asyncio.run(_until_ended(settings))


async def _until_ended(settings: AgentSettings) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    log.info("agent.started", node=settings.node, run_dir=str(settings.run_dir))
    with contextlib.suppress(asyncio.CancelledError):
        async with opened(settings.source, node=settings.node) as source:
            await AgentProcess(settings, source).run()
    log.info("agent.ended")
    return 0


class AgentProcess:
    """The parts and the loops of one running agent."""

    def __init__(self, settings: AgentSettings, source: Opened) -> None:
        self._settings = settings
        self._source = source
        self._file = SnapshotFile(settings.snapshot, node=settings.node)
        tmpfs = file_on_tmpfs(settings.secrets)
        if tmpfs is None:
            log.warning("secrets.not_kept", file=str(settings.secrets), remedy="put the run dir on tmpfs")
        self._secret_loop = LevelLoop(self._read_secrets, pace=Pace(debounce=0.2, backoff=1.0))
        self._watched = WatchedSecrets(changed=self._secret_loop.dirty)
        self._passwords = Passwords(
            source.api, namespace=settings.source.secret_namespace, file=tmpfs, watched=self._watched
        )
        self._writer = StatusWriter(source.api, node=settings.node, alone=settings.source.folder is not None)
        self._notices = Notices(source.api, settings.node, uid=lambda: self._node.uid)
        self._node_loop = LevelLoop(self._step)
        self._status_loop = LevelLoop(self._report, pace=Pace(debounce=0.2, backoff=1.0))
        self._plugin_loop = LevelLoop(self._look_at_plugins, pace=Pace(debounce=1.0, backoff=5.0))
        self._snapshot_loop = LevelLoop(self._save, pace=Pace(debounce=1.0, backoff=5.0))
        self._preflight_loop = LevelLoop(self._look_at_machine, pace=Pace(period=EVERY))
        self._upkeep = Upkeep(settings.sysctls, proc_sys=settings.proc_sys)
        self._bridge = Bridge(
            settings.node,
            socket=settings.socket,
            routers=settings.run_dir / "routers.json",
            share=not loses_next_hops(settings.host_root),
            mtu=self._mtu_below,
            tunnelled=self._upkeep.tunnels,
            changed=self._node_loop.dirty,
            moved=self._preflight_loop.dirty,
            reported=self._status_loop.dirty,
            noticed=self._notices.take,
        )
        self._preflight = Preflight(
            settings.node,
            proc_sys=settings.proc_sys,
            host_root=settings.host_root,
            addresses=self._bridge.link_addresses,
            interfaces=self._bridge.interfaces,
            overhead=self._bridge.overhead,
        )
        self._table = nft.Table()
        self._node: NodeAgent
        self._pods: CNIPods | None = None
        self._bound = BoundPods(changed=self._status_loop.dirty, moved=self._pods_moved, asked=self._node_loop.dirty)
        self._leaks: Leaks | None = None
        self._namespaces = WatchedNamespaces(changed=self._changed)
        self._services = WatchedServices(
            settings.node,
            changed=self._beside_changed,
            report=lambda problems: source.store.report("services", problems),
        )
        self._named: frozenset[SecretKey] | None = None
        """The passwords that the objects name; None before there was a picture: then none is forgotten."""
        self._secrets_read = False
        """Somebody was asked for the passwords in this process: before that no report can say which are missing."""
        self._pictured: Cluster | None = None
        """The last picture from the API that was acted on: what the disk is to have."""
        self._refusals: dict[str, Refusal] = {}
        """What the machine refuses at present, by what it is."""
        self._step_began = 0.0
        self._unready_because: str | None = "no picture of the cluster yet"
        self._reported: NodeStatusStatus | None = None

    async def run(self) -> None:
        """Everything at once, for ever; a bug in any part ends them all."""
        if (saved := self._load()) is not None:
            self._source.store.seed(saved, node=self._settings.node)
            self._services.seed(saved)
            self._bound.seed(saved)
        self._passwords.recall()
        settings = self._settings
        self._upkeep.look()
        self._pods = pods_of(
            settings,
            mtu=self._mtu,
            inhabitants=self._bound,
            asking=lambda: self._bound.asking,
            namespaces=lambda: self._namespaces.known,
        )
        self._leaks = leaks_of(settings, source=self._source.store, bound=self._bound, noticed=self._notices.take)
        self._node = NodeAgent(
            settings.node,
            source=self._source.store,
            kernel=self._bridge,
            speaker=self._bridge,
            pods=self._pods,
            services=self._services,
            workloads=self._bound,
            firewall=self._table,
            passwords=self._passwords,
            saved=saved,
            alone=settings.source.folder is not None,
        )
        self._source.store.subscribe(self._changed)
        self._source.store.subscribe(retelling(self._source.store, self._writer, wake=self._status_loop.dirty))
        await self._preflight.look()
        if settings.health_port is not None:
            await Health(dead=self._dead, unready=self._unready).serve(settings.health_port)
        async with asyncio.TaskGroup() as tasks:
            for follower in self._source.followers:
                tasks.create_task(follow(follower()))
            tasks.create_task(follow(self._source.follow_pods(self._bound)))
            if self._source.follow_secrets is not None:
                tasks.create_task(follow(self._source.follow_secrets(self._watched)))
            for loop in self._loops.values():
                tasks.create_task(loop.run())
            if self._pods is not None:
                desk = desk_of(self._pods, bound=self._bound, namespaces=self._namespaces, api=self._source.api)
                tasks.create_task(desk.serve())
            if settings.metrics_port is not None:
                tasks.create_task(metrics.serve(settings.metrics_port, self._measures))
            tasks.create_task(follow_while(self._services, self._source.follow_services))
            tasks.create_task(follow_while(self._namespaces, self._source.follow_namespaces))
            tasks.create_task(self._keep_time())
            tasks.create_task(self._notices.run())

    @property
    def _loops(self) -> Mapping[str, LevelLoop]:
        return {
            **({"leaks": self._leaks.loop} if self._leaks is not None else {}),
            "node": self._node_loop,
            "secrets": self._secret_loop,
            "status": self._status_loop,
            "snapshot": self._snapshot_loop,
            "plugins": self._plugin_loop,
            "preflight": self._preflight_loop,
        }

    def _measures(self) -> Iterator[metrics.Measure]:
        yield from node_metrics.measures(self._reported, events=self._notices.counts)
        yield from metrics.of_loops(self._loops)

    def _load(self) -> Cluster | None:
        try:
            return self._file.load()
        except SnapshotError as error:
            log.warning("snapshot.ignored", error=str(error), remedy="none needed: it is written anew from the API")
            return None

    def _beside_changed(self) -> None:
        self._node_loop.dirty()
        if self._pictured is not None:
            self._snapshot_loop.dirty()

    def _pods_moved(self) -> None:
        """It matters which pods there are only where some may be peers, or have addresses of before us."""
        if self._node.heeds_pods:
            self._beside_changed()

    def _changed(self) -> None:
        self._node_loop.dirty()
        self._status_loop.dirty()

    async def _step(self) -> bool:
        self._step_began = asyncio.get_running_loop().time()
        first = self._node.picture is None
        if self._source.store.complete:
            self._namespaces.want(self._source.store.cluster())
        try:
            settled = await self._node.step()
        except OSError as error:
            log.warning("node.step_failed", error=str(error), remedy="tried again")
            settled = False
        self._step_began = 0.0
        picture = self._node.picture
        if picture is not None:
            of_pods = (*(self._leaks.problems if self._leaks is not None else ()), *self._bound.differing)
            self._node.machine = (*self._refusals.values(), *self._preflight.problems(picture.cluster), *of_pods)
        self._notices.warn(self._node.warnings)
        store = self._source.store
        # not of the picture alone: the node takes no new one before its passwords were read
        cluster = store.cluster() if store.complete or picture is None else picture.cluster
        set_level(log_severity(cluster, self._settings.node))
        log.debug("node.step", settled=settled, announcements=len(self._node.announced))
        named = references(cluster)
        if self._named != named and (picture is not None or store.complete):
            self._named = named
            self._secret_loop.dirty()
        if picture is not None and picture.live and picture.cluster is not self._pictured:
            self._pictured = picture.cluster
            self._snapshot_loop.dirty()
        if first and picture is not None:
            log.info("node.first_step", live=picture.live, announcements=len(self._node.announced))
            gc.collect()
            gc.freeze()
        self._status_loop.dirty()
        return settled

    async def _read_secrets(self) -> bool:
        if self._named is None:
            return True
        before = (self._passwords.held, self._passwords.missing)
        answered = await self._passwords.refresh(self._named)
        first, self._secrets_read = not self._secrets_read, True
        if first or before != (self._passwords.held, self._passwords.missing):
            self._node_loop.dirty()
        self._refused("secrets", self._passwords.unkept)
        return answered and not self._passwords.unkept

    async def _report(self) -> bool:
        if live := self._node.picture is not None and self._node.picture.live:
            try:
                await self._writer.recall()
            except ApiError as error:
                log.debug("status.not_read", error=str(error))
                return False
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        needs = NOTHING
        if self._node.picture is not None and self._pods is not None:
            needs = self._bound.needs(self._node.picture.cluster, self._settings.node, self._namespaces.labels)
        status = self._reported = self._node.status(before=self._writer.written, now=stamp, needs=needs)
        self._unready_because = unready(status)
        if status is None or not live or not self._secrets_read:
            return True  # nobody is there to read it, or what is missing is not known yet
        found = self._bridge.found(self._source.store.cluster())
        found = None if found is None else replace(found, mtu=self._mtu())
        try:
            now, watched = asyncio.get_running_loop().time(), self._node.inactive_in_use(status)
            wait = await self._writer.offer(status, found, now=now, watched=watched)
        except ApiError as error:
            log.debug("status.not_written", error=str(error))
            return False
        if wait is not None:
            asyncio.get_running_loop().call_later(wait, self._status_loop.dirty)
        return True

    async def _look_at_plugins(self) -> bool:
        if self._pods is None:
            return True
        fine = await self._pods.look_at_plugins()
        self._node_loop.dirty()
        return fine

    async def _look_at_machine(self) -> bool:
        if await self._preflight.look():
            self._changed()
        return True

    def _mtu(self) -> int | None:
        """What new pods get."""
        picture = self._node.picture
        return self._preflight.mtu(picture.cluster) if picture is not None else None

    def _mtu_below(self, cluster: Cluster) -> int | None:
        """Of the network that tunnels go through."""
        return self._preflight.mtu_below(cluster)

    def _refused(self, what: str, message: str) -> None:
        """What the machine refuses, as a condition for as long as it does; ``message`` empty: it does not any more."""
        before = dict(self._refusals)
        self._refusals.pop(what, None)
        if message:
            self._refusals[what] = Refusal(Reason.DISK_REFUSED, message, Why("Node", self._settings.node))
        if self._refusals != before:
            self._node_loop.dirty()

    async def _save(self) -> bool:
        if self._pictured is None:
            return True
        try:
            picture = self._bound.added_to(self._pictured) if self._node.peers_with_pods else self._pictured
            await asyncio.to_thread(self._file.save, self._services.added_to(picture))
        except OSError as error:
            log.warning("snapshot.not_saved", error=str(error), remedy="make room or mount the state dir")
            self._refused(
                "snapshot", f"the picture of the cluster cannot be kept in {self._file.path}: {error.strerror}"
            )
            return False
        self._refused("snapshot", "")
        return True

    async def _keep_time(self) -> None:
        """Wake the node where only time has passed: the disk counts now, the API has been away for long, pods came or went."""
        await asyncio.sleep(self._node.patience_ends())
        self._node_loop.dirty()
        provisional = False
        while True:
            await asyncio.sleep(1)
            self._upkeep.look()
            if self._notices.waiting:
                self._notices.warn(self._node.warnings)
            if self._pods is not None and self._pods.changed():
                self._status_loop.dirty()
                if self._node.retaining or self._node.waits_for_pods:
                    self._node_loop.dirty()
            if self._node.drained or self._table.disturbed():
                self._node_loop.dirty()
            if self._pods is not None and self._pods.disturbed():
                self._plugin_loop.dirty()
                self._node_loop.dirty()
            if self._node.provisional != provisional:
                provisional = self._node.provisional
                log.warning("api.away" if provisional else "api.back", remedy="paths of unknown origin are provisional")
                self._changed()

    def _dead(self) -> str | None:
        began = self._step_began
        stuck = began and asyncio.get_running_loop().time() - began > STUCK_AFTER
        return f"a step has been running for more than {STUCK_AFTER:g} s" if stuck else None

    def _unready(self) -> str | None:
        return self._unready_because

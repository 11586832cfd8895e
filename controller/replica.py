"""One replica of the controller: follows the whole cluster, takes part in the election, and plans while it leads."""

import asyncio
import contextlib
import gc
import itertools
import signal
import time
import uuid
from collections.abc import Iterator

import structlog

from towpath.controller import cluster, cluster_metrics, metrics
from towpath.controller.definitions import Definitions
from towpath.controller.health import Health
from towpath.controller.kube.connect import connect
from towpath.controller.kube.lease import Lease
from towpath.controller.kube.watch import Reflector, Restores
from towpath.controller.loadbalancer.running import Running
from towpath.controller.loop import LevelLoop, Pace
from towpath.controller.ports import ApiError
from towpath.controller.service_ranges import ServiceRanges
from towpath.controller.settings import CannotRunError, ControllerSettings
from towpath.controller.store import Store, decode_served
from towpath.controller.unenforced import Unenforced
from towpath.ipam.ending import is_held
from towpath.model.reason import Reason

log = structlog.get_logger()
LEASE = "towpath-controller"
SILENT_AFTER = 300.0
"""Seconds without any answer of the API server, be it a refusal, after which a replica counts as dead."""


def main(settings: ControllerSettings) -> int:
    """Run until SIGTERM or SIGINT; 0 then, with the Lease given back."""
    return asyncio.run(_until_ended(settings))


async def _until_ended(settings: ControllerSettings) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    log.info("controller.started", identity=settings.identity)
    with contextlib.suppress(asyncio.CancelledError):
        await _run(settings)
    log.info("controller.ended")
    return 0


async def _run(settings: ControllerSettings) -> None:
    try:
        client = await connect(server=settings.source.server, kubeconfig=settings.source.kubeconfig)
    except ApiError as error:
        raise CannotRunError(str(error)) from error
    store = Store(cluster.KINDS, decoder=decode_served)
    # the holder is this process and not this host: a new process on it must wait as any other does
    identity = f"{settings.identity}_{uuid.uuid4().hex[:8]}"
    async with client as api:
        lease = Lease(api, namespace=settings.namespace, name=LEASE, identity=identity)
        loops: list[LevelLoop] = []
        pools = cluster_metrics.PoolMetrics(clock=time.monotonic)

        def dirty() -> None:
            for one in loops:
                one.dirty()

        restores = Restores()
        balancers = Running(api, store, lease=lease, identity=identity, told=dirty, restores=restores)
        policies = Unenforced(api, changed=dirty)

        def elected(leading: bool) -> None:
            log.info("lease.taken" if leading else "lease.lost", identity=identity, holder=lease.holder)
            dirty()
            balancers.loop.dirty()

        definitions = Definitions(api) if settings.manage_crds else None
        health = Health(
            dead=lambda: "the API server does not answer" if store.unanswered_for() > SILENT_AFTER else None,
            unready=lambda: _waits_for(store, definitions, leaving=settings.leaving),
        )
        if settings.health_port is not None:
            await health.serve(settings.health_port)
        if settings.health_socket is not None:
            await health.serve_at(settings.health_socket)
        async with asyncio.TaskGroup() as tasks:
            if definitions is not None:
                tasks.create_task(_bring(definitions))
            for kind in store.kinds:
                tasks.create_task(Reflector(api, store, kind=kind, restores=restores).run())
            tasks.create_task(lease.run(elected))
            tasks.create_task(ServiceRanges(api, known=store.service_ranges).run())
            tasks.create_task(
                cluster.run(
                    api,
                    store,
                    lease=lease,
                    identity=identity,
                    others=lambda: (*balancers.part.refusals, *policies.refusals(store.cluster().pools)),
                    taken=balancers.part.taken,
                    on_loop=loops.append,
                    leaving=settings.leaving,
                )
            )
            tasks.create_task(balancers.run())
            tasks.create_task(policies.run())
            if settings.metrics_port is not None:
                tasks.create_task(
                    metrics.serve(
                        settings.metrics_port,
                        lambda: itertools.chain(_measures(store, lease, loops, pools, balancers), policies.measures()),
                    )
                )
            gc.freeze()


def _measures(
    store: Store, lease: Lease, loops: list[LevelLoop], pools: cluster_metrics.PoolMetrics, balancers: Running
) -> Iterator[metrics.Measure]:
    yield from cluster_metrics.measures(store.cluster(), leading=lease.leading, problems=store.problems())
    yield from pools.measures(store.cluster())
    yield from balancers.part.measures()
    yield from metrics.of_loops({"load-balancers": balancers.loop} | ({"cluster": loops[0]} if loops else {}))


async def _bring(definitions: Definitions) -> None:
    """Until each definition serves this release; then they are left to whoever changes them."""
    pace, failures = Pace(), 0
    while not await definitions.step():
        failures += 1
        await asyncio.sleep(pace.pause(failures))


def _waits_for(store: Store, definitions: Definitions | None, *, leaving: bool) -> str | None:
    """What keeps a replica from ready."""
    if not store.complete:
        return _incomplete(store, definitions)
    held = [pool.name for pool in store.cluster().pools.values() if is_held(pool)] if leaving else []
    return f"pools that are not let go of yet: {', '.join(held)}" if held else None


def _incomplete(store: Store, definitions: Definitions | None) -> str:
    """What is waited for at start."""
    refused = next((one.message for one in store.problems() if one.reason is Reason.FORBIDDEN), None)
    if refused is not None:
        return refused
    missing = sorted(one.kind for one in store.problems() if one.reason is Reason.KIND_MISSING)
    if not missing:
        return "the cluster is not listed yet"
    problems = definitions.problems if definitions else ("--manage-crds is false: apply the chart's crds/",)
    return f"the API server does not serve {', '.join(missing)}: {'; '.join(problems) or 'being created'}"

"""The check itself: reads the cluster's objects, has the pods on all nodes try their paths, and tries again until all is well.

It ends with 0 as soon as everything is as it should be, and with 1 and a sentence for each thing that is not when its time
is over.
"""

import asyncio
import time
from typing import Any

import structlog
from msgspec import Struct

from towpath.controller.connectivity import judge
from towpath.controller.connectivity.paths import Asked, Paths, ask, said, try_all
from towpath.controller.kube.connect import connect
from towpath.controller.ports import ApiError, Reader, every
from towpath.controller.settings import CannotRunError, Source
from towpath.model.decode import decode
from towpath.model.kinds.node import NodeStatusStatus
from towpath.model.reason import InvalidSpecError

log = structlog.get_logger()
PAUSE = 2.0
SHOWN = 40


class CheckSettings(Struct, frozen=True):
    """Where the pods of the test are and how long they have."""

    source: Source
    namespace: str
    selector: str
    port: int
    timeout: float
    """Seconds."""
    peers: bool
    """Whether pods have to reach BGP peers."""


class Result(Struct, frozen=True):
    """One look at everything."""

    wrong: tuple[str, ...]
    nodes: int = 0
    sessions: int = 0
    paths: int = 0


def serve(node: str, *, port: int) -> None:
    """Run a pod's part until it is ended."""

    async def run() -> None:
        async with await Paths(node, port=port).serve() as server:
            log.info("connectivity.serving", node=node, port=port)
            await server.serve_forever()

    asyncio.run(run())


def check(settings: CheckSettings) -> int:
    """Run the check; the exit code."""
    return asyncio.run(_check(settings))


async def _check(settings: CheckSettings) -> int:
    try:
        client = await connect(server=settings.source.server, kubeconfig=settings.source.kubeconfig)
    except ApiError as error:
        raise CannotRunError(str(error)) from error
    until = time.monotonic() + settings.timeout
    told: tuple[str, ...] = ()
    async with client as api:
        while True:
            try:
                result = await look(api, settings)
            except ApiError as error:
                result = Result((f"the API server: {error}",))
            if not result.wrong:
                print(
                    f"all is well: {result.nodes} nodes, {result.sessions} sessions, {result.paths} paths between pods, "
                    "nodes and peers"
                )
                return 0
            if time.monotonic() > until:
                break
            if result.wrong != told:
                told = result.wrong
                log.info("connectivity.not_yet", wrong=len(told), first=told[0])
            await asyncio.sleep(PAUSE)
    print(f"{len(result.wrong)} things are wrong after {settings.timeout:g} s:")
    for sentence in result.wrong[:SHOWN]:
        print(f"  {sentence}")
    if len(result.wrong) > SHOWN:
        print(f"  and {len(result.wrong) - SHOWN} more")
    return 1


async def look(api: Reader, settings: CheckSettings) -> Result:
    """Look at the objects and try all paths once."""
    nodes, statuses = {}, {}
    async for body in every(api, "RoutingNode"):
        nodes[body["metadata"]["name"]] = decode("RoutingNode", {**body, "status": {}}).spec
    async for body in every(api, "NodeStatus"):
        statuses[body["metadata"]["name"]] = _status(body)
    listed = every(api, "Pod", namespace=settings.namespace, label_selector=settings.selector)
    pods = [judge.path_pod(body) async for body in listed]
    wrong = judge.wrong_objects(nodes, statuses, pods)
    plan = judge.paths(nodes, statuses, pods, peers=settings.peers)
    first = {one.node: one.addresses[0] for one in pods if one.addresses}
    asked = await asyncio.gather(
        *(_from(node, first[node], each, port=settings.port) for node, each in plan.items()),
        _from_here({address: one.node for one in pods for address in one.addresses}, port=settings.port),
    )
    tried = sum(len(each.pods) + len(each.hosts) for each in plan.values())
    return Result(
        wrong=tuple(wrong) + tuple(sentence for sentences in asked for sentence in sentences),
        nodes=len(nodes),
        sessions=sum(len(status.sessions) for status in statuses.values() if status is not None),
        paths=tried + sum(len(one.addresses) for one in pods),
    )


async def _from(node: str, address: str, asked: Asked, *, port: int) -> list[str]:
    try:
        failed = await ask(address, asked, node=node, port=port, within=15)
    except OSError as error:
        return [f"the pod on {node} ({address}) cannot be asked: {said(error)}"]
    return [
        f"from the pod on {node} to {f'the pod on {asked.pods[target]}' if target in asked.pods else 'the peer'} "
        f"({target}): {why}"
        for target, why in sorted(failed.items())
    ]


async def _from_here(pods: dict[str, str], *, port: int) -> list[str]:
    failed = await try_all(Asked(pods=pods), port=port, within=5)
    return [f"from this node to the pod on {pods[target]} ({target}): {why}" for target, why in sorted(failed.items())]


def _status(body: dict[str, Any]) -> NodeStatusStatus | None:
    try:
        found: NodeStatusStatus | None = decode("NodeStatus", {**body, "spec": {}}).status
    except InvalidSpecError:
        return None
    return found

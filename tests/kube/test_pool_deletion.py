"""Pools that are deleted on the real API server: what it keeps, what it refuses, and what is left when towpath leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.leading import AlwaysLeading, running
from tests.patience import within
from towpath.controller import cluster
from towpath.controller.kube.client import KubeApi
from towpath.controller.kube.connect import connect
from towpath.controller.kube.watch import following
from towpath.controller.ports import AlreadyExistsError, NotFoundError
from towpath.controller.store import Store
from towpath.ipam.ending import FINALIZER
from towpath.lab import objects
from towpath.lab.addressing import RACK_A
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import run
from towpath.lab.tools import kubectl
from towpath.model.net import Family

OLD = custom("IPPool", "old", {"cidr": "10.244.0.0/24", "blockSize": 28})
NEW = custom("IPPool", "new", {"cidr": "10.245.0.0/24", "blockSize": 28})


@contextlib.asynccontextmanager
async def controller(kubernetes: RealKubernetes, *, leaving: bool = False) -> AsyncIterator[None]:
    """A whole controller but for the election."""
    store = Store(cluster.KINDS)
    async with (
        await connect(kubeconfig=kubernetes.kubeconfig) as api,
        following(api, store),
        running(cluster.run(api, store, lease=AlwaysLeading(), identity="ctl", leaving=leaving)),
    ):
        yield


async def blocks(api: KubeApi) -> dict[str, str]:
    """Pool and state of each block."""
    found = (one["spec"] for one in (await api.list("IPAMBlock")).items)
    return {one["pool"]: one.get("state", "Active") for one in found}


async def report(api: KubeApi, *, in_use: int = 0, drained: bool = False) -> None:
    """What the node's agent would say: so many addresses in use of the old pool, and that its draining is over."""
    node = await api.get("Node", "n1")
    reports = []
    for one in (await api.list("IPAMBlock")).items:
        old = one["spec"]["pool"] == "old"
        said: dict[str, Any] = {"cidr": one["spec"]["cidr"], "inUse": in_use if old else 0, "capacity": 14}
        if drained and old:
            said |= {"drained": True, "drainedVersion": one["metadata"]["resourceVersion"]}
        reports.append(said)
    status = {"nodeUID": node["metadata"]["uid"], "blocks": reports}
    with contextlib.suppress(AlreadyExistsError):
        await api.create("NodeStatus", custom("NodeStatus", "n1", {}))
    await api.patch_status("NodeStatus", "n1", {"status": status})


async def says(api: KubeApi, words: str) -> bool:
    """Whether the old pool's condition says so."""
    conditions = (await api.get("IPPool", "old")).get("status", {}).get("conditions", ())
    return any(words in one.get("message", "") for one in conditions if one["type"] == "InService")


async def finalizers(api: KubeApi) -> list[str]:
    return list((await api.get("IPPool", "old"))["metadata"].get("finalizers", []))


async def is_gone(api: KubeApi) -> bool:
    try:
        await api.get("IPPool", "old")
    except NotFoundError:
        return True
    return False


async def test_a_pool_stays_until_its_last_block_is_gone_or_towpath_leaves() -> None:
    """Deleted under a node with pods it is there, says why, and goes by itself; one of a controller that leaves goes at once."""
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
            await api.create("IPAMConfiguration", custom("IPAMConfiguration", "default", {"quarantine": "0s"}))
            await api.create("IPPool", OLD)
            await api.create("Node", objects.node("n1", (RACK_A.address(Family.IPV4, 10),), rack="a"))
            async with controller(kubernetes):
                await until(lambda: blocks(api), {"old": "Active"})
                await until(lambda: finalizers(api), [FINALIZER])
                await report(api, in_use=3)
                await api.delete("IPPool", "old")
                await until(lambda: says(api, "1 block of it with 3 addresses in use (n1)"), True)
                with pytest.raises(AlreadyExistsError):
                    await api.create("IPPool", OLD)
                await api.create("IPPool", NEW)
                await until(lambda: blocks(api), {"old": "Active", "new": "Active"})
                await report(api, in_use=3)
                await until(lambda: blocks(api), {"old": "Draining", "new": "Active"})

                async def heard() -> dict[str, str]:
                    """What is said of one version of a block is said again of the next."""
                    await report(api, drained=True)
                    return await blocks(api)

                await until(heard, {"old": "Quarantined", "new": "Active"})
                assert not await is_gone(api)
            # the quarantine is longer than any test: what is done when it is over
            (block,) = (one for one in (await api.list("IPAMBlock")).items if one["spec"]["pool"] == "old")
            await api.delete("IPAMBlock", block["metadata"]["name"])
            assert not await is_gone(api), "nobody is there who lets it go"
            async with controller(kubernetes):
                await until(lambda: is_gone(api), True)
                await api.create("IPPool", OLD)
            new = await api.get("IPPool", "new")
            assert new["metadata"]["finalizers"] == [FINALIZER]
            async with controller(kubernetes, leaving=True):
                await until(lambda: marks(api), set())
        run(str(kubectl()), "--kubeconfig", str(kubernetes.kubeconfig), "delete", "crd", "ippools.towpath.io")


async def test_without_a_controller_an_administrator_lets_go_as_the_page_says() -> None:
    """A pool that is held and has nobody: the documented patch ends it, and a definition with such pools goes."""
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
            held = {**OLD, "metadata": {**OLD["metadata"], "finalizers": [FINALIZER]}}
            await api.create("IPPool", held)
            await api.delete("IPPool", "old")
            assert not await is_gone(api)
            patch = '{"metadata": {"finalizers": null}}'
            program = (str(kubectl()), "--kubeconfig", str(kubernetes.kubeconfig))
            run(*program, "patch", "ippool", "old", "--type", "merge", "-p", patch)
            assert await is_gone(api)


async def until(question: Callable[[], Awaitable[Any]], answer: Any) -> None:
    """Ask until the answer is this one."""
    async with within(30):
        said = await question()
        while said != answer:
            await asyncio.sleep(0.05)
            said = await question()


async def marks(api: KubeApi) -> set[str]:
    pools = (await api.list("IPPool")).items
    return {one["metadata"]["name"] for one in pools if one["metadata"].get("finalizers")}

"""Two controllers that both believe they lead, on the real API server: the name of a block is what decides."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from ipaddress import ip_network

from tests.kube.history import Judge, Store
from tests.leading import AlwaysLeading, running
from tests.patience import asked, within
from towpath.controller import cluster
from towpath.controller.kube.connect import connect
from towpath.controller.kube.watch import following
from towpath.controller.store import Store as Objects
from towpath.ipam.plan import quarantine_time
from towpath.lab import objects
from towpath.lab.addressing import PODS, RACK_A
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes
from towpath.model.cluster import Cluster
from towpath.model.net import Family

NODES = 40


@contextlib.asynccontextmanager
async def controller(kubernetes: RealKubernetes, *, identity: str) -> AsyncIterator[None]:
    """A whole controller but for the election."""
    store = Objects(cluster.KINDS)
    async with (
        await connect(kubeconfig=kubernetes.kubeconfig) as api,
        following(api, store),
        running(cluster.run(api, store, lease=AlwaysLeading(), identity=identity)),
    ):
        yield


def active(judge: Judge) -> list[tuple[str, int]]:
    """Whose the blocks in force are, and of which family."""
    return sorted(
        (block["spec"]["node"], ip_network(block["spec"]["cidr"]).version)
        for block in tuple(judge.blocks.values())
        if block["spec"].get("state", "Active") == "Active"
    )


async def test_no_block_has_two_owners_and_no_node_two_blocks() -> None:
    """Nodes come and go by the dozen; at every moment blocks are disjoint, at the end each node has one a family."""
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        async with contextlib.AsyncExitStack() as stack:
            api = await stack.enter_async_context(await connect(kubeconfig=kubernetes.kubeconfig))
            for family in Family:
                await api.create("IPPool", custom("IPPool", f"pods-{family.key}", {"cidr": str(PODS[family])}))
            judge = Judge(quarantine=quarantine_time(Cluster()))
            store = stack.enter_context(Store(None, take=judge.take, port=kubernetes.place.client))
            for number in (1, 2):
                await stack.enter_async_context(controller(kubernetes, identity=f"ctl{number}"))
            names = [f"node{number}" for number in range(1, NODES + 1)]
            addresses = {
                name: tuple(RACK_A.address(family, 10 + number) for family in Family)
                for number, name in enumerate(names)
            }

            async def create(name: str) -> None:
                await api.create("Node", objects.node(name, addresses[name], rack="a"))

            async def settled(wanted: list[str]) -> None:
                goal = sorted(itertools.product(wanted, (4, 6)))
                async with within(20):
                    while active(judge) != goal:  # the store's thread changes it
                        assert store.error is None
                        await asyncio.sleep(0.02)

                async def described() -> bool:
                    return {one["metadata"]["name"] for one in (await api.list("RoutingNode")).items} == set(wanted)

                await asked(described, deadline=20, what="a RoutingNode for each")

            await asyncio.gather(*map(create, names))
            await settled(names)
            # an eighth goes; before anybody can have finished with that another eighth goes and the first comes back
            # (more than a quarter at once would be held back by the breaker)
            gone, later = names[::8], names[1::8]
            await asyncio.gather(*(api.delete("Node", name) for name in gone))
            await asyncio.gather(*(api.delete("Node", name) for name in later), *map(create, gone))
            await settled(sorted({*names} - {*later}))
            await asyncio.gather(*map(create, later))
            await settled(names)
            assert judge.versions >= NODES * 2
            assert judge.wrong == []

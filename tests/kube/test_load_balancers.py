"""Addresses of load balancers on the real API server: its defaults, its rules for statuses, and two controllers at once."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from tests.leading import AlwaysLeading, running
from tests.patience import within
from towpath.controller import cluster
from towpath.controller.kube.client import KubeApi
from towpath.controller.kube.connect import connect
from towpath.controller.kube.watch import following
from towpath.controller.loadbalancer.running import Running
from towpath.controller.loop import LevelLoop
from towpath.controller.store import Store
from towpath.lab import objects
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes
from towpath.model.balanced import ADDRESSES, CONDITION, OUR_CLASS, SHARES

COUNT = 30


@contextlib.asynccontextmanager
async def controller(kubernetes: RealKubernetes, *, identity: str) -> AsyncIterator[None]:
    """The part of a controller that gives out these addresses."""
    store = Store(cluster.KINDS)
    async with await connect(kubeconfig=kubernetes.kubeconfig) as api, following(api, store):
        part = Running(api, store, lease=AlwaysLeading(), identity=identity, told=lambda: None)
        async with running(part.run()):
            yield


@contextlib.asynccontextmanager
async def whole(kubernetes: RealKubernetes) -> AsyncIterator[None]:
    """All of a controller that leads: what gives out blocks, and says what is wrong with pools, as well."""
    store = Store(cluster.KINDS)
    loops: list[LevelLoop] = []

    def dirty() -> None:
        for one in loops:
            one.dirty()

    async with await connect(kubeconfig=kubernetes.kubeconfig) as api, following(api, store):
        lease = AlwaysLeading()
        balancers = Running(api, store, lease=lease, identity="whole", told=dirty)
        others = cluster.run(
            api,
            store,
            lease=lease,
            others=lambda: balancers.part.refusals,
            taken=balancers.part.taken,
            on_loop=loops.append,
        )
        async with running(balancers.run()), running(others):
            yield


def service(name: str, annotations: dict[str, str] | None = None, *, port: int = 80, **spec: Any) -> dict[str, Any]:
    """A Service of our class."""
    whole = {"type": "LoadBalancer", "loadBalancerClass": OUR_CLASS, "ports": [{"port": port}], **spec}
    return {"metadata": {"name": name, "namespace": "default", "annotations": annotations or {}}, "spec": whole}


async def shown(api: KubeApi) -> dict[str, list[str]]:
    """The addresses that each Service of the namespace shows."""
    found = {}
    for body in (await api.list("Service", namespace="default")).items:
        entries = body["status"]["loadBalancer"].get("ingress", [])
        assert all(entry.get("ipMode", "VIP") == "VIP" for entry in entries), body
        found[body["metadata"]["name"]] = [entry["ip"] for entry in entries]
    return found


async def claims(api: KubeApi) -> dict[str, list[str]]:
    """Who has which address."""
    return {
        body["spec"]["address"]: sorted(one["service"] for one in body["spec"]["services"])
        for body in (await api.list("AddressClaim")).items
    }


async def says(api: KubeApi, name: str) -> tuple[str, str]:
    """Status and reason of our condition."""
    conditions = (await api.get("Service", name, namespace="default"))["status"].get("conditions", [])
    return next(((one["status"], one["reason"]) for one in conditions if one["type"] == CONDITION), ("", ""))


async def says_of(name: str, wanted: tuple[str, str], api: KubeApi) -> bool:
    """Whether that is what our condition says."""
    return await says(api, name) == wanted


async def until(api: KubeApi, holds: Callable[[KubeApi], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with within(60):
        while True:
            if await holds(api):
                return
            await asyncio.sleep(0.1)


async def everybody_has_one(api: KubeApi) -> bool:
    """Whether every Service but the API server's own shows an address."""
    return all(has for name, has in (await shown(api)).items() if name != "kubernetes")


async def nobody_has_one(api: KubeApi) -> bool:
    """Whether there is no claim left."""
    return not await claims(api)


async def somebody_was_told(api: KubeApi) -> bool:
    """Whether there is an event about an address, which is a Service's."""
    found = (await api.list("Event", namespace="default")).items
    return any(one["reason"] == "AddressAssigned" and one["involvedObject"]["kind"] == "Service" for one in found)


async def test_two_controllers_give_each_service_one_address_and_take_it_back() -> None:
    """Made at once, changed, shared and deleted, with controllers ended and begun between: at the end nothing is left."""
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        async with contextlib.AsyncExitStack() as stack:
            api = await stack.enter_async_context(await connect(kubeconfig=kubernetes.kubeconfig))
            pool = {"cidr": "198.51.100.0/24", "allowedUses": ["LoadBalancer"]}
            await api.create("IPPool", custom("IPPool", "lb", pool))
            two = await stack.enter_async_context(contextlib.AsyncExitStack())
            for number in (1, 2):
                await two.enter_async_context(controller(kubernetes, identity=f"ctl{number}"))
            await api.create("Service", service("certain", {ADDRESSES: "198.51.100.200"}), namespace="default")
            await asyncio.gather(
                *(api.create("Service", service(f"s{at}"), namespace="default") for at in range(COUNT)),
                *(
                    api.create("Service", service(f"k{at}", {SHARES: "k"}, port=1000 + at), namespace="default")
                    for at in range(3)
                ),
            )
            await until(api, everybody_has_one)
            seen = await shown(api)
            assert seen["certain"] == ["198.51.100.200"]
            alone = [has for name, has in seen.items() if name[0] != "k"]
            counts = Counter(itertools.chain(*alone))
            assert max(counts.values()) == 1
            assert not counts.keys() & {address for name in ("k0", "k1", "k2") for address in seen[name]}
            await until(api, partial(says_of, "s0", ("True", "Assigned")))
            await until(api, somebody_was_told)
            await two.aclose()

            # a new controller changes nothing
            await stack.enter_async_context(controller(kubernetes, identity="ctl3"))
            await api.create("Service", service("late"), namespace="default")
            await until(api, everybody_has_one)
            assert {**await shown(api), "late": []} == {**seen, "late": []}

            plain = {"spec": {"type": "ClusterIP", "loadBalancerClass": None}}
            await api.patch("Service", "s0", plain, namespace="default")
            for name in seen.keys() - {"kubernetes", "s0"} | {"late"}:
                await api.delete("Service", name, namespace="default")
            await until(api, nobody_has_one)
            await until(api, partial(says_of, "s0", ("", "")))
            assert await shown(api) == {"kubernetes": [], "s0": []}


async def pool_says(api: KubeApi, name: str) -> dict[str, tuple[str, str, str]]:
    """Status, reason and message of each condition of a pool."""
    conditions = (await api.get("IPPool", name)).get("status", {}).get("conditions", [])
    return {one["type"]: (one["status"], one["reason"], one.get("message", "")) for one in conditions}


async def test_of_pools_that_overlap_one_gives_addresses_and_the_next_one_takes_over() -> None:
    """The younger says so, and gives nothing. When the older goes services keep what they have, of the other pool from then on.

    A pool for pods that takes that one's place cuts no block around them, and says why.
    """
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        async with await connect(kubeconfig=kubernetes.kubeconfig) as api, whole(kubernetes):
            balancing = {"cidr": "198.51.100.0/27", "allowedUses": ["LoadBalancer"]}
            await api.create("IPPool", custom("IPPool", "a-old", {**balancing, "cidr": "198.51.100.0/29"}))
            await api.create("IPPool", custom("IPPool", "b-new", balancing))
            for number in range(9):
                await api.create("Service", service(f"s{number}"), namespace="default")
            await until(api, _one_waits)
            seen = await shown(api)
            assert {pool for pool, _ in (await pools_of_claims(api)).values()} == {"a-old"}

            async def told(api: KubeApi) -> bool:
                old, new = await pool_says(api, "a-old"), await pool_says(api, "b-new")
                return (
                    {old.get(kind, ("",) * 3)[:2] for kind in ("Available", "Ample", "Announced")}
                    == {("False", "PoolExhausted"), ("False", "PoolRunningLow"), ("False", "NotListed")}
                    and new.get("Accepted", ("",) * 3)[:2] == ("False", "OverlappingPool")
                    and "none of its addresses is left" in old["Ample"][2]
                )

            await until(api, told)
            await api.delete("IPPool", "a-old")
            await until(api, everybody_has_one)
            assert {name: has for name, has in (await shown(api)).items() if seen[name]} == {
                name: has for name, has in seen.items() if has
            }

            async def taken_over(api: KubeApi) -> bool:
                pools = {pool for pool, _ in (await pools_of_claims(api)).values()}
                new = await pool_says(api, "b-new")
                goods = {new.get(kind, ("",) * 3)[:2] for kind in ("Available", "Ample", "Accepted")}
                wanted = {("True", "AddressesFree"), ("True", "AddressesLeft"), ("True", "Accepted")}
                return pools == {"b-new"} and goods == wanted

            await until(api, taken_over)
            await api.delete("IPPool", "b-new")
            await api.create("Node", objects.node("n1", (IPv4Address("192.0.2.1"),), rack="a"))
            await api.create("IPPool", custom("IPPool", "c-pods", {"cidr": "198.51.100.0/27", "blockSize": 28}))

            async def apart(api: KubeApi) -> bool:
                disjoint = (await pool_says(api, "c-pods")).get("Disjoint", ("",) * 3)
                blocks = [body["spec"]["cidr"] for body in (await api.list("IPAMBlock")).items]
                assert "198.51.100.0/28" not in blocks, "services have addresses there"
                said = "services have 198.51.100.0, 198.51.100.1, 198.51.100.2 and 6 more of it"
                return disjoint[:2] == ("False", "ServiceRangeConflict") and said in disjoint[2] and len(blocks) == 1

            await until(api, apart)


async def pools_of_claims(api: KubeApi) -> dict[str, tuple[str, int]]:
    """The pool that each claim names, and how many services it has."""
    return {
        body["spec"]["address"]: (body["spec"]["pool"], len(body["spec"]["services"]))
        for body in (await api.list("AddressClaim")).items
    }


async def _one_waits(api: KubeApi) -> bool:
    """Whether all addresses of the smaller pool are given out, and a service is without."""
    return sum(not has for name, has in (await shown(api)).items() if name != "kubernetes") == 1 and all(
        [await says(api, f"s{number}") != ("", "") for number in range(9)]
    )

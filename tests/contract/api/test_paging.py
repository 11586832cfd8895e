"""Thousands of objects are listed in pages, and no more than a page of them is in memory as the API has them."""

import asyncio
import gc
import weakref

import msgspec
import pytest

from tests.effort import examples
from tests.patience import eventually
from towpath.controller.kube.connect import connect
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.kube.watch import PAGE, following
from towpath.controller.ports import Page
from towpath.controller.store import Store
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.storage import Storage
from towpath.lab.fake_api import FakeApi

LARGEST = 2_000
"""Bytes of a Node here, as JSON."""
MANY = 5000


class Body(dict):
    """An object as the API has it, whose end can be seen."""

    __slots__ = ("__weakref__",)


class Counted:
    """A reader that knows how many of the objects that it gave are still held, at most."""

    def __init__(self, api):
        self.api, self.alive, self.most, self.pages, self.largest = api, 0, 0, 0, 0

    async def list(self, kind, **options):
        page = await self.api.list(kind, **options)
        items = tuple(map(self._counted, page.items))
        self.pages += 1
        self.most = max(self.most, self.alive)
        self.largest = max(self.largest, *(len(msgspec.json.encode(item)) for item in items[:1]))
        return Page(items, page.resource_version, page.continue_token)

    def _counted(self, item):
        body = Body(item)
        self.alive += 1
        weakref.finalize(body, self._gone)
        return body

    def _gone(self):
        self.alive -= 1

    def watch(self, *arguments, **options):
        return self.api.watch(*arguments, **options)


def _node(index):
    images = [{"names": [f"registry.example/image-{number}@sha256:{'0' * 64}"], "sizeBytes": 1} for number in range(10)]
    status = {"addresses": [{"type": "InternalIP", "address": f"10.{index >> 8}.{index & 255}.1"}], "images": images}
    return {"metadata": {"name": f"node-{index}", "uid": f"u{index}"}, "status": status}


def _routing_node(index):
    bgp = {"ipv4Address": f"10.{index >> 8}.{index & 255}.1/24"}
    return {"metadata": {"name": f"node-{index}"}, "spec": {"nodeUID": f"u{index}", "bgp": bgp}}


async def _followed(api, count):
    """Follow so many objects of both kinds; returns the readers, one a kind."""
    readers = []
    for kind, field in (("Node", "nodes"), ("RoutingNode", "routing_nodes")):
        reader, store = Counted(api), Store((kind,))
        async with following(reader, store):
            await eventually(lambda store=store: store.complete, deadline=120)
        assert len(getattr(store.cluster(), field)) == count
        readers.append(reader)
    gc.collect()
    return readers


@pytest.fixture(scope="module")
def many():
    storage = Storage(":memory:")
    for index in range(MANY):
        for kind, body in (("Node", _node(index)), ("RoutingNode", _routing_node(index))):
            body["metadata"]["resourceVersion"] = str(storage.latest + 1)
            storage.write((RESOURCES[kind].qualified, "", body["metadata"]["name"]), msgspec.json.encode(body))
    return FakeApi(Objects(storage, checked=False))


async def test_five_thousand_nodes(many):
    """Twenty pages a kind; at most two pages are held at any moment, and nothing of them afterwards."""
    for reader in await _followed(many, MANY):
        assert reader.pages == MANY / PAGE
        assert reader.most <= 2 * PAGE
        assert reader.alive == 0
        assert reader.largest * reader.most < 2 * PAGE * LARGEST


async def test_pages_of_the_real_server(real_kubernetes):
    """The same there; 5,000 of each in a soak, else as many as take two pages."""
    count = examples(PAGE + 20, soak=MANY)
    async with await connect(kubeconfig=real_kubernetes.kubeconfig) as api:
        gate = asyncio.Semaphore(32)

        async def do(call):
            async with gate:
                await call

        try:
            await asyncio.gather(*(do(api.create("Node", _bare(_node(index)))) for index in range(count)))
            await asyncio.gather(*(do(api.create("RoutingNode", _routing_node(index))) for index in range(count)))
            for reader in await _followed(api, count):
                assert reader.pages == -(-count // PAGE)
                assert reader.most <= 2 * PAGE
                assert reader.alive == 0
        finally:
            for kind in ("Node", "RoutingNode"):
                items = (await api.list(kind)).items
                await asyncio.gather(*(do(api.delete(kind, item["metadata"]["name"])) for item in items))


def _bare(node):
    """As it is created: the server gives uids."""
    return {**node, "metadata": {"name": node["metadata"]["name"]}}

"""The servers that the contract holds for: the fake in memory, the embedded one over HTTP, and the real one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import eventually
from towpath.controller.kube.client import KubeApi
from towpath.controller.kube.connect import connect
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.server import ApiServer
from towpath.lab.fake_api import FakeApi
from towpath.lab.kubernetes import RealKubernetes
from towpath.model.kinds.registry import KINDS


@pytest.fixture(scope="session")
def real_kubernetes() -> Iterator[RealKubernetes]:
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        yield kubernetes


async def _empty(api: KubeApi) -> None:
    for kind in (*KINDS, "Node"):
        await asyncio.gather(*(_delete(api, kind, item["metadata"]) for item in (await api.list(kind)).items))


async def _delete(api: KubeApi, kind: str, metadata: dict[str, Any]) -> None:
    if metadata.get("finalizers"):
        await api.patch(kind, metadata["name"], {"metadata": {"finalizers": None}})
    await api.delete(kind, metadata["name"])


Forget = Callable[[], Awaitable[None]]
_FORGET = pytest.StashKey[Forget]()


@pytest.fixture(params=["fake", "embedded", "real"])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """An ``Api`` and ``Reader`` on an empty server."""
    if request.param == "fake":
        fake = FakeApi()
        request.node.stash[_FORGET] = _compacting(fake.objects)
        yield fake
        return
    if request.param == "embedded":
        async with ApiServer() as server, await connect(server=server.url) as client:
            request.node.stash[_FORGET] = _compacting(server.objects)
            yield client
        return
    kubernetes: RealKubernetes = request.getfixturevalue("real_kubernetes")
    request.node.stash[_FORGET] = lambda: asyncio.to_thread(kubernetes.forget)
    async with await connect(kubeconfig=kubernetes.kubeconfig) as client:
        await _empty(client)
        yield client


@pytest.fixture
def forget(request: pytest.FixtureRequest, api: Any) -> Forget:
    """Makes the server of ``api`` forget all states but the present one: older versions are answered 410 from then on."""
    del api
    return request.node.stash[_FORGET]


def _compacting(objects: Objects) -> Forget:
    async def forget() -> None:
        objects.storage.compact(objects.storage.latest)

    return forget


@pytest.fixture
def block() -> Callable[..., dict[str, Any]]:
    """A body of an IPAMBlock."""

    def make(cidr: str = "10.0.0.0/26", **spec: Any) -> dict[str, Any]:
        name = cidr.replace(".", "-").replace(":", "-").replace("/", "-")
        return {"metadata": {"name": name}, "spec": {"cidr": cidr, "node": "a", **spec}}

    return make


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[tuple[ApiServer, KubeApi]]:
    """The embedded server on a file, with many bookmarks, and a client."""
    async with ApiServer(tmp_path / "data", bookmarks=0.2) as server, await connect(server=server.url) as client:
        yield server, client


@pytest.fixture
def settled() -> Callable[..., Awaitable[None]]:
    """Wait in the event loop until a probe is true."""
    return eventually

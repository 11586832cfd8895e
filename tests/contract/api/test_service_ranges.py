"""Where addresses of services come from, as each API server says it."""

import asyncio
from pathlib import Path
from typing import Any

import structlog

from tests.patience import within
from towpath.bgp.origins import settings
from towpath.controller.kube.connect import connect
from towpath.controller.ports import ForbiddenError, NotFoundError, Page
from towpath.controller.service_ranges import ServiceRanges, service_ranges
from towpath.controller.snapshot import SnapshotFile
from towpath.controller.store import Store
from towpath.lab.api import custom
from towpath.lab.kubernetes import SERVICES, RealKubernetes
from towpath.model.net import parse_prefix


def cidr(name: str, *ranges: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": list(ranges)},
    }


async def test_the_ranges_of_all_objects_are_known(api: Any) -> None:
    """Those of both families, once each; on a real cluster the first is there from the beginning. One that goes is gone."""
    told: list[tuple[Any, ...]] = []
    ranges = ServiceRanges(api, known=told.append)
    more = {parse_prefix(text) for text in ("10.112.0.0/16", "fd00:112::/112")}
    assert await ranges.refresh()
    assert not more & set(told.pop())
    await api.create("ServiceCIDR", cidr("more", "10.112.0.0/16", "fd00:112::/112"))
    try:
        assert await ranges.refresh()
        assert set(told.pop()) >= more
    finally:
        await remove(api, "more")
    assert await ranges.refresh()
    assert not more & set(told.pop())


async def test_a_real_cluster_says_its_first_range(real_kubernetes: RealKubernetes) -> None:
    """The one that its API server was started with: a few seconds after that, it makes the object itself."""
    told: list[tuple[Any, ...]] = [()]
    async with await connect(kubeconfig=real_kubernetes.kubeconfig) as client, within(60):
        ranges = ServiceRanges(client, known=told.append)
        while parse_prefix(SERVICES) not in told[-1]:
            await ranges.refresh()
            await asyncio.sleep(0.2)


class Refusing:
    """A server of which the kind is not known, or that does not say."""

    def __init__(self) -> None:
        self.answer: Page | Exception = NotFoundError("no such kind", status=404, reason="NotFound")

    async def list(self, kind: str, **_options: Any) -> Page:
        assert kind == "ServiceCIDR"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_without_the_kind_the_configuration_says_it_and_without_an_answer_nothing_changes() -> None:
    """Before Kubernetes 1.33, as long as a role is missing, and while the server does not answer."""
    announced = config(serviceClusterIPs=[{"cidr": "10.96.0.0/16"}, {}], serviceExternalIPs=[{"cidr": "192.0.2.0/24"}])
    store = Store(("BGPConfiguration",))
    store.listed("BGPConfiguration", [announced])
    changes: list[None] = []
    store.subscribe(lambda: changes.append(None))
    server = Refusing()
    ranges = ServiceRanges(server, known=store.service_ranges)  # type: ignore[arg-type]  # lists, and no more
    assert await ranges.refresh()
    assert service_ranges(store.cluster()) == (parse_prefix("10.96.0.0/16"),)
    assert changes == []
    server.answer = Page(items=(cidr("kubernetes", "10.32.0.0/16", "fd00:32::/112", "nonsense"),), resource_version="1")
    with structlog.testing.capture_logs() as logs:
        assert await ranges.refresh()
    assert [one["event"] for one in logs] == ["services.unreadable"]
    known = tuple(parse_prefix(text) for text in ("10.32.0.0/16", "fd00:32::/112"))
    assert service_ranges(store.cluster()) == known
    assert changes == [None]
    server.answer = ForbiddenError("cannot list servicecidrs", status=403, reason="Forbidden")
    with structlog.testing.capture_logs() as logs:
        assert not await ranges.refresh()
        assert not await ranges.refresh()
    assert [one["event"] for one in logs] == ["services.unknown"]
    store.upserted("BGPConfiguration", config(serviceClusterIPs=[]))
    assert service_ranges(store.cluster()) == known


async def test_what_an_agent_knows_of_ranges_it_knows_after_a_restart_without_the_server(tmp_path: Path) -> None:
    """They are in its picture on disk; nothing in them is accepted from a peer, whatever the configuration announces."""
    store = Store(("BGPConfiguration",))
    store.listed("BGPConfiguration", [config()])
    store.service_ranges((parse_prefix("10.96.0.0/16"),))
    SnapshotFile(tmp_path / "snapshot", node="n1").save(store.cluster())
    saved = SnapshotFile(tmp_path / "snapshot", node="n1").load()
    assert saved is not None
    after = Store(("BGPConfiguration",))
    after.seed(saved, node="n1")
    for cluster in (saved, after.cluster()):
        assert settings(cluster, "n1").services == (parse_prefix("10.96.0.0/16"),)


def config(**spec: Any) -> dict[str, Any]:
    body = custom("BGPConfiguration", "default", spec)
    return {**body, "metadata": {**body["metadata"], "uid": "u"}}


async def remove(api: Any, name: str) -> None:
    """Delete it, also where a server holds it with a finalizer until its own controllers have looked."""
    await api.patch("ServiceCIDR", name, {"metadata": {"finalizers": None}})
    await api.delete("ServiceCIDR", name)

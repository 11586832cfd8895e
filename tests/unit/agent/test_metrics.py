"""Metrics: what Prometheus is told of a node and of a controller, and what a port that is taken costs."""

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from tests.patience import within
from tests.unit.ipam.world import block, cluster, node, report, status
from tests.unit.ipam.world import pool as pool_of
from towpath.controller import cluster_metrics, metrics
from towpath.controller.kindstore import Problem
from towpath.controller.loadbalancer import balancers
from towpath.controller.loop import LevelLoop, Pace
from towpath.controller.metrics import Measure, exposition, of_loops, single
from towpath.controller.node.metrics import measures
from towpath.controller.unenforced import Unenforced
from towpath.ipam.loadbalancer.book import World
from towpath.ipam.loadbalancer.plan import plan
from towpath.lab.fake_api import FakeApi
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.decode import decode
from towpath.model.kinds.node import BlockReport, NodeStatusStatus, RefusedReport, RouteReport, SessionReport
from towpath.model.reason import Reason
from towpath.model.resource import Condition

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
STATUS = NodeStatusStatus(
    in_sync=True,
    sessions=(
        SessionReport(
            name="tor",
            peer="192.0.2.1",
            remote_as=65000,
            state="Established",
            received=7,
            accepted=4,
            announced=1,
            refused=(RefusedReport("OriginInvalid", 2), RefusedReport("MartianPrefix", 1)),
        ),
        SessionReport(name="b", peer="2001:db8::2", remote_as=64512, state="Active"),
        SessionReport(name="c", peer="192.0.2.3", remote_as=64512, state="Withheld", reason="SecretMissing"),
    ),
    blocks=(BlockReport(cidr=ip_network("10.244.0.0/26"), in_use=3, capacity=62),),
    routes=RouteReport(desired=5, installed=4, conflicts=1),
    wanted_addresses=3,
    conditions=(Condition(type="Ready", status="True", reason="Ready"),),
)


def pool(name: str, cidr: str) -> dict[str, object]:
    return {"metadata": {"name": name, "uid": name}, "spec": {"cidr": cidr}}


CLUSTER = Cluster(
    pools={"a": decode("IPPool", pool("a", "10.244.0.0/24")), "b": decode("IPPool", pool("b", "fd00::/64"))}
)
PROBLEM = Problem("BGPPeer", "x", Reason.INVALID_SPEC, "spec.asNumber must not be 0")


BALANCED = plan(
    World({"lb": pool_of("lb", "198.51.100.0/30", allowedUses=["LoadBalancer"])}, claims={}, services={}, namespaces={})
)


def everything() -> list[Measure]:
    """All that either process has."""
    loop = LevelLoop(lambda: asyncio.sleep(0, result=True))
    return [
        *measures(STATUS, events={"MaxPrefix": 2}),
        *cluster_metrics.measures(CLUSTER, leading=True, problems=[PROBLEM]),
        *cluster_metrics.PoolMetrics(clock=lambda: 0.0).measures(CLUSTER),
        *balancers.measures(BALANCED, days={"lb": 3.0}),
        *Unenforced(FakeApi(), changed=list).measures(),
        *of_loops({"node": loop}),
    ]


def values(found: Iterable[Measure]) -> dict[tuple[str, ...], float]:
    """Samples by name and label values, read back by Prometheus' own parser."""
    families = text_string_to_metric_families(exposition(found).decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_a_nodes_status_is_in_its_metrics() -> None:
    """Sessions, refused prefixes by reason, routes, blocks and conditions; what is withheld is neither up nor down."""
    found = values(measures(STATUS, events={"MaxPrefix": 2}))
    assert found["towpath_session_established", "192.0.2.1", "65000", "tor"] == 1
    assert found["towpath_session_established", "2001:db8::2", "64512", "b"] == 0
    assert ("towpath_session_established", "192.0.2.3", "64512", "c") not in found
    assert found["towpath_session_prefixes_accepted", "192.0.2.1", "65000", "tor"] == 4
    assert found["towpath_session_prefixes_refused", "192.0.2.1", "OriginInvalid", "65000", "tor"] == 2
    assert found["towpath_routes_desired",] - found["towpath_routes_installed",] == 1
    assert found["towpath_block_addresses", "10.244.0.0/26"] == 62
    assert found["towpath_condition", "Ready", "True", "Ready"] == 1
    assert found["towpath_events_total", "MaxPrefix"] == 2


def test_a_node_without_a_picture_has_its_process_at_least() -> None:
    """Before the first picture there is nothing to say of the node, and the page is there all the same."""
    found = values(measures(None, events={}))
    assert not any(name.startswith("towpath_") for name, *_ in found)
    assert found["process_resident_memory_bytes",] > 0


def test_a_controller_tells_what_its_pools_have() -> None:
    """Room of each pool in blocks, IPv6 too, and objects with problems."""
    pools = cluster_metrics.PoolMetrics(clock=lambda: 0.0)
    found = values([*cluster_metrics.measures(CLUSTER, leading=False, problems=[PROBLEM]), *pools.measures(CLUSTER)])
    assert found["towpath_pool_blocks", "a"] == 4
    assert found["towpath_pool_blocks", "b"] == 2.0**58
    assert found["towpath_leading",] == 0
    assert found["towpath_object_problems", "BGPPeer", "InvalidSpec"] == 1


def test_a_controller_tells_what_is_left_for_services() -> None:
    """Addresses that are free and given, of each pool for them, and how many wait."""
    found = values(balancers.measures(BALANCED, days={"lb": 3.0}))
    assert found["towpath_load_balancer_days_left", "lb"] == 3
    assert found["towpath_load_balancer_addresses", "lb", "free"] == 4
    assert found["towpath_load_balancer_addresses", "lb", "given"] == 0
    assert found["towpath_load_balancer_waiting",] == 0


def test_every_metric_is_in_the_docs_and_has_one_place() -> None:
    """No name twice, each in the table of the page, and none there that does not exist."""
    names = [one.name for one in everything()]
    assert len(names) == len(set(names))
    written = {line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `towpath_")}
    assert written == {*names, "towpath_build_info"}


def test_how_long_a_pool_lasts_is_told_once_it_is_known() -> None:
    """Blocks and addresses that are left, what nodes report as free included; days at the rate of what was seen."""
    now = [0.0]
    pools = cluster_metrics.PoolMetrics(clock=lambda: now[0])
    first = cluster(
        pool_of("a", "10.0.0.0/24", blockSize=29),
        node("n"),
        *blocks(1),
        status("n", report("10.0.0.8/29", in_use=3, capacity=8)),
    )
    found = values(pools.measures(first))
    assert (found["towpath_pool_blocks", "a"], found["towpath_pool_blocks_left", "a"]) == (32, 31)
    assert found["towpath_pool_addresses_left", "a"] == 31 * 8 + 5
    assert ("towpath_pool_days_left", "a") not in found
    now[0] = 12 * 3600.0
    found = values(pools.measures(replace(first, blocks={**first.blocks, **cluster(*blocks(3)).blocks})))
    assert found["towpath_pool_blocks_left", "a"] == 29
    assert found["towpath_pool_days_left", "a"] == pytest.approx(29 / 4)


def blocks(count: int) -> list[IPAMBlock]:
    return [block(f"10.0.0.{8 * place}/29", "n") for place in range(1, count + 1)]


async def test_a_loop_counts_its_runs() -> None:
    """Each run and each one in vain."""
    ends = iter((False, True, True))
    done = asyncio.Event()

    async def step() -> bool:
        fine = next(ends, None)
        if fine is None:
            done.set()
            await asyncio.Event().wait()
        return bool(fine)

    loop = LevelLoop(step, pace=Pace(debounce=0, period=0.001, backoff=0.001))
    running = asyncio.create_task(loop.run())
    await done.wait()
    running.cancel()
    assert (loop.runs, loop.failures) == (3, 1)


async def test_a_port_that_is_taken_costs_the_metrics_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, and served once the port is free."""
    monkeypatch.setattr(metrics, "AGAIN_AFTER", 0.01)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        serving = asyncio.create_task(metrics.serve(port, lambda: [single("towpath_leading", "Whether.", True)]))
        await asyncio.sleep(0.05)
        assert not serving.done()

    async def asked() -> bytes:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            return b""
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    async with within(10):
        while b"towpath_leading 1.0" not in (found := await asked()):
            pass
    assert b"text/plain; version=0.0.4" in found
    serving.cancel()

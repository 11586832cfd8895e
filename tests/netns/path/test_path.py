"""The main job: a node joins, gets a block, announces it, peers learn it, kernels route it, packets flow."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.netns.path.cluster import cluster
from tests.unit.planning.schema import faults, schema
from towpath.lab import facts
from towpath.lab.process import wait_for
from towpath.lab.programs import METRICS_PORT
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family, family_of


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes, two pods each, the router and the client."""
    with cluster(Shape(nodes=3), pods=2) as made:
        yield made


def test_every_node_owns_a_block_of_each_family_and_blackholes_it(lab: Lab) -> None:
    """One block a family; the node itself has it as a blackhole, marked with our protocol."""
    for node in lab.nodes:
        own = [prefix for prefix, owner in facts.blocks(lab).items() if owner == node]
        assert sorted(family_of(prefix) for prefix in own) == [Family.IPV4, Family.IPV6]
        routes = facts.kernel_routes(lab, node)
        assert {routes[prefix]["type"] for prefix in own} == {"blackhole"}


def test_routes_lead_to_the_owner_of_the_block(lab: Lab) -> None:
    """On the link the gateway is the owner's own address; the router has it from the owner too."""
    for prefix, owner in facts.blocks(lab).items():
        gateway = str(lab.node_addresses(owner)[lab.families.index(family_of(prefix))])
        for node in lab.nodes:
            if node != owner:
                assert facts.kernel_routes(lab, node)[prefix]["gateway"] == gateway
        assert set(lab.tor.routes()[prefix].gateways) == {gateway}


def test_pods_have_addresses_of_their_nodes_blocks(lab: Lab) -> None:
    """An address that the CNI plugins gave lies in a block that the API says is this node's."""
    blocks = facts.blocks(lab)
    for pod in lab.pods.values():
        for family in lab.families:
            address = pod.address(family)
            assert [owner for prefix, owner in blocks.items() if address in prefix] == [pod.node]


def test_everyone_reaches_everyone(lab: Lab) -> None:
    """Pods on the same node, on other nodes, and the client behind the router, each way, in both families."""
    assert len(facts.flows(lab)) == 7 * 6 * 2
    facts.wait_reachable(lab)


def test_a_node_shows_why_a_route_is_there(lab: Lab) -> None:
    """On node1 a pod of node2 leads from its block and the verdict on the path to the route that the kernel holds."""

    def asked(*arguments: str) -> dict[str, Any]:
        here = ("--here", "--socket", str(lab.node_directory("node1", "run") / "speaker.sock"))
        command = (sys.executable, "-m", "towpath.controller.cli", *arguments, *here, *lab.programs.source)
        found: dict[str, Any] = json.loads(lab.host("node1").run(*command, "-o", "json"))
        return found

    pod = next(one for one in lab.pods.values() if one.node == "node2")
    for family in lab.families:
        found = asked("explain", str(pod.address(family)))
        assert list(faults(found, schema("explain"))) == []
        assert found["block"]["node"] == "node2"
        now, gateway = found["here"], str(lab.node_addresses("node2")[lab.families.index(family)])
        assert (now["prefix"], now["used"]["nextHops"]) == (found["prefix"], [gateway])
        assert {(one["action"], one["reason"]) for one in now["heard"]} >= {("Accept", "OriginValid")}
        (route,) = now["kernel"]
        assert (route["ours"], [hop["gateway"] for hop in route["nextHops"]]) == (True, [gateway])
    held = {one["prefix"]: one for one in asked("get", "routes")["items"]}
    assert held.keys() == {str(prefix) for prefix in facts.kernel_routes(lab, "node1")}
    assert all(one["kernel"] for one in held.values())
    told = {(one["session"], one["prefix"]) for one in asked("get", "announcements")["items"]}
    mine = {str(prefix) for prefix, owner in facts.blocks(lab).items() if owner == "node1"}
    assert {prefix for _, prefix in told} == mine
    assert len(told) == 6  # two families with two nodes and the router each
    assert {one["state"] for one in asked("get", "sessions")["items"]} == {"Established"}


def test_metrics_say_what_the_status_says(lab: Lab) -> None:
    """Asked over the network: both replicas of the controller, of which one leads, and a node with its sessions and routes."""
    script = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=30).read().decode())"

    def asked(host: str, address: str) -> dict[str, list[float]]:
        text = lab.host(host).run(sys.executable, "-c", script, f"http://{address}:{METRICS_PORT}/metrics")
        found: dict[str, list[float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.value)
        return found

    def of_a_node() -> tuple[object, ...]:
        found = asked("tor", str(lab.node_addresses("node1")[0]))
        routes = (found["towpath_routes_installed"], found["towpath_routes_desired"])
        return found["towpath_session_established"], routes, sum(found["towpath_block_addresses_in_use"]) >= 4

    def of_replicas() -> tuple[object, ...]:
        replicas = [asked(name, "127.0.0.1") for name in ("ctl1", "ctl2")]
        return sorted(one["towpath_leading"] for one in replicas), [sum(one["towpath_blocks"]) for one in replicas]

    wanted = ([1.0] * 6, ([6.0], [6.0]), True)
    wait_for(lambda: of_a_node() == wanted, deadline=40, what="the node's", interval=0.5)
    wait_for(lambda: of_replicas() == ([[0.0], [1.0]], [6.0, 6.0]), deadline=40, what="the controllers'", interval=0.5)


def test_every_agent_reports_its_sessions_and_that_it_is_in_sync(lab: Lab) -> None:
    """Two mesh sessions and the router, per family, all Established; desired and installed routes agree."""

    def settled() -> bool:
        reports = facts.reports(lab)
        return reports.keys() == set(lab.nodes) and all(
            report.get("inSync")
            and [s["state"] for s in report["sessions"]] == ["Established"] * 6
            and report["routes"]["desired"] == report["routes"]["installed"] == 6
            and {block["cidr"] for block in report["blocks"]} == mine[node]
            for node, report in reports.items()
        )

    mine = {node: {str(prefix) for prefix, owner in facts.blocks(lab).items() if owner == node} for node in lab.nodes}
    wait_for(settled, deadline=40, what="all that each node has is reported")


def test_a_node_that_joins_is_reached_by_all(lab: Lab) -> None:
    """From the Node object to packets both ways, without a restart of anything; nobody else's route moves."""
    before = {node: facts.kernel_routes(lab, node) for node in lab.nodes}
    lab.add_node("node4")
    facts.wait_ready(lab, "node4", deadline=20)
    lab.add_pod("node4")
    facts.wait_converged(lab, deadline=20)
    facts.wait_reachable(lab)
    for node, routes in before.items():
        now = facts.kernel_routes(lab, node)
        assert {prefix: now[prefix] for prefix in routes} == routes
        assert len(now) == len(routes) + 2


def test_a_node_that_is_deleted_is_withdrawn_and_its_blocks_are_quarantined(lab: Lab) -> None:
    """Its routes go everywhere, its blocks are kept from everybody; the others' routes stay."""
    mine = {prefix for prefix, owner in facts.blocks(lab).items() if owner == "node4"}
    assert len(mine) == 2
    lab.delete_pod("node4-p1")
    lab.delete_node_object("node4")
    others = ("node1", "node2", "node3")
    wait_for(
        lambda: not any(mine & facts.kernel_routes(lab, node).keys() for node in others),
        deadline=20,
        what="no other node has a route to its blocks",
    )
    wait_for(lambda: not mine & lab.tor.routes().keys(), deadline=20, what="the router has none either")
    wait_for(
        lambda: mine <= facts.blocks(lab, state="Quarantined").keys(), deadline=20, what="its blocks are quarantined"
    )
    lab.remove_node("node4")
    facts.wait_converged(lab)
    facts.wait_reachable(lab)


def test_a_link_that_was_down_has_its_routes_again_when_it_is_back(lab: Lab) -> None:
    """The kernel drops routes with a link and does not bring them back; we do."""
    before = facts.kernel_routes(lab, "node2")
    host = lab.host("node2")
    host.ip("link", "set", "dev", "eth0", "down")
    assert not any("gateway" in route for route in facts.kernel_routes(lab, "node2").values())
    host.ip("link", "set", "dev", "eth0", "up")
    # what else the kernel dropped with the link is the machine's own configuration, not ours
    lab.configure_underlay("node2")
    wait_for(lambda: facts.kernel_routes(lab, "node2").keys() == before.keys(), deadline=30, what="routes are back")
    facts.wait_reachable(lab, deadline=30)
    facts.wait_sessions(lab)

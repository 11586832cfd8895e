"""``helm install`` on a real cluster: what an operator has afterwards."""

from typing import Any

import pytest

from tests.cluster import web
from tests.cluster.capabilities import of_processes
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.process import wait_for
from towpath.model.net import Family


@pytest.fixture(scope="module")
def pods(installed: Release) -> list[dict[str, Any]]:
    """A web server on every node."""
    installed.cluster.apply(web.daemonset("web"))
    return installed.cluster.wait_pods("app=web", count=len(installed.cluster.nodes))


def addresses(pods: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(str(address), web.PORT) for pod in pods for address in Cluster.addresses(pod).values()]


def names(pods: list[dict[str, Any]]) -> list[str]:
    """The server's name, once for each of its addresses."""
    return [pod["metadata"]["name"] for pod in pods for _ in Cluster.addresses(pod)]


def test_every_node_is_ready_and_in_session_with_the_router(installed: Release) -> None:
    """Nodes are Ready, each has a block of each family, and the router has learned every block from its node."""
    cluster = installed.cluster
    assert set(cluster.nodes_ready().values()) == {True}
    blocks = {body["spec"]["cidr"]: body["spec"]["node"] for body in cluster.get("ipamblocks")}
    assert sorted(blocks.values()) == sorted([*cluster.nodes, *cluster.nodes])
    wait_for(
        lambda: {str(prefix) for prefix in cluster.tor.routes()} == set(blocks),
        deadline=60,
        what="the router has every block",
    )
    for prefix, route in cluster.tor.routes().items():
        place = cluster.state.nodes[blocks[str(prefix)]]
        assert route.gateways == (str(place.address(Family(prefix.version))),)


def test_agent_and_speaker_may_do_one_thing_each(installed: Release) -> None:
    """Of all capabilities the kernel shows one in each process, and none that it could gain."""
    for name in installed.cluster.nodes:
        found = of_processes(installed.cluster.machine(name))
        assert found == {"agent": {"NET_ADMIN"}, "speaker": {"NET_BIND_SERVICE"}}


def test_pods_on_all_nodes_reach_each_other(installed: Release, pods: list[dict[str, Any]]) -> None:
    """Every pod has an address of each family out of a block of its node, and every pair talks in both."""
    assert len(addresses(pods)) == len(pods) * len(Family)
    web.everybody(installed.cluster, installed.cluster.nodes)


def test_the_client_behind_the_router_reaches_pods_and_back(installed: Release, pods: list[dict[str, Any]]) -> None:
    """Packets from outside find pods by what the router learned; pods reach the client by their node's default route."""
    client = installed.cluster.host("client")
    wait_for(
        lambda: web.ask_from_host(client, addresses(pods)) == names(pods),
        deadline=60,
        what="the client reaches all pods",
        interval=0.5,
    )
    own = [one["local"] for link in client.ip_json("addr", "show", "dev", "eth0") for one in link["addr_info"]]
    outside = [address for address in own if not address.startswith("fe80")]
    assert len(outside) == len(Family)
    for pod in pods:
        for address in outside:
            installed.cluster.exec(pod["metadata"]["name"], "ping", "-c", "1", "-W", "5", address)


def test_services_lead_to_pods(installed: Release, pods: list[dict[str, Any]]) -> None:
    """kube-proxy leads a cluster address, from pods, and a port of every node, from outside, to the pods, in both families."""
    cluster = installed.cluster
    cluster.apply(web.service("web", families=len(Family)))
    inside = [(address, web.PORT) for address in cluster.get("service", "web")["spec"]["clusterIPs"]]
    places = cluster.state.nodes.values()
    outside = [(str(place.address(family)), web.NODE_PORT) for place in places for family in Family]
    known = set(names(pods))
    assert len(inside) == len(Family)
    for pod in pods:
        name = pod["metadata"]["name"]
        wait_for(
            lambda name=name: set(web.ask_from_pod(cluster, name, inside)) <= known,  # type: ignore[misc]  # bound now
            deadline=60,
            what=f"pod {name} reaches the service",
            interval=0.5,
        )
    client = cluster.host("client")
    wait_for(
        lambda: set(web.ask_from_host(client, outside)) <= known,
        deadline=60,
        what="the client reaches the port of every node",
        interval=0.5,
    )


def test_a_node_joins(installed: Release, pods: list[dict[str, Any]]) -> None:
    """A fourth node is Ready with blocks and sessions, and its pod and the others' reach each other; then it leaves."""
    cluster = installed.cluster
    cluster.add_node("node4", rack="b")
    try:
        installed.wait()
        web.everybody(cluster, cluster.nodes)
        assert len(cluster.pods("app=web")) == len(pods) + 1
    finally:
        cluster.delete_node("node4")


def test_helm_test_is_well(installed: Release) -> None:
    """The chart's own test passes on a healthy cluster."""
    assert "Succeeded" in installed.cluster.helm("test", "towpath", "-n", "towpath-system")

"""Sessions between nodes that share no link: what the plan makes of two nodes comes up over the router between them."""

from ipaddress import IPv4Address

import pytest

from tests.netns.engine.rig import AS_OURS, Bird, RecordingTable, bird_neighbour, engine_in, make_session, make_settings
from tests.unit.plan.worlds import by_name, cluster, config, node
from towpath.lab.process import wait_for


@pytest.fixture
def routed(network):
    """Two nodes, 10.9.1.1 and 10.9.2.1 (fd09:1::1, fd09:2::1), with a router between them."""
    router = network.host("router")
    nodes = []
    for number, name in enumerate(("a", "b"), start=1):
        host = network.host(name)
        network.link(host, "eth0", router, f"eth{number}")
        host.address(f"10.9.{number}.1/24", f"fd09:{number}::1/64", dev="eth0")
        router.address(f"10.9.{number}.254/24", f"fd09:{number}::fe/64", dev=f"eth{number}")
        host.ip("route", "add", "default", "via", f"10.9.{number}.254")
        host.ip("-6", "route", "add", "default", "via", f"fd09:{number}::fe")
        nodes.append(host)
    return nodes


@pytest.mark.parametrize("as_of_b", [AS_OURS, 65001], ids=["iBGP", "eBGP"])
def test_two_nodes_behind_a_router(routed, as_of_b):
    """Of one AS or of two, in both families: all sessions that the plan has for the two nodes are established."""
    world = cluster(
        node("a", "10.9.1.1/24", "fd09:1::1/64"),
        node("b", "10.9.2.1/24", "fd09:2::1/64"),
        config("node.b", asNumber=as_of_b),
    )
    a, b = routed
    with engine_in(a, RecordingTable()) as one, engine_in(b, RecordingTable()) as two:
        for number, (engine, name) in enumerate(((one, "a"), (two, "b")), start=1):
            settings = make_settings(router_id=IPv4Address(f"10.9.{number}.1"))
            engine.apply(*by_name(world, name).values(), settings=settings)
        one.up("Mesh-10-9-2-1", "Mesh-fd09-2--1")
        two.up("Mesh-10-9-1-1", "Mesh-fd09-1--1")
        assert {negotiated.peer_as for negotiated in one.table.negotiated.values()} == {as_of_b}


def test_a_router_that_is_no_neighbour(routed, tmp_path):
    """eBGP with a peer outside goes one hop far: off the link it stays down, with iBGP it comes up."""
    node_host, other = routed
    neighbours = {
        "out4": bird_neighbour("10.9.1.1", local="10.9.2.1", more="multihop; passive on;"),
        "in6": bird_neighbour("fd09:1::1", local="fd09:2::1", local_as=AS_OURS, more="multihop; passive on;"),
    }
    bird = Bird(other, tmp_path, router_id="10.9.2.1", neighbours=neighbours)
    with engine_in(node_host) as engine:
        engine.apply(make_session("external", "10.9.2.1"), make_session("internal", "fd09:2::1", remote_as=AS_OURS))
        engine.up("internal")
        wait_for(lambda: engine.reason("external") != "", deadline=10, what="a reason")
        assert engine.state("external") != "Established"
        assert "Established" not in bird.ask("show protocols out4")
        engine.apply(make_session("external", "10.9.2.1", multihop=64))
        engine.up("external")

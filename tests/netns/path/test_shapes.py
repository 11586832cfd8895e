"""The same path on other networks: next hops off the link, one family, routes from the API alone."""

import pytest

from tests.netns.path.cluster import cluster, saved, under_probe, wait_large
from tests.netns.path.mtu import WHOLE, between, forgetful, wait_learned_and_forgotten
from towpath.lab import facts
from towpath.lab.api import collection
from towpath.lab.process import wait_for
from towpath.lab.shape import NO_MESH, Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family, family_of


def test_nodes_behind_a_router_are_reached_through_it() -> None:
    """Next hops off the link are resolved through the kernel's table: the gateway is the router, and packets pass."""
    with cluster(Shape(nodes=4, rack_b=2)) as lab:
        for prefix, owner in facts.blocks(lab).items():
            if owner in {"node3", "node4"}:
                router = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8:a::1"}[family_of(prefix)]
                assert facts.kernel_routes(lab, "node1")[prefix]["gateway"] == router


@pytest.mark.parametrize("family", list(Family))
def test_one_family_is_enough(family: Family) -> None:
    """A cluster of one family works, and has nothing of the other."""
    with cluster(Shape(nodes=2, families=(family,))) as lab:
        assert {family_of(prefix) for prefix in facts.blocks(lab)} == {family}


def test_routes_come_from_the_api_alone_without_a_mesh() -> None:
    """``clusterRoutes: Kubernetes``: no iBGP session, the same routes, on the link and through a router; the router still learns by eBGP.

    Whole packets pass, pods learn it where the router takes less, and a node that joins needs no speaker.
    """
    shape = Shape(nodes=3, rack_b=1, configuration=NO_MESH)
    with cluster(shape) as lab:
        facts.wait_sessions(lab, reported=True)
        reports = facts.reports(lab)
        assert {session["remoteAS"] for report in reports.values() for session in report["sessions"]} == {65000}
        wait_large(lab, size=WHOLE)
        one, _, other = lab.pods.values()
        forgetful(lab.host(one.name), lab.host(other.name))
        wait_learned_and_forgotten(lab.host("tor"), between(lab, one, other))
        lab.kill("node1/speaker", "node2/speaker", "node3/speaker")
        lab.add_node("node4")
        facts.wait_ready(lab, "node4")
        lab.add_pod("node4")
        facts.wait_reachable(lab, facts.flows(lab, client=False))


def test_routes_change_hands_unseen() -> None:
    """From BGP to what the objects say, and back: no packet is lost and no route moves."""
    with cluster(Shape(nodes=3, rack_b=1, controllers=1)) as lab:
        for routes in ("Kubernetes", "BGP"):
            result, moved = under_probe(lab, lambda routes=routes: told(lab, routes), watch=lab.nodes)  # type: ignore[misc]  # bound now
            assert (result.lost, moved) == (0, {}), f"{routes}: {result}"


def told(lab: Lab, routes: str) -> None:
    """From where routes are to come; every node has acted on it."""
    lab.api.patch(f"{collection('BGPConfiguration')}/default", {"spec": {"clusterRoutes": routes}})
    for node in lab.nodes:
        wait_for(
            lambda node=node: (found := saved(lab, node)) is not None and found.bgp.cluster_routes == routes,  # type: ignore[misc]  # bound now
            deadline=30,
            what=f"{node} goes by {routes}",
        )

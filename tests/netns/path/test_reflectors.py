"""Route reflectors among the nodes, and BIRD in their place or as their client: no mesh, and nobody misses a route."""

import re
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.names import own
from tests.netns.engine.rig import Bird
from tests.netns.path.cluster import cluster, connections, under_probe
from towpath.lab import facts
from towpath.lab.addressing import CLUSTER_AS, RACKS
from towpath.lab.api import collection, custom
from towpath.lab.netns import Host
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab, Shape
from towpath.model.net import Address

REFLECTORS = ("node1", "node2")
CLIENTS = ("node3", "node4")
CLUSTER_ID = "towpath.io/route-reflector-cluster-id"
SILENCE = "table inet silence {\n chain out {\n type filter hook output priority 0\n tcp dport 179 drop\n tcp sport 179 drop\n }\n}\n"
BIRD = 5
"""The number of BIRD's address on the nodes' segment."""


def configure(lab: Lab, **fields: object) -> None:
    """Change fields of the cluster's configuration."""
    lab.api.patch(f"{collection('BGPConfiguration')}/default", {"spec": fields})


def make_reflector(lab: Lab, node: str, cluster_id: str) -> None:
    """Label and annotate a Node."""
    wanted = {"labels": {"route-reflector": "true"}, "annotations": {CLUSTER_ID: cluster_id}}
    lab.api.patch(f"{collection('Node')}/{node}", {"metadata": wanted})


def up(lab: Lab, wanted: Callable[[str], int]) -> None:
    """Wait until every node has so many connections a family, and the router all of its own."""
    counts = {node: wanted(node) * len(lab.families) for node in lab.nodes}
    wait_for(
        lambda: not facts.sessions_down(lab) and {node: facts.connections(lab, node) for node in lab.nodes} == counts,
        deadline=60,
        what=f"connections as wanted: {counts}",
        interval=0.1,
    )


def without_mesh(node: str) -> int:
    """Peers of a node: reflectors have everybody and the router, clients the reflectors and the router."""
    return 4 if node in REFLECTORS else 3


def direct(lab: Lab) -> bool:
    """Whether every node's route to another's block leads to its owner: packets pass no reflector."""
    at = {str(address): node for node in lab.nodes for address in lab.node_addresses(node)}
    owners = facts.blocks(lab)
    routes = {node: facts.kernel_routes(lab, node) for node in lab.nodes}
    return all(
        at.get(routes[node].get(prefix, {}).get("gateway", "")) == owner
        for node in lab.nodes
        for prefix, owner in owners.items()
        if owner != node
    )


def between(lab: Lab, *nodes: str) -> set[tuple[str, str]]:
    """Connections of these nodes with each other and with the router."""
    reflectors = {str(address) for node in REFLECTORS for address in lab.node_addresses(node)}
    return {
        pair
        for node in nodes
        for pair in connections(lab)[node]
        if pair[1].rpartition(":")[0].strip("[]") not in reflectors
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four nodes with a mesh; one object asks for sessions with reflectors, of which there are none yet."""
    with cluster(Shape(nodes=4)) as made:
        made.api.apply(
            custom("BGPPeer", "reflectors", {"nodeSelector": "all()", "peerSelector": "route-reflector == 'true'"})
        )
        yield made


def test_labelled_nodes_become_reflectors_and_the_mesh_goes(lab: Lab) -> None:
    """No process is restarted, and sessions of the others see nothing; without the mesh no route moves, no packet is lost."""
    before = between(lab, *CLIENTS)
    make_reflector(lab, "node1", "244.0.0.1")
    make_reflector(lab, "node2", "244.0.0.2")
    up(lab, lambda _node: 4)
    facts.wait_converged(lab)
    assert between(lab, *CLIENTS) == before

    def deed() -> None:
        configure(lab, nodeToNodeMeshEnabled=False)
        up(lab, without_mesh)

    facts.wait_reachable(lab)
    result, moved = under_probe(lab, deed, watch=(*lab.nodes, "tor"))
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"
    assert direct(lab)


@pytest.mark.parametrize("cluster_id", ["244.0.0.2", "244.0.0.1"], ids=["two cluster ids", "one cluster id"])
def test_a_rolling_restart_of_both_reflectors_loses_nothing(lab: Lab, cluster_id: str) -> None:
    """Killed and started one after the other: 0 packets lost, 0 route events on every node and the router."""
    before = connections(lab)
    make_reflector(lab, "node2", cluster_id)
    wait_for(
        lambda: lab.api.items("RoutingNode")["node2"]["spec"]["bgp"]["routeReflectorClusterID"] == cluster_id,
        deadline=20,
        what="the cluster id has arrived",
    )
    facts.wait_reachable(lab)
    assert connections(lab) == before

    def deed() -> None:
        for node in REFLECTORS:
            lab.kill(f"{node}/agent", f"{node}/speaker")
            wait_for(lambda: facts.sessions_down(lab), deadline=10, what="the router has lost a session")
            lab.start(f"{node}/agent", f"{node}/speaker")
            up(lab, without_mesh)
            facts.wait_healthy(lab)

    result, moved = under_probe(lab, deed, watch=(*lab.nodes, "tor"))
    assert result.sent > 0
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"
    assert direct(lab)


def test_both_reflectors_killed_at_once_lose_nothing(lab: Lab) -> None:
    """One client comes back later than the other, which keeps what it had until both reflectors have heard everybody."""
    early, late = CLIENTS

    def deed() -> None:
        speakers = [f"{node}/speaker" for node in REFLECTORS]
        lab.host(late).run("nft", "-f", "-", stdin=SILENCE)
        lab.kill(*speakers)
        wait_for(lambda: facts.sessions_down(lab), deadline=10, what="the router has lost a session")
        lab.start(*speakers)
        wanted = without_mesh(early) * len(lab.families)
        wait_for(lambda: facts.connections(lab, early) == wanted, deadline=30, what=f"{early} has its sessions")
        facts.wait_healthy(lab, early)
        lab.host(late).run("nft", "delete", "table", "inet", "silence")
        up(lab, without_mesh)
        facts.wait_healthy(lab)

    result, moved = under_probe(lab, deed, watch=(*lab.nodes, "tor"))
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"
    assert direct(lab)


def bird_host(lab: Lab) -> tuple[Host, list[Address]]:
    """A host on the nodes' segment that is no node."""
    host = lab.network.host("reflector", forwarding=False)
    lab.network.plug(lab.host("switch-a"), host)
    addresses = [RACKS["a"].address(family, BIRD) for family in lab.families]
    for family in lab.families:
        host.address(str(RACKS["a"].interface(family, BIRD)), dev="eth0")
    return host, addresses


def bird(lab: Lab, host: Host, nodes: Iterable[str], *, more: str = "") -> Bird:
    """BIRD with a session with these nodes, one a family."""
    neighbours = {
        f"{node}_v{address.version}": f"local as {CLUSTER_AS}; neighbor {address} as {CLUSTER_AS}; connect retry time 1; "
        f"graceful restart on; {more} ipv{address.version} {{ import all; export all; }};"
        for node in nodes
        for address in lab.node_addresses(node)
    }
    return Bird(host, lab.root, router_id="192.0.2.5", neighbours=neighbours)


def test_bird_is_a_client(lab: Lab) -> None:
    """It hears every block of both reflectors, with the owner as next hop, the originator and the cluster list."""
    host, addresses = bird_host(lab)
    daemon = bird(lab, host, REFLECTORS)
    owners = facts.blocks(lab)
    at = {(node, address.version): str(address) for node in lab.nodes for address in lab.node_addresses(node)}

    def heard() -> bool:
        told = {prefix: daemon.ask(f"show route all for {prefix}") for prefix in owners}
        return all(
            set(re.findall(r"BGP.next_hop: (\S+)", told[prefix])) == {at[owner, prefix.version]}
            and told[prefix].count("BGP.next_hop") == len(REFLECTORS)
            for prefix, owner in owners.items()
        )

    try:
        for address in addresses:
            spec = {
                "peerIP": str(address),
                "asNumber": CLUSTER_AS,
                "nodeSelector": "route-reflector == 'true'",
            }
            lab.api.apply(custom("BGPPeer", f"bird-{address.version}", spec))
        wait_for(heard, deadline=40, what="BIRD has all blocks of both")
        block = next(prefix for prefix, owner in owners.items() if owner == "node3" and prefix.version == 4)
        told = daemon.ask(f"show route all for {block}")
        assert set(re.findall(r"BGP.originator_id: (\S+)", told)) == {at["node3", 4]}
        assert set(re.findall(r"BGP.cluster_list: (\S+)", told)) == {"244.0.0.1"}
    finally:
        daemon.process.kill()


def test_bird_reflects_in_place_of_the_clusters_own() -> None:
    """No filter anywhere: a block is taken from BIRD because its next hop is the owner; another node's is not."""
    with cluster(Shape(nodes=3), prefix=own("tprr")) as lab:
        host, addresses = bird_host(lab)
        daemon = bird(lab, host, lab.nodes, more="rr client;")
        try:
            for address in addresses:
                spec = {"peerIP": str(address), "asNumber": CLUSTER_AS}
                lab.api.apply(custom("BGPPeer", f"bird-{address.version}", spec))
            up(lab, lambda _node: 4)

            def deed() -> None:
                configure(lab, nodeToNodeMeshEnabled=False)
                up(lab, lambda _node: 2)

            result, moved = under_probe(lab, deed, watch=(*lab.nodes, "tor"))
            assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"
            assert direct(lab)
            facts.wait_reachable(lab)
        finally:
            daemon.process.kill()

"""Route reflectors among the nodes, and BIRD in their place or as their client: no mesh, and nobody misses a route."""

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.names import own
from tests.netns.engine.rig import Bird
from tests.netns.path.cluster import PROBES, cluster, connections, neighbour, under_probe
from towpath.controller.plan.here import ask
from towpath.lab import facts
from towpath.lab.addressing import CLUSTER_AS, RACKS
from towpath.lab.api import collection, custom
from towpath.lab.netns import Host
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab, Shape
from towpath.model.net import Address, Family, Prefix

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


def reflected(lab: Lab) -> bool:
    """Whether every node has its sessions with the reflectors by the object that asks for them, none by the mesh."""
    reflectors = {str(address): node for node in REFLECTORS for address in lab.node_addresses(node)}
    for node in lab.nodes:
        asked = ask(lab.node_directory(node, "run") / "speaker.sock", "sessions")
        found = [one for one in asked if reflectors.get(one["peer"], node) != node]
        if len(found) != len(set(reflectors.values()) - {node}) * len(lab.families):
            return False
        if any(one["name"].startswith("Mesh-") or one["state"] != "Established" for one in found):
            return False
    return True


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


def accepted(lab: Lab, node: str, peer: Address) -> int:
    """How many prefixes a node has accepted from a peer, as its speaker says."""
    asked = ask(lab.node_directory(node, "run") / "speaker.sock", "sessions")
    return sum(int(one["accepted"]) for one in asked if one["peer"] == str(peer))


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
    wait_for(lambda: reflected(lab), deadline=60, what="sessions with the reflectors")
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
        lambda: lab.api.items("RoutingNode")["node2"]["spec"]["bgp"].get("routeReflectorClusterID") == cluster_id,
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
    assert result.sent >= PROBES
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


def bird_host(lab: Lab, *, forwarding: bool = False) -> tuple[Host, list[Address]]:
    """A host on the nodes' segment that is no node."""
    host = neighbour(lab, "reflector", BIRD, forwarding=forwarding)
    return host, [RACKS["a"].address(family, BIRD) for family in lab.families]


def bird(
    lab: Lab, host: Host, nodes: Iterable[str], *, more: str = "", channel: str = "export all;", rest: str = ""
) -> Bird:
    """BIRD with a session with these nodes, one a family."""
    neighbours = {
        f"{node}_v{address.version}": f"local as {CLUSTER_AS}; neighbor {address} as {CLUSTER_AS}; connect retry time 1; "
        f"graceful restart on; {more} ipv{address.version} {{ import all; {channel} }};"
        for node in nodes
        for address in lab.node_addresses(node)
    }
    return Bird(host, lab.root, router_id="192.0.2.5", neighbours=neighbours, more=rest)


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
        for address in addresses:
            lab.api.delete("BGPPeer", f"bird-{address.version}")
        lab.network.remove_host(host.name)


ANYWHERE = {Family.IPV4: "198.51.100.77/32", Family.IPV6: "2001:db8:c::77/128"}
"""An address outside that two hosts on the nodes' segment have."""
HOSTS = (6, 7)
SERVICES = {Family.IPV4: "10.96.0.0/16", Family.IPV6: "fd00:96::/112"}


def ways(family: Family) -> set[str]:
    """The hosts that have it."""
    return {str(RACKS["a"].address(family, number)) for number in HOSTS}


def static(lab: Lab) -> str:
    """BIRD has two routes to the address, one a protocol, and several next hops a route in its kernel."""
    lines = ["protocol direct { ipv4; ipv6; }"]
    for family in lab.families:
        lines += [
            f"protocol kernel k{family.value} {{ merge paths on; {family.key} {{ import none; export where source = RTS_BGP; }}; }}",
            *(
                f"protocol static h{number}v{family.value} {{ {family.key}; "
                f"route {ANYWHERE[family]} via {RACKS['a'].address(family, number)}; }}"
                for number in HOSTS
            ),
        ]
    lines.append(
        "filter anywhere { if source != RTS_STATIC then reject; "
        + " ".join(
            f'if proto = "h{number}v{family.value}" then bgp_next_hop = {RACKS["a"].address(family, number)};'
            for family in lab.families
            for number in HOSTS
        )
        + " accept; }"
    )
    return "\n".join(lines)


def gateways(routes: dict[Prefix, dict[str, Any]], prefix: str) -> set[str]:
    """By which next hops a kernel reaches a prefix."""
    route = routes.get(ip_network(prefix), {})
    return {hop["gateway"] for hop in route.get("nexthops", [route] if "gateway" in route else [])}


def test_an_address_in_several_places_keeps_all_its_paths(lab: Lab) -> None:
    """ADD-PATH both ways, with BIRD: nodes spread over both hosts that have an address, BIRD over all nodes that have a service range."""
    host, addresses = bird_host(lab)
    daemon = bird(lab, host, REFLECTORS, channel="add paths on; export filter anywhere;", rest=static(lab))
    rule = {"action": "Accept", "matchOperator": "Equal"}
    spec: dict[str, Any] = {}
    for family in lab.families:
        one = {**rule, "cidr": ANYWHERE[family]}
        spec[f"importV{family.value}"] = [one]
        spec[f"exportV{family.value}"] = [{**one, "source": "RemotePeers"}]

    def spread(wanted: dict[Family, set[str]]) -> bool:
        return all(
            gateways(facts.kernel_routes(lab, node), ANYWHERE[family]) == wanted[family]
            for node in lab.nodes
            for family in lab.families
        )

    def served() -> bool:
        routes = facts.kernel_routes(lab, host.name, protocol="bird")
        nodes = {
            family: {str(lab.node_addresses(node)[at]) for node in lab.nodes} for at, family in enumerate(lab.families)
        }
        return all(gateways(routes, SERVICES[family]) == nodes[family] for family in lab.families)

    both = {family: ways(family) for family in lab.families}
    try:
        lab.api.apply(custom("BGPFilter", "anywhere", spec))
        lab.api.apply(custom("BGPPeer", "reflectors", {"filters": ["anywhere"]}))
        for address in addresses:
            peer = {"peerIP": str(address), "asNumber": CLUSTER_AS, "filters": ["anywhere"]}
            lab.api.apply(
                custom("BGPPeer", f"bird-{address.version}", {**peer, "nodeSelector": "route-reflector == 'true'"})
            )
        wait_for(lambda: spread(both), deadline=40, what="every node has both hosts")
        for number in HOSTS:
            name = f"h{number}v4"
            left = both[Family.IPV4] - {str(RACKS["a"].address(Family.IPV4, number))}
            daemon.ask(f"disable {name}")
            wait_for(lambda left=left: spread({**both, Family.IPV4: left}), deadline=20, what="one is withdrawn")
            daemon.ask(f"enable {name}")
            wait_for(lambda: spread(both), deadline=20, what="both again")
        configure(lab, serviceClusterIPs=[{"cidr": cidr} for cidr in SERVICES.values()])
        wait_for(served, deadline=40, what="BIRD spreads over all nodes")
    finally:
        daemon.process.kill()
        configure(lab, serviceClusterIPs=[])
        lab.api.apply(custom("BGPPeer", "reflectors", {"filters": []}))
        for address in addresses:
            lab.api.delete("BGPPeer", f"bird-{address.version}")
        lab.network.remove_host(host.name)


TOLD = "where (source = RTS_BGP)"
"""What BIRD passes on; in brackets, so that it is known from what its kernel gets."""


def in_kernel(lab: Lab) -> str:
    """BIRD forwards by the routes that it was told."""
    return "protocol direct { ipv4; ipv6; }\n" + "\n".join(
        f"protocol kernel k{family.value} {{ {family.key} {{ import none; export where source = RTS_BGP; }}; }}"
        for family in lab.families
    )


def test_bird_reflects_in_place_of_the_clusters_own() -> None:
    """No filter anywhere: a block is taken from BIRD because its next hop is the owner, or BIRD itself once it says so.

    That holds behind a reflector of ours as well: its client has no session with BIRD, but the object names BIRD.
    """
    with cluster(Shape(nodes=3), prefix=own("tprr")) as lab:
        host, addresses = bird_host(lab, forwarding=True)
        daemon = bird(lab, host, lab.nodes, more="rr client;", channel=f"export {TOLD};", rest=in_kernel(lab))
        try:
            for address in addresses:
                spec = {"peerIP": str(address), "asNumber": CLUSTER_AS}
                lab.api.apply(custom("BGPPeer", f"bird-{address.version}", spec))
            up(lab, lambda _node: 4)
            # connected is not told: each node has the block of each other from BIRD before the mesh goes
            wait_for(
                lambda: all(accepted(lab, node, address) == 2 for node in lab.nodes for address in addresses),
                deadline=30,
                what="every node has heard everything by BIRD",
            )

            def deed() -> None:
                configure(lab, nodeToNodeMeshEnabled=False)
                up(lab, lambda _node: 2)

            result, moved = under_probe(lab, deed, watch=(*lab.nodes, "tor"))
            assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"
            assert direct(lab)
            facts.wait_reachable(lab)

            itself = {Family(address.version): {str(address)} for address in addresses}

            def wait_led(to: dict[str, list[str]]) -> None:
                """Wait until all blocks of some nodes lead to BIRD, each on the nodes that are named for it."""
                wait_for(
                    lambda: all(
                        gateways(facts.kernel_routes(lab, node), str(block)) == itself[Family(block.version)]
                        for block, owner in facts.blocks(lab).items()
                        for node in to.get(owner, ())
                    ),
                    deadline=60,
                    what=f"blocks lead to BIRD: {to}",
                )

            daemon.config.write_text(
                daemon.config.read_text().replace(f"export {TOLD};", f"next hop self; export {TOLD};")
            )
            assert "Reconfigur" in daemon.ask("configure")
            wait_led({owner: [node for node in lab.nodes if node != owner] for owner in lab.nodes})
            facts.wait_reachable(lab)

            make_reflector(lab, "node1", "244.0.0.1")
            own_client = {"node": "node2", "peerSelector": "route-reflector == 'true'"}
            lab.api.apply(custom("BGPPeer", "reflectors", own_client))
            up(lab, lambda node: 2 if node == "node3" else 3)
            elsewhere = {"spec": {"nodeSelector": "kubernetes.io/hostname != 'node2'"}}
            for address in addresses:
                lab.api.patch(f"{collection('BGPPeer')}/bird-{address.version}", elsewhere)
            up(lab, lambda node: 3 if node == "node1" else 2)
            wait_led({"node3": ["node1", "node2"], "node2": ["node3"]})
            facts.wait_reachable(lab)
        finally:
            daemon.process.kill()

"""Clusters of other shapes: one family alone, ranges of the cluster's own, pods on the nodes' network, machines that lack things or are not as they should be."""

import json
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.cluster import leaf, web, witness
from tests.cluster.burst import blocks, pod_addresses
from tests.cluster.capabilities import of_processes
from tests.cluster.leaf import Leaf
from tests.cluster.shapes import assigned, release_of
from towpath.lab.addressing import RACK_A, TOR
from towpath.lab.cluster import release as lab
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.cluster.shape import Shape
from towpath.lab.process import wait_for
from towpath.model.net import Family, family_of

TAKES_PORT = "import socket, time; s = socket.create_server(('', 179)); print('taken', flush=True); time.sleep(1000000)"
DROPS = "table inet strict {\n chain forward {\n type filter hook forward priority 0\n policy drop\n }\n }\n"
THEIRS = {"cniVersion": "1.0.0", "name": "theirs", "plugins": [{"type": "bridge"}]}
TAINT = "node.kubernetes.io/network-unavailable"
UNDERLAY = ((Family.IPV4, "192.0.2.128/25", 28), (Family.IPV6, "2001:db8:a::1:0/112", 124))
"""What of the nodes' subnets is for pods, and how much of it each node gets at a time."""
FOUR = Shape(nodes=2, families=(Family.IPV4,), pod_cidrs=True)


@pytest.fixture(scope="module")
def four(towpath_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Two nodes with IPv4 alone and ranges of the cluster's own.

    node1 has a second router on a link without addresses; on node2 somebody else has the BGP port.
    """
    scratch = tmp_path_factory.mktemp("witness")

    def before(cluster: Cluster) -> None:
        witness.place(cluster, scratch)
        Leaf(cluster, "node1")
        log = scratch / "taker.log"
        taker = cluster.host("node2").process(sys.executable, "-c", TAKES_PORT, log=log)
        wait_for(lambda: "taken" in taker.log, deadline=30, what="the port is taken")

    plain = lab.values(FOUR)
    values = {
        "ipamConfiguration": {"blockSource": "PodCIDRs"},
        "bgpConfiguration": {**plain["bgpConfiguration"], "unnumbered": {"enabled": True}},
        "bgpPeers": [*plain["bgpPeers"], leaf.peer("node1")],
        "unnumbered": {"enabled": True},
        "hostChecks": {"enabled": True},
    }
    with release_of("tpfour", FOUR, towpath_image, before=before, **values) as made:
        yield made


def test_ipv4_alone_with_ranges_of_the_cluster(four: Release) -> None:
    """``blockSource: PodCIDRs``: the blocks are the ranges that the controller manager gave, and pods have addresses of them.

    The distribution's containerd calls the plugins in the CNI version that it knows.
    """
    cluster = four.cluster
    assert len(assigned(cluster)) == 2
    assert blocks(cluster) == assigned(cluster)
    for node, address in pod_addresses(cluster, "app=web"):
        assert [owner for cidr, owner in assigned(cluster).items() if address in cidr] == [node]
    for name in cluster.nodes:
        calls = witness.calls(cluster.machine(name))
        assert calls["ADD", "1.0.0"]
        assert {version for _, version in calls} == {"1.0.0"}


def test_a_router_on_a_link_without_addresses(four: Release) -> None:
    """``unnumbered.enabled``: found by its advertisements, IPv4 routes by IPv6 next hops both ways, and packets of pods.

    For that the agent has one capability more, and no other process has.
    """
    cluster = four.cluster
    assert of_processes(cluster.machine("node1")) == {
        "agent": {"NET_ADMIN", "NET_RAW"},
        "speaker": {"NET_BIND_SERVICE"},
    }
    (there,) = (f"{address}/32" for address in leaf.OWN if ":" not in address)
    node, router = cluster.host("node1"), cluster.host("leaf")
    (block,) = (str(cidr) for cidr, owner in blocks(cluster).items() if owner == "node1")
    for host, prefix, device in ((node, there, leaf.INTERFACE), (router, block, "node")):
        wait_for(
            lambda host=host, prefix=prefix: host.ip_json("route", "show", prefix),  # type: ignore[misc]  # bound now
            deadline=60,
            what=f"a route to {prefix} in {host.name}",
        )
        (route,) = host.ip_json("route", "show", prefix)
        assert (route["via"]["family"], route["dev"]) == ("inet6", device)
    (pod,) = (pod for pod in cluster.pods("app=web") if pod["spec"]["nodeName"] == "node1")
    cluster.exec(pod["metadata"]["name"], "ping", "-c", "1", "-W", "20", there.partition("/")[0])
    servers = [(str(address), web.PORT) for address in cluster.addresses(pod).values()]
    wait_for(
        lambda: web.ask_from_host(router, servers) == [pod["metadata"]["name"]], deadline=60, what="the pod answers it"
    )
    wait_for(
        lambda: [one["state"] for one in sessions(cluster, "node1") if one["bgpPeer"] == "leaf"] == ["Established"],
        deadline=60,
        what="the node reports the session",
        interval=0.5,
    )


def sessions(cluster: Cluster, node: str) -> list[dict[str, str]]:
    return list(cluster.get("nodestatus", node)["status"]["sessions"])


def test_describe_shows_what_is_wrong_with_a_machine(four: Release) -> None:
    """A filter that drops, a manager of routes, another network, another MTU, another speaker: conditions and events, with whose."""
    cluster = four.cluster
    machine = cluster.machine("node2")
    machine.run("mkdir", "-p", "/run/systemd/netif")
    machine.run("sh", "-c", "cat > /run/systemd/netif/state", stdin="OPER_STATE=routable\n")
    machine.run("sh", "-c", "cat > /etc/cni/net.d/20-theirs.conflist", stdin=json.dumps(THEIRS))
    machine.run("nft", "-f", "-", stdin=DROPS)
    cluster.host("node2").ip("link", "set", "dev", "eth0", "mtu", "1400")
    wanted = {
        "ForwardDropped": "chain forward of table inet strict",
        "RoutesManaged": "systemd-networkd runs with ManageForeignRout",
        "OtherNetworkPlugin": "/etc/cni/net.d/20-theirs.conflist configures the network theirs",
        "MTUMismatch": "have MTU 1400",
        "ListenRefused": "port 179: Address already in use",
    }
    for what in (("nodestatus", "node2"), ("node", "node2")):
        wait_for(
            lambda what=what: not missing(cluster.kubectl("describe", *what), wanted),  # type: ignore[misc]  # bound now
            deadline=120,
            what=f"describe {' '.join(what)} shows all of it",
            interval=0.5,
        )
    assert not missing(cluster.kubectl("describe", "node", "node2"), dict.fromkeys(wanted, "towpath-agent"))
    assert cluster.nodes_ready()["node2"], "what runs goes on"


def missing(text: str, wanted: dict[str, str]) -> dict[str, str]:
    """What of these, a reason and words of its message, is not said in a text."""
    return {reason: words for reason, words in wanted.items() if reason not in text or words not in text}


def test_pods_on_the_network_of_their_nodes(towpath_image: Path) -> None:
    """macvlan: pods have addresses of the nodes' subnets, their kubelets reach them, and they all pods, their service and the client.

    The client comes by a node's port as well. The router learns no block: it finds pods as it finds nodes.
    """
    attachment = {"type": "macvlan", "mode": "bridge", "master": "eth0"}
    pools = [
        {"cidr": cidr, "blockSize": size, "attachment": {**attachment, "gateway": str(RACK_A.address(family, TOR))}}
        for family, cidr, size in UNDERLAY
    ]
    with release_of("tpmac", Shape(nodes=2), towpath_image, pools=pools) as release:
        cluster = release.cluster
        ranges = [ip_network(cidr) for _, cidr, _ in UNDERLAY]
        found = [address for _, address in pod_addresses(cluster, "app=web")]
        assert sorted(len([one for one in found if one in around]) for around in ranges) == [2, 2], found
        cluster.apply(web.service("web", families=len(Family)))
        names = {pod["metadata"]["name"] for pod in cluster.pods("app=web")}
        inside = [(address, web.PORT) for address in cluster.get("service", "web")["spec"]["clusterIPs"]]
        for name in sorted(names):
            # of two servers, each time another one, itself among them
            wait_for(
                lambda name=name: set(web.ask_from_pod(cluster, name, inside * 6)) == names,  # type: ignore[misc]  # bound now
                deadline=60,
                what=f"pod {name} reaches the service, and by it everybody",
                interval=0.5,
            )
        ports = [
            (str(cluster.state.nodes[name].address(family)), web.NODE_PORT)
            for name in cluster.nodes
            for family in Family
        ]
        wait_for(
            lambda: set(web.ask_from_host(cluster.host("client"), ports * 2)) <= names,
            deadline=60,
            what="the client reaches the service by every node's port",
            interval=0.5,
        )
        assert cluster.tor.routes() == {}


def test_ipv6_alone_and_nothing_on_the_nodes(towpath_image: Path) -> None:
    """Nodes, pods, sessions and the way to the API server have no IPv4, and there is neither kube-proxy nor a CNI plugin.

    Nor do the condition and the taint stay by which a cloud says that a node has no network yet.
    """
    shape = Shape(nodes=2, families=(Family.IPV6,), proxy=False, plugins=False)
    with release_of("tpsix", shape, towpath_image, before=tainted) as release:
        cluster = release.cluster
        assert {cidr.version for cidr in blocks(cluster)} == {6}
        assert sorted(blocks(cluster).values()) == ["node1", "node2"]
        assert {family_of(address) for _, address in pod_addresses(cluster, "app=web")} == {Family.IPV6}
        assert set(cluster.tor.routes()) == set(blocks(cluster))
        for name in cluster.nodes:
            there = {path.name for path in cluster.machine(name).path("opt/cni/bin").iterdir()}
            assert there >= {"ptp", "host-local", "portmap", "loopback"}
        wait_for(lambda: not taints(cluster), deadline=60, what="no node has a taint", interval=0.5)


def tainted(cluster: Cluster) -> None:
    """What a cloud's controller says of new nodes, and what Kubernetes makes of it."""
    condition = {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "message": "no route yet"}
    patch = json.dumps({"status": {"conditions": [condition]}})
    for name in cluster.nodes:
        cluster.kubectl("patch", "node", name, "--subresource=status", "--type=strategic", "-p", patch)
    wait_for(
        lambda: set(taints(cluster)) == set(cluster.nodes), deadline=60, what="every node has the taint", interval=0.3
    )


def taints(cluster: Cluster) -> list[str]:
    """The nodes with the taint."""
    return [
        node["metadata"]["name"]
        for node in cluster.get("nodes")
        if TAINT in {one["key"] for one in node["spec"].get("taints", ())}
    ]

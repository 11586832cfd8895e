"""Pools that change under a running deployment: their encapsulation, how pods are attached, and as whom they leave."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import burst, web
from tests.cluster.intrusion import reached, send_into_tunnel
from tests.cluster.traffic import watched
from tests.netns.path.cluster import drops_pods
from tests.streams import connected, streaming
from towpath.bgp.nodes import BGP_PORT
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.netns import Host
from towpath.lab.pods import ping
from towpath.lab.process import wait_for
from towpath.model.net import Address, Family, family_of

DEVICES = {Family.IPV4: "tp-vx4-4096", Family.IPV6: "tp-vx6-4096"}
BRIDGE = "tp-br0"
LARGEST = 1430
"""What is left of 1500 bytes in a VXLAN over IPv6."""
HOST_PORT = 8090
NODE_PORT = web.NODE_PORT + 1
"""Another one than that of the service ``web``."""
CALLED = 4711
POLICIES = {"Local": 30471, "Cluster": 30472}
"""Nodes' ports that lead to it, by what a service says of traffic from outside."""
KUBELET, INTRUDER_PORT = 10250, 4998
TO = {"speaker": BGP_PORT, "kubelet": KUBELET, "tunnel": 4789}
PORTS = {"speaker": 80, "kubelet": 81, "tunnel": 82}
"""Of a service that leads to these."""
NODE_PORTS = {"speaker": 30179, "kubelet": 30250, "tunnel": 30789}
"""Of every node, for the same."""


def switch(cluster: Cluster, mode: str, **more: object) -> None:
    """Both pools have this mode, and what else is said; every node sends as that says."""
    patch = json.dumps({"spec": {"vxlanMode": mode, **more}})
    for family in Family:
        cluster.kubectl("patch", "ippool", f"default-{family.key}", "--type=merge", "-p", patch)
    for node in cluster.nodes:
        wait_for(
            lambda node=node: ways(cluster, node) == wanted(cluster, node, mode),  # type: ignore[misc]  # bound now
            deadline=90,
            what=f"{node} sends as with {mode}",
            interval=0.2,
        )


def wanted(cluster: Cluster, node: str, mode: str) -> dict[str, str]:
    """By which device a node is to reach each block of the others."""
    rack = {name: place.rack for name, place in cluster.state.nodes.items()}
    return {
        str(cidr): DEVICES[family_of(cidr)]
        if mode == "Always" or (mode == "CrossSubnet" and rack[owner] != rack[node])
        else "eth0"
        for cidr, owner in burst.blocks(cluster).items()
        if owner in rack and owner != node
    }


def ways(cluster: Cluster, node: str) -> dict[str, str]:
    """By which device it does."""
    return {
        route["dst"]: route["dev"]
        for family in Family
        for route in cluster.host(node).ip_json(f"-{family.value}", "route", "show", "proto", "179")
        if route.get("type") != "blackhole"
    }


@pytest.fixture(scope="module")
def pods(installed: Release) -> list[dict[str, Any]]:
    """A web server on every node, attached by ptp; one of the nodes is in another subnet than the others."""
    cluster = installed.cluster
    assert {place.rack for place in cluster.state.nodes.values()} == {"a", "b"}
    cluster.apply(web.daemonset("web"))
    return cluster.wait_pods("app=web", count=len(cluster.nodes))


def test_the_encapsulation_changes_under_a_deployment(
    installed: Release, pods: list[dict[str, Any]], tmp_path: Path
) -> None:
    """To and from a tunnel, between subnets and everywhere: every probe arrives, and connections that are open go on."""
    cluster = installed.cluster
    with watched(cluster, pods, tmp_path) as seen:
        ends = [(cluster.host(f"pod-{pod['spec']['nodeName']}"), cluster.addresses(pod)) for pod in pods]
        busy = [
            (one, other, address)
            for (one, _), (other, addresses) in permutations(ends, 2)
            for address in addresses.values()
        ]
        with streaming(busy) as streams:
            for mode in ("CrossSubnet", "Always", "CrossSubnet", "Never"):
                switch(cluster, mode)
                streams.go_on()
        assert not streams.broken, streams.broken
    seen.every_probe_arrived()
    assert not seen.ended, seen.ended


@pytest.fixture(scope="module")
def bridged(installed: Release, pods: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Pods that came after both pools had a tunnel everywhere, a bridge and natOutgoing: one on every node, with a port of it."""
    cluster = installed.cluster
    body = web.daemonset("bridged")
    (container,) = body["spec"]["template"]["spec"]["containers"]
    container["ports"] = [{"containerPort": web.PORT, "hostPort": HOST_PORT}]
    try:
        switch(cluster, "Always", attachment={"type": "bridge"}, natOutgoing=True)
        for node in cluster.nodes:
            wait_for(
                lambda node=node: attached_by(cluster, node) == "bridge",  # type: ignore[misc]  # bound now
                deadline=90,
                what=f"new pods of {node} come to the bridge",
                interval=0.2,
            )
        cluster.apply(body, web.service("bridged", families=len(Family), node_port=NODE_PORT))
        web.everybody(cluster, cluster.nodes, name="bridged")
        for node in cluster.nodes:
            wait_for(
                lambda node=node: guarded(cluster, node),  # type: ignore[misc]  # bound now
                deadline=90,
                what=f"{node} translates, and lets nodes alone into the tunnel",
                interval=0.2,
            )
        yield cluster.wait_pods("app=bridged", count=len(cluster.nodes))
    finally:
        cluster.kubectl("delete", "daemonset,service", "bridged", "--ignore-not-found")
        switch(cluster, "Never", attachment=None, natOutgoing=False)
        installed.wait()


def attached_by(cluster: Cluster, node: str) -> str:
    """The plugin that the configuration of a node calls for new pods."""
    file = cluster.machine(node).path("run/towpath/cni-conf/10-towpath.conflist")
    return str(json.loads(file.read_text())["plugins"][0]["type"])


def guarded(cluster: Cluster, node: str) -> bool:
    """Whether the packet filter of a node has what tunnels and ``natOutgoing`` ask for."""
    table = cluster.machine(node).run("nft", "list", "table", "inet", "towpath")
    sets = [table.partition(f"set masqueraded{family:d} {{")[2].partition("\n\t}")[0] for family in Family]
    return "chain tunnel_input" in table and all("elements" in one for one in sets)


def test_pods_on_a_bridge_and_in_a_tunnel_reach_everybody(
    installed: Release, pods: list[dict[str, Any]], bridged: list[dict[str, Any]]
) -> None:
    """Each other on all nodes, those that were there before by ptp, their service, and from outside their nodes' port.

    Their kubelets reach them too, or they would not be ready. Packets are as large as fit into the
    tunnel, and pass a router that lets none of pods pass.
    """
    cluster = installed.cluster
    everybody = [*pods, *bridged]
    servers = [(str(address), web.PORT) for pod in everybody for address in cluster.addresses(pod).values()]
    names = [pod["metadata"]["name"] for pod in everybody for _ in Family]
    inside = [(address, web.PORT) for address in cluster.get("service", "bridged")["spec"]["clusterIPs"]]
    known = {pod["metadata"]["name"] for pod in bridged}
    for pod in everybody:
        name = pod["metadata"]["name"]
        assert web.ask_from_pod(cluster, name, servers) == names
        # of three servers, each time another one, itself among them
        wait_for(
            lambda name=name: set(web.ask_from_pod(cluster, name, inside * 4)) <= known,  # type: ignore[misc]  # bound now
            deadline=60,
            what=f"pod {name} reaches the service",
            interval=0.5,
        )
    client = cluster.host("client")
    assert web.ask_from_host(client, servers) == names
    for pod in bridged:
        place = cluster.state.nodes[pod["spec"]["nodeName"]]
        ported = [(str(place.address(family)), HOST_PORT) for family in Family]
        assert web.ask_from_host(client, ported) == [pod["metadata"]["name"]] * len(Family)
        (mtu,) = cluster.exec(pod["metadata"]["name"], "cat", "/sys/class/net/eth0/mtu").split()
        assert mtu == str(LARGEST)
    with ExitStack() as stack:
        hosts = [stack.enter_context(cluster.attached(pod, f"pod-{pod['spec']['nodeName']}")) for pod in bridged]
        for node in cluster.nodes:
            ports = {port["ifname"] for port in cluster.host(node).ip_json("link", "show", "master", BRIDGE)}
            assert len(ports) == 1, f"{node}: {ports}"
        ends = [
            (host, address)
            for host, pod in zip(hosts, bridged, strict=True)
            for address in cluster.addresses(pod).values()
        ]
        with drops_pods(cluster.host("tor")):
            for host, (other, address) in product(hosts, ends):
                assert host is other or ping(host, address, wait=5, size=LARGEST), f"{host.name} to {address}"


def test_pods_in_a_tunnel_leave_as_their_nodes(installed: Release, bridged: list[dict[str, Any]]) -> None:
    """``natOutgoing``: outside an address of the node is seen, and within the cluster, through the tunnel, the pod's own."""
    cluster = installed.cluster
    client = cluster.host("client")
    found = (
        ip_address(one["local"]) for link in client.ip_json("addr", "show", "dev", "eth0") for one in link["addr_info"]
    )
    outside = [address for address in found if not address.is_link_local]
    with ExitStack() as stack:
        hosts = [stack.enter_context(cluster.attached(pod, f"pod-{pod['spec']['nodeName']}")) for pod in bridged]
        for host, pod in zip(hosts, bridged, strict=True):
            own, place = cluster.addresses(pod), cluster.state.nodes[pod["spec"]["nodeName"]]
            for address in outside:
                assert seen_as(host, client, address) == place.address(family_of(address))
            for (other, its), family in product(zip(hosts, bridged, strict=True), Family):
                if other is not host:
                    assert seen_as(host, other, cluster.addresses(its)[family]) == own[family]


def seen_as(source: Host, target: Host, address: Address) -> Address:
    """Who the other end of a new connection takes it to come from."""
    ours, theirs = connected(source, target, address)
    with ours, theirs:
        return ip_address(theirs.getpeername()[0])


@pytest.fixture
def ported(installed: Release, bridged: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A pod that ports of all nodes lead to, by one service for each policy."""
    cluster = installed.cluster
    (pod,) = (one for one in bridged if one["spec"]["nodeName"] == "node2")
    made: list[dict[str, Any]] = []
    for policy, node_port in POLICIES.items():
        metadata = {"name": f"ported-{policy.lower()}", "namespace": "default"}
        ports = [{"port": CALLED, "nodePort": node_port}]
        spec = {
            "type": "NodePort",
            "ipFamilyPolicy": "RequireDualStack",
            "externalTrafficPolicy": policy,
            "ports": ports,
        }
        made.append({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        for family, address in cluster.addresses(pod).items():
            endpoint = {"addresses": [str(address)], "nodeName": "node2"}
            made.append(endpoint_slice(metadata, family, endpoint, [{"port": CALLED}]))
    try:
        cluster.apply(*made)
        yield pod
    finally:
        cluster.kubectl("delete", "service", *(f"ported-{policy.lower()}" for policy in POLICIES), "--ignore-not-found")


def endpoint_slice(
    metadata: dict[str, str], family: Family, endpoint: dict[str, Any], ports: list[dict[str, Any]]
) -> dict[str, Any]:
    """Where a service without a selector leads in a family."""
    labels = {"kubernetes.io/service-name": metadata["name"]}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "name": f"{metadata['name']}-{family.key}", "labels": labels},
        "addressType": f"IPv{family:d}",
        "endpoints": [endpoint],
        "ports": ports,
    }


def test_nodes_ports_lead_to_pods_that_leave_as_their_nodes(installed: Release, ported: dict[str, Any]) -> None:
    """Both translations at once: the pod sees the client where its own node's port was called, else the node that was.

    And what the pod begins itself still leaves as its node.
    """
    cluster = installed.cluster
    client = cluster.host("client")
    (link,) = client.ip_json("addr", "show", "dev", "eth0")
    outside = {ip_address(one["local"]) for one in link["addr_info"] if one["scope"] == "global"}
    with ExitStack() as stack:
        pod = stack.enter_context(cluster.attached(ported, "ported"))
        for family, address in cluster.addresses(ported).items():
            with pod.entered():
                of_family = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
                taking = stack.enter_context(socket.create_server((str(address), CALLED), family=of_family))
            taking.settimeout(20)
            for policy, node in (("Local", "node2"), ("Cluster", "node2"), ("Cluster", "node1"), ("Cluster", "node3")):
                to = (str(cluster.state.nodes[node].address(family)), POLICIES[policy])
                caller = wait_for(
                    lambda to=to, taking=taking: called(client, to, taking),  # type: ignore[misc]  # bound now
                    deadline=60,
                    what=f"port {to} leads to the pod",
                )
                owners = outside if policy == "Local" else global_addresses(cluster, node)
                assert caller in owners, (policy, node)
            for there in outside:
                if family_of(there) is family:
                    assert seen_as(pod, client, there) == cluster.state.nodes["node2"].address(family)


def called(source: Host, to: tuple[str, int], taking: socket.socket) -> Address | None:
    """Whom the one that listens takes a new connection to come from, after some words both ways; None: there is none."""
    with source.entered():
        calling = socket.socket(taking.family)
    with calling:
        calling.settimeout(20)
        try:
            calling.connect(to)
        except OSError:
            return None
        taken, peer = taking.accept()
        with taken:
            taken.settimeout(20)
            for one, other in ((calling, taken), (taken, calling)):
                one.sendall(bytes(8192))
                assert len(other.recv(8192, socket.MSG_WAITALL)) == 8192
        return ip_address(peer[0])


def global_addresses(cluster: Cluster, node: str) -> set[Address]:
    """All addresses of a node."""
    links = cluster.host(node).ip_json("addr", "show")
    return {ip_address(one["local"]) for link in links for one in link["addr_info"] if one["scope"] == "global"}


@pytest.fixture
def led(installed: Release) -> Iterator[list[str]]:
    """The cluster addresses of a service whose endpoints are ports of node2: of its speaker, of its kubelet, of its tunnel."""
    cluster = installed.cluster
    metadata = {"name": "led", "namespace": "default"}
    entries = [{"name": name, "protocol": "UDP" if name == "tunnel" else "TCP"} for name in TO]
    ports = [{**one, "port": PORTS[one["name"]], "nodePort": NODE_PORTS[one["name"]]} for one in entries]
    spec = {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "ports": ports}
    slices = [
        endpoint_slice(
            metadata,
            family,
            {"addresses": [str(cluster.state.nodes["node2"].address(family))]},
            [{**one, "port": TO[one["name"]]} for one in entries],
        )
        for family in Family
    ]
    try:
        cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}, *slices)
        yield list(cluster.get("service", "led")["spec"]["clusterIPs"])
    finally:
        cluster.kubectl("delete", "service", "led", "--ignore-not-found")


def test_pods_speak_to_no_speaker_and_send_into_no_tunnel(
    installed: Release, pods: list[dict[str, Any]], bridged: list[dict[str, Any]], led: list[str]
) -> None:
    """By no address of any node, nor by a service that leads there, nor with another node's address as their own."""
    cluster = installed.cluster
    places = cluster.state.nodes
    nodes = [str(place.address(family)) for place in places.values() for family in Family]
    target = next(pod for pod in bridged if pod["spec"]["nodeName"] == "node2")
    victim = cluster.addresses(target)[Family.IPV4]
    to = {"node": "node2", "pod": victim, "port": INTRUDER_PORT}
    with ExitStack() as stack:
        hosts = [
            (stack.enter_context(cluster.attached(pod, pod["metadata"]["name"])), pod["spec"]["nodeName"])
            for pod in (*pods, *bridged)
        ]
        with next(host for host, _ in hosts if host.name == target["metadata"]["name"]).entered():
            taking = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        taking.bind((str(victim), INTRUDER_PORT))
        taking.settimeout(0.5)
        allowed = {*product(nodes, (KUBELET, NODE_PORTS["kubelet"])), *product(led, (PORTS["kubelet"],))}
        everything = set(product((host for host, _ in hosts), allowed))
        wait_for(lambda: reached(everything) == everything, deadline=60, what="kubelets are reached, by a service too")
        refused = {*product(nodes, (BGP_PORT, NODE_PORTS["speaker"])), *product(led, (PORTS["speaker"],))}
        forbidden = set(product((host for host, _ in hosts), refused))
        forbidden |= {(host, (one, BGP_PORT)) for host, node in hosts for one in own_addresses(cluster, host, node)}
        assert not reached(forbidden)
        for (host, _), place, family in product(hosts, (places["node2"], places["node1"]), Family):
            outside, text = place.address(family), f"{host.name} to {place.name}"
            send_into_tunnel(host, outside, text=text, **to)
            another = str(places["node3"].address(family))
            send_into_tunnel(host, outside, text=f"{text} as another", as_if=another, **to)
            send_into_tunnel(host, outside, text=f"{text} by a port of it", by=NODE_PORTS["tunnel"], **to)
        for (host, _), address in product(hosts, led):
            send_into_tunnel(host, ip_address(address), text=f"{host.name} by a service", by=PORTS["tunnel"], **to)
        heard: set[str] = set()

        def from_a_node() -> bool:
            """Nodes may: what was sent before would have come before."""
            for family in Family:
                send_into_tunnel(cluster.host("node3"), places["node2"].address(family), text=family.key, **to)
            with suppress(TimeoutError):
                while True:
                    heard.add(taking.recv(100).decode())
            return heard >= {family.key for family in Family}

        wait_for(from_a_node, deadline=60, what="a node's packets come out of the tunnel")
        assert heard == {family.key for family in Family}


def own_addresses(cluster: Cluster, pod: Host, node: str) -> set[str]:
    """All addresses of a pod's node, and on the cable that the pod hangs on those of the link, as the pod says them."""
    (cable,) = pod.ip_json("link", "show", "dev", "eth0")
    links = cluster.host(node).ip_json("addr", "show")
    (end,) = (link for link in links if link["ifindex"] == cable["link_index"])
    near = {end["ifname"], end.get("master")}
    return {str(address) for address in global_addresses(cluster, node)} | {
        f"{one['local']}%{cable['ifindex']}"
        for link in links
        if link["ifname"] in near
        for one in link["addr_info"]
        if one["scope"] == "link"
    }

"""Two nodes and a router on one switch, with pods on that network: real agents, the CNI project's plugins, and translation as kube-proxy's."""

import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.cluster.intrusion import reached
from tests.netns.agent.node import Node, made, made_block
from tests.netns.path.mtu import BEYOND, FAR, Way, beyond, forgetful, wait_learned_and_forgotten
from towpath.bgp.nodes import BGP_PORT
from towpath.lab import pods
from towpath.lab.netns import Host, Network
from towpath.lab.process import Process, wait_for
from towpath.model.net import Address, Family

SHIM = "tp-shim"
SUBNETS = ("10.0.0.{}/24", "fd00::{}/64")
NODES = {"a": 1, "b": 2, "c": 3}
ROUTER = 254
POOLS = {"v4": ("10.0.0.64/26", 28, "10.0.0.254"), "v6": ("fd00::1:0/112", 124, "fd00::254")}
BLOCKS = {"a": ("10.0.0.64/28", "fd00::1:0/124"), "b": ("10.0.0.80/28", "fd00::1:10/124")}
SERVICES = ("10.96.0.0/16", "fd00:96::/112")
SERVICE = {Family.IPV4: ip_address("10.96.0.10"), Family.IPV6: ip_address("fd00:96::10")}
PORT, NODE_PORT = 80, 30080
SERVER = """
import socket, sys, threading
def tcp(s):
    while True:
        c, peer = s.accept()
        c.sendall(sys.argv[1].encode()); c.close()
def udp():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", 80))
    print("listening", flush=True)
    while True:
        _, peer = s.recvfrom(100); s.sendto(sys.argv[1].encode(), peer)
taken = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
threading.Thread(target=tcp, args=(taken,), daemon=True).start(); udp()
"""
CLIENT = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind); s.settimeout(5)
s.connect((sys.argv[2], int(sys.argv[3])))
if kind == socket.SOCK_DGRAM: s.send(b"?")
print(s.recv(100).decode())
"""


def objects(*, nodes: tuple[str, ...] = ("a", "b"), **attachment: Any) -> list[dict[str, Any]]:
    """What nodes are told; ``attachment`` besides the gateway."""

    found = [
        made(
            "BGPConfiguration",
            "default",
            nodeToNodeMeshEnabled=False,
            serviceClusterIPs=[{"cidr": cidr} for cidr in SERVICES],
        )
    ]
    for name, (cidr, size, gateway) in POOLS.items():
        found.append(made("IPPool", name, cidr=cidr, blockSize=size, attachment={"gateway": gateway, **attachment}))
    for name in nodes:
        v4, v6 = (subnet.format(NODES[name]) for subnet in SUBNETS)
        found.append(made("RoutingNode", name, bgp={"ipv4Address": v4, "ipv6Address": v6}))
        addresses = [{"type": "InternalIP", "address": one.split("/")[0]} for one in (v4, v6)]
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}}
        found.append(node)
        for cidr, pool in zip(BLOCKS[name], POOLS, strict=True):
            found.append(made_block(cidr, name, pool))
    return found


class Segment:
    """The network, its nodes and their pods."""

    def __init__(self, network: Network, root: Path, told: list[dict[str, Any]], *, nodes: tuple[str, ...]) -> None:
        self.network, self.root = network, root
        self.switch, self.router = network.switch("sw"), network.host("gw")
        network.plug(self.switch, self.router)
        self.router.address(*(subnet.format(ROUTER) for subnet in SUBNETS), dev="eth0")
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, tuple[str, pods.Pod]] = {}
        self.servers: dict[str, Process] = {}
        for name in nodes:
            host = network.host(name)
            network.plug(self.switch, host)
            host.address(*(subnet.format(NODES[name]) for subnet in SUBNETS), dev="eth0")
            for subnet in SUBNETS:
                host.ip("route", "add", "default", "via", subnet.format(ROUTER).split("/")[0])
            at = root / name
            at.mkdir()
            self.nodes[name] = Node(host, at, told, name=name)

    def start(self) -> None:
        """Until each node gives pods addresses."""
        for node in self.nodes.values():
            node.speaker.start()
            node.start_agent()
        for node in self.nodes.values():
            self.wait(lambda node=node: node.plugin(), "the configuration", node)

    def wait(self, probe: Any, what: str, node: Node | None = None) -> None:
        """Wait, and show what the agents said if it does not come true."""
        try:
            wait_for(probe, deadline=60, what=what)
        except AssertionError as error:
            said = [f"{one.node.ip('addr')}\n{one.status()}\n{one.agent.log}" for one in self.nodes.values()]
            raise AssertionError("\n".join([str(error), *said])) from None

    def pod(self, name: str, node: str) -> Host:
        """A pod with a server that says its name."""
        host = self.network.host(name, forwarding=False)
        self.pods[name] = (node, pods.add(self.nodes[node].node, host, folder=self.nodes[node].cni))
        log = self.root / f"server-{name}.log"
        self.servers[name] = host.process(sys.executable, "-c", SERVER, name, log=log)
        wait_for(lambda: log.exists() and "listening" in log.read_text(), deadline=30, what=f"the server of {name}")
        return host

    def host(self, name: str) -> Host:
        """A pod, a node or the router."""
        return self.network.hosts[name]

    def address(self, name: str, family: Family) -> Address:
        """Of a pod, a node, the router or the host behind it."""
        if name in self.pods:
            found = self.pods[name][1].address(family)
            assert found is not None
            return found
        subnets, number = (BEYOND, FAR) if name == "far" else (SUBNETS, NODES.get(name, ROUTER))
        return ip_address(subnets[0 if family is Family.IPV4 else 1].format(number).partition("/")[0])

    def ways(self, *pairs: tuple[str, str]) -> list[Way]:
        """From the first of each pair to the second, in both families."""
        return [
            (self.host(source), self.host(target), self.address(target, family))
            for source, target in pairs
            for family in Family
        ]

    def learns(self, pod: str, *, meanwhile: Callable[[], object]) -> None:
        """A pod, and a host behind the router, learn what the router takes, and forget it; TCP does not stall either way."""
        with beyond(self.network, self.router) as far:
            forgetful(self.host(pod), far)
            ways = self.ways((pod, "far"), ("far", pod))
            wait_learned_and_forgotten(self.router, ways, meanwhile=meanwhile)

    def serve(self, node: str, target: str, *, port: int = PORT) -> None:
        """The services and the port of a node lead to a port of one pod, or of a node, by rules as kube-proxy has them."""
        lines = ["add table inet proxy", "delete table inet proxy", "table inet proxy {"]
        for hook in ("prerouting", "output"):
            lines += [f"chain {hook} {{", f"type nat hook {hook} priority -100;"]
            for family, ip in ((Family.IPV4, "ip"), (Family.IPV6, "ip6")):
                to = self.address(target, family)
                to_text = f"[{to}]" if to.version == 6 else str(to)
                led = to_text if port == PORT else f"{to_text}:{port}"
                own = self.address(node, family)
                lines += [
                    f"{ip} daddr {SERVICE[family]} meta l4proto {{ tcp, udp }} dnat {ip} to {led}",
                    f"{ip} daddr {own} tcp dport {NODE_PORT} dnat {ip} to {to_text}:{port}",
                ]
            lines.append("}")
        self.host(node).run("nft", "-f", "-", stdin="\n".join([*lines, "}\n"]))

    def answer(self, source: str, target: Address, *, port: int = PORT, by: str = "tcp") -> str:
        """What a server says; empty where none does."""
        command = (sys.executable, "-c", CLIENT, by, str(target), str(port))
        return self.host(source).run(*command, check=False).strip().rpartition("\n")[2]

    def speakers_reached(self, pod: str) -> set[tuple[str, str]]:
        """Those of the speakers that a pod gets a connection to, and by what: by an address, or as the endpoint of a service.

        It tries each address of all nodes, those of their links as well. That each listens, and that the service leads to
        it, is seen from where it may be asked.
        """
        at, host = self.pods[pod][0], self.host(pod)
        (cable,) = host.ip_json("link", "show", "dev", "eth0")
        addresses = [str(self.address(node, family)) for node in self.nodes for family in Family]
        everybody = {(self.router, (one, BGP_PORT)) for one in addresses}
        self.wait(lambda: reached(everybody) == everybody, "every speaker listens")
        near = [
            f"{entry['local']}%{cable['ifindex']}"
            for node in self.nodes
            for link in self.host(node).ip_json("-6", "addr", "show")
            for entry in link["addr_info"]
            if link["ifname"] in {"eth0", SHIM} and entry["scope"] == "link"
        ]
        tries = {(host, (one, BGP_PORT)) for one in (*addresses, *near)}
        found = {("itself", one[0]) for _, one in reached(tries)}
        services = [(str(address), PORT) for address in SERVICE.values()]
        for node in self.nodes:
            self.serve(at, node, port=BGP_PORT)
            if node != at:
                by_node = {(self.host(at), service) for service in services}
                self.wait(lambda by_node=by_node: reached(by_node) == by_node, f"the service leads to {node}")  # type: ignore[misc]  # bound now
            found |= {(f"service to {node}", one[0]) for _, one in reached((host, service) for service in services)}
        return found

    def reaches(self, source: str, target: str, *, size: int | None = 1500, wait: int = 3) -> dict[str, bool]:
        """Whether each family's whole packet is answered."""
        return {
            family.key: pods.ping(self.host(source), self.address(target, family), wait=wait, size=size)
            for family in Family
        }

    def leave(self, name: str) -> None:
        """Take a pod away, with its server."""
        self.servers.pop(name).stop()
        node, pod = self.pods.pop(name)
        at = self.nodes[node]
        pods.remove(at.node, self.host(name), folder=at.cni, container=pod.container)
        self.network.remove_host(name)

    def clear(self) -> None:
        """Take all pods and services away."""
        for name in list(self.pods):
            self.leave(name)
        for node in self.nodes:
            self.host(node).run("nft", "delete", "table", "inet", "proxy", check=False)

"""Two nodes whose pods have further interfaces, as Multus attaches them: on the nodes' other networks, with a router on each."""

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.netns.agent.node import Node, kernel, made, made_block
from towpath.lab import pods
from towpath.lab.netns import Network
from towpath.lab.process import wait_for
from towpath.lab.tools import towpath_ipam
from towpath.model.net import Address, Family

NUMBERS = {"a": 1, "b": 2, "gw": 254}
NODES = ("a", "b")


CANNOT_AT = "b"
"""The node that has pools which cannot be."""


def with_what_cannot_be(
    reader: str,
    pools: dict[str, dict[str, Any]],
    cannot: dict[str, tuple[str, dict[str, Any]]],
    blocks: dict[str, dict[str, str]],
) -> list[dict[str, Any]]:
    """What a node is told: these pools, one of them those beside that ``cannot`` be (what is said of each, its attachment)."""
    more = {
        name: {"cidr": f"10.7.{number}.0/24", "attachment": {"primary": False, **attachment}}
        for number, (name, (_, attachment)) in enumerate(cannot.items())
    }
    return objects({**pools, **(more if reader == CANNOT_AT else {})}, blocks)


def objects(pools: dict[str, dict[str, Any]], blocks: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """What a node is told: these pools, and each node with its blocks."""
    found = [made("BGPConfiguration", "default", clusterRoutes="Kubernetes", nodeToNodeMeshEnabled=False)]
    found += [made("IPPool", name, **spec) for name, spec in pools.items()]
    for name, own in blocks.items():
        address = f"10.0.0.{NUMBERS[name]}"
        found.append(made("RoutingNode", name, bgp={"ipv4Address": f"{address}/24"}))
        addresses = [{"type": "InternalIP", "address": address}]
        found.append(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}}
        )
        found += [made_block(cidr, name, pool) for cidr, pool in own.items()]
    return found


class Sites:
    """Two nodes on three networks, of which the last two are for pods as well, and a router on each."""

    def __init__(
        self, network: Network, root: Path, objects: Callable[[str], list[dict[str, Any]]], networks: tuple[str, ...]
    ) -> None:
        """``objects``: what each node is told, by name; ``networks``: those that both have."""
        self.network = network
        self.objects = objects
        self.networks = networks
        self.made: dict[str, tuple[str, pods.Pod, dict[str, pods.Pod]]] = {}
        switches = [network.switch(f"sw{one}") for one in range(3)]
        hosts = {name: network.host(name) for name in NUMBERS}
        for name, host in hosts.items():
            for number, switch in enumerate(switches):
                network.plug(switch, host, f"eth{number}")
            host.address(f"10.0.0.{NUMBERS[name]}/24", dev="eth0")
            host.address(f"10.9.0.{NUMBERS[name]}/24", f"fd09::{NUMBERS[name]}/64", dev="eth1")
        hosts["gw"].address("10.8.0.254/24", dev="eth2")
        for name in NODES:
            (root / name).mkdir()
        self.nodes = {name: Node(hosts[name], root / name, objects(name), name=name) for name in NODES}
        self.bin = root / "bin"
        self.bin.mkdir()
        for plugin in (*pods.PLUGINS.iterdir(), towpath_ipam()):
            (self.bin / plugin.name).symlink_to(plugin)
        for node in self.nodes.values():
            node.options["--cni-bin-dir"] = self.bin
        self.before = {name: kernel(one.node) for name, one in self.nodes.items()}

    def start(self) -> None:
        """Until each node has all configurations."""
        for node in self.nodes.values():
            node.speaker.start()
            node.start_agent()
        for node in self.nodes.values():
            self.wait(
                lambda node=node: has(node.cni) and all(has(node.networks, each) for each in self.networks), "them"
            )

    def wait(self, probe: Any, what: str) -> None:
        """Wait, and show what the agents said if it does not come true."""
        try:
            wait_for(probe, deadline=60, what=what)
        except AssertionError as error:
            said = [f"{one.node.ip('addr')}\n{one.status()}\n{one.agent.log}" for one in self.nodes.values()]
            raise AssertionError("\n".join([str(error), *said])) from None

    def pod(self, name: str, at: str, **networks: str) -> None:
        """A pod with further interfaces, as Multus attaches them: after its own one, for the same container."""
        node, host = self.nodes[at], self.network.host(name, forwarding=False)
        own = pods.add(node.node, host, folder=node.cni, plugins=self.bin)
        more: dict[str, pods.Pod] = {}
        self.made[name] = at, own, more
        node.write(self.told(at))
        for interface, network in networks.items():
            more[interface] = self.attach(name, interface, network)

    def attach(self, name: str, interface: str, network: str) -> pods.Pod:
        """One more interface."""
        at, own, _ = self.made[name]
        return pods.add(
            self.nodes[at].node,
            self.network.hosts[name],
            folder=self.nodes[at].networks,
            network=network,
            interface=interface,
            container=own.container,
            plugins=self.bin,
        )

    def detach(self, name: str, interface: str, network: str) -> None:
        """That one again."""
        at, own, _ = self.made[name]
        self._remove(
            at, name, folder=self.nodes[at].networks, network=network, interface=interface, container=own.container
        )

    def own_goes(self, name: str) -> None:
        """The runtime takes a pod away, and nobody its further interfaces."""
        at, own, _ = self.made.pop(name)
        self._remove(at, name, folder=self.nodes[at].cni, container=own.container)
        self.network.remove_host(name)

    def _remove(self, at: str, name: str, **what: Any) -> None:
        pods.remove(self.nodes[at].node, self.network.hosts[name], plugins=self.bin, **what)

    def are_as_they_were(self) -> None:
        """Take all pods away, clean up, and compare with what each node was before; at the end of all tests."""
        for name, (_, _, more) in list(self.made.items()):
            for interface in list(more):
                self.detach(name, interface, self.networks[int(interface.removeprefix("net")) - 1])
            self.own_goes(name)
        for name, node in self.nodes.items():
            node.clean_up()
            assert (list(node.networks.iterdir()), list(node.cni.iterdir())) == ([], [])
            assert kernel(node.node) == self.before[name]

    def answer(self, number: int, wanted: dict[tuple[str, str], bool], *, family: Family = Family.IPV4) -> None:
        """On one of the networks each pair reaches each other, or does not; no neighbour is known before."""
        for name in (*self.made, *NUMBERS):
            self.network.hosts[name].ip("neigh", "flush", "all")
        for pair, answered in wanted.items():
            if answered:
                self.wait(lambda pair=pair: self.reaches(*pair, number, family=family), f"{pair} on network {number}")
            else:
                assert not self.reaches(*pair, number, family=family, wait=1), pair

    def told(self, at: str, *, without: str = "") -> list[dict[str, Any]]:
        """What a node is told, its pods included; ``without`` a pool."""
        bound = [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": at},
                "status": {
                    "phase": "Running",
                    "podIP": str(own.address(Family.IPV4)),
                    "podIPs": [{"ip": str(own.address(Family.IPV4))}],
                },
            }
            for name, (node, own, _) in self.made.items()
            if node == at
        ]
        return [*(one for one in self.objects(at) if one["metadata"]["name"] != without), *bound]

    def refused(self, name: str, interface: str, network: str) -> str:
        """What a pod is told that cannot have an interface; it must not get it."""
        with pytest.raises(pods.PluginError) as said:
            self.attach(name, interface, network)
        return str(said.value)

    def given(self, at: str, network: str) -> set[str]:
        """The containers that have something of a network on a node."""
        folder = self.nodes[at].run_dir / "cni" / network
        return {one.read_text().split()[0] for one in folder.iterdir() if one.name[0].isdigit()}

    def on(self, name: str, number: int, family: Family = Family.IPV4) -> Address:
        """The address of a pod, a node or the router on one of the networks."""
        if name in self.made:
            found = self.made[name][2][f"net{number}"].address(family)
            assert found is not None
            return found
        return ip_address(f"10.{10 - number}.0.{NUMBERS[name]}" if family is Family.IPV4 else f"fd09::{NUMBERS[name]}")

    def reaches(self, source: str, target: str, number: int, *, family: Family = Family.IPV4, wait: int = 3) -> bool:
        """Whether a whole packet on one of the networks is answered."""
        return pods.ping(self.network.hosts[source], self.on(target, number, family), wait=wait, size=1500)


def has(folder: Any, network: str = "") -> bool:
    try:
        return bool(pods.conflist(folder, network))
    except pods.NotReadyError:
        return False


def told(node: Node) -> dict[str, str]:
    """What a node refuses of pools: reason and field."""
    refused = node.status().get("refusals", ())
    return {one["name"]: f"{one['reason']} {one['field'].removeprefix('spec.attachment.')}" for one in refused}


def names(node: Node) -> set[str]:
    return {one.name for one in node.networks.iterdir()}

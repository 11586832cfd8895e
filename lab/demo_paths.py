"""The ways that ``./dev demo --path`` can send packets between nodes, and the chapter that shows the one chosen."""

from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct

from towpath.lab import facts, pods
from towpath.lab.addressing import RACK_A, TOR
from towpath.lab.shape import NO_MESH, Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family, family_of
from towpath.routes.shim import SHIM


class Way(Struct, frozen=True, kw_only=True):
    """How packets go from node to node."""

    words: str
    shape: Shape
    kind: str = ""
    """Of the device that they leave by; empty: they go as they are."""
    pods: str = ""
    """Kind of the pods' own devices, where not every kernel has it."""
    mode: Literal["Always", "CrossSubnet", "Never"] = "Never"
    beside: bool = False
    """Pods are on the network of their nodes."""

    def by_tunnel(self, lab: Lab, node: str, other: str) -> bool:
        """Whether packets from one node to another should leave by a tunnel."""
        racks = {name: place.rack for name, place in lab.state.nodes.items()}
        return self.mode == "Always" or (self.mode == "CrossSubnet" and racks[node] != racks[other])


_MACVLAN = {"type": "macvlan", "master": "eth0", "mode": "bridge"}
WAYS: Mapping[str, Way] = {
    "bgp": Way(words="as they are, by routes that BGP brought", shape=Shape(nodes=3)),
    "host-gw": Way(
        words="as they are, by routes that follow from the objects, without a mesh",
        shape=Shape(3, configuration=NO_MESH),
    ),
    "vxlan": Way(words="by VXLAN", shape=Shape(3, pool={"vxlanMode": "Always"}), kind="vxlan", mode="Always"),
    "vxlan-multicast": Way(
        words="by VXLAN whose nodes find each other in a group",
        shape=Shape(3, pool={"vxlanMode": "Always", "vxlan": {"discovery": "Multicast", "group": "239.1.1.1"}}),
        kind="vxlan",
        mode="Always",
    ),
    "cross-subnet": Way(
        words="as they are within a subnet, and by VXLAN to node3 behind the router",
        shape=Shape(3, rack_b=1, pool={"vxlanMode": "CrossSubnet"}),
        kind="vxlan",
        mode="CrossSubnet",
    ),
    "ipvlan": Way(
        words="as they are, by routes that BGP brought, to pods that are behind eth0 of their node (ipvlan, mode l3)",
        shape=Shape(3, pool={"attachment": {"type": "ipvlan", "master": "eth0", "mode": "l3"}}),
        pods="ipvlan",
    ),
    "ipip": Way(
        words="by IP-in-IP",
        shape=Shape(3, families=(Family.IPV4,), pool={"ipipMode": "Always"}),
        kind="ipip",
        mode="Always",
    ),
    "macvlan": Way(
        words="as those of any machine on the network",
        shape=Shape(
            nodes=3,
            pools={
                family.key: {
                    "cidr": cidr,
                    "blockSize": size,
                    "attachment": {**_MACVLAN, "gateway": str(RACK_A.address(family, TOR))},
                }
                for family, cidr, size in (
                    (Family.IPV4, "192.0.2.128/25", 28),
                    (Family.IPV6, "2001:db8:a::1:0/112", 124),
                )
            },
        ),
        beside=True,
    ),
}


class Crossing(Struct, frozen=True):
    """What a packet from a pod to a pod of another node meets."""

    source: str
    target: str
    family: Family
    route: str
    """As the node has it."""
    mtu: int
    """Of the sending pod."""
    as_wanted: bool
    """It leaves by a device of the kind that it should."""
    whole: bool
    """A packet as large as the pod may send arrives, and nobody takes it apart."""


def crossings(lab: Lab, way: Way) -> Iterator[Crossing]:
    """Between all pods of different nodes, one way each."""
    owners = facts.blocks(lab)
    running = sorted(lab.pods.values(), key=lambda pod: pod.name)
    for pod in running:
        routes = facts.kernel_routes(lab, pod.node)
        tunnels = (
            {link["ifname"] for link in lab.host(pod.node).ip_json("link", "show", "type", way.kind)}
            if way.kind
            else set()
        )
        (link,) = lab.host(pod.name).ip_json("link", "show", "dev", "eth0")
        for other in (one for one in running if one.node != pod.node):
            for family in lab.families:
                address = other.address(family)
                assert address is not None, f"{other.name} has no {family.key} address"
                block = next(prefix for prefix in owners if family_of(prefix) is family and address in prefix)
                route = routes[block]
                yield Crossing(
                    source=pod.name,
                    target=other.name,
                    family=family,
                    route=f"{block} via {route['gateway']} dev {route['dev']}",
                    mtu=link["mtu"],
                    as_wanted=(route["dev"] in tunnels) == way.by_tunnel(lab, pod.node, other.node),
                    whole=pods.ping(lab.host(pod.name), address, wait=3, size=link["mtu"]),
                )


def by_shim(lab: Lab) -> list[tuple[str, str, str, str]]:
    """Each node with its blocks, the device by which it reaches their pods, and the address from which it does."""
    return [
        (node, str(prefix), str(route["dev"]), str(route.get("prefsrc", "")))
        for node in lab.nodes
        for prefix, route in facts.kernel_routes(lab, node, protocol="static").items()
        if route["dev"] == SHIM
    ]


def unheard(lab: Lab) -> list[str]:
    """Nodes and pods of theirs of which one does not answer the other's largest packet."""
    found: list[str] = []
    for pod in lab.pods.values():
        (link,) = lab.host(pod.name).ip_json("link", "show", "dev", "eth0")
        own = {family_of(address): address for address in lab.node_addresses(pod.node)}
        for family in lab.families:
            theirs = pod.address(family)
            assert theirs is not None, f"{pod.name} has no {family.key} address"
            for source, target in ((pod.node, theirs), (pod.name, own[family])):
                if not pods.ping(lab.host(source), target, wait=3, size=link["mtu"]):
                    found.append(f"{source} to {target}")
    return found

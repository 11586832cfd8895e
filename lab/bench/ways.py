"""The ways from pod to pod that ``./dev bench paths`` measures: what of a lab asks for each, and the same made by hand with ``ip`` commands.

By hand it takes two nodes with one pod each: their addresses on the network between them, an address of the pod's own, and
what leads to the other's.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from towpath.lab.addressing import RACK_A, TOR
from towpath.lab.netns import Host
from towpath.lab.shape import NO_MESH, Shape
from towpath.model.net import Family


class Place(Struct, frozen=True):
    """One of two nodes that are made by hand."""

    number: int
    outside: str
    """Its address on the network of the nodes, without a length."""

    @property
    def pods(self) -> str:
        """What is given to its pods, if they are on no network of the nodes."""
        return f"10.20.{self.number}.0/24"

    def pod(self, last: int) -> str:
        """An address of that."""
        return f"10.20.{self.number}.{last}"


NEAR = (Place(1, "192.0.2.1"), Place(2, "192.0.2.2"))
"""In one subnet."""
FAR = (Place(1, "192.0.2.1"), Place(2, "198.51.100.1"))
"""With a router between them."""


class Way(Struct, frozen=True):
    """How packets go between the pods of two nodes."""

    name: str
    asked: Mapping[str, Any]
    """What of the lab's shape asks for it."""
    attach: Callable[[Host, Host, Place], str]
    """Attach a pod to a node: its address."""
    lead: Callable[[Host, Place, Place], None] | None
    """Lead what is for the other node's pods there; None: pods are on the nodes' network."""
    mtu: int = 1500
    """Of the pods."""
    places: tuple[Place, Place] = NEAR
    kind: str = ""
    """Of a device that not every kernel has."""

    @property
    def shape(self) -> Shape:
        """A lab of two nodes that have it."""
        racks: dict[str, Any] = {"rack_b": 1} if self.places == FAR else {}
        return Shape(nodes=2, controllers=1, families=(Family.IPV4,), **racks, **self.asked)


# -- pods by hand -----------------------------------------------------------------------------------------------------------


def _cable(node: Host, pod: Host, place: Place) -> str:
    """A cable of its own."""
    node.network.link(node, "pod", pod, "eth0")
    node.address("10.20.0.1/32", dev="pod")
    pod.address(f"{place.pod(2)}/32", dev="eth0")
    pod.ip("route", "add", "10.20.0.1", "dev", "eth0")
    pod.ip("route", "add", "default", "via", "10.20.0.1")
    node.ip("route", "add", place.pod(2), "dev", "pod")
    return place.pod(2)


def _bridge(node: Host, pod: Host, place: Place) -> str:
    """A port of a bridge that has the node's address."""
    node.network.link(node, "pod", pod, "eth0")
    node.ip("link", "add", "br0", "type", "bridge")
    node.ip("link", "set", "dev", "pod", "master", "br0")
    node.ip("link", "set", "dev", "br0", "up")
    node.address(f"{place.pod(1)}/24", dev="br0")
    pod.address(f"{place.pod(2)}/24", dev="eth0")
    pod.ip("route", "add", "default", "via", place.pod(1))
    return place.pod(2)


def _beside(node: Host, pod: Host, kind: str, mode: str) -> None:
    """A device on the node's interface, in the pod."""
    node.ip("link", "add", "link", "eth0", "name", "pod", "type", kind, "mode", mode)
    node.ip("link", "set", "dev", "pod", "netns", pod.netns)
    pod.ip("link", "set", "dev", "pod", "name", "eth0")
    pod.ip("link", "set", "dev", "eth0", "up")


def _on_network(kind: str, mode: str) -> Callable[[Host, Host, Place], str]:
    """On the network of the nodes."""

    def attach(node: Host, pod: Host, place: Place) -> str:
        _beside(node, pod, kind, mode)
        pod.address(f"192.0.2.{100 + place.number}/24", dev="eth0")
        return f"192.0.2.{100 + place.number}"

    return attach


def _behind(mode: str) -> Callable[[Host, Host, Place], str]:
    """By ipvlan, with an address that the network does not know."""

    def attach(node: Host, pod: Host, place: Place) -> str:
        _beside(node, pod, "ipvlan", mode)
        pod.address(f"{place.pod(2)}/32", dev="eth0")
        pod.ip("route", "add", "default", "dev", "eth0")
        return place.pod(2)

    return attach


# -- from node to node by hand ----------------------------------------------------------------------------------------------


def _direct(node: Host, _mine: Place, other: Place) -> None:
    node.ip("route", "add", other.pods, "via", other.outside)


def _vxlan(node: Host, mine: Place, other: Place) -> None:
    _end(node, mine, "nolearning")
    node.ip("neigh", "add", other.pod(0), "lladdr", _mac(other), "dev", "vx", "nud", "permanent")
    node.run("bridge", "fdb", "add", _mac(other), "dev", "vx", "dst", other.outside, "self", "permanent")
    node.ip("route", "add", other.pods, "via", other.pod(0), "dev", "vx", "onlink")


def _vxlan_by_group(node: Host, mine: Place, other: Place) -> None:
    _end(node, mine, "group", "239.1.1.1", "dev", "eth0")
    node.ip("route", "add", other.pods, "via", other.pod(0), "dev", "vx", "onlink")


def _mac(place: Place) -> str:
    return f"66:00:00:00:00:0{place.number}"


def _end(node: Host, mine: Place, *options: str) -> None:
    vxlan = ("type", "vxlan", "id", "4096", "local", mine.outside, "dstport", "4789")
    node.ip("link", "add", "vx", *vxlan, *options)
    node.ip("link", "set", "dev", "vx", "address", _mac(mine), "mtu", "1450", "up")
    node.run("ethtool", "-K", "vx", "tx-checksum-ip-generic", "off")
    node.address(f"{mine.pod(0)}/32", dev="vx")


def _ipip(node: Host, mine: Place, other: Place) -> None:
    node.ip("link", "add", "ipip", "type", "ipip", "local", mine.outside)
    node.ip("link", "set", "dev", "ipip", "mtu", "1480", "up")
    node.ip("route", "add", other.pods, "via", other.outside, "dev", "ipip", "onlink")


# -- all of them ------------------------------------------------------------------------------------------------------------


def _underlay(kind: str, mode: str) -> dict[str, Any]:
    gateway = str(RACK_A.address(Family.IPV4, TOR))
    attachment = {"type": kind, "master": "eth0", "mode": mode, "gateway": gateway}
    return {"pools": {Family.IPV4.key: {"cidr": "192.0.2.128/25", "blockSize": 28, "attachment": attachment}}}


def _pool(**fields: Any) -> dict[str, Any]:
    return {"pool": fields}


_GROUP = {"discovery": "Multicast", "group": "239.1.1.1"}


def _ipvlan(mode: str) -> Way:
    asked = _pool(attachment={"type": "ipvlan", "master": "eth0", "mode": mode})
    return Way(f"ipvlan {mode}", asked, _behind(mode), _direct, kind="ipvlan")


WAYS = (
    Way("BGP, direct", {}, _cable, _direct),
    Way("host-gw", {"configuration": NO_MESH}, _cable, _direct),
    Way("VXLAN", _pool(vxlanMode="Always"), _cable, _vxlan, mtu=1450),
    Way("VXLAN by multicast", _pool(vxlanMode="Always", vxlan=_GROUP), _cable, _vxlan_by_group, mtu=1450),
    Way("CrossSubnet, to the other rack", _pool(vxlanMode="CrossSubnet"), _cable, _vxlan, mtu=1450, places=FAR),
    Way("BGP, pods on a bridge", _pool(attachment={"type": "bridge"}), _bridge, _direct),
    Way("macvlan", _underlay("macvlan", "bridge"), _on_network("macvlan", "bridge"), None),
    Way("IP-in-IP", _pool(ipipMode="Always"), _cable, _ipip, mtu=1480, kind="ipip"),
    Way("ipvlan l2", _underlay("ipvlan", "l2"), _on_network("ipvlan", "l2"), None, kind="ipvlan"),
    _ipvlan("l3"),
    _ipvlan("l3s"),
)
"""In the order in which they are measured."""

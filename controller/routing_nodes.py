"""What other nodes need to know of a node, made from its Node object: labels, addresses, AS number, cluster id.

A bad annotation is reported and the field keeps the last good value, so one typing error moves no session.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import TypeVar

from msgspec import Struct

from towpath.ipam.pools import is_excluded
from towpath.model.cluster import Cluster, Node, RoutingNode
from towpath.model.delta import exchanged
from towpath.model.kinds.node import NodeBGP, RoutingNodeSpec
from towpath.model.kinds.values import ASNumber
from towpath.model.net import Family, Interface, parse_interface
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.resource import Meta, OwnerReference, Resource

AS_NUMBER = "towpath.io/as-number"
CLUSTER_ID = "towpath.io/route-reflector-cluster-id"
ADDRESS = {family: f"towpath.io/{family.key}-address" for family in Family}
T = TypeVar("T")
U = TypeVar("U")


class RoutingNodes(Struct, frozen=True):
    """The RoutingNodes that should be, by name, those that are not as they should be, and refused annotations.

    ``desired`` is the cache's own and good until its next look.
    """

    desired: Mapping[str, RoutingNode]
    outdated: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def routing_nodes(cluster: Cluster) -> RoutingNodes:
    """One RoutingNode for each node that runs Linux and is not left out by ``towpath.io/exclude``."""
    return RoutingNodeCache().look(cluster)


class RoutingNodeCache:
    """What was made of a Node is good as long as neither it nor its RoutingNode is another value: told by identity."""

    def __init__(self) -> None:
        self._seen = Cluster()
        self._desired: dict[str, RoutingNode] = {}
        self._refusals: dict[str, tuple[Refusal, ...]] = {}
        self._outdated: set[str] = set()
        self._left_out: set[str] = set()

    def look(self, cluster: Cluster, *, keeps: Callable[[str], bool] = lambda _name: False) -> RoutingNodes:
        """The RoutingNodes that this snapshot should have.

        ``keeps``: whether a node has blocks that are in use. One that is left out by now keeps its RoutingNode until
        they are empty: others must find the way to its pods.
        """
        before, self._seen = self._seen, cluster
        touched = {name for name, _, _ in exchanged(before.nodes, cluster.nodes)}
        touched |= {name for name, _, _ in exchanged(before.routing_nodes, cluster.routing_nodes)}
        for name in touched | self._left_out:
            self._judge(name, cluster, keeps)
        return RoutingNodes(
            desired=self._desired,
            outdated=tuple(sorted(self._outdated)),
            refusals=tuple(refusal for name in sorted(self._refusals) for refusal in self._refusals[name]),
        )

    def _judge(self, name: str, cluster: Cluster, keeps: Callable[[str], bool]) -> None:
        node, there = cluster.nodes.get(name), cluster.routing_nodes.get(name)
        self._desired.pop(name, None)
        self._refusals.pop(name, None)
        self._outdated.discard(name)
        self._left_out.discard(name)
        if node is None or node.meta.deletion_timestamp:
            return
        if is_excluded(node):
            self._left_out.add(name)
            if not keeps(name):
                return
        refusals: list[Refusal] = []
        self._desired[name] = routing_node(node, before=there, refusals=refusals)
        if refusals:
            self._refusals[name] = tuple(refusals)
        if there is None or not is_current(there, self._desired[name]):
            self._outdated.add(name)


def routing_node(node: Node, *, before: RoutingNode | None, refusals: list[Refusal]) -> RoutingNode:
    """The RoutingNode of a node; what is wrong with its annotations is appended to ``refusals``."""
    last_good = before.spec.bgp if before is not None and before.spec.node_uid == node.meta.uid else NodeBGP()

    def annotated(key: str, parse: Callable[[str], T], *, otherwise: U, last: U) -> T | U:
        text = node.meta.annotations.get(key)
        if text is None:
            return otherwise
        try:
            return parse(text)
        except ValueError as error:
            where = Why("Node", node.meta.name, f"metadata.annotations[{key}]")
            refusals.append(Refusal(Reason.INVALID_SPEC, str(error), where))
            return last

    def address(family: Family, last: Interface | None) -> Interface | None:
        listed = next((one for one in node.addresses if one.version == family), None)
        otherwise: Interface | None = None if listed is None else parse_interface(str(listed))
        fallback: Interface | None = otherwise if last is None else last
        return annotated(ADDRESS[family], _INTERFACES[family], otherwise=otherwise, last=fallback)

    bgp = NodeBGP(
        as_number=annotated(AS_NUMBER, ASNumber.parse, otherwise=None, last=last_good.as_number),
        route_reflector_cluster_id=annotated(
            CLUSTER_ID, _cluster_id, otherwise=None, last=last_good.route_reflector_cluster_id
        ),
        ipv4_address=address(Family.IPV4, last_good.ipv4_address),
        ipv6_address=address(Family.IPV6, last_good.ipv6_address),
    )
    owner = OwnerReference(api_version="v1", kind="Node", name=node.meta.name, uid=node.meta.uid)
    meta = Meta(name=node.meta.name, labels=node.meta.labels, owner_references=(owner,))
    return Resource("RoutingNode", meta, RoutingNodeSpec(bgp=bgp, node_uid=node.meta.uid))


def is_current(actual: RoutingNode, desired: RoutingNode) -> bool:
    """Whether what is there says what it should; version, status and annotations are not ours to compare."""
    return (
        actual.spec == desired.spec
        and actual.meta.labels == desired.meta.labels
        and actual.meta.owner_references == desired.meta.owner_references
    )


def _ipv4_interface(text: str) -> Interface:
    return _interface(text, Family.IPV4)


def _ipv6_interface(text: str) -> Interface:
    return _interface(text, Family.IPV6)


_INTERFACES: Mapping[Family, Callable[[str], Interface]] = {
    Family.IPV4: _ipv4_interface,
    Family.IPV6: _ipv6_interface,
}


def _interface(text: str, family: Family) -> Interface:
    value = parse_interface(text)
    if value.version != family:
        raise ValueError(f"{text!r} is no IPv{family.value} address")
    ip = value.ip
    if ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local:
        raise ValueError(f"{text!r} cannot be a node's address: other nodes must reach it")
    return value


def _cluster_id(text: str) -> str:
    """Four bytes, written as an IPv4 address (RFC 4456 §7)."""
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ValueError(f"{text!r} is no cluster id: four numbers as in an IPv4 address") from None

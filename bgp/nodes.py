"""The nodes of a cluster as BGP speakers: what each is, after all overrides, whichever node asks.

Precedence is the same for every field: the RoutingNode, then ``BGPConfiguration/node.NAME``, then ``default``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from msgspec import Struct

from towpath.model.blocks import node_addresses
from towpath.model.cluster import BGPPeer, Cluster
from towpath.model.kinds.bgp import DEFAULT_AS, BGPConfigurationSpec, LogSeverity, Timers
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.memo import remembered
from towpath.model.net import Address, Family, Prefix, family_of

BGP_PORT = 179
_NO_TIMERS = Timers()
_EMPTY = BGPConfigurationSpec()


class NodeView(Struct, frozen=True):
    """One node as a speaker."""

    name: str
    labels: Mapping[str, str]
    addresses: Mapping[Family, Address]
    subnets: Mapping[Family, Prefix]
    """The subnet of each address; one address alone where its length is not known."""
    as_number: int
    listen_port: int
    cluster_id: IPv4Address | None = None
    """Set on route reflectors."""

    @property
    def reflector(self) -> bool:
        """Whether the node is a route reflector: it has no part in the mesh."""
        return self.cluster_id is not None

    def shared(self, address: Address) -> Prefix | None:
        """The subnet that the node shares with an address."""
        subnet = self.subnets.get(family_of(address))
        return subnet if subnet is not None and address in subnet else None


class Nodes(Struct, frozen=True):
    """All nodes in name order, and the node that has an address."""

    by_name: dict[str, NodeView]
    by_address: dict[Address, NodeView]

    def __iter__(self) -> Iterator[NodeView]:
        """The nodes in name order."""
        return iter(self.by_name.values())


@remembered
def node_views(cluster: Cluster) -> Nodes:
    """Every RoutingNode as a speaker. Of two nodes with one address the first in name order has it."""
    return assembled(node_view(cluster, name) for name in sorted(cluster.routing_nodes))


def node_view(cluster: Cluster, name: str) -> NodeView:
    """One RoutingNode of the cluster as a speaker."""
    node = cluster.routing_nodes[name]
    own = configuration_of(cluster, name)
    interfaces = node_addresses(node)
    return NodeView(
        name=name,
        labels=node.meta.labels,
        addresses={family: interface.ip for family, interface in interfaces.items()},
        subnets={family: interface.network for family, interface in interfaces.items()},
        as_number=int(node.spec.bgp.as_number or own.as_number or cluster.bgp.as_number or DEFAULT_AS),
        listen_port=own.listen_port or cluster.bgp.listen_port or BGP_PORT,
        cluster_id=_cluster_id(node.spec.bgp.route_reflector_cluster_id),
    )


def assembled(views: Iterable[NodeView]) -> Nodes:
    """Views, given in name order, with the one that has each address."""
    by_name: dict[str, NodeView] = {}
    by_address: dict[Address, NodeView] = {}
    for view in views:
        by_name[view.name] = view
        for address in view.addresses.values():
            by_address.setdefault(address, view)
    return Nodes(by_name, by_address)


def configuration_of(cluster: Cluster, node: str) -> BGPConfigurationSpec:
    """The object ``node.NAME``, or an empty one: fields that it does not set are None."""
    found = cluster.configurations.get(f"node.{node}")
    return found.spec if found else _EMPTY


def timer_levels(cluster: Cluster, node: str) -> tuple[Timers, ...]:
    """The timers that hold for a node's sessions, the more particular first."""
    return (configuration_of(cluster, node).timers or _NO_TIMERS, cluster.bgp.timers or _NO_TIMERS)


def log_severity(cluster: Cluster, node: str) -> LogSeverity:
    """How much the processes of a node log."""
    return configuration_of(cluster, node).log_severity_screen or cluster.bgp.log_severity_screen or "Info"


def is_global(spec: BGPPeerSpec) -> bool:
    """Whether a peer is every node's."""
    return spec.node is None and spec.node_selector is None


class _Ordered(Struct, frozen=True):
    """The peers in the order in which they count, and which of them an address or a selector makes one with a node."""

    peers: tuple[BGPPeer, ...]
    by_address: dict[Address, list[int]]
    """Places in ``peers``."""
    by_selector: list[int]


@remembered
def _ordered(peers: Mapping[str, BGPPeer]) -> _Ordered:
    ordered = tuple(sorted(peers.values(), key=lambda peer: (not is_global(peer.spec), peer.name)))
    by_address: dict[Address, list[int]] = {}
    by_selector = []
    for place, peer in enumerate(ordered):
        if peer.spec.peer_ip is not None:
            by_address.setdefault(peer.spec.peer_ip.address, []).append(place)
        if peer.spec.peer_selector is not None:
            by_selector.append(place)
    return _Ordered(ordered, by_address, by_selector)


def in_order(peers: Mapping[str, BGPPeer]) -> tuple[BGPPeer, ...]:
    """The peers in the order in which they count: global ones first, then by name."""
    return _ordered(peers).peers


def perhaps_with(peers: Mapping[str, BGPPeer], address: Address) -> list[BGPPeer]:
    """Those of the peers that name an address, or any by a selector, in the order in which they count: the others are no node's that has it."""
    found = _ordered(peers)
    places = sorted({*found.by_address.get(address, ()), *found.by_selector})
    return [found.peers[place] for place in places]


def applies(spec: BGPPeerSpec, node: NodeView) -> bool:
    """Whether ``node`` has the session or sessions that this peer asks for."""
    if spec.node is not None:
        return spec.node == node.name
    return spec.node_selector is None or spec.node_selector.selects(node.name, node.labels)


def points_at(spec: BGPPeerSpec, node: NodeView) -> bool:
    """Whether the peer has to do with ``node`` as the other end, rightly or wrongly."""
    if spec.peer_selector is not None:
        return spec.peer_selector.selects(node.name, node.labels)
    return spec.peer_ip is not None and spec.peer_ip.address in node.addresses.values()


def means(spec: BGPPeerSpec, node: NodeView, family: Family) -> bool:
    """Whether the peer is ``node``'s speaker: selected, or its address with its AS and its port."""
    if spec.peer_selector is not None:
        return spec.peer_selector.selects(node.name, node.labels)
    peer = spec.peer_ip
    if peer is None or peer.address != node.addresses.get(family):
        return False
    return spec.as_number == node.as_number and peer.port in (None, node.listen_port)


def listens(own: Address | None, peer: Address) -> bool:
    """Whether this side of a session between two nodes waits: the side whose peer has the larger address, as text, does."""
    return own is not None and str(peer) > str(own)


def router_id(cluster: Cluster, node: str) -> IPv4Address:
    """The node's router id: as written, else its IPv4 address, else a hash of its name (RULES: objects, routerID)."""
    found = cluster.routing_nodes.get(node)
    written = (
        (found.spec.bgp.router_id if found else None)
        or configuration_of(cluster, node).router_id
        or cluster.bgp.router_id
    )
    if written and written != "hash":
        return IPv4Address(written)
    address = node_addresses(found).get(Family.IPV4) if found and not written else None
    return IPv4Address(int(address.ip)) if address is not None else hashed_router_id(node)


def _cluster_id(text: str | None) -> IPv4Address | None:
    return None if text is None else IPv4Address(text)


def hashed_router_id(node: str) -> IPv4Address:
    """The first four bytes of SHA-256 of the name, the first of them minus 32 if it is over 223 (no class D or E)."""
    digest = bytearray(hashlib.sha256(node.encode()).digest()[:4])
    if digest[0] > 223:
        digest[0] -= 32
    return IPv4Address(bytes(digest))

"""The network between a node and the others, which its tunnels go through, as its own kernel has it, and what is wrong with it."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster, RoutingNode
from towpath.model.encapsulation import tunnels
from towpath.model.memo import Pieces, remembered
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Reason, Refusal, Why
from towpath.routes.devices.device import Vxlan
from towpath.routes.devices.plan import TunnelPlan
from towpath.routes.kernel import Link
from towpath.routes.resolve import Resolver

Seen = frozenset[tuple[Address | int, Link | int | None]]
Network = tuple[Family, int]
"""A subnet by its first address: of many nodes a few, and cheap to compare."""


class Underlay:
    """The interfaces of one node."""

    def __init__(self, node: str, resolver: Resolver) -> None:
        self._node = node
        self._resolver = resolver

    def _own(self, cluster: Cluster) -> Mapping[Family, Address]:
        me = cluster.routing_nodes.get(self._node)
        return {family: one.ip for family, one in node_addresses(me).items()} if me is not None else {}

    def groups(self, cluster: Cluster) -> dict[int, int]:
        """Numbers of the interfaces on which groups are joined, as far as they are there, by the tunnel's number."""
        mine = self._own(cluster)
        found: dict[int, int] = {}
        for tunnel in tunnels(cluster.pools).values():
            if tunnel.group is None or tunnel.vni in found:
                continue
            if tunnel.interface:
                number = self._resolver.named(tunnel.interface)
            else:
                own = mine.get(family_of(tunnel.group))
                link = self._resolver.carrying(own) if own is not None else None
                number = link.index if link is not None else None
            if number is not None:
                found[tunnel.vni] = number
        return found

    def seen(self, cluster: Cluster) -> Seen:
        """All that a plan is made from of it: another value where something is another."""
        own = ((one, self._resolver.carrying(one)) for one in self._own(cluster).values())
        ways = ((link.index, link) for link in self._ways(cluster))
        return frozenset((*own, *ways, *self.groups(cluster).items()))

    def interfaces(self, cluster: Cluster) -> frozenset[str]:
        """Those by which packets to other nodes leave, whichever have this node's addresses: the default route's, if by that."""
        return frozenset(link.name for link in self._ways(cluster))

    def _ways(self, cluster: Cluster) -> frozenset[Link]:
        firsts: list[Address] = [
            IPv4Address(number) if family is Family.IPV4 else IPv6Address(number)
            for family, number in _networks(cluster.routing_nodes)
        ]
        return frozenset[Link]().union(*map(self._resolver.towards, firsts))


def _networks_of(node: RoutingNode) -> frozenset[Network]:
    return frozenset((family, int(one.network.network_address)) for family, one in node_addresses(node).items())


_NETWORKS_OF: Pieces[frozenset[Network]] = Pieces(_networks_of)


@remembered
def _networks(nodes: Mapping[str, RoutingNode]) -> frozenset[Network]:
    """Those that nodes have addresses in."""
    return frozenset[Network]().union(*_NETWORKS_OF.of(nodes).values())


def refused_devices(problems: Mapping[str, tuple[Reason, str]], plan: TunnelPlan, *, node: Why) -> Iterator[Refusal]:
    """What is wrong with tunnels: a kernel that lacks a kind is the node's matter, all else that of the pools that ask for them."""
    for name, (reason, said) in problems.items():
        device = plan.devices.get(name)
        pools = [one for one in device.why if one.kind == "IPPool"] if device is not None else []
        if reason is Reason.KERNEL_LACKS or device is None or not pools:
            yield Refusal(reason, said, node)
            continue
        for one in pools:
            field = "spec.vxlan" if isinstance(device.link, Vxlan) else one.field
            yield Refusal(reason, said, Why(one.kind, one.name, field))


def silent_ends(silent: Mapping[str, tuple[Address, ...]], plan: TunnelPlan) -> Iterator[Refusal]:
    """Tunnels whose group brings no answer."""
    for name, lost in silent.items():
        device = plan.devices.get(name)
        pools = [one.name for one in device.why if one.kind == "IPPool"] if device is not None else []
        if device is None or not isinstance(device.link, Vxlan) or not pools:
            continue
        message = (
            f"{len(lost)} of {len(plan.entries[name].ends)} nodes do not answer in {name} ({lost[0]}):"
            f" the network has to carry packets to the group {device.link.group} between all nodes"
        )
        yield Refusal(Reason.ENDS_NOT_FOUND, message, Why("IPPool", pools[0], "spec.vxlan.group"))

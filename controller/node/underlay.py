"""The network that a node's tunnels go through, as its own kernel has it, and what is wrong with it."""

from collections.abc import Iterator, Mapping

from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster
from towpath.model.encapsulation import tunnels
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Reason, Refusal, Why
from towpath.routes.devices.device import Vxlan
from towpath.routes.devices.plan import TunnelPlan
from towpath.routes.kernel import Link
from towpath.routes.programmer import Programmer

Seen = frozenset[tuple[Address | int, Link | int | None]]


class Underlay:
    """The interfaces of one node."""

    def __init__(self, node: str, programmer: Programmer) -> None:
        self._node = node
        self._programmer = programmer

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
                number = self._programmer.device(tunnel.interface)
            else:
                own = mine.get(family_of(tunnel.group))
                link = self._programmer.carrying(own) if own is not None else None
                number = link.index if link is not None else None
            if number is not None:
                found[tunnel.vni] = number
        return found

    def seen(self, cluster: Cluster) -> Seen:
        """All that a plan is made from of it: another value where something is another."""
        own = ((one, self._programmer.carrying(one)) for one in self._own(cluster).values())
        return frozenset((*own, *self.groups(cluster).items()))


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

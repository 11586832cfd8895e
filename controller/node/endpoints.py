"""The node's own addresses in tunnels: kept from pods, and with what it sends while a pod has one of them from before.

That is its ordinary address of the family. Where it has none the kernel would take the gateway that the plugin ptp puts on the
cable of every pod: every node has it, and no answer would come back. So the node keeps another address of the same block then:
who answers finds the way by the block.
"""

from collections.abc import Collection, Iterator

from towpath.controller.node.parts import Pods, Taken
from towpath.ipam.underlay import gateways
from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster
from towpath.model.encapsulation import own_endpoints
from towpath.model.net import Address, family_of
from towpath.model.reason import Reason, Refusal, Why


def hold(pods: Pods, cluster: Cluster, node: str, *, live: bool) -> Taken:
    """Keep the node's own addresses in tunnels from pods, and those of routers; of the first those that pods had before.

    Not ``live``: nothing is kept that was not before.
    """
    if live:
        pods.take_over(cluster)
    own, me = own_endpoints(cluster, node), cluster.routing_nodes.get(node)
    ordinary = {family: one.ip for family, one in node_addresses(me).items()} if me is not None else {}
    lived_at = frozenset(pods.addresses())
    spare = {
        address: pods.spare(cluster, block, fresh=live)
        for block, address in own.items()
        if address in lived_at and family_of(address) not in ordinary
    }
    if live:
        wanted = frozenset(own.values())
        lived_at = pods.hold(wanted | gateways(cluster) | frozenset(one for one in spare.values() if one is not None))
    found: dict[Address, Address | None] = {}
    for address in own.values():
        if address in lived_at:
            instead = ordinary.get(family_of(address), spare.get(address))
            found[address] = None if instead in lived_at else instead
    return found


def without_more(cluster: Cluster, node: str, taken: Taken, *, has: Collection[Address]) -> Taken:
    """What is ``taken`` where no address may be added to a device: also what the node does not have on one."""
    to_come = {one for one in own_endpoints(cluster, node).values() if one not in has}
    return {**dict.fromkeys(to_come), **{one: instead if instead in has else None for one, instead in taken.items()}}


def refusals(taken: Taken, node: str) -> Iterator[Refusal]:
    """What people may want to know of them."""
    for address, instead in taken.items():
        meanwhile = (
            f"until then the node sends with {instead}"
            if instead is not None
            else f"until then pods of other nodes answer nothing that the node itself asks them by {family_of(address).key},"
            " as no address of the block is free for it: delete the pod"
        )
        message = f"a pod has {address}, which would be the node's own address in the tunnel: it is once the pod is gone; {meanwhile}"
        yield Refusal(Reason.TUNNEL_ADDRESS_TAKEN, message, Why("Node", node))

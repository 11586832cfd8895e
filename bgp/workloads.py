"""Sessions with pods on the node itself: who is selected, and the address that they peer with (localWorkloadSelector).

A pod dials the peering address of its node from its own address, and the node waits. Only a pod that has an address of
this node's blocks counts, and its word counts for itself alone: each of its paths leads to it or is refused.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from towpath.bgp.advertise import is_used
from towpath.bgp.nodes import NodeView, applies, configuration_of
from towpath.model.blocks import by_node, in_force
from towpath.model.cluster import BGPPeer, Cluster
from towpath.model.memo import remembered
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Why
from towpath.model.speaker import Session
from towpath.model.workload import Workload

FIELD = "spec.localWorkloadSelector"


def peering_addresses(cluster: Cluster, me: NodeView) -> Mapping[Family, Address]:
    """What pods on a node peer with, in each family; none unless a BGPPeer asks for it."""
    return {family: address for family, (address, _) in peering_causes(cluster, me).items()}


def peering_causes(cluster: Cluster, me: NodeView) -> Mapping[Family, tuple[Address, Why]]:
    """The same, each with what says so: the node's own configuration before the cluster's."""
    if not asked(cluster, me):
        return {}
    levels = ((f"node.{me.name}", configuration_of(cluster, me.name)), ("default", cluster.bgp))
    found: dict[Family, tuple[Address, Why]] = {}
    for family in Family:
        for name, said in levels:
            address = said.local_workload_peering_ipv4 if family is Family.IPV4 else said.local_workload_peering_ipv6
            if address is not None:
                why = Why("BGPConfiguration", name, f"spec.localWorkloadPeeringIPV{family:d}")
                found.setdefault(family, (address, why))
    return found


def asked(cluster: Cluster, me: NodeView) -> bool:
    """Whether any BGPPeer of a node selects pods."""
    return any(applies(one.spec, me) for one in _selecting(cluster.peers))


@remembered
def _selecting(peers: Mapping[str, BGPPeer]) -> tuple[BGPPeer, ...]:
    return tuple(one for one in peers.values() if one.spec.local_workload_selector is not None)


def at_home(cluster: Cluster, node: str, workloads: Iterable[Workload]) -> list[Workload]:
    """The pods of a node, by name, each with those of its addresses that lie in the node's blocks."""
    blocks = [one.spec.cidr for one in by_node(in_force(cluster.blocks)).get(node, ()) if is_used(one)]
    found = []
    for one in sorted(workloads, key=lambda each: each.key):
        if one.node == node:
            inside = (address for address in one.addresses if any(address in block for block in blocks))
            found.append(replace(one, addresses=tuple(inside)))
    return found


def with_workload(session: Session, workload: Workload) -> Session:
    """``session``, made for an address of a pod, as the one with that pod: it dials, and nobody else is meant."""
    return replace(
        session,
        passive=True,
        peer_node=None,
        shared_subnet=None,
        own_hops=workload.addresses,
        why=(session.why[0], Why("Pod", workload.key, "metadata.labels")),
    )


def of_family(workload: Workload) -> Mapping[Family, Address]:
    """The address that a pod speaks from in each family: the first that it has."""
    return {family_of(address): address for address in reversed(workload.addresses)}

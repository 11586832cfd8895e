"""Routes that a node needs to reach its peers at all: to the peer's address alone, through the gateway of ``reachableBy``."""

from collections.abc import Mapping

from msgspec import Struct

from towpath.bgp.nodes import applies, in_order, node_views
from towpath.model.cluster import Cluster
from towpath.model.net import Address, Prefix, host_prefix
from towpath.model.reason import Why


class Gateway(Struct, frozen=True):
    """The way to a peer, and the object that asks for it."""

    address: Address
    why: Why


def gateways(cluster: Cluster, node: str) -> Mapping[Prefix, Gateway]:
    """The /32 and /128 of ``node``'s peers with ``reachableBy``; of two for one address the first in order counts.

    A peer that is shut down keeps its route: the last words of its session go that way.
    """
    me = node_views(cluster).by_name.get(node)
    found: dict[Prefix, Gateway] = {}
    if me is None:
        return found
    for peer in in_order(cluster.peers):
        spec = peer.spec
        if spec.reachable_by is None or spec.peer_ip is None or not applies(spec, me):
            continue
        if spec.peer_ip.address in (spec.reachable_by, *me.addresses.values()):
            continue
        why = Why("BGPPeer", peer.name, "spec.reachableBy")
        found.setdefault(host_prefix(spec.peer_ip.address), Gateway(spec.reachable_by, why))
    return found

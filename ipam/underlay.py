"""Pods on the network that nodes are on: their pools, the interface (master) whose network it is, and what of it fits.

A pool of macvlan, or of ipvlan l2 (``Attachment.on_underlay``), is a part of the subnet of its master. Its pods have that
subnet's prefix length and their own router; packets to them are delivered by the network itself, so that nobody announces
or routes their blocks (``model.blocks.on_underlay``). They pass their own node by: the only things that they reach by it
are the node itself and services, which its translation knows, and to that end the node has a device beside theirs, the shim
(``routes.shim``), or a switch that sends back what came from it (``Attachment.by_shim``). Everything here follows from the pool and the node's interfaces; another kind of device on a master is
another entry in the two tables of kinds and modes (``model.kinds.ipam``, ``routes.shim``).

A network beside that of all pods (``Attachment.primary``) leads to no node and no service, which pods reach by their own one.
Its master need not have an address: the pool is the whole subnet then.

With ipvlan l3 and l3s pods have addresses of their own, which are routed to their node as those of ptp are, and what they send
the node routes, but by the master alone. Nothing is translated on the way in, so services need the same care.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from towpath.model.cluster import Cluster, IPPool
from towpath.model.links import NodeLink
from towpath.model.net import Address, Family, Prefix, contains, family_of, host_prefix
from towpath.model.reason import Reason, Refusal, Why

OUTSIDE_DHCP = "towpath.io/outside-dhcp"
"""Annotation of a pool whose addresses the network's DHCP server is known not to lend."""


class Ground(Struct, frozen=True):
    """What pods of a pool stand on, on one node."""

    subnet: Prefix
    """That pods live in: the master's, around the pool, or the pool itself."""
    source: Address | None
    """The node's own address on the master; None: it has none, and pods do not reach it there."""


def ground(pool: IPPool, links: Mapping[str, NodeLink]) -> Ground | Refusal:
    """The ground of a pool on a node with these interfaces, or why it has none."""
    wanted, cidr = pool.spec.attachment, pool.spec.cidr
    assert wanted.master is not None
    master = links.get(wanted.master)
    if master is None:
        return _refusal(pool, "master", f"there is no interface {wanted.master}")
    if master.enslaved:
        return _refusal(pool, "master", f"{wanted.master} is a port of a bridge, and nothing else can be on it")
    if (other := _in_the_way(pool, master)) is not None:
        return other
    if not wanted.on_underlay:
        own_ones = [
            one.ip for one in master.addresses if family_of(one.ip) is family_of(cidr) and not one.ip.is_link_local
        ]
        if not own_ones:
            return _refusal(pool, "master", f"{wanted.master} has no {family_of(cidr).key} address")
        return Ground(cidr, own_ones[0])
    if wanted.whole and (taken := [one.ip for one in master.addresses if not one.ip.is_link_local]):
        return _refusal(
            pool, "master", f"{wanted.master} has the address {taken[0]} of the node, which loses it to a pod"
        )
    around = [one for one in master.addresses if contains(one.network, cidr) and one.ip not in cidr]
    if not around and not wanted.primary and all(one.ip not in cidr for one in master.addresses):
        if wanted.gateway is None or wanted.gateway in cidr:
            return Ground(cidr, None)
        message = (
            f"{wanted.gateway} is not in {cidr}, which is the subnet where {wanted.master} has no address around it"
        )
        return _refusal(pool, "gateway", message)
    if not around:
        return _refusal(pool, "master", f"{wanted.master} has no address in a subnet around {cidr}, and outside of it")
    gateway = wanted.gateway
    routed = [one for one in around if gateway is None or (gateway in one.network and gateway != one.ip)]
    if not routed:
        subnets = " or ".join(str(one.network) for one in around)
        return _refusal(pool, "gateway", f"{gateway} is no other's address in {subnets}, the subnet around {cidr}")
    own = max(routed, key=lambda one: one.network.prefixlen)
    return Ground(own.network, own.ip)


def _in_the_way(pool: IPPool, master: NodeLink) -> Refusal | None:
    """A device of somebody else's that pods cannot share the master with: of another kind, or an ipvlan whose mode would change."""
    wanted = pool.spec.attachment
    for kind, mode, name in master.above:
        if kind == wanted.type == "macvlan" and (wanted.whole or mode == "passthru"):
            return _refusal(
                pool, "mode", f"{name} is on {wanted.master} too, where passthru leaves no place for others"
            )
        if kind != wanted.type:
            return _refusal(
                pool, "type", f"{name} is a {kind} device on {wanted.master}, where {wanted.type} has no place then"
            )
        if wanted.type == "ipvlan" and mode != wanted.mode:
            return _refusal(
                pool, "mode", f"{name} is an ipvlan device on {wanted.master}, and all there have one mode: {mode}"
            )
    return None


def mtu_refusal(pool: IPPool, links: Mapping[str, NodeLink]) -> Refusal | None:
    """That the master takes less than the pool asks for."""
    wanted = pool.spec.attachment
    taken = links[wanted.master].mtu if wanted.master is not None and wanted.master in links else None
    if wanted.mtu is None or taken is None or wanted.mtu <= taken:
        return None
    message = f"{wanted.mtu} is more than the {taken} that {wanted.master} takes: new pods get {taken} there"
    return Refusal(Reason.ATTACHMENT_MTU, message, Why("IPPool", pool.name, "spec.attachment.mtu"))


def dhcp_refusal(pool: IPPool, links: Mapping[str, NodeLink]) -> Refusal | None:
    """That the node's own address in the pool's subnet is a DHCP server's, which may lend addresses of the pool to others.

    Of IPv6 nobody counts addresses of a subnet: those that routers have hosts make up are not taken from a range.
    """
    wanted, cidr = pool.spec.attachment, pool.spec.cidr
    if not wanted.on_underlay or pool.meta.annotations.get(OUTSIDE_DHCP) == "true":
        return None
    master = links.get(wanted.master) if wanted.master is not None else None
    for one in master.leased if master is not None else ():
        if family_of(cidr) is Family.IPV4 and contains(one.network, cidr):
            message = (
                f"{wanted.master} has {one} from a DHCP server, which may lend addresses of {cidr} to others as well:"
                f" leave them out of its range, and say so with the annotation {OUTSIDE_DHCP}: 'true'"
            )
            return Refusal(Reason.ATTACHMENT_DHCP, message, Why("IPPool", pool.name, "spec.cidr"))
    return None


def gateways(cluster: Cluster) -> frozenset[Address]:
    """The routers of the networks that pods are on, as far as they lie in the pools: no pod is to have such an address."""
    pools = (pool.spec for pool in cluster.pools.values())
    return frozenset(
        one.attachment.gateway for one in pools if one.attachment.gateway and one.attachment.gateway in one.cidr
    )


def routes(
    grounds: Iterable[Ground],
    *,
    link_local: Address | None,
    node: Mapping[Family, Address],
    services: Iterable[Prefix],
) -> list[dict[str, str]]:
    """What pods reach by their node, as routes of their CNI configuration: the node's own addresses and services.

    Of IPv4 the shim answers for the node's address in the subnet, of IPv6 it has the ``link_local`` one; None: the node
    itself answers, by way of the switch.
    """
    ways = {
        family_of(one.subnet): one.source if link_local is None or family_of(one.subnet) is Family.IPV4 else link_local
        for one in grounds
        if one.source is not None
    }
    targets = (*(host_prefix(one) for one in node.values()), *services)
    return [
        {"dst": str(target), "gw": str(ways[family_of(target)])}
        for target in targets
        if family_of(target) in ways and host_prefix(ways[family_of(target)]) != target
    ]


def _refusal(pool: IPPool, field: str, message: str) -> Refusal:
    text = f"{message}: new pods get no address of this pool there"
    return Refusal(Reason.ATTACHMENT_MASTER, text, Why("IPPool", pool.name, f"spec.attachment.{field}"))

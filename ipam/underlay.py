"""Pods on the network that nodes are on: their pools, the interface (master) whose network it is, and what of it fits.

A pool with such an attachment (``Attachment.on_underlay``) is a part of the subnet of its master. Its pods have that
subnet's prefix length and their own router; packets to them are delivered by the network itself, so that nobody announces
or routes their blocks (``model.blocks.on_underlay``). They pass their own node by: the only things that they reach by it
are the node itself and services, which its translation knows, and to that end the node has a device beside theirs, the shim
(``routes.shim``), or a switch that sends back what came from it (``Attachment.by_shim``). Everything here follows from the pool and the node's interfaces; another kind of device on a master is
another entry in the two tables of kinds and modes (``model.kinds.ipam``, ``routes.shim``).
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from towpath.model.cluster import Cluster, IPPool
from towpath.model.links import NodeLink
from towpath.model.net import Address, Family, Prefix, contains, family_of, host_prefix
from towpath.model.reason import Reason, Refusal, Why


class Ground(Struct, frozen=True):
    """What pods of a pool stand on, on one node."""

    subnet: Prefix
    """Of the master, around the pool."""
    source: Address
    """The node's own address in it."""


def ground(pool: IPPool, links: Mapping[str, NodeLink]) -> Ground | Refusal:
    """The ground of a pool on a node with these interfaces, or why it has none."""
    wanted, cidr = pool.spec.attachment, pool.spec.cidr
    assert wanted.master is not None
    master = links.get(wanted.master)
    if master is None:
        return _refusal(pool, "master", f"there is no interface {wanted.master}")
    if master.enslaved:
        return _refusal(pool, "master", f"{wanted.master} is a port of a bridge, and nothing else can be on it")
    around = [one for one in master.addresses if contains(one.network, cidr) and one.ip not in cidr]
    if not around:
        return _refusal(pool, "master", f"{wanted.master} has no address in a subnet around {cidr}, and outside of it")
    own = max(around, key=lambda one: one.network.prefixlen)
    if wanted.gateway is None or wanted.gateway not in own.network or wanted.gateway == own.ip:
        return _refusal(pool, "gateway", f"{wanted.gateway} is no other's address in {own.network}, the pods' subnet")
    return Ground(own.network, own.ip)


def mtu_refusal(pool: IPPool, links: Mapping[str, NodeLink]) -> Refusal | None:
    """That the master takes less than the pool asks for."""
    wanted = pool.spec.attachment
    taken = links[wanted.master].mtu if wanted.master is not None and wanted.master in links else None
    if wanted.mtu is None or taken is None or wanted.mtu <= taken:
        return None
    message = f"{wanted.mtu} is more than the {taken} that {wanted.master} takes: new pods get {taken} there"
    return Refusal(Reason.ATTACHMENT_MTU, message, Why("IPPool", pool.name, "spec.attachment.mtu"))


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

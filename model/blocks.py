"""Which blocks count, which pool each is of, and where a node is: decided here, once, for everybody who reads the objects."""

from collections.abc import Mapping

from towpath.model.cluster import IPAMBlock, IPPool, NodeStatus, RoutingNode
from towpath.model.force import InForce, Owned
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.kinds.node import BlockReport
from towpath.model.memo import remembered
from towpath.model.net import Family, Interface, Prefix, contains

_IN_FORCE, _OWNED = InForce(), Owned()


@remembered
def in_force(blocks: Mapping[str, IPAMBlock]) -> Mapping[Prefix, IPAMBlock]:
    """The blocks of a snapshot that count, by CIDR: those that no older one overlaps, of equally old ones by name.

    Blocks of every state are judged, and one that is out of force itself still bars those younger than it: what two
    nodes could both have used does not come into force by the going of a third.
    """
    return _IN_FORCE.of(blocks)


@remembered
def by_node(blocks: Mapping[Prefix, IPAMBlock]) -> Mapping[str, tuple[IPAMBlock, ...]]:
    """The blocks in force of each node that has any, in the order of their addresses: the same object while it is the same."""
    return _OWNED.of(blocks)


def reported(statuses: Mapping[str, NodeStatus]) -> Mapping[tuple[str, Prefix], BlockReport]:
    """What each node reports of a block: how full it is, by node and CIDR."""
    return {
        (name, one.cidr): one
        for name, status in statuses.items()
        if status.status is not None
        for one in status.status.blocks
    }


def node_addresses(node: RoutingNode) -> Mapping[Family, Interface]:
    """The addresses of a node by family: the specification's, with the prefix length that the node found in its kernel."""
    found: dict[Family, Interface] = {}
    for family, given, seen in (
        (Family.IPV4, node.spec.bgp.ipv4_address, node.status.ipv4_address if node.status else None),
        (Family.IPV6, node.spec.bgp.ipv6_address, node.status.ipv6_address if node.status else None),
    ):
        if given is None:
            continue
        bare = given.network.prefixlen == family.bits
        found[family] = seen if bare and seen is not None and seen.ip == given.ip else given
    return found


def pool_around(block: IPAMBlockSpec, pools: Mapping[str, IPPool]) -> IPPool | None:
    """The pool that a block lies in: the one that it names, else whichever holds it."""
    named = pools.get(block.pool)
    if named is not None and contains(named.spec.cidr, block.cidr):
        return named
    return pool_holding(block.cidr, pools)


def pool_name(block: IPAMBlockSpec, pools: Mapping[str, IPPool]) -> str:
    """The name of that pool; where it is not there any more, the one that the block names."""
    pool = pool_around(block, pools)
    return pool.name if pool is not None else block.pool


def on_underlay(block: IPAMBlockSpec, pools: Mapping[str, IPPool]) -> bool:
    """Whether a block's pods are on the nodes' own network: its addresses are found there, and nobody needs a route to them.

    What is left of a pool beside pods' own network is taken for such a one: another's network is not announced by mistake.
    """
    pool = pool_around(block, pools)
    return pool.spec.attachment.on_underlay if pool is not None else not block.primary


def is_beside(block: IPAMBlockSpec, pools: Mapping[str, IPPool]) -> bool:
    """Whether a block's addresses are of a network beside pods' own: its pool says so, and where that is gone the block."""
    pool = pool_around(block, pools)
    return not (pool.spec.attachment.primary if pool is not None else block.primary)


def is_ending(pool: IPPool) -> bool:
    """Whether a pool has been deleted and stays until its blocks are empty."""
    return bool(pool.meta.deletion_timestamp)


def is_open(pool: IPPool) -> bool:
    """Whether blocks are still cut from a pool: nobody has disabled or deleted it."""
    return not (pool.spec.disabled or is_ending(pool))


def pool_holding(prefix: Prefix, pools: Mapping[str, IPPool]) -> IPPool | None:
    """The first pool that a prefix lies in."""
    return next((pool for pool in pools.values() if contains(pool.spec.cidr, prefix)), None)

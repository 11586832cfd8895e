"""Pools for some pods only: of namespaces that a pool selects, or that ask for an address in it.

All other pools are common. A node has blocks of these before any pod is there; of a pool for some it gets one once such a
pod is bound to it, and gives it back when the last is gone. Pods of a namespace that is selected take addresses of its
pools alone, in the families that these have.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from towpath.ipam.attachment import attached_to, matches, node_of
from towpath.ipam.pools import has_address, reaches
from towpath.model.blocks import is_open, node_addresses, pool_around, pool_holding
from towpath.model.cluster import Cluster, IPPool
from towpath.model.kinds.node import PoolNeed
from towpath.model.net import Address, Family, Prefix, block_name, family_of, host_prefix

Labels = Mapping[str, str]


class Bound(Struct, frozen=True):
    """A pod that is bound to the node and needs an address of each family."""

    namespace: str
    has_address: bool
    asks_for: tuple[Address, ...] = ()


class Needs(Struct, frozen=True):
    """What the pods of a node need: addresses of common pools, of others, and single ones."""

    common: int = 0
    apart: tuple[PoolNeed, ...] = ()
    addresses: tuple[Address, ...] = ()


NOTHING = Needs()


def pools_of(cluster: Cluster, node: str) -> tuple[IPPool, ...]:
    """The pools in force that serve a node, disabled ones included, from a snapshot of the store."""
    found = cluster.routing_nodes.get(node)
    own = node_of(cluster, node)
    known = set(node_addresses(found)) if found else set()
    known |= {family for family in Family if has_address(own, family)}
    refused = attached_to(cluster, node).refusals
    return tuple(
        pool
        for name, pool in sorted(cluster.pools.items())
        if pool.spec.attachment.primary and matches(pool, own) and name not in refused and reaches(pool, known)
    )


def up_front(pools: Iterable[IPPool]) -> tuple[IPPool, ...]:
    """Those, of a node's pools, of which it has blocks before any pod is there.

    Where none is common it is those that need not be asked for: a node without a block would never be ready for a pod.
    """
    enabled = [pool for pool in pools if is_open(pool)]
    common = tuple(pool for pool in enabled if pool.spec.is_common)
    return common or tuple(pool for pool in enabled if pool.spec.assignment_mode == "Automatic")


def apart(pools: Collection[IPPool]) -> frozenset[str]:
    """The names of those of which a node gets blocks by need."""
    always = {pool.name for pool in up_front(pools)}
    return frozenset(pool.name for pool in pools if not pool.spec.is_common and pool.name not in always)


def in_apart(cluster: Cluster, node: str, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
    """Those of a node's blocks that lie in such pools, whether these serve the node by now or not."""
    if all(pool.spec.is_common for pool in cluster.pools.values()):
        return frozenset()
    return by_need(pools_around(cluster, blocks), pools_of(cluster, node))


def by_need(around: Mapping[Prefix, IPPool], pools: Iterable[IPPool]) -> frozenset[Prefix]:
    """Those of a node's blocks, each with its pool, that it has by need; ``pools``: those that serve the node."""
    always = {pool.name for pool in up_front(pools)}
    return frozenset(cidr for cidr, pool in around.items() if not pool.spec.is_common and pool.name not in always)


def pools_around(cluster: Cluster, blocks: Iterable[Prefix]) -> Mapping[Prefix, IPPool]:
    """The pool of each of these blocks, which are in the snapshot, as far as it lies in one."""
    found = ((cidr, cluster.blocks.get(block_name(cidr))) for cidr in blocks)
    around = {cidr: pool_around(one.spec, cluster.pools) for cidr, one in found if one is not None}
    return {cidr: pool for cidr, pool in around.items() if pool is not None}


def pools_here(cluster: Cluster, node: str, blocks: Iterable[Prefix]) -> tuple[IPPool, ...]:
    """The pools that serve a node, and those that it has these blocks of."""
    found = {pool.name: pool for pool in (*pools_of(cluster, node), *pools_around(cluster, blocks).values())}
    return tuple(found[name] for name in sorted(found))


def serving(pools: Iterable[IPPool], namespace: str, labels: Labels) -> tuple[IPPool, ...]:
    """The pools, of these, that pods of a namespace take addresses from without asking."""
    automatic = [pool for pool in pools if pool.spec.assignment_mode == "Automatic"]
    own = tuple(pool for pool in automatic if pool.spec.namespace_selector and selects(pool, namespace, labels))
    return own or tuple(pool for pool in automatic if pool.spec.is_common)


def selects(pool: IPPool, namespace: str, labels: Labels) -> bool:
    """Whether a pool is for pods of a namespace, be it that they have to ask."""
    selector = pool.spec.namespace_selector
    return selector is None or selector.selects(namespace, labels)


def may_ask(pools: Iterable[IPPool], pool: IPPool, namespace: str, labels: Labels) -> bool:
    """Whether a pod may have an address of a pool that it asks for; ``pools``: the node's of that family."""
    by_hand = pool.spec.assignment_mode == "Manual" and selects(pool, namespace, labels)
    return by_hand or pool.name in {one.name for one in serving(pools, namespace, labels)}


def kept_apart(pools: Iterable[IPPool], namespaces: Mapping[str, Labels]) -> frozenset[str]:
    """The namespaces whose pods do not take addresses of common pools, in one family at least."""
    chosen = [pool for pool in pools if pool.spec.namespace_selector and pool.spec.assignment_mode == "Automatic"]
    return frozenset(
        name
        for name, labels in namespaces.items()
        if any(selects(pool, name, labels) and not pool.spec.is_common for pool in chosen)
    )


def needs_of(pods: Iterable[Bound], pools: Collection[IPPool], namespaces: Mapping[str, Labels]) -> Needs:
    """What the pods of a node need of its pools; of a namespace nobody knows yet the common ones."""
    by_need, common = apart(pools), 0
    counts: dict[tuple[str, ...], tuple[int, int]] = {}
    addresses: set[Address] = set()
    families = {family: [pool for pool in pools if family_of(pool.spec.cidr) is family] for family in Family}
    known: dict[tuple[str, Family], tuple[str, ...]] = {}
    for pod in pods:
        labels = namespaces.get(pod.namespace, {})
        in_common = False
        for family, candidates in families.items():
            for address in pod.asks_for:
                pool = pool_holding(host_prefix(address), {one.name: one for one in candidates})
                if pool is not None and may_ask(candidates, pool, pod.namespace, labels):
                    addresses.add(address)
            if any(family_of(address) is family for address in pod.asks_for):
                continue
            key = pod.namespace, family
            if key not in known:
                known[key] = tuple(one.name for one in serving(candidates, pod.namespace, labels))
            names = known[key]
            if names and by_need.issuperset(names):
                all_of_them, waiting = counts.get(names, (0, 0))
                counts[names] = all_of_them + 1, waiting + (not pod.has_address)
            else:
                in_common = True
        common += in_common
    found = tuple(PoolNeed(names, pods=many, waiting=some) for names, (many, some) in sorted(counts.items()))
    return Needs(common, found, tuple(sorted(addresses, key=lambda one: (one.version, int(one)))))

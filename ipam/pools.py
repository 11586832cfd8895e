"""Which pools are in force, and which a node gets its blocks from."""

from collections.abc import Container, Mapping, Sequence

from msgspec import Struct

from towpath.ipam.attachment import attached, matches
from towpath.model.cluster import Cluster, IPPool, Node
from towpath.model.kinds.ipam import IPAMConfigurationSpec
from towpath.model.net import Family, family_of
from towpath.model.overlap import pools_in_force
from towpath.model.reason import Reason, Refusal, Why

EXCLUDE = "towpath.io/exclude"
OPERATING_SYSTEM = "kubernetes.io/os"
ADDRESS = "towpath.io/"
"""What the annotations that name a node's address begin with; the family and ``-address`` follow."""


class Pools(Struct, frozen=True):
    """The pools in force by family, each family in name order, and what was refused."""

    families: Mapping[Family, tuple[IPPool, ...]]
    refusals: tuple[Refusal, ...] = ()
    named: Mapping[str, IPPool] = {}
    """All that are in force."""

    def of(self, node: Node, family: Family) -> Sequence[IPPool]:
        """The pools of a family that serve a node: its labels match, its pods are attached so, and others find the way to them; disabled ones included."""
        here = self._here(node)
        refused = attached(here).refusals
        serving = [
            pool
            for pool in here
            if pool.spec.attachment.primary and family_of(pool.spec.cidr) is family and pool.name not in refused
        ]
        families = _addressed(node)
        return [pool for pool in serving if reaches(pool, families)]

    def beside(self, node: Node) -> Sequence[IPPool]:
        """The networks of a node beside that of all pods, disabled ones included."""
        families = _addressed(node)
        return [pool for pool in attached(self._here(node)).beside if reaches(pool, families)]

    def _here(self, node: Node) -> list[IPPool]:
        return [pool for pools in self.families.values() for pool in pools if matches(pool, node)]


def pools_by_family(cluster: Cluster) -> Pools:
    """The pools that count (``model.overlap``); a snapshot of the store has no others, files may."""
    winners, losers = pools_in_force(cluster.pools, cluster.blocks.values())
    families = {
        family: tuple(pool for _, pool in sorted(winners.items()) if family_of(pool.spec.cidr) is family)
        for family in Family
    }
    refusals = tuple(_overlap(cluster, name, winner) for name, winner in sorted(losers.items()))
    return Pools(families, refusals, winners)


def _overlap(cluster: Cluster, name: str, winner: str) -> Refusal:
    message = (
        f"{cluster.pools[name].spec.cidr} overlaps {cluster.pools[winner].spec.cidr} "
        f"of IPPool/{winner}, which stays in force"
    )
    return Refusal(Reason.OVERLAPPING_POOL, message, Why("IPPool", name, "spec.cidr"))


def is_excluded(node: Node) -> bool:
    """Whether a label or annotation leaves a node out, or it does not run Linux."""
    system = node.operating_system or node.meta.labels.get(OPERATING_SYSTEM, "")
    return EXCLUDE in node.meta.labels or EXCLUDE in node.meta.annotations or system not in ("", "linux")


def takes_part(node: Node, configuration: IPAMConfigurationSpec) -> bool:
    """Whether a node gets blocks at all."""
    if is_excluded(node) or node.meta.deletion_timestamp:
        return False
    selector = configuration.node_selector
    return selector is None or selector.selects(node.meta.name, node.meta.labels)


def reaches(pool: IPPool, families: Container[Family]) -> bool:
    """Whether others find the way to pods of a pool on a node with addresses of these families: its own, or any by a tunnel.

    A network beside that of all pods, if it is the nodes' own, needs no node for that.
    """
    if pool.spec.attachment.on_underlay and not pool.spec.attachment.primary:
        return True
    return any(each in families for each in (Family if pool.spec.encapsulates else (family_of(pool.spec.cidr),)))


def _addressed(node: Node) -> frozenset[Family]:
    """The families in which a node has an address."""
    return frozenset(each for each in Family if has_address(node, each))


def has_address(node: Node, family: Family) -> bool:
    """Whether a node has an address of a family."""
    return f"{ADDRESS}{family.key}-address" in node.meta.annotations or any(
        family_of(address) is family for address in node.addresses
    )

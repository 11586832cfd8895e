"""What a node reports, as far as it can be: an agent that lies, or is broken, gets no more by it than an honest one.

Of a block no more addresses are in use, or to be had, than there are; no more pods need addresses than the node's kubelet
takes. What goes beyond counts as that, and is told.
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from towpath.model.cluster import Node
from towpath.model.kinds.node import PODS, BlockReport, NodeStatusStatus, PoolNeed
from towpath.model.net import Address, Family, family_of


class Demand(Struct, frozen=True):
    """What a node's pods need, counted as it can be."""

    wanted: int = 0
    """Pods that need an address of each family of pools for all."""
    needs: tuple[PoolNeed, ...] = ()
    """What they need of other pools."""
    requested: tuple[Address, ...] = ()
    """Addresses that they ask for."""


def believable(report: BlockReport) -> BlockReport:
    """A report with numbers that can be: of a block's addresses no more are in use, or to be had, than there are."""
    size = 1 << (family_of(report.cidr).bits - report.cidr.prefixlen)
    in_use, capacity = min(max(report.in_use, 0), size), min(max(report.capacity, 0), size)
    if (in_use, capacity) == (report.in_use, report.capacity):
        return report
    return replace(report, in_use=in_use, capacity=capacity)


def demand(status: NodeStatusStatus, node: Node) -> Demand:
    """What the pods of a node need: of those that its kubelet takes each counts once, and once a family by pools for some."""
    pods, most = pods_of(node), pods_of(node) * len(Family)
    wanted = min(max(status.wanted_addresses, 0), pods)
    return Demand(wanted, _shared(status.pool_needs, most), status.requested_addresses[:most])


def pods_of(node: Node) -> int:
    """How many pods can be on a node."""
    return PODS if node.pods is None else min(node.pods, PODS)


def _shared(needs: tuple[PoolNeed, ...], most: int) -> tuple[PoolNeed, ...]:
    """The needs, the first ones whole, of no more pods than there can be."""
    if _fits(needs, most):
        return needs
    found = []
    for need in needs:
        pods = min(max(need.pods, 0), most)
        most -= pods
        found.append(replace(need, pods=pods, waiting=min(max(need.waiting, 0), pods)))
    return tuple(found)


def _fits(needs: Iterable[PoolNeed], most: int) -> bool:
    return all(0 <= need.waiting <= need.pods for need in needs) and sum(need.pods for need in needs) <= most

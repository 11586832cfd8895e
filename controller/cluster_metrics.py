"""The metrics of a controller: whether it leads, and what of the pools is given out, is left, and for how long that lasts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from towpath.controller.kindstore import Problem
from towpath.controller.metrics import Measure, Sample, measure, single
from towpath.controller.service_ranges import service_ranges
from towpath.ipam.ledger import Ledger
from towpath.ipam.room import Room, Trend, rooms
from towpath.model.blocks import in_force, pool_around, reported
from towpath.model.cluster import Cluster
from towpath.model.net import family_of


class PoolMetrics:
    """Looks at pools whenever it is asked, and remembers how full they were. ``clock`` is monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ledger = Ledger()
        self._trend = Trend()

    def measures(self, cluster: Cluster) -> Iterator[Measure]:
        """Of pools in force."""
        self._ledger.look(cluster, barred=service_ranges(cluster))
        found, now = rooms(self._ledger), self._clock()
        self._trend.note(found, now=now)
        days = {name: self._trend.days_left(name, one, now=now) for name, one in found.items()}
        yield measure(
            "towpath_pool_blocks",
            "Blocks that a pool has room for, without those that are reserved.",
            *(Sample(float(one.blocks), {"pool": name}) for name, one in found.items()),
        )
        yield measure(
            "towpath_pool_blocks_left",
            "Blocks of a pool that no node has.",
            *(Sample(float(one.left), {"pool": name}) for name, one in found.items()),
        )
        yield measure(
            "towpath_pool_addresses_left",
            "Addresses of a pool that no pod has: of blocks that are left all, of the others what nodes report as free.",
            *(Sample(float(count), {"pool": name}) for name, count in _addresses_left(cluster, found).items()),
        )
        yield measure(
            "towpath_pool_days_left",
            "Days until no block of a pool is left, at the rate of up to a week; only while it fills up.",
            *(Sample(left, {"pool": name}) for name, left in days.items() if left is not None),
        )


def _addresses_left(cluster: Cluster, found: dict[str, Room]) -> dict[str, int]:
    pools = cluster.pools
    left = {
        name: one.left << (family_of(pools[name].spec.cidr).bits - pools[name].spec.block_length)
        for name, one in found.items()
    }
    blocks = in_force(cluster.blocks)
    for (node, cidr), report in reported(cluster.statuses).items():
        block = blocks.get(cidr)
        if block is None or block.spec.node != node or block.spec.state != "Active":
            continue
        pool = pool_around(block.spec, pools)
        if pool is not None and pool.name in left:
            left[pool.name] += report.capacity - report.in_use
    return left


def measures(cluster: Cluster, *, leading: bool, problems: Iterable[Problem]) -> Iterator[Measure]:
    """Every replica knows all of it; ``leading`` tells who acts."""
    yield single("towpath_leading", "1 for the replica that leads.", leading)
    yield single("towpath_nodes", "RoutingNodes.", len(cluster.routing_nodes))
    blocks = Counter((one.spec.pool, one.spec.state) for one in in_force(cluster.blocks).values())
    yield measure(
        "towpath_blocks",
        "Blocks in force, by pool (empty: of none) and state.",
        *(Sample(count, {"pool": pool, "state": state}) for (pool, state), count in sorted(blocks.items())),
    )
    wrong = Counter((one.kind, one.reason.value) for one in problems)
    yield measure(
        "towpath_object_problems",
        "Objects with a problem, by kind and reason.",
        *(Sample(count, {"kind": kind, "reason": reason}) for (kind, reason), count in sorted(wrong.items())),
    )

"""The metrics of a controller: whether it leads, and what of the pools is given out."""

from collections import Counter
from collections.abc import Iterable, Iterator

from towpath.controller.kindstore import Problem
from towpath.controller.metrics import Measure, Sample, measure, single
from towpath.model.blocks import in_force
from towpath.model.cluster import Cluster


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
    yield measure(
        "towpath_pool_blocks",
        "Blocks that a pool has room for.",
        *(
            Sample(2.0 ** (one.spec.block_length - one.spec.cidr.prefixlen), {"pool": name})
            for name, one in sorted(cluster.pools.items())
        ),
    )
    wrong = Counter((one.kind, one.reason.value) for one in problems)
    yield measure(
        "towpath_object_problems",
        "Objects with a problem, by kind and reason.",
        *(Sample(count, {"kind": kind, "reason": reason}) for (kind, reason), count in sorted(wrong.items())),
    )

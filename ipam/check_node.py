"""What of host-local's records on one node does not fit its blocks and its pods: for whoever has the files at hand.

The kernel counts only where it is this machine's; without it, what the API does not know of is nobody's.
"""

from collections.abc import Collection, Iterator, Mapping

from msgspec.structs import replace

from towpath.ipam.check import Finding
from towpath.ipam.cni import NETWORK, network_of
from towpath.ipam.hostlocal import FOUND, Record, is_pods
from towpath.ipam.leaks import Seen, beside, nobodys, unrecorded
from towpath.model.blocks import is_beside, pool_name, reported
from towpath.model.cluster import Cluster
from towpath.model.net import Address
from towpath.model.reason import Reason, Why


def node_findings(
    cluster: Cluster,
    node: str,
    *,
    records: Collection[Record],
    kernel: frozenset[Address],
    networks: Mapping[str, Collection[Record]] = {},
) -> Iterator[Finding]:
    """``kernel``: who has addresses as this node's kernel knows; empty where it cannot be asked.

    ``networks``: the records of networks beside that of all pods, by pool.
    """
    own = [one.spec for one in cluster.blocks.values() if one.spec.node == node]
    seen = Seen(
        records=records,
        blocks=[spec.cidr for spec in own if not is_beside(spec, cluster.pools)],
        pods=frozenset(each for pod in cluster.workloads.values() if pod.node == node for each in pod.addresses),
        kernel=kernel,
    )
    yield from _counts(cluster, node, seen)
    gone = frozenset(nobodys(seen))
    for record in records:
        why = Why("Node", node, f"cni/{NETWORK}/{record.address}")
        if is_pods(record) and not any(record.address in block for block in seen.blocks):
            message = f"{record.address} is kept for {record.container}, and lies in no block of {node}"
            yield Finding(why, Reason.ADDRESS_OUTSIDE, message)
        if record in gone:
            message = f"{record.address} is kept for {record.container}, and no pod of {node} has it"
            yield Finding(why, Reason.ADDRESS_LEAKED, message)
        elif record.container == FOUND:
            message = f"{record.address} is in use, and was given to no container"
            yield Finding(why, Reason.ADDRESS_UNRECORDED, message)
    for address in unrecorded(replace(seen, kernel=kernel | seen.pods)):
        message = f"{address} is in use on {node}, and host-local has no record of it: another pod may get it"
        yield Finding(Why("Node", node, f"cni/{NETWORK}/{address}"), Reason.ADDRESS_UNRECORDED, message)
    for pool, given in networks.items():
        yield from _beside(cluster, node, pool, given, own=records)


def _beside(
    cluster: Cluster, node: str, pool: str, records: Collection[Record], *, own: Collection[Record]
) -> Iterator[Finding]:
    """Of a network beside that of all pods: records outside of its blocks, and of containers that are gone."""
    blocks = [
        block.spec.cidr
        for block in cluster.blocks.values()
        if block.spec.node == node
        and is_beside(block.spec, cluster.pools)
        and pool_name(block.spec, cluster.pools) == pool
    ]
    attached = {each for pod in cluster.workloads.values() if pod.node == node for each in pod.beside}
    gone = frozenset(nobodys(beside(records, own=own, attached=attached)))
    for record in records:
        why = Why("Node", node, f"cni/{network_of(pool)}/{record.address}")
        if is_pods(record) and not any(record.address in block for block in blocks):
            message = f"{record.address} is kept for {record.container}, and lies in no block of {node} for {pool}"
            yield Finding(why, Reason.ADDRESS_OUTSIDE, message)
        if record in gone:
            message = f"{record.address} is kept for {record.container}, which has no address of pods' own network"
            yield Finding(why, Reason.ADDRESS_LEAKED, message)


def _counts(cluster: Cluster, node: str, seen: Seen) -> Iterator[Finding]:
    """Whether the node reports as many addresses in use as its files say: by the report the controller drains and gives back."""
    for (name, cidr), report in reported(cluster.statuses).items():
        if name != node or cidr not in seen.blocks:
            continue
        count = sum(is_pods(record) and record.address in cidr for record in seen.records)
        if count != report.in_use or (count and report.drained):
            drained = ", and that it is drained" if report.drained else ""
            message = f"{cidr}: it reports {report.in_use} addresses in use{drained}; host-local has {count}"
            yield Finding(Why("NodeStatus", node, "status.blocks"), Reason.COUNT_DIFFERS, message)

"""What does not fit together: pools, blocks, nodes, what nodes report, and the pods that have addresses.

A pure function of a snapshot, for people who ask. What the controller judges is asked of the functions that it asks; what
only shows where all is seen together, such as two pods with one address, is found here.
"""

from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from towpath.ipam.blocks import usable
from towpath.ipam.ending import remainders, to_release
from towpath.ipam.misfits import missized, outside, overlapped, ownerless
from towpath.ipam.plan import Planner
from towpath.ipam.reserved import reserved
from towpath.ipam.underlay import gateways
from towpath.model.blocks import in_force, is_beside, pool_around, reported
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.encapsulation import own_endpoints
from towpath.model.net import Address, Prefix, host_prefix
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.spans import Spans, span
from towpath.model.workload import Workload

REMEDIES: Mapping[Reason, str] = {
    Reason.INVALID_SPEC: "correct the field: until then the last good version counts, or none",
    Reason.OVERLAPPING_POOL: "delete one of the two, or make it anew with another range",
    Reason.OVERLAPPING_BLOCK: "restart the pods in it, so that they get other addresses, and delete the younger block",
    Reason.NO_POOL: "make a pool around it, or delete the block once no pod has an address of it",
    Reason.BLOCK_SIZE: "nothing has to be done; drain its node to have blocks of the new size",
    Reason.NODE_MISSING: "see that the controller runs: it quarantines what it made; delete yourself what you made by hand",
    Reason.BLOCK_MISSING: "see that the controller runs: it makes the block anew, unless another node has it",
    Reason.OTHERS_BLOCK: "see whether that node's agent reaches the API server; restart its pods with addresses of the block",
    Reason.QUARANTINED: "find who uses it: it is given to nobody while its node reports it in use",
    Reason.DUPLICATE_ADDRESS: "restart the pod whose address lies in no block of its node, else the younger one",
    Reason.ADDRESS_OUTSIDE: "restart the pod, so that it gets an address of its node's own",
    Reason.ADDRESS_LEAKED: "nothing: the node's agent frees it once it has been nobody's for fifteen minutes; see that it runs",
    Reason.ADDRESS_UNRECORDED: "see that the node's agent runs: it keeps the address from other pods; find who uses it",
    Reason.RESERVED_ADDRESS: "restart the pod, so that it gets another address",
    Reason.POOL_RESERVED: "reserve less, or add a pool",
    Reason.TUNNEL_ADDRESS_TAKEN: "restart the pod: until then the node sends with another address in the tunnel",
    Reason.NODE_ADDRESS: "no block is cut there: give the pool another range if it lacks room",
    Reason.SERVICE_RANGE_CONFLICT: "no block is cut there: give the pool another range if it lacks room",
    Reason.POD_CIDR_CONFLICT: "no block is cut there: have one of the two assign, by blockSource",
    Reason.POOL_EXHAUSTED: "add a pool",
    Reason.POOL_RUNNING_LOW: "add a pool before nodes need more",
    Reason.ADDRESS_TAKEN: "see that the controller runs: of services that do not fit together it takes one out",
    Reason.ADDRESS_UNCLAIMED: "see that the controller runs: it claims the address for the service, or gives it another",
    Reason.SERVICE_MISSING: "see that the controller runs: it takes out who is gone, and deletes the claim with the last one",
    Reason.COUNT_DIFFERS: "see that the node's agent runs and reaches the API server: it reports within a minute",
    Reason.POOL_DELETED: "see that the controller runs: it goes with its last block; a pod that is restarted gets an address of another pool",
    Reason.NO_POD_CIDRS: "run the controller manager with --allocate-node-cidrs, or set blockSource to Towpath",
}
"""What to do, by reason."""
_IPS = "status.podIPs"
ELSE = "see the reason in docs/operations.md"


class Finding(Struct, frozen=True, order=True):
    """One thing that does not fit: the object and field that say so, and what to do."""

    object: Why
    reason: Reason
    message: str

    @property
    def remedy(self) -> str:
        """What to do."""
        return REMEDIES.get(self.reason, ELSE)


def findings(cluster: Cluster, *, services: Collection[Prefix] = ()) -> tuple[Finding, ...]:
    """Everything that does not fit, in order. ``services``: the ranges that services have."""
    found = (*_planned(cluster, services), *_of_blocks(cluster), *_of_reports(cluster), *_of_pods(cluster))
    return tuple(sorted(set(found)))


def _planned(cluster: Cluster, services: Collection[Prefix]) -> Iterator[Finding]:
    """What the controller refuses, what is left of deleted pools, and reports of nodes that are gone with all their blocks."""
    planner = Planner()
    wished = planner.plan(cluster, now=0.0, services=services)
    for one in (*wished.refusals, *(one for _, one in remainders(planner.ledger))):
        yield _finding(one)
    for pool in to_release(planner.ledger, ()):
        why = Why("IPPool", pool.name, "metadata.deletionTimestamp")
        yield Finding(why, Reason.POOL_DELETED, "it is deleted, and nothing is left of it")
    for name in wished.statuses if cluster.nodes else ():
        yield Finding(Why("NodeStatus", name, "metadata.name"), Reason.NODE_MISSING, f"there is no node {name}")


def _of_blocks(cluster: Cluster) -> Iterator[Finding]:
    force = in_force(cluster.blocks)
    # files may have RoutingNodes alone; with Nodes at hand, one that is left of a Node is no owner
    nodes = cluster.nodes.keys() or cluster.routing_nodes.keys()
    for block in cluster.blocks.values():
        spec = block.spec
        if force.get(spec.cidr) is not block:
            yield _finding(overlapped(block, cluster.blocks))
        if (found := outside(block, cluster.pools)) is not None:
            yield _finding(found)
        elif (wrong := missized(block, cluster.pools)) is not None:
            yield _finding(wrong)
        if spec.node not in nodes and spec.state != "Quarantined":
            yield _finding(ownerless(block))


def _finding(refusal: Refusal) -> Finding:
    return Finding(refusal.object, refusal.reason, refusal.message)


def _of_reports(cluster: Cluster) -> Iterator[Finding]:
    """Blocks that nodes report: they exist, are theirs, and in quarantine nobody uses them."""
    blocks = {block.spec.cidr: block for block in cluster.blocks.values()}
    for (node, cidr), report in reported(cluster.statuses).items():
        why, block = Why("NodeStatus", node, "status.blocks"), blocks.get(cidr)
        if block is None:
            yield Finding(why, Reason.BLOCK_MISSING, f"{cidr}: there is no such block")
        elif block.spec.node != node:
            yield Finding(why, Reason.OTHERS_BLOCK, f"{cidr} is a block of {block.spec.node}")
        elif block.spec.state == "Quarantined" and report.in_use:
            message = f"{cidr} is in quarantine, and {node} reports {report.in_use} addresses in use"
            yield Finding(Why("IPAMBlock", block.name, "spec.state"), Reason.QUARANTINED, message)


def _of_pods(cluster: Cluster) -> Iterator[Finding]:
    blocks = {block.name: block for block in in_force(cluster.blocks).values()}
    spans, routers, kept = _spans(blocks.values()), gateways(cluster), reserved(cluster.reservations)
    holders: dict[Address, list[str]] = {}
    endpoints: dict[str, frozenset[Address]] = {}
    for pod in cluster.workloads.values():
        if pod.node not in endpoints:
            endpoints[pod.node] = frozenset(own_endpoints(cluster, pod.node).values())
        for address in pod.addresses:
            holders.setdefault(address, []).append(pod.key)
            around = [blocks[name] for name in spans.owners(span(host_prefix(address)))]
            block = around[0] if around else None
            beside = block is not None and is_beside(block.spec, cluster.pools)
            yield from _of_place(pod, address, block, beside=beside)
            if block is not None and (address in routers or not _is_for_pods(address, block, cluster)):
                message = f"{address} of {block.spec.cidr} is the network's own or a gateway's, and no pod's"
                yield Finding(Why("Pod", pod.key, _IPS), Reason.RESERVED_ADDRESS, message)
            for cidr, why in kept.inside(host_prefix(address)) if kept else ():
                message = f"{address} of {cidr} is reserved by {why}"
                yield Finding(Why("Pod", pod.key, _IPS), Reason.RESERVED_ADDRESS, message)
            if address in endpoints[pod.node]:
                message = f"{address} would be the address of {pod.node} itself in a tunnel"
                yield Finding(Why("Pod", pod.key, _IPS), Reason.TUNNEL_ADDRESS_TAKEN, message)
    for address, pods in holders.items():
        if len(pods) > 1:
            first, *others = sorted(pods)
            for one in others:
                message = f"{address} is the address of {first} too"
                yield Finding(Why("Pod", one, _IPS), Reason.DUPLICATE_ADDRESS, message)


def _of_place(pod: Workload, address: Address, block: IPAMBlock | None, *, beside: bool) -> Iterator[Finding]:
    """Where an address of a pod lies; ``block`` is the one in force around it, ``beside``: of a network beside pods' own."""
    why = Why("Pod", pod.key, _IPS)
    if block is None or block.spec.node != pod.node:
        where = "no block" if block is None else f"{block.spec.cidr}, a block of {block.spec.node}"
        yield Finding(why, Reason.ADDRESS_OUTSIDE, f"{address} lies in {where}; the pod is on {pod.node}")
    elif beside:
        message = f"{address} lies in {block.spec.cidr}, which is for a network beside pods' own"
        yield Finding(why, Reason.ADDRESS_OUTSIDE, message)
    elif block.spec.state == "Quarantined":
        yield Finding(why, Reason.QUARANTINED, f"{address} lies in {block.spec.cidr}, which is in quarantine")


def _is_for_pods(address: Address, block: IPAMBlock, cluster: Cluster) -> bool:
    pool = pool_around(block.spec, cluster.pools)
    if pool is not None and pool.spec.attachment.on_underlay:
        return True  # its subnet is the nodes' own, which only they know
    outer = pool.spec.cidr if pool is not None and pool.spec.attachment.type != "bridge" else None
    ends = usable(block.spec.cidr, pool=outer)
    return ends is not None and int(ends[0]) <= int(address) <= int(ends[1])


def _spans(blocks: Collection[IPAMBlock]) -> Spans:
    """Blocks by their names."""
    found = Spans()
    for block in blocks:
        found.add(span(block.spec.cidr), block.name)
    return found

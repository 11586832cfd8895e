"""What can be mended without anybody losing anything: of all that does not fit together the part that is nobody's.

A pure function of a snapshot, as ``check`` is, whose findings these actions answer. No address in use, no block in force and
nothing that people made by hand is touched: that is for them to decide.
"""

from collections.abc import Collection, Iterator

from msgspec import Struct
from msgspec.structs import replace

from towpath.ipam.check import Finding
from towpath.ipam.check_claims import Services, is_forsaken
from towpath.model.blocks import in_force, pool_holding, reported
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.reason import Reason
from towpath.model.resource import Meta


class Action(Struct, frozen=True):
    """One change of one object, from the version that ``meta`` is of."""

    why: Finding
    """What is wrong."""
    meta: Meta
    message: str
    """What is done, in words."""
    spec: IPAMBlockSpec | None = None
    """The block as it is to be; None: the object is deleted."""


def actions(cluster: Cluster, found: Collection[Finding], *, services: Services) -> tuple[Action, ...]:
    """What to do about findings of this snapshot, in their order; ``services`` were listed after it."""
    return tuple(action for one in found for action in _about(cluster, one, services))


def _about(cluster: Cluster, found: Finding, services: Services) -> Iterator[Action]:
    about = found.object
    if about.kind == "AddressClaim":
        claim = cluster.claims.get(about.name)
        if claim is not None and found.reason is Reason.SERVICE_MISSING and is_forsaken(claim, services):
            yield Action(found, claim.meta, "delete it: its services are gone, and nobody shows the address")
        return
    if about.kind == "NodeStatus" and found.reason is Reason.NODE_MISSING and about.name in cluster.statuses:
        yield Action(found, cluster.statuses[about.name].meta, "delete it: its node is gone with all its blocks")
        return
    block = cluster.blocks.get(about.name) if about.kind == "IPAMBlock" else None
    if block is None or not block.spec.managed or block.meta.deletion_timestamp:
        return
    spec = block.spec
    if found.reason is Reason.OVERLAPPING_BLOCK and spec.state != "Quarantined" and not _lives(cluster, block):
        message = "set state to Quarantined: it counts for nobody and nobody uses it; the controller deletes it when the time is over"
        yield Action(found, block.meta, message, replace(spec, state="Quarantined"))
    if found.reason is Reason.NO_POOL and about.field == "spec.pool":
        pool = pool_holding(spec.cidr, cluster.pools)
        if pool is not None:
            message = f"set pool to {pool.name}, which the block lies in"
            yield Action(found, block.meta, message, replace(spec, pool=pool.name))


def _lives(cluster: Cluster, block: IPAMBlock) -> bool:
    """Whether anybody uses addresses of a block that is not in force, or nobody knows: any node may have reported, or a pod say so."""
    if in_force(cluster.blocks).get(block.spec.cidr) is block:
        return True
    if any(cidr == block.spec.cidr and one.in_use for (_, cidr), one in reported(cluster.statuses).items()):
        return True
    return any(
        address in block.spec.cidr
        for pod in cluster.workloads.values()
        for address in pod.addresses
        if pod.node == block.spec.node
    )

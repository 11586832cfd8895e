"""What becomes of each block of a node: whose it is by now, whether it drains, and when it is withdrawn.

A pure function of the node's page in the books and of the rules that hold for all, as is the work that follows from it.
"""

from msgspec import Struct
from msgspec.structs import replace

from towpath.ipam.ledger import Account
from towpath.ipam.pools import Pools, takes_part
from towpath.model.blocks import is_ending, is_open, pool_around
from towpath.model.cluster import IPAMBlock, Node
from towpath.model.kinds.ipam import IPAMBlockSpec, IPAMConfigurationSpec
from towpath.model.kinds.node import BlockReport
from towpath.model.net import family_of, overlaps
from towpath.model.reason import Why


class Rules(Struct, frozen=True):
    """What holds for every node."""

    ipam: IPAMConfigurationSpec
    pools: Pools


class Change(Struct, frozen=True):
    """A block to write anew, from the version that is in ``block``."""

    block: IPAMBlock
    spec: IPAMBlockSpec
    why: Why


def transition(block: IPAMBlock, account: Account, rules: Rules) -> Change | None:
    """The change that a block's owner or its own state asks for; blocks made by hand are their maker's.

    One that names its pool is the controller's from when its node serves pods: before that another network may go on
    giving out what looks free.
    """
    spec, node = block.spec, account.node
    if block.meta.deletion_timestamp:
        return None
    if spec.awaiting and node is not None and account.serves and block.name not in account.out_of_force:
        known = replace(spec, node_uid=node.meta.uid, machine_id=node.machine_id, system_uuid=node.system_uuid)
        return Change(block, known, Why("Node", node.meta.name))
    if not spec.managed:
        return None
    if node is None or node.meta.uid != spec.node_uid:
        if node is not None and same_machine(spec, node) and _may_have(spec, node, rules):
            return Change(block, replace(spec, node_uid=node.meta.uid, state="Active"), Why("Node", node.meta.name))
        if spec.state != "Quarantined":
            return Change(block, replace(spec, state="Quarantined"), Why("Node", spec.node))
        return None
    if spec.state != "Quarantined" and _is_another(spec, node):
        # the pods are the Node object's, and so are their addresses, whichever machine it stands for by now
        known = replace(spec, machine_id=node.machine_id, system_uuid=node.system_uuid)
        return Change(block, known, Why("Node", node.meta.name, "status.nodeInfo"))
    if (
        spec.state != "Active"
        and spec.cidr in node.pod_cidrs
        and cluster_assigns(rules)
        and takes_part(node, rules.ipam)
    ):
        return Change(block, replace(spec, state="Active"), Why("Node", node.meta.name, "spec.podCIDRs"))
    if spec.state == "Draining":
        report = account.reports.get(spec.cidr)
        if report is not None and report.drained and not report.in_use and _is_of_this_draining(report, block):
            return Change(block, replace(spec, state="Quarantined"), Why("NodeStatus", spec.node, "status.blocks"))
    if spec.state == "Active":
        why = _leaves(block, node, account, rules) or _gives_way(block, account, rules)
        return Change(block, replace(spec, state="Draining"), why) if why else None
    return None


def same_machine(block: IPAMBlockSpec, node: Node) -> bool:
    """Whether a node is surely the machine that a block was bound to."""
    recorded, present = (block.machine_id, block.system_uuid), (node.machine_id, node.system_uuid)
    return all(recorded) and recorded == present


def _is_another(block: IPAMBlockSpec, node: Node) -> bool:
    """Whether a node tells of another machine than the one recorded, or of the first."""
    recorded, present = (block.machine_id, block.system_uuid), (node.machine_id, node.system_uuid)
    return recorded != present and (all(present) or (any(present) and not any(recorded)))


def _is_of_this_draining(report: BlockReport, block: IPAMBlock) -> bool:
    """Whether a node says of the block as it is now that it is drained: before that it may have been active again, and used.

    An agent of an earlier release does not say of which.
    """
    return report.drained_version in ("", block.meta.resource_version)


def cluster_assigns(rules: Rules) -> bool:
    """Whether the cluster assigns blocks, and the controller mirrors that."""
    return rules.ipam.block_source == "PodCIDRs"


def _may_have(spec: IPAMBlockSpec, node: Node, rules: Rules) -> bool:
    """Whether a node that came back may have its block again: what the cluster assigns, it may have given to another."""
    if not takes_part(node, rules.ipam):
        return False
    return spec.cidr in node.pod_cidrs or not (spec.mirrored or (cluster_assigns(rules) and spec.primary))


def _leaves(block: IPAMBlock, node: Node, account: Account, rules: Rules) -> Why | None:
    """What makes a block of a node that is there leave it, without taking an address from any pod."""
    if not takes_part(node, rules.ipam):
        return Why("Node", node.meta.name, "metadata.labels")
    cidr = block.spec.cidr
    if not cluster_assigns(rules) or cidr in node.pod_cidrs or not node.pod_cidrs or not block.spec.primary:
        return None
    served = {one.spec.cidr for one in account.blocks if one.spec.state == "Active"}
    if served.issuperset(node.pod_cidrs):
        return Why("Node", node.meta.name, "spec.podCIDRs")
    # it lies where the node's own podCIDR is to be a block: new pods need it until then, unless nobody asks for new ones
    report = account.reports.get(cidr)
    empty = report is not None and not report.in_use
    if any(overlaps(cidr, prefix) for prefix in node.pod_cidrs) and (empty or node.unschedulable):
        return Why("Node", node.meta.name, "spec.podCIDRs")
    return None


def _gives_way(block: IPAMBlock, account: Account, rules: Rules) -> Why | None:
    """Where its pool is deleted: that the node uses a block of another pool, which all pods may have addresses of.

    Until there is one it goes on serving. A block that is for some pods alone goes when none of them is left.
    """
    pool = pool_around(block.spec, rules.pools.named)
    if pool is None or not is_ending(pool):
        return None
    why = Why("IPPool", pool.name, "metadata.deletionTimestamp")
    if block.spec.mirrored or (account.node is not None and block.spec.cidr in account.node.pod_cidrs):
        return None
    if not pool.spec.is_common or not pool.spec.attachment.primary:
        report = account.reports.get(block.spec.cidr)
        needed = any(need.pods and pool.name in need.pools for need in account.needs)
        asked = any(address in block.spec.cidr for address in account.requested)
        return why if report is not None and not (report.in_use or needed or asked) else None
    for other in account.blocks:
        around = pool_around(other.spec, rules.pools.named)
        takes_over = (
            other.spec.state == "Active"
            and other.name not in account.out_of_force
            and around is not None
            and is_open(around)
            and around.spec.is_common
            and around.spec.attachment.primary
            and family_of(other.spec.cidr) is family_of(block.spec.cidr)
            and other.spec.cidr in account.reports
        )
        if takes_over:
            return why
    return None

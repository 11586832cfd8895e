"""What the leader remembers between two plans, on its own monotonic clock: how long something has been so.

Nothing in here is needed to be safe: a new leader starts empty, and every time begins again when it first looks.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from towpath.model.cluster import Cluster, IPAMBlock, NodeStatus
from towpath.model.net import Prefix
from towpath.model.resource import Meta

SUSPICION = 30.0
"""Seconds for which a report of an unknown block may be nothing but one watch running ahead of the other."""


class Quarantine(Struct, frozen=True):
    """Since when a block has been in quarantine, and the report of its node that was the newest then."""

    since: float
    report: str


class Memory(Struct, frozen=True):
    """All of it. Times are seconds of the monotonic clock."""

    quarantined: Mapping[tuple[str, str], Quarantine] = field(default_factory=dict)
    """By uid and resourceVersion of the block: whatever was written to it since, the time begins again."""
    spare: Mapping[str, float] = field(default_factory=dict)
    """Since when a block, by uid, could have been given back."""
    released: frozenset[Prefix] = frozenset()
    """Blocks that were deleted while we looked: given out again after all others."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """The newest resourceVersion seen of each object, by uid: going backwards means a restored store."""
    missing: Mapping[tuple[str, Prefix], float] = field(default_factory=dict)
    """Since when a node reports a block that does not exist, by node and block."""
    answered: frozenset[tuple[str, Prefix]] = frozenset()
    """Those of ``missing`` after which all nodes have reported again: no reason to wait another time."""
    awaited: Mapping[str, str] = field(default_factory=dict)
    """After a restored store: nodes that have not reported yet, with the version of their last report."""


class Observation(Struct, frozen=True):
    """What the leader makes of one snapshot."""

    memory: Memory
    missing: tuple[tuple[str, Prefix], ...]
    """Reported blocks that have been missing for longer than watches run apart."""
    claims_wait: bool
    """Whether nothing may be claimed: the store may have been restored from a backup."""


def observe(cluster: Cluster, *, memory: Memory, now: float, restored: bool = False) -> Observation:
    """Look at a snapshot; quarantine clocks start, reports are compared with blocks, versions with older versions."""
    versions = {meta.uid: version_number(meta.resource_version) for meta in _metas(cluster)}
    went_back = restored or any(version < memory.versions.get(uid, 0) for uid, version in versions.items())
    present = {block.spec.cidr for block in cluster.blocks.values()}
    expected = present | memory.released
    missing = {key: memory.missing.get(key, now) for key in reported_blocks(cluster) if key[1] not in expected}
    lasting = tuple(key for key, since in missing.items() if now - since >= SUSPICION)
    answered = frozenset(memory.answered & missing.keys())
    awaited = _still_awaited(cluster, memory.awaited)
    if went_back or not answered.issuperset(lasting):
        awaited = {name: _report_version(cluster, name) for name in cluster.nodes if cluster.nodes[name].ready}
        answered |= frozenset(lasting)
    return Observation(
        memory=Memory(
            quarantined=_quarantined(cluster, memory, now),
            spare=memory.spare,
            released=memory.released - present,
            versions=versions,
            missing=missing,
            answered=answered,
            awaited=awaited,
        ),
        missing=lasting,
        claims_wait=bool(awaited) or any(key not in answered for key in missing),
    )


def version_number(text: str) -> int:
    """A resourceVersion as a number; 0 where it is none."""
    return int(text) if text.isascii() and text.isdigit() else 0


def current_report(cluster: Cluster, node: str) -> NodeStatus | None:
    """The status that a node's agent wrote for the Node object that is there now."""
    status = cluster.statuses.get(node)
    here = cluster.nodes.get(node)
    if status is None or here is None or status.status is None or status.status.node_uid != here.meta.uid:
        return None
    return status


def reported_blocks(cluster: Cluster) -> Iterable[tuple[str, Prefix]]:
    """Every block that a node which is there reports as its own, with the node's name."""
    for name in cluster.statuses:
        report = current_report(cluster, name)
        if report is not None and report.status is not None:
            for block in report.status.blocks:
                yield name, block.cidr


def _metas(cluster: Cluster) -> Iterable[Meta]:
    for block in cluster.blocks.values():
        yield block.meta
    for node in cluster.nodes.values():
        yield node.meta


def _report_version(cluster: Cluster, node: str) -> str:
    status = cluster.statuses.get(node)
    return status.meta.resource_version if status else ""


def _still_awaited(cluster: Cluster, awaited: Mapping[str, str]) -> dict[str, str]:
    return {
        name: version
        for name, version in awaited.items()
        if name in cluster.nodes and cluster.nodes[name].ready and _report_version(cluster, name) == version
    }


def _quarantined(cluster: Cluster, memory: Memory, now: float) -> dict[tuple[str, str], Quarantine]:
    result: dict[tuple[str, str], Quarantine] = {}
    for block in cluster.blocks.values():
        if block.spec.state == "Quarantined":
            key = (block.meta.uid, block.meta.resource_version)
            report = _report_version(cluster, block.spec.node)
            before = memory.quarantined.get(key)
            # a report that came since then and still shows addresses in use: somebody lives there, begin again
            if before is None or (before.report != report and _in_use(cluster, block)):
                before = Quarantine(now, report)
            result[key] = before
    return result


def _in_use(cluster: Cluster, block: IPAMBlock) -> bool:
    status = cluster.statuses.get(block.spec.node)
    reports = status.status.blocks if status and status.status else ()
    return any(report.cidr == block.spec.cidr and report.in_use for report in reports)

"""What the leader remembers between two plans, on its own monotonic clock: how long something has been so.

Nothing in here is needed to be safe: a new leader starts empty, and every time begins again when it first looks.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from towpath.ipam.ledger import Ledger
from towpath.ipam.pools import takes_part
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import Prefix
from towpath.model.spans import span

SUSPICION = 30.0
"""Seconds for which a report of an unknown block may be nothing but one watch running ahead of the other."""
UNWATCHED = 60.0
"""Seconds without anybody who leads, in which a store may have been put back to a backup, and nobody noticed."""
DOUBTED_FOR = 60.0
"""Seconds for which the first leader after such a time waits for nodes at most: an agent that meets an older store reports in half of it."""
RELEASED_FOR = 3600.0
"""Seconds for which a block that was deleted is given out after all others."""


class Quarantine(Struct, frozen=True):
    """Since when a block has been in quarantine, and the report of its node that was the newest then."""

    since: float
    report: str


class Memory(Struct, frozen=True):
    """All of it. Times are seconds of the monotonic clock."""

    seen: Cluster = field(default_factory=Cluster)
    """The snapshot of the last plan: an object that is older now means a restored store."""
    quarantined: Mapping[tuple[str, str], Quarantine] = field(default_factory=dict)
    """By uid and resourceVersion of the block: whatever was written to it since, the time begins again."""
    spare: Mapping[str, float] = field(default_factory=dict)
    """Since when a block, by uid, could have been given back."""
    released: Mapping[Prefix, float] = field(default_factory=dict)
    """Blocks that were deleted while we looked, and when: given out again after all others."""
    missing: Mapping[tuple[str, Prefix], float] = field(default_factory=dict)
    """Since when a node reports a block that does not exist, by node and block."""
    answered: frozenset[tuple[str, Prefix]] = frozenset()
    """Those of ``missing`` after which all nodes have reported again: no reason to wait another time."""
    awaited: Mapping[str, str] = field(default_factory=dict)
    """After a restored store: nodes that have not reported yet, with the version of their last report."""
    lost: Mapping[Prefix, float] = field(default_factory=dict)
    """Blocks that a restored store has lost, and when: whoever has them has not said so yet, or is not known any more."""
    restored: float | None = None
    """When a store was last found to be restored."""
    doubted: float | None = None
    """Until when nodes are ``awaited`` although nothing says that the store was restored but that nobody watched it."""


class Observation(Struct, frozen=True):
    """What the leader makes of one snapshot."""

    memory: Memory
    missing: tuple[tuple[str, Prefix], ...]
    """Reported blocks that have been missing for longer than watches run apart."""
    claims_wait: bool
    """Whether nothing may be claimed: the store may have been restored from a backup."""
    awaited: tuple[str, ...] = ()
    """The nodes whose reports are waited for before anything is."""
    doubted: bool = False
    """Nothing else says that the store was restored than that nobody watched it."""


def observe(
    ledger: Ledger,
    *,
    memory: Memory,
    now: float,
    unknown: Iterable[tuple[str, Prefix]],
    quarantine: float,
    restored: bool = False,
    unwatched: bool = False,
) -> Observation:
    """Look at the books; quarantine clocks start, reports are compared with blocks, versions with older versions.

    ``unknown``: every block that a node which is there reports as its own and that does not exist. ``quarantine``: for how
    long a block that a restored store has lost may have somebody who is not known any more. ``unwatched``: nobody watched
    the store for long until now, so that it may have been.
    """
    cluster = ledger.cluster
    back = restored or ledger.went_back
    if back:
        # a restored store gives the same numbers to other versions: what was quarantined then says nothing of now
        memory = replace(memory, quarantined={}, restored=now)
    released = {
        prefix: at for prefix, at in memory.released.items() if prefix not in ledger.added and now - at < RELEASED_FOR
    }
    missing = {key: memory.missing.get(key, now) for key in unknown if key[1] not in released}
    lasting = tuple(key for key, since in missing.items() if now - since >= SUSPICION)
    answered = frozenset(memory.answered & missing.keys())
    awaited, doubted = _still_awaited(cluster, memory.awaited), now + DOUBTED_FOR if unwatched else memory.doubted
    known = back or not answered.issuperset(lasting)
    if known or unwatched:
        awaited = {name: _report_version(cluster, name) for name in cluster.nodes if _reports(cluster, name)}
        answered |= frozenset(lasting)
    if known or not awaited:
        doubted = None
    elif doubted is not None and now >= doubted:
        awaited, doubted = {}, None
    return Observation(
        memory=Memory(
            seen=cluster,
            quarantined=_quarantined(ledger, memory, now),
            spare=memory.spare,
            released=released,
            missing=missing,
            answered=answered,
            awaited=awaited,
            lost=_lost(ledger, memory, now=now, quarantine=quarantine),
            restored=memory.restored,
            doubted=doubted,
        ),
        missing=lasting,
        awaited=tuple(sorted(awaited)),
        doubted=doubted is not None,
        claims_wait=back or bool(awaited) or any(key not in answered for key in missing),
    )


def _reports(cluster: Cluster, name: str) -> bool:
    """Whether a node can be waited for: it is Ready, and one of those that have an agent."""
    node = cluster.nodes[name]
    return node.ready and (takes_part(node, cluster.ipam) or name in cluster.statuses)


def _report_version(cluster: Cluster, node: str) -> str:
    status = cluster.statuses.get(node)
    return status.meta.resource_version if status else ""


def _still_awaited(cluster: Cluster, awaited: Mapping[str, str]) -> dict[str, str]:
    return {
        name: version
        for name, version in awaited.items()
        if name in cluster.nodes and _reports(cluster, name) and _report_version(cluster, name) == version
    }


def _lost(ledger: Ledger, memory: Memory, *, now: float, quarantine: float) -> dict[Prefix, float]:
    """Those that are gone since the store was restored, as they were or by a listing that was not believed at once."""
    found = dict(memory.lost)
    if memory.restored is not None and now - memory.restored < quarantine:
        before, blocks = memory.seen.blocks, ledger.cluster.blocks
        gone = (before[name].spec.cidr for name in before.keys() - blocks.keys())
        found |= {cidr: now for cidr in gone if cidr not in memory.released}
    return {cidr: at for cidr, at in found.items() if now - at < quarantine and not ledger.blocks.owners(span(cidr))}


def _quarantined(ledger: Ledger, memory: Memory, now: float) -> dict[tuple[str, str], Quarantine]:
    result: dict[tuple[str, str], Quarantine] = {}
    for block in ledger.quarantined.values():
        key = (block.meta.uid, block.meta.resource_version)
        report = _report_version(ledger.cluster, block.spec.node)
        before = memory.quarantined.get(key)
        # a report that came since then and still shows addresses in use: somebody lives there, begin again
        if before is None or (before.report != report and _in_use(ledger.cluster, block)):
            before = Quarantine(now, report)
        result[key] = before
    return result


def _in_use(cluster: Cluster, block: IPAMBlock) -> bool:
    status = cluster.statuses.get(block.spec.node)
    reports = status.status.blocks if status and status.status else ()
    return any(report.cidr == block.spec.cidr and report.in_use for report in reports)

"""The status of a node, composed from what its parts say; a pure function, so that any state of a node can be tried."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from towpath.controller.reports import reported
from towpath.controller.status import condition, listed, with_times
from towpath.ipam.apart import Needs
from towpath.model.cluster import Cluster
from towpath.model.kinds.node import BlockReport, NodeStatusStatus, RouteReport
from towpath.model.net import Prefix, block_name, family_of
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.resource import Condition
from towpath.model.speaker import Report


class Facts(Struct, frozen=True):
    """What the agent knows of its node at one moment."""

    node: str
    node_uid: str
    live: bool
    """The cluster came from the API (or the folder) in this process, not from disk."""
    provisional: bool
    connected: bool
    """The speaker is connected."""
    in_sync: bool
    """The kernel holds everything that is wanted, and absences are believed."""
    report: Report | None
    blocks: tuple[BlockReport, ...]
    routes: RouteReport
    needs: Needs = Needs()
    """What the pods of this node need."""
    apart: Collection[Prefix] = ()
    """Those of the blocks that are for some pods only."""
    lacking: tuple[str, ...] = ()
    """What keeps pods from getting addresses."""
    leaving: bool = False
    """All sessions are to end, because the cluster leaves."""
    problems: tuple[Refusal, ...] = ()
    asked_wrong: tuple[Refusal, ...] = ()
    """What objects ask of this node and cannot be done."""


def compose(facts: Facts, *, before: Iterable[Condition], now: str) -> NodeStatusStatus:
    """The status; ``now`` (RFC 3339) is its time and that of conditions that changed since ``before``."""
    return NodeStatusStatus(
        node_uid=facts.node_uid,
        reported_at=now,
        in_sync=facts.in_sync,
        sessions=facts.report.sessions if facts.report else (),
        refusals=reported(facts.asked_wrong),
        blocks=facts.blocks,
        wanted_addresses=facts.needs.common,
        pool_needs=facts.needs.apart,
        requested_addresses=facts.needs.addresses,
        routes=facts.routes,
        foreign_paths=facts.report.foreign_paths if facts.report else (),
        conditions=with_times(conditions(facts), before=before, now=now),
    )


def with_versions(reports: Iterable[BlockReport], cluster: Cluster) -> tuple[BlockReport, ...]:
    """The reports with the versions of the blocks that are drained: what is said of one draining counts for no later one."""
    return tuple(
        replace(one, drained_version=cluster.blocks[block_name(one.cidr)].meta.resource_version) if one.drained else one
        for one in reports
    )


def conditions(facts: Facts) -> list[Condition]:
    """Ready, InSync, SessionsUp and APIReachable always; beside them one condition for each reason of a problem, while it lasts."""
    unready = list(facts.lacking)
    if not facts.connected:
        unready.append("the speaker is not connected")
    made = [
        condition("Ready", holds=not unready, reason="NotReady" if unready else "Ready", message=listed(unready)),
        condition(
            "InSync", holds=facts.in_sync, reason="InSync" if facts.in_sync else "Synchronising", message=_behind(facts)
        ),
        _sessions_up(facts),
        _reachable(facts),
    ]
    if facts.leaving:
        made.append(_left(facts))
    sentences: dict[Reason, set[str]] = defaultdict(set)
    for one in (*facts.problems, *_exhausted(facts), *_waiting_pods(facts)):
        sentences[one.reason].add(one.message)
    made += [
        condition(reason.value, holds=True, reason=reason.value, message=listed(sorted(messages)))
        for reason, messages in sorted(sentences.items())
    ]
    return made


def unready(status: NodeStatusStatus | None) -> str | None:
    """What keeps a node from ready, by its status."""
    if status is None:
        return "no picture of the cluster yet"
    return next(
        (one.message or one.reason for one in status.conditions if one.type == "Ready" and one.status != "True"), None
    )


def _behind(facts: Facts) -> str:
    if facts.in_sync:
        return ""
    routes = facts.routes
    if not facts.connected:
        return "the speaker is not connected"
    if routes.installed < routes.desired:
        return f"{routes.installed} of {routes.desired} routes are installed"
    waiting = _waiting(facts)
    return f"sessions that are not up: {listed(waiting)}" if waiting else "waiting for End-of-RIB"


def _sessions_up(facts: Facts) -> Condition:
    """Of the sessions that are to run; those that are withheld have their reasons in other conditions."""
    if facts.report is None:
        return condition("SessionsUp", holds=None, reason="NoReport", message="the speaker has not reported yet")
    waiting = _waiting(facts)
    message = f"not established: {listed(waiting)}" if waiting else ""
    return condition(
        "SessionsUp", holds=not waiting, reason="SessionsDown" if waiting else "Established", message=message
    )


def _left(facts: Facts) -> Condition:
    """Whether no peer has a route of ours any more: all sessions have ended, and the speaker says so itself."""
    if facts.report is None:
        return condition("Left", holds=None, reason="NoReport", message="the speaker has not reported yet")
    there = [one.name for one in facts.report.sessions if one.state != "Withheld"]
    message = f"not ended yet: {listed(there)}" if there else ""
    return condition("Left", holds=not there, reason="Leaving" if there else "Shutdown", message=message)


def _waiting(facts: Facts) -> list[str]:
    sessions = facts.report.sessions if facts.report else ()
    return [one.name for one in sessions if one.state not in {"Established", "Withheld"}]


def _reachable(facts: Facts) -> Condition:
    if not facts.live:
        return condition(
            "APIReachable",
            holds=False,
            reason="Snapshot",
            message="running on the last picture on disk; no block is claimed",
        )
    if facts.provisional:
        return condition("APIReachable", holds=False, reason="NoAnswer", message="no answer for more than 30 s")
    return condition("APIReachable", holds=True, reason="Reachable")


def _waiting_pods(facts: Facts) -> list[Refusal]:
    """Pods for which the node's blocks have no room: the controller is to see that at once."""
    room: dict[str, int] = defaultdict(int)
    for block in _common(facts):
        room[family_of(block.cidr).key] += block.capacity
    return [
        Refusal(
            Reason.PODS_WAITING,
            f"{facts.needs.common - count} pods wait for an {family} address",
            Why("Node", facts.node),
        )
        for family, count in room.items()
        if facts.needs.common > count
    ]


def _common(facts: Facts) -> Iterator[BlockReport]:
    """Those of which every pod gets an address."""
    return (block for block in facts.blocks if block.primary and block.cidr not in facts.apart)


def _exhausted(facts: Facts) -> list[Refusal]:
    free: dict[str, int] = defaultdict(int)
    for block in _common(facts):
        free[family_of(block.cidr).key] += block.capacity - block.in_use
    return [
        Refusal(Reason.POOL_EXHAUSTED, f"no {family} address is free on this node", Why("Node", facts.node))
        for family, count in free.items()
        if count <= 0
    ]


def about(kind: str, refusals: Iterable[Refusal]) -> Iterator[Refusal]:
    """Those that are about objects of a kind."""
    return (one for one in refusals if one.object.kind == kind)


def named(refusal: Refusal) -> Refusal:
    """The refusal with its object in the sentence, as a condition of another object shows it."""
    if refusal.object.kind == "Node":
        return refusal
    return Refusal(refusal.reason, f"{refusal.object}: {refusal.message}", refusal.object)

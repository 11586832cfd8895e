"""What nodes say of the objects that people write, gathered from their NodeStatus objects.

A node alone can say whether it holds a password, how many prefixes a peer sends, or that a session was lost. Each status
is read once: what the others said is kept. Who has no Node any more, or another one of the same name, says nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from towpath.ipam.attachment import matches
from towpath.model.cluster import Cluster, Node, NodeStatus
from towpath.model.delta import exchanged
from towpath.model.kinds.node import NodeStatusStatus, RefusalReport, SessionReport
from towpath.model.reason import Reason, Refusal, Why

NOTHING = NodeStatusStatus()
FROM_NODES = frozenset(
    {
        Reason.SECRET_MISSING,
        Reason.NO_ADDRESS,
        Reason.ATTACHMENT_CONFLICT,
        Reason.ATTACHMENT_MASTER,
        Reason.ATTACHMENT_MTU,
        Reason.ATTACHMENT_DHCP,
        Reason.ATTACHMENT_PENDING,
        Reason.DEVICE_REFUSED,
        Reason.ENDS_NOT_FOUND,
        Reason.KERNEL_LACKS,
        Reason.RESERVED_ADDRESS,
        Reason.ADDRESS_DIFFERS,
    }
)
"""Reasons that a node gives for what objects ask for and that the objects themselves do not show."""
_OF_PODS = "spec.localWorkloadSelector"
"""Whom it selects only the pods' own node knows."""
REPORTED = 100
"""Refusals that a node reports at most."""
LONGEST = 256
"""Characters of a node's sentence, at most."""


class Loss(Struct, frozen=True, order=True):
    """A session of a BGPPeer was lost on a node since its last report."""

    peer: str
    node: str
    address: str
    reason: str
    """Why; empty where it is up again, or the node does not say."""


class Reports:
    """Remembers the statuses that it has seen, and what they say."""

    def __init__(self, concerns: Callable[[str, str], bool]) -> None:
        """``concerns``: whether a BGPPeer has to do with a node, which may speak of no other."""
        self._concerns = concerns
        self._statuses: Mapping[str, NodeStatus] = {}
        self._said: dict[str, tuple[Refusal, ...]] = {}

    def look(self, cluster: Cluster) -> tuple[Loss, ...]:
        """Read the statuses that changed; the sessions that were lost since the last look."""
        losses: list[Loss] = []
        for node, old, new in exchanged(self._statuses, cluster.statuses):
            before, after = _status(old), _status(new)
            if said := tuple(refusals(after)):
                self._said[node] = said
            else:
                self._said.pop(node, None)
            if old is not None:
                losses += (one for one in lost(node, before, after) if self._concerns(one.peer, node))
        self._statuses = cluster.statuses
        return tuple(sorted(losses))

    def said(self, cluster: Cluster) -> Iterator[tuple[str, Refusal]]:
        """What nodes that are there say, each with the node."""
        for name, found in self._said.items():
            node, status = cluster.nodes.get(name), _status(self._statuses.get(name))
            if node is not None and node.meta.uid == status.node_uid:
                yield from ((name, one) for one in found if self._may_say(node, one, cluster))

    def _may_say(self, node: Node, refusal: Refusal, cluster: Cluster) -> bool:
        about, name = refusal.object, node.meta.name
        if about.kind == "BGPPeer":
            return self._concerns(about.name, name)
        if about.kind == "IPPool":
            pool = cluster.pools.get(about.name)
            return pool is not None and matches(pool, node)
        if about.kind == "IPReservation":
            return about.name in cluster.reservations
        if about.kind == "Pod":
            return True  # whether it is the node's own the API server is asked (``pod_subjects``)
        return about.name in ("default", f"node.{name}")


def reported(warnings: Iterable[Refusal]) -> tuple[RefusalReport, ...]:
    """The part of a node's warnings that is about objects and that nobody else can know, for its status."""
    chosen = sorted({one for one in warnings if _from_nodes(one.object, one.reason)})
    return tuple(
        RefusalReport(
            kind=one.object.kind,
            name=one.object.name,
            field=one.object.field,
            reason=one.reason.value,
            message=one.message[:LONGEST],
        )
        for one in chosen[:REPORTED]
    )


def refusals(status: NodeStatusStatus) -> Iterator[Refusal]:
    """What a status says of objects, as far as its words are known ones."""
    for one in status.refusals[:REPORTED]:
        about = Why(one.kind, one.name, one.field)
        if _from_nodes(about, one.reason):
            yield Refusal(Reason(one.reason), one.message[:LONGEST], about)
    for session in status.sessions:
        if session.bgp_peer and (text := beyond_limit(session)):
            yield Refusal(Reason.MAX_PREFIX, text[:LONGEST], Why("BGPPeer", session.bgp_peer, "spec.maxPrefixes"))


def _from_nodes(about: Why, reason: str) -> bool:
    """Whether a node may say this of an object, in known words."""
    of_pods = reason == Reason.DUPLICATE_PEER and about.field == _OF_PODS
    if about.kind == "Pod" or reason == Reason.ADDRESS_DIFFERS:
        return about.kind == "Pod" and reason == Reason.ADDRESS_DIFFERS
    return about.kind in _SUBJECTS and (reason in FROM_NODES or of_pods)


def beyond_limit(session: SessionReport) -> str:
    """What becomes of the prefixes beyond a session's limit; empty where there are none."""
    if count := next((one.prefixes for one in session.refused if one.reason == Reason.MAX_PREFIX), 0):
        return f"{count} prefixes of {session.peer} are refused, {session.accepted} are accepted"
    if session.reason.startswith(f"{Reason.MAX_PREFIX}:"):
        return f"the session with {session.peer} was ended: {session.reason.partition(': ')[2]}"
    return ""


def lost(node: str, before: NodeStatusStatus, after: NodeStatusStatus) -> Iterator[Loss]:
    """Sessions of BGPPeers that were lost between two reports of one speaker."""
    earlier: dict[str, SessionReport] = {one.name: one for one in before.sessions if one.bgp_peer}
    for one in after.sessions:
        known = earlier.get(one.name)
        if known is not None and one.lost > known.lost:
            yield Loss(one.bgp_peer, node, one.peer, one.reason[:LONGEST])


_SUBJECTS = frozenset({"BGPPeer", "BGPConfiguration", "IPPool", "IPReservation"})


def _status(found: NodeStatus | None) -> NodeStatusStatus:
    return NOTHING if found is None or found.status is None else found.status

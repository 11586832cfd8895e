"""What the objects that users write should say about themselves: accepted or not, and why.

Desired conditions come from the snapshot and from what was refused; whoever writes them compares with what is there.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.peering import CONTRADICTIONS
from towpath.model.cluster import Cluster
from towpath.model.reason import Reason, Refusal
from towpath.model.resource import Condition, Resource

ACCEPTED = "Accepted"
AVAILABLE = "Available"
RESOLVED = "ResolvedRefs"
USER_KINDS = ("BGPConfiguration", "BGPPeer", "BGPFilter", "IPPool", "IPReservation", "IPAMConfiguration")
DISJOINT = "Disjoint"
ATTACHED = "Attached"
TUNNELLED = "TunnelsStand"
CONSISTENT = "Consistent"
WITHIN_LIMITS = "WithinLimits"
AMPLE = "Ample"
IN_SERVICE = "InService"
LEAVES_ROOM = "LeavesRoom"
UNUSED = "Unused"
ACKNOWLEDGED = "PoliciesAcknowledged"
ANNOUNCED = "Announced"
_NOTHING_FREE = frozenset({Reason.POOL_EXHAUSTED, Reason.POOL_RESERVED})
_OTHERS = frozenset({Reason.NODE_ADDRESS, Reason.SERVICE_RANGE_CONFLICT, Reason.POD_CIDR_CONFLICT})
BESIDE: Mapping[str, tuple[tuple[str, frozenset[Reason], str], ...]] = {
    "IPPool": (
        (AVAILABLE, _NOTHING_FREE, "BlocksFree"),
        (AMPLE, frozenset({Reason.POOL_RUNNING_LOW}), "BlocksLeft"),
        (IN_SERVICE, frozenset({Reason.POOL_DELETED}), "InService"),
        (DISJOINT, _OTHERS, "NoConflict"),
        (CONSISTENT, frozenset({Reason.TUNNEL_CONFLICT}), "NoConflict"),
        (TUNNELLED, frozenset({Reason.DEVICE_REFUSED, Reason.ENDS_NOT_FOUND}), "NothingRefused"),
        (ACKNOWLEDGED, frozenset({Reason.POLICY_NOT_ENFORCED}), "NoneUnacknowledged"),
        (
            ATTACHED,
            frozenset(
                {
                    Reason.ATTACHMENT_CONFLICT,
                    Reason.ATTACHMENT_MASTER,
                    Reason.ATTACHMENT_MTU,
                    Reason.ATTACHMENT_DHCP,
                    Reason.ATTACHMENT_PENDING,
                    Reason.KERNEL_LACKS,
                }
            ),
            "Attached",
        ),
    ),
    "IPReservation": (
        (LEAVES_ROOM, frozenset({Reason.POOL_RESERVED}), "LeavesRoom"),
        (UNUSED, frozenset({Reason.RESERVED_ADDRESS}), "Unused"),
    ),
    "IPAMConfiguration": ((AVAILABLE, frozenset({Reason.NO_POD_CIDRS}), "BlocksAssigned"),),
    "BGPPeer": (
        (RESOLVED, frozenset({Reason.UNKNOWN_FILTER, Reason.SECRET_MISSING, Reason.NO_ADDRESS}), "ResolvedRefs"),
        (CONSISTENT, CONTRADICTIONS, "NoConflict"),
        (WITHIN_LIMITS, frozenset({Reason.MAX_PREFIX}), "WithinLimits"),
    ),
    "BGPConfiguration": (
        (RESOLVED, frozenset({Reason.UNKNOWN_COMMUNITY, Reason.SECRET_MISSING}), "ResolvedRefs"),
        (CONSISTENT, CONTRADICTIONS, "NoConflict"),
    ),
}
"""Conditions beside ``Accepted``: of each kind the type, the reasons for which it is False, and the reason while it is True."""
FOR_SERVICES: tuple[tuple[str, frozenset[Reason], str], ...] = (
    (AVAILABLE, _NOTHING_FREE, "AddressesFree"),
    (AMPLE, frozenset({Reason.POOL_RUNNING_LOW}), "AddressesLeft"),
    (DISJOINT, _OTHERS, "NoConflict"),
    (ANNOUNCED, frozenset({Reason.NOT_LISTED}), "Listed"),
)
"""Likewise of pools for load balancers: they have no blocks, no pods and no tunnels."""
NOT_ACCEPTED = frozenset({Reason.INVALID_SPEC, Reason.UNKNOWN_NAME, Reason.OVERLAPPING_POOL})
"""Reasons for which an object is not in force; the others are about something that it asks for."""

Key = tuple[str, str]
"""Kind and name of an object."""


class Wanted(Struct, frozen=True):
    """The conditions that an object should have; ``last_transition_time`` is left to the writer."""

    uid: str
    generation: int
    conditions: tuple[Condition, ...]


def conditions(
    cluster: Cluster, refusals: Iterable[Refusal], *, rejected: Mapping[Key, tuple[str, int]]
) -> dict[Key, Wanted]:
    """Conditions of every object of a kind that users write, in the cluster or among the refusals.

    ``rejected``: uid and generation of objects that are not in force as they are now.
    """
    about: dict[Key, list[Refusal]] = {}
    for refusal in sorted(set(refusals)):
        if refusal.object.kind in USER_KINDS:
            about.setdefault((refusal.object.kind, refusal.object.name), []).append(refusal)
    accepted: tuple[Mapping[str, Resource[Any, Any]], ...] = (
        cluster.configurations,
        cluster.peers,
        cluster.filters,
        cluster.pools,
        cluster.reservations,
        cluster.ipam_configurations,
    )
    metas: dict[Key, tuple[str, int]] = {}
    for kind, objects in zip(USER_KINDS, accepted, strict=True):
        for name, one in objects.items():
            metas[kind, name] = one.meta.uid, one.meta.generation
    metas.update((key, meta) for key, meta in rejected.items() if key[0] in USER_KINDS and key[1])
    return {
        key: Wanted(uid, generation, tuple(_conditions(_beside(key, cluster), about.get(key, []), generation)))
        for key, (uid, generation) in sorted(metas.items())
    }


def merged(existing: Iterable[Condition], wanted: Iterable[Condition], *, now: str) -> tuple[Condition, ...] | None:
    """All conditions to write, or None if they are there already; those of other types stay as they are.

    ``now`` is RFC 3339: the transition time of conditions whose status changes.
    """
    before = {condition.type: condition for condition in existing}
    after = dict(before)
    for condition in wanted:
        old = before.get(condition.type)
        since = old.last_transition_time if old is not None and old.status == condition.status else now
        after[condition.type] = Condition(
            type=condition.type,
            status=condition.status,
            reason=condition.reason,
            message=condition.message,
            last_transition_time=since,
            observed_generation=condition.observed_generation,
        )
    return None if after == before else tuple(after.values())


def _beside(key: Key, cluster: Cluster) -> tuple[tuple[str, frozenset[Reason], str], ...]:
    kind, name = key
    pool = cluster.pools.get(name) if kind == "IPPool" else None
    return FOR_SERVICES if pool is not None and pool.spec.for_services else BESIDE.get(kind, ())


def _conditions(
    beside: Iterable[tuple[str, frozenset[Reason], str]], refusals: list[Refusal], generation: int
) -> Iterable[Condition]:
    rejected = [refusal for refusal in refusals if refusal.reason in NOT_ACCEPTED]
    held = [refusal for refusal in refusals if refusal.reason is Reason.SELECTION_HELD]
    accepted = _condition(ACCEPTED, rejected or held, generation, good="Accepted")
    # what selects nothing more is in force: with what it selected last
    yield replace(accepted, status="True") if held and not rejected else accepted
    for name, reasons, good in beside:
        yield _condition(name, [one for one in refusals if one.reason in reasons], generation, good=good)


def _condition(name: str, refusals: list[Refusal], generation: int, *, good: str) -> Condition:
    if not refusals:
        return Condition(type=name, status="True", reason=good, observed_generation=generation)
    message = "; ".join(f"{one.object.field}: {one.message}" if one.object.field else one.message for one in refusals)
    return Condition(
        type=name,
        status="False",
        reason=refusals[0].reason,
        message=message[:1024],
        observed_generation=generation,
    )

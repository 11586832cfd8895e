"""Who may have an address together: services of one namespace that say the same key, where neither takes the other's packets."""

from collections.abc import Iterable

from towpath.model.kinds.claim import Tenant


def objection(one: Tenant, others: Iterable[Tenant]) -> str | None:
    """Why a service may not have an address that others have; None: it may."""
    for other in others:
        if other.uid == one.uid:
            continue
        if not one.sharing_key or one.sharing_key != other.sharing_key or _namespace(one) != _namespace(other):
            return f"Service/{other.service} has it"
        taken = sorted(set(one.ports) & set(other.ports))
        if taken:
            return f"Service/{other.service} has it, and {taken[0]} with it"
        if one.endpoints != other.endpoints:
            # a node announces the address for both, and has to have an endpoint of both
            return f"Service/{other.service} has it, and other nodes take its packets (externalTrafficPolicy)"
    return None


def staying(recorded: Iterable[tuple[Tenant, Tenant]]) -> frozenset[str]:
    """Of the services that have an address together the uids of those that still may: as each was when it got it, and is now.

    Where one has changed and does not fit any more, it goes, and not those that stayed as they were.
    """
    kept: list[Tenant] = []
    for _, now in sorted(recorded, key=lambda pair: _facts(pair[0]) != _facts(pair[1])):
        if objection(now, kept) is None:
            kept.append(now)
    return frozenset(one.uid for one in kept)


def same_facts(one: Tenant, other: Tenant) -> bool:
    """Whether a claim says of a service what another says of it, whatever the versions."""
    return _facts(one) == _facts(other)


def _facts(one: Tenant) -> tuple[object, ...]:
    return one.service, one.sharing_key, one.ports, one.endpoints


def _namespace(one: Tenant) -> str:
    return one.service.partition("/")[0]

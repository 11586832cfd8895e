"""Which service addresses a node announces (RULES: services), the rules alone: one Service, or the node, at a time.

A range of the configuration is announced whole by every node that announces services at all. A Service adds or removes
single addresses: those whose packets only a node with an endpoint can take, those that are listed one by one, and those of
ranges that are not announced whole.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct

from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import BGPConfigurationSpec
from towpath.model.net import Address, Family, Prefix, contains, family_of, host_prefix
from towpath.model.reason import Reason, Why
from towpath.model.service import EndpointSlice, Policy, Service, families_of
from towpath.model.speaker import NORMAL_LOCAL_PREF_BASE, Announcement

EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
"""A node with this label, whatever its value, announces no services."""
DRAIN: Final = "towpath.io/drain"
"""A node with this annotation or taint stops announcing services, in two steps."""
LEAVES_FOR: Final = 30.0
"""Seconds of the first step: longer than peers take to find and spread another way (RFC 8326 section 4.2)."""
GRACEFUL_SHUTDOWN: Final = "65535:0"
List = Literal["Cluster", "External", "LoadBalancer"]


class Entry(Struct, frozen=True):
    """One configured range of addresses of one kind, and the field that says so."""

    kind: List
    prefix: Prefix
    why: Why

    @property
    def single(self) -> bool:
        """Whether it is one address."""
        return self.prefix.prefixlen == self.prefix.max_prefixlen


class Entries(Struct, frozen=True):
    """All configured ranges. Not ``aggregated``: those of load balancer addresses are not announced whole."""

    entries: tuple[Entry, ...] = ()
    aggregated: bool = True

    def __bool__(self) -> bool:
        return bool(self.entries)

    def holding(self, kind: List, address: Address) -> Entry | None:
        """The entry that lists an address: the one for it alone, else the first range that has it."""
        prefix = host_prefix(address)
        found = [one for one in self.entries if one.kind == kind and contains(one.prefix, prefix)]
        return next((one for one in found if one.single), found[0] if found else None)

    def whole(self) -> dict[Prefix, Why]:
        """What is announced whatever services there are."""
        found: dict[Prefix, Why] = {}
        for one in self.entries:
            if one.kind == "Cluster" or not (one.single or (one.kind == "LoadBalancer" and not self.aggregated)):
                found.setdefault(one.prefix, one.why)
        return found


class Outcome(Struct, frozen=True):
    """What becomes of one address of a Service on one node: announced by itself if the reason is ``OwnService``."""

    address: Address
    reason: Reason
    why: tuple[Why, ...]

    @property
    def announced(self) -> bool:
        """Whether the address is announced by itself."""
        return self.reason is Reason.OWN_SERVICE


def configured(config: BGPConfigurationSpec) -> Entries:
    """The ranges of a configuration; entries without a range mean nothing."""
    lists: tuple[tuple[List, str], ...] = (
        ("Cluster", "service_cluster_ips"),
        ("External", "service_external_ips"),
        ("LoadBalancer", "service_load_balancer_ips"),
    )
    entries = tuple(
        Entry(kind, one.cidr, Why("BGPConfiguration", "default", f"spec.service{kind}IPs[{place}].cidr"))
        for kind, field in lists
        for place, one in enumerate(getattr(config, field))
        if one.cidr is not None
    )
    return Entries(entries, aggregated=config.service_load_balancer_aggregation == "Enabled")


def outcomes(
    service: Service, slices: Collection[EndpointSlice], *, node: str, entries: Entries
) -> Iterator[tuple[Entry | None, Outcome]]:
    """What becomes of each address of a Service on ``node``, with the entry that lists it; in order of kind and address."""
    local, anywhere = families_of(slices, (node,)), families_of(slices)
    internal = service.internal_policy if service.external_policy == "Cluster" else "Local"
    internal_field = "internalTrafficPolicy" if service.external_policy == "Cluster" else "externalTrafficPolicy"
    asked: tuple[tuple[List, tuple[Address, ...], Policy, str, str], ...] = (
        ("Cluster", service.cluster, internal, "spec.clusterIPs", internal_field),
        ("External", service.external, service.external_policy, "spec.externalIPs", "externalTrafficPolicy"),
        (
            "LoadBalancer",
            service.load_balancer,
            service.external_policy,
            "status.loadBalancer",
            "externalTrafficPolicy",
        ),
    )
    for kind, addresses, policy, field, policy_field in asked:
        for address in addresses:
            entry = entries.holding(kind, address)
            why = [Why("Service", service.key, field)]
            if entry is not None:
                why.append(entry.why)
            if policy == "Local":
                why.append(Why("Service", service.key, f"spec.{policy_field}"))
            family = family_of(address)
            ready = family in local, family in anywhere
            reason = _reason(entry, policy, ready=ready, aggregated=entries.aggregated)
            yield entry, Outcome(address, reason, tuple(why))


def _reason(entry: Entry | None, policy: Policy, *, ready: tuple[bool, bool], aggregated: bool) -> Reason:
    here, anywhere = ready
    if entry is None:
        return Reason.NOT_LISTED
    if policy == "Local":
        return Reason.OWN_SERVICE if here else Reason.NO_LOCAL_ENDPOINT
    if entry.kind == "Cluster":
        return Reason.IN_SERVICE_RANGE
    if entry.single:
        return Reason.OWN_SERVICE
    if entry.kind == "LoadBalancer" and not aggregated:
        return Reason.OWN_SERVICE if anywhere else Reason.NO_READY_ENDPOINT
    return Reason.IN_SERVICE_RANGE


class Standing(Struct, frozen=True):
    """Whether a node announces services: ``Announces``, ``Leaves`` (others are to be preferred) or ``Silent``; and why not."""

    state: Literal["Announces", "Leaves", "Silent"] = "Announces"
    reason: Reason | None = None
    why: Why | None = None


def standing(cluster: Cluster, node: str, *, drained_for: float) -> Standing:
    """The standing of a node that has been asked to drain for so many seconds (of no meaning where it is not)."""
    found = cluster.nodes.get(node) or cluster.routing_nodes.get(node)
    if found is not None and EXCLUDED in found.meta.labels:
        return Standing("Silent", Reason.NODE_EXCLUDED, Why("Node", node, f"metadata.labels[{EXCLUDED}]"))
    why = drains(cluster, node)
    if why is None:
        return Standing()
    return Standing("Leaves" if drained_for < LEAVES_FOR else "Silent", Reason.NODE_DRAINING, why)


def drains(cluster: Cluster, node: str) -> Why | None:
    """What asks a node to drain, if anything does. Cordoning does not."""
    own = cluster.nodes.get(node)
    if own is None:
        return None
    if DRAIN in own.meta.annotations:
        return Why("Node", node, f"metadata.annotations[{DRAIN}]")
    return Why("Node", node, "spec.taints") if DRAIN in own.taints else None


def announcements_of(
    routes: Mapping[Prefix, tuple[Why, ...]], *, config: BGPConfigurationSpec, node: Standing
) -> dict[Prefix, Announcement]:
    """Service prefixes as announcements of a node of this standing."""
    if node.state == "Silent":
        return {}
    priorities = dict(zip(Family, (config.ipv4_normal_route_priority, config.ipv6_normal_route_priority), strict=True))
    leaves = node.state == "Leaves"
    return {
        prefix: Announcement(
            prefix=prefix,
            source="Service",
            local_preference=0 if leaves else NORMAL_LOCAL_PREF_BASE - priorities[family_of(prefix)],
            communities=(GRACEFUL_SHUTDOWN,) if leaves else (),
            why=(*why, node.why) if node.why else why,
        )
        for prefix, why in routes.items()
    }


def covering(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """The prefixes without those that lie in others, in order of family and address."""
    found: list[Prefix] = []
    for prefix in sorted(prefixes, key=lambda one: (one.version, int(one.network_address), one.prefixlen)):
        if not (found and contains(found[-1], prefix)):
            found.append(prefix)
    return tuple(found)

"""BGPPeer: one session, or a rule that makes many."""

from typing import Annotated, Any, Literal

from msgspec import Meta as Field
from msgspec import Struct

from towpath.model.kinds.bgp import (
    MAX_RESTART_TIME,
    TIMER_RULES,
    Advertise,
    MaxPrefixes,
    Name,
    SecretReference,
    Text,
    Timers,
)
from towpath.model.kinds.kind import Column, Kind, Rule, duration_rule, json_name
from towpath.model.kinds.values import ASNumber, Duration, InterfaceName, PeerIP
from towpath.model.net import Address
from towpath.model.selector import Selector

Occurrences = Annotated[int, Field(ge=0, le=255)]
TTL = Annotated[int, Field(ge=1, le=255)]
Hops = Annotated[int, Field(ge=1, le=254)]
Role = Literal["Provider", "RS", "RS-Client", "Customer", "Peer"]
"""What we are to the peer (RFC 9234 section 3)."""
AddressFamily = Literal["ipv4", "ipv6"]


class PeerFrom(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Where a node finds its peer's address by itself."""

    default_gateway: Annotated[
        bool,
        Field(description="The peers are the gateways of the node's own default routes, in each family that it has."),
    ] = False
    interface: Annotated[
        InterfaceName | None,
        Field(
            description="The peer is the router at the other end of this interface (unnumbered): its link-local address is found by neighbour discovery. Needs unnumbered.enabled in the BGPConfiguration.",
        ),
    ] = None


class Shutdown(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """A session that is configured and not run (RFC 9003)."""

    message: Annotated[
        Text, Field(description="What the peer is told of it (RFC 9003): the first 255 bytes of it in UTF-8.")
    ] = ""


class BGPPeerSpec(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """One session, or a rule that makes many."""

    node: Annotated[Name | None, Field(description="The one node that peers.")] = None
    node_selector: Annotated[
        Selector | None, Field(description="The nodes that peer, by label; without node and nodeSelector all do.")
    ] = None
    peer_ip: Annotated[PeerIP | None, Field(description="The peer: ip, ip:port or [v6]:port.")] = None
    peer_selector: Annotated[Selector | None, Field(description="The nodes that are peered with, by label.")] = None
    peer_from: Annotated[
        PeerFrom | None, Field(description="How each node finds the peer, where it is not the same for all.")
    ] = None
    local_workload_selector: Annotated[
        Selector | None,
        Field(
            description="The pods on each node that it peers with, by label; their namespace is the label towpath.io/namespace, their service account towpath.io/service-account. They dial localWorkloadPeeringIPV4 or V6 of the BGPConfiguration from their own address."
        ),
    ] = None
    as_number: Annotated[ASNumber | None, Field(description="The peer's AS.")] = None
    local_as_number: Annotated[ASNumber | None, Field(description="Our AS on this session, instead of the node's.")] = (
        None
    )
    address_families: Annotated[
        tuple[AddressFamily, ...],
        Field(
            max_length=2,
            description="Families whose routes the session carries; unless set that of its own addresses. With peerSelector, peerFrom and localWorkloadSelector there is one session then, over the first of them that both ends have.",
        ),
    ] = ()
    reverse_peering: Annotated[
        Literal["Auto", "Manual"],
        Field(description="Auto also makes the session on the other node, where the peer is one."),
    ] = "Auto"
    password: Annotated[SecretReference | None, Field(description="TCP-MD5 password.")] = None
    num_allowed_local_as_numbers: Annotated[
        Occurrences | None,
        Field(description="How often our own AS may be in the AS_PATH of what is accepted; never unless set."),
    ] = None
    ebgp_multihop: Annotated[
        TTL | None,
        Field(description="TTL of an eBGP session; 1 unless set, 64 with nodes of ours. iBGP does not need it."),
    ] = None
    ttl_security: Annotated[
        Hops | None,
        Field(
            description="Hops to the peer, at most (GTSM, RFC 5082): we send with TTL 255 and take nothing from farther away.",
        ),
    ] = None
    reachable_by: Annotated[
        Address | None,
        Field(description="Gateway to the peer: nodes get a route to the peer's address alone through it."),
    ] = None
    source_address: Annotated[
        Literal["UseNodeIP", "None"],
        Field(description="Address that the session comes from: the node's, or what the kernel chooses."),
    ] = "UseNodeIP"
    passive: Annotated[bool, Field(description="Wait for the peer to connect.")] = False
    timers: Annotated[Timers | None, Field(description="Timers of this session.")] = None
    keepalive_time: Annotated[Duration | None, Field(description="Keepalive time; wins over timers.keepaliveTime.")] = (
        None
    )
    max_restart_time: Annotated[Duration | None, Field(description="Restart time of this session.")] = None
    import_policy: Annotated[
        Literal["Filtered", "All", "None"],
        Field(
            description="What is accepted from outside: what a filter accepts, all that none rejects, or nothing. Blocks whose owner announces them are accepted with Filtered and All."
        ),
    ] = "Filtered"
    filters: Annotated[
        tuple[Name, ...],
        Field(
            max_length=64,
            description="Names of the BGPFilters that are asked, in this order. One that does not exist rejects everything.",
        ),
    ] = ()
    advertise: Annotated[
        Advertise,
        Field(
            description="What may be announced: this node's Own announcements; also learned routes inside the Cluster's pools; or All learned routes, of which those outside the pools need a filter that accepts them."
        ),
    ] = "Own"
    next_hop_mode: Annotated[
        Literal["Auto", "Self", "Keep"] | None,
        Field(
            description="Next hop of learned routes that are announced: Auto as RFC 4271 section 5.1.3 says, Self this node, Keep as learned. Auto unless set."
        ),
    ] = None
    keep_original_next_hop: Annotated[
        bool, Field(description="Older form of nextHopMode Keep; nextHopMode wins where it is set.")
    ] = False
    add_paths: Annotated[
        bool | None,
        Field(
            description="All paths of a prefix are told and taken, not the best alone (ADD-PATH, RFC 7911); as the BGPConfiguration says on iBGP sessions of route reflectors, elsewhere not, unless set."
        ),
    ] = None
    max_prefixes: Annotated[
        MaxPrefixes | None,
        Field(description="Limit of accepted prefixes; where a prefix has several paths each counts."),
    ] = None
    shutdown: Annotated[
        Shutdown | None,
        Field(
            description="Set: keep the session in the configuration and do not run it. Routes are withdrawn, then it closes."
        ),
    ] = None
    role: Annotated[
        Role | None,
        Field(
            description="What we are to a peer in another AS (RFC 9234): it must be the counterpart, and routes that must not go up or sideways do not."
        ),
    ] = None
    strict_role: Annotated[bool, Field(description="No session with a peer that does not say its role.")] = False
    description: Annotated[Text | None, Field(description="A note for people.")] = None


def _earlier(spec: dict[str, Any]) -> dict[str, Any]:
    """``shutdown`` was a boolean first, and the API server stored its default with every object."""
    was = spec.get("shutdown")
    if not isinstance(was, bool):
        return spec
    others = {name: value for name, value in spec.items() if name != "shutdown"}
    return {**others, "shutdown": {}} if was else others


BGP_PEER = Kind(
    name="BGPPeer",
    plural="bgppeers",
    singular="bgppeer",
    short_names=("bgpp",),
    description="A BGP session of some nodes with one router, or with other nodes.",
    spec=BGPPeerSpec,
    earlier=_earlier,
    rules=(
        Rule(
            cel="!(has(self.node) && has(self.nodeSelector))",
            message="node and nodeSelector exclude each other",
            field="spec.node",
            check=lambda _meta, spec: spec.node is None or spec.node_selector is None,
        ),
        Rule(
            cel="[has(self.peerIP), has(self.peerSelector), has(self.peerFrom), has(self.localWorkloadSelector)]"
            ".filter(given, given).size() == 1",
            message="exactly one of peerIP, peerSelector, peerFrom and localWorkloadSelector is needed",
            field="spec.peerIP",
            check=lambda _meta, spec: (
                [spec.peer_ip, spec.peer_selector, spec.peer_from, spec.local_workload_selector].count(None) == 3
            ),
        ),
        Rule(
            cel="has(self.asNumber) || has(self.peerSelector)",
            message="a peer by peerIP, peerFrom or localWorkloadSelector needs an asNumber",
            field="spec.asNumber",
            check=lambda _meta, spec: spec.as_number is not None or spec.peer_selector is not None,
        ),
        Rule(
            cel="!(has(self.asNumber) && has(self.peerSelector))",
            message="asNumber stays empty with peerSelector: the selected nodes' AS counts",
            field="spec.asNumber",
            check=lambda _meta, spec: spec.as_number is None or spec.peer_selector is None,
        ),
        Rule(
            cel="!has(self.peerFrom) || self.peerFrom.defaultGateway != has(self.peerFrom.interface)",
            message="exactly one of defaultGateway: true and interface is needed",
            field="spec.peerFrom",
            check=lambda _meta, spec: (
                spec.peer_from is None or spec.peer_from.default_gateway != (spec.peer_from.interface is not None)
            ),
        ),
        Rule(
            cel="!(has(self.ttlSecurity) && has(self.ebgpMultihop))",
            message="ttlSecurity and ebgpMultihop exclude each other: with ttlSecurity the TTL is 255",
            field="spec.ttlSecurity",
            check=lambda _meta, spec: spec.ttl_security is None or spec.ebgp_multihop is None,
        ),
        Rule(
            cel="!has(self.reachableBy) || (has(self.peerIP)"
            " && self.reachableBy.contains(':') != self.peerIP.matches('^[0-9.]+(:[0-9]+)?$'))",
            message="reachableBy is for a peerIP of the same family",
            field="spec.reachableBy",
            check=lambda _meta, spec: (
                spec.reachable_by is None
                or (spec.peer_ip is not None and spec.reachable_by.version == spec.peer_ip.address.version)
            ),
        ),
        Rule(
            cel="!has(self.addressFamilies) || self.addressFamilies.size() < 2 || self.addressFamilies[0] != self.addressFamilies[1]",
            message="addressFamilies names each family once",
            field="spec.addressFamilies",
            check=lambda _meta, spec: len(set(spec.address_families)) == len(spec.address_families),
        ),
        Rule(
            cel="!self.strictRole || has(self.role)",
            message="strictRole needs a role",
            field="spec.strictRole",
            check=lambda _meta, spec: spec.role is not None or not spec.strict_role,
        ),
        *TIMER_RULES,
        duration_rule("keepaliveTime", lowest=1, highest=21845, source="RFC 4271 section 4.4"),
        duration_rule("maxRestartTime", lowest=1, highest=MAX_RESTART_TIME, source="RFC 4724 section 3"),
        duration_rule("maxPrefixes.restartAfter", lowest=1, highest=86400),
    ),
    columns=(
        Column("Peer", ".spec.peerIP"),
        Column("Interface", ".spec.peerFrom.interface", priority=1),
        Column("AS", ".spec.asNumber"),
        Column("Node", ".spec.node"),
        Column("Node-Selector", ".spec.nodeSelector", priority=1),
        Column("Peer-Selector", ".spec.peerSelector", priority=1),
        Column("Workload-Selector", ".spec.localWorkloadSelector", priority=1),
        Column("Accepted", ".status.conditions[?(@.type=='Accepted')].status"),
        Column("Resolved", ".status.conditions[?(@.type=='ResolvedRefs')].status"),
        Column("Consistent", ".status.conditions[?(@.type=='Consistent')].status"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

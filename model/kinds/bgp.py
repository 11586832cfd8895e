"""BGPConfiguration: who this cluster is to its peers; and the values that it shares with BGPPeer."""

from ipaddress import IPv4Address
from typing import Annotated, Literal

from msgspec import Meta as Field
from msgspec import Struct
from msgspec.structs import fields

from towpath.model.community import Community
from towpath.model.kinds.kind import Column, Kind, Rule, duration_rule, json_name
from towpath.model.kinds.values import IPV4_TEXT, ASNumber, Duration
from towpath.model.net import Address, Prefix
from towpath.model.resource import Meta as ObjectMeta

Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=253)]
RouterID = Annotated[str, Field(pattern=rf"^(hash|{IPV4_TEXT})$")]
Text = Annotated[str, Field(max_length=255)]
LogSeverity = Literal["Debug", "Info", "Warning", "Error", "Fatal"]
Advertise = Literal["Own", "Cluster", "All"]
DEFAULT_AS = ASNumber(64512)


class SecretKey(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """One key of a Secret in towpath's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the Secret.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="Key in it whose value is the password.")]


class SecretReference(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Where a password is kept."""

    secret_key_ref: Annotated[SecretKey, Field(description="The Secret's name and key.")]


class Timers(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """BGP timers (RFC 4271 section 10)."""

    hold_time: Annotated[
        Duration | None, Field(description="Hold time that is offered, 0s or at least 3s; 90s unless set.")
    ] = None
    keepalive_time: Annotated[
        Duration | None, Field(description="Time between keepalives, at most; a third of the hold time unless set.")
    ] = None
    connect_retry_time: Annotated[
        Duration | None, Field(description="Time between two attempts to connect; 5s unless set.")
    ] = None


class GracefulRestart(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Graceful restart (RFC 4724)."""

    enabled: Annotated[bool, Field(description="Offer graceful restart, and help peers that restart.")] = True
    restart_time: Annotated[Duration, Field(description="How long peers keep our routes while we restart.")] = Duration(
        120
    )


class Multipath(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Several equally good paths at once."""

    maximum_paths: Annotated[int, Field(ge=1, le=128, description="Paths of one prefix used at once, at most.")] = 16


class Unnumbered(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Peers at the other end of an interface, by link-local addresses."""

    enabled: Annotated[
        bool,
        Field(
            description="Nodes run the sessions of peers with peerFrom.interface, and send router advertisements on those interfaces. The agent needs NET_RAW for it (unnumbered.enabled in the chart's values)."
        ),
    ] = False


class MaxPrefixes(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """How many prefixes one session may bring."""

    limit: Annotated[int, Field(ge=1, le=4294967295, description="Prefixes accepted, at most.")]
    warn_percent: Annotated[int, Field(ge=1, le=100, description="A warning from this part of the limit on.")] = 80
    action: Annotated[
        Literal["Refuse", "Reset"],
        Field(description="At the limit: Refuse what is new, or Reset the session."),
    ] = "Refuse"
    restart_after: Annotated[Duration | None, Field(description="After a Reset: dial again after this time.")] = None


class NamedCommunity(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """A name for a community."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.-]{1,253}$", description="The name: letters, digits, dots, dashes, underscores."),
    ]
    value: Annotated[Community, Field(description="aa:nn, aa:nn:mm or a well-known name such as no-export.")]


class PrefixAdvertisement(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Communities of announced prefixes inside a range."""

    cidr: Annotated[Prefix, Field(description="The range.")]
    communities: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=253)], ...],
        Field(
            min_length=1,
            max_length=64,
            description="Communities that are added: names of communities, aa:nn, aa:nn:mm or well-known names.",
        ),
    ]


class ServiceRange(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Service addresses that are announced."""

    cidr: Annotated[
        Prefix | None,
        Field(description="A range, or one address as a /32 or /128; an entry without one means nothing."),
    ] = None


ServiceRanges = Annotated[tuple[ServiceRange, ...], Field(max_length=256)]


class BGPConfigurationSpec(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """BGP for the whole cluster (object ``default``), or a few fields for one node (object ``node.NAME``)."""

    as_number: Annotated[ASNumber | None, Field(description="AS of the cluster; 64512 unless set.")] = None
    node_to_node_mesh_enabled: Annotated[bool, Field(description="iBGP between all nodes that are no reflectors.")] = (
        True
    )
    listen_port: Annotated[Port | None, Field(description="TCP port that nodes listen on; 179 unless set.")] = None
    bind_mode: Annotated[
        Literal["None", "NodeIP"],
        Field(description="NodeIP listens on the node's addresses only."),
    ] = "None"
    router_id: Annotated[
        RouterID | None,
        Field(description="Router id: an IPv4 address, or hash (made from the node's name)."),
    ] = None
    timers: Annotated[Timers | None, Field(description="Timers of the sessions.")] = None
    node_mesh_password: Annotated[SecretReference | None, Field(description="TCP-MD5 password of the mesh.")] = None
    node_mesh_max_restart_time: Annotated[
        Duration | None, Field(description="Restart time of the mesh, instead of gracefulRestart.restartTime.")
    ] = None
    graceful_restart: Annotated[GracefulRestart, Field(description="Graceful restart, as restarter and as helper.")] = (
        GracefulRestart()
    )
    multipath: Annotated[Multipath, Field(description="Equal paths used at once.")] = Multipath()
    max_prefixes: Annotated[MaxPrefixes | None, Field(description="Limit of sessions that set none of their own.")] = (
        None
    )
    communities: Annotated[
        tuple[NamedCommunity, ...],
        Field(max_length=256, description="Names for communities, for prefixAdvertisements."),
    ] = ()
    prefix_advertisements: Annotated[
        tuple[PrefixAdvertisement, ...],
        Field(max_length=256, description="Communities that are added to what is announced inside ranges."),
    ] = ()
    service_cluster_ips: Annotated[
        ServiceRanges, Field(description="Cluster addresses of services that are announced: each range by every node.")
    ] = ()
    service_external_ips: Annotated[
        ServiceRanges,
        Field(
            description="External addresses of services that are announced: each range by every node, a single address while a service has it."
        ),
    ] = ()
    service_load_balancer_ips: Annotated[
        ServiceRanges,
        Field(
            description="Load balancer addresses of services that are announced: each range by every node, a single address while a service has it."
        ),
    ] = ()
    service_load_balancer_aggregation: Annotated[
        Literal["Enabled", "Disabled"],
        Field(
            description="Disabled: not the ranges of load balancer addresses, only each service's address while it has a ready endpoint."
        ),
    ] = "Enabled"
    mesh_advertise: Annotated[
        Advertise,
        Field(
            description="What is announced in the mesh: Own announcements, or those of the Cluster's pools that were learned from outside too. All is no more than that in the mesh, which has no filters to accept the rest."
        ),
    ] = "Own"
    advertise_node_addresses: Annotated[
        bool,
        Field(
            description="Every node announces its own addresses, a /32 and a /128, and accepts those of others from their AS: for nodes whose addresses lie on loopback."
        ),
    ] = False
    add_paths: Annotated[
        bool,
        Field(
            description="On iBGP sessions of route reflectors all paths of a prefix are told and taken, not the best alone (ADD-PATH, RFC 7911)."
        ),
    ] = True
    ignored_interfaces: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=64)], ...],
        Field(max_length=64, description="Globs of interfaces that next-hop resolution never uses."),
    ] = ()
    ipv4_normal_route_priority: Annotated[
        int, Field(ge=1, le=65535, description="Priority of a normal IPv4 route; LOCAL_PREF is 2147483647 minus it.")
    ] = 1024
    ipv6_normal_route_priority: Annotated[
        int, Field(ge=1, le=65535, description="Priority of a normal IPv6 route; LOCAL_PREF is 2147483647 minus it.")
    ] = 1024
    kernel_metric: Annotated[int, Field(ge=1, le=4294967294, description="Metric of our routes in the kernel.")] = 1179
    program_cluster_routes: Annotated[
        Literal["Enabled", "Disabled"],
        Field(description="Whether learned routes reach the kernel."),
    ] = "Enabled"
    cluster_routes: Annotated[
        Literal["BGP", "Kubernetes"],
        Field(description="Where routes to other nodes' blocks come from: the mesh, or the API's objects (host-gw)."),
    ] = "BGP"
    local_workload_peering_ipv4: Annotated[
        IPv4Address | None,
        Field(
            description="IPv4 address that the selected pods of a node peer with, the same on all nodes and known on its own node only; one that nobody else uses, such as 169.254.0.179."
        ),
    ] = None
    local_workload_peering_ipv6: Annotated[
        Address | None,
        Field(description="The same in IPv6, and not link-local: on which link it is only a pod knows."),
    ] = None
    unnumbered: Annotated[Unnumbered, Field(description="Peers that are named by an interface.")] = Unnumbered()
    shutdown: Annotated[
        bool,
        Field(
            description="Leave in order: every node withdraws its routes, closes its sessions and reports Left in its NodeStatus."
        ),
    ] = False
    log_severity_screen: Annotated[
        LogSeverity | None, Field(description="Log level of agent and speaker; Info unless set.")
    ] = None


TIMER_RULES = (
    duration_rule("timers.holdTime", lowest=3, highest=65535, zero=True, source="RFC 4271 section 4.2"),
    duration_rule("timers.keepaliveTime", lowest=1, highest=21845, source="RFC 4271 section 4.4"),
    duration_rule("timers.connectRetryTime", lowest=1, highest=3600),
)
MAX_RESTART_TIME = 4095  # 12 bits, RFC 4724 §3
_OF_A_NODE = frozenset(
    {
        *("as_number", "listen_port", "router_id", "timers", "log_severity_screen", "communities"),
        *("prefix_advertisements", "local_workload_peering_ipv4", "local_workload_peering_ipv6"),
    }
)


_UNICAST = frozenset(range(1, 224)) - {127}
"""First bytes of IPv4 addresses of one machine each."""


def _is_global(address: Address) -> bool:
    """Whether an address is IPv6 and means one machine, whatever link it is asked on."""
    narrower = address.is_link_local or address.is_loopback or address.is_unspecified or address.is_multicast
    return address.version == 6 and not narrower


def _set_for_one_node(meta: ObjectMeta, spec: BGPConfigurationSpec) -> bool:
    """Whether ``node.NAME`` sets nothing but what one node may have of its own."""
    if not meta.name.startswith("node."):
        return True
    cluster_wide = (field for field in fields(BGPConfigurationSpec) if field.name not in _OF_A_NODE)
    return all(getattr(spec, field.name) == field.default for field in cluster_wide)


def _cel_set_for_one_node() -> str:
    """The same for the API server, which has filled in the defaults by then."""
    terms = [
        term
        for field in fields(BGPConfigurationSpec)
        if field.name not in _OF_A_NODE
        for term in _cel_default(f"self.spec.{field.encode_name}", field.default)
    ]
    return f"!self.metadata.name.startsWith('node.') || ({' && '.join(terms)})"


def _cel_default(path: str, default: object) -> list[str]:
    """That a field has its default, or, where that is nothing, is not set."""
    if default is None or default == ():
        return [f"!has({path})"]
    if isinstance(default, Struct):
        return [
            term
            for field in fields(type(default))
            for term in _cel_default(f"{path}.{field.encode_name}", getattr(default, field.name))
        ]
    written = str(default).lower() if type(default) in (bool, int) else f"'{default}'"
    return [f"{path} == {written}"]


BGP_CONFIGURATION = Kind(
    name="BGPConfiguration",
    plural="bgpconfigurations",
    singular="bgpconfiguration",
    short_names=("bgpconfig",),
    description="Settings of BGP for the cluster; the object named default holds them, node.NAME overrides some for one node.",
    spec=BGPConfigurationSpec,
    rules=(
        Rule(
            cel="self.metadata.name == 'default' || self.metadata.name.startsWith('node.')",
            message="the name must be default or node.NAME",
            field="metadata.name",
            at="",
            check=lambda meta, _spec: meta.name == "default" or (meta.name.startswith("node.") and len(meta.name) > 5),
        ),
        Rule(
            cel=_cel_set_for_one_node(),
            message="node.NAME may set asNumber, listenPort, routerID, timers, communities, prefixAdvertisements, localWorkloadPeeringIPV4, localWorkloadPeeringIPV6 and logSeverityScreen only",
            field="spec",
            at="",
            check=_set_for_one_node,
        ),
        Rule(
            cel="!has(self.localWorkloadPeeringIPV4)"
            " || !self.localWorkloadPeeringIPV4.matches('^(0|127|22[4-9]|2[345][0-9])[.]')",
            message="localWorkloadPeeringIPV4 must be an address of one machine",
            field="spec.localWorkloadPeeringIPV4",
            check=lambda _meta, spec: (
                spec.local_workload_peering_ipv4 is None or spec.local_workload_peering_ipv4.packed[0] in _UNICAST
            ),
        ),
        Rule(
            cel="!has(self.localWorkloadPeeringIPV6)"
            " || (self.localWorkloadPeeringIPV6.contains(':') && ip(self.localWorkloadPeeringIPV6).isGlobalUnicast())",
            message="localWorkloadPeeringIPV6 must be an IPv6 address of one machine that is not link-local",
            field="spec.localWorkloadPeeringIPV6",
            check=lambda _meta, spec: (
                spec.local_workload_peering_ipv6 is None or _is_global(spec.local_workload_peering_ipv6)
            ),
        ),
        *TIMER_RULES,
        duration_rule("nodeMeshMaxRestartTime", lowest=1, highest=MAX_RESTART_TIME, source="RFC 4724 section 3"),
        duration_rule("gracefulRestart.restartTime", lowest=1, highest=MAX_RESTART_TIME, source="RFC 4724 section 3"),
        duration_rule("maxPrefixes.restartAfter", lowest=1, highest=86400),
    ),
    columns=(
        Column("AS", ".spec.asNumber"),
        Column("Mesh", ".spec.nodeToNodeMeshEnabled", "boolean"),
        Column("Routes", ".spec.clusterRoutes"),
        Column("Accepted", ".status.conditions[?(@.type=='Accepted')].status"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

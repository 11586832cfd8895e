"""The snapshot: everything that plans are made from, decoded and complete, at one moment.

A plan is a function of a snapshot and a node's name. Snapshots hold no secrets (those are looked up by reference when
sessions are built), so one can be written to disk and read again.
"""

from collections.abc import Mapping

from msgspec import Struct, field

from towpath.model.kinds.bgp import BGPConfigurationSpec
from towpath.model.kinds.claim import AddressClaimSpec
from towpath.model.kinds.filter import BGPFilterSpec
from towpath.model.kinds.ipam import IPAMBlockSpec, IPAMConfigurationSpec, IPPoolSpec
from towpath.model.kinds.node import NodeStatusSpec, NodeStatusStatus, RoutingNodeSpec, RoutingNodeStatus
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.kinds.reservation import IPReservationSpec
from towpath.model.net import Address, Prefix
from towpath.model.resource import Meta, Resource
from towpath.model.service import EndpointSlice, Service
from towpath.model.workload import Workload

BGPConfiguration = Resource[BGPConfigurationSpec, None]
BGPPeer = Resource[BGPPeerSpec, None]
BGPFilter = Resource[BGPFilterSpec, None]
IPPool = Resource[IPPoolSpec, None]
IPReservation = Resource[IPReservationSpec, None]
IPAMConfiguration = Resource[IPAMConfigurationSpec, None]
IPAMBlock = Resource[IPAMBlockSpec, None]
AddressClaim = Resource[AddressClaimSpec, None]
RoutingNode = Resource[RoutingNodeSpec, RoutingNodeStatus]
NodeStatus = Resource[NodeStatusSpec, NodeStatusStatus]


class Node(Struct, frozen=True):
    """A Kubernetes Node, as far as we read it. Named by ``meta.name``."""

    meta: Meta
    addresses: tuple[Address, ...] = ()
    """InternalIP entries, in the order of ``status.addresses``."""
    pod_cidrs: tuple[Prefix, ...] = ()
    machine_id: str = ""
    system_uuid: str = ""
    operating_system: str = ""
    ready: bool = False
    unschedulable: bool = False
    taints: tuple[str, ...] = ()
    """Their keys."""
    network_unavailable: bool = False
    """Somebody, a cloud as a rule, says that it has no network yet."""
    pods: int | None = None
    """How many its kubelet takes; None where it does not say."""


class Cluster(Struct, frozen=True):
    """All objects by name. Agents have their own Node at most; ``statuses`` is read by the controller alone.

    Everything in here was accepted: a bad object is represented by its last good version, or not at all.
    """

    configurations: Mapping[str, BGPConfiguration] = field(default_factory=dict)
    peers: Mapping[str, BGPPeer] = field(default_factory=dict)
    filters: Mapping[str, BGPFilter] = field(default_factory=dict)
    pools: Mapping[str, IPPool] = field(default_factory=dict)
    reservations: Mapping[str, IPReservation] = field(default_factory=dict)
    ipam_configurations: Mapping[str, IPAMConfiguration] = field(default_factory=dict)
    blocks: Mapping[str, IPAMBlock] = field(default_factory=dict)
    claims: Mapping[str, AddressClaim] = field(default_factory=dict)
    """Addresses of load balancers; read by the part of the controller that gives them out."""
    routing_nodes: Mapping[str, RoutingNode] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    statuses: Mapping[str, NodeStatus] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    """By namespace and name, as are the slices. An agent keeps both beside its picture, for they change often."""
    endpoint_slices: Mapping[str, EndpointSlice] = field(default_factory=dict)
    service_ranges: tuple[Prefix, ...] = ()
    """Where addresses of services come from, as the ServiceCIDR objects say; empty: nobody has said."""
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    """Pods by namespace and name. An agent keeps those of its node beside its picture, and has them in its snapshot alone."""
    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Nodes that a selector still selects although no label says so any more, by ``selection.key`` (``model.selection``)."""

    @property
    def bgp(self) -> BGPConfigurationSpec:
        """The cluster-wide BGP configuration, or its defaults."""
        default = self.configurations.get("default")
        return default.spec if default else BGPConfigurationSpec()

    @property
    def ipam(self) -> IPAMConfigurationSpec:
        """The IPAM configuration, or its defaults."""
        default = self.ipam_configurations.get("default")
        return default.spec if default else IPAMConfigurationSpec()

"""RoutingNode and NodeStatus: what other nodes need to know of a node, and what people want to know of it.

Controllers and agents write them, so a field that is not known is one of a newer release, and no mistake of anybody's.
"""

from typing import Annotated, Literal

from msgspec import Meta as Field
from msgspec import Struct, field

from towpath.model.kinds.kind import Column, Kind, json_name
from towpath.model.kinds.values import IPV4_TEXT, ASNumber
from towpath.model.net import Address, Interface, Prefix
from towpath.model.resource import Condition

IPv4Text = Annotated[str, Field(pattern=rf"^{IPV4_TEXT}$")]
PODS = 65535
"""Pods on one node that anybody believes in, where its Node does not say how many it takes."""
Pods = Annotated[int, Field(ge=0, le=PODS)]
PoolName = Annotated[str, Field(max_length=253)]


class NodeBGP(Struct, frozen=True, rename=json_name):
    """The node as a BGP speaker."""

    as_number: Annotated[ASNumber | None, Field(description="AS of the node, instead of the cluster's.")] = None
    router_id: Annotated[IPv4Text | None, Field(description="Router id, instead of the one made from the address.")] = (
        None
    )
    route_reflector_cluster_id: Annotated[
        IPv4Text | None, Field(description="Makes the node a route reflector of this cluster.")
    ] = None
    ipv4_address: Annotated[
        Interface | None, Field(description="IPv4 address, with prefix length where it is known.")
    ] = None
    ipv6_address: Annotated[
        Interface | None, Field(description="IPv6 address, with prefix length where it is known.")
    ] = None


class RoutingNodeSpec(Struct, frozen=True, rename=json_name):
    """What other nodes need to know of a node. Made by the controller from the Node object."""

    bgp: Annotated[NodeBGP, Field(description="The node as a BGP speaker.")] = NodeBGP()
    node_uid: Annotated[str, Field(max_length=253, description="UID of the Node object that this was made from.")] = ""


class RoutingNodeStatus(Struct, frozen=True, rename=json_name):
    """What the agent found on the node."""

    ipv4_address: Annotated[Interface | None, Field(description="IPv4 address as the kernel has it.")] = None
    ipv6_address: Annotated[Interface | None, Field(description="IPv6 address as the kernel has it.")] = None
    mtu: Annotated[int | None, Field(description="MTU that new pods of the node get.")] = None
    tunnels: Annotated[
        tuple[str, ...] | None,
        Field(description="Tunnel devices that stand on the node: nobody sends to it by another."),
    ] = None
    lacks: Annotated[
        tuple[str, ...] | None,
        Field(description="Kinds of tunnel devices that the node's kernel turned out not to have."),
    ] = None


ROUTING_NODE = Kind(
    name="RoutingNode",
    plural="routingnodes",
    singular="routingnode",
    short_names=("rnode",),
    description="A node as other nodes see it. Made by the controller.",
    spec=RoutingNodeSpec,
    status=RoutingNodeStatus,
    columns=(
        Column("AS", ".spec.bgp.asNumber"),
        Column("IPv4", ".spec.bgp.ipv4Address"),
        Column("IPv6", ".spec.bgp.ipv6Address"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)


class RefusedReport(Struct, frozen=True, rename=json_name):
    """Prefixes of a session that are not used, for one reason."""

    reason: Annotated[str, Field(description="Why.")]
    prefixes: Annotated[int, Field(description="How many.")]


class SessionReport(Struct, frozen=True, rename=json_name):
    """One BGP session as it stands."""

    name: Annotated[str, Field(description="Name of the session, unique on the node.")]
    peer: Annotated[str, Field(description="Address of the peer.")]
    remote_as: Annotated[int, Field(description="AS of the peer.")]
    state: Annotated[
        Literal["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Withheld"],
        Field(description="State of RFC 4271, or Withheld where the session is not run."),
    ]
    reason: Annotated[str, Field(description="Why it is withheld, or why it was lost last.")] = ""
    received: Annotated[int, Field(description="Prefixes received.")] = 0
    accepted: Annotated[int, Field(description="Prefixes accepted.")] = 0
    announced: Annotated[int, Field(description="Prefixes announced.")] = 0
    refused: Annotated[
        tuple[RefusedReport, ...], Field(description="Prefixes received and not accepted, by reason.")
    ] = ()
    lost: Annotated[int, Field(description="How often it was lost since the speaker was started.")] = 0
    bgp_peer: Annotated[str, Field(description="The BGPPeer that it comes from; empty for the mesh.")] = ""


class RefusalReport(Struct, frozen=True, rename=json_name):
    """Something that an object asks for and that only this node can say that it cannot be done."""

    kind: Annotated[str, Field(description="Kind of the object.")]
    name: Annotated[str, Field(description="Name of the object.")]
    field: Annotated[str, Field(description="The field that asks for it.")]
    reason: Annotated[str, Field(description="Why it is not done, in one word.")]
    message: Annotated[str, Field(description="Why it is not done, in a sentence.")]


class BlockReport(Struct, frozen=True, rename=json_name):
    """One block of this node and how full it is."""

    cidr: Annotated[Prefix, Field(description="The block.")]
    in_use: Annotated[int, Field(description="Addresses in use.")]
    capacity: Annotated[int, Field(description="Addresses that pods can get.")]
    drained: Annotated[bool, Field(description="Draining, and no address was in use in two observations.")] = False
    primary: Annotated[bool, Field(description="Whether its addresses are for pods' own network.")] = True
    drained_version: Annotated[
        str, Field(description="The version of the IPAMBlock that it is drained in: a later draining is another one.")
    ] = ""


class PoolNeed(Struct, frozen=True, rename=json_name):
    """Pods that take addresses of one family from pools which are for some pods only."""

    pools: Annotated[
        tuple[PoolName, ...], Field(max_length=4096, description="The pools that they may take addresses from.")
    ]
    pods: Annotated[Pods, Field(description="Pods bound to this node, those that have an address included.")] = 0
    waiting: Annotated[Pods, Field(description="Those that have none.")] = 0


class RouteReport(Struct, frozen=True, rename=json_name):
    """How many routes of ours the kernel holds."""

    desired: Annotated[int, Field(description="Routes wanted.")] = 0
    installed: Annotated[int, Field(description="Routes installed.")] = 0
    conflicts: Annotated[int, Field(description="Routes left alone because somebody else's are in the way.")] = 0


class NodeStatusSpec(Struct, frozen=True, rename=json_name):
    """Empty: everything is in the status."""


class NodeStatusStatus(Struct, frozen=True, rename=json_name):
    """What the agent of a node reports."""

    node_uid: Annotated[str, Field(description="UID of the Node object when this was written.")] = ""
    reported_at: Annotated[
        str, Field(description="When this was written: every ten minutes at least, also where nothing changed.")
    ] = ""
    in_sync: Annotated[bool, Field(description="Everything wanted is in place.")] = False
    sessions: Annotated[tuple[SessionReport, ...], Field(description="BGP sessions.")] = ()
    refusals: Annotated[
        tuple[RefusalReport, ...],
        Field(
            description="What objects ask for and this node cannot do, as far as the objects themselves do not show it."
        ),
    ] = ()
    blocks: Annotated[tuple[BlockReport, ...], Field(description="Blocks of this node.")] = ()
    wanted_addresses: Annotated[
        Pods,
        Field(
            description="Pods bound to this node that need an address of a pool for all, those that have one included."
        ),
    ] = 0
    pool_needs: Annotated[
        tuple[PoolNeed, ...],
        Field(max_length=4096, description="What pods need of pools that are for some pods only."),
    ] = ()
    requested_addresses: Annotated[
        tuple[Address, ...],
        Field(max_length=PODS, description="Addresses that pods bound to this node ask for, and may have."),
    ] = ()
    routes: Annotated[RouteReport, Field(description="Routes in the kernel.")] = RouteReport()
    foreign_paths: Annotated[
        tuple[Prefix, ...],
        Field(
            description="Own blocks inside which the speaker still holds paths of others, refused and stale ones included."
        ),
    ] = ()
    conditions: Annotated[tuple[Condition, ...], Field(description="What holds on this node.")] = field(
        default_factory=tuple
    )


NODE_STATUS = Kind(
    name="NodeStatus",
    plural="nodestatuses",
    singular="nodestatus",
    short_names=("nstat",),
    description="Sessions, blocks, routes and conditions of one node. Written by its agent.",
    spec=NodeStatusSpec,
    status=NodeStatusStatus,
    columns=(
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("In-Sync", ".status.inSync", "boolean"),
        Column("Sessions-Up", ".status.conditions[?(@.type=='SessionsUp')].status"),
        Column("Routes", ".status.routes.installed", "integer"),
        Column("Conflicts", ".status.routes.conflicts", "integer"),
        Column("Behind", ".status.conditions[?(@.type=='InSync')].message", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

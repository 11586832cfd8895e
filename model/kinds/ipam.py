"""IPPool, IPAMConfiguration and IPAMBlock: ranges of addresses, how they are dealt out, and to whom."""

from typing import Annotated, Literal

from msgspec import Meta as Field
from msgspec import Struct

from towpath.model.kinds.attachment import ATTACHMENT_RULES, Attachment
from towpath.model.kinds.kind import Column, Kind, Rule, duration_rule, json_name
from towpath.model.kinds.uses import FOR_SERVICES, USE_RULES, Use
from towpath.model.kinds.values import Duration
from towpath.model.kinds.vxlan import VXLAN, VXLAN_RULES
from towpath.model.net import Family, Prefix, block_name, family_of
from towpath.model.selector import Selector

DEFAULT_BLOCK_SIZE = {Family.IPV4: 26, Family.IPV6: 122}
BlockSize = Annotated[int, Field(ge=20, le=128)]
BLOCK_SIZES = {Family.IPV4: (20, 32), Family.IPV6: (116, 128)}
LONGEST_SUBNET = {Family.IPV4: 30, Family.IPV6: 126}
"""Prefix length of the smallest subnet that host-local takes."""


Mode = Literal["Never", "Always", "CrossSubnet"]


class IPPoolSpec(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """A range of pod addresses."""

    cidr: Annotated[Prefix, Field(description="The range; it never changes and never overlaps another pool.")]
    block_size: Annotated[
        BlockSize | None, Field(description="Prefix length of the blocks: 26 for IPv4 and 122 for IPv6 unless set.")
    ] = None
    node_selector: Annotated[
        Selector | None, Field(description="Nodes that get blocks from this pool; all unless set.")
    ] = None
    namespace_selector: Annotated[
        Selector | None,
        Field(
            description="Namespaces that the pool is for; all unless set. Of a pool for load balancers: whose services get addresses of it. Of others: their pods take addresses of such pools alone, in the families that these have. A node gets blocks of one once a pod is there that needs them."
        ),
    ] = None
    assignment_mode: Annotated[
        Literal["Automatic", "Manual"],
        Field(
            description="Manual: only those that ask for an address in it get one: pods by the annotation towpath.io/ip-addresses, and a node gets the block around it then; of a pool for load balancers services by towpath.io/load-balancer-ips."
        ),
    ] = "Automatic"
    ipip_mode: Annotated[
        Mode,
        Field(
            description="Whether packets between nodes are sent by IP-in-IP (IPv4 alone): never, always, or where the other node is in another subnet. Between nodes of which one's kernel has none they go by VXLAN."
        ),
    ] = "Never"
    vxlan_mode: Annotated[
        Mode,
        Field(
            description="Whether packets between nodes are sent by VXLAN: never, always, or where the other node is in another subnet."
        ),
    ] = "Never"
    vxlan: Annotated[VXLAN, Field(description="The VXLAN.")] = VXLAN()
    disabled: Annotated[bool, Field(description="Give out no new blocks; routes stay.")] = False
    disable_bgp_export: Annotated[
        bool, Field(description="Announce nothing inside the pool, but where a filter of the session accepts it.")
    ] = False
    nat_outgoing: Annotated[
        bool,
        Field(
            description="What pods of this pool send to where neither a pool nor a node is leaves with an address of their node."
        ),
    ] = False
    attachment: Annotated[
        Attachment,
        Field(
            description="How pods are attached: the same in all pools that one node gets blocks of for pods' own network."
        ),
    ] = Attachment()
    allowed_uses: Annotated[
        tuple[Use, ...],
        Field(
            min_length=1,
            max_length=2,
            description="Who gets addresses: pods (Workload) and the nodes themselves in tunnels (Tunnel), or services of type LoadBalancer, which share a pool with nobody.",
        ),
    ] = ("Workload", "Tunnel")
    service_selector: Annotated[
        Selector | None,
        Field(description="Of a pool for load balancers: services that get addresses of it; all unless set."),
    ] = None

    @property
    def is_common(self) -> bool:
        """Whether any pod may get an address of it, without asking."""
        selector = self.namespace_selector
        return self.assignment_mode == "Automatic" and (selector is None or selector.text.strip() in ("", "all()"))

    @property
    def block_length(self) -> int:
        """The prefix length of this pool's blocks."""
        usual = DEFAULT_BLOCK_SIZE[family_of(self.cidr)]
        return self.block_size or (max(usual, self.cidr.prefixlen) if self.for_services else usual)

    @property
    def for_services(self) -> bool:
        """Whether services get its addresses, and neither pods nor nodes do."""
        return "LoadBalancer" in self.allowed_uses

    @property
    def encapsulates(self) -> bool:
        """Whether packets to some of its pods may leave by a tunnel."""
        return self.mode != "Never"

    @property
    def by_ipip(self) -> bool:
        """Whether that tunnel is IP-in-IP, where both kernels have it."""
        return self.ipip_mode != "Never"

    @property
    def mode(self) -> Mode:
        """When they do."""
        return self.ipip_mode if self.by_ipip else self.vxlan_mode

    @property
    def mode_field(self) -> str:
        """Where that is said."""
        return "spec.ipipMode" if self.by_ipip else "spec.vxlanMode"


def _block_size_fits(spec: IPPoolSpec) -> bool:
    low, high = BLOCK_SIZES[family_of(spec.cidr)]
    return max(low, spec.cidr.prefixlen) <= spec.block_length <= high


def _room_on_a_bridge(spec: IPPoolSpec) -> bool:
    return spec.attachment.type != "bridge" or spec.block_length <= LONGEST_SUBNET[family_of(spec.cidr)]


IP_POOL = Kind(
    name="IPPool",
    plural="ippools",
    singular="ippool",
    short_names=("pool",),
    description="A range of pod addresses that is dealt out to nodes in blocks.",
    spec=IPPoolSpec,
    rules=(
        Rule(cel="self.cidr == oldSelf.cidr", message="cidr cannot be changed", field="spec.cidr"),
        Rule(
            cel="(has(self.blockSize) ? self.blockSize : 0) == (has(oldSelf.blockSize) ? oldSelf.blockSize : 0)",
            message="blockSize cannot be changed",
            field="spec.blockSize",
        ),
        Rule(
            cel=f"!isCIDR(self.cidr) || (!has(self.blockSize) && {FOR_SERVICES.format('self')}) || (cidr(self.cidr).prefixLength() <= (has(self.blockSize) ? self.blockSize : cidr(self.cidr).ip().family() == 4 ? 26 : 122) && (!has(self.blockSize) || (cidr(self.cidr).ip().family() == 4 ? self.blockSize <= 32 : self.blockSize >= 116)))",
            message="blockSize must be 20 to 32 for IPv4 or 116 to 128 for IPv6, and not shorter than the pool's prefix",
            field="spec.blockSize",
            check=lambda _meta, spec: _block_size_fits(spec),
        ),
        Rule(
            cel="!has(self.ipipMode) || self.ipipMode == 'Never' || !has(self.vxlanMode) || self.vxlanMode == 'Never'",
            message="ipipMode and vxlanMode cannot both be other than Never",
            field="spec.ipipMode",
            check=lambda _meta, spec: not spec.by_ipip or spec.vxlan_mode == "Never",
        ),
        Rule(
            cel="!has(self.ipipMode) || self.ipipMode == 'Never' || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 4 && (!has(self.blockSize) || self.blockSize < 32)",
            message="ipipMode needs an IPv4 pool, and blocks of two addresses at least: one is the node's own in the tunnel",
            field="spec.ipipMode",
            check=lambda _meta, spec: (
                not spec.by_ipip or (family_of(spec.cidr) is Family.IPV4 and spec.block_length < Family.IPV4.bits)
            ),
        ),
        Rule(
            cel="!has(self.vxlanMode) || self.vxlanMode == 'Never' || !isCIDR(self.cidr) || !has(self.blockSize) || self.blockSize < (cidr(self.cidr).ip().family() == 4 ? 32 : 128)",
            message="vxlanMode needs blocks of two addresses at least: one is the node's own in the tunnel",
            field="spec.vxlanMode",
            check=lambda _meta, spec: spec.vxlan_mode == "Never" or spec.block_length < family_of(spec.cidr).bits,
        ),
        *VXLAN_RULES,
        Rule(
            cel="!isCIDR(self.cidr) || !has(self.blockSize) || !has(self.attachment) || !has(self.attachment.type) || self.attachment.type != 'bridge' || self.blockSize <= (cidr(self.cidr).ip().family() == 4 ? 30 : 126)",
            message="on a bridge each block is a subnet of its own: with blocks of /31, /32, /127 or /128 none has room for pods",
            field="spec.attachment.type",
            check=lambda _meta, spec: _room_on_a_bridge(spec),
        ),
        *ATTACHMENT_RULES,
        *USE_RULES,
    ),
    columns=(
        Column("CIDR", ".spec.cidr"),
        Column("Block-Size", ".spec.blockSize", "integer"),
        Column("Attachment", ".spec.attachment.type"),
        Column("Node-Selector", ".spec.nodeSelector", priority=1),
        Column("IPIP", ".spec.ipipMode"),
        Column("VXLAN", ".spec.vxlanMode"),
        Column("Disabled", ".spec.disabled", "boolean"),
        Column("Uses", ".spec.allowedUses", priority=1),
        Column("NAT", ".spec.natOutgoing", "boolean", priority=1),
        Column("Accepted", ".status.conditions[?(@.type=='Accepted')].status"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)


class IPAMConfigurationSpec(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """How blocks are dealt out (object ``default``)."""

    block_source: Annotated[
        Literal["Towpath", "PodCIDRs"],
        Field(
            description="Who assigns blocks: Towpath, from the pools, or the cluster itself, through Node.spec.podCIDRs."
        ),
    ] = "Towpath"
    assign_pod_cidrs: Annotated[
        bool,
        Field(
            description="Write a node's first block of each family into Node.spec.podCIDRs where that is empty; such a block is never given back."
        ),
    ] = False
    auto_allocate_blocks: Annotated[bool, Field(description="Claim blocks for nodes that need them.")] = True
    strict_affinity: Annotated[
        bool, Field(description="Accepted for manifests that have it: no address is ever borrowed, whatever it says.")
    ] = True
    max_blocks_per_host: Annotated[
        int, Field(ge=0, le=65535, description="Blocks of one node and family, at most; 0 is no limit.")
    ] = 0
    node_selector: Annotated[Selector | None, Field(description="Nodes that take part; all unless set.")] = None
    grow_at_percent: Annotated[
        int, Field(ge=1, le=100, description="A node gets another block when this part of its addresses is in use.")
    ] = 80
    min_free_addresses: Annotated[
        int, Field(ge=0, le=65535, description="A node gets another block when fewer are free.")
    ] = 8
    load_balancer_assign_ips: Annotated[
        Literal["AllServices", "RequestedServicesOnly"],
        Field(
            description="Which services of type LoadBalancer get an address although they name no class: all to which nobody else has given one, or those that ask for an address by annotation."
        ),
    ] = "AllServices"
    quarantine: Annotated[
        Duration, Field(description="A released block is given to nobody for at least this time.")
    ] = Duration(300)


IPAM_CONFIGURATION = Kind(
    name="IPAMConfiguration",
    plural="ipamconfigurations",
    singular="ipamconfiguration",
    short_names=("ipamconfig",),
    description="How blocks of addresses are dealt out; one object, named default.",
    spec=IPAMConfigurationSpec,
    rules=(
        Rule(
            cel="self.metadata.name == 'default'",
            message="the name must be default",
            field="metadata.name",
            at="",
            check=lambda meta, _spec: meta.name == "default",
        ),
        Rule(
            cel="!(has(self.assignPodCIDRs) && self.assignPodCIDRs && has(self.blockSource) && self.blockSource == 'PodCIDRs')",
            message="assignPodCIDRs needs blockSource Towpath: with PodCIDRs the cluster assigns them",
            field="spec.assignPodCIDRs",
            check=lambda _meta, spec: not (spec.assign_pod_cidrs and spec.block_source == "PodCIDRs"),
        ),
        duration_rule("quarantine", lowest=0, highest=604800),
    ),
    columns=(
        Column("Source", ".spec.blockSource"),
        Column("Grow-At", ".spec.growAtPercent", "integer"),
        Column("Min-Free", ".spec.minFreeAddresses", "integer"),
        Column("Quarantine", ".spec.quarantine"),
        Column("Accepted", ".status.conditions[?(@.type=='Accepted')].status"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)


class IPAMBlockSpec(Struct, frozen=True, rename=json_name):
    """A block of addresses and the node that owns it. The object's name is the CIDR: creating it is the claim."""

    # a controller writes it: a field that is not known is one of a newer release
    cidr: Annotated[Prefix, Field(description="The block; the object's name is this with dashes.")]
    node: Annotated[str, Field(min_length=1, max_length=253, description="Name of the node that owns it.")]
    node_uid: Annotated[str, Field(max_length=253, description="UID of that Node object.")] = ""
    machine_id: Annotated[str, Field(max_length=253, description="machineID of the machine behind it.")] = ""
    system_uuid: Annotated[str, Field(max_length=253, description="systemUUID of the machine behind it.")] = ""
    pool: Annotated[
        str,
        Field(max_length=253, description="Pool that it lies in; empty for blocks made by hand and outside all pools."),
    ] = ""
    mirrored: Annotated[
        bool, Field(description="Made from Node.spec.podCIDRs: it goes with its node, and is never given back.")
    ] = False
    primary: Annotated[
        bool, Field(description="Whether its addresses are for pods' own network, as its pool says when it is made.")
    ] = True
    state: Annotated[
        Literal["Active", "Draining", "Quarantined"],
        Field(description="Active: in use. Draining: no new addresses. Quarantined: withdrawn, given to nobody yet."),
    ] = "Active"

    @property
    def managed(self) -> bool:
        """Whether the controller made it, or took it over; one made by hand is its maker's until then."""
        return bool(self.node_uid) and (bool(self.pool) or self.mirrored)

    @property
    def awaiting(self) -> bool:
        """Whether it was made by hand, or imported, and is to be the controller's once its node serves pods itself."""
        return bool(self.pool) and not self.node_uid


IPAM_BLOCK = Kind(
    name="IPAMBlock",
    plural="ipamblocks",
    singular="ipamblock",
    short_names=("block",),
    description="A block of pod addresses that one node owns. Made by the controller.",
    spec=IPAMBlockSpec,
    rules=(
        Rule(cel="self.cidr == oldSelf.cidr", message="cidr cannot be changed", field="spec.cidr"),
        Rule(
            cel="!isCIDR(self.cidr) || string(cidr(self.cidr)) == self.cidr",
            message="cidr must be written in its canonical form, so that a block has one name only",
            field="spec.cidr",
        ),
        Rule(
            cel="self.metadata.name == self.spec.cidr.replace('.', '-').replace(':', '-').replace('/', '-')",
            message="the name must be the cidr with dashes for dots, colons and the slash",
            field="metadata.name",
            at="",
            check=lambda meta, spec: meta.name == block_name(spec.cidr),
        ),
    ),
    columns=(
        Column("CIDR", ".spec.cidr"),
        Column("Node", ".spec.node"),
        Column("State", ".spec.state"),
        Column("Pool", ".spec.pool"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

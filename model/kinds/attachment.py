"""``attachment`` of an IPPool: how its pods hang on their node, and by which network."""

from typing import Annotated, Literal

from msgspec import Meta as Field
from msgspec import Struct

from towpath.model.kinds.kind import Rule, json_name
from towpath.model.kinds.values import InterfaceName
from towpath.model.net import Address

MTU = Annotated[int, Field(ge=1280, le=65535)]
"""Not less than IPv6 needs (RFC 8200 section 5)."""
LONGEST_NAME = 200
"""Characters of the name of a pool that is a network by itself: files are called by it."""


class Attachment(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """How pods are attached to their node."""

    type: Annotated[
        Literal["ptp", "bridge", "macvlan", "ipvlan"],
        Field(
            description="ptp: a cable to each pod, and a route to each address. bridge: the node's pods share a segment. macvlan: pods are on the network that the node's interface is on. ipvlan: likewise, or behind that interface, with its MAC."
        ),
    ] = "ptp"
    master: Annotated[
        InterfaceName | None,
        Field(description="The interface of the node whose network pods are on, of the same name on all nodes."),
    ] = None
    mode: Annotated[
        Literal["bridge", "private", "vepa", "passthru", "l2", "l3", "l3s"] | None,
        Field(
            description="Of macvlan: bridge, the pods of one node reach each other directly; private, not at all; vepa, by the switch, which has to send frames back by the port that they came from; passthru, one pod has the whole interface. Of ipvlan: l2, pods are on the node's network; l3, the node's routes lead to them and from them; l3s, they also pass its packet filters on their way in."
        ),
    ] = None
    hairpin: Annotated[
        bool,
        Field(
            description="The switch sends frames back by the port that they came from; vepa needs it for pods' own network."
        ),
    ] = False
    gateway: Annotated[
        Address | None,
        Field(
            description="The router of that network, by which pods reach what is not on it; without primary it is only kept from pods."
        ),
    ] = None
    mtu: Annotated[
        MTU | None, Field(description="MTU of new pods: that of the node's devices unless set, and never more.")
    ] = None
    primary: Annotated[
        bool,
        Field(
            description="Whether addresses are for pods' own network. false: each node has the pool as a network beside it, of macvlan or ipvlan, that is called towpath-POOL and that pods get where Multus or the like is told so."
        ),
    ] = True

    @property
    def on_underlay(self) -> bool:
        """Whether the pods' addresses are of the network that nodes are on: nobody needs a route to them."""
        return self.by_master and self.mode not in _ROUTED

    @property
    def by_master(self) -> bool:
        """Whether pods are behind an interface of their node, past its other devices."""
        return self.type in _MODES

    @property
    def by_shim(self) -> bool:
        """Whether the node reaches these pods, and they services, by a device of its own beside theirs: else the network brings them together."""
        return self.by_master and self.primary and self.mode != "vepa"

    @property
    def whole(self) -> bool:
        """Whether one pod has the master to itself."""
        return self.mode == "passthru"


_MODES = {"macvlan": ("bridge", "private", "vepa", "passthru"), "ipvlan": ("l2", "l3", "l3s")}
"""Of each kind of attachment that has a master."""
_ROUTED = frozenset({"l3", "l3s"})
"""Modes in which pods have addresses that the network learns by BGP."""
_BY_MASTER = "(has({0}.attachment) && has({0}.attachment.type) && {0}.attachment.type in ['macvlan', 'ipvlan'])"
_BESIDE = "(has({0}.attachment) && has({0}.attachment.primary) && !{0}.attachment.primary)"


def _has_what_it_needs(one: Attachment) -> bool:
    if (one.mode or "") not in _MODES.get(one.type, ("",)) or (one.master is not None) is not one.by_master:
        return False
    return one.on_underlay if one.gateway is not None else not (one.primary and one.on_underlay)


ATTACHMENT_RULES = (
    Rule(
        cel=f"!has(self.attachment) || ({_BY_MASTER.format('self')} ? has(self.attachment.master) && has(self.attachment.mode) && (self.attachment.type == 'macvlan') == (self.attachment.mode in ['bridge', 'private', 'vepa', 'passthru']) && (has(self.attachment.gateway) == !(self.attachment.mode in ['l3', 'l3s']) || (!has(self.attachment.gateway) && {_BESIDE.format('self')})) : !has(self.attachment.master) && !has(self.attachment.mode) && !has(self.attachment.gateway))",
        message="macvlan needs master, gateway and mode bridge, private, vepa or passthru; ipvlan master and mode l2, l3 or l3s, and with l2 gateway; ptp and bridge have none of them; with primary: false no gateway is needed",
        field="spec.attachment",
        check=lambda _meta, spec: _has_what_it_needs(spec.attachment),
    ),
    Rule(
        cel=f"!{_BESIDE.format('self')} || {_BY_MASTER.format('self')}",
        message="a network beside pods' own one is of type macvlan or ipvlan",
        field="spec.attachment.primary",
        check=lambda _meta, spec: spec.attachment.primary or spec.attachment.by_master,
    ),
    Rule(
        cel=f"!{_BESIDE.format('self')} || (!has(self.namespaceSelector) && (!has(self.assignmentMode) || self.assignmentMode == 'Automatic'))",
        message="a network beside pods' own one is for pods that Multus attaches to it: it has no namespaceSelector, and assignmentMode Automatic",
        field="spec.attachment.primary",
        check=lambda _meta, spec: (
            spec.attachment.primary or (spec.namespace_selector is None and spec.assignment_mode == "Automatic")
        ),
    ),
    Rule(
        cel=f"!has(self.attachment) || !has(self.attachment.mode) || !(self.attachment.mode in ['private', 'passthru']) || {_BESIDE.format('self')}",
        message="with private and passthru neither services nor probes reach pods: primary has to be false",
        field="spec.attachment.primary",
        check=lambda _meta, spec: spec.attachment.mode not in {"private", "passthru"} or not spec.attachment.primary,
    ),
    Rule(
        cel=f"!(has(self.spec) && {_BESIDE.format('self.spec')}) || self.metadata.name.size() <= {LONGEST_NAME}",
        message=f"with primary: false the name is that of a network and of files: at most {LONGEST_NAME} characters",
        field="metadata.name",
        at="",
        check=lambda meta, spec: spec.attachment.primary or len(meta.name) <= LONGEST_NAME,
    ),
    Rule(
        cel="!has(self.attachment) || !has(self.attachment.gateway) || !isIP(self.attachment.gateway) || !isCIDR(self.cidr) || ip(self.attachment.gateway).family() == cidr(self.cidr).ip().family()",
        message="the gateway must be of the same family as the pool",
        field="spec.attachment.gateway",
        check=lambda _meta, spec: (
            spec.attachment.gateway is None or spec.attachment.gateway.version == spec.cidr.version
        ),
    ),
    Rule(
        cel=f"!{_BY_MASTER.format('self')} || ((!has(self.ipipMode) || self.ipipMode == 'Never') && (!has(self.vxlanMode) || self.vxlanMode == 'Never') && (!has(self.natOutgoing) || !self.natOutgoing))",
        message="pods behind a master send past their node's other devices: no ipipMode, vxlanMode or natOutgoing is of use",
        field="spec.attachment.type",
        check=lambda _meta, spec: not spec.attachment.by_master or not (spec.encapsulates or spec.nat_outgoing),
    ),
    Rule(
        cel=f"!has(self.attachment) || (has(self.attachment.mode) && self.attachment.mode == 'vepa' ? (has(self.attachment.hairpin) && self.attachment.hairpin) || {_BESIDE.format('self')} : !has(self.attachment.hairpin) || !self.attachment.hairpin)",
        message="vepa needs hairpin: true or primary: false, since the kernel passes nothing between pods and nodes then; the other modes do not have it",
        field="spec.attachment.hairpin",
        check=lambda _meta, spec: (
            spec.attachment.hairpin or not spec.attachment.primary
            if spec.attachment.mode == "vepa"
            else not spec.attachment.hairpin
        ),
    ),
    Rule(
        cel=f"{_BY_MASTER.format('self')} == {_BY_MASTER.format('oldSelf')} && (!{_BY_MASTER.format('self')} || (self.attachment.type == oldSelf.attachment.type && self.attachment.master == oldSelf.attachment.master && self.attachment.mode == oldSelf.attachment.mode && {_BESIDE.format('self')} == {_BESIDE.format('oldSelf')}))",
        message="a pool does not come to a master or leave it, nor do its type, master, mode and primary change: make another pool",
        field="spec.attachment",
    ),
)

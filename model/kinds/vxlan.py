"""The VXLAN that a pool asks for, and what of it does not go together."""

from ipaddress import ip_network
from typing import Annotated, Literal

from msgspec import Meta as Field
from msgspec import Struct

from towpath.model.kinds.kind import Rule, json_name
from towpath.model.kinds.values import InterfaceName
from towpath.model.net import Address

VNI = Annotated[int, Field(ge=1, le=16777215)]


class VXLAN(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """The VXLAN (RFC 7348) that packets to a pool's pods are sent by, where they are."""

    vni: Annotated[
        VNI,
        Field(description="Its number. Pools with the same number share its devices; the first by name says the rest."),
    ] = 4096
    port: Annotated[int, Field(ge=1, le=65535, description="UDP port that nodes send to and listen on.")] = 4789
    discovery: Annotated[
        Literal["ControlPlane", "Multicast"],
        Field(
            description="How nodes find each other in it. ControlPlane: the objects say who is where. Multicast: nodes ask in the group and learn from the answers."
        ),
    ] = "ControlPlane"
    group: Annotated[
        Address | None,
        Field(
            description="The group of Multicast, 224.0.1.0 to 239.255.255.255 or IPv6 of scope 2 to e: its family is that of the packets between nodes."
        ),
    ] = None
    device: Annotated[
        InterfaceName | None,
        Field(
            description="Interface of the nodes on which they join the group: the one that has the node's address unless set."
        ),
    ] = None


_GROUP_4 = r"^(224[.]0[.]([1-9]|[1-9][0-9]+)[.]|224[.]([1-9]|[1-9][0-9]+)[.]|22[5-9][.]|23[0-9][.])"
_GROUP_6 = r"^[fF]{2}[0-9a-fA-F][2-9a-eA-E]:"
"""Groups that packets of ours may be sent to: not those of a link's own protocols (RFC 5771 section 4), nor of no scope (RFC 4291 section 2.7)."""
_OF_LINKS = ip_network("224.0.0.0/24")


def _is_group(group: Address | None) -> bool:
    if group is None:
        return True
    fits = group not in _OF_LINKS if group.version == 4 else 2 <= group.packed[1] & 15 <= 14
    return group.is_multicast and fits


VXLAN_RULES = (
    Rule(
        cel="!has(self.vxlan) || has(self.vxlan.group) == (has(self.vxlan.discovery) && self.vxlan.discovery == 'Multicast')",
        message="discovery Multicast needs a group, and nothing else takes one",
        field="spec.vxlan.group",
        check=lambda _meta, spec: (spec.vxlan.group is not None) == (spec.vxlan.discovery == "Multicast"),
    ),
    Rule(
        cel=f"!has(self.vxlan) || !has(self.vxlan.group) || !isIP(self.vxlan.group) || self.vxlan.group.matches('{_GROUP_4}') || self.vxlan.group.matches('{_GROUP_6}')",
        message="group must be a multicast address: 224.0.1.0 to 239.255.255.255, or IPv6 of scope 2 to e",
        field="spec.vxlan.group",
        check=lambda _meta, spec: _is_group(spec.vxlan.group),
    ),
    Rule(
        cel="!has(self.vxlan) || !has(self.vxlan.device) || has(self.vxlan.discovery) && self.vxlan.discovery == 'Multicast'",
        message="device is for discovery Multicast: without it packets leave as the node's routes say",
        field="spec.vxlan.device",
        check=lambda _meta, spec: spec.vxlan.device is None or spec.vxlan.discovery == "Multicast",
    ),
)
"""Of the specification that has it as ``vxlan``."""

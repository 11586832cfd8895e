"""BGPFilter: ordered rules that say what is accepted from a peer and told to it, and with which attributes."""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from msgspec import Meta as Field
from msgspec import Struct

from towpath.model.community import Community
from towpath.model.kinds.kind import Column, Kind, Rule, json_name
from towpath.model.kinds.values import ASNumber
from towpath.model.net import Family, Prefix, family_of

MAX_PRIORITY = 2147483646
"""LOCAL_PREF is 2147483647 minus the priority, and at least 1."""
Priority = Annotated[int, Field(ge=1, le=MAX_PRIORITY)]
Unsigned = Annotated[int, Field(ge=0, le=4294967295)]
Length = Annotated[int, Field(ge=0, le=128)]
Glob = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:@*?-]{1,64}$")]
Operator = Literal["Equal", "NotEqual", "In", "NotIn"]


class PrefixLength(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Bounds of the length of a route's prefix."""

    min: Annotated[Length | None, Field(description="Shortest prefix that matches.")] = None
    max: Annotated[Length | None, Field(description="Longest prefix that matches.")] = None


class Communities(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Communities that a route must carry."""

    values: Annotated[
        tuple[Annotated[Community, Field(description="aa:nn, aa:nn:mm or a well-known name.")], ...],
        Field(min_length=1, max_length=1, description="Exactly one community that the route carries."),
    ]


class CommunityValue(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """One community."""

    value: Annotated[Community, Field(description="aa:nn, aa:nn:mm or a well-known name such as no-export.")]


class PrependedPath(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """AS numbers to put before the AS path."""

    prefix: Annotated[
        tuple[Annotated[ASNumber, Field(description="An AS number.")], ...],
        Field(
            min_length=1, max_length=10, description="AS numbers, the first one first; on eBGP ours comes before them."
        ),
    ]


class PriorityValue(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """A priority."""

    value: Annotated[Priority, Field(description="The priority; LOCAL_PREF becomes 2147483647 minus it.")]


class NumberValue(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """A 32-bit value."""

    value: Annotated[Unsigned, Field(description="The value.")]


class Operation(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """One change of an accepted route's attributes: exactly one of the fields."""

    add_community: Annotated[CommunityValue | None, Field(description="Adds a community.")] = None
    remove_community: Annotated[CommunityValue | None, Field(description="Removes a community.")] = None
    prepend_as_path: Annotated[PrependedPath | None, Field(description="Puts AS numbers before the AS path.")] = None
    set_priority: Annotated[PriorityValue | None, Field(description="Sets the priority, and LOCAL_PREF by it.")] = None
    set_local_pref: Annotated[NumberValue | None, Field(description="Sets LOCAL_PREF.")] = None
    set_med: Annotated[NumberValue | None, Field(description="Sets MULTI_EXIT_DISC.")] = None


class FilterRule(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """One rule: all its criteria must hold; without criteria it matches every route."""

    action: Annotated[
        Literal["Accept", "Reject"], Field(description="What becomes of a matching route; it ends the evaluation.")
    ]
    cidr: Annotated[Prefix | None, Field(description="Range that the route's prefix is compared with.")] = None
    match_operator: Annotated[
        Operator | None,
        Field(
            description="How: Equal is the prefix itself, In the same or a longer one; the others are their opposites."
        ),
    ] = None
    prefix_length: Annotated[PrefixLength | None, Field(description="Bounds of the prefix's length, besides cidr.")] = (
        None
    )
    source: Annotated[
        Literal["RemotePeers"] | None, Field(description="Only routes that were learned from BGP peers.")
    ] = None
    interface: Annotated[
        Glob | None,
        Field(description="Glob of the interface that the route leaves by: letters, digits, _ . : @ - with * and ?."),
    ] = None
    peer_type: Annotated[Literal["eBGP", "iBGP"] | None, Field(description="Only sessions of this type.")] = None
    communities: Annotated[Communities | None, Field(description="Only routes that carry this community.")] = None
    as_path_prefix: Annotated[
        tuple[Annotated[ASNumber, Field(description="An AS number.")], ...],
        Field(max_length=32, description="Only routes whose AS path begins so."),
    ] = ()
    priority: Annotated[
        Priority | None,
        Field(
            description="Only routes of this priority. A LOCAL_PREF stands for one of 1 to 65535: a larger one matches no route."
        ),
    ] = None
    operations: Annotated[
        tuple[Operation, ...],
        Field(max_length=10, description="Changes of the route's attributes, in order; Accept only."),
    ] = ()


Rules = Annotated[tuple[FilterRule, ...], Field(max_length=200)]


class BGPFilterSpec(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Rules by family and direction; the first that matches decides, and without a match the next filter is asked."""

    import_v4: Annotated[Rules, Field(description="Rules for IPv4 routes that come from the peer.")] = ()
    export_v4: Annotated[Rules, Field(description="Rules for IPv4 routes that are told to the peer.")] = ()
    import_v6: Annotated[Rules, Field(description="Rules for IPv6 routes that come from the peer.")] = ()
    export_v6: Annotated[Rules, Field(description="Rules for IPv6 routes that are told to the peer.")] = ()


_FAMILIES = {"importV4": Family.IPV4, "exportV4": Family.IPV4, "importV6": Family.IPV6, "exportV6": Family.IPV6}
_ONE_OPERATION = "+".join(
    f"(has(self.{name}) ? 1 : 0)"
    for name in ("addCommunity", "removeCommunity", "prependASPath", "setPriority", "setLocalPref", "setMED")
)


def _one_operation(operation: Operation) -> bool:
    return sum(getattr(operation, name) is not None for name in Operation.__struct_fields__) == 1


def _ordered(length: PrefixLength | None, longest: int) -> bool:
    if length is None:
        return True
    least, most = length.min or 0, longest if length.max is None else length.max
    return least <= most <= longest


def _item_rules(name: str, family: Family) -> Iterator[Rule]:
    at = f"spec.{name}[]"

    def rule(field: str, *, cel: str, message: str, check: Callable[[FilterRule], bool]) -> Rule:
        return Rule(cel=cel, message=message, field=f"{at}.{field}", at=at, check=lambda _meta, item: check(item))

    yield rule(
        "cidr",
        cel=f"!has(self.cidr) || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == {family.value}",
        message=f"must be an IPv{family.value} prefix",
        check=lambda item: item.cidr is None or family_of(item.cidr) is family,
    )
    yield rule(
        "matchOperator",
        cel="has(self.cidr) == has(self.matchOperator)",
        message="cidr and matchOperator are given both or neither",
        check=lambda item: (item.cidr is None) == (item.match_operator is None),
    )
    yield rule(
        "prefixLength",
        cel="!has(self.prefixLength) || has(self.cidr)",
        message="prefixLength needs a cidr",
        check=lambda item: item.prefix_length is None or item.cidr is not None,
    )
    yield rule(
        "prefixLength",
        cel=(
            "!has(self.prefixLength) || ((has(self.prefixLength.min) ? self.prefixLength.min : 0)"
            f" <= (has(self.prefixLength.max) ? self.prefixLength.max : {family.bits})"
            f" && (!has(self.prefixLength.max) || self.prefixLength.max <= {family.bits}))"
        ),
        message=f"min must not be above max, and max not above {family.bits}",
        check=lambda item: _ordered(item.prefix_length, family.bits),
    )
    yield rule(
        "operations",
        cel="!has(self.operations) || size(self.operations) == 0 || self.action == 'Accept'",
        message="operations are for action Accept",
        check=lambda item: not item.operations or item.action == "Accept",
    )
    yield Rule(
        cel=f"{_ONE_OPERATION} == 1",
        message="an operation sets exactly one field",
        field=f"{at}.operations[]",
        at=f"{at}.operations[]",
        check=lambda _meta, item: _one_operation(item),
    )


BGP_FILTER = Kind(
    name="BGPFilter",
    plural="bgpfilters",
    singular="bgpfilter",
    short_names=("bgpf",),
    description="Rules for what is accepted from BGP peers and told to them. In force where a BGPPeer names it in filters.",
    spec=BGPFilterSpec,
    rules=tuple(rule for name, family in _FAMILIES.items() for rule in _item_rules(name, family)),
    columns=(
        Column("Accepted", ".status.conditions[?(@.type=='Accepted')].status"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)

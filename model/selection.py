"""What selectors select, and what one goes on selecting when labels leave it with nothing.

A label that is lost on all nodes at once is more often a mistake than a wish, and it would end sessions everywhere. So a
selector that selected nodes and selects none now keeps those that it selected last, as long as they exist, until labels
select something again, the selector itself is another, or somebody acknowledges that nothing is meant. Labels go one by
one: what a selector lost within ``WINDOW`` seconds before it had nothing left belongs to what it selected last.

To acknowledge is to give the object's annotation ``towpath.io/acknowledge`` another value than it had when its selector
last selected something. So the same annotation does for one time only, and what was written once guards nothing away
for good. Everyone who reads the objects decides alike, and nobody has to write.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from towpath.model.cluster import Cluster
from towpath.model.reason import Why
from towpath.model.resource import Resource
from towpath.model.selector import Labels, Selector

ACKNOWLEDGE = "towpath.io/acknowledge"
WINDOW = 30.0
_FIELDS = {
    "BGPPeer": ("peers", ("node_selector", "peer_selector")),
    "IPPool": ("pools", ("node_selector",)),
    "IPAMConfiguration": ("ipam_configurations", ("node_selector",)),
}
"""Kinds that select nodes: where a snapshot holds them, and their selectors."""


class Selection(Struct, frozen=True):
    """What a selector selected when it last selected something, and what was written then."""

    uid: str
    selector: str
    acknowledged: str
    nodes: frozenset[str]
    left: Mapping[str, float] = field(default_factory=dict)
    """Nodes that it lost of late, and when."""


Memory = Mapping[Why, Selection]


def remember(cluster: Cluster) -> Memory:
    """The selections of a snapshot by themselves: what it holds, it held."""
    return select(cluster, memory={}, now=0.0)[1]


def select(cluster: Cluster, *, memory: Memory, now: float) -> tuple[Cluster, Memory]:
    """The snapshot with selectors that hold what they must, and what to remember for the next one.

    ``now`` is the monotonic clock in seconds.
    """
    made: dict[Why, Selection] = {}
    held: dict[str, tuple[str, ...]] = {}
    for where, one, selector in _selectors(cluster):
        labels = _labels(cluster, where.kind)
        selected = frozenset(name for name, own in labels.items() if selector.matches(own))
        before = memory.get(where) or _held_before(cluster, where, one, selector)
        found = Selection(one.meta.uid, selector.text, one.meta.annotations.get(ACKNOWLEDGE, ""), selected)
        if before is not None and _said(before) == _said(found):
            left = {name: when for name, when in before.left.items() if now - when < WINDOW}
            if selected:
                left |= dict.fromkeys(before.nodes, now)
                found = replace(found, left={name: when for name, when in left.items() if name not in selected})
            else:
                found = replace(found, nodes=(before.nodes | left.keys()) & labels.keys())
                held[str(where)] = tuple(sorted(found.nodes))
        if found.nodes:
            made[where] = found
    held = {where: nodes for where, nodes in held.items() if nodes}
    return _holding(cluster, held), made


def _said(selection: Selection) -> tuple[str, str, str]:
    """What people have written, all of which must be as it was."""
    return selection.uid, selection.selector, selection.acknowledged


def _selectors(cluster: Cluster) -> Iterator[tuple[Why, Resource[Any, Any], Selector]]:
    for kind, (place, fields) in _FIELDS.items():
        objects: Mapping[str, Resource[Any, Any]] = getattr(cluster, place)
        for name, one in objects.items():
            for own in fields:
                selector = getattr(one.spec, own)
                if selector is not None:
                    yield Why(kind, name, f"spec.{_camel(own)}"), one, selector


def _labels(cluster: Cluster, kind: str) -> dict[str, Labels]:
    """Who can be selected: speakers by their RoutingNode; for addresses a Node's own labels count where it is known."""
    labels: dict[str, Labels] = {name: node.meta.labels for name, node in cluster.routing_nodes.items()}
    if kind != "BGPPeer":
        labels |= {name: node.meta.labels for name, node in cluster.nodes.items()}
    return labels


def _held_before(cluster: Cluster, where: Why, one: Resource[Any, Any], selector: Selector) -> Selection | None:
    """What a snapshot that was read from a disk says of itself."""
    nodes = cluster.held.get(str(where))
    if nodes is None:
        return None
    return Selection(one.meta.uid, selector.text, one.meta.annotations.get(ACKNOWLEDGE, ""), frozenset(nodes))


def _holding(cluster: Cluster, held: Mapping[str, tuple[str, ...]]) -> Cluster:
    changes: dict[str, Any] = {}
    for kind, (place, fields) in _FIELDS.items():
        objects: Mapping[str, Resource[Any, Any]] = getattr(cluster, place)
        changed = {}
        for name, one in objects.items():
            selectors: dict[str, Selector] = {}
            for own in fields:
                selector = getattr(one.spec, own)
                names = frozenset(held.get(str(Why(kind, name, f"spec.{_camel(own)}")), ()))
                if selector is not None and selector.held != names:
                    selectors[own] = selector.holding(names)
            if selectors:
                changed[name] = replace(one, spec=replace(one.spec, **selectors))
        if changed:
            changes[place] = {**objects, **changed}
    if held != cluster.held:
        changes["held"] = held
    return replace(cluster, **changes) if changes else cluster


def _camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(word.capitalize() for word in rest)

"""Nodes and blocks: Calico's annotations and Node objects to ours, its IPAMBlocks and BlockAffinities to IPAMBlocks."""

from collections.abc import Iterable, Mapping
from typing import Any

from towpath.controller.calico.carry import Body, Report, carried, object_of, objects_of
from towpath.controller.routing_nodes import ADDRESS, AS_NUMBER, CLUSTER_ID
from towpath.model.kinds.bgp import DEFAULT_AS
from towpath.model.kinds.values import ASNumber
from towpath.model.net import Family, Prefix, block_name, contains, parse_prefix
from towpath.model.selector import parse_selector

_ANNOTATIONS: Mapping[str, str] = {
    "projectcalico.org/IPv4Address": ADDRESS[Family.IPV4],
    "projectcalico.org/IPv6Address": ADDRESS[Family.IPV6],
    "projectcalico.org/ASNumber": AS_NUMBER,
    "projectcalico.org/RouteReflectorClusterID": CLUSTER_ID,
}
_FIELDS: Mapping[str, str] = {
    "ipv4Address": ADDRESS[Family.IPV4],
    "ipv6Address": ADDRESS[Family.IPV6],
    "asNumber": AS_NUMBER,
    "routeReflectorClusterID": CLUSTER_ID,
}
_HOST = "host:"
_BALANCERS = "virtual:load-balancer"
"""What has the blocks that load balancers' addresses are of."""


def by_hand(kubernetes: Mapping[str, Body], calico: Mapping[str, Body], report: Report) -> None:
    """What Nodes are to say and do not yet, each with the command: they are the cluster's own, and a file to apply has none.

    An address that Kubernetes lists is found without.
    """
    for name in sorted({*kubernetes, *calico}):
        body = kubernetes.get(name, {})
        annotations = object_of(object_of(body.get("metadata")).get("annotations"))
        there = {str(one.get("address")) for one in objects_of(object_of(body.get("status")).get("addresses"))}
        for ours, (field, value) in _given(body, calico.get(name)).items():
            found = ours in ADDRESS.values() and value.partition("/")[0] in there
            if not found and annotations.get(ours) != value:
                message = f"not in a file to apply, for Nodes are the cluster's own: kubectl annotate node {name} {ours}={value}"
                report.add("Node", name, field, message)


def nodes(kubernetes: Mapping[str, Body], calico: Mapping[str, Body], report: Report) -> list[Body]:
    """Kubernetes' Nodes with our annotations; a RoutingNode for what only Calico has a Node of."""
    made: list[Body] = []
    for name, body in sorted(kubernetes.items()):
        metadata = dict(body["metadata"])
        annotations = dict(metadata.get("annotations") or {})
        given = {ours: value for ours, (_, value) in _given(body, calico.get(name)).items()}
        metadata["annotations"] = {
            key: value for key, value in annotations.items() if "projectcalico.org/" not in key
        } | given
        made.append({**body, "metadata": metadata})
    for name, body in sorted(calico.items()):
        bgp = (body.get("spec") or {}).get("bgp")
        if not isinstance(bgp, dict | None):
            report.add("Node", name, "spec.bgp", "the object is not carried over: must be an object")
            continue
        if bgp is None:
            report.add("Node", name, "spec.bgp", "is not there: here the node takes part in BGP if it has an address")
        if name not in kubernetes and bgp is not None:
            metadata = {"name": name, "labels": dict(body["metadata"].get("labels") or {})}
            spec = {"bgp": {field: bgp[field] for field in _FIELDS if bgp.get(field) is not None}}
            one = carried("RoutingNode", metadata, spec, report)
            made += [one] if one else []
    return made


class Numbers:
    """The AS numbers that nodes have: the cluster's, or their own."""

    def __init__(self, configurations: Iterable[Body], made_nodes: Iterable[Body]) -> None:
        named = (one["spec"].get("asNumber") for one in configurations if one["metadata"]["name"] == "default")
        self._cluster = int(ASNumber.parse(next(named, None) or DEFAULT_AS))
        self._nodes = [(one["metadata"]["name"], one["metadata"].get("labels") or {}, _own(one)) for one in made_nodes]

    def of(self, spec: Mapping[str, Any]) -> set[int]:
        """Those of the nodes that a peer is for, where any are known; ``ValueError`` where its selector is none."""
        selector = parse_selector(spec["nodeSelector"]) if spec.get("nodeSelector") else None
        names = {str(spec["node"])} if spec.get("node") else None
        found = {
            int(ASNumber.parse(own)) if own is not None else self._cluster
            for name, labels, own in self._nodes
            if (names is None or name in names) and (selector is None or selector.matches(labels))
        }
        return found or {self._cluster}


def _own(node: Body) -> Any:
    if node["kind"] == "RoutingNode":
        return node["spec"]["bgp"].get("asNumber")
    return node["metadata"]["annotations"].get(AS_NUMBER)


def _given(kubernetes: Body, calico: Body | None) -> dict[str, tuple[str, str]]:
    """By our annotation what Calico was told of a node, and the field that says it: its own Node goes before annotations."""
    annotations = object_of(object_of(kubernetes.get("metadata")).get("annotations"))
    found = {
        ours: (f"metadata.annotations[{theirs}]", str(annotations[theirs]))
        for theirs, ours in _ANNOTATIONS.items()
        if annotations.get(theirs)
    }
    bgp = object_of(((calico or {}).get("spec") or {}).get("bgp"))
    said = {
        ours: (f"spec.bgp.{field}", str(bgp[field])) for field, ours in _FIELDS.items() if bgp.get(field) is not None
    }
    return found | said


def blocks(found: Iterable[Body], affinities: Iterable[Body], pools: Iterable[Body], report: Report) -> list[Body]:
    """Our blocks. An affinity without its block makes one unless it is pending."""
    ranges = {parse_prefix(one["spec"]["cidr"]): one["metadata"]["name"] for one in pools}
    made: dict[Prefix, Body] = {}
    for body in found:
        name, spec = body["metadata"]["name"], body.get("spec") or {}
        cidr = _cidr("IPAMBlock", name, spec, report)
        affinity = str(spec.get("affinity") or "")
        if cidr is None or _is_true(spec.get("deleted")):
            continue
        if affinity == _BALANCERS:
            message = "not carried over: here each address of a load balancer has an AddressClaim of its own"
            report.add("IPAMBlock", name, "spec.affinity", message)
            continue
        if not affinity.startswith(_HOST):
            report.add("IPAMBlock", name, "spec.affinity", f"not carried over: {affinity or 'nothing'} is no node")
            continue
        made[cidr] = _block(cidr, affinity.removeprefix(_HOST), ranges)
    for body in affinities:
        name, spec = body["metadata"]["name"], body.get("spec") or {}
        cidr = _cidr("BlockAffinity", name, spec, report)
        if cidr is None or cidr in made or _is_true(spec.get("deleted")):
            continue
        if spec.get("type") == "virtual" and spec.get("node") == _BALANCERS.removeprefix("virtual:"):
            continue  # told of its block
        if spec.get("type") not in (None, "", "host"):
            report.add("BlockAffinity", name, "spec.type", f"not carried over: {spec['type']} is no node")
        elif spec.get("state") != "pending" and spec.get("node"):
            made[cidr] = _block(cidr, spec["node"], ranges)
    ours = (
        carried("IPAMBlock", {"name": block_name(cidr)}, spec, report)
        for cidr, spec in sorted(made.items(), key=lambda item: (item[0].version, item[0]))
    )
    return [one for one in ours if one]


def _cidr(kind: str, name: str, spec: Body, report: Report) -> Prefix | None:
    try:
        return parse_prefix(str(spec.get("cidr")))
    except ValueError as error:
        report.add(kind, name, "spec.cidr", f"the object is not carried over: {error}")
        return None


def _block(cidr: Prefix, node: str, ranges: Mapping[Prefix, str]) -> Body:
    pool = next((name for around, name in ranges.items() if contains(around, cidr)), "")
    return {"cidr": str(cidr), "node": node} | ({"pool": pool} if pool else {})


def _is_true(value: object) -> bool:
    return str(value).lower() == "true"

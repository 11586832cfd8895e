"""What services, namespaces and pods ask of Calico by annotation: what has a counterpart is ours, the rest is told with what to do.

The objects are the cluster's own, so the report says the command for each that has to be changed there; in what passes
through to a plan it is done already.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from towpath.controller.calico.carry import Body, Report, object_of, objects_of
from towpath.ipam.allowance import ADDRESSES as POD_ADDRESSES
from towpath.model.balanced import ADDRESSES as SERVICE_ADDRESSES
from towpath.model.balanced import OUR_CLASS
from towpath.model.net import Address, Prefix, family_of, parse_address, parse_prefix
from towpath.model.service import key_of

_CLASS = "calico"
_SERVICE, _POD = "projectcalico.org/", "cni.projectcalico.org/"
_REQUEST = f"{_SERVICE}loadBalancerIPs"
_FIXED = f"{_POD}ipAddrs"
_POOLS = ("ipv4pools", "ipv6pools")
_OWN = frozenset(f"{_POD}{name}" for name in ("podIP", "podIPs", "containerID"))
"""What Calico notes down itself."""
_NOT_HERE: Mapping[str, str] = {
    f"{_POD}ipAddrsNoIpam": f"every address is of a block here: ask for one of a pool by {POD_ADDRESSES}",
    f"{_POD}floatingIPs": "towpath has none: a Service with that address in spec.externalIPs leads to the pod",
    f"{_POD}hwAddr": "towpath gives no hardware addresses",
}
_BY_NAME = "kubernetes.io/metadata.name"
"""The label of every namespace that says its name."""


def passed(
    kubernetes: Mapping[str, list[Body]], kinds: Iterable[str], pools: Iterable[Body], report: Report
) -> list[Body]:
    """The objects of these kinds with our annotations in them; the report has those of workloads' templates as well.

    ``pools``: as ours.
    """
    ranges = [
        parse_prefix(one["spec"]["cidr"]) for one in pools if "LoadBalancer" in one["spec"].get("allowedUses", ())
    ]
    made: list[Body] = []
    for kind in kinds:
        for body in kubernetes.get(kind, ()):
            ours: Mapping[str, str] = {}
            if kind == "Service":
                ours = _service(body, ranges, report)
            elif kind == "Pod":
                ours = _pod(body, body["metadata"], "metadata", report)
            made.append(_with(body, ours))
    for kind, bodies in sorted(kubernetes.items()):
        for body in bodies if kind not in kinds else ():
            for template, place in _templates(body):
                _pod(body, object_of(template.get("metadata")), f"{place}.metadata", report)
    return made


def for_namespaces(pools: Mapping[str, Body], namespaces: Iterable[Body], report: Report) -> dict[str, Body]:
    """Calico's pools, those that were for asking namespaces alone with these as their selector; of others the report says it."""
    asking: dict[str, dict[str, str]] = {}
    for body in namespaces:
        for name in _POOLS:
            field = f"{_POD}{name}"
            texts = _list(body, body["metadata"], "metadata", field, report)
            for text in texts or ():
                known = next(
                    (one for one in pools if text in (one, object_of(pools[one].get("spec")).get("cidr"))), text
                )
                asking.setdefault(known, {})[body["metadata"]["name"]] = field
    made = dict(pools)
    for pool, found in sorted(asking.items()):
        names = ", ".join(f"'{name}'" for name in sorted(found))
        selector = f"{_BY_NAME} in {{{names}}}"
        if pool in pools and (spec := _for_askers_alone(object_of(pools[pool].get("spec")))) is not None:
            made[pool] = {**pools[pool], "spec": {**spec, "namespaceSelector": selector}}
            continue
        there = " " if pool in pools else ", which is not in the input, "
        message = (
            f"not carried over: a pool says itself whom it is for. Set spec.namespaceSelector of IPPool/{pool}{there}to"
            f" {selector}, and nobody else gets its addresses"
        )
        for name, field in sorted(found.items()):
            report.add("Namespace", name, _annotation("metadata", field), message)
    return made


def _for_askers_alone(spec: Body) -> Body | None:
    """The specification of a pool that gives addresses to nobody who does not ask, without what says so; None of any other."""
    if spec.get("namespaceSelector") not in (None, "", "all()"):
        return None
    none, manual = (
        str(spec.get("nodeSelector") or "").replace(" ", "") == "!all()",
        spec.get("assignmentMode") == "Manual",
    )
    if not (none or manual):
        return None
    left_out = ({"nodeSelector"} if none else set()) | ({"assignmentMode"} if manual else set())
    return {key: value for key, value in spec.items() if key not in left_out}


def _service(body: Body, ranges: list[Prefix], report: Report) -> Mapping[str, str]:
    """Our annotation of a Service that asks for addresses, or has some of a pool for load balancers."""
    metadata, spec = body["metadata"], object_of(body.get("spec"))
    for name in _POOLS:
        if _list(body, metadata, "metadata", f"{_SERVICE}{name}", report) is not None:
            _tell(
                body,
                "metadata",
                f"{_SERVICE}{name}",
                "set spec.serviceSelector or namespaceSelector of the pool",
                report,
            )
    annotations = object_of(metadata.get("annotations"))
    given = _list(body, metadata, "metadata", _REQUEST, report)
    field = _annotation("metadata", _REQUEST)
    addresses = _addresses(body, given, field, report)
    if addresses is None or annotations.get(SERVICE_ADDRESSES) or spec.get("type") != "LoadBalancer":
        return {}
    if given is None:
        field = "status.loadBalancer.ingress"
        addresses = [one for one in _shown(body) if any(one in cidr for cidr in ranges)]
    if spec.get("loadBalancerClass") == _CLASS:
        message = f"class {_CLASS} is never served here, and cannot be changed: make the Service anew with {OUR_CLASS}"
        report.add("Service", key_of(body), "spec.loadBalancerClass", message)
    if not addresses or spec.get("loadBalancerClass") not in (None, "", _CLASS, OUR_CLASS):
        return {}
    text = ",".join(map(str, addresses))
    namespace, _, name = key_of(body).partition("/")
    command = f"kubectl annotate service -n {namespace} {name} {SERVICE_ADDRESSES}={text}"
    report.add("Service", key_of(body), field, f"it keeps the address if it asks for it by our annotation: {command}")
    return {SERVICE_ADDRESSES: text}


def _pod(body: Body, metadata: Body, place: str, report: Report) -> Mapping[str, str]:
    """Our annotation of a pod, or of a template of pods; whatever else it asks for is told."""
    for field in sorted(object_of(metadata.get("annotations"))):
        if not field.startswith(_POD) or field in _OWN or field == _FIXED:
            continue
        if field.removeprefix(_POD) in _POOLS:
            what = f"pools are for namespaces (IPPool spec.namespaceSelector), and a pod asks for an address by {POD_ADDRESSES}"
        else:
            what = _NOT_HERE.get(field, "it means nothing here")
        _tell(body, place, field, what, report)
    given = _list(body, metadata, place, _FIXED, report)
    addresses = _addresses(body, given, _annotation(place, _FIXED), report)
    if not addresses or object_of(metadata.get("annotations")).get(POD_ADDRESSES):
        return {}
    text = ",".join(map(str, addresses))
    message = f"put {POD_ADDRESSES}: {text} into the pod's template: it is read when a pod starts"
    report.add(body["kind"], _name(body), _annotation(place, _FIXED), message)
    return {POD_ADDRESSES: text}


def _templates(body: Body) -> Iterator[tuple[Body, str]]:
    """The templates of pods in an object, with the fields that they stand in."""
    spec = object_of(body.get("spec"))
    job = object_of(object_of(object_of(spec.get("jobTemplate")).get("spec")).get("template"))
    for template, place in (
        (object_of(spec.get("template")), "spec.template"),
        (job, "spec.jobTemplate.spec.template"),
    ):
        if template:
            yield template, place


def _list(body: Body, metadata: Body, place: str, field: str, report: Report) -> list[str] | None:
    """The texts of an annotation, a JSON list; None where it is not there, or is none, which is told."""
    text = object_of(metadata.get("annotations")).get(field)
    if text in (None, ""):
        return None
    try:
        found = json.loads(str(text))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        _tell(body, place, field, f"{text} is no JSON list of texts", report)
        return None
    return found


def _addresses(body: Body, given: list[str] | None, field: str, report: Report) -> list[Address] | None:
    """The addresses of a list, one a family; None where they are not that, which is told."""
    try:
        found = [parse_address(text.strip()) for text in given or ()]
    except ValueError as error:
        report.add(body["kind"], _name(body), field, f"not carried over: {error}")
        return None
    if len({family_of(one) for one in found}) < len(found):
        report.add(
            body["kind"], _name(body), field, "not carried over: one address of each family can be asked for here"
        )
        return None
    return found


def _shown(body: Body) -> Iterator[Address]:
    """The addresses in a Service's status."""
    for entry in objects_of(object_of(object_of(body.get("status")).get("loadBalancer")).get("ingress")):
        try:
            yield parse_address(str(entry.get("ip") or ""))
        except ValueError:
            continue


def _with(body: Body, annotations: Mapping[str, str]) -> Body:
    if not annotations:
        return body
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "annotations": {**object_of(metadata.get("annotations")), **annotations}}}


def _tell(body: Body, place: str, field: str, what: str, report: Report) -> None:
    report.add(body["kind"], _name(body), _annotation(place, field), f"not carried over: {what}")


def _annotation(place: str, field: str) -> str:
    return f"{place}.annotations[{field}]"


def _name(body: Body) -> Any:
    return key_of(body) if body["metadata"].get("namespace") else body["metadata"]["name"]

"""All of a Calico cluster's manifests as ours, with everything set that our defaults would do otherwise."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from towpath.controller.calico.asked import for_namespaces, passed
from towpath.controller.calico.borrowed import borrowed
from towpath.controller.calico.carry import Body, Finding, Report, carried, object_of, objects_of
from towpath.controller.calico.nodes import Numbers, blocks, by_hand, nodes
from towpath.controller.policies import UNENFORCED, is_policy, unacknowledged
from towpath.model.kinds.registry import KINDS
from towpath.model.kinds.values import ASNumber
from towpath.model.net import host_prefix, parse_address

GROUPS = ("projectcalico.org/", "crd.projectcalico.org/")
PASSED = frozenset({"Service", "EndpointSlice", "Namespace", "Pod"})
_TIMERS = {"holdTime": "240s", "keepaliveTime": "80s"}
_RESTART = {"restartTime": "120s"}
_MULTIHOP = 64
_RENAMED = {"IPAMConfig": "IPAMConfiguration"}
_NAMESPACES = ("calico-system", "kube-system")
"""Where Calico looks for Secrets, the first first."""
_PASSWORDS = ("password", "nodeMeshPassword")
_OWN = frozenset({"kubectl.kubernetes.io/last-applied-configuration", "projectcalico.org/metadata"})
_DEVICES = ("cali", "tunl", "wireguard.cali")
_INHERITED = ("pcns.", "pcsa.")


class Converted(Struct, frozen=True):
    """Our objects, what could not be carried over, and what was not looked at."""

    objects: tuple[Body, ...]
    findings: tuple[Finding, ...]
    by_hand: tuple[Finding, ...] = ()
    """What people have to say to Nodes where these objects are applied, for Nodes are not."""
    warnings: tuple[str, ...] = ()


def converted(bodies: Iterable[Body], *, secret_namespace: str) -> Converted:
    """Everything of ``bodies``, in an order of its own. Objects that are neither Calico's nor needed are left out."""
    report = Report()
    theirs: dict[str, dict[str, Body]] = {}
    kubernetes: dict[str, list[Body]] = {}
    policies: list[Body] = []
    for body in bodies:
        if not _has_shape(body, report):
            continue
        if is_policy(body):
            policies.append(body)
        elif body["apiVersion"].startswith(GROUPS):
            kind = str(_RENAMED.get(body["kind"], body["kind"]))
            theirs.setdefault(kind, {})[body["metadata"]["name"]] = body
        else:
            kubernetes.setdefault(body["kind"], []).append(body)
    for kind, name in unacknowledged(policies):
        report.add(kind, name, "", UNENFORCED)
    filters = list(_filters(theirs.pop("BGPFilter", {}), report))
    config = theirs.pop("BGPConfiguration", {})
    configurations = list(_configurations(config, kubernetes.get("DaemonSet", ()), report))
    their_nodes, beside = theirs.pop("Node", {}), Report()
    known_nodes = {one["metadata"]["name"]: one for one in kubernetes.get("Node", ())}
    made_nodes = nodes(known_nodes, their_nodes, report)
    by_hand(known_nodes, their_nodes, beside)
    peers = list(
        _peers(
            theirs.pop("BGPPeer", {}),
            filters={one["metadata"]["name"] for one in filters},
            numbers=Numbers(configurations, made_nodes),
            report=report,
        )
    )
    their_pools = for_namespaces(theirs.pop("IPPool", {}), kubernetes.get("Namespace", ()), report)
    pools = list(_plain("IPPool", their_pools, report))
    settings = _settings(theirs.pop("IPAMConfiguration", {}), theirs.pop("KubeControllersConfiguration", {}), report)
    ipam = list(_plain("IPAMConfiguration", settings, report, name="default"))
    found, affinities = (theirs.pop(kind, {}).values() for kind in ("IPAMBlock", "BlockAffinity"))
    reservations = list(_reservations(theirs.pop("IPReservation", {}), report))
    reservations += borrowed(found, kubernetes.get("Pod", ()), report)
    made_blocks = blocks(found, affinities, pools, report)
    others = [one for kind, some in sorted(theirs.items()) for one in _others(kind, some, report)]
    secrets = list(_secrets(kubernetes.get("Secret", ()), [*configurations, *peers], secret_namespace, report))
    everything = (
        *passed(kubernetes, sorted(PASSED), pools, report),
        *secrets,
        *made_nodes,
        *configurations,
        *filters,
        *peers,
        *pools,
        *reservations,
        *ipam,
        *others,
        *made_blocks,
    )
    looked_at = {*PASSED, "Secret", "Node", "DaemonSet"}
    skipped = Counter(
        f"{body['apiVersion']} {kind}" for kind, some in kubernetes.items() if kind not in looked_at for body in some
    )
    warnings = tuple(f"{count} of {what} skipped: not needed here" for what, count in sorted(skipped.items()))
    return Converted(tuple(everything), report.findings, beside.findings, warnings)


def _has_shape(body: Body, report: Report) -> bool:
    """Whether labels, annotations and specification are objects, if there are any; the report says which is not."""
    metadata = body["metadata"]
    parts = {f"metadata.{field}": metadata.get(field) for field in ("labels", "annotations")} | {
        "spec": body.get("spec")
    }
    broken = [field for field, value in parts.items() if value is not None and not isinstance(value, dict)]
    for field in broken:
        report.add(body["kind"], metadata["name"], field, "the object is not carried over: must be an object")
    return not broken


def _metadata(body: Body, name: str = "") -> Body:
    """Name, labels and people's annotations; what a server sets stays behind."""
    metadata = body["metadata"]
    kept: Body = {"name": name or metadata["name"]}
    if metadata.get("labels"):
        kept["labels"] = metadata["labels"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _OWN}
    return {**kept, "annotations": annotations} if annotations else kept


def _spec(body: Body) -> Body:
    """The specification; of what it says of Secrets only which it means."""
    spec = dict(body.get("spec") or {})
    for field in _PASSWORDS:
        reference = object_of(object_of(spec.get(field)).get("secretKeyRef"))
        if reference:
            spec[field] = {"secretKeyRef": {key: value for key, value in reference.items() if key != "optional"}}
    return spec


def _plain(kind: str, found: Mapping[str, Body], report: Report, *, name: str = "") -> Iterator[Body]:
    for _, body in sorted(found.items()):
        one = carried(kind, _metadata(body, name), _spec(body), report)
        if one is not None:
            yield one


def _others(kind: str, found: Mapping[str, Body], report: Report) -> Iterator[Body]:
    if kind in KINDS:
        yield from _plain(kind, found, report)
        return
    for name in sorted(found):
        report.add(kind, name, "", "not carried over: towpath has no such kind")


def _settings(ipam: Mapping[str, Body], controllers: Mapping[str, Body], report: Report) -> Mapping[str, Body]:
    """Calico's settings of addresses: those of load balancers stand with those of its controllers."""
    for name, body in sorted(controllers.items()):
        said = object_of(_spec(body).get("controllers"))
        assigns = object_of(said.get("loadBalancer")).get("assignIPs")
        others = sorted(key for key in said if key != "loadBalancer")
        if others:
            message = f"not carried over: {', '.join(others)} are controllers that towpath has not"
            report.add("KubeControllersConfiguration", name, "spec.controllers", message)
        if assigns not in (None, "AllServices", "RequestedServicesOnly"):
            message = f"not carried over: {assigns} is neither AllServices nor RequestedServicesOnly"
            report.add("KubeControllersConfiguration", name, "spec.controllers.loadBalancer.assignIPs", message)
        elif assigns == "RequestedServicesOnly":  # the other is so without it
            before = ipam.get("default", {"metadata": {"name": "default"}})
            spec = {**object_of(before.get("spec")), "loadBalancerAssignIPs": assigns}
            ipam = {**ipam, "default": {**before, "spec": spec}}
    return ipam


def _configurations(found: Mapping[str, Body], daemons: Iterable[Body], report: Report) -> Iterator[Body]:
    bodies = {"default": {"metadata": {"name": "default"}}} | dict(found)
    for name, body in sorted(bodies.items()):
        spec = _spec(body)
        if spec.pop("programClusterRoutes", None) is not None:
            message = "not carried over: there it says which of two programs installs the routes"
            report.add("BGPConfiguration", name, "spec.programClusterRoutes", message)
        if name == "default":
            spec |= {"meshAdvertise": "All", "timers": _TIMERS, "gracefulRestart": _RESTART}
            if _hashes_router_id(daemons, report):
                spec["routerID"] = "hash"
        one = carried("BGPConfiguration", _metadata(body), spec, report)
        if one is not None:
            yield one


def _hashes_router_id(daemons: Iterable[Body], report: Report) -> bool:
    """Whether calico-node is told to make router ids from names."""
    hashed = False
    for body in daemons:
        template = object_of(object_of(_spec(body).get("template")).get("spec"))
        for container in objects_of(template.get("containers")):
            for variable in objects_of(container.get("env")):
                if container.get("name") != "calico-node" or variable.get("name") != "CALICO_ROUTER_ID":
                    continue
                hashed = hashed or variable.get("value") == "hash"
                if variable.get("value") not in (None, "", "hash"):
                    message = f"not carried over: CALICO_ROUTER_ID {variable['value']} would be every node's router id"
                    report.add("DaemonSet", body["metadata"]["name"], "spec.template.spec.containers[].env", message)
    return hashed


def _peers(found: Mapping[str, Body], *, filters: set[str], numbers: Numbers, report: Report) -> Iterator[Body]:
    for name, body in sorted(found.items()):
        spec = {**_spec(body), "advertise": "All", "importPolicy": "All"}
        if spec.get("ttlSecurity") is None and not _is_internal(spec, numbers):
            spec["ebgpMultihop"] = _MULTIHOP
        one = carried("BGPPeer", _metadata(body), spec, report)
        if one is None:
            continue
        if any(label in one["spec"].get("localWorkloadSelector", "") for label in _INHERITED):
            message = "labels that pods have of their namespace or service account (pcns., pcsa.) are on no pod here"
            report.add("BGPPeer", name, "spec.localWorkloadSelector", message)
        for place, missing in enumerate(one["spec"].get("filters", ())):
            if missing not in filters:
                message = f"BGPFilter {missing} does not exist: Calico skips it, here it rejects everything"
                report.add("BGPPeer", name, f"spec.filters[{place}]", message)
        yield one


def _is_internal(spec: Mapping[str, Any], numbers: Numbers) -> bool:
    """Whether a peer is iBGP for every node that it is for."""
    try:
        own = {int(ASNumber.parse(spec["localASNumber"]))} if spec.get("localASNumber") else numbers.of(spec)
        return "asNumber" in spec and own == {int(ASNumber.parse(spec["asNumber"]))}
    except ValueError:
        return False


def _filters(found: Mapping[str, Body], report: Report) -> Iterator[Body]:
    for one in _plain("BGPFilter", found, report):
        for direction, rules in one["spec"].items():
            for place, rule in enumerate(rules):
                glob = rule.get("interface") or ""
                if any(device in glob for device in _DEVICES):
                    message = f"{glob} names devices that only Calico has: carried over as it is"
                    report.add("BGPFilter", one["metadata"]["name"], f"spec.{direction}[{place}].interface", message)
        yield one


def _reservations(found: Mapping[str, Body], report: Report) -> Iterator[Body]:
    """Where Calico takes a bare address, it is written as the range that it is."""
    for _, body in sorted(found.items()):
        spec = _spec(body)
        if isinstance(cidrs := spec.get("reservedCIDRs"), list):
            spec["reservedCIDRs"] = [_as_range(one) for one in cidrs]
        one = carried("IPReservation", _metadata(body), spec, report)
        if one is not None:
            yield one


def _as_range(text: Any) -> Any:
    try:
        return str(host_prefix(parse_address(text)))
    except (ValueError, TypeError):
        return text


def _secrets(found: Iterable[Body], users: Iterable[Body], namespace: str, report: Report) -> Iterator[Body]:
    """Secrets with passwords in our namespace, all others as they are."""
    named: dict[str, tuple[str, str, str]] = {}
    for user in users:
        for field in _PASSWORDS:
            reference = (user["spec"].get(field) or {}).get("secretKeyRef") or {}
            if reference:
                named.setdefault(reference["name"], (user["kind"], user["metadata"]["name"], f"spec.{field}"))
    by_name: dict[str, list[Body]] = {}
    for body in found:
        if body["metadata"]["name"] in named:
            by_name.setdefault(body["metadata"]["name"], []).append(body)
        else:
            yield body
    for name, (kind, holder, place) in sorted(named.items()):
        bodies = sorted(by_name.get(name, ()), key=_preference)
        if not bodies:
            report.add(kind, holder, place, f"Secret {name} is not in the input: put it into namespace {namespace}")
            continue
        yield {**bodies[0], "metadata": {**_metadata(bodies[0]), "namespace": namespace}}
        yield from bodies[1:]


def _preference(secret: Body) -> int:
    namespace = secret["metadata"].get("namespace")
    return _NAMESPACES.index(namespace) if namespace in _NAMESPACES else len(_NAMESPACES)

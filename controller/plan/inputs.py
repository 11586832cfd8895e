"""Manifests and live objects to a snapshot: the store that controller and agents use, fed once, and what it refused.

The order of files and documents means nothing, but for objects that are there twice: the first counts.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from towpath.controller.manifests import ManifestError, documents
from towpath.controller.routing_nodes import routing_nodes
from towpath.controller.secrets import password_of, references
from towpath.controller.service_ranges import ranges_of
from towpath.controller.settings import CannotRunError
from towpath.controller.store import FIELDS, Store, decode_any
from towpath.model.balanced import Balanced, decode_balanced
from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import SecretKey
from towpath.model.kinds.kind import API_VERSION
from towpath.model.kinds.registry import KINDS
from towpath.model.reason import InvalidSpecError, Reason, Why
from towpath.model.secret import Secret
from towpath.model.service import decode_endpoint_slice, decode_service, key_of
from towpath.model.workload import decode_workload

SUFFIXES = (".yaml", ".yml", ".json")
STANDARD_INPUT = "-"
KUBERNETES = {
    "Node": "v1",
    "Service": "v1",
    "Secret": "v1",
    "Namespace": "v1",
    "Pod": "v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "ServiceCIDR": "networking.k8s.io/v1",
}
"""Kinds of Kubernetes that are understood, with their apiVersion."""
_NAMESPACED = frozenset({"Service", "EndpointSlice", "Pod", "Secret"})
_STEP = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")
SERVICES = ("Service", "EndpointSlice", "ServiceCIDR")
Body = dict[str, Any]
T = TypeVar("T")


class Rejected(Struct, frozen=True, order=True):
    """An object, or a field of it, that does not count, and why."""

    kind: str
    name: str
    field: str
    message: str
    reason: Reason = Reason.INVALID_SPEC


class Inputs(Struct, frozen=True):
    """Everything that a plan is made from, and what is not part of it."""

    cluster: Cluster
    passwords: Mapping[SecretKey, Secret]
    missing: Mapping[SecretKey, str]
    """A sentence for each password that is named and is not there."""
    rejected: tuple[Rejected, ...] = ()
    warnings: tuple[str, ...] = ()
    balanced: Mapping[str, Balanced] = {}
    """Services as they have addresses of load balancers, by namespace and name."""


def read(sources: Sequence[str]) -> list[Body]:
    """All objects of files, folders and ``-``; ``CannotRunError`` where one cannot be read."""
    bodies: list[Body] = []
    for source in sources:
        for name, text in _texts(source):
            try:
                bodies += documents(text)
            except ManifestError as error:
                raise CannotRunError(f"{name}: {error}") from error
    return bodies


def _texts(source: str) -> Iterator[tuple[str, str]]:
    """Each text of a source with its name: of a folder all manifests below it, hidden ones left out."""
    path = Path(source)
    try:
        if source == STANDARD_INPUT:
            yield "standard input", sys.stdin.read()
        elif path.is_dir():
            for file in sorted(one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file()):
                if not any(part.startswith(".") for part in file.relative_to(path).parts):
                    yield str(file), file.read_text()
        else:
            yield source, path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error.reason
        raise CannotRunError(f"{source} cannot be read: {said}") from error


def gathered(bodies: Iterable[Body], *, secret_namespace: str) -> Inputs:
    """The snapshot of some objects, with a RoutingNode for every Node that has none, as the controller makes it."""
    found: dict[str, dict[str, Body]] = {kind: {} for kind in (*FIELDS, *SERVICES, "Secret", "Pod")}
    rejected: set[Rejected] = set()
    skipped: Counter[str] = Counter()
    for body in bodies:
        kind, metadata = body["kind"], body["metadata"]
        if not _is_understood(body):
            skipped[f"{body['apiVersion']} {kind}"] += 1
        elif kind in found:
            name = f"{metadata.get('namespace') or ''}/{metadata['name']}" if kind in _NAMESPACED else metadata["name"]
            before = found[kind].setdefault(name, body)
            if before is not body and before != body:
                rejected.add(
                    Rejected(kind, metadata["name"], "metadata.name", "is there already, and the first counts")
                )
    store = Store(tuple(FIELDS), decoder=_decode)
    for kind in FIELDS:
        store.listed(kind, [_named(name, found[kind][name]) for name in sorted(found[kind])])
    cluster = store.cluster()
    made = routing_nodes(cluster)
    wanted = {name: one for name, one in made.desired.items() if name not in cluster.routing_nodes}
    if wanted:
        cluster = replace(cluster, routing_nodes={**cluster.routing_nodes, **wanted})
    rejected |= {Rejected(one.kind, one.name, one.field, one.message, one.reason) for one in store.problems()}
    rejected |= {
        Rejected(one.object.kind, one.object.name, one.object.field, one.message, one.reason) for one in made.refusals
    }
    cluster = replace(
        cluster,
        services=dict(_read(found["Service"], decode_service, rejected)),
        endpoint_slices=dict(_read(found["EndpointSlice"], decode_endpoint_slice, rejected)),
        workloads=dict(_read(found["Pod"], decode_workload, rejected)),
        service_ranges=ranges_of(found["ServiceCIDR"].values()),
    )
    passwords, missing = _passwords(references(cluster), found["Secret"], secret_namespace)
    return Inputs(
        cluster=cluster,
        passwords=passwords,
        missing=missing,
        rejected=tuple(sorted(rejected)),
        warnings=tuple(_skipped(what, count) for what, count in sorted(skipped.items())),
        balanced=dict(_read(found["Service"], decode_balanced, set())),  # one of no shape is told of by now
    )


def _is_understood(body: Body) -> bool:
    expected = API_VERSION if body["kind"] in KINDS else KUBERNETES.get(body["kind"])
    return bool(body["apiVersion"] == expected)


def _skipped(what: str, count: int) -> str:
    hint = "; towpath import calico reads it" if "projectcalico.org/" in what else ""
    return f"{count} of {what} skipped: not a kind that is read here{hint}"


def _named(name: str, body: Body) -> Body:
    """The object with the metadata that an API server would have given it."""
    metadata = {"uid": f"{body['kind']}/{name}", "generation": 1, **body["metadata"], "name": name}
    return {**body, "metadata": metadata}


def _read(
    found: Mapping[str, Body], decode: Callable[[Body], T | None], rejected: set[Rejected]
) -> Iterator[tuple[str, T]]:
    """Objects of Kubernetes as values, by key; those that mean nothing here are left out."""
    for name in sorted(found):
        try:
            one = decode(found[name])
        except InvalidSpecError as error:
            rejected.add(Rejected(error.where.kind, error.where.name, error.where.field, error.message))
            continue
        if one is not None:
            yield key_of(found[name]), one


def _decode(kind: str, body: Mapping[str, Any]) -> Any:
    """As the store does, and a boolean in a field of text becomes ``true`` or ``false``, as Kubernetes' YAML library has it."""
    for _ in range(1000):  # one field a turn
        try:
            return decode_any(kind, body)
        except InvalidSpecError as error:
            mended = _with_text(body, error.where.field) if error.message.startswith("must be text") else None
            if mended is None:
                raise
            body = mended
    raise InvalidSpecError(Why(kind, str(body["metadata"]["name"]), "spec"), "has too many booleans where text belongs")


def _with_text(body: Mapping[str, Any], path: str) -> Any:
    """A copy in which the boolean at a path (``spec.filters[0]``) is text; None where there is none."""
    return _mended(body, [int(place) if place else name for place, name in _STEP.findall(path)])


def _mended(value: Any, steps: list[str | int]) -> Any:
    if not steps:
        return str(value).lower() if isinstance(value, bool) else None
    key: Any = steps[0]
    try:
        inner = _mended(value[key], steps[1:])
    except (LookupError, TypeError):
        return None
    if inner is None:
        return None
    if isinstance(value, list):
        return [inner if place == key else one for place, one in enumerate(value)]
    return {**value, key: inner}


def _passwords(
    wanted: Iterable[SecretKey], secrets: Mapping[str, Body], namespace: str
) -> tuple[dict[SecretKey, Secret], dict[SecretKey, str]]:
    held: dict[SecretKey, Secret] = {}
    missing: dict[SecretKey, str] = {}
    for key in sorted(wanted, key=lambda one: (one.name, one.key)):
        body = secrets.get(f"{namespace}/{key.name}") or secrets.get(f"/{key.name}")
        if body is None:
            missing[key] = f"Secret {key.name} does not exist in namespace {namespace}"
            continue
        value = password_of(body, key.key)
        if isinstance(value, Secret):
            held[key] = value
        else:
            missing[key] = f"Secret {key.name} {value}"
    return held, missing

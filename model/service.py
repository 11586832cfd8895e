"""Services and EndpointSlices, as far as their addresses are announced: values, and what the API has made into them.

The API server vouches for their shape, a folder of manifests does not: what has not the shape of one is refused, and an
address that does not read as one is left out, because others write it.
"""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from towpath.model.net import Address, Family, parse_address
from towpath.model.reason import InvalidSpecError, Why

Policy = Literal["Cluster", "Local"]
T = TypeVar("T")
SOMEWHERE = ""
"""In place of a node's name: an endpoint that is on no node, or on one that is of no interest."""
SERVICE_OF_SLICE = "kubernetes.io/service-name"
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")


class Service(Struct, frozen=True):
    """A Service that has addresses of its own; ``key`` is ``NAMESPACE/NAME``. Others have no address in any list."""

    key: str
    cluster: tuple[Address, ...] = ()
    external: tuple[Address, ...] = ()
    load_balancer: tuple[Address, ...] = ()
    external_policy: Policy = "Cluster"
    internal_policy: Policy = "Cluster"


class EndpointSlice(Struct, frozen=True):
    """A part of a Service's endpoints; ``key`` and ``service`` are ``NAMESPACE/NAME``."""

    key: str
    service: str
    family: Family
    ready: frozenset[str] = frozenset()
    """Names of the nodes that have a ready endpoint, or ``SOMEWHERE``."""

    def seen_from(self, node: str) -> "EndpointSlice":
        """The same with all other nodes taken together: equal again when something changed on those alone."""
        return replace(self, ready=frozenset(one if one == node else SOMEWHERE for one in self.ready))


class _Metadata(Struct):
    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None


class _Ingress(Struct):
    ip: str | None = None
    ipMode: str | None = None  # noqa: N815  # the API's names


class _LoadBalancer(Struct):
    ingress: tuple[_Ingress, ...] | None = None


class _ServiceStatus(Struct):
    loadBalancer: _LoadBalancer | None = None  # noqa: N815


class _ServiceSpec(Struct):
    type: str | None = None
    clusterIP: str | None = None  # noqa: N815
    clusterIPs: tuple[str, ...] | None = None  # noqa: N815
    externalIPs: tuple[str, ...] | None = None  # noqa: N815
    externalTrafficPolicy: str | None = None  # noqa: N815
    internalTrafficPolicy: str | None = None  # noqa: N815


class _ServiceObject(Struct):
    metadata: _Metadata
    spec: _ServiceSpec | None = None
    status: _ServiceStatus | None = None


class _Conditions(Struct):
    ready: bool | None = None


class _Endpoint(Struct):
    addresses: tuple[str, ...] | None = None
    conditions: _Conditions | None = None
    nodeName: str | None = None  # noqa: N815


class _SliceObject(Struct):
    metadata: _Metadata
    addressType: str | None = None  # noqa: N815
    endpoints: tuple[_Endpoint, ...] | None = None


def key_of(body: Mapping[str, Any]) -> str:
    """``NAMESPACE/NAME`` of any object, of one too whose name was made into that already."""
    metadata = body["metadata"]
    name = str(metadata["name"])
    return name if "/" in name else f"{metadata.get('namespace') or 'default'}/{name}"


def decode_service(body: Mapping[str, Any]) -> Service:
    """A Service of whatever shape; ``InvalidSpecError`` where it has not the shape of one."""
    found = as_shape("Service", body, _ServiceObject)
    spec = found.spec or _ServiceSpec()
    key = key_of(body)
    kind = spec.type or "ClusterIP"
    cluster = spec.clusterIPs or tuple(ip for ip in (spec.clusterIP,) if ip)
    if kind not in _TYPES or "None" in cluster:
        return Service(key)
    balancer = found.status.loadBalancer if found.status else None
    # of those with mode Proxy packets do not arrive with this address: no node would know what to do with them
    ingress = [one for one in (balancer.ingress or () if balancer else ()) if one.ipMode != "Proxy"]
    return Service(
        key,
        cluster=_addresses(cluster),
        external=_addresses(spec.externalIPs or ()),
        load_balancer=_addresses(one.ip for one in ingress) if kind == "LoadBalancer" else (),
        external_policy=_policy(spec.externalTrafficPolicy),
        internal_policy=_policy(spec.internalTrafficPolicy),
    )


def decode_endpoint_slice(body: Mapping[str, Any]) -> EndpointSlice | None:
    """An EndpointSlice; None where it belongs to no Service or has names for addresses."""
    found = as_shape("EndpointSlice", body, _SliceObject)
    service = (found.metadata.labels or {}).get(SERVICE_OF_SLICE)
    if not service or found.addressType not in ("IPv4", "IPv6"):
        return None
    key = key_of(body)
    return EndpointSlice(
        key,
        service=f"{key.partition('/')[0]}/{service}",
        family=Family.IPV4 if found.addressType == "IPv4" else Family.IPV6,
        ready=frozenset(one.nodeName or SOMEWHERE for one in found.endpoints or () if _is_ready(one)),
    )


def families_of(slices: Iterable[EndpointSlice], nodes: Collection[str] | None = None) -> frozenset[Family]:
    """The families in which there is a ready endpoint: on one of these nodes, or anywhere."""
    return frozenset(one.family for one in slices if (one.ready if nodes is None else one.ready.intersection(nodes)))


def _is_ready(endpoint: _Endpoint) -> bool:
    """Ready unset counts as ready (EndpointConditions of discovery.k8s.io/v1)."""
    ready = endpoint.conditions.ready if endpoint.conditions else None
    return bool(endpoint.addresses) and ready is not False


def _policy(text: str | None) -> Policy:
    return "Local" if text == "Local" else "Cluster"


def _addresses(texts: Iterable[str | None]) -> tuple[Address, ...]:
    found: dict[Address, None] = {}
    for text in texts:
        with contextlib.suppress(ValueError):
            found[parse_address(text or "")] = None
    return tuple(found)


def as_shape(kind: str, body: Mapping[str, Any], shape: type[T]) -> T:
    """An object of Kubernetes as far as a struct says; ``InvalidSpecError`` where it has not the shape of its kind."""
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise InvalidSpecError(Why(kind, key_of(body), path.rstrip("`")), message) from None

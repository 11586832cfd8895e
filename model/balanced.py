"""Services as they ask for an address of a load balancer, and what stands in their status of it.

Of every Service something is known here: one that asks for none may have had one a moment ago.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Struct

from towpath.model.codec import from_builtins
from towpath.model.kinds.claim import Tenant
from towpath.model.net import Address, Family, family_of, parse_address
from towpath.model.resource import Condition, version_number
from towpath.model.service import as_shape, key_of

OUR_CLASS: Final = "towpath.io/bgp"
"""``spec.loadBalancerClass`` of services that are for us alone."""
ADDRESSES: Final = "towpath.io/load-balancer-ips"
"""Annotation: the addresses that a service asks for, one a family, separated by commas."""
SHARES: Final = "towpath.io/load-balancer-sharing-key"
"""Annotation: services of one namespace with the same key may have the same address."""
CONDITION: Final = "towpath.io/LoadBalancerAddress"
"""Condition of a Service: whether it has the addresses that it asks for. We alone write it."""
FamilyPolicy = Literal["SingleStack", "PreferDualStack", "RequireDualStack"]


class Ingress(Struct, frozen=True):
    """An entry of ``status.loadBalancer.ingress``; ``body`` is as it stands there."""

    address: Address | None
    """None: a name, or what is no address."""
    body: Mapping[str, Any]


class Balanced(Struct, frozen=True):
    """A Service; ``key`` is ``NAMESPACE/NAME``."""

    key: str
    uid: str = ""
    resource_version: str = ""
    created: str = ""
    is_balanced: bool = False
    """Whether it is of type LoadBalancer."""
    load_balancer_class: str | None = None
    labels: Mapping[str, str] = {}
    families: tuple[Family, ...] = (Family.IPV4,)
    """Of its cluster addresses, its first first."""
    family_policy: FamilyPolicy = "SingleStack"
    requested: Mapping[Family, Address] = {}
    has_request: bool = False
    """Whether it asks for an address by our annotation."""
    mistake: tuple[str, str] | None = None
    """A field that asks for what cannot be, and why."""
    sharing_key: str = ""
    ports: tuple[str, ...] = ()
    endpoints: str = ""
    """Where packets for it have to go: empty if any node takes them."""
    ingress: tuple[Ingress, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.key.partition("/")[0]

    @property
    def version(self) -> int:
        """Its resourceVersion as a number; 0 where it is none."""
        return version_number(self.resource_version)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses that stand in its status."""
        return tuple(one.address for one in self.ingress if one.address is not None)

    @property
    def condition(self) -> Condition | None:
        """Our condition, if it has it."""
        return next((one for one in self.conditions if one.type == CONDITION), None)

    def tenant(self) -> Tenant:
        """What a claim says of it."""
        return Tenant(
            self.key,
            uid=self.uid,
            resource_version=self.resource_version,
            sharing_key=self.sharing_key,
            ports=self.ports,
            endpoints=self.endpoints,
        )


class _Metadata(Struct, rename="camel"):
    name: str
    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Port(Struct):
    port: int
    protocol: str | None = None


class _Spec(Struct):
    type: str | None = None
    loadBalancerClass: str | None = None  # noqa: N815  # the API's names
    loadBalancerIP: str | None = None  # noqa: N815
    ipFamilies: tuple[str, ...] | None = None  # noqa: N815
    ipFamilyPolicy: str | None = None  # noqa: N815
    clusterIPs: tuple[str, ...] | None = None  # noqa: N815
    externalTrafficPolicy: str | None = None  # noqa: N815
    selector: dict[str, str] | None = None
    ports: tuple[_Port, ...] | None = None


class _LoadBalancer(Struct):
    ingress: tuple[dict[str, Any], ...] | None = None


class _Status(Struct):
    loadBalancer: _LoadBalancer | None = None  # noqa: N815
    conditions: tuple[dict[str, Any], ...] | None = None


class _Object(Struct):
    metadata: _Metadata
    spec: _Spec | None = None
    status: _Status | None = None


def decode_balanced(body: Mapping[str, Any]) -> Balanced:
    """A Service of whatever shape; ``InvalidSpecError`` where it has not the shape of one."""
    found = as_shape("Service", body, _Object)
    meta, spec, status = found.metadata, found.spec or _Spec(), found.status or _Status()
    annotations = meta.annotations or {}
    families = _families(spec)
    requested, mistake = _requested(spec, annotations, families)
    entries = (status.loadBalancer.ingress if status.loadBalancer else None) or ()
    policy = spec.ipFamilyPolicy if spec.ipFamilyPolicy in ("PreferDualStack", "RequireDualStack") else "SingleStack"
    return Balanced(
        key_of(body),
        uid=meta.uid or "",
        resource_version=meta.resource_version or "",
        created=meta.creation_timestamp or "",
        is_balanced=spec.type == "LoadBalancer",
        load_balancer_class=spec.loadBalancerClass,
        labels=meta.labels or {},
        families=families,
        family_policy=cast("FamilyPolicy", policy),
        requested=requested,
        has_request=bool(annotations.get(ADDRESSES, "").strip()),
        mistake=mistake,
        sharing_key=annotations.get(SHARES, "").strip()[:253],
        ports=tuple(sorted({f"{one.protocol or 'TCP'}/{one.port}" for one in spec.ports or ()})),
        endpoints=_endpoints(spec),
        ingress=tuple(Ingress(_address(one.get("ip")), one) for one in entries),
        conditions=tuple(_conditions(status.conditions or ())),
    )


def _families(spec: _Spec) -> tuple[Family, ...]:
    named = {f"IPv{family.value}": family for family in Family}
    found = [named[one] for one in spec.ipFamilies or () if one in named]
    if not found:  # a server that does not know the field
        found = [family_of(one) for one in map(_address, spec.clusterIPs or ()) if one is not None]
    return tuple(dict.fromkeys(found)) or (Family.IPV4,)


def _requested(
    spec: _Spec, annotations: Mapping[str, str], families: tuple[Family, ...]
) -> tuple[dict[Family, Address], tuple[str, str] | None]:
    """The addresses asked for by family, or the field that is wrong and why."""
    found: dict[Family, Address] = {}
    asked = [(f"metadata.annotations[{ADDRESSES}]", text) for text in annotations.get(ADDRESSES, "").split(",")]
    for field, text in (*asked, ("spec.loadBalancerIP", spec.loadBalancerIP or "")):
        if not text.strip():
            continue
        address = _address(text.strip())
        if address is None:
            return {}, (field, f"{text.strip()!r} is no address")
        family = family_of(address)
        if family not in families:
            return {}, (field, f"{address} is of a family that the service does not have: see spec.ipFamilies")
        if found.setdefault(family, address) != address:
            return {}, (field, f"asks for {address} and {found[family]}: there is one address a family")
    return found, None


def _endpoints(spec: _Spec) -> str:
    if spec.externalTrafficPolicy != "Local":
        return ""
    return "Local:" + ",".join(f"{key}={value}" for key, value in sorted((spec.selector or {}).items()))[:4000]


def _conditions(bodies: Iterable[dict[str, Any]]) -> Iterable[Condition]:
    for body in bodies:
        try:
            yield from_builtins(body, Condition)
        except msgspec.ValidationError:  # somebody wrote nonsense there
            continue


def _address(text: Any) -> Address | None:
    try:
        return parse_address(str(text or ""))
    except ValueError:
        return None

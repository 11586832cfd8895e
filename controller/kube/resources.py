"""Where each kind lives in the Kubernetes API: one table from a kind's name to its path."""

from msgspec import Struct

from towpath.model.kinds.kind import GROUP, VERSION
from towpath.model.kinds.registry import KINDS


class ResourceType(Struct, frozen=True):
    """A kind as the API serves it."""

    kind: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = False
    has_status: bool = False
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """``plural.group``, or the plural alone in the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object or of its subresource."""
        parts = ["apis" if self.group else "api", self.api_version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


_BUILT_IN = (
    ResourceType("Node", "nodes", has_status=True, short_names=("no",)),
    ResourceType("Namespace", "namespaces", has_status=True, short_names=("ns",)),
    ResourceType("Secret", "secrets", namespaced=True),
    ResourceType("ConfigMap", "configmaps", namespaced=True, short_names=("cm",)),
    ResourceType("Pod", "pods", namespaced=True, has_status=True, short_names=("po",)),
    ResourceType("Service", "services", namespaced=True, has_status=True, short_names=("svc",)),
    ResourceType("EndpointSlice", "endpointslices", group="discovery.k8s.io", namespaced=True),
    ResourceType("Event", "events", namespaced=True, short_names=("ev",)),
    ResourceType("ServiceCIDR", "servicecidrs", group="networking.k8s.io", has_status=True),
    ResourceType("NetworkPolicy", "networkpolicies", group="networking.k8s.io", namespaced=True),
    ResourceType("Lease", "leases", group="coordination.k8s.io", namespaced=True),
    ResourceType(
        "CustomResourceDefinition",
        "customresourcedefinitions",
        group="apiextensions.k8s.io",
        has_status=True,
        short_names=("crd", "crds"),
    ),
)

_OTHERS = (
    ResourceType("AdminNetworkPolicy", "adminnetworkpolicies", group="policy.networking.k8s.io", version="v1alpha1"),
    ResourceType(
        "BaselineAdminNetworkPolicy",
        "baselineadminnetworkpolicies",
        group="policy.networking.k8s.io",
        version="v1alpha1",
    ),
    ResourceType(
        "ClusterNetworkPolicy", "clusternetworkpolicies", group="policy.networking.k8s.io", version="v1alpha2"
    ),
    *(
        ResourceType(f"{prefix}{kind}", plural, group=group, version=version, namespaced=namespaced)
        for prefix, group, version in (
            ("Calico", "projectcalico.org", "v3"),
            ("StoredCalico", "crd.projectcalico.org", "v1"),
        )
        for kind, plural, namespaced in (
            ("NetworkPolicy", "networkpolicies", True),
            ("GlobalNetworkPolicy", "globalnetworkpolicies", False),
        )
    ),
)
"""Kinds that a cluster may have, and that are listed only. Two of one name have different ones here."""

RESOURCES: dict[str, ResourceType] = {
    resource.kind: resource
    for resource in (
        *_BUILT_IN,
        *_OTHERS,
        *(
            ResourceType(
                kind.name,
                kind.plural,
                group=GROUP,
                version=VERSION,
                has_status=True,
                short_names=kind.short_names,
                categories=kind.categories,
            )
            for kind in KINDS.values()
        ),
    )
}
"""All kinds that our processes read or write, by name."""

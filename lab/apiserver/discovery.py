"""What the server says of itself: enough of discovery for kubectl to find every kind."""

from collections.abc import Iterable
from typing import Any

from towpath.controller.kube.resources import RESOURCES, ResourceType

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+towpath-lab",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def api_versions() -> dict[str, Any]:
    """``/api``."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def api_groups() -> dict[str, Any]:
    """``/apis``."""
    groups = sorted({(resource.group, resource.version) for resource in RESOURCES.values() if resource.group})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*one) for one in groups]}


def api_group(group: str) -> dict[str, Any] | None:
    """``/apis/GROUP``, or None."""
    for resource in RESOURCES.values():
        if resource.group == group and group:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, resource.version)}
    return None


def api_resources(api_version: str) -> dict[str, Any] | None:
    """``/api/v1`` and ``/apis/GROUP/VERSION``, or None."""
    found = [resource for resource in RESOURCES.values() if resource.api_version == api_version]
    if not found:
        return None
    listed = [entry for resource in found for entry in _entries(resource)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": listed}


def openapi_index() -> dict[str, Any]:
    """``/openapi/v3``: where the document of each group and version lies."""
    prefixes = {resource.path().rpartition("/")[0] for resource in RESOURCES.values()}
    return {"paths": {prefix[1:]: {"serverRelativeURL": f"/openapi/v3{prefix}"} for prefix in sorted(prefixes)}}


def openapi(api_version: str) -> dict[str, Any] | None:
    """``/openapi/v3/…``, or None: only that fields are validated by the server, which is what kubectl wants to know."""
    found = [resource for resource in RESOURCES.values() if resource.api_version == api_version]
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("fieldValidation", "dryRun")]
    paths = {
        resource.path(namespace="{namespace}", name="{name}"): {
            "patch": {
                "parameters": parameters,
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": {
                    "group": resource.group,
                    "version": resource.version,
                    "kind": resource.kind,
                },
                "responses": {"200": {"description": "OK"}},
            }
        }
        for resource in found
    }
    info = {"title": "towpath lab", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}} if found else None


def _group(name: str, version: str) -> dict[str, Any]:
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [served], "preferredVersion": served}


def _entries(resource: ResourceType) -> Iterable[dict[str, Any]]:
    common = {"namespaced": resource.namespaced, "kind": resource.kind, "singularName": resource.kind.lower()}
    yield {
        "name": resource.plural,
        **common,
        "verbs": _VERBS,
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
    }
    if resource.has_status:
        yield {"name": f"{resource.plural}/status", **common, "singularName": "", "verbs": ["get", "patch", "update"]}

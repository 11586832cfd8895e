"""What a Kubernetes API server does with an object, without HTTP: versions, generations, status, preconditions.

Everything is synchronous and in one thread, so each call is one atomic step.
"""

import base64
import binascii
import json
import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from towpath.controller.kube.resources import RESOURCES, ResourceType
from towpath.lab.apiserver.admission import admit, invalid
from towpath.lab.apiserver.patch import json_patch, merge
from towpath.lab.apiserver.refusal import RefusedError
from towpath.lab.apiserver.schema import Problem, Schema
from towpath.lab.apiserver.selectors import Wanted
from towpath.lab.apiserver.storage import Key, Storage
from towpath.model.crd import crds

Body = dict[str, Any]
_OWNED = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


def now() -> str:
    """The present as RFC 3339 in whole seconds, as metadata has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ListPage(Struct, frozen=True):
    """Objects in order, the version that they are of, and where the next page starts."""

    items: tuple[Body, ...]
    version: int
    token: str = ""
    remaining: int = 0


class Objects:
    """The objects of one server. Not ``checked``: kept as they are sent, as by CRDs that were less strict once."""

    def __init__(self, storage: Storage, *, clock: Callable[[], str] = now, checked: bool = True) -> None:
        self.storage = storage
        self._clock = clock
        definitions = {crd["spec"]["names"]["kind"]: crd for crd in crds()}
        self.schemas: dict[str, Schema] = {
            kind: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            for kind, crd in definitions.items()
            if checked
        }
        self.columns: dict[str, list[dict[str, Any]]] = {
            kind: crd["spec"]["versions"][0].get("additionalPrinterColumns", []) for kind, crd in definitions.items()
        }
        self.on_change: list[Callable[[ResourceType], None]] = []
        self._unserved: set[str] = set()
        """Kinds whose definition was deleted."""
        for crd in definitions.values():
            self._seed("CustomResourceDefinition", crd)
        for name in ("default", "kube-system"):
            self._seed("Namespace", {"metadata": {"name": name}})

    def _seed(self, kind: str, body: Body) -> None:
        resource = RESOURCES[kind]
        if self.storage.get((resource.qualified, "", body["metadata"]["name"])) is None:
            self.create(resource, {"apiVersion": resource.api_version, "kind": kind, **body})

    def serves(self, resource: ResourceType) -> bool:
        """Whether the kind has a definition."""
        return resource.kind not in self._unserved

    def check_served(self, resource: ResourceType) -> None:
        """404 as for any path that means nothing, unless the kind has a definition."""
        if not self.serves(resource):
            raise RefusedError(404, "the server could not find the requested resource")

    def get(self, resource: ResourceType, name: str, *, namespace: str = "") -> Body:
        """One object."""
        self.check_served(resource)
        found = self.storage.get((resource.qualified, namespace, name))
        if found is None:
            details = {"name": name, "group": resource.group, "kind": resource.plural}
            raise RefusedError(404, f'{resource.qualified} "{name}" not found', details=details)
        body: Body = json.loads(found)
        return body

    def create(
        self, resource: ResourceType, body: Body, *, namespace: str = "", strict: bool = False, dry_run: bool = False
    ) -> Body:
        """Create an object."""
        self.check_served(resource)
        body = self._received(resource, body, namespace=namespace)
        metadata = body["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        if not metadata.get("name"):
            raise invalid(resource, "", [Problem("metadata.name", "Required value: name or generateName is required")])
        if metadata.pop("resourceVersion", ""):
            raise RefusedError(400, "resourceVersion should not be set on objects to be created")
        if resource.has_status and resource.group:
            body.pop("status", None)
        for field in _OWNED:
            metadata.pop(field, None)
        key = (resource.qualified, namespace if resource.namespaced else "", metadata["name"])
        admit(resource, body, None, schema=self.schemas.get(resource.kind), strict=strict)
        if self.storage.get(key) is not None:
            details = {"name": metadata["name"], "group": resource.group, "kind": resource.plural}
            text = f'{resource.qualified} "{metadata["name"]}" already exists'
            raise RefusedError(409, text, reason="AlreadyExists", details=details)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._clock()}
        if resource.group:
            metadata["generation"] = 1
        if resource.kind == "CustomResourceDefinition":
            body["status"] = _established(body)
            if not dry_run:
                self._unserved.discard(body.get("spec", {}).get("names", {}).get("kind", ""))
        return body if dry_run else self._write(resource, key, body)

    def update(
        self,
        resource: ResourceType,
        body: Body,
        *,
        name: str,
        namespace: str = "",
        status: bool = False,
        strict: bool = False,
        dry_run: bool = False,
    ) -> Body:
        """Replace an object, or its status alone."""
        old = self.get(resource, name, namespace=namespace)
        body = self._received(resource, body, namespace=namespace)
        self._check_identity(resource, body, old, name=name)
        if status:
            admitted = {**old, "status": body["status"]} if "status" in body else _without(old, "status")
        else:
            admitted = dict(body)
            admitted["metadata"] = {field: body["metadata"][field] for field in body["metadata"] if field not in _OWNED}
            admitted["metadata"] |= {field: old["metadata"][field] for field in _OWNED if field in old["metadata"]}
            if resource.has_status:
                admitted = _without(admitted, "status") | ({"status": old["status"]} if "status" in old else {})
        admitted["metadata"] = {**admitted["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}
        admit(resource, admitted, old, schema=self.schemas.get(resource.kind), strict=strict)
        if admitted == old:
            return old
        if resource.group and any(
            admitted.get(part) != old.get(part) for part in {*admitted, *old} - {"metadata", "status"}
        ):
            admitted["metadata"]["generation"] = old["metadata"]["generation"] + 1
        if dry_run:
            return admitted
        key = (resource.qualified, namespace, name)
        if "deletionTimestamp" in admitted["metadata"] and not admitted["metadata"].get("finalizers"):
            return self._remove(resource, key, admitted)
        return self._write(resource, key, admitted)

    def patch(
        self,
        resource: ResourceType,
        patch: Any,
        *,
        name: str,
        namespace: str = "",
        status: bool = False,
        strict: bool = False,
        dry_run: bool = False,
    ) -> Body:
        """Merge patch (a dict) or JSON patch (a list)."""
        old = self.get(resource, name, namespace=namespace)
        body = json_patch(old, patch) if isinstance(patch, list) else merge(old, patch)
        return self.update(
            resource, body, name=name, namespace=namespace, status=status, strict=strict, dry_run=dry_run
        )

    def delete(
        self, resource: ResourceType, name: str, *, namespace: str = "", preconditions: Mapping[str, str] | None = None
    ) -> Body:
        """Delete, or mark for deletion where finalizers are left; returns the object as it was last."""
        old = self.get(resource, name, namespace=namespace)
        for field in ("uid", "resourceVersion"):
            asked = (preconditions or {}).get(field)
            if asked and asked != old["metadata"][field]:
                raise self._conflict(
                    resource,
                    name,
                    f"Precondition failed: {field} in precondition: {asked}, in object meta: {old['metadata'][field]}",
                )
        key = (resource.qualified, namespace, name)
        if resource.kind == "CustomResourceDefinition":
            self._undefine(old.get("spec", {}).get("names", {}).get("kind", ""))
        if not old["metadata"].get("finalizers"):
            return self._remove(resource, key, old)
        if "deletionTimestamp" in old["metadata"]:
            return old
        old["metadata"] |= {"deletionTimestamp": self._clock(), "deletionGracePeriodSeconds": 0}
        if resource.group:
            old["metadata"]["generation"] += 1
        return self._write(resource, key, old)

    def list(
        self, resource: ResourceType, wanted: Wanted, *, namespace: str = "", limit: int = 0, token: str = ""
    ) -> ListPage:
        """A page of objects; all pages of one list show the same version."""
        self.check_served(resource)
        version, start = self._parse_token(token) if token else (self.storage.latest, ("", ""))
        if version < self.storage.compacted:
            raise RefusedError(410, "The provided continue parameter is too old to display a consistent list result.")
        items: list[Body] = []
        rows = [
            row for row in self.storage.list(resource.qualified, namespace, version=version) if (row[0], row[1]) > start
        ]
        for index, (in_namespace, name, raw) in enumerate(rows):
            body = json.loads(raw)
            if not wanted.matches(body):
                continue
            items.append(body)
            if limit and len(items) == limit and index + 1 < len(rows):
                following = json.dumps([version, in_namespace, name]).encode()
                left = len(rows) - index - 1
                return ListPage(tuple(items), version, base64.urlsafe_b64encode(following).decode(), left)
        return ListPage(tuple(items), version)

    @staticmethod
    def _parse_token(token: str) -> tuple[int, tuple[str, str]]:
        try:
            version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
            return int(version), (str(namespace), str(name))
        except (ValueError, TypeError, binascii.Error):
            raise RefusedError(400, "continue key is not valid") from None

    def _received(self, resource: ResourceType, body: Any, *, namespace: str) -> Body:
        """A shallow copy of what a client sent whose metadata may be changed; 400 where it is no such object."""
        if not isinstance(body, dict) or not isinstance(body.get("metadata", {}), dict):
            raise RefusedError(400, "the body is not an object")
        for field, expected in (("kind", resource.kind), ("apiVersion", resource.api_version)):
            if body.get(field, expected) != expected:
                raise RefusedError(400, f"{field} is {body[field]!r}, expected {expected!r}")
        received = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        copied: Body = json.loads(json.dumps(received))
        metadata = copied.setdefault("metadata", {})
        metadata.pop("managedFields", None)
        metadata.pop("selfLink", None)
        if resource.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                raise RefusedError(400, "the namespace of the object does not match the namespace of the request")
        else:
            metadata.pop("namespace", None)
        return copied

    def _check_identity(self, resource: ResourceType, body: Body, old: Body, *, name: str) -> None:
        metadata = body["metadata"]
        if metadata.setdefault("name", name) != name:
            raise RefusedError(400, f"the name of the object ({metadata['name']}) does not match the URL ({name})")
        version = metadata.get("resourceVersion")
        if not version and resource.group:
            must = Problem("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
            raise invalid(resource, name, [must])
        if version and version != old["metadata"]["resourceVersion"]:
            raise self._conflict(
                resource,
                name,
                "the object has been modified; please apply your changes to the latest version and try again",
            )
        if metadata.get("uid") and metadata["uid"] != old["metadata"]["uid"]:
            raise self._conflict(resource, name, f"Precondition failed: UID in object meta: {old['metadata']['uid']}")

    @staticmethod
    def _conflict(resource: ResourceType, name: str, why: str) -> RefusedError:
        details = {"name": name, "group": resource.group, "kind": resource.plural}
        return RefusedError(
            409, f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}', details=details
        )

    def _undefine(self, kind: str) -> None:
        """The definition goes: first all objects, then the kind itself, and its watches end."""
        if kind not in self.columns:
            return
        resource = RESOURCES[kind]
        for namespace, name, raw in self.storage.list(resource.qualified, "", version=self.storage.latest):
            self._remove(resource, (resource.qualified, namespace, name), json.loads(raw))
        self._unserved.add(kind)
        self._tell(resource)

    def _write(self, resource: ResourceType, key: Key, body: Body) -> Body:
        body["metadata"]["resourceVersion"] = str(self.storage.latest + 1)
        self.storage.write(key, _encode(body))
        self._tell(resource)
        return body

    def _remove(self, resource: ResourceType, key: Key, body: Body) -> Body:
        gone = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.storage.latest + 1)}}
        self.storage.write(key, None, gone=_encode(gone))
        self._tell(resource)
        return body

    def _tell(self, resource: ResourceType) -> None:
        for callback in self.on_change:
            callback(resource)


def _encode(body: Body) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _without(body: Body, field: str) -> Body:
    return {name: value for name, value in body.items() if name != field}


def _established(crd: Body) -> Body:
    """The status of a CRD that is served; clients wait for it."""
    conditions = [{"type": name, "status": "True", "reason": "Served"} for name in ("NamesAccepted", "Established")]
    versions = [version["name"] for version in crd.get("spec", {}).get("versions", [])]
    return {
        "conditions": conditions,
        "acceptedNames": crd.get("spec", {}).get("names", {}),
        "storedVersions": versions,
    }

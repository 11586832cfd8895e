"""The lab's own hand on the API server: plain, synchronous HTTP over sockets that are opened inside a namespace.

The lab must reach the server also while the nodes cannot, so it asks from the server's own namespace.
"""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from towpath.lab.certificates import trusting
from towpath.lab.netns import Host
from towpath.model.kinds.kind import GROUP, VERSION
from towpath.model.kinds.registry import KINDS

_CORE = {
    "Node": "nodes",
    "Secret": "secrets",
    "Event": "events",
    "Namespace": "namespaces",
    "Service": "services",
    "Pod": "pods",
}


class AnswerError(RuntimeError):
    """The API server answered with something else than success."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path}: {status} {body[:400]}")
        self.status = status
        self.body = body

    @property
    def message(self) -> str:
        """What the server says to a person."""
        try:
            return str(json.loads(self.body)["message"])
        except (ValueError, KeyError, TypeError):
            return str(self)


class LabApi:
    """Objects as JSON, by kind and name; each call is one connection and one request.

    ``credentials``: files with the server's authority and a token; None: plain HTTP, and nobody is asked who they are.
    """

    def __init__(self, host: Host, *, address: str, port: int, credentials: tuple[Path, Path] | None = None) -> None:
        self.host = host
        self.address = address
        self.port = port
        self._credentials = credentials

    def request(self, method: str, path: str, body: Any = None, *, content: str = "application/json") -> dict[str, Any]:
        """One request; ``AnswerError`` unless the answer is a success, ``OSError`` where there is none."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=10)
        with self.host.entered():
            connection.sock = socket.create_connection((self.address, self.port), timeout=5)
        headers = {"Content-Type": content, "Accept": "application/json"}
        try:
            if self._credentials is not None:
                authority, token = self._credentials
                connection.sock = trusting(authority).wrap_socket(connection.sock, server_hostname=self.address)
                headers["Authorization"] = f"Bearer {token.read_text()}"
            data = None if body is None else json.dumps(body)
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise AnswerError(method, path, answer.status, text)
        parsed: dict[str, Any] = json.loads(text) if text.strip().startswith("{") else {}
        return parsed

    def ready(self) -> bool:
        """Whether the server answers."""
        try:
            self.request("GET", "/readyz")
        except (OSError, AnswerError, http.client.HTTPException):
            return False
        return True

    def items(self, kind: str, *, namespace: str = "") -> dict[str, dict[str, Any]]:
        """All objects of a kind by name."""
        found = self.request("GET", collection(kind, namespace)).get("items", [])
        return {item["metadata"]["name"]: item for item in found}

    def get(self, kind: str, name: str, *, namespace: str = "") -> dict[str, Any] | None:
        """One object, or None."""
        try:
            return self.request("GET", f"{collection(kind, namespace)}/{name}")
        except AnswerError as error:
            if error.status != 404:
                raise
            return None

    def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create the object, or merge ``body`` into the one that is there; ``status`` goes its own way."""
        kind, meta = str(body["kind"]), body["metadata"]
        path = collection(kind, str(meta.get("namespace", "")))
        status = body.get("status")
        plain = {name: value for name, value in body.items() if name != "status"}
        try:
            result = self.request("POST", path, plain)
        except AnswerError as error:
            # a part of an object alone may make no sense (422), and does as a change of the one that is there
            there = error.status == 409 or (error.status == 422 and self._exists(f"{path}/{meta['name']}"))
            if not there:
                raise
            result = self.patch(f"{path}/{meta['name']}", plain)
        if status is not None:
            result = self.patch(f"{path}/{meta['name']}/status", {"status": status})
        return result

    def _exists(self, path: str) -> bool:
        try:
            self.request("GET", path)
        except AnswerError:
            return False
        return True

    def patch(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Merge-patch an object by its path."""
        return self.request("PATCH", path, patch, content="application/merge-patch+json")

    def delete(self, kind: str, name: str, *, namespace: str = "") -> None:
        """Delete an object; one that is not there is gone already."""
        try:
            self.request("DELETE", f"{collection(kind, namespace)}/{name}")
        except AnswerError as error:
            if error.status != 404:
                raise


def collection(kind: str, namespace: str = "") -> str:
    """The path of a kind's objects."""
    if kind in KINDS:
        return f"/apis/{GROUP}/{VERSION}/{KINDS[kind].plural}"
    if kind == "CustomResourceDefinition":
        return "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    if kind == "Lease":
        return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    within = f"/namespaces/{namespace}" if namespace else ""
    if kind == "EndpointSlice":
        return f"/apis/discovery.k8s.io/v1{within}/endpointslices"
    return f"/api/v1{within}/{_CORE[kind]}"


def custom(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """An object of ours."""
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "spec": spec}

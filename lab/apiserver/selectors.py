"""Which objects a list or a watch wants: label and field selectors, and what a change means to one who selects."""

import json
from typing import Any

from towpath.controller.kube.resources import ResourceType
from towpath.lab.apiserver.refusal import RefusedError
from towpath.lab.apiserver.storage import Change
from towpath.model.selector import parse_selector


class Wanted:
    """A parsed pair of selectors; empty ones want everything."""

    def __init__(self, resource: ResourceType, *, labels: str = "", fields: str = "") -> None:
        try:
            self._labels = parse_selector(labels)
        except ValueError as error:
            raise RefusedError(400, f"unable to parse labelSelector: {error}") from None
        self._fields = [_parse_field(resource, term) for term in fields.split(",") if term]
        self.everything = not labels and not self._fields

    def matches(self, body: dict[str, Any]) -> bool:
        """Whether an object is wanted."""
        return self._labels.matches(body["metadata"].get("labels") or {}) and all(
            (_value(body, path) == value) is equal for path, equal, value in self._fields
        )

    def event(self, change: Change) -> tuple[str, dict[str, Any]] | None:
        """What a watcher is told of a change: entering the selection is ADDED, leaving it is DELETED."""
        body = json.loads(change.body)
        if self.everything:
            return change.type, body
        before = change.previous is not None and self.matches(json.loads(change.previous))
        after = change.type != "DELETED" and self.matches(body)
        if before and after:
            return "MODIFIED", body
        if after:
            return "ADDED", body
        return ("DELETED", body) if before else None


def _parse_field(resource: ResourceType, term: str) -> tuple[str, bool, str]:
    for operator, equal in (("!=", False), ("==", True), ("=", True)):
        path, found, value = term.partition(operator)
        if found:
            if path not in ("metadata.name", "metadata.namespace") and resource.group:
                raise RefusedError(400, f"field label not supported: {path}")
            return path, equal, value
    raise RefusedError(400, f"invalid field selector: {term!r}")


def _value(body: Any, path: str) -> str:
    for part in path.split("."):
        body = body.get(part) if isinstance(body, dict) else None
    return "" if body is None else str(body)

"""What the server checks of an object before it is stored: metadata, schema, and the rules of our kinds.

A rule is CEL for the real API server; here its Python twin runs. Values that the schema lets through and no twin can
read are let through as well: the real server would not have looked at them either.
"""

import re
from collections.abc import Mapping
from typing import Any

from towpath.controller.kube.resources import ResourceType
from towpath.lab.apiserver.refusal import RefusedError
from towpath.lab.apiserver.schema import Problem, Schema, fill, problems, prune
from towpath.model.decode import decode
from towpath.model.kinds.kind import Kind, Rule, broken
from towpath.model.kinds.registry import KINDS
from towpath.model.reason import InvalidSpecError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PLACE = re.compile(r"\[[0-9]+\]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


def admit(
    resource: ResourceType, body: dict[str, Any], old: Mapping[str, Any] | None, *, schema: Schema | None, strict: bool
) -> list[str]:
    """Prune, default and check ``body`` in place; returns warnings. ``strict`` refuses unknown fields."""
    found = list(_metadata_problems(body["metadata"]))
    warnings: list[str] = []
    if schema is not None:
        warnings = _prune(body, schema, strict=strict)
        fill(body, schema)
        found += problems(body, schema)
        if not found and resource.kind in KINDS:
            found = _rule_problems(KINDS[resource.kind], body, old, schema=schema)
    if found:
        raise invalid(resource, body["metadata"]["name"], found)
    return warnings


def invalid(resource: ResourceType, name: str, found: list[Problem]) -> RefusedError:
    """422 with every cause."""
    text = ", ".join(f"{problem.field}: {problem.message}" for problem in found)
    if len(found) > 1:
        text = f"[{text}]"
    causes = [{"reason": "FieldValueInvalid", "field": problem.field, "message": problem.message} for problem in found]
    return RefusedError(
        422,
        f'{resource.kind}.{resource.group} "{name}" is invalid: {text}',
        details={"name": name, "group": resource.group, "kind": resource.kind, "causes": causes},
    )


def _prune(body: dict[str, Any], schema: Schema, *, strict: bool) -> list[str]:
    warnings = []
    for name in list(body):
        if name in ("apiVersion", "kind", "metadata"):
            continue
        inner = schema.get("properties", {}).get(name)
        if inner is None:
            del body[name]
            warnings.append(f'unknown field "{name}"')
        else:
            warnings += [f'unknown field "{path}"' for path in prune(body[name], inner, at=name)]
    if warnings and strict:
        raise RefusedError(400, f"strict decoding error: {', '.join(warnings)}")
    return warnings


def _metadata_problems(metadata: dict[str, Any]) -> list[Problem]:
    name = metadata["name"]
    found = []
    if len(name) > 253 or not _NAME.fullmatch(name):
        found.append(Problem("metadata.name", f"Invalid value: {name!r}: a lowercase RFC 1123 subdomain is needed"))
    for key, value in (metadata.get("labels") or {}).items():
        if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
            found.append(Problem(f"metadata.labels.{key}", f"Invalid value: {value!r}: no label value"))
    return found


def _rule_problems(
    kind: Kind[Any], body: Mapping[str, Any], old: Mapping[str, Any] | None, *, schema: Schema
) -> list[Problem]:
    try:
        found = decode(kind.name, body)
    except InvalidSpecError as error:
        checked = _PLACE.sub("[]", error.where.field) in {rule.field for rule in kind.rules} or _has_expression(
            schema, error.where.field
        )
        return [Problem(error.where.field, f"Invalid value: {error.message}")] if checked else []
    return [
        *(Problem(field, f"Invalid value: {rule.message}") for field, rule in broken(kind, found.meta, found.spec)),
        *(
            Problem(rule.field, f"Invalid value: {rule.message}")
            for rule in kind.rules
            if rule.check is None and not _unchanged(rule, body, old)
        ),
    ]


def _has_expression(schema: Schema, path: str) -> bool:
    """Whether the schema has a CEL rule for the value at a path."""
    for part in path.replace("[", ".[").split("."):
        schema = schema.get("items", {}) if part.startswith("[") else schema.get("properties", {}).get(part, {})
    return "x-kubernetes-validations" in schema


def _unchanged(rule: Rule, body: Mapping[str, Any], old: Mapping[str, Any] | None) -> bool:
    """The twin of rules with ``oldSelf``: the field that the rule names stays as it is."""
    return old is None or _at(body, rule.field) == _at(old, rule.field)


def _at(body: Any, path: str) -> Any:
    for part in path.split("."):
        body = body.get(part) if isinstance(body, Mapping) else None
    return body

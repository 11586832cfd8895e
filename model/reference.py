"""The reference page of all kinds, in Markdown, made from the same definitions as the schemas."""

from collections.abc import Iterator
from typing import Any

from towpath.model.crd import crd
from towpath.model.kinds.kind import API_VERSION, Kind
from towpath.model.kinds.registry import KINDS


def reference() -> str:
    """The page."""
    lines = [
        "# Kinds",
        "",
        f"All objects are `{API_VERSION}` and cluster-scoped. This page is generated; so are the schemas in the chart.",
        "",
    ]
    for kind in KINDS.values():
        lines += _kind(kind)
    return "\n".join(lines).rstrip() + "\n"


def _kind(kind: Kind[Any]) -> Iterator[str]:
    root = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield f"## {kind.name}"
    yield ""
    yield kind.description
    yield ""
    yield f"`kubectl get {kind.plural}`, short `{'`, `'.join(kind.short_names)}`."
    yield ""
    yield from _table(root["properties"]["spec"], "spec")
    rules = [rule for rule in kind.rules if rule.message]
    if rules:
        yield "Checked besides:"
        yield ""
        yield from (f"- `{rule.field}`: {rule.message}" for rule in rules)
        yield ""
    if kind.status is not None:
        yield from _table(root["properties"]["status"], "status")


def _table(schema: dict[str, Any], path: str) -> Iterator[str]:
    rows = list(_rows(schema, path))
    if not rows:
        return
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    yield from rows
    yield ""


def _rows(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        default = "required" if name in schema.get("required", ()) else _default(field.get("default"))
        yield f"| `{here}` | {_type(field)} | {default} | {_meaning(field)} |"
        yield from _rows(field, here)
        yield from _rows(field.get("items", {}), f"{here}[]")


def _default(value: Any) -> str:
    if value is None or value == {}:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "x-kubernetes-int-or-string" in field:
        return "integer or text"
    bounds = [str(field[bound]) for bound in ("minimum", "maximum") if bound in field]
    if field["type"] == "integer" and len(bounds) == 2:
        return f"integer, {bounds[0]} to {bounds[1]}"
    return str(field["type"])


def _meaning(field: dict[str, Any]) -> str:
    return str(field.get("description", "")).replace("|", "\\|")

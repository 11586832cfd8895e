"""As much of JSON Schema as our schemas use, so that documents can be held against them."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
_KNOWN = {
    "$schema", "title", "$defs", "$ref", "type", "required", "properties", "additionalProperties", "items", "enum", "const",
}  # fmt: skip


def schema(name: str) -> dict[str, Any]:
    """A schema of the package."""
    return json.loads((files("towpath.controller.plan") / "schemas" / f"{name}.json").read_text())


def faults(value: Any, of: dict[str, Any], *, root: dict[str, Any] | None = None, at: str = "$") -> Iterator[str]:
    """Everything that the schema does not allow."""
    root = root or of
    assert of.keys() <= _KNOWN, of
    if "$ref" in of:
        of = root["$defs"][of["$ref"].rpartition("/")[2]]
    if "const" in of and value != of["const"]:
        yield f"{at} is {value!r}"
    if "enum" in of and value not in of["enum"]:
        yield f"{at} is {value!r}"
    kinds = [of["type"]] if isinstance(of.get("type"), str) else of.get("type")
    if kinds and not any(
        isinstance(value, _TYPES[kind]) and (kind != "integer" or value is not True) for kind in kinds
    ):
        yield f"{at} is {value!r}"
        return
    if isinstance(value, dict):
        properties, others = of.get("properties", {}), of.get("additionalProperties", True)
        yield from (f"{at}.{name} is missing" for name in of.get("required", ()) if name not in value)
        for name, inner in value.items():
            if name in properties or isinstance(others, dict):
                yield from faults(inner, properties.get(name, others), root=root, at=f"{at}.{name}")
            elif others is False:
                yield f"{at}.{name} is not known"
    if isinstance(value, list) and "items" in of:
        for place, inner in enumerate(value):
            yield from faults(inner, of["items"], root=root, at=f"{at}[{place}]")

"""Structural schemas of CRDs, applied to objects: prune what is unknown, fill in defaults, then list what is wrong.

Only what our own CRDs use (OpenAPI v3 as in apiextensions.k8s.io/v1); CEL rules are run as their Python twins elsewhere.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

Schema = dict[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


class Problem(Struct, frozen=True):
    """One thing that is wrong: the field's path and a sentence."""

    field: str
    message: str


def prune(value: Any, schema: Schema, *, at: str = "") -> list[str]:
    """Remove unknown fields in place; returns their paths."""
    removed: list[str] = []
    if isinstance(value, dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name in list(value):
            path = f"{at}.{name}" if at else name
            inner = properties.get(name, others if isinstance(others, dict) else None)
            if inner is not None:
                removed += prune(value[name], inner, at=path)
            elif not others:
                removed.append(path)
                del value[name]
    elif isinstance(value, list):
        for index, item in enumerate(value):
            removed += prune(item, schema.get("items", {}), at=f"{at}[{index}]")
    return removed


def fill(value: Any, schema: Schema) -> None:
    """Apply defaults in place; a null where null is not allowed counts as missing."""
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value and value[name] is None and not inner.get("nullable"):
                del value[name]
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                fill(value[name], inner)
        others = schema.get("additionalProperties")
        if isinstance(others, dict):
            for inner_value in value.values():
                fill(inner_value, others)
    elif isinstance(value, list):
        for item in value:
            fill(item, schema.get("items", {}))


def problems(value: Any, schema: Schema, *, at: str = "") -> Iterator[Problem]:
    """What is wrong with a value."""
    if value is None and schema.get("nullable"):
        return
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            yield Problem(at, f"Invalid value: must be an integer or a string, not {_type_name(value)}")
            return
    elif "type" in schema and not _has_type(value, schema["type"]):
        yield Problem(at, f"Invalid value: must be of type {schema['type']}, not {_type_name(value)}")
        return
    if "enum" in schema and value not in schema["enum"]:
        yield Problem(at, f"Unsupported value: {value!r}: supported values: {', '.join(map(str, schema['enum']))}")
    if isinstance(value, str):
        yield from _text_problems(value, schema, at)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if "minimum" in schema and value < schema["minimum"]:
            yield Problem(at, f"Invalid value: {value}: should be greater than or equal to {schema['minimum']}")
        if "maximum" in schema and value > schema["maximum"]:
            yield Problem(at, f"Invalid value: {value}: should be less than or equal to {schema['maximum']}")
    elif isinstance(value, dict):
        yield from _object_problems(value, schema, at)
    elif isinstance(value, list):
        yield from _length_problems(len(value), schema, at, words=("minItems", "maxItems", "items"))
        for index, item in enumerate(value):
            yield from problems(item, schema.get("items", {}), at=f"{at}[{index}]")


def _has_type(value: Any, name: str) -> bool:
    if name != "boolean" and isinstance(value, bool):
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    return next((name for name in _TYPES if _has_type(value, name)), "unknown")


def _text_problems(value: str, schema: Schema, at: str) -> Iterator[Problem]:
    yield from _length_problems(len(value), schema, at, words=("minLength", "maxLength", "characters"))
    pattern = schema.get("pattern")
    # RE2's dollar is the end of the text; Python's is also before a last line break
    if pattern and not re.search(re.sub(r"\$\Z", r"\\Z", pattern), value):
        yield Problem(at, f"Invalid value: {value!r}: should match {pattern!r}")


def _length_problems(length: int, schema: Schema, at: str, *, words: tuple[str, str, str]) -> Iterator[Problem]:
    low, high, unit = words
    if low in schema and length < schema[low]:
        yield Problem(at, f"Invalid value: should have at least {schema[low]} {unit}")
    if high in schema and length > schema[high]:
        yield Problem(at, f"Too long: may not have more than {schema[high]} {unit}")


def _object_problems(value: dict[str, Any], schema: Schema, at: str) -> Iterator[Problem]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield Problem(f"{at}.{name}" if at else name, "Required value")
    others = schema.get("additionalProperties")
    for name, inner_value in value.items():
        inner = properties.get(name, others if isinstance(others, dict) else None)
        if inner is not None:
            yield from problems(inner_value, inner, at=f"{at}.{name}" if at else name)

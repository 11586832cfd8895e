"""A bad object for every constraint of every field, made from the schemas: what nobody can forget to add to the table."""

from collections.abc import Iterator
from typing import Any

from tests.unit.model.cases import GOOD, Case
from towpath.model.crd import crds
from towpath.model.kinds.registry import KINDS

Schema = dict[str, Any]
Path = tuple[str, ...]
SMALLEST: dict[str, Any] = {"string": "x", "integer": 1, "boolean": True, "array": [], "object": {}}


def schema_cases() -> Iterator[Case]:
    """One case for each constraint, each an object that is good but for it."""
    for crd in crds():
        kind = crd["spec"]["names"]["kind"]
        base = next(one for one in GOOD if one.kind == kind and one.spec is not None)
        spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for path, value in _bad(spec, ()):
            whole = _with(dict(base.spec or {}), path, value, spec)
            field = "spec" + "".join(part if part[0] == "[" else f".{part}" for part in path)
            # what programs write for programs may have fields of a newer release: the server knows which there are
            tolerated = path[-1] == "noSuchField" and not KINDS[kind].spec.__struct_config__.forbid_unknown_fields
            yield Case(kind, base.name, whole, field, "api" if tolerated else "both")


def _bad(schema: Schema, path: Path) -> Iterator[tuple[Path, Any]]:
    """Places and values that the schema at a place refuses."""
    kind = schema.get("type")
    if kind == "object":
        if path:
            yield path, "text"
        yield (*path, "noSuchField"), 1
        for name, inner in schema.get("properties", {}).items():
            yield from _bad(inner, (*path, name))
    elif kind == "array":
        yield path, "text"
        if "maxItems" in schema:
            yield path, [_small(schema["items"])] * (schema["maxItems"] + 1)
        if schema["items"].get("type") != "object":
            yield from ((place, [value]) for place, value in _items(schema["items"], path))
    else:
        yield from ((path, value) for value in _bad_values(schema))


def _items(schema: Schema, path: Path) -> Iterator[tuple[Path, Any]]:
    yield from (((*path, "[0]"), value) for value in _bad_values(schema))


def _bad_values(schema: Schema) -> Iterator[Any]:
    kind = schema.get("type")
    if "enum" in schema:
        yield "NoSuchChoice"
    elif kind == "string":
        if schema.get("minLength"):
            yield ""
        if "maxLength" in schema:
            yield "x" * (schema["maxLength"] + 1)
        if "pattern" in schema or "x-kubernetes-validations" in schema:
            yield "no such value"
    if kind == "string":
        yield 5
    if kind == "integer":
        yield "text"
        if "minimum" in schema:
            yield schema["minimum"] - 1
        if "maximum" in schema:
            yield schema["maximum"] + 1
    if kind == "boolean":
        yield "yes"
    if schema.get("x-kubernetes-int-or-string"):
        yield from ("text", 0, 4294967295, True)


def _small(schema: Schema) -> Any:
    """A value that a schema takes."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: _small(schema["properties"][name]) for name in schema.get("required", ())}
    if schema.get("type") == "integer":
        return schema.get("minimum", 1)
    return SMALLEST[schema.get("type", "integer")]


def _with(spec: dict[str, Any], path: Path, value: Any, schema: Schema) -> dict[str, Any]:
    """The specification with a value at a place, and with what has to stand beside it."""
    name, *rest = path
    inner = schema.get("properties", {}).get(name, {})
    if not rest or rest[0].startswith("["):
        return {**spec, name: value}
    there = spec.get(name)
    beside = there if isinstance(there, dict) else _small(inner)
    return {**spec, name: _with(dict(beside), tuple(rest), value, inner)}

"""The JSON Schema of the chart's values (draft 7): what Helm refuses before anything is installed.

Structs give types, bounds and what is unknown; the specs of our own kinds come from the schemas of their definitions.
"""

from typing import Any

from msgspec import inspect

from towpath.controller.chart.values import Values
from towpath.model.crd import crd
from towpath.model.kinds.registry import KINDS

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"
OBJECT_NAME = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"}
NAMED_BY_FAMILY = frozenset({"IPPool"})
"""Kinds whose objects in a list have a name of their own also where none is given."""


def values_schema() -> Schema:
    """The schema of the whole of ``values.yaml``."""
    root = _schema(inspect.type_info(Values))
    root["properties"]["global"] = {
        "type": "object",
        "description": "Values that Helm shares between charts; not used.",
    }
    return {"$schema": DRAFT, "title": "Values of the chart towpath", **root}


def spec_schema(kind: str) -> Schema:
    """The spec of one of our kinds, without what only the API server understands."""
    root = crd(KINDS[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return _plain(root["properties"]["spec"])


def _schema(kind: inspect.Type) -> Schema:
    if isinstance(kind, inspect.Metadata):
        extra = kind.extra_json_schema or {}
        described = {"description": extra["description"]} if "description" in extra else {}
        if "is" in extra:
            return {**described, **extra["is"]}
        if "kind" in extra:
            return described | _of_kind(extra["kind"], many=isinstance(kind.type, inspect.VarTupleType))
        return described | _schema(kind.type)
    if isinstance(kind, inspect.StructType):
        required = [one.encode_name for one in kind.fields if one.required]
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {one.encode_name: _schema(one.type) for one in kind.fields},
            **({"required": required} if required else {}),
        }
    if isinstance(kind, inspect.VarTupleType):
        return {"type": "array", "items": _schema(kind.item_type)}
    if isinstance(kind, inspect.DictType):
        text = isinstance(kind.value_type, inspect.StrType)
        return {"type": "object", "additionalProperties": {"type": "string"}} if text else {"type": "object"}
    if isinstance(kind, inspect.BoolType):
        return {"type": "boolean"}
    if isinstance(kind, inspect.LiteralType):
        return {"type": "string", "enum": list(kind.values)}
    if isinstance(kind, inspect.IntType):
        found = {"type": "integer", "minimum": kind.ge, "maximum": kind.le}
    elif isinstance(kind, inspect.StrType):
        bounds = {"minLength": kind.min_length, "maxLength": kind.max_length, "pattern": kind.pattern}
        found = {"type": "string", **bounds}
    else:
        raise TypeError(f"no schema is known for {kind}")
    return {key: value for key, value in found.items() if value is not None}


def _of_kind(kind: str, *, many: bool) -> Schema:
    spec = spec_schema(kind)
    if not many:
        return {**spec, "description": f"Spec of a {kind}."}
    required = ([] if kind in NAMED_BY_FAMILY else ["name"]) + spec.get("required", [])
    name = {"description": f"Name of the {kind}.", **OBJECT_NAME}
    one = {**spec, "properties": {"name": name, **spec["properties"]}}
    return {"type": "array", "items": one | ({"required": required} if required else {})}


def _plain(schema: Schema) -> Schema:
    """A structural schema of Kubernetes as plain JSON Schema, in which what is not known is refused."""
    plain = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes") and key != "default"}
    plain.pop("format", None)
    if schema.get("x-kubernetes-int-or-string"):
        plain["type"] = ["integer", "string"]
    if "properties" in schema:
        plain["properties"] = {name: _plain(one) for name, one in schema["properties"].items()}
        plain["additionalProperties"] = False
    if "items" in schema:
        plain["items"] = _plain(schema["items"])
    return plain

"""CustomResourceDefinitions made from the definitions of the kinds: what the API server checks, fills in and prints.

Everything here is read from the structs (``msgspec.inspect``), their field metadata and the kinds' rules. A field is
added in one place; its schema, default, description and checks follow.
"""

from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from towpath.model.codec import to_builtins
from towpath.model.kinds.kind import GROUP, VERSION, Kind, Rule, broken
from towpath.model.kinds.registry import KINDS
from towpath.model.kinds.values import SCHEMAS
from towpath.model.resource import Condition, Meta

Schema = dict[str, Any]
DEFAULT_MAX_LENGTH = 1024
_CONDITIONS: Schema = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


def crds() -> list[dict[str, Any]]:
    """All definitions, as objects of ``apiextensions.k8s.io/v1``."""
    return [crd(kind) for kind in KINDS.values()]


def crd(kind: Kind[Any]) -> dict[str, Any]:
    """The definition of one kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
                "categories": list(kind.categories),
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "schema": {"openAPIV3Schema": _root(kind)},
                }
            ],
        },
    }


def spec_is_optional(kind: Kind[Any]) -> bool:
    """Whether an object without a spec is a good one, whatever its name."""
    try:
        spec = msgspec.convert({}, kind.spec)
    except msgspec.ValidationError:
        return False
    meta = Meta(name="")
    return all(not rule.at for _, rule in broken(kind, meta, spec))


def _column(column: Any) -> dict[str, Any]:
    result = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.priority:
        result["priority"] = column.priority
    if column.description:
        result["description"] = column.description
    return result


def _root(kind: Kind[Any]) -> Schema:
    spec = _struct(inspect.type_info(kind.spec), checked=True)
    spec["description"] = _sentence(kind.spec)
    for at in dict.fromkeys(rule.at for rule in kind.rules if rule.at):
        _add_rules(_node(spec, at), [rule for rule in kind.rules if rule.at == at])
    root: Schema = {
        "type": "object",
        "description": kind.description,
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _status(kind),
        },
    }
    if spec_is_optional(kind):
        spec["default"] = {}
    else:
        root["required"] = ["spec"]
    _add_rules(root, [rule for rule in kind.rules if not rule.at])
    return root


def _status(kind: Kind[Any]) -> Schema:
    if kind.status is not None:
        return _struct(inspect.type_info(kind.status), checked=False) | {"description": _sentence(kind.status)}
    conditions = {"type": "array", "items": _struct(inspect.type_info(Condition), checked=False), **_CONDITIONS}
    return {
        "type": "object",
        "description": "What became of the object. Written by the controller.",
        "properties": {"conditions": conditions | {"description": "Accepted says whether the object is in force."}},
    }


def _node(spec: Schema, at: str) -> Schema:
    """The schema node below the spec that rules stand at."""
    for name in at.split(".")[1:]:
        spec = spec["properties"][name.removesuffix("[]")]["items"]
    return spec


def _add_rules(schema: Schema, rules: list[Rule]) -> None:
    if rules:
        schema["x-kubernetes-validations"] = [
            {"rule": rule.cel, "message": rule.message} | _field_path(rule) for rule in rules
        ]


def _field_path(rule: Rule) -> dict[str, str]:
    """``fieldPath`` for the API server's error, relative to where the rule stands; metadata cannot be named."""
    path = rule.field.removeprefix(rule.at)
    return {"fieldPath": path} if rule.at and path.startswith(".") else {}


def _sentence(struct: type[Struct]) -> str:
    return (struct.__doc__ or "").strip()


def _struct(kind: inspect.Type, *, checked: bool) -> Schema:
    """``checked`` False leaves out expressions: a status is written by us, and lists in it have no bounds."""
    assert isinstance(kind, inspect.StructType)
    required = [field.encode_name for field in kind.fields if field.required]
    schema: Schema = {"type": "object"}
    if kind.fields:
        schema["properties"] = {field.encode_name: _field(field, checked=checked) for field in kind.fields}
    if required:
        schema["required"] = required
    return schema


def _field(field: inspect.Field, *, checked: bool) -> Schema:
    schema = _schema(field.type, checked=checked)
    default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
    if checked and default is not NODEFAULT and default is not None and default not in ("", ()):
        plain = to_builtins(default)
        schema["default"] = {} if isinstance(default, Struct) else list(plain) if isinstance(plain, tuple) else plain
    if field.encode_name == "conditions":
        schema |= _CONDITIONS
    return schema


def _schema(kind: inspect.Type, *, checked: bool) -> Schema:
    if isinstance(kind, inspect.Metadata):
        schema = _schema(kind.type, checked=checked)
        described = (kind.extra_json_schema or {}).get("description")
        return {"description": described, **schema} if described else schema
    if isinstance(kind, inspect.UnionType):
        (one,) = (part for part in kind.types if not isinstance(part, inspect.NoneType))
        return _schema(one, checked=checked)
    if isinstance(kind, inspect.StructType):
        return _struct(kind, checked=checked)
    if isinstance(kind, inspect.VarTupleType):
        items = {"type": "array", "items": _schema(kind.item_type, checked=checked), **_bounds(kind)}
        return {key: value for key, value in items.items() if value is not None}
    if isinstance(kind, inspect.CustomType):
        return {key: value for key, value in SCHEMAS[kind.cls].items() if checked or key != "x-kubernetes-validations"}
    return _scalar(kind, checked=checked)


def _bounds(kind: inspect.VarTupleType) -> Schema:
    return {"minItems": kind.min_length, "maxItems": kind.max_length}


def _scalar(kind: inspect.Type, *, checked: bool) -> Schema:
    if isinstance(kind, inspect.BoolType):
        return {"type": "boolean"}
    if isinstance(kind, inspect.LiteralType):
        return {"type": "string", "enum": list(kind.values)}
    if isinstance(kind, inspect.IntType):
        found = {"type": "integer", "format": "int64", "minimum": kind.ge, "maximum": kind.le}
    elif isinstance(kind, inspect.StrType):
        longest = kind.max_length or (DEFAULT_MAX_LENGTH if checked else None)
        found = {"type": "string", "minLength": kind.min_length, "maxLength": longest, "pattern": kind.pattern}
    else:
        raise TypeError(f"no schema is known for {kind}")
    return {key: value for key, value in found.items() if value is not None}

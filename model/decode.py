"""Objects as the API has them to values, and back: one decoder for all kinds, with errors in the user's words.

The specification is strict: what the schema or a rule refuses is an ``InvalidSpecError`` that names the field. The status
is written by programs, perhaps by another version of ours: one that does not decode counts as none and rejects nothing.
"""

import contextlib
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from towpath.model.cluster import Node
from towpath.model.codec import from_builtins, to_builtins
from towpath.model.kinds.kind import API_VERSION, Kind, broken
from towpath.model.kinds.registry import KINDS
from towpath.model.net import Address, Prefix, parse_address, parse_prefix
from towpath.model.reason import InvalidSpecError, Why
from towpath.model.resource import Meta, Resource

_PLACE = re.compile(r"(?s)(?P<message>.*?)(?: - at `\$(?P<path>.*)`)?")
_STEP = re.compile(r"[^.\[\]]+")
_DECIMAL = {"": 1, "k": 1_000, "M": 1_000_000}
_NO_FIELD = "is not a field that this kind has"
_EXPECTED = {
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "float": "a number",
}
_GOT = _EXPECTED | {"int": "a number", "bool": "a boolean", "null": "nothing"}


def decode(kind: str, obj: Mapping[str, Any], *, served: bool = False) -> Resource[Any, Any]:
    """The object as a value; ``InvalidSpecError`` names the first field that is wrong. ``kind`` is one of the registry.

    ``served``: an API server has it, which keeps only fields of its definitions. One that this release does not know is
    of a newer one, perhaps a default of it in every object, and is left out; elsewhere it is somebody's mistake.
    """
    definition = KINDS[kind]
    meta = decode_meta(kind, obj)
    stored = {} if obj.get("spec") is None else _without_nulls(obj["spec"])
    if definition.earlier is not None and isinstance(stored, dict):
        stored = definition.earlier(stored)
    try:
        spec = _known(stored, definition.spec) if served else from_builtins(stored, definition.spec)
    except msgspec.ValidationError as error:
        raise _invalid(definition, meta.name, error) from None
    for field, rule in broken(definition, meta, spec):
        raise InvalidSpecError(Why(kind, meta.name, field), rule.message)
    return Resource(kind=kind, meta=meta, spec=spec, status=_status(definition, obj))


def encode(resource: Resource[Any, Any]) -> dict[str, Any]:
    """The object to write: what equals a default is left out, and so is metadata that was never set."""
    obj: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "metadata": _plain(resource.meta),
        "spec": _plain(resource.spec),
    }
    if resource.status is not None:
        obj["status"] = _plain(resource.status)
    return obj


def decode_node(obj: Mapping[str, Any]) -> Node:
    """A Kubernetes Node. Others write it: what does not read as an address or prefix is left out."""
    spec = obj.get("spec") or {}
    status = obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or ()}
    cidrs = spec.get("podCIDRs") or [cidr for cidr in (spec.get("podCIDR"),) if cidr]
    return Node(
        meta=decode_meta("Node", obj),
        addresses=_addresses(status.get("addresses") or ()),
        pod_cidrs=_prefixes(cidrs),
        machine_id=info.get("machineID", ""),
        system_uuid=info.get("systemUUID", ""),
        operating_system=info.get("operatingSystem", ""),
        ready=conditions.get("Ready") == "True",
        unschedulable=bool(spec.get("unschedulable")),
        taints=tuple(str(one["key"]) for one in spec.get("taints") or () if one.get("key")),
        network_unavailable=conditions.get("NetworkUnavailable", "False") != "False",
        pods=_quantity((status.get("capacity") or {}).get("pods")),
    )


def _addresses(entries: Any) -> tuple[Address, ...]:
    found: dict[Address, None] = {}
    for entry in entries:
        if entry.get("type") == "InternalIP":
            with contextlib.suppress(ValueError):
                found[parse_address(str(entry.get("address")))] = None
    return tuple(found)


def _quantity(written: Any) -> int | None:
    """A whole number as Kubernetes writes it (``110``, ``2k``); None where it is none."""
    match = re.fullmatch(r"([0-9]{1,9})([kM]?)", str(written))
    return int(match[1]) * _DECIMAL[match[2]] if match else None


def _prefixes(texts: Any) -> tuple[Prefix, ...]:
    found: dict[Prefix, None] = {}
    for text in texts:
        with contextlib.suppress(ValueError):
            found[parse_prefix(str(text))] = None
    return tuple(found)


def decode_meta(kind: str, obj: Mapping[str, Any]) -> Meta:
    """The metadata of an object; ``InvalidSpecError`` where it has no name or is not the shape of any."""
    metadata = obj.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""
    if not name:
        raise InvalidSpecError(Why(kind, "", "metadata.name"), "is required")
    try:
        return from_builtins(_without_nulls(metadata), Meta)
    except msgspec.ValidationError as error:
        path, message = _explained(error)
        raise InvalidSpecError(Why(kind, name, f"metadata{path}"), message) from None


def _known(stored: Any, struct: type[Any]) -> Any:
    """A struct of plain data, without the fields that it does not have."""
    while True:
        try:
            return from_builtins(stored, struct)
        except msgspec.ValidationError as error:
            path, message = _explained(error)
            if message != _NO_FIELD:
                raise
            before, stored = stored, _without(stored, _STEP.findall(path))
            if stored == before:
                raise


def _without(value: Any, path: list[str]) -> Any:
    """The value without what is at a path below it: names, and places in lists."""
    step, *rest = path
    if isinstance(value, list):
        return [_without(item, rest) if place == int(step) else item for place, item in enumerate(value)]
    if not rest:
        return {key: item for key, item in value.items() if key != step}
    return {key: _without(item, rest) if key == step else item for key, item in value.items()}


def _status(definition: Kind[Any], obj: Mapping[str, Any]) -> Any:
    if definition.status is None or not obj.get("status"):
        return None
    try:
        return from_builtins(_without_nulls(obj["status"]), definition.status)
    except msgspec.ValidationError:
        return None


def _without_nulls(value: Any) -> Any:
    """The value without keys that hold null: to the API server they are not there (it drops them before defaults)."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _invalid(definition: Kind[Any], name: str, error: msgspec.ValidationError) -> InvalidSpecError:
    path, message = _explained(error)
    if message.startswith("Invalid enum value"):
        message = f"{message.removeprefix('Invalid enum value ')} is none of {_choices(definition.spec, path)}"
    elif "matching regex" in message:
        message = f"does not fit: {_described(definition.spec, path)}"
    return InvalidSpecError(Why(definition.name, name, f"spec{path}"), message)


def _explained(error: msgspec.ValidationError) -> tuple[str, str]:
    """The path below the root (``.a.b[1]``) and a sentence."""
    match = _PLACE.fullmatch(str(error))
    message, path = (match["message"], match["path"] or "") if match else (str(error), "")
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        return f"{path}.{found[1]}", _NO_FIELD
    if found := re.fullmatch(r"Object missing required field `(.*)`", message):
        return f"{path}.{found[1]}", "is required"
    if found := re.fullmatch(r"Expected `([a-z]+)(?: \| null)?`, got `([a-z]+)`", message):
        return path, f"must be {_EXPECTED.get(found[1], found[1])}, not {_GOT.get(found[2], found[2])}"
    if found := re.fullmatch(r"Expected `int` (<=|>=) (-?[0-9]+)", message):
        return path, f"must be at {'most' if found[1] == '<=' else 'least'} {found[2]}"
    if found := re.fullmatch(r"Expected `(str|array)` of length (<=|>=) ([0-9]+)", message):
        unit = "characters" if found[1] == "str" else "entries"
        return path, f"must have at {'most' if found[2] == '<=' else 'least'} {found[3]} {unit}"
    return path, message


def _at(struct: type[Struct], path: str) -> tuple[msgspec.inspect.Type, str]:
    """The type at a path below a struct and its description."""
    kind: msgspec.inspect.Type = msgspec.inspect.type_info(struct)
    described = ""
    for name in re.findall(r"\.([^.\[]+)|\[", path):
        kind, _ = _unwrapped(kind)
        if isinstance(kind, msgspec.inspect.StructType) and name:
            kind = next(field.type for field in kind.fields if field.encode_name == name)
        elif isinstance(kind, msgspec.inspect.VarTupleType):
            kind = kind.item_type
        described = _unwrapped(kind)[1] or described
    return _unwrapped(kind)[0], described


def _unwrapped(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, str]:
    """A type without its metadata and without ``| None``, and its description."""
    described = ""
    while isinstance(kind, msgspec.inspect.Metadata | msgspec.inspect.UnionType):
        if isinstance(kind, msgspec.inspect.Metadata):
            described = described or str((kind.extra_json_schema or {}).get("description", ""))
            kind = kind.type
        else:
            kind = next(one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
    return kind, described


def _choices(struct: type[Struct], path: str) -> str:
    kind, _ = _at(struct, path)
    return ", ".join(str(value) for value in kind.values) if isinstance(kind, msgspec.inspect.LiteralType) else ""


def _described(struct: type[Struct], path: str) -> str:
    return _at(struct, path)[1]


def _plain(value: Struct) -> dict[str, Any]:
    """A struct as plain data without the fields that equal their defaults."""
    result: dict[str, Any] = {}
    for field in fields(value):
        item = getattr(value, field.name)
        default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
        if default is NODEFAULT or item != default:
            result[field.encode_name] = _item(item)
    return result


def _item(value: Any) -> Any:
    if isinstance(value, Struct):
        return _plain(value)
    if isinstance(value, tuple):
        return [_item(item) for item in value]
    return cast("Any", to_builtins(value))

"""The chart's ``values.yaml`` and the reference page of its values: the same definition, written for two readers."""

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml
from msgspec import NODEFAULT, inspect

from towpath.controller.chart.schema import values_schema
from towpath.controller.chart.values import Values

_WIDTH = 110
_HEAD = """\
# Values of the chart towpath. Made by ./dev generate; the same as a table: docs/reference/values.md.
# helm install towpath charts/towpath -n towpath-system --create-namespace [-f VALUES.yaml] [--set KEY=VALUE]
"""
_PAGE = """\
# Values of the chart

What `helm install` and `helm upgrade` take with `-f FILE` and `--set KEY=VALUE`. This page is generated, as are
`values.yaml` and `values.schema.json` in the chart. A key that is not listed here is refused.

The fields of the objects in `pools`, `bgpConfiguration`, `bgpPeers` and `ipamConfiguration` are those of the
[kinds](kinds.md), without `spec`.

| value | type | default | meaning |
|---|---|---|---|
"""


def values_yaml() -> str:
    """``values.yaml``: every value with its default, below what it means."""
    return _HEAD + "".join(_lines(inspect.type_info(Values), depth=0))


def values_page() -> str:
    """The page."""
    return _PAGE + "".join(f"{row}\n" for row in _rows(inspect.type_info(Values), values_schema(), path=""))


def _lines(kind: inspect.Type, *, depth: int) -> Iterator[str]:
    assert isinstance(kind, inspect.StructType)
    margin = "  " * depth
    for one in kind.fields:
        if depth == 0:
            yield "\n"
        for line in textwrap.wrap(_described(one.type), _WIDTH - len(margin), break_on_hyphens=False):
            yield f"{margin}# {line}\n"
        if (inner := _struct(one.type)) is not None:
            yield f"{margin}{one.encode_name}:\n"
            yield from _lines(inner, depth=depth + 1)
        else:
            written = yaml.safe_dump({one.encode_name: _default(one)}, sort_keys=False, width=_WIDTH)
            yield textwrap.indent(written, margin)


def _rows(kind: inspect.Type, schema: dict[str, Any], *, path: str) -> Iterator[str]:
    assert isinstance(kind, inspect.StructType)
    for one in kind.fields:
        here, found = f"{path}{one.encode_name}", schema["properties"][one.encode_name]
        meaning = _described(one.type).replace("|", "\\|")
        if (inner := _struct(one.type)) is not None:
            yield f"| `{here}` | | | {meaning} |"
            yield from _rows(inner, found, path=f"{here}.")
        else:
            default = msgspec.json.encode(_default(one)).decode()
            yield f"| `{here}` | {_type(found)} | `{default}` | {meaning} |"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if isinstance(schema["type"], list):
        return "integer or text"
    if schema["type"] == "integer":
        return f"integer, {schema['minimum']} to {schema['maximum']}"
    return {"array": "list", "string": "text"}.get(schema["type"], str(schema["type"]))


def _struct(kind: inspect.Type) -> inspect.StructType | None:
    inner = kind.type if isinstance(kind, inspect.Metadata) else kind
    return inner if isinstance(inner, inspect.StructType) else None


def _described(kind: inspect.Type) -> str:
    assert isinstance(kind, inspect.Metadata), "every value says what it means"
    return str((kind.extra_json_schema or {})["description"])


def _default(one: inspect.Field) -> Any:
    value = one.default_factory() if one.default_factory is not NODEFAULT else one.default
    return msgspec.to_builtins(value)

"""Objects as the table that ``kubectl get`` prints: printer columns of the CRDs, a few columns of our own for the rest."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Column = Mapping[str, Any]
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[\?\(@\.([A-Za-z]+)==['\"]([^'\"]*)['\"]\)\]|\[(\d+)\]")
_AGE: Column = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_BUILT_IN: Mapping[str, list[Column]] = {
    "Node": [
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
        {"name": "Internal-IP", "type": "string", "jsonPath": ".status.addresses[?(@.type=='InternalIP')].address"},
        _AGE,
    ],
    "Lease": [{"name": "Holder", "type": "string", "jsonPath": ".spec.holderIdentity"}, _AGE],
    "Event": [
        {"name": "Last Seen", "type": "date", "jsonPath": ".lastTimestamp"},
        {"name": "Type", "type": "string", "jsonPath": ".type"},
        {"name": "Reason", "type": "string", "jsonPath": ".reason"},
        {"name": "Object", "type": "string", "jsonPath": ".involvedObject.name"},
        {"name": "Message", "type": "string", "jsonPath": ".message"},
    ],
}


def columns_of(kind: str, custom: Mapping[str, list[dict[str, Any]]]) -> list[Column]:
    """The columns after the name."""
    return list(custom.get(kind) or _BUILT_IN.get(kind, [_AGE]))


def table(items: Iterable[dict[str, Any]], columns: list[Column], *, include: str, version: str = "") -> dict[str, Any]:
    """A ``Table`` of meta.k8s.io/v1; ``include`` is ``None``, ``Metadata`` or ``Object``."""
    definitions = [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}]
    definitions += [
        {
            "name": column["name"],
            "type": "string" if column["type"] == "date" else column["type"],
            "format": "",
            "description": column.get("description", ""),
            "priority": column.get("priority", 0),
        }
        for column in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions,
        "rows": [_row(item, columns, include) for item in items],
    }


def _row(item: dict[str, Any], columns: list[Column], include: str) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": [item["metadata"]["name"], *(_cell(item, column) for column in columns)]}
    if include == "Object":
        row["object"] = item
    elif include != "None":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": item["metadata"],
        }
    return row


def _cell(item: dict[str, Any], column: Column) -> Any:
    value = find(item, column["jsonPath"])
    if value is None:
        return None
    if column["type"] == "date":
        return age(str(value))
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def find(item: Any, path: str) -> Any:
    """The first value at a JSONPath of dots, indices and equality filters, or None."""
    for name, key, wanted, index in _STEP.findall(path):
        if name:
            item = item.get(name) if isinstance(item, dict) else None
        elif not isinstance(item, list):
            return None
        elif key:
            item = next((one for one in item if isinstance(one, dict) and one.get(key) == wanted), None)
        else:
            item = item[int(index)] if int(index) < len(item) else None
    return item


def age(timestamp: str) -> str:
    """The time since then as kubectl prints it."""
    try:
        then = datetime.fromisoformat(timestamp)
    except ValueError:
        return "<invalid>"
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    for size, unit, below in ((1, "s", 120), (60, "m", 7200), (3600, "h", 172800)):
        if seconds < below:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"

"""One object carried over, field by field: what our kind's own definition takes is kept, the rest is reported.

Which fields there are is asked of the decoder alone, so a field that a kind gets is carried over from then on.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from towpath.model.decode import decode
from towpath.model.kinds.kind import API_VERSION
from towpath.model.reason import InvalidSpecError

Body = dict[str, Any]
UNKNOWN = "is not a field that this kind has"
_DEFAULTS: Mapping[str, Any] = {
    "disableBGPExport": False,
    "assignmentMode": "Automatic",
    "allowedUses": ["Workload", "Tunnel"],
    "namespaceSelector": "all()",
    "bindMode": "None",
    "serviceLoadBalancerAggregation": "Enabled",
    "reversePeering": "Auto",
    "numAllowedLocalASNumbers": 0,
    "keepOriginalNextHop": False,
}
"""Values that say what would be so without them: nobody misses them."""
_NARROWING = frozenset({"node", "nodeSelector", "peerSelector", "localWorkloadSelector", "cidr"})
"""Fields without which an object would mean more than it did."""


_SPARING = frozenset({"allowedUses"})
"""Fields of a pool that keep it for some: without them it is disabled, so that nobody gets what was not for all."""


def object_of(value: Any) -> Body:
    """An object; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def objects_of(value: Any) -> list[Body]:
    """The objects of a list; none in place of anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


class Finding(Struct, frozen=True, order=True):
    """Something that could not be carried over as it was."""

    kind: str
    name: str
    field: str
    message: str


class Report:
    """All findings, each once."""

    def __init__(self) -> None:
        self._findings: dict[Finding, None] = {}

    def add(self, kind: str, name: str, field: str, message: str) -> None:
        """One more."""
        self._findings[Finding(kind, name, field, message)] = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """In order."""
        return tuple(sorted(self._findings))


def carried(kind: str, metadata: Body, spec: Body, report: Report) -> Body | None:
    """The object as ours; None where it cannot be without meaning something else."""
    name = metadata["name"]
    spec = {key: value for key, value in spec.items() if value not in (None, "")}
    while True:
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
        try:
            decode(kind, body)
        except InvalidSpecError as error:
            field = _to_leave_out(kind, metadata, spec, error)
            if field is None:
                report.add(kind, name, error.where.field, f"the object is not carried over: {error.message}")
                return None
            harmless = field in _DEFAULTS and _DEFAULTS[field] == spec[field]
            spec = {key: kept for key, kept in spec.items() if key != field}
            if not harmless:
                spared = kind == "IPPool" and field in _SPARING
                what = "not carried over, and the pool is disabled" if spared else "not carried over"
                report.add(kind, name, f"spec.{field}", f"{what}: {error.message}")
                spec |= {"disabled": True} if spared else {}
            continue
        return body


def _to_leave_out(kind: str, metadata: Body, spec: Body, error: InvalidSpecError) -> str | None:
    """The field of the specification that can go; None: the object has to."""
    if kind == "BGPConfiguration":
        return next((field for field in spec if not _decodes(kind, metadata, {field: spec[field]})), None)
    field = error.where.field.removeprefix("spec.")
    spared = kind == "IPPool" and field in _SPARING
    if kind == "BGPFilter" or field not in spec or not (spared or error.message == UNKNOWN):
        return None
    harmless = _DEFAULTS.get(field) == spec[field]
    return field if harmless or field not in _NARROWING else None


def _decodes(kind: str, metadata: Body, spec: Body) -> bool:
    try:
        decode(kind, {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
    except InvalidSpecError:
        return False
    return True

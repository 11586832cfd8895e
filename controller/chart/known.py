"""What the chart's templates have to know of the code: read from the code itself, so that the chart is never behind.

Written into the chart as ``files/known.yaml``: what each process follows becomes RBAC, values become objects of kinds.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import inspect

from towpath.controller import cluster, unenforced
from towpath.controller.chart.values import Values
from towpath.controller.conditions import USER_KINDS
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.loadbalancer import balancers, followed
from towpath.controller.node import services, source
from towpath.model.kinds.registry import KINDS


def known() -> dict[str, Any]:
    """What controller and agent follow, or list now and then, by API group; what gets conditions; our definitions; which value is which kind.

    Beside its store each follows the ranges of services, a controller what it gives addresses of load balancers by, and an
    agent its node's pods and, where they are announced, services with their endpoints.
    """
    return {
        "controller": {
            "follows": _by_group((*cluster.KINDS, "ServiceCIDR", *balancers.CLAIMS, *followed.KINDS)),
            "lists": _by_group(unenforced.LISTED),
        },
        "agent": {"follows": _by_group((*source.KINDS, "Pod", "Namespace", "ServiceCIDR", *services.KINDS))},
        "conditions": sorted(f"{KINDS[kind].plural}/status" for kind in USER_KINDS),
        "definitions": sorted(RESOURCES[kind].qualified for kind in KINDS),
        "values": {"named": _values(many=True), "default": _values(many=False)},
    }


def _values(*, many: bool) -> dict[str, str]:
    """The values that are lists of objects with names of their own, or the one object ``default``; with their kinds."""
    found = {}
    for one in inspect.type_info(Values).fields:  # type: ignore[attr-defined]  # a struct's information has fields
        assert isinstance(one.type, inspect.Metadata)
        kind = (one.type.extra_json_schema or {}).get("kind")
        if kind is not None and isinstance(one.type.type, inspect.VarTupleType) is many:
            found[one.encode_name] = kind
    return found


def _by_group(kinds: Iterable[str]) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for kind in kinds:
        found.setdefault(RESOURCES[kind].group, []).append(RESOURCES[kind].plural)
    return [{"group": group, "resources": sorted(set(plurals))} for group, plurals in sorted(found.items())]

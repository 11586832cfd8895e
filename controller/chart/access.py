"""What each process follows in the API: read from the processes themselves, so that the chart's RBAC is never behind.

Written into the chart as ``files/access.yaml``, which the templates turn into rules.
"""

from collections.abc import Iterable
from typing import Any

from towpath.controller import cluster
from towpath.controller.conditions import USER_KINDS
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.node import source
from towpath.model.kinds.registry import KINDS


def access() -> dict[str, Any]:
    """Resources by API group that controller and agent follow (with ranges of services and a node's own pods), those that get conditions, and all our definitions."""
    return {
        "controller": {"follows": _by_group((*cluster.KINDS, "ServiceCIDR"))},
        "agent": {"follows": _by_group((*source.KINDS, "Pod"))},
        "conditions": sorted(f"{KINDS[kind].plural}/status" for kind in USER_KINDS),
        "definitions": sorted(RESOURCES[kind].qualified for kind in KINDS),
    }


def _by_group(kinds: Iterable[str]) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for kind in kinds:
        found.setdefault(RESOURCES[kind].group, []).append(RESOURCES[kind].plural)
    return [{"group": group, "resources": sorted(plurals)} for group, plurals in sorted(found.items())]

"""JSON merge patch (RFC 7386) and the part of JSON patch (RFC 6902) that clients of ours and kubectl send."""

import copy
from typing import Any

from towpath.lab.apiserver.refusal import RefusedError


def merge(target: Any, patch: Any) -> Any:
    """The target after a merge patch; neither is changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def json_patch(target: Any, operations: list[dict[str, Any]]) -> Any:
    """The target after ``add``, ``replace``, ``remove`` and ``test`` operations."""
    result = copy.deepcopy(target)
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = result
        try:
            for part in parents:
                place = place[int(part) if isinstance(place, list) else part]
            _apply(place, last, operation)
        except (KeyError, IndexError, TypeError, ValueError):
            raise RefusedError(422, f"the patch cannot be applied at {operation['path']}") from None
    return result


def _apply(place: Any, last: str, operation: dict[str, Any]) -> None:
    verb = operation["op"]
    if isinstance(place, list):
        index = len(place) if last == "-" else int(last)
        if verb == "add":
            place.insert(index, operation["value"])
            return
        key: Any = index
    else:
        key = last
    if verb == "remove":
        del place[key]
    elif verb == "add":
        place[key] = operation["value"]
    elif verb == "replace":
        place[key]  # it must exist
        place[key] = operation["value"]
    elif verb == "test":
        if place[key] != operation["value"]:
            raise ValueError(last)
    else:
        raise RefusedError(400, f"operation {verb!r} of JSON patch is not supported")

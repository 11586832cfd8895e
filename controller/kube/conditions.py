"""Conditions in the status of objects, written only where they differ from what is there."""

from collections.abc import Iterable

import msgspec

from towpath.controller.conditions import merged
from towpath.controller.ports import Api
from towpath.model.codec import from_builtins, to_builtins
from towpath.model.resource import Condition


async def set_conditions(
    api: Api, kind: str, *, name: str, wanted: Iterable[Condition], now: str, uid: str = ""
) -> bool:
    """Set conditions of one object; others of its conditions stay. Returns whether anything was written.

    ``uid`` given: only of that very object. An object that changes meanwhile gives ``ConflictError``.
    """
    found = await api.get(kind, name)
    metadata = found["metadata"]
    if uid and metadata["uid"] != uid:
        return False
    try:
        existing = from_builtins((found.get("status") or {}).get("conditions") or [], tuple[Condition, ...])
    except msgspec.ValidationError:
        existing = ()  # somebody wrote nonsense there: replaced
    conditions = merged(existing, wanted, now=now)
    if conditions is None:
        return False
    patch = {
        "metadata": {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]},
        "status": {"conditions": to_builtins(conditions)},
    }
    await api.patch_status(kind, name, patch)
    return True


async def set_condition(
    api: Api, kind: str, *, name: str, condition: Condition, now: str, generation: int = 0, uid: str = ""
) -> bool:
    """Set one condition; ``generation`` is what was judged (0: what is there)."""
    judged = msgspec.structs.replace(condition, observed_generation=generation or condition.observed_generation)
    return await set_conditions(api, kind, name=name, wanted=(judged,), now=now, uid=uid)

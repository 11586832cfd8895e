"""What differs between two plans of a node, in the plan's own shape, and which sessions that would reset."""

from collections.abc import Iterator, Mapping
from typing import Any

from towpath.bgp.origins import SpeakerPlan
from towpath.bgp.running import seen_by_peer, withheld

Document = dict[str, Any]
_KEYS: Mapping[str, tuple[str, ...]] = {
    "listen": ("address", "port"),
    "sessions": ("name",),
    "announcements": ("prefix",),
    "routes": ("prefix", "table", "metric"),
    "devices": ("name",),
    "neighbours": ("address", "device"),
    "forwarding": ("mac", "device"),
    "nat": ("name",),
    "warnings": ("reason", "object", "message"),
}
"""What an item of each list is known by."""


def difference(before: Document | None, after: Document | None) -> Document:
    """``added`` and ``removed`` items; ``changed`` ones as they are after, with what they had ``before``.

    Each has all keys of a plan, null or empty where nothing differs. None: the node is in one of the plans only.
    """
    keys = (after or before or {}).keys()
    whole: Document = {
        kind: {key: [] if key in _KEYS else None for key in keys} for kind in ("added", "removed", "changed")
    }
    whole["changed"]["before"] = None
    if before is None or after is None:
        whole["added" if before is None else "removed"] = before or after
        return whole
    for key, value in after.items():
        known_by = _KEYS.get(key)
        if known_by is not None:
            for kind, items in _compared(_by_key(before[key], known_by), _by_key(value, known_by)):
                whole[kind][key] = items
        elif before[key] != value:
            whole["changed"][key] = value
            whole["changed"]["before"] = {**(whole["changed"]["before"] or {}), key: before[key]}
    return whole


def resets(before: SpeakerPlan, after: SpeakerPlan) -> list[str]:
    """Names of sessions in both plans that would end, be it to begin anew."""
    old, new = before.state, after.state
    return [
        name
        for name, session in sorted(old.sessions.items())
        if session.state == "Active" and name in new.sessions and _ends(name, before, after)
    ]


def _ends(name: str, before: SpeakerPlan, after: SpeakerPlan) -> bool:
    session = after.state.sessions[name]
    if withheld(session):
        return True
    if session.state != "Active":
        return False  # its password is not to be had: it goes on with the one it has
    return _seen(before, name) != _seen(after, name)


def _seen(plan: SpeakerPlan, name: str) -> tuple[object, ...]:
    return seen_by_peer(plan.state.sessions[name], plan.state.settings, plan.state.passwords.get(name))


def _by_key(items: list[Document], key: tuple[str, ...]) -> dict[str, Document]:
    return {repr([item.get(part) for part in key]): item for item in items}


def _compared(before: dict[str, Document], after: dict[str, Document]) -> Iterator[tuple[str, list[Document]]]:
    yield "added", [item for key, item in after.items() if key not in before]
    yield "removed", [item for key, item in before.items() if key not in after]
    changed = []
    for key, item in after.items():
        old = before.get(key, item)
        if old != item:
            was = {field: value for field, value in old.items() if item.get(field) != value}
            changed.append({**item, "before": was})
    yield "changed", changed

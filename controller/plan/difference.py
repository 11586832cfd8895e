"""What differs between two plans of a node, in the plan's own shape, which sessions that would reset, and which only refresh."""

from collections.abc import Iterator, Mapping
from typing import Any

from towpath.bgp.egress import session_part
from towpath.bgp.origins import SpeakerPlan
from towpath.bgp.peer import judgement
from towpath.bgp.running import seen_by_peer, withheld
from towpath.model.cluster import Cluster
from towpath.model.codec import to_builtins
from towpath.model.speaker import Session

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


def difference(before: Document | None, after: Document | None, *, rules: Mapping[str, Document]) -> Document:
    """``added`` and ``removed`` items; ``changed`` ones as they are after, with what they had ``before``.

    Each has all keys of a plan, null or empty where nothing differs. None: the node is in one of the plans only. ``rules``: what
    filters of sessions held before (``other_rules``), which no plan has: it is beside the fields that a session had.
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
    if rules:
        known = {item["name"]: item for item in whole["changed"]["sessions"]}
        sessions = [known.get(item["name"], {**item, "before": {}}) for item in after["sessions"]]
        for item in sessions:
            item["before"] |= {"rules": rules[item["name"]]} if item["name"] in rules else {}
        whole["changed"]["sessions"] = [item for item in sessions if item["before"]]
    return whole


def former_rules(before: Cluster, after: Cluster) -> Document:
    """By filter that holds other rules than before: what it held; null where there was no such filter."""
    specs = [{name: one.spec for name, one in cluster.filters.items()} for cluster in (before, after)]
    names = sorted(name for name in specs[0].keys() | specs[1].keys() if specs[0].get(name) != specs[1].get(name))
    return {name: to_builtins(specs[0].get(name)) for name in names}


def other_rules(before: SpeakerPlan, after: SpeakerPlan, *, former: Document) -> dict[str, Document]:
    """By session that is in both plans: the ``former`` rules of those of its filters that hold others."""
    found = {
        name: {one: former[one] for one in session.filters if one in former}
        for name, session in after.state.sessions.items()
        if name in before.state.sessions
    }
    return {name: rules for name, rules in found.items() if rules}


def refreshes(before: SpeakerPlan, after: SpeakerPlan, *, rules: Mapping[str, Document]) -> list[str]:
    """Names of sessions that go on, and whose routes are judged anew or told anew because their own policy is another."""
    old, new = before.state.sessions, after.state.sessions
    ending = resets(before, after)
    return [
        name
        for name, session in sorted(new.items())
        if name in old
        and name not in ending
        and session.state == old[name].state == "Active"
        and (name in rules or _policy(session) != _policy(old[name]))
    ]


def _policy(session: Session) -> tuple[object, ...]:
    return judgement(session), session_part(session)


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

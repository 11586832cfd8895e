"""A plan for people: per node who it is, its sessions, announcements and routes, and what is wrong."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Document = dict[str, Any]
_GAP = "  "


def table(rows: Iterable[Sequence[object]], *, head: Sequence[str]) -> Iterator[str]:
    """Lines with columns as wide as their widest cell; nothing at all without rows."""
    columns = list(zip(*rows, strict=True))
    if columns:
        padded = [_padded(title, column) for title, column in zip(head, columns, strict=True)]
        yield from map(str.rstrip, map(_GAP.join, zip(*padded, strict=True)))


def _padded(title: str, column: Sequence[object]) -> list[str]:
    """The cells of a column below its title, all as wide: each value is written once, for in most columns there are few."""
    if len(set(map(type, column))) > 1 or not isinstance(column[0], (str, int)):
        column = list(map(_cell, column))
    texts = {value: _cell(value) for value in set(column)}
    width = max(map(len, (title, *texts.values())))
    wide = {value: text.ljust(width) for value, text in texts.items()}
    return [title.ljust(width), *map(wide.__getitem__, column)]


def node_lines(name: str, document: Document) -> Iterator[str]:
    """One node."""
    families = ", ".join(key for key, there in document["families"].items() if there) or "no address"
    ports = ", ".join(f"{one['address'] or '*'}:{one['port']}" for one in document["listen"])
    yield f"node {name}: AS {document['asNumber']}, router id {document['routerID']}, {families}, listens on {ports}"
    for title, lines in (
        ("sessions", _sessions(document["sessions"])),
        ("announces", _announcements(document["announcements"])),
        ("routes", _routes(document["routes"])),
        ("warnings", (f"{one['reason']} {_object(one['object'])}: {one['message']}" for one in document["warnings"])),
    ):
        yield from _under(title, lines)


def rejected_lines(rejected: Sequence[Document]) -> Iterator[str]:
    """What does not count."""
    yield from _under(
        "rejected", (f"{_object(one['object'])} {one['field'] or ''}: {one['message']}" for one in rejected)
    )


def difference_lines(name: str, document: Document) -> Iterator[str]:
    """One node's differences: ``+`` is new, ``-`` is gone, ``~`` is another."""
    yield f"node {name}:"
    for sign, kind in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for key, items in document[kind].items():
            if key == "before" or items is None:
                continue
            for item in items if isinstance(items, list) else [items]:
                yield f"  {sign} {key}: {_short(key, item)}"
    for session in document["resets"]:
        yield f"  ! session {session} resets"


def _under(title: str, lines: Iterable[str]) -> Iterator[str]:
    for place, line in enumerate(lines):
        if place == 0:
            yield f"  {title}:"
        yield f"    {line}"


def _sessions(sessions: Sequence[Document]) -> Iterator[str]:
    head = ("PEER", "PORT", "AS", "TYPE", "SCOPE", "STATE", "SIDE", "ADVERTISE", "FILTERS", "WHY")
    rows = (
        (
            one["peerIP"] or one["interface"],
            one["port"],
            one["remoteAS"],
            one["type"],
            one["scope"],
            one["state"] if one["reason"] is None else f"{one['state']} ({one['reason']})",
            "listens" if one["passive"] else "dials",
            one["advertise"],
            ",".join(one["filters"]),
            _why(one["why"]),
        )
        for one in sessions
    )
    return table(rows, head=head)


def _announcements(announcements: Sequence[Document]) -> Iterator[str]:
    rows = ((one["prefix"], one["source"], ",".join(one["communities"]), _why(one["why"])) for one in announcements)
    return table(rows, head=("PREFIX", "SOURCE", "COMMUNITIES", "WHY"))


def _routes(routes: Sequence[Document]) -> Iterator[str]:
    rows = (
        (
            one["prefix"],
            one["type"],
            ",".join(str(hop["gateway"] or hop["device"]) for hop in one["nextHops"]),
            one["metric"],
            one["origin"],
            _why(one["why"]),
        )
        for one in routes
    )
    return table(rows, head=("PREFIX", "TYPE", "NEXT HOPS", "METRIC", "ORIGIN", "WHY"))


def _short(key: str, item: Any) -> str:
    if key == "warnings":
        return f"{item['reason']} {_object(item['object'])}: {item['message']}"
    if not isinstance(item, dict):
        return str(item)
    before = item.get("before", {})
    name = next((item[field] for field in ("name", "prefix", "address") if item.get(field) is not None), "")
    changes = ", ".join(f"{field} {_value(was)} -> {_value(item[field])}" for field, was in before.items())
    return f"{name} {changes}".strip()


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _why(whys: Sequence[Document]) -> str:
    return f"{_object(whys[0])} {whys[0]['field'] or ''}".strip() if whys else ""


def _object(one: Document) -> str:
    return f"{one['kind']}/{one['name']}"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return text or "-"

"""A plan for people: per node who it is, its sessions, announcements and routes, and what is wrong."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from msgspec import Struct

Document = dict[str, Any]
_GAP = "  "
_SIDES = ("dials", "listens")


class Rows(Struct, frozen=True):
    """Rows that follow one another: of each column what all have there, or a list of what each has."""

    count: int
    cells: Sequence[object]


class SessionRows(Struct, frozen=True):
    """Sessions that follow one another and differ in their peers alone."""

    like: Document
    """Any of them, of which only that is to be asked in which all are alike."""
    peers: list[str]
    passive: list[bool]
    causes: list[str]


def table(rows: Iterable[Sequence[object]], *, head: Sequence[str]) -> Iterator[str]:
    """Lines with columns as wide as their widest cell; nothing at all without rows."""
    columns = list(zip(*rows, strict=True))
    if columns:
        yield from _table_of_runs([Rows(len(columns[0]), list(map(list, columns)))], head=head)


def _table_of_runs(runs: Sequence[Rows], *, head: Sequence[str]) -> Iterator[str]:
    """The same, of rows that have most of their cells in common: what all of a run have is written once."""
    if not runs:
        return
    runs = [Rows(1, head), *(Rows(run.count, list(map(_texts, run.cells))) for run in runs)]
    *widths, _ = [max(map(_width, column)) for column in zip(*(run.cells for run in runs), strict=True)]
    for run in runs:
        pieces: list[Iterable[str]] = []
        common = ""
        for cell, width in zip(run.cells, (*widths, 0), strict=True):  # nothing follows the last one
            if isinstance(cell, list):
                pieces += (repeat(common, run.count), map(str.ljust, cell, repeat(width)))
                common = _GAP
            else:
                common += f"{cell:{width}}{_GAP}"
        pieces.append(repeat(common.removesuffix(_GAP), run.count))
        yield from map("".join, zip(*pieces, strict=True))


def _texts(cell: object) -> str | list[str]:
    """A cell's text, or each one's of a list."""
    if not isinstance(cell, list):
        return _cell(cell)
    return cell if set(map(type, cell)) == {str} and all(cell) else list(map(_cell, cell))


def _width(texts: Any) -> int:
    return max(map(len, texts)) if isinstance(texts, list) else len(texts)


def node_lines(name: str, document: Document) -> Iterator[str]:
    """One node, whose sessions are given as rows."""
    families = ", ".join(key for key, there in document["families"].items() if there) or "no address"
    ports = ", ".join(f"{one['address'] or '*'}:{one['port']}" for one in document["listen"])
    yield f"node {name}: AS {document['asNumber']}, router id {document['routerID']}, {families}, listens on {ports}"
    for title, lines in (
        ("sessions", _sessions(document["sessions"])),
        ("announces", _announcements(document["announcements"])),
        ("routes", _routes(document["routes"])),
        ("devices", _devices(document["devices"])),
        ("neighbours", _neighbours(document["neighbours"], document["forwarding"])),
        ("translates", _nat(document["nat"])),
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
    for session in document["refreshes"]:
        yield f"  ! session {session} goes on, its routes are judged and told anew"


def _under(title: str, lines: Iterable[str]) -> Iterator[str]:
    lines = iter(lines)
    for first in lines:
        yield f"  {title}:\n    {first}"
        yield from (f"    {line}" for line in lines)


def _sessions(sessions: Iterable[SessionRows]) -> Iterator[str]:
    head = ("PEER", "PORT", "AS", "TYPE", "SCOPE", "STATE", "SIDE", "ADVERTISE", "FILTERS", "WHY")
    runs = [
        Rows(
            len(some.peers),
            (
                some.peers,
                some.like["port"],
                some.like["remoteAS"],
                some.like["type"],
                some.like["scope"],
                _state(some.like),
                [_SIDES[passive] for passive in some.passive],
                some.like["advertise"],
                ",".join(some.like["filters"]),
                some.causes,
            ),
        )
        for some in sessions
    ]
    return _table_of_runs(runs, head=head)


def _state(session: Document) -> str:
    return session["state"] if session["reason"] is None else f"{session['state']} ({session['reason']})"


def _announcements(announcements: Sequence[Document]) -> Iterator[str]:
    rows = ((one["prefix"], one["source"], ",".join(one["communities"]), cause(one["why"])) for one in announcements)
    return table(rows, head=("PREFIX", "SOURCE", "COMMUNITIES", "WHY"))


def _routes(routes: Sequence[Document]) -> Iterator[str]:
    rows = (
        (
            one["prefix"],
            one["type"],
            ",".join(_hop(hop) for hop in one["nextHops"]),
            one["metric"],
            one["origin"],
            cause(one["why"]),
        )
        for one in routes
    )
    return table(rows, head=("PREFIX", "TYPE", "NEXT HOPS", "METRIC", "ORIGIN", "WHY"))


def _nat(translated: Sequence[Document]) -> Iterator[str]:
    """Of the exclusions the number: a cluster has as many as it has nodes."""
    rows = ((one["prefix"], f"but to {len(one['exclusions'])} prefixes", cause(one["why"])) for one in translated)
    return table(rows, head=("SOURCE", "DESTINATION", "WHY"))


def _hop(hop: Document) -> str:
    return f"{hop['gateway']} by {hop['device']}" if hop["onlink"] else str(hop["gateway"] or hop["device"])


def _devices(devices: Sequence[Document]) -> Iterator[str]:
    rows = (
        (
            one["name"],
            one["kind"],
            one["mtu"],
            one["attributes"]["local"],
            one["attributes"].get("mac", ""),
            ",".join(one["attributes"]["addresses"]),
            cause(one["why"]),
        )
        for one in devices
    )
    return table(rows, head=("NAME", "KIND", "MTU", "LOCAL", "MAC", "ADDRESSES", "WHY"))


def _neighbours(neighbours: Sequence[Document], forwarding: Sequence[Document]) -> Iterator[str]:
    nodes = {(one["device"], one["mac"]): one["node"] for one in forwarding}
    rows = (
        (one["address"], one["device"], one["mac"], nodes[one["device"], one["mac"]], cause(one["why"]))
        for one in neighbours
    )
    return table(rows, head=("ADDRESS", "DEVICE", "MAC", "NODE", "WHY"))


def _short(key: str, item: Any) -> str:
    if key == "warnings":
        return f"{item['reason']} {_object(item['object'])}: {item['message']}"
    if not isinstance(item, dict):
        return str(item)
    before = item.get("before", {})
    name = next((item[field] for field in ("name", "prefix", "address", "mac") if item.get(field) is not None), "")
    fields = (f"{field} {_value(was)} -> {_value(item[field])}" for field, was in before.items() if field in item)
    changes = ", ".join((*fields, *(f"rules of {name} are others" for name in before.get("rules", ()))))
    return f"{name} {changes}".strip()


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def cause(whys: Sequence[Document]) -> str:
    """The first of the causes of an item."""
    return f"{_object(whys[0])} {whys[0]['field'] or ''}".strip() if whys else ""


def _object(one: Document) -> str:
    return f"{one['kind']}/{one['name']}"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return text or "-"

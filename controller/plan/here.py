"""What speaker and kernel of this machine have at this moment, for ``get --here`` and ``explain --here``.

The speaker answers on its socket (``bgp.window``); the kernel's main table is read. Nothing is changed in either.
"""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from towpath.bgp.window import NAME
from towpath.controller.settings import CannotRunError
from towpath.model.net import Family, Prefix, family_of, from_wire, parse_prefix, to_wire
from towpath.routes.kernel import Kernel, RouteSeen
from towpath.routes.netlink import open_kernel
from towpath.routes.route import PROTOCOL

Item = dict[str, Any]
ANSWERS_WITHIN = 10.0
"""Seconds that the speaker may take for the next piece of an answer."""


def ask(speaker: Path, what: str, *, prefix: Prefix | None = None) -> Iterator[Item]:
    """The items of an answer of the speaker with that socket for its agent; ``CannotRunError`` where there is none or it ends too early."""
    path = speaker.with_name(NAME)
    question = {"what": what} if prefix is None else {"what": what, "prefix": str(prefix)}
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(ANSWERS_WITHIN)
            link.connect(str(path))
            link.sendall(msgspec.json.encode(question) + b"\n")
            with link.makefile("rb") as lines:
                for line in lines:
                    item = msgspec.json.decode(line)
                    if "end" in item:
                        return
                    if "error" in item:
                        raise CannotRunError(f"the speaker says: {item['error']}")
                    yield item
    except OSError as error:
        raise CannotRunError(f"no speaker answers at {path}: {error.strerror or error}") from error
    raise CannotRunError(f"the speaker at {path} went away in the middle of its answer")


def sessions(speaker: Path) -> list[Item]:
    """The sessions as they stand."""
    return list(ask(speaker, "sessions"))


def announcements(speaker: Path) -> list[Item]:
    """What each peer was told."""
    return sorted(ask(speaker, "announcements"), key=_order)


def routes(speaker: Path) -> list[Item]:
    """Each prefix that the speaker uses or for which the kernel has a route of ours, and what either has of it."""
    found = {one["prefix"]: one for one in ask(speaker, "routes")}
    with closing(open_kernel()) as kernel:
        installed = _ours(kernel)
    empty = {"nextHops": [], "sessions": [], "provisional": False, "stale": False, "attributes": None}
    items = (
        {"prefix": one, **(found.get(one) or empty), "kernel": installed.get(one, [])}
        for one in found.keys() | installed.keys()
    )
    return sorted(items, key=_order)


def prefix(speaker: Path, asked: Prefix) -> Item:
    """What was heard, is used and was told of the longest prefix around ``asked``, and every kernel route of that prefix."""
    (item,) = ask(speaker, "prefix", prefix=asked)
    return {**item, "kernel": _kernel(parse_prefix(item["prefix"]))}


def _kernel(asked: Prefix) -> list[Item]:
    family, wire = family_of(asked), to_wire(asked)
    with closing(open_kernel()) as kernel:
        names = _names(kernel)
        return [_route(one, names) for some in kernel.routes(family) for one in some if one.wire == wire]


def _ours(kernel: Kernel) -> dict[str, list[Item]]:
    names = _names(kernel)
    found: dict[str, list[Item]] = {}
    for family in Family:
        for some in kernel.routes(family, protocol=PROTOCOL):
            for one in some:
                found.setdefault(str(from_wire(family, one.wire)), []).append(_route(one, names))
    return found


def _names(kernel: Kernel) -> dict[int, str]:
    return {one.index: one.name for one in kernel.links()}


def _route(seen: RouteSeen, names: dict[int, str]) -> Item:
    return {
        "ours": seen.protocol == PROTOCOL,
        "protocol": seen.protocol,
        "type": seen.spec.type.name.lower(),
        "metric": seen.spec.metric,
        "nextHops": [
            {
                "gateway": None if hop.gateway is None else str(hop.gateway),
                "device": names.get(hop.device),
                "onlink": hop.onlink,
            }
            for hop in seen.spec.next_hops
        ],
    }


def _order(item: Item) -> tuple[int, bytes, int, str]:
    found = parse_prefix(item["prefix"])
    return found.version, found.network_address.packed, found.prefixlen, item.get("session", "")


def kernel_text(routes: list[Item]) -> str:
    """Kernel routes in a cell of a table."""
    return "; ".join(_text(one) for one in routes)


def _text(route: Item) -> str:
    ways = " or ".join(
        " ".join(part for part in (hop["gateway"], f"dev {hop['device']}" if hop["device"] else "") if part)
        for hop in route["nextHops"]
    )
    whose = "" if route["ours"] else f" (protocol {route['protocol']}, not ours)"
    return f"{ways or route['type']} metric {route['metric']}{whose}"

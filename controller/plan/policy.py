"""``towpath policy test``: what a node's policy makes of routes that somebody wrote down, and whether that is as expected.

The node's whole speaker state is planned, and each case asked of ``bgp.verdict``, which goes through the speaker's own code.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from msgspec import Meta as Field
from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.nodes import node_views
from towpath.bgp.verdict import Route, Source, Verdict, attributes, exported, imported, session_of
from towpath.controller.manifests import ManifestError, values
from towpath.controller.node.given import given_routes
from towpath.controller.plan.command import load
from towpath.controller.plan.document import planned
from towpath.controller.plan.inputs import STANDARD_INPUT, Inputs
from towpath.controller.plan.output import Format, yaml_text
from towpath.controller.plan.table import table
from towpath.controller.settings import CannotRunError, UsageError
from towpath.controller.settings import Source as Where
from towpath.model.codec import from_builtins
from towpath.model.community import Community
from towpath.model.kinds.filter import MAX_PRIORITY, Unsigned
from towpath.model.kinds.kind import json_name
from towpath.model.kinds.values import parse_as_number
from towpath.model.net import Prefix
from towpath.model.speaker import Session, SpeakerState
from towpath.routes.plan import left_out

GOOD, REJECTED, UNEXPECTED = 0, 3, 5
_ORIGINS = ("IGP", "EGP", "INCOMPLETE")
Action = Literal["Accept", "Reject"]
T = TypeVar("T")


class CaseRoute(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """A route as it is written in a case: whatever can be sent, also what no object may name."""

    prefix: str
    source: Source | None = None
    from_peer: str | None = None
    interface: str | None = None
    next_hop: str | None = None
    origin: Literal["IGP", "EGP", "INCOMPLETE"] | None = None
    as_path: tuple[int | str, ...] | None = None
    communities: tuple[Community, ...] | None = None
    local_preference: Unsigned | None = None
    med: Unsigned | None = None
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] | None = None


class Case(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """One question, and what is expected of the answer."""

    peer: str
    direction: Literal["Export", "Import", "Kernel"]
    route: CaseRoute
    expect: Action | None = None
    name: str | None = None


class Asked(NamedTuple):
    """A case, where it stands in its file, and its route; of one to export ``source`` is still to be found out."""

    place: str
    case: Case
    route: Route


class Request(Struct, frozen=True):
    """What was asked for on the command line."""

    files: tuple[str, ...]
    source: Where
    node: str
    routes: str
    style: Format = "table"


def run(request: Request) -> int:
    """Print an answer for each case, in order; the exit code."""
    inputs = load(request.files, request.source)
    for warning in inputs.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if request.node not in node_views(inputs.cluster).by_name:
        raise UsageError(f"--node {request.node}: the input has no such node")
    answers = list(answered(inputs, request.node, cases(request.routes)))
    if request.style == "json":
        sys.stdout.writelines(f"{json.dumps(one)}\n" for one in answers)
    elif request.style == "yaml":
        sys.stdout.write(yaml_text(answers))
    else:
        _print_table(answers)
    for one in inputs.rejected:
        print(f"rejected: {one.kind}/{one.name} {one.field}: {one.message}", file=sys.stderr)
    if any(one["ok"] is False for one in answers):
        return UNEXPECTED
    return REJECTED if inputs.rejected else GOOD


def cases(file: str) -> list[Asked]:
    """The cases of a file: a JSON object a line, or a list of them, as YAML or JSON."""
    try:
        text = sys.stdin.read() if file == STANDARD_INPUT else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRunError(f"{file} cannot be read: {error}") from error
    found: list[Asked] = []
    for place, written in _written(file, text):
        try:
            case = from_builtins(written, Case)
            found.append(Asked(place, case, _route(case.route)))
        except ValueError as error:  # msgspec's ValidationError is one
            raise CannotRunError(f"{place}: {error}") from error
    return found


def _written(file: str, text: str) -> Iterator[tuple[str, Any]]:
    if file.endswith((".yaml", ".yml")) or not text.lstrip().startswith("{"):
        try:
            documents = values(text)
        except ManifestError as error:
            raise CannotRunError(f"{file}: {error}") from error
        everything = [one for document in documents for one in (document if isinstance(document, list) else [document])]
        yield from ((f"{file} case {place}", one) for place, one in enumerate(everything, start=1) if one is not None)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"{file} line {number}", json.loads(line)
            except ValueError as error:
                raise CannotRunError(f"{file} line {number}: {error}") from error


def answered(inputs: Inputs, node: str, asked: Iterable[Asked]) -> Iterator[dict[str, Any]]:
    """The answer to each case, as the interface has it; ``CannotRunError`` where one names a peer that is none."""
    state = planned(inputs, node).state
    sessions = tuple(state.sessions[name] for name in sorted(state.sessions))

    def session(name: str, place: str) -> Session:
        found = session_of(sessions, name)
        if found is None:
            raise CannotRunError(f"{place}: node {node} has no session {name}")
        return found

    for place, case, route in asked:
        peer = session(case.peer, place)
        came_by = session(case.route.from_peer, place) if case.route.from_peer is not None else None
        verdict = _verdict(inputs, state, case, route=route, peer=peer, came_by=came_by)
        action = "Accept" if verdict.accepted else "Reject"
        answer = {
            "peer": case.peer,
            "direction": case.direction,
            "prefix": str(case.route.prefix),
            "action": action,
            "reason": str(verdict.reason),
            "rule": verdict.rule or None,
            "attributes": attributes(verdict.outcome),
            "expected": case.expect,
            "ok": None if case.expect is None else case.expect == action,
        }
        yield answer if case.name is None else {"name": case.name, **answer}


def _verdict(
    inputs: Inputs, state: SpeakerState, case: Case, *, route: Route, peer: Session, came_by: Session | None
) -> Verdict:
    if case.direction == "Export":
        source = case.route.source or _source(route.prefix, state, came_by)
        return exported(state, peer, replace(route, source=source), came_by=came_by)
    verdict = imported(state, peer, route)
    if case.direction == "Kernel" and verdict.accepted:
        reason = left_out(inputs.cluster, route.prefix, given=given_routes(inputs.cluster, state.settings.node))
        if reason is not None:
            return Verdict(accepted=False, reason=reason)
    return verdict


def _source(prefix: Prefix, state: SpeakerState, came_by: Session | None) -> Source:
    """Where a route comes from that nothing is said of: a peer that is named, else the node itself if it announces it."""
    if came_by is not None:
        return "BGP"
    announced = state.announcements.get(prefix)
    return announced.source if announced is not None else "Kernel"


def _route(written: CaseRoute) -> Route:
    """``ValueError`` says what of it cannot be."""
    return Route(
        prefix=_parsed("prefix", ip_network, written.prefix),
        next_hop=None if written.next_hop is None else _parsed("nextHop", ip_address, written.next_hop),
        interface=written.interface or "",
        origin=_ORIGINS.index(written.origin or "IGP"),
        as_path=tuple(
            _parsed(f"asPath[{place}]", parse_as_number, one) for place, one in enumerate(written.as_path or ())
        ),
        communities=written.communities or (),
        local_preference=written.local_preference,
        med=written.med,
        priority=written.priority,
    )


def _parsed(field: str, parse: Callable[[Any], T], written: object) -> T:
    try:
        return parse(written)
    except ValueError as error:
        raise ValueError(f"{error} - at `$.route.{field}`") from error


def _print_table(answers: list[dict[str, Any]]) -> None:
    judged = {True: "ok", False: "WRONG", None: ""}
    rows = (
        (
            one.get("name") or place,
            *(one[key] for key in ("peer", "direction", "prefix", "action", "reason", "rule")),
            judged[one["ok"]] if one["ok"] is not False else f"WRONG, {one['expected']} expected",
        )
        for place, one in enumerate(answers, start=1)
    )
    for line in table(rows, head=("CASE", "PEER", "DIRECTION", "PREFIX", "ACTION", "REASON", "RULE", "TEST")):
        print(line)
    wrong = sum(one["ok"] is False for one in answers)
    print(f"{len(answers)} cases, {sum(one['ok'] is not None for one in answers)} tested, {wrong} wrong")

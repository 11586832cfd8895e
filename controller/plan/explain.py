"""``towpath explain``: one prefix, from the object that caused it, through every session's policy, to who installs it.

Made from the objects by the functions that agents and speakers run; what a kernel holds at this moment only its node knows.
"""

import sys
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from msgspec import Struct

from towpath.bgp.nodes import node_views
from towpath.bgp.verdict import Outcome, Route, Verdict, exported, imported
from towpath.controller.node.given import given_routes
from towpath.controller.plan.command import load
from towpath.controller.plan.converge import Ends, ends_of
from towpath.controller.plan.document import planned, whys
from towpath.controller.plan.inputs import Inputs
from towpath.controller.plan.output import Format, json_text, yaml_text
from towpath.controller.plan.policy import attributes
from towpath.controller.plan.table import table
from towpath.controller.settings import Source, UsageError
from towpath.model.blocks import in_force
from towpath.model.cluster import Cluster
from towpath.model.community import Community
from towpath.model.net import Prefix, contains, family_of, host_prefix, parse_prefix
from towpath.model.speaker import Announcement, SpeakerState
from towpath.routes.plan import left_out

SCHEMA = "towpath.explain/1"
Item = dict[str, Any]


class Request(Struct, frozen=True):
    """What was asked for on the command line."""

    what: str
    files: tuple[str, ...]
    source: Source
    node: str | None = None
    style: Format = "table"


def run(request: Request) -> int:
    """Print what is known of the prefix; the exit code."""
    inputs = load(request.files, request.source)
    if request.node is not None and request.node not in node_views(inputs.cluster).by_name:
        raise UsageError(f"--node {request.node}: there is no such node")
    document = explained(inputs, _asked(request.what), node=request.node)
    if request.style == "table":
        print("\n".join(_lines(document)))
    else:
        sys.stdout.write(json_text(document) if request.style == "json" else yaml_text(document))
    return 0


def explained(inputs: Inputs, asked: Prefix, *, node: str | None = None) -> Item:
    """Everything of the longest announced prefix that holds ``asked``, or of ``asked`` where nobody announces any.

    ``node``: of what is told and used, this node's part alone.
    """
    states = {name: planned(inputs, name).state for name in node_views(inputs.cluster).by_name}
    around = [one for state in states.values() for one in state.announcements if contains(one, asked)]
    prefix = max(around, key=lambda one: one.prefixlen, default=asked)
    told: list[Item] = []
    used: list[Item] = []
    origins: list[Item] = []
    ends = dict(ends_of(states))
    for name, state in states.items():
        announcement = state.announcements.get(prefix)
        if announcement is None:
            continue
        origins.append({"node": name, "source": announcement.source, "why": whys(announcement.why)})
        for here, there in _spread(inputs.cluster, states, ends, name, announcement):
            told += [here] if node in (None, name) else []
            used += [there] if there is not None and node in (None, there["node"]) else []
    return {
        "schema": SCHEMA,
        "prefix": str(prefix),
        **_owned(inputs.cluster, prefix),
        "announcedBy": origins,
        "told": told,
        "used": used,
    }


def _asked(text: str) -> Prefix:
    try:
        return parse_prefix(text) if "/" in text else host_prefix(ip_address(text))
    except ValueError as error:
        raise UsageError(f"{text!r} is neither a prefix nor an address: {error}") from error


def _owned(cluster: Cluster, prefix: Prefix) -> Item:
    pool = next((name for name, one in cluster.pools.items() if contains(one.spec.cidr, prefix)), None)
    block = next((one for cidr, one in in_force(cluster.blocks).items() if contains(cidr, prefix)), None)
    return {
        "pool": pool,
        "block": None
        if block is None
        else {"name": block.name, "cidr": str(block.spec.cidr), "node": block.spec.node, "state": block.spec.state},
    }


def _spread(
    cluster: Cluster, states: Mapping[str, SpeakerState], ends: Ends, name: str, announcement: Announcement
) -> Iterator[tuple[Item, Item | None]]:
    """What a node tells on each session, and what becomes of it at the other end where that is a node of ours."""
    state = states[name]
    route = Route(
        prefix=announcement.prefix,
        source=announcement.source,
        communities=tuple(map(Community.parse, announcement.communities)),
        local_preference=announcement.local_preference,
    )
    for session in (state.sessions[one] for one in sorted(state.sessions)):
        if session.state != "Active" or family_of(announcement.prefix) not in session.families:
            continue
        verdict = exported(state, session, route)
        here = {"node": name, "session": session.name, "peerIP": str(session.peer_address), **_judged(verdict)}
        there = None
        if verdict.outcome is not None and (name, session.name) in ends:
            other, back = ends[name, session.name]
            there = _heard(cluster, states[other], back, announcement.prefix, verdict.outcome)
        yield here, there


def _heard(cluster: Cluster, state: SpeakerState, session: str, prefix: Prefix, outcome: Outcome) -> Item:
    route = Route(
        prefix=prefix,
        source="BGP",
        next_hop=outcome.next_hop,
        as_path=outcome.as_path,
        communities=outcome.communities,
        local_preference=outcome.local_preference,
        med=outcome.med,
    )
    verdict = imported(state, state.sessions[session], route)
    kept_out = (
        left_out(cluster, prefix, given=given_routes(cluster, state.settings.node))
        if verdict.accepted
        else verdict.reason
    )
    return {
        "node": state.settings.node,
        "session": session,
        **_judged(verdict),
        "installed": kept_out is None,
        "notInstalled": kept_out,
    }


def _judged(verdict: Verdict) -> Item:
    return {
        "action": "Accept" if verdict.accepted else "Reject",
        "reason": verdict.reason,
        "rule": verdict.rule or None,
        "attributes": attributes(verdict.outcome),
    }


def _lines(document: Item) -> Iterator[str]:
    block = document["block"]
    yield f"{document['prefix']}: pool {document['pool'] or 'none'}, " + (
        f"block {block['cidr']} of {block['node']} ({block['state']})" if block else "no block"
    )
    for one in document["announcedBy"]:
        causes = ", ".join(f"{why['kind']}/{why['name']} {why['field'] or ''}".strip() for why in one["why"])
        yield f"announced by {one['node']} ({one['source']}), because of {causes}"
    if not document["announcedBy"]:
        yield "announced by nobody"
    for title, key, columns in (
        ("told", "told", ("node", "session", "action", "reason", "rule")),
        ("used", "used", ("node", "session", "action", "reason", "rule", "installed")),
    ):
        rows = [[_cell(one[column]) for column in columns] for one in document[key]]
        if rows:
            yield f"{title}:"
            yield from (f"  {line}" for line in table(rows, head=[column.upper() for column in columns]))


def _cell(value: object) -> object:
    return ("yes" if value else "no") if isinstance(value, bool) else value

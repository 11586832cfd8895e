"""``towpath explain``: one prefix, from the object that caused it, through every session's policy, to who installs it.

Made from the objects by the functions that agents and speakers run. What this machine's speaker has heard, uses and has told at
this moment, and what its kernel holds, is added by ``--here``.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from towpath.bgp.nodes import node_views
from towpath.bgp.verdict import Outcome, Route, Verdict, attributes, exported, imported
from towpath.controller.node.given import given_routes
from towpath.controller.node.source import KINDS
from towpath.controller.plan import here
from towpath.controller.plan.command import load
from towpath.controller.plan.converge import Ends, ends_of
from towpath.controller.plan.document import planned
from towpath.controller.plan.inputs import Inputs, read
from towpath.controller.plan.live import pods
from towpath.controller.plan.request import Request, show
from towpath.controller.plan.sessions import whys
from towpath.controller.plan.table import table
from towpath.controller.settings import CannotRunError, UsageError
from towpath.controller.store import FIELDS
from towpath.model.blocks import in_force, pool_holding
from towpath.model.cluster import Cluster
from towpath.model.community import Community
from towpath.model.net import Address, Prefix, contains, family_of, host_prefix, parse_prefix
from towpath.model.speaker import Announcement, SpeakerState
from towpath.routes.plan import left_out

SCHEMA = "towpath.explain/1"
_UNASKED: Final = FIELDS.keys() - KINDS
"""What an agent does not follow: nothing here depends on it, and an agent's account may not list it."""
POD_SCHEMA = "towpath.explain.pod/1"
_POD: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9][a-z0-9.-]*")
Item = dict[str, Any]


def run(request: Request) -> int:
    """Print what is known of the prefix; the exit code."""
    namespace, _, pod = request.what.partition("/")
    if _POD.fullmatch(request.what):  # no prefix: those have dots or colons before the slash
        addresses = _pod_addresses(request, namespace=namespace, name=pod)
        documents = [_document(request, host_prefix(one)) for one in addresses]
        document = {"schema": POD_SCHEMA, "pod": request.what, "addresses": documents}
        show(document, request.style, (line for one in documents for line in _lines(one)))
        return 0
    document = _document(request, _asked(request.what))
    show(document, request.style, _lines(document))
    return 0


def _document(request: Request, asked: Prefix) -> Item:
    """From the objects, and with ``here`` from speaker and kernel too: those answer where the API server does not."""
    now = here.prefix(request.here, asked) if request.here is not None else None
    try:
        inputs = load(request.files, request.source, spared=_UNASKED)
    except CannotRunError as error:
        if now is None:
            raise
        print(f"warning: without the objects: {error}", file=sys.stderr)
        known: Item = {"pool": None, "poolDeleted": None, "block": None, "announcedBy": [], "told": [], "used": []}
        return {"schema": SCHEMA, "prefix": now["prefix"], **known, "here": now}
    if request.node is not None and request.node not in node_views(inputs.cluster).by_name:
        raise UsageError(f"--node {request.node}: there is no such node")
    return {**explained(inputs, asked, node=request.node), "here": now}


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
        for said, there in _spread(inputs.cluster, states, ends, name, announcement):
            told += [said] if node in (None, name) else []
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
        raise UsageError(f"{text!r} is no prefix, no address and no pod (NAMESPACE/NAME): {error}") from error


def _pod_addresses(request: Request, *, namespace: str, name: str) -> list[Address]:
    """The addresses of a pod, of the files or of the live cluster; ``CannotRunError`` where it has none."""
    bodies = read(request.files) if request.files else pods(request.source, namespace=namespace, name=name)
    for body in bodies:
        metadata = body["metadata"]
        if (body["kind"], metadata.get("namespace", "default"), metadata["name"]) == ("Pod", namespace, name):
            status = body.get("status") or {}
            found = [one["ip"] for one in status.get("podIPs") or () if one.get("ip")]
            if not found:
                raise CannotRunError(f"Pod {namespace}/{name} has no address yet")
            return [ip_address(one) for one in found]
    raise CannotRunError(f"Pod {namespace}/{name}: there is no such pod")


def _owned(cluster: Cluster, prefix: Prefix) -> Item:
    pool = pool_holding(prefix, cluster.pools)
    block = next((one for cidr, one in in_force(cluster.blocks).items() if contains(cidr, prefix)), None)
    return {
        "pool": None if pool is None else pool.name,
        "poolDeleted": (pool.meta.deletion_timestamp or None) if pool is not None else None,
        "network": pool.spec.attachment.master if pool is not None and pool.spec.attachment.on_underlay else None,
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
        peer = str(session.peer_address) if session.found else session.interface
        said = {"node": name, "session": session.name, "peerIP": peer, **_judged(verdict)}
        there = None
        if verdict.outcome is not None and (name, session.name) in ends:
            other, back = ends[name, session.name]
            there = _heard(cluster, states[other], back, announcement.prefix, verdict.outcome)
        yield said, there


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
    block, deleted = document["block"], document.get("poolDeleted")
    going = f" (deleted at {deleted}: it goes with its last block)" if deleted else ""
    yield f"{document['prefix']}: pool {document['pool'] or 'none'}{going}, " + (
        f"block {block['cidr']} of {block['node']} ({block['state']})" if block else "no block"
    )
    for one in document["announcedBy"]:
        causes = ", ".join(f"{why['kind']}/{why['name']} {why['field'] or ''}".strip() for why in one["why"])
        yield f"announced by {one['node']} ({one['source']}), because of {causes}"
    if not document["announcedBy"]:
        network = document.get("network")
        yield "announced by nobody" + (f": its pods are found on the network of {network}" if network else "")
    for title, key, columns in (
        ("told", "told", ("node", "session", "action", "reason", "rule")),
        ("used", "used", ("node", "session", "action", "reason", "rule", "installed")),
    ):
        rows = [[one[column] for column in columns] for one in document[key]]
        if rows:
            yield f"{title}:"
            yield from (f"  {line}" for line in table(rows, head=[column.upper() for column in columns]))
    if document["here"] is not None:
        yield from _lines_here(document["here"])


def _lines_here(now: Item) -> Iterator[str]:
    """What speaker and kernel of this machine have."""
    yield f"here, {now['prefix']}:"
    heard = (
        (
            one["session"],
            one["action"],
            one["reason"],
            one["rule"],
            *_shown(one["attributes"]),
            "stale" if one["stale"] else "" if one["reachable"] else "unreachable",
        )
        for one in now["heard"]
    )
    yield from _under(
        "heard", heard, ("SESSION", "ACTION", "REASON", "RULE", "NEXT HOP", "AS PATH", "LOCAL PREF", "MED", "STATE")
    )
    used = now["used"]
    if used is not None:
        yield f"  used: {', '.join(used['nextHops'])}, heard on {', '.join(used['sessions'])}" + (
            " (provisionally: its owner is not known)" if used["provisional"] else ""
        )
    told = ((one["session"], *_shown(one["attributes"])) for one in now["told"])
    yield from _under("told", told, ("SESSION", "NEXT HOP", "AS PATH", "LOCAL PREF", "MED"))
    yield f"  kernel: {here.kernel_text(now['kernel']) or 'no route'}"


def _shown(attributes: Item | None) -> tuple[object, ...]:
    found = attributes or {}
    return (
        found.get("nextHop"),
        " ".join(map(str, found.get("asPath", ()))),
        found.get("localPreference"),
        found.get("med"),
    )


def _under(title: str, rows: Iterable[Sequence[object]], head: Sequence[str]) -> Iterator[str]:
    for place, line in enumerate(table(rows, head=head)):
        if place == 0:
            yield f"  {title}:"
        yield f"    {line}"

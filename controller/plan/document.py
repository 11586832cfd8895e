"""A plan as the document that other programs read (``towpath.plan/1``): one node's speaker, routes and CNI configuration.

Everything is asked of the functions that the agent asks. Keys are the API's; what is unknown or absent is null.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from operator import attrgetter
from typing import Any

from msgspec.structs import fields, replace

from towpath.bgp.nodes import node_views
from towpath.bgp.origins import SpeakerPlan, speaker_plan
from towpath.bgp.service_table import service_announcements
from towpath.bgp.services import configured
from towpath.controller.node.given import given_routes
from towpath.controller.plan.inputs import Inputs, Rejected
from towpath.controller.secrets import missing_passwords
from towpath.controller.settings import RUN_DIR
from towpath.ipam.cni import Places, conflist
from towpath.model.blocks import in_force
from towpath.model.cluster import Cluster
from towpath.model.codec import to_builtins
from towpath.model.kinds.kind import json_name
from towpath.model.net import Address, Family, contains
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.speaker import Announcement, Session, SpeakerState
from towpath.routes.route import MAIN_TABLE, StaticRoute

SCHEMA = "towpath.plan/1"
Document = dict[str, Any]
_NAMED = {
    "name", "scope", "peer_address", "peer_port", "remote_as", "local_as", "local_address", "passive", "families",
    "hold_time", "keepalive_time", "connect_retry_time", "restart_time", "import_policy", "max_prefix",
    "allow_local_as", "filters", "advertise", "next_hop", "password_ref", "state", "reason", "why",
    "peer_node", "shared_subnet", "interface", "next_hop_beside",
}  # fmt: skip
"""Fields of a session that are written under names of their own, or say what other fields say."""
_FURTHER = tuple((one.name, json_name(one.name)) for one in fields(Session) if one.name not in _NAMED)
"""All others are written as they are named."""
_PLAIN = frozenset({bool, int, str})
_PEERS = frozenset({"name", "peer_address", "passive", "why", "peer_node"})
"""Fields in which the sessions of a mesh differ."""
_SHAPE: Callable[[Session], tuple[object, ...]] = attrgetter(
    *(one.name for one in fields(Session) if one.name not in _PEERS), "found"
)


def planned(inputs: Inputs, node: str) -> SpeakerPlan:
    """The speaker's plan of a node, as its agent makes it while the API server answers and nothing is severed."""
    cluster = inputs.cluster
    plan = speaker_plan(
        cluster,
        node,
        secrets=inputs.passwords,
        forwarding_preserved=False,
        provisional=False,
        severed=(),
        own_addresses=(),
        gateways=(),
    )
    if not configured(cluster.bgp):
        return plan
    announcements = service_announcements(cluster, node) | plan.state.announcements
    return replace(plan, state=replace(plan.state, announcements=announcements))


def node_document(inputs: Inputs, node: str, *, learned: Iterable[Document] = ()) -> Document:
    """What a node will do. ``learned``: routes that its speaker has, where they are known."""
    cluster, plan = inputs.cluster, planned(inputs, node)
    state, me = plan.state, node_views(cluster).by_name[node]
    metric = cluster.bgp.kernel_metric
    given = [_route(one, metric) for _, one in sorted(given_routes(cluster, node).items(), key=_by_prefix)]
    taken = {one["prefix"] for one in given}
    warnings = {
        *plan.warnings,
        *missing_passwords(state.sessions.values(), inputs.missing),
        *_doubtful_blocks(cluster, node),
    }
    return {
        "asNumber": me.as_number,
        "routerID": str(state.settings.router_id),
        "families": {family.key: family in me.addresses for family in Family},
        "listen": [{"address": _text(one.address), "port": one.port} for one in state.settings.listen],
        "sessions": list(_sessions(state.sessions[name] for name in sorted(state.sessions))),
        "announcements": [_announcement(one, state) for _, one in sorted(state.announcements.items(), key=_by_prefix)],
        "routes": [*given, *(one for one in learned if one["prefix"] not in taken)],
        "devices": [],
        "neighbours": [],
        "forwarding": [],
        "nat": [],
        "cni": _cni(cluster, node),
        "warnings": [_warning(one) for one in sorted(warnings)],
    }


def rejected_document(rejected: Iterable[Rejected]) -> list[Document]:
    """The objects that do not count."""
    return [
        {"object": {"kind": one.kind, "name": one.name}, "field": one.field or None, "message": one.message}
        for one in rejected
    ]


def documents_by_node(inputs: Inputs, nodes: Iterable[str]) -> Iterator[tuple[str, Document]]:
    """Each node with its document, one at a time: a mesh of a thousand nodes has a million sessions."""
    for node in nodes:
        yield node, node_document(inputs, node)


def _sessions(found: Iterable[Session]) -> Iterator[Document]:
    """Sessions as documents: one that differs from the one before it only in who the peer is takes over the rest."""
    shape: tuple[object, ...] = ()
    last: Document = {}
    for one in found:
        now = _SHAPE(one)
        if now != shape:
            shape, last = now, _session(one)
            yield last
            continue
        yield {
            **last,
            "name": one.name,
            "peerIP": _text(one.peer_address) if last["peerIP"] is not None else None,
            "passive": one.passive,
            "why": whys(one.why),
        }


def _session(one: Session) -> Document:
    made: Document = {
        "name": one.name,
        "scope": one.scope,
        "state": one.state,
        "reason": one.reason,
        "peerIP": _text(one.peer_address) if one.found else None,
        "interface": one.interface,
        "port": one.peer_port,
        "remoteAS": one.remote_as,
        "localAS": one.local_as,
        "type": "eBGP" if one.ebgp else "iBGP",
        "localAddress": _text(one.local_address),
        "passive": one.passive,
        "password": {"secret": one.password_ref.name, "key": one.password_ref.key} if one.password_ref else None,
        "holdTime": one.hold_time,
        "keepaliveTime": one.keepalive_time,
        "connectRetryTime": one.connect_retry_time,
        "gracefulRestart": None if one.restart_time is None else {"restartTime": one.restart_time},
        "nextHop": one.next_hop,
        "allowLocalAS": one.allow_local_as,
        "addressFamilies": [family.key for family in one.families],
        "filters": list(one.filters),
        "advertise": one.advertise,
        "importPolicy": one.import_policy,
        "maxPrefixes": {
            "limit": one.max_prefix.limit,
            "warnPercent": one.max_prefix.warn_percent,
            "action": one.max_prefix.action,
            "restartAfter": one.max_prefix.restart_after,
        },
    }
    for name, key in _FURTHER:
        value = getattr(one, name)
        made[key] = value if value is None or type(value) in _PLAIN else to_builtins(value)
    made["why"] = whys(one.why)
    return made


def _announcement(one: Announcement, state: SpeakerState) -> Document:
    inside = (each for each in state.settings.tagged if contains(each.cidr, one.prefix))
    tags = (str(community) for each in inside for community in each.communities)
    return {
        "prefix": str(one.prefix),
        "source": one.source,
        "communities": list(dict.fromkeys((*one.communities, *tags))),
        "localPreference": one.local_preference,
        "why": whys(one.why),
    }


def _route(one: StaticRoute, metric: int) -> Document:
    return {
        "prefix": str(one.prefix),
        "type": one.type,
        "nextHops": [{"gateway": str(hop), "device": None, "onlink": False} for hop in one.next_hops],
        "metric": metric,
        "table": MAIN_TABLE,
        "origin": one.origin,
        "why": whys(one.why),
    }


def _cni(cluster: Cluster, node: str) -> Document:
    """The conflist once all blocks of the node serve; where its files lie and which plugins there are only the node knows."""
    blocks = [one.spec for one in in_force(cluster.blocks).values() if one.spec.node == node]
    return conflist(blocks, cluster.pools, data_dir=Places(RUN_DIR, RUN_DIR).data_dir) if blocks else {}


def _doubtful_blocks(cluster: Cluster, node: str) -> Iterator[Refusal]:
    """Blocks of a node that do not count, or that no pool holds."""
    counting = in_force(cluster.blocks)
    for name, block in cluster.blocks.items():
        cidr, why = block.spec.cidr, Why("IPAMBlock", name, "spec.cidr")
        if block.spec.node != node:
            continue
        if cidr not in counting:
            yield Refusal(Reason.OVERLAPPING_BLOCK, f"an older block overlaps {cidr}: this one does not count", why)
        elif not any(contains(pool.spec.cidr, cidr) for pool in cluster.pools.values()):
            yield Refusal(Reason.NO_POOL, f"{cidr} lies in no pool: it is taken as it is", why)


def _warning(one: Refusal) -> Document:
    return {
        "reason": one.reason,
        "message": one.message,
        "object": {"kind": one.object.kind, "name": one.object.name},
    }


def whys(causes: Iterable[Why]) -> list[Document]:
    """Why an item is there."""
    return [{"kind": why.kind, "name": why.name, "field": why.field or None} for why in causes]


@lru_cache(maxsize=1 << 16)
def _text(value: Address | None) -> str | None:
    """The address of a node stands in every other node's plan."""
    return None if value is None else str(value)


def _by_prefix(item: tuple[Any, object]) -> tuple[int, int, int]:
    prefix = item[0]
    return prefix.version, int(prefix.network_address), prefix.prefixlen

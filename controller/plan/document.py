"""A plan as the document that other programs read (``towpath.plan/1``): one node's speaker, routes and CNI configuration.

Everything is asked of the functions that the agent asks. Keys are the API's; what is unknown or absent is null.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from towpath.bgp.nodes import node_views
from towpath.bgp.origins import SpeakerPlan, speaker_plan
from towpath.bgp.service_table import service_announcements
from towpath.bgp.services import configured
from towpath.controller.node.given import given_routes, local_routes
from towpath.controller.node.outgoing import excluded_ports, exclusions, translated
from towpath.controller.plan.inputs import Inputs, Rejected
from towpath.controller.plan.pods import cni, networks, pod_devices
from towpath.controller.plan.sessions import Document, Encoded, SessionWriter, whys
from towpath.controller.plan.table import SessionRows
from towpath.controller.secrets import missing_passwords
from towpath.ipam.attachment import attached_to
from towpath.model.blocks import in_force, pool_holding
from towpath.model.cluster import Cluster
from towpath.model.encapsulation import tunnel_conflicts
from towpath.model.memo import remembered
from towpath.model.net import Family, contains, family_of, host_prefix
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.speaker import Announcement, Session, SpeakerState
from towpath.routes.devices.device import Device, Forwarding, Neighbour, Vxlan
from towpath.routes.devices.plan import mtu_below, tunnel_plan
from towpath.routes.route import DEFAULT_METRIC, LOCAL_TABLE, MAIN_TABLE, StaticRoute

SCHEMA = "towpath.plan/1"
Written = Callable[[Iterable[Session]], list[Document] | Encoded | list[SessionRows]]


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
        workloads=cluster.workloads.values(),
    )
    if not configured(cluster.bgp):
        return plan
    announcements = service_announcements(cluster, node) | plan.state.announcements
    return replace(plan, state=replace(plan.state, announcements=announcements))


def node_document(
    inputs: Inputs, node: str, *, learned: Iterable[Document] = (), sessions: Written | None = None
) -> Document:
    """What a node will do. ``learned``: routes that its speaker has, where they are known; ``sessions``: how those are written."""
    cluster, plan = inputs.cluster, planned(inputs, node)
    state, me = plan.state, node_views(cluster).by_name[node]
    metric = cluster.bgp.kernel_metric
    known = cluster.routing_nodes.get(node)
    tunnels = tunnel_plan(cluster, node, mtu=mtu_below(known) if known is not None else None)
    given = [_route(one, metric) for _, one in sorted(given_routes(cluster, node, tunnels).items(), key=_by_prefix)]
    given += [_local_route(one) for _, one in sorted(local_routes(cluster, node).items(), key=_by_prefix)]
    taken = {one["prefix"] for one in given}
    warnings = {
        *plan.warnings,
        *missing_passwords(state.sessions.values(), inputs.missing),
        *_doubtful_blocks(cluster).get(node, ()),
        *tunnel_conflicts(cluster.pools),
        *attached_to(cluster, node).refusals.values(),
    }
    return {
        "asNumber": me.as_number,
        "routerID": str(state.settings.router_id),
        "families": {family.key: family in me.addresses for family in Family},
        "listen": [
            {"address": None if one.address is None else str(one.address), "port": one.port}
            for one in state.settings.listen
        ],
        "sessions": (sessions or SessionWriter().documents)(map(state.sessions.__getitem__, sorted(state.sessions))),
        "announcements": [_announcement(one, state) for _, one in sorted(state.announcements.items(), key=_by_prefix)],
        "routes": [*given, *(one for one in learned if one["prefix"] not in taken)],
        "devices": [*map(_device, tunnels.devices.values()), *pod_devices(cluster, node)],
        "neighbours": [_neighbour(one) for entries in tunnels.entries.values() for one in entries.neighbours.values()],
        "forwarding": [_forwarding(one) for entries in tunnels.entries.values() for one in entries.forwarding.values()],
        "nat": _nat(cluster, state.sessions.values()),
        "cni": cni(cluster, node),
        "networks": networks(cluster, node),
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
        "nextHops": [
            {"gateway": str(hop), "device": one.device or None, "onlink": bool(one.device)} for hop in one.next_hops
        ],
        "metric": metric,
        "table": MAIN_TABLE,
        "origin": one.origin,
        "why": whys(one.why),
    }


def _local_route(one: StaticRoute) -> Document:
    ways = [{"gateway": None, "device": "lo", "onlink": False}]
    return {**_route(one, DEFAULT_METRIC), "nextHops": ways, "table": LOCAL_TABLE}


def _nat(cluster: Cluster, sessions: Iterable[Session]) -> list[Document]:
    pools = translated(cluster)
    ports = [f"{protocol}/{port}" for protocol, port in excluded_ports(cluster, sessions)] if pools else []
    return [
        {
            "name": pool.name,
            "prefix": str(pool.spec.cidr),
            "family": family_of(pool.spec.cidr).key,
            "exclusions": _exclusions(cluster)[family_of(pool.spec.cidr)],
            "excludedPorts": ports,
            "why": whys([Why("IPPool", pool.name, "spec.natOutgoing")]),
        }
        for pool in pools
    ]


@remembered
def _exclusions(cluster: Cluster) -> Mapping[Family, list[str]]:
    return {family: [str(one) for one in exclusions(cluster) if family_of(one) is family] for family in Family}


def _device(one: Device) -> Document:
    """Its MTU is what the network below leaves of a packet, known once the node has said what that takes."""
    link = one.link
    vxlan: Document = {}
    if isinstance(link, Vxlan):
        vxlan = {"vni": link.vni, "port": link.port, "mac": link.mac, "learning": link.group is not None}
        if link.group is not None:
            vxlan["group"] = str(link.group)
    return {
        "name": one.name,
        "kind": link.kind,
        "mtu": one.mtu,
        "attributes": {
            "local": str(link.local),
            **vxlan,
            "addresses": [str(host_prefix(address)) for address in one.addresses],
        },
        "why": whys(one.why),
    }


def _neighbour(one: Neighbour) -> Document:
    return {"address": str(one.address), "device": one.device, "mac": one.mac, "why": whys(one.why)}


def _forwarding(one: Forwarding) -> Document:
    return {"mac": one.mac, "device": one.device, "node": str(one.node), "why": whys(one.why)}


@remembered
def _doubtful_blocks(cluster: Cluster) -> Mapping[str, Sequence[Refusal]]:
    """Blocks that do not count, or that no pool holds, by the node that has them."""
    found: dict[str, list[Refusal]] = {}
    counting = in_force(cluster.blocks)
    for name, block in cluster.blocks.items():
        cidr, why = block.spec.cidr, Why("IPAMBlock", name, "spec.cidr")
        if cidr not in counting:
            message = f"an older block overlaps {cidr}: this one does not count"
            found.setdefault(block.spec.node, []).append(Refusal(Reason.OVERLAPPING_BLOCK, message, why))
        elif pool_holding(cidr, cluster.pools) is None:
            message = f"{cidr} lies in no pool: it is taken as it is"
            found.setdefault(block.spec.node, []).append(Refusal(Reason.NO_POOL, message, why))
    return found


def _warning(one: Refusal) -> Document:
    return {
        "reason": one.reason,
        "message": one.message,
        "object": {"kind": one.object.kind, "name": one.object.name},
    }


def _by_prefix(item: tuple[Any, object]) -> tuple[int, int, int]:
    prefix = item[0]
    return prefix.version, int(prefix.network_address), prefix.prefixlen

"""The tunnel devices of a node, whom each of them knows, and the routes that lead into them: what the objects ask for."""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster, RoutingNode
from towpath.model.encapsulation import (
    IPIP_DEVICE,
    Encapsulation,
    Way,
    encapsulation,
    falls_back,
    mac_of,
    tunnels,
    underlay,
)
from towpath.model.memo import Pieces
from towpath.model.net import Address, Family, Prefix, family_of
from towpath.model.reason import Why
from towpath.routes.devices.device import Device, Entries, Forwarding, Ipip, Link, Neighbour, Vxlan, overhead
from towpath.routes.route import StaticRoute


class TunnelPlan(Struct, frozen=True):
    """Everything of one node, by the names of the devices and the prefixes of the routes."""

    devices: Mapping[str, Device] = {}
    entries: Mapping[str, Entries] = {}
    routes: Mapping[Prefix, StaticRoute] = {}
    """Also those of blocks in such pools to which no tunnel is needed."""


def tunnel_plan(
    cluster: Cluster, node: str, *, mtu: int | None = None, without: Collection[Address] = ()
) -> TunnelPlan:
    """``mtu``: of the network below, where it is known; ``without``: addresses that the node cannot have for now."""
    me = cluster.routing_nodes.get(node)
    part = encapsulation(cluster, node)
    if me is None or not (part.ways or part.endpoints):
        return TunnelPlan()
    entries: dict[str, tuple[dict[Address, Neighbour], dict[str, Forwarding]]] = {}
    routes: dict[Prefix, StaticRoute] = {}
    for piece in _PIECES.of((name, (ways,)) for name, ways in part.ways.items()).values():
        routes.update((route.prefix, route) for route in piece.routes)
        for neighbour, forwarding in piece.ends:
            known = entries.setdefault(neighbour.device, ({}, {}))
            known[0][neighbour.address] = neighbour
            known[1][forwarding.mac] = forwarding
    devices = {one.name: one for one in _devices(cluster, me, part, mtu=mtu, without=without)}
    return TunnelPlan(devices, {name: Entries(*entries.get(name, ({}, {}))) for name in devices}, routes)


def mtu_below(node: RoutingNode) -> int | None:
    """The MTU of the network that a node's tunnels go through, by what it says of itself; None: it has not said it."""
    said = node.status
    return None if said is None or said.mtu is None else said.mtu + overhead(said.tunnels or ())


class _Piece(Struct, frozen=True):
    """What leads to one other node."""

    routes: tuple[StaticRoute, ...]
    ends: tuple[tuple[Neighbour, Forwarding], ...]


def _piece(ways: tuple[Way, ...]) -> _Piece:
    ends: dict[tuple[str, Address], tuple[Neighbour, Forwarding]] = {}
    for way in ways:
        if way.node is not None and way.endpoint is not None and (way.device, way.gateway) not in ends:
            mac = mac_of(way.owner.name)
            ends[way.device, way.gateway] = (
                Neighbour(way.device, way.gateway, mac, _endpoint_causes(way)),
                Forwarding(way.device, mac, way.node, _node_causes(way)),
            )
    return _Piece(tuple(_route(way.block.spec.cidr, way) for way in ways), tuple(ends.values()))


_PIECES: Pieces[_Piece] = Pieces(_piece)


def _route(prefix: Prefix, way: Way) -> StaticRoute:
    why = (
        Why("IPAMBlock", way.block.name, "spec.node"),
        Why("IPPool", way.pool.name, way.pool.spec.mode_field),
        Why("RoutingNode", way.owner.name, f"spec.bgp.{family_of(way.node or way.gateway).key}Address"),
    )
    return StaticRoute(prefix, "unicast", "Kubernetes", (way.gateway,), why, device=way.device)


def _endpoint_causes(way: Way) -> tuple[Why, ...]:
    block = way.endpoint.name if way.endpoint is not None else way.block.name
    return Why("IPAMBlock", block, "spec.cidr"), Why("RoutingNode", way.owner.name, "metadata.name")


def _node_causes(way: Way) -> tuple[Why, ...]:
    name = way.owner.name
    field = f"spec.bgp.{family_of(way.node or way.gateway).key}Address"
    return Why("RoutingNode", name, "metadata.name"), Why("RoutingNode", name, field)


def _devices(
    cluster: Cluster, me: RoutingNode, part: Encapsulation, *, mtu: int | None, without: Collection[Address]
) -> Iterable[Device]:
    """One for each tunnel that the node has an address in or sends to, over each family that it is needed for."""
    mine = node_addresses(me)
    own: dict[str, list[Address]] = {}
    causes: dict[str, dict[Why, None]] = {}
    links: dict[str, Link] = {}
    of_pool = tunnels(cluster.pools)
    short = falls_back(cluster.routing_nodes)

    def needed(pool: str, outer: Family) -> Iterable[str]:
        spec, tunnel = cluster.pools[pool].spec, of_pool[pool]
        local = mine[outer].ip
        found: dict[str, Link] = {}
        if spec.by_ipip and outer is Family.IPV4:
            found[IPIP_DEVICE] = Ipip(local)
        if short or not found:
            found[tunnel.device(outer)] = Vxlan(tunnel.vni, tunnel.port, local, mac_of(me.name))
        links.update(found)
        for name in found:
            causes.setdefault(name, {})[Why("IPPool", pool, spec.mode_field)] = None
        return found

    sent = {(way.pool.name, family_of(way.node)) for ways in part.ways.values() for way in ways if way.node is not None}
    for pool, outer in sorted(sent):
        needed(pool, outer)
    for (vni, family), block in part.endpoints.items():
        below = underlay(mine, mine, inner=family)
        if below is None:
            continue
        pools = [name for name, tunnel in of_pool.items() if tunnel.vni == vni]
        pools = [name for name in pools if family_of(cluster.pools[name].spec.cidr) is family]
        for name in dict.fromkeys(name for pool in pools for name in needed(pool, below)):
            own.setdefault(name, []).append(block.spec.cidr.network_address)
            causes[name][Why("IPAMBlock", block.name, "spec.cidr")] = None
    for name, link in sorted(links.items()):
        yield Device(
            name,
            link,
            tuple(one for one in own.get(name, ()) if one not in without),
            None if mtu is None else mtu - link.overhead,
            tuple(causes[name]),
        )

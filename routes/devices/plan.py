"""The tunnel devices of a node, whom each of them knows, and the routes that lead into them: what the objects ask for."""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster, RoutingNode
from towpath.model.encapsulation import Encapsulation, Way, encapsulation, mac_of, tunnels, underlay
from towpath.model.net import Address, Family, Prefix, family_of
from towpath.model.reason import Why
from towpath.routes.devices.device import Device, Entries, Forwarding, Neighbour, Vxlan
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
    for prefix, way in part.ways.items():
        routes[prefix] = _route(prefix, way)
        if way.device and way.node is not None and way.endpoint is not None:
            neighbours, forwarding = entries.setdefault(way.device, ({}, {}))
            if way.gateway not in neighbours:
                mac, causes = mac_of(way.owner.name), _endpoint_causes(way)
                neighbours[way.gateway] = Neighbour(way.device, way.gateway, mac, causes)
                forwarding[mac] = Forwarding(way.device, mac, way.node, _node_causes(way))
    devices = {one.name: one for one in _devices(cluster, me, part, mtu=mtu, without=without)}
    return TunnelPlan(devices, {name: Entries(*entries.get(name, ({}, {}))) for name in devices}, routes)


def _route(prefix: Prefix, way: Way) -> StaticRoute:
    why = (
        Why("IPAMBlock", way.block.name, "spec.node"),
        Why("IPPool", way.pool.name, "spec.vxlanMode"),
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
    links: dict[str, Vxlan] = {}
    of_pool = tunnels(cluster.pools)

    def needed(pool: str, outer: Family) -> str:
        tunnel = of_pool[pool]
        name = tunnel.device(outer)
        links[name] = Vxlan(tunnel.vni, tunnel.port, mine[outer].ip, mac_of(me.name))
        causes.setdefault(name, {})[Why("IPPool", pool, "spec.vxlanMode")] = None
        return name

    for way in part.ways.values():
        if way.node is not None:
            needed(way.pool.name, family_of(way.node))
    for (vni, family), block in part.endpoints.items():
        outer = underlay(mine, mine, inner=family)
        pools = [name for name, tunnel in of_pool.items() if tunnel.vni == vni]
        pools = [name for name in pools if family_of(cluster.pools[name].spec.cidr) is family]
        if outer is None:
            continue
        for pool in pools:
            name = needed(pool, outer)
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

"""The tunnel devices of a node, whom each of them knows, and the routes that lead into them: what the objects ask for."""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster, RoutingNode
from towpath.model.encapsulation import (
    IPIP_DEVICE,
    Encapsulation,
    Tunnel,
    Way,
    encapsulation,
    falls_back,
    link_local_of,
    mac_of,
    tunnels,
    underlay,
)
from towpath.model.memo import Pieces
from towpath.model.net import Address, Family, Prefix, family_of
from towpath.model.reason import Reason, Refusal, Why
from towpath.routes.devices.device import (
    EVERYONE,
    Device,
    End,
    Entries,
    Forwarding,
    Ipip,
    Link,
    Neighbour,
    Vxlan,
    overhead,
)
from towpath.routes.route import StaticRoute


class TunnelPlan(Struct, frozen=True):
    """Everything of one node, by the names of the devices and the prefixes of the routes."""

    devices: Mapping[str, Device] = {}
    entries: Mapping[str, Entries] = {}
    routes: Mapping[Prefix, StaticRoute] = {}
    """Also those of blocks in such pools to which no tunnel is needed."""
    refusals: tuple[Refusal, ...] = ()
    """Tunnels that this node cannot take part in."""


def tunnel_plan(
    cluster: Cluster,
    node: str,
    *,
    mtu: int | None = None,
    without: Collection[Address] = (),
    below: Mapping[int, int] | None = None,
) -> TunnelPlan:
    """``mtu``: of the network below, where it is known; ``without``: addresses that the node cannot have for now.

    ``below``: numbers of the interfaces on which groups are joined, by the tunnel's, as far as they are there; None: that is not known.
    """
    me = cluster.routing_nodes.get(node)
    part = encapsulation(cluster, node)
    if me is None or not (part.ways or part.endpoints):
        return TunnelPlan()
    entries: dict[str, tuple[dict[Address, Neighbour], dict[str, Forwarding], dict[Address, End]]] = {}
    routes: dict[Prefix, StaticRoute] = {}
    for piece in _PIECES.of((name, (ways,)) for name, ways in part.ways.items()).values():
        routes.update((route.prefix, route) for route in piece.routes)
        for neighbour, forwarding in piece.ends:
            known = entries.setdefault(neighbour.device, ({}, {}, {}))
            known[0][neighbour.address] = neighbour
            known[1][forwarding.mac] = forwarding
        for end in piece.asked:
            entries.setdefault(end.device, ({}, {}, {}))[2][end.address] = end
    gathered = _Gathering(cluster, me, below)
    devices = {one.name: one for one in _devices(gathered, part, mtu=mtu, without=without)}
    for name, device in devices.items():
        if isinstance(device.link, Vxlan) and (group := device.link.group) is not None:
            everyone = Forwarding(name, EVERYONE, group, device.why, via=device.link.below)
            entries.setdefault(name, ({}, {}, {}))[1][EVERYONE] = everyone
    return TunnelPlan(devices, {name: Entries(*entries.get(name, ())) for name in devices}, routes, gathered.refused)


def mtu_below(node: RoutingNode) -> int | None:
    """The MTU of the network that a node's tunnels go through, by what it says of itself; None: it has not said it."""
    said = node.status
    return None if said is None or said.mtu is None else said.mtu + overhead(said.tunnels or ())


class _Piece(Struct, frozen=True):
    """What leads to one other node."""

    routes: tuple[StaticRoute, ...]
    ends: tuple[tuple[Neighbour, Forwarding], ...]
    asked: tuple[End, ...]
    """Those that the device is to find by itself."""


def _piece(ways: tuple[Way, ...]) -> _Piece:
    ends: dict[tuple[str, Address], tuple[Neighbour, Forwarding]] = {}
    asked: dict[tuple[str, Address], End] = {}
    for way in ways:
        if way.node is None or way.endpoint is None:
            continue
        mac = mac_of(way.owner.name)
        if way.asked:
            asked.setdefault((way.device, way.gateway), End(way.device, way.gateway, mac, way.node))
        elif (way.device, way.gateway) not in ends:
            ends[way.device, way.gateway] = (
                Neighbour(way.device, way.gateway, mac, _endpoint_causes(way)),
                Forwarding(way.device, mac, way.node, _node_causes(way)),
            )
    return _Piece(tuple(_route(way.block.spec.cidr, way) for way in ways), tuple(ends.values()), tuple(asked.values()))


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


class _Gathering:
    """The devices that one node needs, as far as it can have them, and why."""

    def __init__(self, cluster: Cluster, me: RoutingNode, below: Mapping[int, int] | None) -> None:
        self.pools = cluster.pools
        self.me = me
        self.mine = node_addresses(me)
        self.of_pool = tunnels(cluster.pools)
        self._below = below
        self._short = falls_back(cluster.routing_nodes)
        self.links: dict[str, Link] = {}
        self.causes: dict[str, dict[Why, None]] = {}
        self._refused: dict[Refusal, None] = {}

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Why it cannot have others."""
        return tuple(self._refused)

    def need(self, pool: str, outer: Family) -> tuple[str, ...]:
        """It sends to some block of the pool over this family, or may be sent to: the names of the devices for that."""
        spec = self.pools[pool].spec
        found: dict[str, Link] = {}
        if spec.by_ipip and outer is Family.IPV4:
            found[IPIP_DEVICE] = Ipip(self.mine[outer].ip)
        if (self._short or not found) and (vxlan := self._vxlan(self.of_pool[pool], outer)) is not None:
            found[self.of_pool[pool].device(family_of(vxlan.local))] = vxlan
        self.links.update(found)
        for name in found:
            self.causes.setdefault(name, {})[Why("IPPool", pool, spec.mode_field)] = None
        return tuple(found)

    def _vxlan(self, tunnel: Tunnel, outer: Family) -> Vxlan | None:
        mac = mac_of(self.me.name)
        if tunnel.group is None:
            return Vxlan(tunnel.vni, tunnel.port, self.mine[outer].ip, mac)
        family = family_of(tunnel.group)
        if family not in self.mine:
            self._refuse(tunnel, "group", f"the group {tunnel.group} needs an {family.key} address, and it has none")
            return None
        local = self.mine[family].ip
        if self._below is None:
            return Vxlan(tunnel.vni, tunnel.port, local, mac, tunnel.group)
        if tunnel.vni not in self._below:
            missing = f"interface {tunnel.interface}" if tunnel.interface else f"interface with its address {local}"
            self._refuse(tunnel, "device", f"it has no {missing} on which to join the group {tunnel.group}")
            return None
        return Vxlan(tunnel.vni, tunnel.port, local, mac, tunnel.group, self._below[tunnel.vni])

    def _refuse(self, tunnel: Tunnel, field: str, said: str) -> None:
        message = f"node {self.me.name} takes no part in the VXLAN {tunnel.vni}: {said}"
        self._refused[Refusal(Reason.DEVICE_REFUSED, message, Why("IPPool", tunnel.pool, f"spec.vxlan.{field}"))] = None

    def link_local(self, link: Link) -> Address | None:
        """The link-local address that others ask for by this device."""
        if not isinstance(link, Vxlan) or link.group is None:
            return None
        inside = (family_of(self.pools[name].spec.cidr) for name, one in self.of_pool.items() if one.vni == link.vni)
        return link_local_of(self.me.name) if Family.IPV6 in inside else None


def _devices(
    gathered: _Gathering, part: Encapsulation, *, mtu: int | None, without: Collection[Address]
) -> Iterable[Device]:
    """One for each tunnel that the node has an address in or sends to, over each family that it is needed for."""
    own: dict[str, list[Address]] = {}
    pools, mine = gathered.pools, gathered.mine
    sent = {(way.pool.name, family_of(way.node)) for ways in part.ways.values() for way in ways if way.node is not None}
    for pool, outer in sorted(sent):
        gathered.need(pool, outer)
    for (vni, family), block in part.endpoints.items():
        outermost = underlay(mine, mine, inner=family)
        if outermost is None:
            continue
        inside = [name for name, one in gathered.of_pool.items() if one.vni == vni]
        inside = [name for name in inside if family_of(pools[name].spec.cidr) is family]
        for name in dict.fromkeys(name for pool in inside for name in gathered.need(pool, outermost)):
            own.setdefault(name, []).append(block.spec.cidr.network_address)
            gathered.causes[name][Why("IPAMBlock", block.name, "spec.cidr")] = None
    for name, link in sorted(gathered.links.items()):
        yield Device(
            name,
            link,
            tuple(one for one in own.get(name, ()) if one not in without),
            None if mtu is None else mtu - link.overhead,
            tuple(gathered.causes[name]),
            gathered.link_local(link),
        )

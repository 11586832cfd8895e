"""The tunnel devices of a node, whom each of them knows, and the routes that lead into them: what the objects ask for."""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain

from msgspec import Struct

from towpath.model.blocks import node_addresses
from towpath.model.cluster import Cluster, RoutingNode
from towpath.model.delta import Edition
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
from towpath.model.memo import Pieces, Together
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
    without: Mapping[Address, Address | None] = {},
    below: Mapping[int, int] | None = None,
) -> TunnelPlan:
    """``mtu``: of the network below, where it is known.

    ``without``: addresses that the node cannot have for now, each with the one that it sends with instead, if any.
    ``below``: numbers of the interfaces on which groups are joined, by the tunnel's, as far as they are there; None: that is not known.
    """
    me = cluster.routing_nodes.get(node)
    part = encapsulation(cluster, node)
    if me is None or not (part.ways or part.endpoints):
        return TunnelPlan()
    pieces = _PIECES.of(part.ways)
    neighbours, forwarding, ends = _NEIGHBOURS.of(pieces), _FORWARDING.of(pieces), _ENDS.of(pieces)
    gathered = _Gathering(cluster, me, below)
    sent = frozenset[tuple[str, Family]]().union(*(piece.sent for piece in pieces.values()))
    devices = {one.name: one for one in _devices(gathered, part, sent=sent, mtu=mtu, without=without)}
    entries: dict[str, Entries] = {}
    for name, device in devices.items():
        known = forwarding.get(name, _NOBODY)
        if isinstance(device.link, Vxlan) and (group := device.link.group) is not None:
            known = known.edited({EVERYONE: Forwarding(name, EVERYONE, group, device.why, via=device.link.below)})
        entries[name] = Entries(neighbours.get(name, {}), known, ends.get(name, {}))
    return TunnelPlan(devices, entries, _ROUTES.of(pieces).get(None, {}), gathered.refused)


def mtu_below(node: RoutingNode) -> int | None:
    """The MTU of the network that a node's tunnels go through, by what it says of itself; None: it has not said it."""
    said = node.status
    return None if said is None or said.mtu is None else said.mtu + overhead(said.tunnels or ())


class _Piece(Struct, frozen=True):
    """What leads to one other node."""

    routes: tuple[StaticRoute, ...]
    neighbours: tuple[Neighbour, ...]
    forwarding: tuple[Forwarding, ...]
    ends: tuple[End, ...]
    """Those that the device is to find by itself."""
    sent: frozenset[tuple[str, Family]]
    """Pools whose packets go through a tunnel, and over which family."""


def _piece(ways: tuple[Way, ...]) -> _Piece:
    told: dict[tuple[str, Address], Way] = {}
    asked: dict[tuple[str, Address], End] = {}
    for way in ways:
        if way.node is None or way.endpoint is None:
            continue
        if way.asked:
            end = End(way.device, way.gateway, mac_of(way.owner.name), way.node)
            asked.setdefault((way.device, way.gateway), end)
        else:
            told.setdefault((way.device, way.gateway), way)
    return _Piece(
        tuple(_route(way.block.spec.cidr, way) for way in ways),
        tuple(
            Neighbour(device, at, mac_of(way.owner.name), _endpoint_causes(way)) for (device, at), way in told.items()
        ),
        tuple(
            Forwarding(device, mac_of(way.owner.name), way.node, _node_causes(way))
            for (device, _), way in told.items()
            if way.node is not None
        ),
        tuple(asked.values()),
        frozenset((way.pool.name, family_of(way.node)) for way in ways if way.node is not None),
    )


_NOBODY: Edition[str, Forwarding] = Edition()
_PIECES: Pieces[_Piece] = Pieces(_piece)
_ROUTES: Together[_Piece, None, Prefix, StaticRoute] = Together(
    lambda piece: ((None, one.prefix, one) for one in piece.routes)
)
_NEIGHBOURS: Together[_Piece, str, Address, Neighbour] = Together(
    lambda piece: ((one.device, one.address, one) for one in piece.neighbours)
)
_FORWARDING: Together[_Piece, str, str, Forwarding] = Together(
    lambda piece: ((one.device, one.mac, one) for one in piece.forwarding)
)
_ENDS: Together[_Piece, str, Address, End] = Together(
    lambda piece: ((one.device, one.address, one) for one in piece.ends)
)
"""Each by the name of its device; routes are not sorted by it."""


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
    gathered: _Gathering,
    part: Encapsulation,
    *,
    sent: Collection[tuple[str, Family]],
    mtu: int | None,
    without: Mapping[Address, Address | None],
) -> Iterable[Device]:
    """One for each tunnel that the node has an address in or sends to, over each family that it is needed for."""
    own: dict[str, list[Address]] = {}
    pools, mine = gathered.pools, gathered.mine
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
            tuple(dict.fromkeys(chain.from_iterable(_inside(one, without) for one in own.get(name, ())))),
            None if mtu is None else mtu - link.overhead,
            tuple(gathered.causes[name]),
            gathered.link_local(link),
        )


def _inside(endpoint: Address, without: Mapping[Address, Address | None]) -> Iterable[Address]:
    """With which address the node itself sends into a tunnel: its own one there, or the one that it has instead.

    Of its ordinary one IPv4 would take that from another device, but where the kernel filters by the way back a device without an
    address takes no packet that would be answered by another one (``fib_validate_source`` in Linux, however loose the filter is).
    IPv6 would prefer the gateway that the plugin ptp puts on the cable of every pod, as it is the most like a pod's address
    (RFC 6724 section 5, rule 8): every node has it, and no answer would come back. What the device has itself comes before that (rule 5).
    """
    address = without.get(endpoint, endpoint)
    if address is not None:
        yield address

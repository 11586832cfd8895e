"""How packets to the pods of other nodes leave: as they are, or in a tunnel, by which device and to which endpoint.

Both ends of a tunnel know each other from the objects alone, unless its pools have them ask for each other by multicast.
A node's endpoint has a MAC made of the node's name, and as its address the lowest one of the node's first block of the
pools that share the tunnel: nobody has to wait for anybody's report. What only the node itself can say is whether its
device stands, and that is in the status of its RoutingNode.

A pool that asks for IP-in-IP belongs to a VXLAN too: that is what is used between two nodes of which one has no IP-in-IP.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address
from typing import Literal

from msgspec import Struct

from towpath.model.blocks import by_node, in_force, is_ending, node_addresses, pool_around
from towpath.model.cluster import Cluster, IPAMBlock, IPPool, RoutingNode
from towpath.model.force import age
from towpath.model.memo import Pieces, remembered
from towpath.model.net import Address, Family, Interface, Prefix, family_of
from towpath.model.reason import Reason, Refusal, Why

Addresses = Mapping[Family, Interface]
IPIP = "ipip"
"""The kind of device, as the kernel calls it."""
IPIP_DEVICE = "tp-ipip"
"""One for all pools: it sends to wherever a route says."""


class Tunnel(Struct, frozen=True, order=True):
    """One VXLAN: what is common to all pools with its number."""

    vni: int
    port: int
    pool: str
    """The pool that gives it all this: the first by name."""
    group: Address | None = None
    """Nodes ask for each other at this address, and learn; None: they are told by the objects."""
    interface: str = ""
    """By which they join the group; empty: the one that has the node's address."""

    def over(self, mine: Iterable[Family], others: Iterable[Family], *, inner: Family) -> Family | None:
        """The family of the outer packets between two nodes: the group's, else see ``underlay``; None: there is no way."""
        if self.group is None:
            return underlay(mine, others, inner=inner)
        family = family_of(self.group)
        return family if family in mine and family in others else None

    def device(self, underlay: Family) -> str:
        """The name of its device over one family of node addresses."""
        return f"tp-vx{underlay:d}-{self.vni}"


class Way(Struct, frozen=True):
    """How packets to one block of another node leave: straight to the node, or by a device to its endpoint."""

    block: IPAMBlock
    pool: IPPool
    owner: RoutingNode
    gateway: Address
    """The owner's own address, or its endpoint in the tunnel."""
    device: str = ""
    """Empty: no tunnel."""
    node: Address | None = None
    """Where the outer packet goes to."""
    endpoint: IPAMBlock | None = None
    """The block whose lowest address is the owner's in the VXLAN, where it is known by that."""
    asked: bool = False
    """Where it is, is asked for in the tunnel, and not known from the objects."""


class Encapsulation(Struct, frozen=True):
    """One node and the tunnels that it takes part in."""

    ways: Mapping[str, tuple[Way, ...]]
    """To the blocks of each other node in the pools that encapsulate, as far as there is a way: the same object while it is the same."""
    endpoints: Mapping[tuple[int, Family], IPAMBlock]
    """Own blocks whose lowest address is the node's in a tunnel, by the tunnel's number and the address's family."""


def mac_of(node: str) -> str:
    """The MAC of a node's tunnel endpoints: locally administered, of one receiver (IEEE 802, the two lowest bits)."""
    digest = hashlib.sha256(f"towpath endpoint {node}".encode()).digest()
    return bytes((digest[0] & 0xFC | 2, *digest[1:6])).hex(":")


def at_other_end(node: str, block: IPAMBlock) -> Address:
    """The next hop by a tunnel to a node: its endpoint's address, or for IPv6 the link-local one of its MAC (RFC 4291 appendix A).

    The kernel takes an IPv6 next hop that is not link-local only where no other route leads to it, and one may: to the
    block around it as long as that is reached without a tunnel, or to all pods by a router.
    """
    return block.spec.cidr.network_address if family_of(block.spec.cidr) is Family.IPV4 else link_local_of(node)


def link_local_of(node: str) -> Address:
    """The link-local address of a node's MAC (RFC 4291 appendix A)."""
    mac = bytes.fromhex(mac_of(node).replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:])


@remembered
def tunnels(pools: Mapping[str, IPPool]) -> Mapping[str, Tunnel]:
    """The tunnel of each pool that encapsulates, by the pool's name."""
    first: dict[int, Tunnel] = {}
    found: dict[str, Tunnel] = {}
    for name, pool in sorted(pools.items()):
        if pool.spec.encapsulates:
            vxlan = pool.spec.vxlan
            tunnel = Tunnel(vxlan.vni, vxlan.port, name, vxlan.group, vxlan.device or "")
            found[name] = first.setdefault(vxlan.vni, tunnel)
    return found


def tunnel_conflicts(pools: Mapping[str, IPPool]) -> Iterator[Refusal]:
    """Pools that say something else of their tunnel than the one that it is made after."""
    for name, tunnel in tunnels(pools).items():
        asked, given = pools[name].spec.vxlan, pools[tunnel.pool].spec.vxlan
        for field in ("port", "discovery", "group", "device"):
            said, counts = (getattr(one, field) for one in (asked, given))
            if said != counts:
                has = f"has {field} {counts}" if counts is not None else f"has no {field}"
                wish = f", and not {said}" if said is not None else ""
                message = f"the VXLAN {tunnel.vni} {has}, as IPPool/{tunnel.pool} says{wish}"
                yield Refusal(Reason.TUNNEL_CONFLICT, message, Why("IPPool", name, f"spec.vxlan.{field}"))


def endpoints(blocks: Iterable[IPAMBlock], pools: Mapping[str, IPPool]) -> dict[tuple[int, Family], IPAMBlock]:
    """Of one node's blocks those whose lowest address is its endpoint: the first of each tunnel and family."""
    of_pool = tunnels(pools)
    found: dict[tuple[int, Family], IPAMBlock] = {}
    for block in blocks:
        pool = pool_around(block.spec, pools) if block.spec.state != "Quarantined" else None
        if pool is None or (tunnel := of_pool.get(pool.name)) is None:
            continue
        key = tunnel.vni, family_of(block.spec.cidr)
        before = found.get(key)
        if before is None or _turn(block, pools) < _turn(before, pools):
            found[key] = block
    return found


def _turn(block: IPAMBlock, pools: Mapping[str, IPPool]) -> tuple[bool, tuple[str, str]]:
    """What blocks come in the order of: those of pools that are deleted last, so that a node has its address elsewhere before they go."""
    pool = pool_around(block.spec, pools)
    return pool is not None and is_ending(pool), age(block)


def underlay(mine: Iterable[Family], others: Iterable[Family], *, inner: Family) -> Family | None:
    """The family of the outer packets between two nodes: that of the pods' addresses, else the other; None: neither is common."""
    common = set(mine) & set(others)
    return inner if inner in common else next(iter(common), None)


def has_ipip(owner: RoutingNode) -> bool:
    """Whether a node's kernel has IP-in-IP: so it is until the node says otherwise."""
    return owner.status is None or IPIP not in (owner.status.lacks or ())


@remembered
def falls_back(nodes: Mapping[str, RoutingNode]) -> bool:
    """Whether VXLAN takes the place of IP-in-IP anywhere, for a kernel or for want of IPv4: then every node is ready for it."""
    return bool(_SHORT.of(nodes))


def _short(node: RoutingNode) -> Literal[True] | None:
    found = node_addresses(node)
    return True if not has_ipip(node) or (found and Family.IPV4 not in found) else None


_SHORT: Pieces[Literal[True]] = Pieces(_short)


def by_vxlan(cluster: Cluster) -> frozenset[Tunnel]:
    """The VXLANs that packets may come by."""
    of_pool = tunnels(cluster.pools)
    short = falls_back(cluster.routing_nodes)
    return frozenset(of_pool[name] for name in of_pool if short or not cluster.pools[name].spec.by_ipip)


def ipip_end(cluster: Cluster, node: str) -> Address | None:
    """The node's address to which packets may come by IP-in-IP; None where none do."""
    me = cluster.routing_nodes.get(node)
    asked = any(cluster.pools[name].spec.by_ipip for name in tunnels(cluster.pools))
    if me is None or not asked or not has_ipip(me):
        return None
    found = node_addresses(me).get(Family.IPV4)
    return found.ip if found is not None else None


@remembered
def encapsulation(cluster: Cluster, node: str) -> Encapsulation:
    """A node's part in the tunnels of a cluster."""
    if not tunnels(cluster.pools):
        return Encapsulation({}, {})
    owned = by_node(in_force(cluster.blocks))
    me, pools = cluster.routing_nodes.get(node), cluster.pools
    ways = _WAYS.of(cluster.routing_nodes, owned, common=(me, pools))
    return Encapsulation(ways, _own(cluster, node))


def _ways(
    me: RoutingNode | None, pools: Mapping[str, IPPool], owner: RoutingNode, blocks: tuple[IPAMBlock, ...]
) -> tuple[Way, ...] | None:
    """From one node to the blocks of another; None: there are none."""
    if owner is me:
        return None
    mine, theirs = node_addresses(me) if me is not None else {}, node_addresses(owner)
    of_pool, firsts = tunnels(pools), endpoints(blocks, pools)
    found: list[Way] = []
    for block in blocks:
        pool = pool_around(block.spec, pools) if block.spec.state != "Quarantined" else None
        if pool is None or pool.name not in of_pool:
            continue
        family = family_of(block.spec.cidr)
        if pool.spec.mode == "CrossSubnet" and _shares_subnet(mine, theirs, family):
            found.append(Way(block, pool, owner, theirs[family].ip))
            continue
        outer = underlay(mine, theirs, inner=family)
        if outer is Family.IPV4 and pool.spec.by_ipip and me is not None and has_ipip(me) and has_ipip(owner):
            if stands(owner, IPIP_DEVICE):
                to = theirs[outer].ip
                found.append(Way(block, pool, owner, to, device=IPIP_DEVICE, node=to))
            continue
        tunnel = of_pool[pool.name]
        outer = tunnel.over(mine, theirs, inner=family)
        if outer is None or not stands(owner, tunnel.device(outer)):
            continue
        first = firsts[tunnel.vni, family]
        gateway, device = at_other_end(owner.name, first), tunnel.device(outer)
        asked = tunnel.group is not None
        found.append(
            Way(block, pool, owner, gateway, device=device, node=theirs[outer].ip, endpoint=first, asked=asked)
        )
    return tuple(found) or None


_WAYS: Pieces[tuple[Way, ...]] = Pieces(_ways)


def _shares_subnet(mine: Addresses, theirs: Addresses, family: Family) -> bool:
    return family in mine and family in theirs and theirs[family].ip in mine[family].network


def stands(owner: RoutingNode, device: str) -> bool:
    """Whether a node takes what is sent to it by a tunnel device: it says so itself, and counts as if until it has said anything."""
    return owner.status is None or device in (owner.status.tunnels or ())


def _own(cluster: Cluster, node: str) -> dict[tuple[int, Family], IPAMBlock]:
    return endpoints(by_node(in_force(cluster.blocks)).get(node, ()), cluster.pools)


def own_endpoints(cluster: Cluster, node: str) -> Mapping[Prefix, Address]:
    """The node's own addresses in tunnels, each with the block whose lowest it is."""
    return {block.spec.cidr: block.spec.cidr.network_address for block in _own(cluster, node).values()}

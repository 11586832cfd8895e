"""What the router at the other end must be told, whatever its make: neighbours, limits, what it takes and what it tells.

Everything is read from the sessions of the plan, so the two sides agree. A router is one address, or several that its
owner names: that two addresses are one machine no object says.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, ip_network

from msgspec import Struct

from towpath.bgp.nodes import hashed_router_id, node_views
from towpath.bgp.services import configured
from towpath.controller.plan.document import planned
from towpath.controller.plan.inputs import Inputs
from towpath.controller.settings import UsageError
from towpath.model.blocks import in_force, pool_holding
from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import SecretKey
from towpath.model.kinds.values import PeerIP
from towpath.model.net import Address, Family, Prefix, contains, family_of
from towpath.model.speaker import Session

FEWEST = 100
"""A node may announce so many prefixes, at least, before the router calls it broken."""


class Range(Struct, frozen=True):
    """Prefixes inside ``prefix``, no longer than ``longest``."""

    prefix: Prefix
    longest: int

    @property
    def exact(self) -> bool:
        """Whether only the prefix itself is meant."""
        return self.longest == self.prefix.prefixlen


class Neighbour(Struct, frozen=True):
    """One session, as the router sees it. Times are whole seconds."""

    name: str
    """Letters, digits and underscores, unique: ``node_n1_v4``."""
    node: str
    address: Address
    local: Address
    remote_as: int
    port: int
    """Where the node listens."""
    waits: bool
    """The node does not dial: the router has to."""
    families: tuple[Family, ...]
    password: SecretKey | None
    hold_time: int
    keepalive_time: int
    restart_time: int | None
    """How long the node's routes are to be kept while it restarts; None: it does not offer it."""
    hops: int | None
    """TTL security, RFC 5082: hops to the node at most; None: not asked for."""
    multihop: int | None
    maximum: int
    """Prefixes of one family, at most."""
    loops: bool
    """It accepts paths in which its own AS stands."""

    @property
    def placeholder(self) -> str:
        """What stands for the password: the file holds none."""
        assert self.password is not None
        return f"PASSWORD-{self.password.name}-{self.password.key}"


class Router(Struct, frozen=True):
    """One router. Filters hold for all its neighbours."""

    addresses: tuple[Address, ...]
    router_id: IPv4Address
    local_as: int
    port: int
    """Where it listens."""
    neighbours: tuple[Neighbour, ...]
    takes: tuple[Range, ...]
    """What nodes announce: pools and service ranges."""
    tells: tuple[Range, ...]
    """What nodes are told: pools where there is no mesh, the default route where a filter of theirs accepts it."""
    remarks: tuple[str, ...] = ()

    @property
    def ebgp(self) -> bool:
        """Whether any neighbour is in another AS."""
        return any(one.remote_as != self.local_as for one in self.neighbours)

    @property
    def restart_time(self) -> int | None:
        """The longest that a neighbour asks for; None: none offers graceful restart."""
        return max((one.restart_time for one in self.neighbours if one.restart_time), default=None)

    def reflects(self, neighbour: Neighbour) -> bool:
        """Whether it has to be a route reflector for a neighbour: nodes of its own AS hear of each other through it."""
        return neighbour.remote_as == self.local_as and any(one.prefix.prefixlen for one in self.tells)

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that any session carries."""
        return tuple(family for family in Family if any(family in one.families for one in self.neighbours))


def ranges_of(ranges: Iterable[Range], family: Family) -> list[Range]:
    """Those of one family."""
    return [one for one in ranges if family_of(one.prefix) is family]


def router(inputs: Inputs, *, peers: Sequence[str] = (), node: str | None = None) -> Router:
    """The router that the nodes peer with; ``UsageError`` where it is not clear which one is meant.

    ``peers``: its addresses, as in ``peerIP``; without them there must be one, or one a family. ``node``: its sessions alone.
    """
    named = [_peer(text) for text in peers]
    found = [one for one in _sessions(inputs, node) if not named or _meant(one[1], named)]
    if not found:
        raise UsageError(f"no node peers with {' or '.join(peers) or 'the address of a router outside the cluster'}")
    _must_be_one([session for _, session in found], named=bool(peers))
    first = found[0][1]
    addresses = tuple(sorted({one.peer_address for _, one in found}, key=lambda one: (one.version, int(one))))
    four = [one for one in addresses if isinstance(one, IPv4Address)]
    cluster = inputs.cluster
    remarks: list[str] = []
    neighbours = tuple(_neighbours(inputs, found, remarks))
    tells = tuple(_tells(cluster, [one for _, one in found]))
    remarks += _of_one_system(neighbours, tells, system=first.remote_as)
    return Router(
        addresses=addresses,
        router_id=four[0] if four else hashed_router_id(str(addresses[0])),
        local_as=first.remote_as,
        port=first.peer_port,
        neighbours=neighbours,
        takes=tuple(_takes(cluster)),
        tells=tells,
        remarks=tuple(remarks),
    )


def _sessions(inputs: Inputs, node: str | None) -> Iterator[tuple[str, Session]]:
    """The sessions with addresses outside, node by node; those that another one stands for are left out."""
    for name in sorted(node_views(inputs.cluster).by_name):
        if node not in (None, name):
            continue
        sessions = planned(inputs, name).state.sessions
        for session in (sessions[key] for key in sorted(sessions)):
            addressed = session.peer_node is None and session.interface is None and not session.workload
            if addressed and (session.state == "Active" or session.reason == "SecretMissing"):
                yield name, session


def _peer(text: str) -> PeerIP:
    try:
        return PeerIP.parse(text)
    except ValueError as error:
        raise UsageError(f"--peer: {error}") from None


def _meant(session: Session, named: Sequence[PeerIP]) -> bool:
    return any(one.address == session.peer_address and one.port in (None, session.peer_port) for one in named)


def _must_be_one(sessions: Sequence[Session], *, named: bool) -> None:
    """One AS, one port, and unless the addresses were named one of them a family."""
    systems = sorted({one.remote_as for one in sessions})
    ports = sorted({one.peer_port for one in sessions})
    addresses = sorted({(family_of(one.peer_address), str(one.peer_address)) for one in sessions})
    listed = ", ".join(text for _, text in addresses)
    if not named and len({family for family, _ in addresses}) < len(addresses):
        raise UsageError(f"nodes peer with {listed}: name those that are one router with --peer")
    if len(systems) > 1:
        raise UsageError(f"{listed} are in several AS ({', '.join(map(str, systems))}): name one router with --peer")
    if len(ports) > 1:
        raise UsageError(
            f"{listed} listen on several ports ({', '.join(map(str, ports))}): name one with --peer IP:PORT"
        )


def _neighbours(inputs: Inputs, found: Sequence[tuple[str, Session]], remarks: list[str]) -> Iterator[Neighbour]:
    cluster = inputs.cluster
    views = node_views(cluster).by_name
    blocks = len(in_force(cluster.blocks))
    used: set[str] = set()
    for node, session in found:
        view = views[node]
        family = family_of(session.peer_address)
        address = session.local_address or view.addresses.get(family)
        if address is None:
            remarks.append(f"node {node} has no {family.key} address, so its session is not here")
            continue
        own = len(planned(inputs, node).state.announcements)
        name = re.sub(r"[^A-Za-z0-9_]", "_", f"node_{node}_v{family.value}")
        while name in used:
            name += "_"
        used.add(name)
        yield Neighbour(
            name=name,
            node=node,
            address=address,
            local=session.peer_address,
            remote_as=session.local_as,
            port=view.listen_port,
            waits=session.passive,
            families=session.families,
            password=session.password_ref,
            hold_time=session.hold_time,
            keepalive_time=session.keepalive_time,
            restart_time=session.restart_time,
            hops=session.ttl_security,
            multihop=session.multihop,
            maximum=max(FEWEST, 4 * (own if session.advertise == "Own" else blocks + own)),
            loops=session.allow_local_as > 0,
        )


def _of_one_system(neighbours: Sequence[Neighbour], tells: Sequence[Range], *, system: int) -> Iterator[str]:
    refusing = [one for one in neighbours if one.remote_as != system and not one.loops]
    if any(one.prefix.prefixlen for one in tells) and len({one.remote_as for one in refusing}) < len(
        {one.node for one in refusing}
    ):
        yield (
            "nodes of one AS refuse each other's blocks from this router, for their own AS is in the path: "
            "set numAllowedLocalASNumbers to 1 on the BGPPeer, or give each node an AS of its own"
        )


def _takes(cluster: Cluster) -> Iterator[Range]:
    """What nodes may announce: whole pools down to their blocks, blocks outside of any, services down to one address."""
    blocks = in_force(cluster.blocks)
    pools = sorted((one.spec for one in cluster.pools.values()), key=lambda one: _order(one.cidr))
    for pool in pools:
        if not pool.disable_bgp_export:
            inside = (block.prefixlen for block in blocks if contains(pool.cidr, block))
            yield Range(pool.cidr, max(pool.block_length, *inside, pool.cidr.prefixlen))
    for block in sorted(blocks, key=_order):
        if not any(contains(pool.cidr, block) for pool in pools):
            yield Range(block, block.prefixlen)
    for prefix in sorted({one.prefix for one in configured(cluster.bgp).entries}, key=_order):
        yield Range(prefix, prefix.max_prefixlen)


def _tells(cluster: Cluster, sessions: Sequence[Session]) -> Iterator[Range]:
    for family in Family:
        everything = default_route(family)
        if any(_names(cluster, one, everything) for one in sessions if family in one.families):
            yield Range(everything, 0)
    if not cluster.bgp.node_to_node_mesh_enabled and cluster.bgp.cluster_routes == "BGP":
        yield from (one for one in _takes(cluster) if pool_holding(one.prefix, cluster.pools) is not None)


def default_route(family: Family) -> Prefix:
    """``0.0.0.0/0`` or ``::/0``."""
    return ip_network("0.0.0.0/0" if family is Family.IPV4 else "::/0")


def _names(cluster: Cluster, session: Session, everything: Prefix) -> bool:
    """Whether a filter of the session accepts the default route by its name."""
    for name in session.filters:
        found = cluster.filters.get(name)
        rules = () if found is None else found.spec.import_v4 if everything.version == 4 else found.spec.import_v6
        for rule in rules:
            if rule.action == "Accept" and rule.cidr == everything and rule.match_operator in ("Equal", "In"):
                return True
    return False


def _order(prefix: Prefix) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), prefix.prefixlen

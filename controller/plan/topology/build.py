"""From objects to the picture of them: who peers with whom is asked of the functions that the agents ask."""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple, TypeVar

from towpath.bgp.nodes import NodeView, node_views
from towpath.controller.plan.document import planned
from towpath.controller.plan.inputs import Inputs
from towpath.controller.plan.topology.graph import Block, Group, Node, Pool, Router, Sessions, Topology
from towpath.model.blocks import in_force, is_ending, pool_around, reported
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.encapsulation import encapsulation
from towpath.model.net import Family


class _Kind(NamedTuple):
    """What counts of one node's side of a session. Few are different: a mesh of a thousand nodes has two million sides."""

    families: tuple[Family, ...]
    external: bool
    withheld: bool
    up: bool | None


class _Sides(NamedTuple):
    """One node's sides of its sessions: by the router's address with its AS, and by the other node's name."""

    routers: Mapping[tuple[int, str], tuple[_Kind, ...]]
    nodes: Mapping[str, tuple[_Kind, ...]]


def topology(inputs: Inputs) -> Topology:
    """The picture of some objects: sessions as planned, with what nodes have reported of them."""
    cluster = inputs.cluster
    views = node_views(cluster).by_name
    sides = {name: _sides(inputs, name) for name in views}
    routers = _routers(sides)
    router_of = {(one.as_number, address): place for place, one in enumerate(routers) for address in one.addresses}
    peers = {name: tuple(sorted({router_of[key] for key in some.routers})) for name, some in sides.items()}
    groups = _groups(cluster, views, peers)
    place_of = {node.name: place for place, group in enumerate(groups) for node in group.nodes}
    return Topology(
        routers=routers,
        groups=groups,
        to_routers=_to_routers(sides, groups, place_of, router_of),
        between=_between(sides, groups, place_of),
        tunnels=_tunnels(cluster, place_of),
        pools=tuple(_pools(cluster)),
    )


def _sides(inputs: Inputs, node: str) -> _Sides:
    """Without the sessions with the node's own pods."""
    status = inputs.cluster.statuses[node].status if node in inputs.cluster.statuses else None
    reported = {one.name: one.state == "Established" for one in status.sessions} if status is not None else {}
    routers: dict[tuple[int, str], tuple[_Kind, ...]] = defaultdict(tuple)
    nodes: dict[str, tuple[_Kind, ...]] = defaultdict(tuple)
    for one in planned(inputs, node).state.sessions.values():
        up = reported.get(one.name, False) if status is not None else None
        kind = _shared(_Kind(one.families, one.ebgp, one.state == "Withheld", up))
        if one.peer_node is not None:
            nodes[one.peer_node] = _shared((*nodes[one.peer_node], kind))
        elif not one.workload:
            routers[one.remote_as, str(one.peer_address)] += (kind,)
    return _Sides(routers, nodes)


_T = TypeVar("_T")


@functools.cache
def _shared(value: _T) -> _T:
    """The one value that is equal."""
    return value


def _routers(sides: Mapping[str, _Sides]) -> tuple[Router, ...]:
    """Each address is a router, but an IPv4 and an IPv6 one that are alone with their AS and their nodes are one router's."""
    nodes: dict[tuple[int, str], set[str]] = defaultdict(set)
    for node, some in sides.items():
        for key in some.routers:
            nodes[key].add(node)
    alike: dict[tuple[int, frozenset[str]], list[str]] = defaultdict(list)
    for (as_number, address), those in sorted(nodes.items()):
        alike[as_number, frozenset(those)].append(address)
    found = []
    for (as_number, _), addresses in alike.items():
        both = len(addresses) == len({":" in one for one in addresses}) == len(Family)
        together = [tuple(sorted(addresses, key=lambda one: ":" in one))] if both else [(one,) for one in addresses]
        found += [Router(as_number, one) for one in together]
    return tuple(sorted(found))


def _groups(cluster: Cluster, views: Mapping[str, NodeView], peers: Mapping[str, tuple[int, ...]]) -> tuple[Group, ...]:
    blocks = _blocks(cluster)
    found: dict[tuple[bool, int, tuple[str, ...], tuple[int, ...]], list[Node]] = defaultdict(list)
    for name, view in sorted(views.items()):
        known = (one for one in view.subnets.values() if one.prefixlen < one.max_prefixlen)
        key = (not view.reflector, view.as_number, tuple(map(str, known)), peers[name])
        node = Node(name, tuple(map(str, view.addresses.values())), tuple(blocks.get(name, ())))
        found[key].append(node)
    groups = [Group(key[1], key[2], reflector=not key[0], nodes=tuple(nodes)) for key, nodes in found.items()]
    return tuple(sorted(groups, key=lambda one: (not one.reflector, one.as_number, one.nodes[0].name)))


def _blocks(cluster: Cluster) -> Mapping[str, list[Block]]:
    """Blocks in force, by the node that has them."""
    reports = reported(cluster.statuses)
    found: dict[str, list[Block]] = defaultdict(list)
    for cidr, block in in_force(cluster.blocks).items():
        spec, report = block.spec, reports.get((block.spec.node, cidr))
        use = (report.in_use, report.capacity) if report is not None else (None, None)
        found[spec.node].append(Block(cidr, _pool(cluster, block), spec.state, *use))
    return found


def _pool(cluster: Cluster, block: IPAMBlock) -> str:
    pool = pool_around(block.spec, cluster.pools)
    return pool.name if pool is not None else ""


def _pools(cluster: Cluster) -> Iterator[Pool]:
    from_objects = cluster.bgp.cluster_routes == "Kubernetes"
    taken = Counter(_pool(cluster, block) for block in in_force(cluster.blocks).values())
    for name, pool in sorted(cluster.pools.items()):
        spec = pool.spec
        how = [f"{'IPIP' if spec.by_ipip else 'VXLAN'} {spec.mode}"] if spec.encapsulates else []
        how += [f"group {spec.vxlan.group}"] if spec.encapsulates and spec.vxlan.group is not None else []
        way = spec.attachment
        how += [f"{way.type} {way.mode} on {way.master}"] if way.by_master else []
        how += ["pods on a bridge"] if way.type == "bridge" else []
        how += ["routes from the objects"] if from_objects and not (spec.encapsulates or way.on_underlay) else []
        how += [] if spec.attachment.primary else ["beside pods' own network"]
        how += ["NAT outgoing"] if spec.nat_outgoing else []
        yield Pool(
            name=name,
            cidr=spec.cidr,
            block_length=spec.block_length,
            disabled=spec.disabled,
            deleted=is_ending(pool),
            how=tuple(how),
            blocks=taken[name],
        )


def _tunnels(cluster: Cluster, place_of: Mapping[str, int]) -> dict[tuple[int, int], tuple[str, ...]]:
    found: dict[tuple[int, int], set[str]] = defaultdict(set)
    for name, place in place_of.items():
        for way in chain.from_iterable(encapsulation(cluster, name).ways.values()):
            if way.device:
                low, high = sorted((place, place_of[way.owner.name]))
                found[low, high].add(way.device)
    return {key: tuple(sorted(devices)) for key, devices in sorted(found.items())}


def _to_routers(
    sides: Mapping[str, _Sides],
    groups: tuple[Group, ...],
    place_of: Mapping[str, int],
    router_of: Mapping[tuple[int, str], int],
) -> dict[tuple[int, int], Sessions]:
    found: dict[tuple[int, int], _Count] = defaultdict(_Count)
    for node, some in sides.items():
        for key, kinds in some.routers.items():
            found[place_of[node], router_of[key]].add(node, kinds)
    return {key: count.sessions(len(groups[key[0]].nodes)) for key, count in sorted(found.items())}


def _between(
    sides: Mapping[str, _Sides], groups: tuple[Group, ...], place_of: Mapping[str, int]
) -> dict[tuple[int, int], Sessions]:
    """Both nodes of a session have a side of it: it counts once, and is up where either says so."""
    found: dict[tuple[int, int], _Count] = defaultdict(_Count)
    for node, some in sides.items():
        for other, kinds in some.nodes.items():
            back = sides[other].nodes.get(node, ())
            if node < other or not back:
                low, high = sorted((place_of[node], place_of[other]))
                found[low, high].add((node, other), _joined(kinds, back))
    sizes = [len(group.nodes) for group in groups]
    return {
        (low, high): count.sessions(sizes[low] * (sizes[low] - 1) // 2 if low == high else sizes[low] * sizes[high])
        for (low, high), count in sorted(found.items())
    }


@functools.cache
def _joined(here: tuple[_Kind, ...], there: tuple[_Kind, ...]) -> tuple[_Kind, ...]:
    """The sessions of two nodes, each known by what it carries."""
    back = {one.families: one for one in there}
    both = [(one, back.pop(one.families, one)) for one in here]
    both += [(one, one) for one in back.values()]
    return tuple(
        one._replace(
            withheld=one.withheld or other.withheld,
            up=one.up or other.up if None not in (one.up, other.up) else one.up if other.up is None else other.up,
        )
        for one, other in both
    )


class _Count:
    """Sessions that were seen between some members."""

    def __init__(self) -> None:
        self._pairs: set[object] = set()
        self._kinds: Counter[tuple[_Kind, ...]] = Counter()

    def add(self, pair: object, kinds: tuple[_Kind, ...]) -> None:
        self._pairs.add(pair)
        self._kinds[kinds] += 1

    def sessions(self, possible: int) -> Sessions:
        kinds: Counter[_Kind] = Counter()
        for some, times in self._kinds.items():
            for kind in some:
                kinds[kind] += times
        said = [(kind.up, times) for kind, times in kinds.items() if kind.up is not None]
        return Sessions(
            count=kinds.total(),
            pairs=len(self._pairs),
            possible=possible,
            external=any(kind.external for kind in kinds),
            withheld=sum(times for kind, times in kinds.items() if kind.withheld),
            up=sum(times for up, times in said if up) if said else None,
        )

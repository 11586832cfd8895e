"""What a node may say and do, given what it knows: the order of things, as functions.

A block is announced only once the kernel drops what pods do not take, and pods get addresses only from blocks that the
API confirmed in this boot and that nobody else is known to announce. What was said once is not taken back because the
kernel is being repaired or a peer says something new.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct, field

from towpath.ipam.apart import in_apart, pools_of, up_front
from towpath.ipam.attachment import attached_to, node_of
from towpath.ipam.pools import takes_part
from towpath.model.blocks import is_beside, on_underlay, pool_around, pool_name
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import Family, Prefix, family_of
from towpath.model.speaker import Announcement, Report


class Picture(Struct, frozen=True):
    """A complete cluster, and whether the API (or the folder) gave it to this process; else it is from disk."""

    cluster: Cluster
    live: bool


def needs_blackhole(prefix: Prefix) -> bool:
    """Whether a block is dropped by the kernel where no pod takes it; a single address is not."""
    return prefix.prefixlen < family_of(prefix).bits


def announceable(
    wanted: Mapping[Prefix, Announcement],
    *,
    in_kernel: Collection[Prefix],
    announced: Collection[Prefix],
) -> dict[Prefix, Announcement]:
    """The announcements that may be made now: blocks whose blackhole stands, what is out already, all that needs none."""
    return {
        prefix: one
        for prefix, one in wanted.items()
        if one.source != "Block" or not needs_blackhole(prefix) or prefix in in_kernel or prefix in announced
    }


class Beside(Struct, frozen=True):
    """The same of a network beside that of all pods: no node waits for it."""

    usable: tuple[Prefix, ...] = ()
    draining: tuple[Prefix, ...] = ()


class Addressing(Struct, frozen=True):
    """Blocks that pods may get addresses from, blocks that they may not any more, and what keeps the node from ready."""

    usable: tuple[Prefix, ...] = ()
    draining: tuple[Prefix, ...] = ()
    lacking: tuple[str, ...] = ()
    complete: bool = False
    """Every family with a pool for the node has a usable block."""
    idle: tuple[Prefix, ...] = ()
    """Blocks of which no new pod gets an address: their pool, or pods in them, have another attachment than the node's."""
    beside: Mapping[str, Beside] = {}
    """Networks beside that of all pods, by pool."""

    @property
    def serving(self) -> tuple[Prefix, ...]:
        """All blocks that new pods get addresses of, on whichever network."""
        return (*self.usable, *(cidr for one in self.beside.values() for cidr in one.usable))

    @property
    def leaving(self) -> tuple[Prefix, ...]:
        """All blocks that pods may not get addresses of any more."""
        return (*self.draining, *(cidr for one in self.beside.values() for cidr in one.draining))


class Standing(Struct, frozen=True):
    """How own blocks stand on this node."""

    in_kernel: Collection[Prefix]
    """Their blackhole stands."""
    clear: Collection[Prefix]
    """The speaker was asked, and holds no path of others inside, refused and stale ones included."""
    served: Collection[Prefix]
    """Pods get addresses of them already, in this boot."""
    otherwise: Collection[Prefix] = ()
    """Pods have addresses of them that were attached in another way than new ones would be."""


def clear_of_others(report: Report | None) -> frozenset[Prefix]:
    """The own blocks of which the speaker has said that nobody else's path lies in them; none before it reported."""
    return frozenset(report.own_blocks).difference(report.foreign_paths) if report else frozenset()


def addressing(cluster: Cluster, node: str, *, blocks: Iterable[IPAMBlock], standing: Standing) -> Addressing:
    """Judge this node's ``blocks`` (those in force) for the CNI configuration.

    A block counts if it names the UID of the Node object that stands now; one without a UID was made by hand for
    whatever node has the name. A former owner's paths keep a block from serving; one that serves already goes on.
    """
    own = cluster.nodes.get(node)
    uid = own.meta.uid if own else ""
    way = attached_to(cluster, node)
    networks: dict[str, _Sorted] = {"": _Sorted()}
    for block in blocks:
        spec = block.spec
        if spec.state == "Quarantined":
            continue
        pool = pool_around(spec, cluster.pools)
        beside = is_beside(spec, cluster.pools)
        found = networks.setdefault(pool_name(spec, cluster.pools) if beside else "", _Sorted())
        usable, draining, lacking, idle = found.usable, found.draining, found.lacking, found.idle
        if spec.node_uid and spec.node_uid != uid:
            lacking.append(f"block {spec.cidr} belongs to an earlier node of this name")
        elif spec.state == "Draining":
            draining.append(spec.cidr)
        elif (pool not in way.beside) if beside else (not way.takes(pool) or spec.cidr in standing.otherwise):
            idle.append(spec.cidr)
        elif on_underlay(spec, cluster.pools):
            usable.append(spec.cidr)  # nobody announces any
        elif needs_blackhole(spec.cidr) and spec.cidr not in standing.in_kernel:
            lacking.append(f"block {spec.cidr} has no blackhole route yet")
        elif spec.cidr not in standing.clear and spec.cidr not in standing.served:
            lacking.append(f"block {spec.cidr} waits until the speaker holds no path of others in it")
        else:
            usable.append(spec.cidr)
    main = networks.pop("")
    usable, idle, lacking = main.usable, main.idle, main.lacking
    # a pool that is refused asks for nothing; but where its family has served, the way of all pools is being changed:
    # what stands goes on serving until there is a block for the new one
    changing = {family_of(prefix) for prefix in idle if prefix in standing.served}
    for_some = in_apart(cluster, node, usable)
    missing = (families(cluster, node) | changing) - {family_of(prefix) for prefix in usable if prefix not in for_some}
    lacking += [f"no {family.key} block yet" for family in sorted(missing - changing)]
    return Addressing(
        usable=tuple(sorted(usable, key=_order)),
        draining=tuple(sorted(main.draining, key=_order)),
        lacking=tuple(lacking),
        complete=bool(usable) and not missing,
        idle=tuple(sorted(idle, key=_order)),
        beside={
            name: Beside(tuple(sorted(one.usable, key=_order)), tuple(sorted(one.draining, key=_order)))
            for name, one in sorted(networks.items())
        },
    )


class _Sorted(Struct):
    """The blocks of one network, by what becomes of them."""

    usable: list[Prefix] = field(default_factory=list)
    draining: list[Prefix] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    idle: list[Prefix] = field(default_factory=list)


def families(cluster: Cluster, node: str) -> frozenset[Family]:
    """The families in which this node is to have addresses; none if it takes no part.

    Where the cluster assigns: those of its podCIDRs. Else those with a pool for it and in which it can be reached.
    """
    own = node_of(cluster, node)
    if not takes_part(own, cluster.ipam):
        return frozenset()
    if cluster.ipam.block_source == "PodCIDRs":
        return frozenset(map(family_of, own.pod_cidrs))
    return frozenset(family_of(pool.spec.cidr) for pool in up_front(pools_of(cluster, node)))


def waits_for(cluster: Cluster, node: str) -> str | None:
    """What a node that takes part lacks before it can have any block: something to cut one from."""
    own = cluster.nodes.get(node)
    if own is None or not takes_part(own, cluster.ipam) or families(cluster, node):
        return None
    if cluster.ipam.block_source == "PodCIDRs":
        return "the cluster has assigned no podCIDRs to this node yet"
    return "no pool has addresses of a family in which this node can be reached"


def _order(prefix: Prefix) -> tuple[int, bytes, int]:
    return prefix.version, prefix.network_address.packed, prefix.prefixlen

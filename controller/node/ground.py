"""The pods of a node behind its interfaces, mostly on the networks of these: what their pools stand on there, and the node's way to them."""

import errno
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from towpath.bgp.services import covering
from towpath.controller.node import parts
from towpath.controller.service_ranges import service_ranges
from towpath.ipam.attachment import Attached, attached_to
from towpath.ipam.underlay import Ground, dhcp_refusal, ground, mtu_refusal, routes
from towpath.model.blocks import by_node, in_force, node_addresses, pool_around
from towpath.model.cluster import Cluster, IPAMBlock, IPPool
from towpath.model.encapsulation import link_local_of, mac_of
from towpath.model.kinds.attachment import Attachment
from towpath.model.links import NodeLink
from towpath.model.net import Address, Prefix
from towpath.model.reason import Reason, Refusal, Why
from towpath.routes.shim import Shim

ASK_AGAIN = 60.0
"""Seconds after which a kernel that lacked a kind of device is asked for it again."""


class Grounds:
    """Of one node; what is remembered is what the last look found."""

    def __init__(self, node: str, shim: parts.PodShim, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._shim = shim
        self._clock = clock
        self._wanted = False
        self.grounds: Mapping[str, Ground] = {}
        """By pool."""
        self.beside: Mapping[str, Ground] = {}
        """Of the networks beside that of all pods, by pool."""
        self.refusals: tuple[Refusal, ...] = ()
        self._links: Mapping[str, NodeLink] = {}
        self._known: set[str] = set()
        """Kinds of devices that the kernel has."""
        self._lacking: dict[str, float] = {}
        """Those that it had not, and when it was asked."""

    def look(self, cluster: Cluster) -> None:
        """Look at the interfaces as they are now, if any pool asks for one, and keep the shim as that asks. ``OSError``: try again."""
        way = attached_to(cluster, self._node)
        own = own_by_master(cluster, self._node)
        self._wanted = way.attachment.by_master or bool(own) or bool(way.beside)
        self.grounds, self.beside, self.refusals = {}, {}, ()
        if not self._wanted:
            self._shim.desire(None)
            return
        self._links = self._shim.links()
        lacking = [pool for pool in way.beside if not self._knows(pool)]
        self.beside, beside = _judged((pool for pool in way.beside if pool not in lacking), self._links)
        self.grounds, refusals = _judged(_pools(cluster, way, own), self._links)
        self.refusals = (*refusals, *beside, *map(_lacks, lacking))
        wanted = shim_of(cluster, self._node, self.grounds)
        if own and wanted is None and way.attachment.by_shim:
            return  # its master has gone, or its addresses: what is there serves pods that live
        try:
            self._shim.desire(wanted)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self.grounds = {}
                self.refusals = (*self.refusals, _lacks(cluster.pools[way.pool]))
                return
            message = f"the node cannot reach pods on it: {error.strerror or error}"
            why = Why("IPPool", way.pool, "spec.attachment.master")
            self.refusals = (*self.refusals, Refusal(Reason.ATTACHMENT_MASTER, message, why))

    def subnet(self, pool: str) -> Prefix | None:
        """Of a pool's pods; None where it has no ground."""
        found = self.grounds.get(pool)
        return found.subnet if found is not None else None

    def mtu_of(self, way: Attachment) -> int | None:
        """The MTU of new pods that are attached so: what is asked for, unless the master takes less; None: nobody knows."""
        master = self._links.get(way.master) if way.master is not None else None
        asked, taken = way.mtu, master.mtu if master is not None else None
        return min(asked, taken) if asked and taken else asked or taken

    def _knows(self, pool: IPPool) -> bool:
        """Whether the kernel has the pool's devices. A no is for a while: the module may come, and each question looks for it."""
        kind, now = pool.spec.attachment.type, self._clock()
        if kind in self._known or now - self._lacking.get(kind, -math.inf) < ASK_AGAIN:
            return kind in self._known
        if self._shim.knows(kind):
            self._known.add(kind)
        else:
            self._lacking[kind] = now
        return kind in self._known

    def seen(self) -> object:
        """How all that stands: another value where it is to be looked at again."""
        return self._shim.seen(), self._shim.links() if self._wanted else None


def shim_of(cluster: Cluster, node: str, grounds: Mapping[str, Ground]) -> Shim | None:
    """The shim that a node needs; None: no block of its own has pods beside it."""
    ways: dict[Prefix, Address] = {}
    master = None
    for block, pool in own_by_master(cluster, node):
        found = grounds.get(pool.name)
        if found is not None and found.source is not None and pool.spec.attachment.by_shim:
            ways[block.spec.cidr] = found.source
            master = master or pool.spec.attachment
    if master is None or master.master is None or master.mode is None:
        return None
    return Shim(master.type, master.mode, master.master, mac_of(node), link_local_of(node), ways)


def by_node_of(cluster: Cluster, node: str, grounds: Mapping[str, Ground]) -> list[dict[str, str]]:
    """The routes by which pods on the underlay reach their node, and services."""
    found = cluster.routing_nodes.get(node)
    own = {family: one.ip for family, one in node_addresses(found).items()} if found is not None else {}
    services = covering(set(service_ranges(cluster)))
    by_shim = attached_to(cluster, node).attachment.by_shim
    return routes(grounds.values(), link_local=link_local_of(node) if by_shim else None, node=own, services=services)


def own_by_master(cluster: Cluster, node: str) -> list[tuple[IPAMBlock, IPPool]]:
    """The node's blocks whose pods' own network is behind an interface of it, with their pools; those first that decide how."""
    way = attached_to(cluster, node)
    own = (
        (block, pool_around(block.spec, cluster.pools))
        for block in by_node(in_force(cluster.blocks)).get(node, ())
        if block.spec.state != "Quarantined"
    )
    return sorted(
        (
            (block, pool)
            for block, pool in own
            if pool is not None and pool.spec.attachment.by_master and pool.spec.attachment.primary
        ),
        key=lambda one: (not way.takes(one[1]), one[1].name, one[0].name),
    )


def _judged(pools: Iterable[IPPool], links: Mapping[str, NodeLink]) -> tuple[dict[str, Ground], tuple[Refusal, ...]]:
    """The ground of each pool, and what is wrong with others."""
    grounds: dict[str, Ground] = {}
    refusals: list[Refusal] = []
    for pool in pools:
        found = ground(pool, links)
        if isinstance(found, Ground):
            grounds[pool.name] = found
        else:
            refusals.append(found)
        told = (judge(pool, links) for judge in (mtu_refusal, dhcp_refusal))
        refusals += [one for one in told if one is not None]
    return grounds, tuple(refusals)


def _lacks(pool: IPPool) -> Refusal:
    kind = pool.spec.attachment.type
    message = f"the kernel knows no devices of kind {kind}: new pods get no address of this pool there"
    return Refusal(Reason.KERNEL_LACKS, message, Why("IPPool", pool.name, "spec.attachment.type"))


def _pools(cluster: Cluster, way: Attached, own: list[tuple[IPAMBlock, IPPool]]) -> Iterator[IPPool]:
    """Those with blocks here, and the one that says how pods are attached."""
    names = {pool.name for _, pool in own}
    if way.attachment.by_master:
        names.add(way.pool)
    return (cluster.pools[name] for name in sorted(names & cluster.pools.keys()))

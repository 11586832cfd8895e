"""The networks that a node has beside that of all pods: a configuration of each for Multus or the like, and what they gave out.

Each pool without ``primary`` is one, by its own name, with blocks and records of its own. Its configuration appears when
there is a block and its interface, and is gone with the pool, for whoever calls it remembers what a pod that lives was
attached by. As the one of all pods it is a link to a file that no boot outlives; one that leads nowhere is taken away as soon as
it is known what there is, since Multus reads no other file of the folder while it is there.
"""

import functools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from towpath.controller.node.gate import Addressing, Beside
from towpath.controller.node.ground import Grounds
from towpath.controller.node.records import Records
from towpath.ipam.attachment import attached_to
from towpath.ipam.cni import PROGRAM, Places, called, conflist, network_of, remove, served, stands, write
from towpath.ipam.hostlocal import HostLocal, Record, is_pods
from towpath.ipam.plugins import Plugin, agreed
from towpath.ipam.reserved import reserved
from towpath.model.blocks import pool_around, pool_name
from towpath.model.cluster import Cluster, IPPool
from towpath.model.kinds.node import BlockReport
from towpath.model.net import Address, Prefix, block_name

log = structlog.get_logger()


class Networks:
    """Of one node. ``conf_dir``: the folder in which Multus looks for configurations by the names of networks."""

    def __init__(self, node: str, *, places: Places, conf_dir: Path, grounds: Grounds) -> None:
        self._node = node
        self._main = places
        self.conf_dir = conf_dir
        self._grounds = grounds
        self._records: dict[str, Records] = {}
        """By pool."""
        self._whole: dict[str, IPPool] = {}
        """Those that give an interface to one pod, as they are wanted."""
        self.calls: frozenset[str] = frozenset()
        """The plugins of the configurations that are wanted."""

    def version(self) -> int:
        """A number that changes whenever an address of such a network is taken or given back."""
        return sum(self._of(pool).local.version() for pool in self._main.given_out())

    def served(self) -> Iterator[Address]:
        """The first address of every range of the configurations that stand."""
        return (first for places in self._main.networks(self.conf_dir) for first in served(places))

    def in_use(self, blocks: Collection[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks that a pod has an address of on one of these networks."""
        return frozenset(block for pool in self._main.given_out() for block in self._of(pool).in_use(blocks))

    def reserve(self, cluster: Cluster, addressing: Addressing, *, own: Collection[Prefix]) -> None:
        """Keep draining blocks from giving out addresses. ``OSError``: try again."""
        for name, one in addressing.beside.items():
            subnet = functools.partial(self._subnet, cluster)
            self._of(name).reserve(usable=one.usable, draining=one.draining, own=own, subnet=subnet)

    def desire(self, cluster: Cluster, addressing: Addressing, *, plugins: Collection[Plugin]) -> None:
        """The configurations as the confirmed blocks say, once it is known what the ``plugins`` are. ``OSError``: try again."""
        wanted = {pool.name: pool for pool in attached_to(cluster, self._node).beside}
        self._whole = {name: pool for name, pool in wanted.items() if pool.spec.attachment.whole}
        for places in self._main.networks(self.conf_dir):
            if places.pool not in wanted or not stands(places):
                remove(places)
        calls: set[str] = set()
        for name, pool in wanted.items():
            places, usable = self._places(name), addressing.beside.get(name, Beside()).usable
            made = self._conflist(pool, cluster, usable, plugins)
            calls |= called(made)
            missing = any(one.trouble for one in plugins if one.name in called(made))
            if plugins and usable and name in self._grounds.beside and not missing:
                if write(made, places):
                    log.info("cni.written", blocks=[str(cidr) for cidr in usable], file=str(places.link))
            elif any(all(first not in cidr for cidr in usable) for first in served(places)):
                remove(
                    places
                )  # a block of it is not this node's any more; else what stands works as far as anything does
        self.calls = frozenset(calls)

    def usage(
        self, cluster: Cluster, blocks: Collection[Prefix], *, draining: Collection[Prefix]
    ) -> Iterator[BlockReport]:
        """How full each block is; where one pod has all of an interface there is room for one."""
        of: dict[str, list[Prefix]] = {}
        for cidr in (*blocks, *draining):
            of.setdefault(pool_name(cluster.blocks[block_name(cidr)].spec, cluster.pools), []).append(cidr)
        for name, listed in sorted(of.items()):
            whole = name in cluster.pools and cluster.pools[name].spec.attachment.whole
            for one in self._of(name).usage(
                [cidr for cidr in listed if cidr not in draining],
                draining=[cidr for cidr in listed if cidr in draining],
                subnet=functools.partial(self._subnet, cluster),
                kept=reserved(cluster.reservations),
            ):
                yield replace(one, capacity=min(one.capacity, 1) if whole else one.capacity, primary=False)

    def holders(self, network: str, *, container: str, interface: str) -> tuple[IPPool, tuple[Record, ...]] | None:
        """The pool whose network this is, and what others than this have of it; None: it gives no interface to one pod alone."""
        pool = next((one for name, one in self._whole.items() if network_of(name) == network), None)
        if pool is None:
            return None
        records = (one for one in self._of(pool.name).local.records() if is_pods(one))
        return pool, tuple(one for one in records if (one.container, one.interface) != (container, interface))

    def _of(self, pool: str) -> Records:
        if pool not in self._records:
            places = self._places(pool)
            self._records[pool] = Records(HostLocal(places.data_dir, network=places.network))
        return self._records[pool]

    def _places(self, pool: str) -> Places:
        return self._main.beside(pool, conf_dir=self.conf_dir)

    def _subnet(self, cluster: Cluster, cidr: Prefix) -> Prefix:
        """That pods of a block live in; where it is not known any, so that all of the block counts."""
        pool = pool_around(cluster.blocks[block_name(cidr)].spec, cluster.pools)
        ground = self._grounds.beside.get(pool.name) if pool is not None else None
        return ground.subnet if ground is not None else cidr.supernet(new_prefix=0)

    def _conflist(
        self, pool: IPPool, cluster: Cluster, usable: Collection[Prefix], plugins: Collection[Plugin]
    ) -> dict[str, Any]:
        places, way = self._places(pool.name), pool.spec.attachment
        asks = {one.name for one in plugins if one.name == PROGRAM and not (one.trouble or one.older) and way.whole}
        calls = called(conflist((), {}, data_dir=places.data_dir, way=way)) | asks
        return conflist(
            [cluster.blocks[block_name(cidr)].spec for cidr in usable],
            cluster.pools,
            data_dir=places.data_dir,
            network=places.network,
            way=way,
            versions=agreed([one for one in plugins if one.name in calls]),
            mtu=self._grounds.mtu_of(way),
            grounds=self._grounds.beside,
            kept=reserved(cluster.reservations),
            agent=places.socket if asks else None,
        )

"""What lets pods have addresses: the CNI configuration of this boot, host-local's reserve on blocks that drain, and usage.

The configuration appears when every family with a pool for this node has a block, and stays: also when blocks run out
or go, because a runtime without one cannot even delete pods.
"""

import asyncio
from collections.abc import Collection, Iterable

import structlog

from towpath.controller.node.gate import Addressing
from towpath.ipam.cni import Places, conflist, served, write
from towpath.ipam.hostlocal import DrainWatch, HostLocal
from towpath.model.cluster import Cluster
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.kinds.node import BlockReport
from towpath.model.net import Prefix, block_name

log = structlog.get_logger()
OBSERVE_EVERY = 5.0
"""Seconds between two observations of a draining block: longer than a runtime takes from address to pod."""


class CNIPods:
    """The files of one node."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._local = HostLocal(places.data_dir)
        self._watch = DrainWatch()
        self._observed = -OBSERVE_EVERY
        self._drained: frozenset[Prefix] = frozenset()
        self._reserved: frozenset[Prefix] = frozenset()
        self._released: frozenset[Prefix] = frozenset()
        """Blocks in which no reservation of ours is left."""
        self._version = 0

    def changed(self) -> bool:
        """Whether pods came or went since this was asked last: nobody tells us, so the folder is looked at."""
        before, self._version = self._version, self._local.version()
        return self._version != before

    def served(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks that the configuration of this boot has, whichever process wrote it."""
        starts = served(self._places)
        return frozenset(block for block in blocks if any(start in block for start in starts))

    def in_use(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks that a pod has an address of."""
        wanted = tuple(blocks)
        addresses = self._local.in_use() if wanted else ()
        return frozenset(block for block in wanted if any(address in block for address in addresses))

    def desire(self, cluster: Cluster, addressing: Addressing) -> None:
        """Bring the files to what the confirmed blocks say; ``OSError`` where the disk refuses."""
        draining = frozenset(addressing.draining)
        for cidr in draining - self._reserved:
            log.info("block.draining", block=str(cidr))
        for cidr in draining:
            self._local.reserve_free(cidr, pool=_pool(cluster, cidr))
        for cidr in addressing.usable:
            if cidr not in self._released:
                self._local.release_reserved(cidr)
        self._reserved, self._released = draining, frozenset(addressing.usable)
        starts = served(self._places)
        lost = any(not any(start in cidr for cidr in addressing.usable) for start in starts)
        # while a family lacks its block, what stands is changed only to take away what is no longer ours
        if addressing.complete or (addressing.usable and lost):
            specs = [_spec(cluster, cidr) for cidr in addressing.usable]
            if write(conflist(specs, cluster.pools, data_dir=self._places.data_dir), self._places):
                log.info("cni.written", blocks=[str(cidr) for cidr in addressing.usable], file=str(self._places.link))

    def usage(
        self, cluster: Cluster, blocks: Collection[Prefix], *, draining: Collection[Prefix]
    ) -> tuple[BlockReport, ...]:
        """How full each block is, the draining ones after the others."""
        reports = self._local.usage((cidr, _pool(cluster, cidr)) for cidr in (*blocks, *draining))
        now = asyncio.get_running_loop().time()
        if now - self._observed >= OBSERVE_EVERY or not draining:
            self._observed = now
            in_use = [one.cidr for one in reports if one.in_use]
            self._drained = self._watch.observe(draining, in_use=in_use)
        return tuple(
            BlockReport(cidr=one.cidr, in_use=one.in_use, capacity=one.capacity, drained=one.cidr in self._drained)
            for one in reports
        )


def _spec(cluster: Cluster, cidr: Prefix) -> IPAMBlockSpec:
    return cluster.blocks[block_name(cidr)].spec


def _pool(cluster: Cluster, cidr: Prefix) -> Prefix | None:
    pool = cluster.pools.get(_spec(cluster, cidr).pool)
    return pool.spec.cidr if pool else None

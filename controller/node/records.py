"""host-local's records of one network of this node, kept as its blocks are to be: what may be given out, and how full it is."""

import asyncio
from collections.abc import Callable, Collection

import structlog

from towpath.ipam.hostlocal import DrainWatch, HostLocal
from towpath.ipam.reserved import Reserved
from towpath.model.kinds.node import BlockReport
from towpath.model.net import Address, Prefix

log = structlog.get_logger()
OBSERVE_EVERY = 5.0
"""Seconds between two observations of a draining block: longer than a runtime takes from address to pod."""
Subnet = Callable[[Prefix], Prefix | None]
"""Of a block, the subnet that its pods live in; None: the block itself."""
Range = tuple[Address, Address]
"""The first and the last address."""


class Records:
    """Of one network; remembered is what was reserved and seen last."""

    def __init__(self, local: HostLocal) -> None:
        self.local = local
        self._watch = DrainWatch()
        self._observed = -OBSERVE_EVERY
        self._drained: frozenset[Prefix] = frozenset()
        self._reserved: frozenset[Prefix] = frozenset()
        self._released: frozenset[Prefix] = frozenset()
        """Blocks in which no reservation of ours is left."""
        self._strayed: frozenset[Range] = frozenset()

    def reserve(
        self,
        *,
        usable: Collection[Prefix],
        draining: Collection[Prefix],
        own: Collection[Prefix],
        subnet: Subnet,
        strayed: Collection[Range] = (),
    ) -> None:
        """Keep draining blocks from giving out addresses; take that back where a block is in use again, or is not one of its ``own``. ``OSError``: try again.

        ``strayed``: ranges that serve and are of no block of this node any more; the configuration cannot do without any.
        """
        for cidr in frozenset(draining) - self._reserved:
            log.info("block.draining", block=str(cidr))
        for cidr in draining:
            self.local.reserve_free(cidr, pool=subnet(cidr))
        for first, last in strayed:
            if (first, last) not in self._strayed:
                log.warning("block.gone", first=str(first), last=str(last), remedy="none needed: no pod gets these")
            self.local.reserve_between(first, last)
        self._strayed = frozenset(strayed)
        for cidr in usable:
            if cidr not in self._released:
                self.local.release_reserved(cidr)
        self.local.release_outside(own, but=strayed)
        self._reserved, self._released = frozenset(draining), frozenset(usable)

    def in_use(self, blocks: Collection[Prefix]) -> frozenset[Prefix]:
        """Those of the blocks that a pod has an address of on this network."""
        addresses = self.local.in_use() if blocks else ()
        return frozenset(block for block in blocks if any(address in block for address in addresses))

    def usage(
        self,
        blocks: Collection[Prefix],
        *,
        draining: Collection[Prefix],
        subnet: Subnet,
        kept: Reserved,
        endpoints: Collection[Prefix] = (),
    ) -> tuple[BlockReport, ...]:
        """How full each block is, the draining ones after the others; as ``HostLocal.usage``."""
        every = ((cidr, subnet(cidr)) for cidr in (*blocks, *draining))
        reports = self.local.usage(every, endpoints=endpoints, kept=kept)
        now = asyncio.get_running_loop().time()
        if now - self._observed >= OBSERVE_EVERY or not draining:
            self._observed = now
            in_use = [one.cidr for one in reports if one.in_use]
            self._drained = self._watch.observe(draining, in_use=in_use)
        return tuple(
            BlockReport(cidr=one.cidr, in_use=one.in_use, capacity=one.capacity, drained=one.cidr in self._drained)
            for one in reports
        )

"""Blocks as the controller writes them: a claim creates one, a change carries the version that it was decided on."""

from collections.abc import Awaitable, Callable, Iterable

import structlog
from msgspec.structs import replace

from towpath.controller.claiming import Claiming
from towpath.controller.writes import Writer
from towpath.ipam.changes import Change
from towpath.ipam.plan import Claim, IpamPlan
from towpath.model.cluster import IPAMBlock
from towpath.model.net import block_name
from towpath.model.resource import Meta, Resource

log = structlog.get_logger(__name__)


class BlockWrites(Claiming[IPAMBlock]):
    """Carries plans of blocks out."""

    def __init__(self, writer: Writer, *, clock: Callable[[], float]) -> None:
        super().__init__("IPAMBlock", writer, clock=clock)

    def writes(self, wished: IpamPlan) -> Iterable[Awaitable[bool]]:
        """Everything that a plan asks for."""
        yield from map(self._claim, wished.claims)
        yield from map(self._change, wished.changes)
        yield from map(self._release, wished.deletions)

    async def _claim(self, claim: Claim) -> bool:
        done = await self._create(Resource("IPAMBlock", Meta(block_name(claim.spec.cidr)), claim.spec))
        if done:
            log.info("block.claimed", block=str(claim.spec.cidr), node=claim.spec.node, pool=claim.spec.pool)
        return done

    async def _change(self, change: Change) -> bool:
        owner = change.block.spec
        if change.why.kind == "Node" and change.spec.state == "Quarantined":
            gone = await self._writer.is_gone(owner.node, uid=owner.node_uid)
            if not gone:
                return False
        done = await self._replace(replace(change.block, spec=change.spec))
        if done:
            log.info("block.changed", block=str(change.spec.cidr), node=change.spec.node, state=change.spec.state)
        return done

    async def _release(self, block: IPAMBlock) -> bool:
        done = await self._delete(block)
        if done:
            log.info("block.released", block=str(block.spec.cidr), node=block.spec.node)
        return done

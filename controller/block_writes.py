"""Blocks as the controller writes them: a claim creates one, a change carries the version that it was decided on."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from msgspec.structs import replace

from towpath.controller.ports import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from towpath.controller.writes import Writer, may_have_happened
from towpath.controller.written import OwnWrites
from towpath.ipam.changes import Change
from towpath.ipam.plan import Claim, IpamPlan
from towpath.model.cluster import IPAMBlock
from towpath.model.decode import encode
from towpath.model.net import Prefix, block_name
from towpath.model.resource import Meta, Resource

log = structlog.get_logger(__name__)


class BlockWrites:
    """Carries plans of blocks out; knows what was written and is not in the cache yet."""

    def __init__(self, writer: Writer, *, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._own: OwnWrites[IPAMBlock] = OwnWrites("IPAMBlock", clock=clock)
        self.barred: dict[str, Prefix] = {}
        """Names that are taken by objects which do not decode."""

    @property
    def uncertain(self) -> Mapping[str, IPAMBlock]:
        """Claims whose answer was lost, by name."""
        return self._own.uncertain

    def over(self, cached: Mapping[str, IPAMBlock]) -> Mapping[str, IPAMBlock]:
        """What the cache shows, with our writes laid over."""
        if self.barred:
            self.barred = {name: prefix for name, prefix in self.barred.items() if name not in cached}
        return self._own.over(cached)

    def doubt(self) -> None:
        """The store was restored from a backup: what was written before may be undone."""
        self._own.doubt()

    def lookups(self) -> Iterable[Awaitable[bool]]:
        """Questions to the API server about every write that the cache should show by now, and claims without an answer."""
        return (self._writer.look_up(self._own, "IPAMBlock", name) for name in self._own.doubtful())

    def writes(self, wished: IpamPlan) -> Iterable[Awaitable[bool]]:
        """Everything that a plan asks for."""
        yield from map(self._claim, wished.claims)
        yield from map(self._change, wished.changes)
        yield from map(self._release, wished.deletions)

    async def _claim(self, claim: Claim) -> bool:
        name = block_name(claim.spec.cidr)
        block: IPAMBlock = Resource("IPAMBlock", Meta(name), claim.spec)
        try:
            body = await self._writer.write("claim", name, lambda: self._writer.api.create("IPAMBlock", encode(block)))
        except AlreadyExistsError:
            log.info("block.taken", block=str(claim.spec.cidr), wanted_for=claim.spec.node)
            if not await self._writer.look_up(self._own, "IPAMBlock", name):
                self._own.lost(block)
            elif self._own.is_unreadable(name):
                self.barred[name] = claim.spec.cidr
            return False
        except ApiError as error:
            if may_have_happened(error):
                self._own.lost(block)
            return self._writer.failed("claim", name, error)
        except BaseException:
            self._own.lost(block)  # cancelled with the request under way
            raise
        self._own.wrote(body)
        log.info("block.claimed", block=str(claim.spec.cidr), node=claim.spec.node, pool=claim.spec.pool)
        return True

    async def _change(self, change: Change) -> bool:
        name, owner = change.block.name, change.block.spec
        if change.why.kind == "Node" and change.spec.state == "Quarantined":
            gone = await self._writer.is_gone(owner.node, uid=owner.node_uid)
            if not gone:
                return False
        body = encode(replace(change.block, spec=change.spec))
        try:
            written = await self._writer.write("change", name, lambda: self._writer.api.replace("IPAMBlock", body))
        except (ConflictError, NotFoundError) as error:
            await self._writer.look_up(self._own, "IPAMBlock", name, uid=change.block.meta.uid)
            return self._writer.failed("change", name, error)
        except ApiError as error:
            return self._writer.failed("change", name, error)
        self._own.wrote(written)
        log.info("block.changed", block=str(change.spec.cidr), node=change.spec.node, state=change.spec.state)
        return True

    async def _release(self, block: IPAMBlock) -> bool:
        meta = block.meta
        try:
            await self._writer.write(
                "release",
                meta.name,
                lambda: self._writer.api.delete(
                    "IPAMBlock", meta.name, uid=meta.uid, resource_version=meta.resource_version
                ),
            )
        except ConflictError as error:
            await self._writer.look_up(self._own, "IPAMBlock", meta.name, uid=meta.uid)
            return self._writer.failed("release", meta.name, error)
        except NotFoundError:
            pass
        except ApiError as error:
            return self._writer.failed("release", meta.name, error)
        self._own.gone(meta.name, uid=meta.uid)
        log.info("block.released", block=str(block.spec.cidr), node=block.spec.node)
        return True

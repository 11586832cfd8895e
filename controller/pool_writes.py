"""The mark on pools that keeps them while there are blocks of them: put on before the first block, taken off after the last."""

from collections.abc import Awaitable, Collection, Iterable, Iterator
from typing import Any

import structlog

from towpath.controller.ports import ApiError, ConflictError, NotFoundError, Server, every
from towpath.controller.writes import Writer, may_have_happened
from towpath.ipam.ending import FINALIZER, is_empty, is_held, to_hold, to_release
from towpath.ipam.ledger import Ledger
from towpath.model.cluster import IPPool
from towpath.model.decode import decode_meta
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.net import Prefix, parse_prefix
from towpath.model.resource import Meta, version_number

log = structlog.get_logger(__name__)


class PoolWrites:
    """Remembers of each pool what it wrote last, which a cache may not show yet."""

    def __init__(self, server: Server, writer: Writer, *, leaving: bool = False) -> None:
        """``leaving``: no pool is to be kept any more, whatever lies in it."""
        self._server = server
        self._writer = writer
        self._leaving = leaving
        self._written: dict[str, int] = {}
        """By uid the version."""
        self._refused = False

    def doubt(self) -> None:
        """The store was restored from a backup: what was written before may be undone."""
        self._written.clear()

    async def hold(self, ledger: Ledger, claims: Iterable[IPAMBlockSpec]) -> frozenset[str]:
        """Have pools kept that have blocks or get some; the names of those of which none may be cut now.

        A pool that is gone or changed by now is read again first. Where we may not write pools they are used all the same.
        """
        if self._leaving:
            return frozenset()
        wanted = [pool for pool in to_hold(ledger, claims) if not self._is_news(pool)]
        held = {pool.name: await self._hold(pool) for pool in wanted}
        return frozenset(name for name, done in held.items() if not done)

    def writes(self, ledger: Ledger, uncertain: Collection[IPAMBlockSpec]) -> Iterator[Awaitable[bool]]:
        """What lets pools go of which nothing is left; ``uncertain``: claims without an answer."""
        pools = ledger.cluster.pools.values()
        free = [one for one in pools if is_held(one)] if self._leaving else to_release(ledger, uncertain)
        yield from (self._release(pool) for pool in free if not self._is_news(pool))

    def _is_news(self, pool: IPPool) -> bool:
        """Whether what was written last is newer than what is known here."""
        written = self._written.get(pool.meta.uid)
        if written is not None and version_number(pool.meta.resource_version) >= written:
            del self._written[pool.meta.uid]
            return False
        return written is not None

    async def _hold(self, pool: IPPool) -> bool:
        """Whether blocks may be cut from it."""
        try:
            try:
                await self._put(pool.meta, [*pool.meta.finalizers, FINALIZER])
            except ConflictError:
                return await self._hold_as_it_is(pool)
        except (ConflictError, NotFoundError) as error:
            return self._writer.failed("hold", pool.name, error)
        except ApiError as error:
            if may_have_happened(error):
                return self._writer.failed("hold", pool.name, error)
            if not self._refused:
                self._refused = True
                remedy = (
                    "allow the controller to patch ippools: until then a pool that is deleted goes with blocks in it"
                )
                log.warning("pool.not_kept", pool=pool.name, error=str(error), remedy=remedy)
        return True

    async def _hold_as_it_is(self, pool: IPPool) -> bool:
        """The same of what the API server has by now."""
        body = await self._server.get("IPPool", pool.name)
        meta = decode_meta("IPPool", body)
        if meta.uid != pool.meta.uid or meta.deletion_timestamp:
            return False
        if FINALIZER in meta.finalizers:
            self._written[meta.uid] = version_number(meta.resource_version)
        else:
            await self._put(meta, [*meta.finalizers, FINALIZER])
        return True

    async def _release(self, pool: IPPool) -> bool:
        try:
            if not self._leaving and not is_empty(pool, await self._blocks()):
                return False
            await self._put(pool.meta, [one for one in pool.meta.finalizers if one != FINALIZER])
        except NotFoundError:
            return True
        except ApiError as error:
            return self._writer.failed("let go", pool.name, error)
        log.info("pool.let_go", pool=pool.name, cidr=str(pool.spec.cidr))
        return True

    async def _put(self, meta: Meta, finalizers: list[str]) -> None:
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers or None}
        }
        body: dict[str, Any] = await self._writer.write(
            "pool", meta.name, lambda: self._writer.api.patch("IPPool", meta.name, patch)
        )
        self._written[meta.uid] = version_number(body["metadata"].get("resourceVersion", ""))

    async def _blocks(self) -> list[Prefix]:
        """The API server's own word on what blocks there are: a cache may lack what another one has cut a moment ago."""
        return [parse_prefix(item["spec"]["cidr"]) async for item in every(self._server, "IPAMBlock")]

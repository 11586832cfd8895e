"""How a leader writes: a bounded number of calls at a time, each only while it leads, and every answer taken as said.

What was refused is not tried again here: the next pass reads, and plans anew.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from towpath.controller.ports import Api, ApiError, ConflictError, NotFoundError, UnreachableError
from towpath.controller.written import OwnWrites

log = structlog.get_logger(__name__)
CONCURRENCY = 16


class Leadership(Protocol):
    """The lease."""

    @property
    def leading(self) -> bool:
        """Whether this process may write, now."""

    @property
    def left(self) -> float:
        """For how many seconds it may: a write that is under way then is given up."""

    @property
    def idle(self) -> float:
        """For how many seconds nobody had led when this process began to, as far as dates tell."""


class Writer:
    """The API as one who leads uses it."""

    def __init__(self, api: Api, *, lease: Leadership) -> None:
        self.api = api
        self._lease = lease
        self._limit = asyncio.Semaphore(CONCURRENCY)

    @property
    def leading(self) -> bool:
        """Whether this process may write, now."""
        return self._lease.leading

    @property
    def idle(self) -> float:
        """For how many seconds nobody had led before."""
        return self._lease.idle

    async def all(self, *writes: Awaitable[bool]) -> bool:
        """Carry all out, a bounded number at a time; whether all succeeded."""
        return all(await asyncio.gather(*writes))

    async def write(self, what: str, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """One call, if we still lead and for as long; its answer. ``ApiError`` flies, also where we do not lead any more."""
        async with self._limit:
            if not self._lease.leading:
                raise ConflictError(f"{what} {name}: not the leader any more", status=409)
            log.debug("api.write", what=what, name=name)
            try:
                async with asyncio.timeout(self._lease.left):
                    return await call()
            except TimeoutError as error:
                raise UnreachableError(f"{what} {name}: no answer while we led") from error

    async def look_up(self, writes: OwnWrites[Any], kind: str, name: str, *, uid: str = "") -> bool:
        """The API server's word on one object; False if there was no answer."""
        try:
            body = await self.api.get(kind, name)
        except NotFoundError:
            writes.gone(name, uid=uid)
        except ApiError as error:
            return self.failed("read", name, error)
        else:
            writes.wrote(body)
        return True

    async def is_gone(self, node: str, *, uid: str | None = None) -> bool:
        """The API server's word that there is no Node of this name (and uid, where one is given).

        Kinds are watched apart: a block can be in the cache before its node is, and what looks like a node that has
        gone is one that has just come. A uid that is gone never comes back, so the answer stays true.
        """
        try:
            body = await self.api.get("Node", node)
        except NotFoundError:
            return True
        except ApiError as error:
            return self.failed("read", node, error)
        if uid is not None and uid != str(body["metadata"].get("uid", "")):
            return True
        log.info("node.not_gone", node=node, remedy="the list of nodes is behind; decided again when it has caught up")
        return False

    def failed(self, what: str, name: str, error: ApiError) -> bool:
        """Say that a call was refused; always False, which is what a write that did not succeed returns."""
        log.info("api.refused", what=what, name=name, error=str(error), status=error.status)
        return False


def may_have_happened(error: ApiError) -> bool:
    """Whether a write that ended so may have been carried out: no answer, or an answer that does not say."""
    return isinstance(error, UnreachableError) or error.status == 0 or error.status >= 500

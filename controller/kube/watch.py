"""Reflectors: each keeps one kind of a store equal to the API server's, by a list and a watch from there on.

A watch that ends goes on where it ended; only 410, or what the store's breaker wants to see again, makes a new list.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import structlog
from msgspec import Struct

from towpath.controller.ports import ApiError, GoneError, NotFoundError, Reader
from towpath.controller.store import Store

log = structlog.get_logger(__name__)
PAGE = 500


class Retry(Struct, frozen=True):
    """Seconds between attempts: doubled from ``first`` up to ``longest``, each with jitter."""

    first: float = 0.1
    longest: float = 3.0

    def pause(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        return min(self.first * 2.0 ** min(failures, 16), self.longest) * random.uniform(0.5, 1.0)


class Reflector:
    """Follows one kind until cancelled."""

    def __init__(
        self, reader: Reader, store: Store, *, kind: str, field_selector: str = "", retry: Retry | None = None
    ) -> None:
        self._reader = reader
        self._store = store
        self._kind = kind
        self._selector = field_selector
        self._retry = retry or Retry()
        self._version = ""

    async def run(self) -> None:
        """Keep the store up to date; whatever the API server says, this goes on."""
        failures = 0
        while True:
            seen = self._version
            try:
                if not self._version:
                    self._version = await self._list()
                await self._watch()
                if self._version != seen:
                    failures = 0
            except GoneError as error:
                log.info("watch.expired", kind=self._kind, error=str(error))
                self._version = ""
            except NotFoundError as error:
                self._version = ""
                self._store.kind_missing(self._kind)
                log.warning("kind.missing", kind=self._kind, error=str(error))
                failures = await self._wait(failures, error)
                continue
            except ApiError as error:
                log.info("watch.lost", kind=self._kind, error=str(error))
                if self._version != seen:
                    failures = 0
                failures = await self._wait(failures, error)
                continue
            finally:
                self._store.contact(self._kind, connected=False)
            # ended in order: at once, unless that goes on and on
            failures = await self._wait(failures, None)

    async def _wait(self, failures: int, error: ApiError | None) -> int:
        pause = self._retry.pause(failures)
        if error is not None and error.retry_after:
            pause = max(pause, error.retry_after)
        await asyncio.sleep(pause)
        return failures + 1

    async def _list(self) -> str:
        """List all pages into the store; returns the version to watch from."""
        items: list[dict[str, Any]] = []
        token, version = "", ""
        while True:
            page = await self._reader.list(self._kind, field_selector=self._selector, limit=PAGE, continue_token=token)
            items += page.items
            token, version = page.continue_token, page.resource_version
            if not token:
                break
        self._store.listed(self._kind, items, version=version)
        return version

    async def _watch(self) -> None:
        """Watch until the server ends it, or until the breaker wants a new list."""
        events = self._reader.watch(self._kind, self._version, field_selector=self._selector)
        async with contextlib.aclosing(events) as stream:
            while True:
                look_again = self._store.look_again_in(self._kind)
                try:
                    async with asyncio.timeout(look_again):
                        event = await anext(stream, None)
                except TimeoutError:
                    self._version = ""
                    return
                if event is None:
                    return
                self._version = str(event.object["metadata"]["resourceVersion"])
                self._store.contact(self._kind, connected=True)
                if event.type == "DELETED":
                    self._store.deleted(self._kind, str(event.object["metadata"]["name"]))
                elif event.type != "BOOKMARK":
                    self._store.upserted(self._kind, event.object)


@contextlib.asynccontextmanager
async def following(
    reader: Reader, store: Store, *, only_node: str = "", retry: Retry | None = None
) -> AsyncIterator[None]:
    """Keep all kinds of a store up to date while the context is open; ``only_node``: of Nodes this one alone."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                Reflector(
                    reader,
                    store,
                    kind=kind,
                    field_selector=f"metadata.name={only_node}" if only_node and kind == "Node" else "",
                    retry=retry,
                ).run(),
                name=f"follow {kind}",
            )
            for kind in store.kinds
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

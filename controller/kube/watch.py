"""Reflectors: each keeps one kind of a store equal to the API server's, by a list and a watch from there on.

A watch that ends goes on where it ended; only 410, or what the store's breaker wants to see again, makes a new list. A
list is taken page by page and counts when it is complete.

A server that was away may come back with a store of before, from a backup. It takes a watch from a version that it has not
reached yet, and says nothing until it has: so after a loss it is asked which version it has. Whoever finds that out tells the
others (``Restores``): when they ask, the store may have gone on past what they know.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator

import structlog
from msgspec import Struct

from towpath.controller.ports import (
    ApiError,
    ForbiddenError,
    GoneError,
    InvalidObjectError,
    NotFoundError,
    Reader,
    Sink,
)
from towpath.controller.store import Store
from towpath.model.resource import version_number

log = structlog.get_logger(__name__)
PAGE = 250
"""Objects asked for at once: of Nodes, the largest that we read, some megabytes."""
_REFUSALS = (ForbiddenError, NotFoundError, InvalidObjectError)
"""What asking again will not change soon."""


class Retry(Struct, frozen=True):
    """Seconds between attempts, doubled from ``first`` up to a limit, each with jitter.

    ``longest`` is the limit where nobody answers, something is overloaded, or a version is too old: it will be back soon.
    ``longest_refused`` where the answer was no: rights, a definition or we ourselves have to change first.
    ``longest_asked`` is as long as a server's ``Retry-After`` is believed.
    """

    first: float = 0.1
    longest: float = 3.0
    longest_refused: float = 15.0
    longest_asked: float = 60.0

    def pause(self, failures: int, error: ApiError | None = None) -> float:
        """How long to wait after so many failures in a row, the last one ``error`` (None: it ended in order)."""
        longest = self.longest_refused if isinstance(error, _REFUSALS) else self.longest
        pause = min(self.first * 2.0 ** min(failures, 16), longest) * random.uniform(0.5, 1.0)
        if error is not None and error.retry_after:
            pause = max(pause, min(error.retry_after, self.longest_asked) * random.uniform(1.0, 1.2))
        return pause


class Restores:
    """What the reflectors of one API server tell each other: that its store is one of before."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def told_to(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call a listener for it while the context is open."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def tell(self, *, but: Callable[[], None]) -> None:
        """All but the one that says it."""
        for listener in self._listeners:
            if listener != but:
                listener()


class Reflector:
    """Follows one kind until cancelled."""

    def __init__(
        self,
        reader: Reader,
        sink: Sink,
        *,
        kind: str,
        namespace: str = "",
        field_selector: str = "",
        retry: Retry | None = None,
        restores: Restores | None = None,
    ) -> None:
        """``restores``: shared by the reflectors of one server."""
        self._reader = reader
        self._sink = sink
        self._kind = kind
        self._namespace = namespace
        self._selector = field_selector
        self._retry = retry or Retry()
        self._restores = restores or Restores()
        self._version = ""
        self._latest = ""
        """The last version that was seen, also where it is worth nothing to go on from."""
        self._doubted = False
        """Whether the server was away since the version was seen."""
        self._undone = False
        """Whether others have seen that the store is one of before."""
        self._waiting: asyncio.Timeout | None = None
        self._said = ""

    async def run(self) -> None:
        """Keep the sink up to date; whatever the API server says, this goes on."""
        with self._restores.told_to(self._list_anew):
            await self._run()

    def _list_anew(self) -> None:
        self._undone = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def _run(self) -> None:
        failures = 0
        while True:
            seen, error = self._version, None
            try:
                if self._version and self._doubted and await self._went_back():
                    log.warning("watch.went_back", kind=self._kind, remedy="none needed: it is listed anew")
                    self._version = ""
                if self._undone:
                    self._version = self._latest = ""
                    self._undone = False
                if not self._version:
                    self._take(await self._list())
                self._doubted = False
                await self._watch()
            except ApiError as caught:
                error = caught
            finally:
                self._sink.contact(self._kind, connected=False)
            if error is not None:
                self._failed(error)
            if self._version not in ("", seen):
                failures = 0
            # one that ended in order is opened again at once, unless that goes on and on
            await asyncio.sleep(self._retry.pause(failures, error))
            failures += 1

    def _failed(self, error: ApiError) -> None:
        """Tell of an error, loudly once where somebody has to do something, and forget the version where it is worth nothing."""
        said, self._said = self._said, str(error)
        if error.status:
            self._sink.answered()
        match error:
            case GoneError():
                self._version = ""
                log.info("watch.expired", kind=self._kind, error=str(error))
            case NotFoundError():
                self._version = ""
                self._sink.kind_missing(self._kind)
                if str(error) != said:
                    log.warning("kind.missing", kind=self._kind, error=str(error), remedy="install the CRDs")
            case ForbiddenError():
                self._sink.refused(self._kind, str(error))
                if str(error) != said:
                    log.warning(
                        "kind.forbidden", kind=self._kind, error=str(error), remedy="give the account this right"
                    )
            case _:
                self._doubted = True
                log.info("watch.lost", kind=self._kind, error=str(error))

    async def _went_back(self) -> bool:
        """Whether the server's store is older than what it said before."""
        page = await self._reader.list(
            self._kind, namespace=self._namespace, field_selector=self._selector, limit=1, continue_token=""
        )
        return version_number(page.resource_version) < version_number(self._version)

    def _take(self, version: str) -> None:
        """Go on from the version of a list, and tell the others where it is one of before that nobody told of."""
        before, self._version, self._latest = self._latest, version, version
        if not self._undone and version_number(version) < version_number(before):
            self._restores.tell(but=self._list_anew)

    async def _list(self) -> str:
        """List all pages into the sink; returns the version to watch from."""
        listing = self._sink.listing(self._kind)
        token = ""
        while True:
            page = await self._reader.list(
                self._kind,
                namespace=self._namespace,
                field_selector=self._selector,
                limit=PAGE,
                continue_token=token,
            )
            listing.page(page.items)
            token, version = page.continue_token, page.resource_version
            if not token:
                break
            del page  # not two of them at a time
        listing.done(version=version)
        return version

    async def _watch(self) -> None:
        """Watch until the server ends it, or until the breaker wants a new list."""
        events = self._reader.watch(self._kind, self._version, namespace=self._namespace, field_selector=self._selector)
        async with contextlib.aclosing(events) as stream:
            while not self._undone:
                look_again = self._sink.look_again_in(self._kind)
                try:
                    async with asyncio.timeout(look_again) as self._waiting:
                        event = await anext(stream, None)
                except TimeoutError:
                    self._version = ""
                    return
                finally:
                    self._waiting = None
                if event is None:
                    return
                self._version = self._latest = str(event.object["metadata"]["resourceVersion"])
                self._sink.contact(self._kind, connected=True)
                self._said = ""
                if event.type == "DELETED":
                    self._sink.deleted(self._kind, str(event.object["metadata"]["name"]))
                elif event.type != "BOOKMARK":
                    self._sink.upserted(self._kind, event.object)


@contextlib.asynccontextmanager
async def following(
    reader: Reader, store: Store, *, only_node: str = "", retry: Retry | None = None
) -> AsyncIterator[None]:
    """Keep all kinds of a store up to date while the context is open; ``only_node``: of Nodes this one alone."""
    restores = Restores()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                Reflector(
                    reader,
                    store,
                    kind=kind,
                    field_selector=f"metadata.name={only_node}" if only_node and kind == "Node" else "",
                    retry=retry,
                    restores=restores,
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

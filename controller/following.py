"""What follows a kind beside the store: the part of a sink that most share, lists on their way, and following at times only."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from towpath.controller.ports import Page, Reader, WatchEvent
from towpath.model.workload import mapping

Body = Mapping[str, Any]
V = TypeVar("V")


class Follower:
    """A sink that no breaker holds back, and to which it is all the same whether anybody answers."""

    def kind_missing(self, kind: str) -> None:
        """Cannot be: every API server has the kind."""

    def answered(self) -> None:
        """Of no interest."""

    def contact(self, kind: str, *, connected: bool) -> None:
        """Of no interest: what was known last stays."""

    def look_again_in(self, kind: str) -> float | None:
        """Never: no breaker holds anything back."""
        del kind
        return None


class AtTimes(Follower):
    """One that is fed only while somebody wants what it knows (``follow_while``)."""

    def __init__(self) -> None:
        self.wanted, self.unwanted = asyncio.Event(), asyncio.Event()
        """Whether anybody does: one of both is set."""
        self.unwanted.set()

    def be_wanted(self, wanted: bool) -> None:  # the one thing that it says
        """From now on somebody does, or nobody."""
        now, before = (self.wanted, self.unwanted) if wanted else (self.unwanted, self.wanted)
        now.set()
        before.clear()


S = TypeVar("S", bound=AtTimes)


async def follow(follower: Awaitable[None]) -> None:
    """As a task can have it."""
    await follower


async def follow_while(sink: S, followed: Callable[[S], Awaitable[None]]) -> None:
    """Follow what is wanted at times only, for ever."""
    while True:
        await sink.wanted.wait()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(follow(followed(sink)))
            await sink.unwanted.wait()
            task.cancel()


class Gathered(Generic[V]):
    """A list on its way into a sink: of each object only what ``read`` makes of it is kept, by key; None: nothing."""

    def __init__(self, read: Callable[[Body], tuple[str, V] | None], done: Callable[[dict[str, V]], None]) -> None:
        self._read = read
        self._done = done
        self._found: dict[str, V] = {}

    def page(self, objects: Iterable[Body]) -> None:
        """Some of the objects."""
        self._found.update(one for one in map(self._read, objects) if one is not None)

    def done(self, *, version: str) -> None:
        """That was all."""
        del version
        self._done(self._found)


def labels_of(body: Body) -> dict[str, str]:
    """The labels of any object."""
    return {str(key): str(value) for key, value in mapping(mapping(body["metadata"]).get("labels")).items()}


class QualifiedNames:
    """A reader of all namespaces whose objects are named ``NAMESPACE/NAME``: two pods may have one name."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def list(self, kind: str, **wanted: Any) -> Page:
        """As ``Reader.list``."""
        page = await self._reader.list(kind, **wanted)
        return replace(page, items=tuple(map(_qualified, page.items)))

    async def watch(self, kind: str, resource_version: str, **wanted: Any) -> AsyncGenerator[WatchEvent, None]:
        """As ``Reader.watch``."""
        async for event in self._reader.watch(kind, resource_version, **wanted):
            yield event if event.type == "BOOKMARK" else replace(event, object=_qualified(event.object))


def _qualified(body: dict[str, Any]) -> dict[str, Any]:
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "name": f"{metadata.get('namespace', '')}/{metadata['name']}"}}

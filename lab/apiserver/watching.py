"""Watches: what the log says after a version, then what is added to it, with bookmarks in between."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from towpath.controller.kube.resources import ResourceType
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.refusal import RefusedError
from towpath.lab.apiserver.selectors import Wanted

Line = tuple[str, dict[str, Any]]
LIMIT = 1000
"""Changes read from the log at once."""


async def watch(
    objects: Objects, resource: ResourceType, wanted: Wanted, *, namespace: str, start: int, bookmarks: float
) -> AsyncGenerator[Line, None]:
    """Events after version ``start``, for ever; a bookmark whenever nothing else was said for ``bookmarks`` seconds (0: none).

    A start that is too old gives one ``ERROR`` with a 410, as the API server does; a kind that is not served any more ends it.
    """
    storage, seen = objects.storage, start
    changed = asyncio.Event()

    def tell(which: ResourceType) -> None:
        if which is resource:
            changed.set()

    objects.on_change.append(tell)
    try:
        while True:
            changed.clear()
            if seen < storage.compacted:
                yield "ERROR", RefusedError(410, f"too old resource version: {seen} ({storage.compacted})").status()
                return
            latest = storage.latest
            for change in list(storage.changes(resource.qualified, seen)):
                event = None if namespace and change.namespace != namespace else wanted.event(change)
                if event is not None:
                    yield event
            seen = latest
            if not objects.serves(resource):
                return
            try:
                async with asyncio.timeout(bookmarks or None):
                    await changed.wait()
            except TimeoutError:
                # what was written since the time was over is told first: a bookmark would pass over it
                if not changed.is_set():
                    seen = storage.latest
                    yield "BOOKMARK", bookmark(resource, seen)
    finally:
        objects.on_change.remove(tell)


def bookmark(resource: ResourceType, version: int) -> dict[str, Any]:
    """The object of a bookmark."""
    return {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
    }

"""The ranges that services have, from the ServiceCIDR objects of the cluster; a cluster without that kind has none to read.

They change about as often as the cluster is made, so they are listed now and then and not watched.
"""

import asyncio
from collections.abc import Callable

import structlog

from towpath.controller.ports import ApiError, NotFoundError, Reader
from towpath.model.net import Prefix, parse_prefix

log = structlog.get_logger(__name__)
EVERY = 60.0
"""Seconds between two listings."""


class ServiceRanges:
    """The last answer; ``changed`` is called where it differs from the one before."""

    def __init__(self, reader: Reader, *, changed: Callable[[], None]) -> None:
        self._reader = reader
        self._changed = changed
        self._refused = ""
        self.ranges: tuple[Prefix, ...] = ()

    async def run(self) -> None:
        """List until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(EVERY)

    async def refresh(self) -> None:
        """List once; without an answer what was known stays."""
        try:
            found = (await self._reader.list("ServiceCIDR")).items
        except NotFoundError:
            found = ()
        except ApiError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.warning("services.unknown", error=str(error), remedy="pools are not compared with service ranges")
            return
        self._refused = ""
        ranges = tuple(sorted({prefix for one in found for prefix in _ranges(one)}, key=str))
        if ranges != self.ranges:
            self.ranges = ranges
            self._changed()


def _ranges(body: dict[str, object]) -> list[Prefix]:
    spec = body.get("spec")
    texts = spec.get("cidrs") if isinstance(spec, dict) else None
    found = []
    for text in texts or ():
        try:
            found.append(parse_prefix(str(text)))
        except ValueError as error:
            log.warning("services.unreadable", error=str(error), remedy="correct the ServiceCIDR")
    return found

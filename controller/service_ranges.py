"""The ranges that services have, from the ServiceCIDR objects of the cluster; a cluster without that kind has none to read.

They change about as often as the cluster is made, so they are listed now and then and not watched. Where nobody says
anything, the ranges of the configuration count.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from towpath.bgp.services import configured
from towpath.controller.ports import ApiError, NotFoundError, Reader
from towpath.model.cluster import Cluster
from towpath.model.net import Prefix, parse_prefix

log = structlog.get_logger(__name__)
OFTEN, SELDOM = 60.0, 600.0
"""Seconds between two listings: of the one controller that leads, and of each of many agents."""


class ServiceRanges:
    """``known`` is called with every answer; without one what was known stays."""

    def __init__(self, reader: Reader, *, known: Callable[[tuple[Prefix, ...]], None], every: float = OFTEN) -> None:
        self._reader = reader
        self._known = known
        self._every = every
        self._refused = ""

    async def run(self) -> None:
        """List until cancelled; without an answer again within a minute."""
        while True:
            pause = self._every if await self.refresh() else OFTEN
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))

    async def refresh(self) -> bool:
        """List once; whether there was an answer."""
        try:
            found = (await self._reader.list("ServiceCIDR")).items
        except NotFoundError:
            found = ()
        except ApiError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                remedy = "the ranges known last count, else those of the configuration; let it list servicecidrs"
                log.warning("services.unknown", error=str(error), remedy=remedy)
            return False
        self._refused = ""
        self._known(ranges_of(found))
        return True


def ranges_of(bodies: Iterable[Mapping[str, Any]]) -> tuple[Prefix, ...]:
    """The ranges that ServiceCIDR objects name, in order; what is none is left out, and said in the log."""
    return tuple(sorted({prefix for body in bodies for prefix in _ranges(body)}, key=str))


def service_ranges(cluster: Cluster) -> tuple[Prefix, ...]:
    """Where addresses of services come from: as objects say, else as the configuration announces them."""
    announced = {one.prefix for one in configured(cluster.bgp).entries if one.kind == "Cluster"}
    return cluster.service_ranges or tuple(sorted(announced, key=str))


def _ranges(body: Mapping[str, Any]) -> list[Prefix]:
    spec = body.get("spec")
    texts = spec.get("cidrs") if isinstance(spec, dict) else None
    found = []
    for text in texts if isinstance(texts, list) else ():
        try:
            found.append(parse_prefix(str(text)))
        except ValueError as error:
            log.warning("services.unreadable", error=str(error), remedy="correct the ServiceCIDR")
    return found

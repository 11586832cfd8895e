"""Network policies that nobody enforces, told by every pool for pods until each is acknowledged.

They are listed now and then and not watched: of each only whether it has the annotation counts. Most clusters serve one of
the kinds, and what is not served has no objects. Without an answer what was known stays.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping

import structlog

from towpath.controller.kube.resources import RESOURCES
from towpath.controller.metrics import Measure, single
from towpath.controller.policies import sentence, unacknowledged
from towpath.controller.ports import ApiError, ForbiddenError, NotFoundError, Reader, every
from towpath.model.cluster import IPPool
from towpath.model.reason import Reason, Refusal, Why

log = structlog.get_logger(__name__)
EVERY = 60.0
"""Seconds between two looks."""
SOURCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("NetworkPolicy", ("NetworkPolicy",)),
    ("AdminNetworkPolicy", ("AdminNetworkPolicy",)),
    ("BaselineAdminNetworkPolicy", ("BaselineAdminNetworkPolicy",)),
    ("ClusterNetworkPolicy", ("ClusterNetworkPolicy",)),
    ("NetworkPolicy", ("CalicoNetworkPolicy", "StoredCalicoNetworkPolicy")),
    ("GlobalNetworkPolicy", ("CalicoGlobalNetworkPolicy", "StoredCalicoGlobalNetworkPolicy")),
)
"""Kinds, and where their objects are: of two groups that show the same ones the first that may be read counts."""
LISTED = tuple(name for _, names in SOURCES for name in names)
"""What an account has to be allowed to list, by the names of ``RESOURCES``."""
Named = tuple[str, str]


class Unenforced:
    """``changed`` is called when others are unacknowledged than before."""

    def __init__(self, reader: Reader, *, changed: Callable[[], None]) -> None:
        self._reader = reader
        self._changed = changed
        self._found: dict[tuple[str, ...], list[Named]] = {}
        self._said = ""
        self.policies: tuple[Named, ...] = ()
        """Kind, and name or ``NAMESPACE/NAME``, of those that nobody has acknowledged."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(EVERY * random.uniform(0.8, 1.0))

    async def refresh(self) -> bool:
        """Look once; whether everything was answered."""
        said = ""
        for kind, names in SOURCES:
            try:
                self._found[names] = await self._look(kind, names)
            except ApiError as error:
                said = said or str(error)
        if said and said != self._said:
            remedy = "none is reported that was not known before; let the controller list network policies"
            log.warning("policies.unknown", error=said, remedy=remedy)
        self._said = said
        now = tuple(sorted({one for found in self._found.values() for one in found}))
        if now != self.policies:
            self.policies = now
            self._changed()
        return not said

    def refusals(self, pools: Mapping[str, IPPool]) -> Iterator[Refusal]:
        """What pools have to say: each that pods get addresses of."""
        if not self.policies:
            return
        message = sentence(self.policies)
        for name, pool in sorted(pools.items()):
            if not pool.spec.for_services:
                yield Refusal(Reason.POLICY_NOT_ENFORCED, message, Why("IPPool", name))

    def measures(self) -> Iterator[Measure]:
        """Its metric."""
        text = "Network policies, which towpath does not enforce, that nobody has acknowledged."
        yield single("towpath_policies_unacknowledged", text, len(self.policies))

    async def _look(self, kind: str, names: tuple[str, ...]) -> list[Named]:
        for place, name in enumerate(names, 1):
            try:
                return await self._list(kind, name)
            except NotFoundError:
                continue
            except ForbiddenError:
                if place == len(names):
                    raise
        return []

    async def _list(self, kind: str, name: str) -> list[Named]:
        as_served = {"kind": kind, "apiVersion": RESOURCES[name].api_version}
        return [found async for one in every(self._reader, name) for found in unacknowledged([{**one, **as_served}])]

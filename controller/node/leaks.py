"""host-local's records of a node beside its pods and its kernel, once a minute: what is gone is freed, what lacks is kept.

Nothing is freed on a guess. Where it is not known which pods there are, or the API server is away, nothing is.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Collection, Iterable

import structlog

from towpath.controller.loop import LevelLoop, Pace
from towpath.controller.node.bound import BoundPods
from towpath.controller.settings import AgentSettings
from towpath.controller.store import Store
from towpath.ipam.cni import Places, network_of, stands
from towpath.ipam.hostlocal import FORMER, FOUND, HostLocal, Record
from towpath.ipam.leaks import LeakWatch, Seen, beside, nobodys, unrecorded
from towpath.model.blocks import is_beside
from towpath.model.net import Address, Prefix
from towpath.model.reason import Reason, Refusal, Why, listed
from towpath.model.speaker import Notice
from towpath.routes.holders import ANSWER_WITHIN, holders, neighbours

log = structlog.get_logger()
EVERY = 60.0
"""Seconds between two looks."""


class Leaks:
    """``pods``: addresses that pods of this node have, None where that is not known; ``blocks``: the node's own.

    ``neighbours`` and ``holders``: see ``routes.holders``; they run in a thread.
    """

    def __init__(
        self,
        node: str,
        local: HostLocal,
        *,
        pods: Callable[[], frozenset[Address] | None],
        blocks: Callable[[], Collection[Prefix]],
        neighbours: Callable[[], frozenset[Address]],
        holders: Callable[[Collection[Address]], frozenset[Address]],
        noticed: Callable[[Notice], None],
        clock: Callable[[], float],
        networks: Callable[[], Iterable[HostLocal]] = tuple,
        attached: Callable[[], frozenset[Address] | None] = lambda: None,
    ) -> None:
        """``networks``: the records of networks beside that of all pods; ``attached``: addresses of theirs that are written on pods, None where nobody can say."""
        self._node = node
        self._local = local
        self._pods = pods
        self._blocks = blocks
        self._neighbours = neighbours
        self._holders = holders
        self._noticed = noticed
        self._clock = clock
        self._watch = LeakWatch()
        self._networks = networks
        self._attached = attached
        self._beside: dict[str, LeakWatch] = {}
        """By network."""
        self._suspects: frozenset[Address] = frozenset()
        """In use without a record, when it was looked last."""
        self.loop = LevelLoop(self.look, pace=Pace(period=EVERY, backoff=5.0))

    async def look(self) -> bool:
        """Free what is gone, and keep from other pods what is in use without a record; whether all of that could be done."""
        try:
            return await self._look()
        except OSError as error:
            log.warning("leaks.not_looked_for", error=str(error), remedy="tried again")
            return False

    async def _look(self) -> bool:
        if self._pods() is None:
            return self._forget()  # whatever the kernel says, nothing would be done
        known = self._seen(await asyncio.to_thread(self._neighbours))
        asked = {one.address for one in nobodys(self._seen(frozenset()))} | unrecorded(known)
        seen = self._seen(await asyncio.to_thread(self._holders, asked))
        if self._pods() is None:
            return self._forget()
        gone = self._watch.look(seen, now=self._clock())
        self._free(self._local, gone)
        self._look_beside()
        before, self._suspects = self._suspects, unrecorded(seen)
        for address in self._suspects & before:
            self._local.keep(address)
        return True

    def _look_beside(self) -> None:
        """The networks beside that of all pods, once it is known who of their pods has what on their own."""
        attached, own = self._attached(), self._local.records()
        if attached is None or not self._blocks() or any(one.container in (FORMER, FOUND) for one in own):
            self._beside.clear()
            return
        for local in self._networks():
            watch = self._beside.setdefault(local.folder.name, LeakWatch())
            seen = beside(local.records(), own=own, attached=attached)
            self._free(local, watch.look(seen, now=self._clock()), of=f" of {local.folder.name}")

    def _free(self, local: HostLocal, gone: Collection[Record], *, of: str = "") -> None:
        for one in local.free(gone):
            message = f"{one.address}{of} was kept for {one.container}, which is gone"
            self._noticed(Notice(Reason.ADDRESS_FREED, message))

    def _forget(self) -> bool:
        self._watch.forget()
        self._beside.clear()
        self._suspects = frozenset()
        return True

    @property
    def problems(self) -> tuple[Refusal, ...]:
        """Addresses that are in use and that no pod was given."""
        found = [str(one.address) for one in self._local.records() if one.container == FOUND]
        if not found:
            return ()
        message = f"{listed(found)}: in use here, and given to no container; no other pod gets them meanwhile"
        return (Refusal(Reason.ADDRESS_UNRECORDED, message, Why("Node", self._node)),)

    def _seen(self, kernel: frozenset[Address]) -> Seen:
        return Seen(
            records=self._local.records(), blocks=self._blocks(), pods=self._pods() or frozenset(), kernel=kernel
        )


def leaks_of(
    settings: AgentSettings, *, source: Store, bound: BoundPods, noticed: Callable[[Notice], None]
) -> Leaks | None:
    """Those of a node with these settings; None where it serves no pods."""
    if settings.cni_conf_dir is None:
        return None
    node, places = settings.node, Places(run_dir=settings.run_dir, conf_dir=settings.cni_conf_dir)

    def blocks() -> list[Prefix]:
        if not stands(places):
            return []  # who has which address is for another network to say yet
        cluster = source.cluster()
        own = (one.spec for one in cluster.blocks.values() if one.spec.node == node)
        return [spec.cidr for spec in own if not is_beside(spec, cluster.pools)]

    return Leaks(
        node,
        HostLocal(places.data_dir),
        pods=lambda: bound.addresses if source.complete and not source.unreachable_for() else None,
        blocks=blocks,
        neighbours=neighbours,
        holders=functools.partial(holders, wait=lambda: time.sleep(ANSWER_WITHIN)),
        noticed=noticed,
        clock=time.monotonic,
        networks=lambda: (HostLocal(places.data_dir, network=network_of(pool)) for pool in places.given_out()),
        attached=lambda: bound.beside,
    )

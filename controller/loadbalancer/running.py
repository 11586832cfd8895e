"""The part of a controller that gives out addresses of load balancers, with its watches and its loop."""

import asyncio
import functools
from collections.abc import Callable

from towpath.controller.following import QualifiedNames, follow_while
from towpath.controller.kube.client import KubeApi
from towpath.controller.kube.watch import Reflector, Restores, Retry
from towpath.controller.loadbalancer.balancers import CLAIMS, LoadBalancers
from towpath.controller.loadbalancer.followed import Followed
from towpath.controller.loop import LevelLoop
from towpath.controller.ports import Reader
from towpath.controller.store import Store, decode_served
from towpath.controller.writes import Leadership

PATIENT = Retry(longest_refused=60.0)
"""Where the kind is not served, or reading it not allowed, everything but load balancers works."""


class Running:
    """``store`` is the controller's own; ``told`` is called when there is something else to be said of objects."""

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        *,
        lease: Leadership,
        identity: str,
        told: Callable[[], None],
        restores: Restores | None = None,
    ) -> None:
        self._api = api
        self._reflector = functools.partial(Reflector, retry=PATIENT, restores=restores)
        self._claims = Store(CLAIMS, decoder=decode_served)
        self._followed = Followed(changed=self._changed)
        self.part = LoadBalancers(api, store, self._claims, self._followed, lease=lease, identity=identity, told=told)
        self.loop = LevelLoop(self.part.step)
        store.subscribe(self._changed)
        self._claims.subscribe(self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in CLAIMS:
                tasks.create_task(self._reflector(self._api, self._claims, kind=kind).run())
            tasks.create_task(follow_while(self._followed, self._follow))
            tasks.create_task(self.loop.run())

    def _changed(self) -> None:
        self.loop.dirty()

    async def _follow(self, sink: Followed) -> None:
        readers: dict[str, Reader] = {"Service": QualifiedNames(self._api), "Namespace": self._api}
        async with asyncio.TaskGroup() as tasks:
            for kind, reader in readers.items():
                tasks.create_task(self._reflector(reader, sink, kind=kind).run())

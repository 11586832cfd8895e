"""The part of a controller that gives out addresses of load balancers, with its watches and its loop."""

import asyncio
from collections.abc import Callable

from towpath.controller.kube.client import KubeApi
from towpath.controller.kube.watch import Reflector, Retry
from towpath.controller.loadbalancer.balancers import CLAIMS, LoadBalancers
from towpath.controller.loadbalancer.followed import KINDS, Followed
from towpath.controller.loop import LevelLoop
from towpath.controller.node.bound import QualifiedNames
from towpath.controller.store import Store, decode_served
from towpath.controller.writes import Leadership

PATIENT = Retry(longest_refused=60.0)
"""Where the kind is not served, or reading it not allowed, everything but load balancers works."""


class Running:
    """``store`` is the controller's own; ``told`` is called when there is something else to be said of objects."""

    def __init__(
        self, api: KubeApi, store: Store, *, lease: Leadership, identity: str, told: Callable[[], None]
    ) -> None:
        self._api = api
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
                tasks.create_task(Reflector(self._api, self._claims, kind=kind, retry=PATIENT).run())
            tasks.create_task(self._follow())
            tasks.create_task(self.loop.run())

    def _changed(self) -> None:
        self.loop.dirty()

    async def _follow(self) -> None:
        """Follow services and namespaces while they are wanted."""
        while True:
            await self._followed.wanted.wait()
            readers = [
                asyncio.create_task(
                    Reflector(QualifiedNames(self._api), self._followed, kind=kind, retry=PATIENT).run()
                )
                for kind in KINDS
            ]
            unwanted = asyncio.create_task(self._followed.unwanted.wait())
            try:
                await asyncio.wait([*readers, unwanted], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*readers, unwanted):
                    task.cancel()
                results = await asyncio.gather(*readers, unwanted, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result

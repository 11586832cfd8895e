"""Where the agent's picture of the cluster comes from: an API server or a folder of manifests, behind one store.

The Kubernetes client, HTTP and TLS are imported only where an API server is meant.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec import Struct

from towpath.controller.following import QualifiedNames
from towpath.controller.node import namespaces, services
from towpath.controller.node.bound import BoundPods
from towpath.controller.node.namespaces import WatchedNamespaces
from towpath.controller.node.services import WatchedServices
from towpath.controller.ports import Api
from towpath.controller.secret_watch import OF_INTEREST, WatchedSecrets
from towpath.controller.service_ranges import SELDOM, ServiceRanges
from towpath.controller.settings import Source
from towpath.controller.store import Store, decode_served

KINDS = (
    "BGPConfiguration",
    "BGPPeer",
    "BGPFilter",
    "IPPool",
    "IPReservation",
    "IPAMConfiguration",
    "IPAMBlock",
    "RoutingNode",
    "Node",
)
"""What an agent follows; of Nodes only its own."""


class Opened(Struct, frozen=True):
    """A store, the API to write to, and what keeps the store up to date until cancelled."""

    store: Store
    api: Api
    followers: tuple[Callable[[], Awaitable[None]], ...]
    follow_services: Callable[[WatchedServices], Awaitable[None]]
    """Keeps services and their endpoints up to date until cancelled."""
    follow_pods: Callable[[BoundPods], Awaitable[None]]
    """Keeps the pods of this node up to date until cancelled."""
    follow_namespaces: Callable[[WatchedNamespaces], Awaitable[None]]
    """Keeps the labels of namespaces up to date until cancelled."""
    follow_secrets: Callable[[WatchedSecrets], Awaitable[None]] | None = None
    """Keeps Secrets up to date until cancelled; None: they have to be asked for."""


@contextlib.asynccontextmanager
async def opened(source: Source, *, node: str) -> AsyncIterator[Opened]:
    """The source, connected as far as it can be; ``ApiError`` where credentials cannot be read."""
    if source.folder is not None:
        from towpath.controller.directory import Directory

        store = Store(KINDS)
        folder = Directory(source.folder, store, node=node)

        def follow_pods_of(sink: BoundPods) -> Awaitable[None]:
            return folder.feed(sink, kinds=("Pod",))

        def follow_namespaces_of(sink: WatchedNamespaces) -> Awaitable[None]:
            return folder.feed(sink, kinds=(namespaces.KIND,))

        yield Opened(
            store=store,
            api=folder,
            followers=(folder.run,),
            follow_services=folder.feed,
            follow_pods=follow_pods_of,
            follow_namespaces=follow_namespaces_of,
        )
        return
    from towpath.controller.kube.connect import connect
    from towpath.controller.kube.watch import Reflector, Restores, Retry

    patient = Retry(longest_refused=60.0)
    store = Store(KINDS, decoder=decode_served)
    async with await connect(server=source.server, kubeconfig=source.kubeconfig) as api:
        reflector = functools.partial(Reflector, restores=Restores())
        named = QualifiedNames(api)
        reflectors = [
            reflector(api, store, kind=kind, field_selector=f"metadata.name={node}" if kind == "Node" else "")
            for kind in KINDS
        ]

        ranges = ServiceRanges(api, known=store.service_ranges, every=SELDOM)

        # where one of these is not allowed to be watched it is asked for once a minute, and all else goes on without
        def follow_secrets(sink: WatchedSecrets) -> Awaitable[None]:
            place = source.secret_namespace
            return reflector(api, sink, kind="Secret", namespace=place, field_selector=OF_INTEREST, retry=patient).run()

        def follow_pods(sink: BoundPods) -> Awaitable[None]:
            return reflector(named, sink, kind="Pod", field_selector=f"spec.nodeName={node}", retry=patient).run()

        def follow_namespaces(sink: WatchedNamespaces) -> Awaitable[None]:
            return reflector(api, sink, kind=namespaces.KIND, retry=patient).run()

        async def follow_services(sink: WatchedServices) -> None:
            async with asyncio.TaskGroup() as tasks:
                for kind in services.KINDS:
                    tasks.create_task(reflector(named, sink, kind=kind, retry=patient).run())

        yield Opened(
            store=store,
            api=api,
            followers=(*(one.run for one in reflectors), ranges.run),
            follow_secrets=follow_secrets,
            follow_pods=follow_pods,
            follow_namespaces=follow_namespaces,
            follow_services=follow_services,
        )

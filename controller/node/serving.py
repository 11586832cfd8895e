"""What serves the pods of a node, composed from its settings."""

import time
from collections.abc import Callable, Mapping

from towpath.controller.node import hostports, parts
from towpath.controller.node.allowed import Allowances
from towpath.controller.node.bound import BoundPods
from towpath.controller.node.desk import Desk
from towpath.controller.node.former import Former, booted
from towpath.controller.node.namespaces import WatchedNamespaces
from towpath.controller.node.pods import CNIPods
from towpath.controller.ports import Api
from towpath.controller.settings import AgentSettings
from towpath.ipam.apart import Labels
from towpath.ipam.cni import BRIDGE, Places
from towpath.ipam.plugins import Folders
from towpath.ipam.runtime import CACHE
from towpath.routes.podbridge import PodBridge
from towpath.routes.shim import PodShim


def desk_of(pods: CNIPods, *, bound: BoundPods, namespaces: WatchedNamespaces, api: Api) -> Desk:
    """Where these pods' addresses are asked for."""
    return Desk(pods.socket, Allowances(pods, bound=bound, namespaces=namespaces, api=api).decide)


def pods_of(
    settings: AgentSettings,
    *,
    mtu: Callable[[], int | None],
    inhabitants: parts.Inhabitants,
    asking: Callable[[], frozenset[str]],
    namespaces: Callable[[], Mapping[str, Labels] | None],
) -> CNIPods | None:
    """Those of a node with these settings; None where it serves no pods."""
    if settings.cni_conf_dir is None:
        return None
    return CNIPods(
        settings.node,
        places=Places(run_dir=settings.run_dir, conf_dir=settings.cni_conf_dir),
        plugins=Folders(target=settings.cni_bin_dir, record=settings.plugins, source=settings.cni_plugin_source),
        bridge=PodBridge(BRIDGE, proc=settings.proc_sys / "net"),
        shim=PodShim(proc=settings.proc_sys / "net"),
        networks=settings.cni_networks_dir,
        before_first=lambda: hostports.note(settings.hostports),
        former=lambda local: Former(
            local, pods=inhabitants, notes=settings.host_root / CACHE, booted=booted, clock=time.monotonic
        ),
        mtu=mtu,
        asking=asking,
        namespaces=namespaces,
    )

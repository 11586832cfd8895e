"""Towpath on a cluster, as an operator has it: a Helm release of the chart in this checkout, with the image made from it."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from towpath.lab.addressing import CLUSTER_AS, PODS, RACKS, TOR, TOR_AS
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.console import OURS
from towpath.lab.cluster.shape import SECURE, Shape
from towpath.lab.image import recipe
from towpath.lab.image.build import Workshop
from towpath.lab.process import wait_for

NAME = "towpath"
CHART = recipe.ROOT / "charts" / "towpath"
_NODES = "daemonset/towpath-node"


def image(say: Callable[[str], None] = lambda _: None) -> Path:
    """The archive of the image of this checkout; made where nothing that is in it has been made before."""
    return Workshop(recipe.native(), epoch=0, say=say).image().archive


def values(shape: Shape, *, address: str = "") -> dict[str, Any]:
    """The chart's values for a cluster of the lab: a pool a family, the routers of both racks as peers.

    ``address``: the API server's, for clusters without kube-proxy.
    """
    peers = [
        {
            "name": f"tor-{rack}-{family.key}",
            "peerIP": str(segment.address(family, TOR)),
            "asNumber": TOR_AS,
            "nodeSelector": f"topology.kubernetes.io/zone == '{rack}'",
            "timers": {"connectRetryTime": "1s"},
        }
        for rack, segment in RACKS.items()
        for family in shape.families
    ]
    found: dict[str, Any] = {
        "pools": [{"cidr": str(PODS[family])} for family in shape.families],
        "bgpConfiguration": {"asNumber": CLUSTER_AS, "timers": {"connectRetryTime": "1s"}},
        "bgpPeers": peers,
    }
    if not shape.proxy:
        found |= {"kubernetesServiceHost": address, "kubernetesServicePort": SECURE}
    return found


class Release:
    """The release on one cluster. ``values`` are those of the last change; the lab's own where none are given."""

    def __init__(self, cluster: Cluster, *, chart: Path = CHART) -> None:
        self.cluster = cluster
        self.chart = chart
        self.values: Mapping[str, Any] = values(cluster.shape, address=str(cluster.control.address))

    def install(self, **changed: Any) -> None:
        """``helm install`` as the README has it, with these values changed; returns at once."""
        self.values = {**self.values, **changed}
        self.cluster.helm("install", NAME, str(self.chart), *self._flags(), "--create-namespace")

    def upgrade(self, **changed: Any) -> None:
        """``helm upgrade`` with these values changed; returns at once."""
        self.values = {**self.values, **changed}
        self.cluster.helm("upgrade", NAME, str(self.chart), *self._flags())

    def wait(self, *, deadline: float = 180) -> None:
        """Every pod of ours is rolled out, every node Ready and in sync, every session of its status established."""
        end = time.monotonic() + deadline
        for what in (_NODES, "deployment/towpath-controller"):
            self.rolled_out(what, deadline=end - time.monotonic())
        self.cluster.wait_ready(*self.cluster.nodes, deadline=max(end - time.monotonic(), 1))
        wait_for(self.in_sync, deadline=max(end - time.monotonic(), 1), what="all nodes report InSync", interval=0.3)
        sessions = len(self.cluster.nodes) * len(self.cluster.shape.families)
        wait_for(
            lambda: self.sessions() == sessions,
            deadline=max(end - time.monotonic(), 1),
            what=f"the router has {sessions} sessions",
            interval=0.2,
        )

    def rolled_out(self, what: str = _NODES, *, deadline: float = 180) -> None:
        """A DaemonSet or Deployment of ours has all its pods, new and ready."""
        allowed = max(deadline, 1)
        self.cluster.kubectl("-n", OURS, "rollout", "status", what, f"--timeout={allowed:.0f}s", timeout=allowed + 30)

    def in_sync(self) -> bool:
        """Whether the status of every node says that its kernel has what it should have."""
        found = {body["metadata"]["name"]: body.get("status", {}) for body in self.cluster.get("nodestatuses")}
        return all(found.get(name, {}).get("inSync") for name in self.cluster.nodes)

    def sessions(self) -> int:
        """How many sessions the router has."""
        return sum(1 for protocol in self.cluster.tor.protocols().values() if protocol.established)

    def clean(self, *, deadline: float = 180) -> None:
        """Take towpath off the nodes and uninstall it, as the documentation says; definitions and objects stay."""
        self.upgrade(cleanup={"enabled": True})
        for what in (_NODES, "deployment/towpath-controller"):
            self.rolled_out(what, deadline=deadline)
        self.cluster.helm("uninstall", NAME, "-n", OURS, "--wait")
        self.values = {name: value for name, value in self.values.items() if name != "cleanup"}

    def forget(self) -> None:
        """Delete the definitions with every object, and the namespace."""
        kinds = [
            name for name in self.cluster.kubectl("get", "crd", "-o", "name").split() if name.endswith(".towpath.io")
        ]
        if kinds:
            self.cluster.kubectl("delete", "--wait=true", *kinds)
        self.cluster.kubectl("delete", "namespace", OURS, "--ignore-not-found", "--wait=true")

    def _flags(self) -> tuple[str, ...]:
        file = self.cluster.root / "values.json"
        file.write_text(json.dumps(self.values, indent=1))
        return ("-n", OURS, "-f", str(file))

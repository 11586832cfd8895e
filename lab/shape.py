"""What a lab looks like, and what is kept of one, so that another process finds it."""

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field

from towpath.lab.addressing import BOTH
from towpath.lab.pods import Pod
from towpath.model.net import Family

Part = Literal["agent", "speaker"]
PARTS: tuple[Part, ...] = ("speaker", "agent")
ROOT = Path("/dev/shm/towpath-lab")
"""In memory, as a node's ``/run`` is; on some machines ``/run`` itself is not."""


NO_MESH = {"clusterRoutes": "Kubernetes", "nodeToNodeMeshEnabled": False}
"""Of BGPConfiguration: routes between nodes from the objects alone (host-gw)."""


class Shape(Struct, frozen=True):
    """What a lab looks like: ``rack_b`` of the nodes are behind the router."""

    nodes: int = 3
    rack_b: int = 0
    families: tuple[Family, ...] = BOTH
    controllers: int = 2
    mode: Literal["api", "none"] = "api"
    """``none``: only the network and the router; no API server, no processes."""
    api: Literal["embedded", "kubernetes"] = "embedded"
    """``kubernetes``: etcd and kube-apiserver in place of the lab's own server."""
    checked: bool = True
    """False: the lab's own server keeps bad objects too, as one has them that are older than the checks."""
    configuration: dict[str, Any] = field(default_factory=dict)
    """Fields of BGPConfiguration, beside those of the lab."""
    pool: dict[str, Any] = field(default_factory=dict)
    """Fields of every IPPool."""
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    """And those of the pool of one family, by its key."""
    ipam: dict[str, Any] = field(default_factory=dict)
    """Fields of IPAMConfiguration."""


class NodePlace(Struct, frozen=True):
    """Where a node is."""

    name: str
    index: int
    rack: str


class State(Struct):
    """What is kept in ``lab.json``."""

    shape: Shape
    nodes: dict[str, NodePlace] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    processes: dict[str, tuple[int, str]] = field(default_factory=dict)

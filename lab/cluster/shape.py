"""What a cluster looks like, where its parts are, and what is kept of it between two commands."""

import os
from ipaddress import ip_network
from pathlib import Path

from msgspec import Struct, field

from towpath.lab.addressing import BOTH, CLIENT_HOST, MANAGEMENT, RACKS, Segment, node_number
from towpath.model.net import Address, Family, Prefix

_MEMORY = Path("/dev/shm")
_ROOMY = 8 << 30


def _root() -> Path:
    """In memory if there is enough of it: the disks of nodes are in it, and a disk that is shared is slow to be emptied."""
    if _MEMORY.is_dir():
        size = os.statvfs(_MEMORY)
        if size.f_blocks * size.f_frsize >= _ROOMY:
            return _MEMORY / "towpath-cluster"
    return Path("/var/tmp/towpath-cluster")


ROOT = _root()
"""A folder a cluster, with everything that it has; about 0.3 GB a node."""
CONTROL = MANAGEMENT
"""The segment of the control plane, behind the router."""
CONTROL_HOST = CLIENT_HOST
SECURE = 6443
SERVICES = {Family.IPV4: ip_network("10.96.0.0/16"), Family.IPV6: ip_network("fd00:10:96::/112")}
"""The ranges of service addresses."""
POD_MASK = {Family.IPV4: 24, Family.IPV6: 120}
"""How much of the pods' range the controller manager gives each node, where it gives any."""


class Shape(Struct, frozen=True):
    """What was asked for: a cluster that is as kubeadm leaves it, without a network for pods."""

    nodes: int = 3
    rack_b: int = 0
    """How many of the nodes are in the second rack: their packets to the others pass the router."""
    families: tuple[Family, ...] = BOTH
    """Of nodes, pods and services; the first is the primary one."""
    proxy: bool = True
    """Whether kube-proxy runs on the nodes."""
    plugins: bool = True
    """Whether the CNI project's plugins lie in /opt/cni/bin."""
    pod_cidrs: bool = False
    """Whether the controller manager gives every node a range for its pods (``--allocate-node-cidrs``)."""
    containerd: str = ""
    """The version of containerd to build; empty: the distribution's."""


class NodePlace(Struct, frozen=True):
    """Where a node is; ``machine`` is its machine-id, another one after the machine was replaced."""

    name: str
    index: int
    rack: str
    machine: str

    @property
    def segment(self) -> Segment:
        """The segment of its rack."""
        return RACKS[self.rack]

    def address(self, family: Family) -> Address:
        """Its address of a family."""
        return self.segment.address(family, node_number(self.index))


class State(Struct):
    """What is kept in ``cluster.json``."""

    shape: Shape
    link: int = 0
    """The number of the cluster among those of this machine: it decides the addresses of the way in."""
    nodes: dict[str, NodePlace] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    """Archives that every node gets, in this order."""
    processes: dict[str, tuple[int, str]] = field(default_factory=dict)


def service_address(family: Family) -> Address:
    """The API server's service address: the first of the range."""
    subnet: Prefix = SERVICES[family]
    return subnet[1]

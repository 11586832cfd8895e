"""The objects of a lab's cluster, as an administrator would write them."""

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from towpath.controller.settings import SECRET_NAMESPACE
from towpath.lab.addressing import CLUSTER_AS, PODS, RACKS, TOR, TOR_AS
from towpath.lab.api import custom
from towpath.model.net import Address

if TYPE_CHECKING:
    from towpath.lab.shape import Shape

_TIMERS = {"connectRetryTime": "1s"}
"""Nobody watches a lab for the default five seconds."""


def cluster(shape: "Shape") -> list[dict[str, Any]]:
    """Configuration, pools and the router as a peer of every node, one object per rack and family."""
    bodies = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SECRET_NAMESPACE}},
        custom("BGPConfiguration", "default", {"asNumber": CLUSTER_AS, "timers": _TIMERS, **shape.configuration}),
        custom("IPAMConfiguration", "default", shape.ipam),
    ]
    for family in shape.families:
        bodies.append(
            custom(
                "IPPool",
                f"pods-{family.key}",
                {"cidr": str(PODS[family]), **shape.pool, **shape.pools.get(family.key, {})},
            )
        )
        bodies.extend(
            custom(
                "BGPPeer",
                f"tor-{rack}-{family.key}",
                {
                    "peerIP": str(segment.address(family, TOR)),
                    "asNumber": TOR_AS,
                    "nodeSelector": f"rack == '{rack}'",
                    "description": f"top-of-rack router of rack {rack}",
                },
            )
            for rack, segment in RACKS.items()
        )
    return bodies


def node(name: str, addresses: Sequence[Address], *, rack: str) -> dict[str, Any]:
    """A Node as a kubelet registers it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "rack": rack},
        },
        "spec": {},
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": str(address)} for address in addresses),
                {"type": "Hostname", "address": name},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {**identity(name), "operatingSystem": "linux"},
        },
    }


def identity(machine: str) -> dict[str, str]:
    """What a Node says of its machine, made from a name: the same machine has the same identity after a reboot."""
    return {
        "machineID": uuid.uuid5(uuid.NAMESPACE_DNS, f"machine.{machine}").hex,
        "systemUUID": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"system.{machine}")),
    }

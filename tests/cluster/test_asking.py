"""Pods that ask for addresses, on the cluster that all share."""

from typing import Any

from tests.cluster.burst import blocks
from towpath.ipam.allowance import ADDRESSES
from towpath.lab.cluster.images import BUSYBOX
from towpath.lab.cluster.release import Release
from towpath.lab.process import wait_for
from towpath.model.net import Family

NODE = "node1"


def pod(name: str, address: str) -> dict[str, Any]:
    """One that sleeps on the node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": name},
            "annotations": {ADDRESSES: address},
        },
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": BUSYBOX, "command": ["sleep", "1000000"]}],
        },
    }


def test_a_pod_gets_the_address_that_it_asks_for_and_the_next_one_waits_for_it(installed: Release) -> None:
    """The events of the one that waits name the one that has it; it starts by itself once the address is free."""
    cluster = installed.cluster
    (block,) = [cidr for cidr, node in blocks(cluster).items() if node == NODE and cidr.version == 4]
    wanted = block.broadcast_address - 3  # nobody else's: those that do not ask get the first ones
    cluster.apply(pod("asks", str(wanted)))
    try:
        (first,) = cluster.wait_pods("app=asks", count=1)
        assert cluster.addresses(first)[Family.IPV4] == wanted
        assert len(cluster.addresses(first)) == len(Family)
        cluster.apply(pod("waits", str(wanted)))
        said = f"{wanted} is taken by pod default/asks: this pod waits until it is free"

        def told() -> bool:
            found = cluster.get("events", "--field-selector=involvedObject.name=waits")
            return any(said in one["message"] for one in found)

        wait_for(told, deadline=60, what=f"an event: {said}", interval=0.3)
        cluster.kubectl("delete", "pod", "asks", "--wait=false")
        (second,) = cluster.wait_pods("app=waits", count=1)
        assert cluster.addresses(second)[Family.IPV4] == wanted
    finally:
        cluster.kubectl("delete", "pod", "asks", "waits", "--ignore-not-found", "--wait=true")

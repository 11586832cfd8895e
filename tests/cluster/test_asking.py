"""Pods that ask for addresses, on the cluster that all share."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.cluster.burst import blocks
from towpath.ipam.allowance import ADDRESSES
from towpath.lab.api import custom
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import BUSYBOX
from towpath.lab.cluster.release import Release
from towpath.lab.process import wait_for
from towpath.model.net import Family, block_name, overlaps

NODE = "node1"
TEAM, HAND = ip_network("10.251.0.0/24"), ip_network("10.252.0.0/24")


def pod(name: str, address: str, *, namespace: str = "default") -> dict[str, Any]:
    """One that sleeps on the node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
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
        told_of_another(cluster, "asks", str(wanted - 1))
        cluster.kubectl("annotate", "pod", "asks", f"{ADDRESSES}={wanted}", "--overwrite")
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


def told_of_another(cluster: Cluster, name: str, address: str) -> None:
    """A pod whose annotation is changed to another address keeps what it has, and it and its node say so."""
    cluster.kubectl("annotate", "pod", name, f"{ADDRESSES}={address}", "--overwrite")

    def told() -> bool:
        found = cluster.get("events", f"--field-selector=involvedObject.name={name},reason=AddressDiffers")
        conditions = {one["type"]: one for one in cluster.get("nodestatus", NODE)["status"]["conditions"]}
        return f"asks for {address} and has" in "".join(
            one["message"] for one in found if one["involvedObject"]["kind"] == "Pod"
        ) and f"Pod/default/{name}" in str(conditions.get("AddressDiffers", {}).get("message"))

    wait_for(told, deadline=60, what=f"pod {name} and its node say that its address differs", interval=0.3)


@pytest.fixture
def pools(installed: Release) -> Iterator[Cluster]:
    """A pool for one namespace, and one that has to be asked; nothing of them, nor of their blocks, is left."""
    cluster = installed.cluster
    cluster.apply(
        custom("IPPool", "team", {"cidr": str(TEAM), "blockSize": 29, "namespaceSelector": "team == 'a'"}),
        custom("IPPool", "hand", {"cidr": str(HAND), "blockSize": 29, "assignmentMode": "Manual"}),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"team": "a"}}},
    )
    try:
        yield cluster
    finally:
        cluster.kubectl("delete", "pod", "hand", "--ignore-not-found", "--wait=true")
        cluster.kubectl("delete", "namespace", "team-a", "--wait=true")
        cluster.kubectl("delete", "ippool", "team", "hand", "--wait=false")
        for cidr in blocks(cluster):
            if overlaps(cidr, TEAM) or overlaps(cidr, HAND):
                cluster.kubectl("delete", "ipamblock", block_name(cidr), "--wait=true")
        # they stay until no block of them is left
        cluster.kubectl("wait", "--for=delete", "ippool/team", "ippool/hand", "--timeout=60s")


def test_a_namespace_has_a_pool_of_its_own_and_another_pool_has_to_be_asked(pools: Cluster) -> None:
    """The node gets a block of each once a pod there needs it, and not before."""
    assert not [cidr for cidr in blocks(pools) if overlaps(cidr, TEAM) or overlaps(cidr, HAND)]
    wanted = HAND.network_address + 77
    pools.apply(pod("team", "", namespace="team-a"), pod("hand", str(wanted)))
    (team,) = pools.wait_pods("app=team", count=1, namespace="team-a")
    (hand,) = pools.wait_pods("app=hand", count=1)
    assert pools.addresses(team)[Family.IPV4] in TEAM
    assert pools.addresses(team)[Family.IPV6] is not None
    assert pools.addresses(hand)[Family.IPV4] == wanted
    owners = {cidr: node for cidr, node in blocks(pools).items() if overlaps(cidr, TEAM) or overlaps(cidr, HAND)}
    assert set(owners.values()) == {NODE}
    assert {wanted in cidr or pools.addresses(team)[Family.IPV4] in cidr for cidr in owners} == {True}

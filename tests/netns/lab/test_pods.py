"""Pods made by the CNI project's own plugins."""

import shutil
from ipaddress import ip_address

import pytest

from towpath.lab import facts, pods
from towpath.lab.topology import Lab


def test_a_pod_gets_an_address_of_each_family_from_its_nodes_range(lab: Lab) -> None:
    """Addresses come from the ADD result, one a family, inside the node's range."""
    assert sorted(pod.addresses[0] for pod in lab.pods.values()) == [
        *("10.244.1.0/16", "10.244.1.1/16", "10.244.2.0/16", "10.244.2.1/16"),
    ]
    assert all(len(pod.addresses) == 2 for pod in lab.pods.values())


def test_every_pod_and_the_client_reach_each_other(lab: Lab) -> None:
    """Packets pass on the same node, between nodes and through the router, each way, in both families."""
    facts.wait_reachable(lab)
    assert len(facts.flows(lab)) == 5 * 4 * 2


def test_ping_tells_who_answers(lab: Lab) -> None:
    """Pods of the other node answer in both families; an address that nobody has does not."""
    here = lab.host("node1-p1")
    addresses = [lab.pods["node2-p1"].address(family) for family in lab.families]
    assert [pods.ping(here, address, wait=20) for address in addresses if address] == [True, True]
    assert not pods.ping(here, ip_address("10.244.2.9"))


def test_a_deleted_pod_gives_its_address_back_and_leaves_nothing(lab: Lab) -> None:
    """DEL removes the host's end of the cable and host-local's file."""
    before = {link["ifname"] for link in lab.host("node1").ip_json("link")}
    pod = lab.add_pod("node1")
    assert {link["ifname"] for link in lab.host("node1").ip_json("link")} != before
    lab.delete_pod(pod.name)
    assert {link["ifname"] for link in lab.host("node1").ip_json("link")} == before
    used = lab.node_directory("node1", "run") / "host-local" / "towpath"
    assert pod.addresses[0].partition("/")[0] not in {entry.name for entry in used.iterdir()}


def test_a_node_that_is_full_says_so_and_keeps_nothing_of_the_pod(lab: Lab) -> None:
    """The plugin's refusal is the error; the pod's namespace is gone again."""
    extra = [lab.add_pod("node1"), lab.add_pod("node1")]
    count = len(lab.network.hosts)
    with pytest.raises(pods.PluginError, match="no IP addresses available"):
        lab.add_pod("node1")
    assert len(lab.network.hosts) == count
    for pod in extra:
        lab.delete_pod(pod.name)


def test_a_node_whose_configuration_is_a_dangling_link_takes_no_pod(lab: Lab) -> None:
    """After a boot ``/run`` is empty: a runtime finds no configuration."""
    real = lab.node_directory("node2", "run") / "10-towpath.conflist"
    kept = shutil.copy(real, lab.root / "kept")
    real.unlink()
    with pytest.raises(pods.NotReadyError):
        lab.add_pod("node2")
    shutil.move(kept, real)
    assert facts.ready(lab, "node2")

"""What pods on a network of their nodes stand on there, and what keeps them from it."""

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from tests.unit.ipam.world import block, cluster, pool
from towpath.ipam.cni import conflist
from towpath.ipam.underlay import Ground, gateways, ground, mtu_refusal, routes
from towpath.model.links import NodeLink
from towpath.model.net import Family
from towpath.model.reason import Reason, Refusal

MACVLAN = {"type": "macvlan", "master": "eth0", "mode": "bridge", "gateway": "10.0.0.254"}
SHIM = ip_address("fe80::9")


def link(*addresses: str, **fields) -> dict[str, NodeLink]:
    return {"eth0": NodeLink(1500, addresses=tuple(map(ip_interface, addresses)), **fields)}


def made(**attachment):
    return pool("a", "10.0.0.64/26", blockSize=28, attachment={**MACVLAN, **attachment})


@pytest.mark.parametrize(
    ("links", "changed", "field"),
    [
        ({}, {}, "master"),
        (link("10.0.0.1/24"), {"master": "eth1"}, "master"),
        (link("10.0.0.1/24", enslaved=True), {}, "master"),
        (link(), {}, "master"),
        (link("10.0.1.1/24", "fd00::1/64"), {}, "master"),
        (link("10.0.0.65/24"), {}, "master"),
        (link("10.0.0.65/27"), {}, "master"),
        (link("10.0.0.1/24"), {"gateway": "10.0.1.254"}, "gateway"),
        (link("10.0.0.1/24"), {"gateway": "10.0.0.1"}, "gateway"),
    ],
)
def test_what_cannot_be_names_its_field(links: dict[str, NodeLink], changed: dict, field: str) -> None:
    """A master that is not there, is a port, or is on another network, and a router that nobody reaches."""
    found = ground(made(**changed), links)
    assert isinstance(found, Refusal)
    assert (found.reason, str(found.object)) == (Reason.ATTACHMENT_MASTER, f"IPPool/a spec.attachment.{field}")


ROUTED = {"type": "ipvlan", "master": "eth0", "mode": "l3", "gateway": None}


@pytest.mark.parametrize(
    ("links", "changed", "field"),
    [
        (link("10.0.0.1/24", above=(("ipvlan", "l2", "x"),)), {}, "mode"),
        (link("10.0.0.1/24", above=(("macvlan", "bridge", "x"),)), {}, "type"),
        (link("10.0.0.1/24", above=(("ipvlan", "l2", "x"),)), {"type": "macvlan", "mode": "bridge"}, "type"),
        (link("fd00::1/64", "169.254.0.1/16"), {}, "master"),
        (link("10.0.0.1/24", enslaved=True), {}, "master"),
        ({}, {}, "master"),
    ],
)
def test_what_shares_a_master_with_ipvlan(links: dict[str, NodeLink], changed: dict, field: str) -> None:
    """Devices of one kind and one mode alone, and the node has an address of the pool's family there."""
    gateway = {"gateway": "10.0.0.254"} if changed else {}
    found = ground(pool("a", "10.244.0.0/16", attachment=_given({**ROUTED, **changed, **gateway})), links)
    assert isinstance(found, Refusal)
    assert (found.reason, str(found.object)) == (Reason.ATTACHMENT_MASTER, f"IPPool/a spec.attachment.{field}")


def test_routed_pods_live_in_their_pool() -> None:
    """The node speaks to them from the first address of the family that its interface has; others like them are in nobody's way."""
    same = (("ipvlan", "l3", "x"),)
    found = ground(
        pool("a", "10.244.0.0/16", attachment=_given(ROUTED)), link("fd00::1/64", "192.0.2.1/24", above=same)
    )
    assert found == Ground(ip_network("10.244.0.0/16"), ip_address("192.0.2.1"))


def _given(attachment: dict) -> dict:
    return {name: value for name, value in attachment.items() if value is not None}


def test_the_closest_subnet_around_the_pool_counts() -> None:
    """Of several addresses of the master, with the router in it; one of another family says nothing."""
    found = ground(made(), link("10.0.0.1/8", "10.0.0.2/24", "10.0.0.3/25", "fd00::1/64", "192.0.2.1/24"))
    assert found == Ground(ip_network("10.0.0.0/24"), ip_address("10.0.0.2"))


def test_pods_reach_their_node_and_services_by_it() -> None:
    """By the node's address where the shim answers for it, and by the shim's own in IPv6; what has no way is left out."""
    both = [
        Ground(ip_network("10.0.0.0/24"), ip_address("10.0.0.1")),
        Ground(ip_network("fd00::/64"), ip_address("fd00::1")),
    ]
    services = (ip_network("10.96.0.0/16"), ip_network("fd96::/112"))
    node = {Family.IPV4: ip_address("10.0.0.1"), Family.IPV6: ip_address("fd00::1")}
    assert routes(both, link_local=SHIM, node=node, services=services) == [
        {"dst": "fd00::1/128", "gw": "fe80::9"},
        {"dst": "10.96.0.0/16", "gw": "10.0.0.1"},
        {"dst": "fd96::/112", "gw": "fe80::9"},
    ]
    assert routes(both, link_local=None, node=node, services=services) == [
        {"dst": "10.96.0.0/16", "gw": "10.0.0.1"},
        {"dst": "fd96::/112", "gw": "fd00::1"},
    ]
    elsewhere = {Family.IPV4: ip_address("192.0.2.7")}
    assert routes(both[:1], link_local=SHIM, node=elsewhere, services=services) == [
        {"dst": "192.0.2.7/32", "gw": "10.0.0.1"},
        {"dst": "10.96.0.0/16", "gw": "10.0.0.1"},
    ]


def test_ranges_are_of_the_network() -> None:
    """Every address of the block is a pod's, its prefix length and its router are the network's; without ground there is none."""
    one = made()
    spec = block("10.0.0.64/28", "n").spec
    arguments = {"data_dir": Path("/run/x"), "way": one.spec.attachment}
    grounds = {"a": Ground(ip_network("10.0.0.0/24"), ip_address("10.0.0.1"))}
    by_node = [{"dst": "10.96.0.0/16", "gw": "10.0.0.1"}]
    (device, _) = conflist([spec], {"a": one}, grounds=grounds, by_node=by_node, **arguments)["plugins"]
    assert {key: device[key] for key in ("type", "master", "mode")} == {
        "type": "macvlan",
        "master": "eth0",
        "mode": "bridge",
    }
    assert device["ipam"]["ranges"] == [
        [
            {
                "subnet": "10.0.0.0/24",
                "rangeStart": "10.0.0.64",
                "rangeEnd": "10.0.0.79",
                "gateway": "10.0.0.254",
            }
        ]
    ]
    assert device["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}, *by_node]
    (device, _) = conflist([spec], {"a": one}, **arguments)["plugins"]
    assert device["ipam"]["ranges"] == []


def test_no_pod_gets_the_routers_address() -> None:
    """Where it lies in the pool; elsewhere nobody gives it out."""
    inside, outside = made(gateway="10.0.0.70"), pool("b", "10.0.1.0/26", attachment={**MACVLAN})
    assert gateways(cluster(inside, outside)) == {ip_address("10.0.0.70")}


@pytest.mark.parametrize(("mtu", "refused"), [(None, False), (1500, False), (9000, True)])
def test_pods_get_no_larger_packets_than_the_master_takes(mtu: int | None, refused: bool) -> None:
    """More is refused, by name."""
    found = mtu_refusal(made(mtu=mtu) if mtu else made(), link("10.0.0.1/24"))
    assert (found is not None) is refused
    assert found is None or str(found.object) == "IPPool/a spec.attachment.mtu"

"""Which devices, entries and routes the objects give a node whose pools encapsulate."""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from towpath.model.cluster import Cluster, IPAMBlock, IPPool, RoutingNode
from towpath.model.encapsulation import by_vxlan, ipip_end, mac_of, tunnel_conflicts
from towpath.model.kinds.ipam import VXLAN, IPAMBlockSpec, IPPoolSpec
from towpath.model.kinds.node import NodeBGP, RoutingNodeSpec, RoutingNodeStatus
from towpath.model.net import block_name
from towpath.model.resource import Meta
from towpath.routes.devices.device import EVERYONE, Entries, Ipip, Vxlan
from towpath.routes.devices.plan import mtu_below, tunnel_plan


def pool(name: str, cidr: str, mode: str = "Always", **vxlan: Any) -> IPPool:
    return IPPool("IPPool", Meta(name), IPPoolSpec(ip_network(cidr), vxlan_mode=mode, vxlan=VXLAN(**vxlan)))


def by_ipip(name: str, cidr: str, mode: str = "Always") -> IPPool:
    return IPPool("IPPool", Meta(name), IPPoolSpec(ip_network(cidr), ipip_mode=mode))


def block(cidr: str, node: str, *, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> IPAMBlock:
    prefix = ip_network(cidr)
    return IPAMBlock(
        "IPAMBlock", Meta(block_name(prefix), creation_timestamp=created), IPAMBlockSpec(prefix, node, **spec)
    )


def node(
    name: str,
    *addresses: str,
    tunnels: tuple[str, ...] | None = None,
    lacks: tuple[str, ...] | None = None,
    told: bool = False,
) -> RoutingNode:
    found = {ip_interface(one).version: ip_interface(one) for one in addresses}
    spec = RoutingNodeSpec(NodeBGP(ipv4_address=found.get(4), ipv6_address=found.get(6)))
    status = RoutingNodeStatus(tunnels=tunnels, lacks=lacks) if told or tunnels is not None else None
    return RoutingNode("RoutingNode", Meta(name), spec, status)


BLOCKS = (
    block("10.244.0.0/26", "a"),
    block("10.244.0.64/26", "b"),
    block("10.244.1.0/26", "c"),
    block("fd00:244::40/122", "b"),
)
NODES = (
    node("a", "192.0.2.1/24", "2001:db8:a::1/64"),
    node("b", "192.0.2.2/24", "2001:db8:a::2/64"),
    node("c", "198.51.100.3/24", "2001:db8:c::3/64"),
)


def cluster(*pools: IPPool, blocks: tuple[IPAMBlock, ...] = BLOCKS, nodes: tuple[RoutingNode, ...] = NODES) -> Cluster:
    return Cluster(
        pools={one.name: one for one in pools},
        blocks={one.name: one for one in blocks},
        routing_nodes={one.name: one for one in nodes},
    )


def routes(world: Cluster, me: str = "a") -> dict[str, str]:
    """Each route as gateway and device, ``-`` without one."""
    found = tunnel_plan(world, me).routes
    return {str(prefix): f"{one.next_hops[0]} {one.device or '-'}" for prefix, one in found.items()}


def link_local(name: str) -> str:
    """The address that a device with this node's MAC gives itself."""
    first, *others = (int(one, 16) for one in mac_of(name).split(":"))
    return str(ip_address(b"\xfe\x80" + bytes(6) + bytes([first ^ 2, *others[:2], 0xFF, 0xFE, *others[2:]])))


V4, V6 = "10.244.0.0/16", "fd00:244::/112"


def test_without_encapsulation_there_is_nothing() -> None:
    """Pools with vxlanMode Never give no device and no route."""
    plan = tunnel_plan(cluster(pool("v4", V4, "Never"), pool("v6", V6, "Never")), "a")
    assert (plan.devices, plan.entries, plan.routes) == ({}, {}, {})


def test_always() -> None:
    """Every block of others by the tunnel; its endpoint is the owner's first block's lowest address, its MAC of the owner's name."""
    world = cluster(pool("v4", V4))
    assert routes(world) == {"10.244.0.64/26": "10.244.0.64 tp-vx4-4096", "10.244.1.0/26": "10.244.1.0 tp-vx4-4096"}
    plan = tunnel_plan(world, "a", mtu=1500)
    device = plan.devices["tp-vx4-4096"]
    assert (device.link.vni, device.link.port, str(device.link.local), device.link.mac) == (
        *(4096, 4789, "192.0.2.1", mac_of("a")),
    )
    assert (device.addresses, device.mtu) == ((ip_address("10.244.0.0"),), 1450)
    entries = plan.entries["tp-vx4-4096"]
    assert {str(one.address): one.mac for one in entries.neighbours.values()} == {
        "10.244.0.64": mac_of("b"),
        "10.244.1.0": mac_of("c"),
    }
    assert {one.mac: str(one.node) for one in entries.forwarding.values()} == {
        mac_of("b"): "192.0.2.2",
        mac_of("c"): "198.51.100.3",
    }
    whys = {str(why) for route in plan.routes.values() for why in route.why}
    assert {
        "IPPool/v4 spec.vxlanMode",
        "IPAMBlock/10-244-1-0-26 spec.node",
        "RoutingNode/c spec.bgp.ipv4Address",
    } <= whys
    assert [str(why) for why in device.why] == ["IPPool/v4 spec.vxlanMode", "IPAMBlock/10-244-0-0-26 spec.cidr"]


def test_cross_subnet() -> None:
    """Straight to nodes in this node's subnet, by the tunnel to the others; its own prefix length says which is which."""
    world = cluster(pool("v4", V4, "CrossSubnet"))
    assert routes(world) == {"10.244.0.64/26": "192.0.2.2 -", "10.244.1.0/26": "10.244.1.0 tp-vx4-4096"}
    assert tunnel_plan(world, "a").entries["tp-vx4-4096"].neighbours.keys() == {ip_address("10.244.1.0")}
    bare = cluster(pool("v4", V4, "CrossSubnet"), nodes=(node("a", "192.0.2.1/32"), *NODES[1:]))
    assert {one.split()[1] for one in routes(bare).values()} == {"tp-vx4-4096"}


@pytest.mark.parametrize(
    ("mine", "theirs", "device"),
    [
        (("192.0.2.1/24", "2001:db8:a::1/64"), ("192.0.2.2/24", "2001:db8:a::2/64"), "tp-vx6-4096"),
        (("192.0.2.1/24",), ("192.0.2.2/24", "2001:db8:a::2/64"), "tp-vx4-4096"),
        (("192.0.2.1/24", "2001:db8:a::1/64"), ("192.0.2.2/24",), "tp-vx4-4096"),
        (("192.0.2.1/24",), ("2001:db8:a::2/64",), None),
    ],
)
def test_the_network_below_is_of_a_family_that_both_have(mine, theirs, device) -> None:
    """That of the pods' addresses where both nodes have it, else the other; without a common one there is no way."""
    world = cluster(pool("v6", V6), nodes=(node("a", *mine), node("b", *theirs)))
    wanted = {"fd00:244::40/122": f"{link_local('b')} {device}"} if device else {}
    assert routes(world) == wanted


def test_each_node_has_one_endpoint_a_tunnel_and_family() -> None:
    """Further blocks, and further pools with the same number, are reached by the first; another number is another tunnel."""
    others = (
        block("10.244.0.0/26", "a"),
        block("10.244.2.0/26", "b", created="2026-01-02T00:00:00Z"),
        block("10.244.3.0/26", "b"),
        block("10.245.0.0/26", "b", created="2026-01-03T00:00:00Z"),
        block("10.246.0.0/26", "b"),
        block("10.244.4.0/26", "b", state="Quarantined"),
    )
    pools = (pool("v4", V4), pool("w4", "10.245.0.0/16"), pool("x4", "10.246.0.0/16", vni=7, port=8472))
    assert routes(cluster(*pools, blocks=others)) == {
        "10.244.2.0/26": "10.244.3.0 tp-vx4-4096",
        "10.244.3.0/26": "10.244.3.0 tp-vx4-4096",
        "10.245.0.0/26": "10.244.3.0 tp-vx4-4096",
        "10.246.0.0/26": "10.246.0.0 tp-vx4-7",
    }
    devices = tunnel_plan(cluster(*pools, blocks=others), "a").devices
    assert {one.name: (one.link.port, len(one.addresses)) for one in devices.values()} == {
        "tp-vx4-4096": (4789, 1),
        "tp-vx4-7": (8472, 0),
    }


def test_the_first_pool_gives_the_port() -> None:
    """Of pools with one number and two ports the first by name counts, and the other one is told."""
    pools = (pool("b", V4, port=8472), pool("a", "10.245.0.0/16"))
    assert tunnel_plan(cluster(*pools), "a").devices["tp-vx4-4096"].link.port == 4789
    (conflict,) = tunnel_conflicts({one.name: one for one in pools})
    assert str(conflict.object) == "IPPool/b spec.vxlan.port"
    assert "port 4789, as IPPool/a says, and not 8472" in conflict.message


def asking(name: str, cidr: str, group: str = "239.1.1.1", mode: str = "Always", **vxlan: Any) -> IPPool:
    return pool(name, cidr, mode, discovery="Multicast", group=ip_address(group), **vxlan)


def test_multicast() -> None:
    """The routes are those of any VXLAN; nobody's MAC and node are written down, only the group."""
    world = cluster(asking("v4", V4))
    assert routes(world) == routes(cluster(pool("v4", V4)))
    plan = tunnel_plan(world, "a", mtu=1500, below={4096: 7})
    device, entries = plan.devices["tp-vx4-4096"], plan.entries["tp-vx4-4096"]
    assert (device.link, device.mtu, device.link_local) == (
        *(Vxlan(4096, 4789, ip_address("192.0.2.1"), mac_of("a"), ip_address("239.1.1.1"), 7), 1450, None),
    )
    assert entries.neighbours == {}
    assert [(one.mac, str(one.node), one.via) for one in entries.forwarding.values()] == [(EVERYONE, "239.1.1.1", 7)]
    assert {str(one.address): (one.mac, str(one.node)) for one in entries.ends.values()} == {
        "10.244.0.64": (mac_of("b"), "192.0.2.2"),
        "10.244.1.0": (mac_of("c"), "198.51.100.3"),
    }
    assert plan.refusals == ()


@pytest.mark.parametrize(("group", "device"), [("239.1.1.1", "tp-vx4-4096"), ("ff05::7", "tp-vx6-4096")])
def test_the_group_says_the_family_below(group: str, device: str) -> None:
    """Pods of both families go by it; whoever is asked for IPv6 has the link-local address that goes with its name."""
    world = cluster(asking("v4", V4, group), asking("v6", V6, group))
    assert {one.split()[1] for one in routes(world).values()} == {device}
    (made,) = tunnel_plan(world, "b").devices.values()
    assert (made.name, str(made.link_local)) == (device, link_local("b"))
    assert len(made.addresses) == 2


def test_a_node_without_the_family_of_the_group_or_the_interface() -> None:
    """It has no device and says which field of which pool it cannot do; another tunnel is not concerned."""
    nodes = (node("a", "192.0.2.1/24"), *NODES[1:])
    told = {
        "a": "node a takes no part in the VXLAN 4096: the group ff05::7 needs an ipv6 address, and it has none",
        "b": "node b takes no part in the VXLAN 4096: it has no interface eth9 on which to join the group ff05::7",
    }
    world = cluster(asking("v4", V4, "ff05::7", device="eth9"), pool("w4", "10.245.0.0/16", vni=7), nodes=nodes)
    for name, message in told.items():
        plan = tunnel_plan(world, name, below={})
        field = "group" if name == "a" else "device"
        assert [(str(one.object), one.message) for one in plan.refusals] == [(f"IPPool/v4 spec.vxlan.{field}", message)]
        assert plan.devices == {}
    assert routes(world) == {}
    assert routes(world, "b") == {"10.244.1.0/26": "10.244.1.0 tp-vx6-4096"}


def test_ipip_falls_back_to_a_vxlan_that_asks() -> None:
    """Where a node lacks IP-in-IP, over the family of the group; those that have it keep it."""
    spec = IPPoolSpec(
        ip_network(V4), ipip_mode="Always", vxlan=VXLAN(discovery="Multicast", group=ip_address("ff05::7"))
    )
    nodes = (*NODES[:2], node("c", "198.51.100.3/24", "2001:db8:c::3/64", lacks=("ipip",), tunnels=("tp-vx6-4096",)))
    world = cluster(IPPool("IPPool", Meta("v4"), spec), nodes=nodes)
    assert routes(world) == {"10.244.0.64/26": "192.0.2.2 tp-ipip", "10.244.1.0/26": "10.244.1.0 tp-vx6-4096"}
    devices = tunnel_plan(world, "a").devices
    assert {name: len(one.addresses) for name, one in devices.items()} == {"tp-ipip": 1, "tp-vx6-4096": 1}


def test_pools_that_say_different_things_of_one_tunnel() -> None:
    """The first by name counts in everything, and the others are told what they say that does not."""
    pools = (asking("a", V4), asking("b", "10.245.0.0/16", "239.1.1.2", device="eth1"), pool("c", "10.246.0.0/16"))
    assert [(str(one.object), one.message) for one in tunnel_conflicts({one.name: one for one in pools})] == [
        ("IPPool/b spec.vxlan.group", "the VXLAN 4096 has group 239.1.1.1, as IPPool/a says, and not 239.1.1.2"),
        ("IPPool/b spec.vxlan.device", "the VXLAN 4096 has no device, as IPPool/a says, and not eth1"),
        (
            "IPPool/c spec.vxlan.discovery",
            "the VXLAN 4096 has discovery Multicast, as IPPool/a says, and not ControlPlane",
        ),
        ("IPPool/c spec.vxlan.group", "the VXLAN 4096 has group 239.1.1.1, as IPPool/a says"),
    ]


def test_nobody_sends_where_no_device_stands() -> None:
    """A node whose status lacks the device is not sent to by it; one that has said nothing yet counts as having it."""
    said = (NODES[0], node("b", "192.0.2.2/24", tunnels=("tp-vx4-4096",)), node("c", "198.51.100.3/24", tunnels=()))
    assert routes(cluster(pool("v4", V4), nodes=said)) == {"10.244.0.64/26": "10.244.0.64 tp-vx4-4096"}
    before = (NODES[0], NODES[1], node("c", "198.51.100.3/24", told=True))
    assert "10.244.1.0/26" not in routes(cluster(pool("v4", V4), nodes=before))


def test_an_address_that_a_pod_has_is_not_the_nodes() -> None:
    """The device has the node's ordinary one, and all else is the same."""
    plan = tunnel_plan(cluster(pool("v4", V4)), "a", without={ip_address("10.244.0.0"): ip_address("192.0.2.1")})
    assert plan.devices["tp-vx4-4096"].addresses == (ip_address("192.0.2.1"),)
    assert len(plan.routes) == 2


def test_what_the_node_sends_with_instead() -> None:
    """It is on the device: of IPv6 the kernel would take the gateway of pods otherwise, which every node has."""
    blocks = (*BLOCKS, block("fd00:244::/122", "a"))
    mine, spare, own = (ip_address(text) for text in ("2001:db8:a::1", "fd00:244::3f", "fd00:244::"))
    plan = tunnel_plan(cluster(pool("v6", V6), blocks=blocks), "a", without={own: mine})
    assert plan.devices["tp-vx6-4096"].addresses == (mine,)
    alone = (node("a", "192.0.2.1/24"), node("b", "192.0.2.2/24"))
    for instead, has in ((spare, (spare,)), (None, ())):
        plan = tunnel_plan(cluster(pool("v6", V6), blocks=blocks, nodes=alone), "a", without={own: instead})
        assert plan.devices["tp-vx4-4096"].addresses == has


def test_macs_are_local_and_of_one_receiver() -> None:
    """The two lowest bits of the first byte (IEEE 802); another node has another MAC, always the same."""
    assert mac_of("node-1") == mac_of("node-1") != mac_of("node-2")
    assert {int(mac_of(f"node-{n}")[:2], 16) & 3 for n in range(100)} == {2}


def test_ipip() -> None:
    """To the owner's own address by one device, which has an address of its own; nobody's MAC has to be known, and no VXLAN is there."""
    world = cluster(by_ipip("v4", V4))
    assert routes(world) == {"10.244.0.64/26": "192.0.2.2 tp-ipip", "10.244.1.0/26": "198.51.100.3 tp-ipip"}
    plan = tunnel_plan(world, "a", mtu=1500)
    (device,) = plan.devices.values()
    assert (device.name, device.link, device.mtu) == ("tp-ipip", Ipip(ip_address("192.0.2.1")), 1480)
    assert device.addresses == (ip_address("10.244.0.0"),)
    assert [str(why) for why in device.why] == ["IPPool/v4 spec.ipipMode", "IPAMBlock/10-244-0-0-26 spec.cidr"]
    assert plan.entries == {"tp-ipip": Entries()}
    assert by_vxlan(world) == frozenset()


def test_ipip_cross_subnet() -> None:
    """Straight inside the subnet."""
    world = cluster(by_ipip("v4", V4, "CrossSubnet"))
    assert routes(world) == {"10.244.0.64/26": "192.0.2.2 -", "10.244.1.0/26": "198.51.100.3 tp-ipip"}


ALL = ("tp-ipip", "tp-vx4-4096")


@pytest.mark.parametrize(
    ("me", "wanted"),
    [
        ("a", {"10.244.0.64/26": "192.0.2.2 tp-ipip", "10.244.1.0/26": "10.244.1.0 tp-vx4-4096"}),
        ("c", {"10.244.0.0/26": "10.244.0.0 tp-vx4-4096", "10.244.0.64/26": "10.244.0.64 tp-vx4-4096"}),
    ],
)
def test_between_two_nodes_of_which_one_lacks_ipip_vxlan_takes_its_place(me: str, wanted: dict[str, str]) -> None:
    """Both ends find out the same; every node has both devices then, with the same address, and guards the VXLAN."""
    nodes = (
        node("a", "192.0.2.1/24", tunnels=ALL, lacks=()),
        node("b", "192.0.2.2/24", tunnels=ALL, lacks=()),
        node("c", "198.51.100.3/24", tunnels=ALL[1:], lacks=("ipip",)),
    )
    world = cluster(by_ipip("v4", V4), nodes=nodes)
    assert routes(world, me) == wanted
    devices = tunnel_plan(world, me, mtu=1500).devices
    assert {name: one.mtu for name, one in devices.items()} == {"tp-ipip": 1480, "tp-vx4-4096": 1450}
    assert len({one.addresses for one in devices.values()}) == 1
    assert {one.vni for one in by_vxlan(world)} == {4096}


def test_ipip_needs_ipv4_below() -> None:
    """Between nodes that have IPv6 alone in common it is VXLAN, at both ends."""
    nodes = (node("a", "2001:db8:a::1/64"), node("b", "192.0.2.2/24", "2001:db8:a::2/64"))
    world = cluster(by_ipip("v4", V4), nodes=nodes)
    assert routes(world) == {"10.244.0.64/26": "10.244.0.64 tp-vx6-4096"}
    assert tunnel_plan(world, "a").devices.keys() == {"tp-vx6-4096"}
    assert {"tp-ipip", "tp-vx6-4096"} <= tunnel_plan(world, "b").devices.keys()
    assert {one.vni for one in by_vxlan(world)} == {4096}


def test_where_packets_come_by_ipip() -> None:
    """At the node's own IPv4 address, where a pool asks for it and the kernel has it: there nodes alone may send."""
    lacking = node("c", "198.51.100.3/24", tunnels=(), lacks=("ipip",))
    world = cluster(by_ipip("v4", V4), nodes=(*NODES[:2], lacking, node("d", "2001:db8:a::4/64")))
    assert [ipip_end(world, name) for name in "abcd"] == [ip_address("192.0.2.1"), ip_address("192.0.2.2"), None, None]
    assert ipip_end(cluster(pool("v4", V4)), "a") is None


def test_what_the_network_below_takes_a_node_tells_by_what_its_pods_get() -> None:
    """With the tunnels that it has added again; before it has said anything nobody knows."""
    at = {("tp-ipip",): 1480, ("tp-vx4-4096", "tp-ipip"): 1450, ("tp-vx6-4096",): 1430, (): 1500}
    for tunnels, mtu in at.items():
        said = RoutingNodeStatus(mtu=mtu, tunnels=tunnels)
        assert mtu_below(RoutingNode("RoutingNode", Meta("n"), NODES[0].spec, said)) == 1500
    assert mtu_below(NODES[0]) is None


def test_nobody_sends_by_ipip_where_the_device_does_not_stand() -> None:
    """A node that has the kind and not yet the device is reached as it was before."""
    nodes = (NODES[0], node("b", "192.0.2.2/24", tunnels=(), lacks=()), NODES[2])
    assert routes(cluster(by_ipip("v4", V4), nodes=nodes)) == {"10.244.1.0/26": "198.51.100.3 tp-ipip"}

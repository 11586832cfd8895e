"""IP-in-IP on a kernel that has it, on two subnets behind a router that lets no pod address pass."""

import re
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.netns.path.below import default_by_another, down_and_up, readdress, sent_by
from tests.netns.path.changes import busy
from tests.netns.path.cluster import cluster, fits, router_drops_pods, said_tunnels, wait_large
from tests.netns.path.mtu import NARROW, WHOLE, between, everybody, forgetful, narrow, wait_learned, wait_whole
from tests.uml import lacking as lacking_program
from towpath.lab import facts, pods
from towpath.lab.addressing import RACKS, node_number
from towpath.lab.api import collection
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family

DEVICE = "tp-ipip"
LARGEST = 1480


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nodes 1 and 2 in one subnet, node 3 in another."""
    shape = Shape(nodes=3, rack_b=1, families=(Family.IPV4,), controllers=1, pool={"ipipMode": "Always"})
    with cluster(shape) as made:
        yield made


def standing(lab: Lab, node: str) -> dict[str, Any] | None:
    """The node's device as it is; None where there is none."""
    for link in lab.host(node).ip_json("-d", "addr", "show", "type", "ipip"):
        if link["ifname"] == DEVICE:
            data = link["linkinfo"]["info_data"]
            addresses = [f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if one["family"] == "inet"]
            ends = (data["local"], data["remote"])
            plain = data.get("ttl") in (None, 0, "inherit")
            return {
                "ends": ends,
                "plain": plain,
                "mtu": link["mtu"],
                "up": "UP" in link["flags"],
                "addresses": addresses,
            }
    return None


def wanted(lab: Lab, node: str) -> dict[str, Any]:
    """As the objects say it should be."""
    (own,) = (prefix for prefix, owner in facts.blocks(lab).items() if owner == node)
    local = str(lab.node_addresses(node)[0])
    return {
        "ends": (local, "any"),
        "plain": True,
        "mtu": LARGEST,
        "up": True,
        "addresses": [f"{own.network_address}/32"],
    }


def ways(lab: Lab, node: str) -> dict[str, tuple[str, str]]:
    """By which gateway and device the blocks of the others are reached, by owner."""
    owners, found = facts.blocks(lab), facts.kernel_routes(lab, node)
    return {
        owners[prefix]: (route["gateway"], route["dev"])
        for prefix, route in found.items()
        if prefix in owners and owners[prefix] != node
    }


def switch(lab: Lab, **spec: str) -> None:
    """The pool has these modes, and every node does as they say."""
    lab.api.patch(f"{collection('IPPool')}/pods-ipv4", {"spec": spec})
    rack = {node: place.rack for node, place in lab.state.nodes.items()}
    mode = next((one for one in spec.values() if one != "Never"), "Never")
    tunnel = DEVICE if spec["ipipMode"] != "Never" else "tp-vx4-4096"
    for node in lab.nodes:
        devices = {
            other: tunnel if mode == "Always" or (mode == "CrossSubnet" and rack[node] != rack[other]) else "eth0"
            for other in lab.nodes
            if other != node
        }
        wait_for(
            lambda node=node, devices=devices: {one: by for one, (_, by) in ways(lab, node).items()} == devices,
            deadline=40,
            what=f"{node} goes {spec}",
        )


def test_always(lab: Lab) -> None:
    """From the node's address to anywhere, with one address and 20 bytes less; every route by the owner's own address, onlink."""
    for node in lab.nodes:
        wait_for(lambda node=node: standing(lab, node) == wanted(lab, node), deadline=20, what=f"{DEVICE} on {node}")
        others = {other: (str(lab.node_addresses(other)[0]), DEVICE) for other in lab.nodes if other != node}
        wait_for(lambda node=node, others=others: ways(lab, node) == others, deadline=30, what=f"routes of {node}")
        for prefix, route in facts.kernel_routes(lab, node).items():
            assert route["flags"] == (["onlink"] if facts.blocks(lab)[prefix] != node else [])
    with router_drops_pods(lab):
        wait_large(lab, size=LARGEST)
        pod = next(one for one in lab.pods.values() if one.node == "node3")
        to = str(pod.address(Family.IPV4))
        assert not fits(lab, "node1-p1", to, size=LARGEST + 1)
        wait_for(lambda: fits(lab, "node1", to, size=LARGEST), deadline=10, what="from a node itself")
    wait_for(lambda: set(said_tunnels(lab).values()) == {((DEVICE,), ())}, deadline=60, what="the nodes say so")


@pytest.mark.parametrize(
    "deed",
    [
        ("link", "del", "dev", DEVICE),
        ("link", "set", "dev", DEVICE, "down"),
        ("link", "set", "dev", DEVICE, "mtu", "1200"),
        ("addr", "flush", "dev", DEVICE),
        ("link", "set", "dev", DEVICE, "type", "ipip", "local", "192.0.2.11", "ttl", "9"),
    ],
    ids=lambda words: " ".join(words[:2]) + " " + words[-2],
)
def test_what_somebody_does_to_the_tunnel_is_repaired(lab: Lab, deed: tuple[str, ...]) -> None:
    """Device, routes and packets are as before."""
    host = lab.host("node1")
    before, routes = standing(lab, "node1"), facts.kernel_routes(lab, "node1")
    assert before is not None
    host.ip(*deed)
    wait_for(lambda: standing(lab, "node1") == before, deadline=20, what="repaired")
    wait_for(lambda: facts.kernel_routes(lab, "node1") == routes, deadline=20, what="the routes are there")
    facts.wait_reachable(lab)


def inside(source: str, target: str, port: int) -> bytes:
    """A UDP packet (RFC 768, no checksum) with its IPv4 header (RFC 791), as a tunnel carries it."""
    ends = ip_address(source).packed + ip_address(target).packed
    head = struct.pack("!BBHIBBH", 0x45, 0, 33, 0, 64, socket.IPPROTO_UDP, 0) + ends
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    return head + struct.pack("!HHHH", port, port, 13, 0) + b"hello"


def guard(lab: Lab, node: str) -> str:
    """The node's chains that judge protocol 4."""
    table = lab.host(node).run("nft", "list", "table", "inet", "towpath")
    return "".join(part for part in table.split("\tchain ") if part.startswith("ipip_"))


def dropped(lab: Lab) -> dict[str, int]:
    """Packets of protocol 4 that each node has dropped."""
    return {node: sum(map(int, re.findall(r"counter packets (\d+)", guard(lab, node)))) for node in lab.nodes}


@pytest.mark.parametrize(
    ("sender", "to", "dropping"),
    [
        ("node2", "node1", None),
        ("client", "node1", "node1"),
        ("node1-p1", "node1", "node1"),
        ("node1-p1", "node3", "node1"),
    ],
)
def test_nodes_alone_send_into_the_tunnel(lab: Lab, sender: str, to: str, dropping: str | None) -> None:
    """What a node wraps comes to the pod; what a stranger or a pod does is dropped and counted, by the first node that sees it."""
    pod = next(one for one in lab.pods.values() if one.node == to)
    forged = next(one for one in lab.pods.values() if one.node == "node2")
    before = dropped(lab)
    with lab.host(pod.name).entered():
        taking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with lab.host(sender).entered():
        sending = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
    with taking, sending:
        taking.bind(("", 0))
        taking.settimeout(20)
        packet = inside(*(str(one.address(Family.IPV4)) for one in (forged, pod)), taking.getsockname()[1])
        sending.sendto(packet, (str(lab.node_addresses(to)[0]), 0))
        if dropping is None:
            assert taking.recv(100) == b"hello"
            assert dropped(lab) == before
        else:
            after = {**before, dropping: before[dropping] + 1}
            wait_for(lambda: dropped(lab) == after, deadline=20, what=f"{dropping} has dropped it")
            taking.setblocking(False)
            with pytest.raises(BlockingIOError):
                taking.recv(100)


def test_tunnels_of_others_are_theirs(lab: Lab) -> None:
    """A device of another program between the node's own address and a stranger's takes what that one sends, beside ours."""
    node, client = lab.host("node1"), lab.host("client")
    here, there = str(lab.node_addresses("node1")[0]), str(lab.client_addresses()[0])
    try:
        for host, local, remote, address in ((node, here, there, "10.99.0.1"), (client, there, here, "10.99.0.2")):
            host.ip("link", "add", "theirs", "type", "ipip", "local", local, "remote", remote)
            host.ip("addr", "add", f"{address}/30", "dev", "theirs")
            host.ip("link", "set", "dev", "theirs", "up")
        wait_for(lambda: pods.ping(client, ip_address("10.99.0.1")), deadline=30, what="their tunnel carries packets")
        facts.wait_reachable(lab)
    finally:
        for host in (node, client):
            host.run("ip", "link", "del", "theirs", check=False)
    wait_for(lambda: there not in guard(lab, "node1"), deadline=30, what="nodes alone may send again")


def test_a_tunnel_over_a_way_that_takes_less(lab: Lab) -> None:
    """Nodes learn it from the router and tell pods: TCP does not stall, whichever way it goes; once it takes more, both forget."""
    switch(lab, ipipMode="Always", vxlanMode="Never")
    one, other = (next(pod for pod in lab.pods.values() if pod.node == node) for node in ("node1", "node3"))
    forgetful(*(lab.host(name) for pod in (one, other) for name in (pod.name, pod.node)))
    ways = between(lab, one, other)
    with narrow(lab.host("tor"), everybody(lab)):
        for way in ways:
            wait_learned(way, NARROW - 20, size=LARGEST)
    for way in ways:
        wait_whole(way, size=LARGEST)


def stands(lab: Lab, **other: Any) -> None:
    """The tunnel of node 1 is as the objects say but for this, and packets pass a router that knows no pods."""
    wait_for(lambda: standing(lab, "node1") == wanted(lab, "node1") | other, deadline=40, what=f"{DEVICE} with {other}")
    with router_drops_pods(lab):
        facts.wait_reachable(lab, facts.flows(lab, client=False), deadline=60)


def test_the_network_below_gets_smaller_and_larger(lab: Lab) -> None:
    """The tunnel is as large as it lets it be."""
    for mtu in (NARROW, WHOLE):
        lab.host("node1").ip("link", "set", "dev", "eth0", "mtu", str(mtu))
        stands(lab, mtu=mtu - 20)


def test_the_default_route_goes_elsewhere(lab: Lab) -> None:
    """By another interface that takes less: the tunnel takes less, and packets to the other subnet go that way; and back."""
    node = lab.host("node1")
    to = next(str(pod.address(Family.IPV4)) for pod in lab.pods.values() if pod.node == "node3")
    with default_by_another(lab, mtu=NARROW) as side:
        stands(lab, mtu=NARROW - 20)
        sent = sent_by(node, side)
        wait_for(lambda: fits(lab, "node1", to, size=NARROW - 20), deadline=20, what="from the node itself")
        assert sent_by(node, side) >= sent + NARROW
    stands(lab)


@pytest.mark.parametrize("name", ["eth0", "lan0"])
def test_the_link_below_goes_down_and_comes_back(lab: Lab, name: str) -> None:
    """By its name, or by another one: the tunnel is the same, and leads to the others."""
    down_and_up(lab, "eth0", name)
    stands(lab)
    if name != "eth0":
        down_and_up(lab, name, "eth0")
        stands(lab)


def test_the_address_below_changes(lab: Lab) -> None:
    """The tunnel sends from the new one, and others send there."""
    for number in (77, node_number(1)):
        readdress(lab, number)
        address = str(RACKS["a"].address(Family.IPV4, number))
        for node in ("node2", "node3"):
            wait_for(
                lambda node=node, address=address: ways(lab, node)["node1"] == (address, DEVICE),  # type: ignore[misc]  # bound now
                deadline=60,
                what=f"{node} sends there",
            )
        stands(lab, ends=(address, "any"))


def test_from_mode_to_mode_under_traffic(lab: Lab) -> None:
    """No tunnel, one between subnets, one everywhere, the other kind, and back: every packet arrives, connections go on.

    In a tunnel the router sees no pod address; a device that nobody wants any more goes.
    """
    modes = [("Never", "Never"), ("CrossSubnet", "Never"), ("Always", "Never"), ("Never", "Always")]
    largest = LARGEST
    with busy(lab) as unharmed:
        for ipip, vxlan in (*modes, *reversed(modes[:-1]), ("Always", "Never")):
            name = f"ipipMode {ipip}, vxlanMode {vxlan}"
            unharmed(name, lambda ipip=ipip, vxlan=vxlan: switch(lab, ipipMode=ipip, vxlanMode=vxlan))  # type: ignore[misc]  # bound now
            if (ipip, vxlan) != ("Never", "Never"):
                largest = min(largest, LARGEST if vxlan == "Never" else 1450)  # pods remember what they have learned
                with router_drops_pods(lab):
                    wait_large(lab, size=largest)
            if ipip == "Never":
                for node in lab.nodes:
                    wait_for(
                        lambda node=node: standing(lab, node) is None,  # type: ignore[misc]  # bound now
                        deadline=40,
                        what=f"{node} has no {DEVICE}",
                    )


def lacking(lab: Lab) -> dict[str, str]:
    """Which nodes say in a condition that their kernel lacks something, and what."""
    return {
        node: one["message"]
        for node, status in facts.reports(lab).items()
        for one in status.get("conditions", ())
        if one["type"] == "KernelLacks"
    }


def test_one_node_among_others_whose_kernel_has_none(lab: Lab) -> None:
    """It says so; to and from it packets go by VXLAN, and among the others as before. All have one kernel here, which its agent does not ask for any."""
    switch(lab, ipipMode="Always", vxlanMode="Never")
    agent = lab.programs["node3/agent"]
    plain = agent.command
    module = plain.index("-m")
    vxlan = "tp-vx4-4096"
    assert lacking(lab) == {}
    try:
        lab.stop("node3/agent")
        lab.host("node3").ip("link", "del", "dev", DEVICE)
        agent.command = [*plain[:module], lacking_program.__file__, "ipip", *plain[module + 1 :]]
        lab.start("node3/agent")
        both = tuple(sorted((DEVICE, vxlan)))
        wanted = {"node1": (both, ()), "node2": (both, ()), "node3": ((vxlan,), ("ipip",))}
        wait_for(lambda: said_tunnels(lab) == wanted, deadline=60, what="what each node has")
        by = {
            "node1": {"node2": DEVICE, "node3": vxlan},
            "node2": {"node1": DEVICE, "node3": vxlan},
            "node3": {"node1": vxlan, "node2": vxlan},
        }
        for node, devices in by.items():
            wait_for(
                lambda node=node, devices=devices: {one: dev for one, (_, dev) in ways(lab, node).items()} == devices,  # type: ignore[misc]  # bound now
                deadline=60,
                what=f"the ways of {node}",
            )
        with router_drops_pods(lab):
            wait_large(lab, size=1450)
        said = {"node3": "the kernel knows no devices of kind ipip: VXLAN is used in its place"}
        wait_for(lambda: lacking(lab) == said, deadline=60, what="it says so, alone")
        assert standing(lab, "node3") is None
    finally:
        lab.stop("node3/agent")
        agent.command = plain
        lab.start("node3/agent")
    again = dict.fromkeys(lab.nodes, ((DEVICE,), ()))
    wait_for(lambda: said_tunnels(lab) == again, deadline=60, what="all have it again")
    wait_for(lambda: lacking(lab) == {}, deadline=60, what="nobody says so")
    facts.wait_reachable(lab)


def test_cleanup_leaves_no_tunnel(lab: Lab) -> None:
    """The device is gone with its routes; an agent that starts again makes it anew."""
    before = standing(lab, "node1")
    assert before is not None
    lab.stop("node1/agent", "node1/speaker")
    folders = [f"--{kind}-dir={lab.node_directory('node1', kind)}" for kind in ("run", "state")]
    lab.host("node1").run(sys.executable, "-m", "towpath.controller.cli", "cleanup", *folders)
    assert standing(lab, "node1") is None
    lab.start("node1/speaker", "node1/agent")
    wait_for(lambda: standing(lab, "node1") == before, deadline=30, what="the tunnel is back")
    facts.wait_reachable(lab)

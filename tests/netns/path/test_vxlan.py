"""Pools that encapsulate, on two subnets behind a router: devices, neighbours, routes, packets as large as they may be, and their repair."""

import contextlib
import socket
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests.names import own
from tests.netns.path.below import default_by_another, move, sent_by
from tests.netns.path.changes import busy, connected
from tests.netns.path.checksums import leave_below, left_below
from tests.netns.path.cluster import cluster, fits, router_drops_pods, said_tunnels, under_probe, wait_large
from tests.netns.path.mtu import (
    NARROW,
    WHOLE,
    between,
    carried,
    everybody,
    forget,
    forgetful,
    learned,
    narrow,
    wait_learned,
    wait_learned_and_forgotten,
    wait_whole,
)
from tests.netns.tracked import counts, unwatch, watch
from towpath.lab import facts, pods
from towpath.lab.addressing import PODS
from towpath.lab.api import collection, custom
from towpath.lab.netns import Host
from towpath.lab.pods import Pod
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.encapsulation import mac_of
from towpath.model.net import Family, family_of

DEVICES = {Family.IPV4: "tp-vx4-4096", Family.IPV6: "tp-vx6-4096"}
DEVICE_MTU = {Family.IPV4: 1450, Family.IPV6: 1430}
LARGEST = 1430
"""What is left of 1500 bytes in a VXLAN over IPv6."""
THEIRS = "tp-vx4-theirs"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nodes 1 and 2 in one subnet, node 3 in another; on node 1 there is somebody else's VXLAN already."""
    with cluster(Shape(nodes=3, rack_b=1, pool={"vxlanMode": "Always"})) as made:
        foreign(made.host("node1"))
        forgetful(*map(made.host, made.pods))  # tunnels are smaller for a moment while somebody makes them so
        yield made


def foreign(host: Host) -> None:
    """Another program's device, with a neighbour and a forwarding entry."""
    host.ip("link", "add", THEIRS, "type", "vxlan", "id", "9", "local", "192.0.2.11", "dstport", "8472", "nolearning")
    host.ip("link", "set", "dev", THEIRS, "up")
    host.ip("neigh", "add", "10.9.9.9", "lladdr", "66:00:00:00:00:09", "dev", THEIRS, "nud", "permanent")
    host.run("bridge", "fdb", "add", "66:00:00:00:00:09", "dev", THEIRS, "dst", "192.0.2.99", "self", "permanent")


def of_others(host: Host) -> tuple[str, ...]:
    """All that is not ours of it."""
    links = host.ip("-d", "link", "show", "dev", THEIRS)
    return (links, *(text for text in entries(host, THEIRS)))


def entries(host: Host, device: str) -> tuple[str, str, str]:
    """Neighbours of both families and forwarding entries of a device, in an order of their own."""
    texts = (
        host.ip("-4", "neigh", "show", "dev", device, "nud", "permanent"),
        host.ip("-6", "neigh", "show", "dev", device, "nud", "permanent"),
        host.run("bridge", "fdb", "show", "dev", device),
    )
    four, six, forwarding = ("\n".join(sorted(map(str.strip, text.splitlines()))) for text in texts)
    return four, six, forwarding


def standing(host: Host) -> dict[str, Any]:
    """Our devices with all that they are and know, but for their numbers."""
    found: dict[str, Any] = {}
    for link in host.ip_json("-d", "link", "show", "type", "vxlan"):
        name = link["ifname"]
        if name in DEVICES.values():
            with contextlib.suppress(RuntimeError, ValueError, OSError):  # gone meanwhile
                (shown,) = host.ip_json("addr", "show", "dev", name)
                addresses = sorted(one["local"] for one in shown["addr_info"])
                data = link["linkinfo"]["info_data"]
                kind = [data.get(key) for key in ("id", "local", "local6", "port", "learning")]
                found[name] = (
                    *(kind, link["mtu"], link["address"], "UP" in link["flags"]),
                    *(addresses, entries(host, name), left_below(host, name)),
                )
    return found


def link_local(host: Host) -> str:
    """The address that its device for IPv6 has given itself."""
    (shown,) = host.ip_json("-6", "addr", "show", "dev", DEVICES[Family.IPV6])
    return next(one["local"] for one in shown["addr_info"] if one["scope"] == "link")


def test_packets_as_large_as_pods_may_send_pass_a_router_that_knows_no_pods(lab: Lab) -> None:
    """Between all nodes, in both families; from a node itself too, which has an address of its own in the tunnel."""
    with router_drops_pods(lab):
        wait_large(lab, size=LARGEST)
        pod = next(one for one in lab.pods.values() if one.node == "node3")
        for family in lab.families:
            assert not fits(lab, "node1-p1", str(pod.address(family)), size=LARGEST + 1), (
                "the pod's own device is smaller"
            )
            to = str(pod.address(family))
            wait_for(lambda to=to: fits(lab, "node1", to, size=LARGEST), deadline=10, what="from the node itself")
    facts.wait_reachable(lab)


def test_devices_and_routes_are_as_the_objects_say(lab: Lab) -> None:
    """Each node knows the others by the first address of their blocks and the MAC of their names; every route is onlink."""
    for node in lab.nodes:
        others = {other: lab.node_addresses(other) for other in lab.nodes if other != node}
        for family, device in DEVICES.items():
            link = lab.host(node).ip_json("-d", "link", "show", "dev", device)[0]
            assert (link["address"], link["mtu"]) == (mac_of(node), 1450 if family is Family.IPV4 else 1430)
            four, six, forwarding = entries(lab.host(node), device)
            for other, addresses in others.items():
                assert f"{mac_of(other)} dst {addresses[lab.families.index(family)]}" in forwarding
                assert f"lladdr {mac_of(other)} PERMANENT" in (four if family is Family.IPV4 else six)
        for prefix, route in facts.kernel_routes(lab, node).items():
            if facts.blocks(lab)[prefix] != node:
                where = (route["gateway"], route["dev"], route["flags"])
                owner = facts.blocks(lab)[prefix]
                end = str(prefix.network_address) if prefix.version == 4 else link_local(lab.host(owner))
                assert where == (end, DEVICES[family_of(prefix)], ["onlink"])
    wanted = (tuple(sorted(DEVICES.values())), ())
    wait_for(lambda: set(said_tunnels(lab).values()) == {wanted}, deadline=60, what="the nodes say what they have")


def spoilt(host: Host, deed: str) -> None:
    """Somebody has done this to the node's device for IPv4."""
    device = DEVICES[Family.IPV4]
    neighbour, *_ = host.ip_json("-4", "neigh", "show", "dev", device, "nud", "permanent")
    words = {
        "device deleted": ("ip", "link", "del", "dev", device),
        "device down": ("ip", "link", "set", "dev", device, "down"),
        "device smaller": ("ip", "link", "set", "dev", device, "mtu", "1200"),
        "device of another MAC": ("ip", "link", "set", "dev", device, "address", "66:00:00:00:00:77"),
        "address deleted": ("ip", "-4", "addr", "flush", "dev", device),
        "neighbour deleted": ("ip", "neigh", "del", neighbour["dst"], "dev", device),
        "neighbour altered": ("ip", "neigh", "replace", neighbour["dst"], "lladdr", "66:00:00:00:00:77", "dev", device),
        "forwarding deleted": ("bridge", "fdb", "del", neighbour["lladdr"], "dev", device, "self"),
        "forwarding altered": (
            *("bridge", "fdb", "replace", neighbour["lladdr"], "dev", device),
            *("dst", "192.0.2.99", "self", "permanent"),
        ),
        "forwarding added": ("bridge", "fdb", "add", "66:00:00:00:00:77", "dev", device, "dst", "192.0.2.99", "self", "permanent"),
    }  # fmt: skip
    if deed == "checksums left to others":
        leave_below(host, device)
    else:
        host.run(*words[deed])


DEEDS = (
    "device deleted",
    "device down",
    "device smaller",
    "device of another MAC",
    "address deleted",
    "checksums left to others",
    "neighbour deleted",
    "neighbour altered",
    "forwarding deleted",
    "forwarding altered",
    "forwarding added",
)


@pytest.mark.parametrize("deed", DEEDS)
def test_what_somebody_does_to_a_tunnel_is_repaired(lab: Lab, deed: str) -> None:
    """All is as before, the routes too, and packets pass; of other programs' devices nothing has changed."""
    host = lab.host("node1")
    before, routes, theirs = standing(host), facts.kernel_routes(lab, "node1"), of_others(host)
    spoilt(host, deed)
    wait_for(lambda: standing(host) == before, deadline=5, what=f"repaired: {deed}")
    wait_for(lambda: facts.kernel_routes(lab, "node1") == routes, deadline=5, what="the routes are there")
    facts.wait_reachable(lab)
    assert of_others(host) == theirs


def test_all_of_it_under_traffic(lab: Lab) -> None:
    """One after the other, while packets run everywhere: what does not go by that device loses none, and all else goes on each time."""
    host = lab.host("node1")
    before, theirs = standing(host), of_others(host)
    with connected(lab) as streams:

        def everything() -> None:
            for deed in DEEDS:
                spoilt(host, deed)
                wait_for(lambda: standing(host) == before, deadline=5, what=f"repaired: {deed}")
                streams.go_on()

        result, _ = under_probe(lab, everything, watch=())
    forget(*map(lab.host, lab.pods))  # the device took less for a while, and whoever sent by it then has been told
    print(f"by the device: {result}")
    by_it = {pod.name for pod in lab.pods.values() if pod.node == "node1"}
    others = [one for one in result.flows if ":" in one.flow.address or not by_it & {one.flow.source, one.flow.target}]
    assert others
    assert [one for one in others if one.lost] == []
    assert of_others(host) == theirs


def test_strangers_cannot_send_into_the_tunnel(lab: Lab) -> None:
    """A VXLAN packet with our number from the host behind the router is dropped by every node, and counted."""

    def counted() -> int:
        text = lab.host("node1").run("nft", "list", "chain", "inet", "towpath", "tunnel_input")
        return sum(
            int(line.split("packets")[1].split()[0])
            for line in text.splitlines()
            if "@ends" in line and "packets" in line
        )

    before = counted()
    for address in lab.node_addresses("node1"):
        with lab.host("client").entered():
            sending = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        with sending:
            sending.sendto(b"\x08\0\0\0\0\x10\0\0" + bytes(60), (str(address), 4789))
    wait_for(lambda: counted() == before + 2, deadline=10, what="both were dropped")


def test_no_packet_between_nodes_is_tracked(lab: Lab) -> None:
    """In both directions and families, on all nodes: the kernel remembers no connection of what is in the tunnel."""
    nodes = [lab.host(node) for node in lab.nodes]
    with contextlib.ExitStack() as stack:
        for node in nodes:
            watch(node)
            stack.callback(unwatch, node)
        facts.wait_reachable(lab)
        assert [set(counts(node)) for node in nodes] == [{"in_untracked", "out_untracked"}] * len(nodes)


def ways(lab: Lab, node: str) -> dict[str, str]:
    """By which device the blocks of the others are reached, by owner and family."""
    owners = facts.blocks(lab)
    found = facts.kernel_routes(lab, node)
    return {
        f"{owners[prefix]} {family_of(prefix).key}": route["dev"]
        for prefix, route in found.items()
        if prefix in owners and owners[prefix] != node
    }


def set_mode(lab: Lab, mode: str) -> None:
    """Every pool has this mode."""
    for name in lab.api.items("IPPool"):
        lab.api.patch(f"{collection('IPPool')}/{name}", {"spec": {"vxlanMode": mode}})


def switch(lab: Lab, mode: str) -> None:
    """Every pool has this mode, and every node does as it says."""
    set_mode(lab, mode)
    wait_ways(lab, mode)


def wait_ways(lab: Lab, mode: str) -> None:
    """Wait until every node sends to the others as this mode says."""
    rack = {node: place.rack for node, place in lab.state.nodes.items()}

    def device(node: str, other: str, family: Family) -> str:
        tunnel = mode == "Always" or (mode == "CrossSubnet" and rack[node] != rack[other])
        return DEVICES[family] if tunnel else "eth0"

    for node in lab.nodes:
        wanted = {
            f"{other} {family.key}": device(node, other, family)
            for other in lab.nodes
            for family in lab.families
            if other != node
        }
        wait_for(lambda node=node, wanted=wanted: ways(lab, node) == wanted, deadline=30, what=f"{node} goes {mode}")


def changed_under_traffic(lab: Lab, mode: str) -> None:
    """Packets pass meanwhile as before and after, each of them, and connections go on."""
    with busy(lab) as unharmed:
        unharmed(f"to {mode}", lambda: switch(lab, mode))


def test_to_a_tunnel_between_subnets(lab: Lab) -> None:
    """From a tunnel everywhere, under traffic."""
    changed_under_traffic(lab, "CrossSubnet")
    wait_large(lab, size=LARGEST)


def test_a_node_moves_to_the_other_subnet(lab: Lab) -> None:
    """By a tunnel to those that were its neighbours, straight to those that are now, and back; connections of its pods outlast it."""
    switch(lab, "CrossSubnet")
    with connected(lab) as streams:
        for rack in ("b", "a"):
            move(lab, "node2", rack)
            wait_ways(lab, "CrossSubnet")
            with router_drops_pods(lab):
                wait_large(lab, size=LARGEST)
                streams.go_on()
            facts.wait_reachable(lab)
    facts.wait_sessions(lab)
    facts.wait_healthy(lab)


def test_to_no_tunnel(lab: Lab) -> None:
    """Under traffic; its devices go once nobody sends by them, and are guarded as long as they are there."""
    changed_under_traffic(lab, "Never")
    for node in lab.nodes:
        wait_for(lambda node=node: guarded_and_gone(lab.host(node)), deadline=40, what=f"{node} has no tunnel left")
        wait_for(lambda node=node: not guarded(lab.host(node)), deadline=20, what=f"{node} guards none either")


@pytest.fixture(scope="module")
def wide(lab: Lab) -> dict[str, Pod]:
    """A pod of every node that came while there was no tunnel: their devices take as much as the nodes'."""
    found = {}
    for node in lab.nodes:
        wait_mtu(lab, node, WHOLE)
        found[node] = lab.add_pod(node)
        forgetful(lab.host(found[node].name))
    facts.wait_reachable(lab)
    return found


def test_pods_learn_what_the_way_takes(lab: Lab, wide: dict[str, Pod]) -> None:
    """Without a tunnel: the router tells pods, TCP does not stall, and once it takes more they send more again."""
    wait_learned_and_forgotten(lab.host("tor"), between(lab, wide["node1"], wide["node3"]))


def test_to_a_tunnel_everywhere(lab: Lab) -> None:
    """From none, under traffic; the router lets none of pods pass."""
    changed_under_traffic(lab, "Always")
    with router_drops_pods(lab):
        wait_large(lab, size=LARGEST)


def test_a_tunnel_over_a_way_that_takes_less(lab: Lab, wide: dict[str, Pod]) -> None:
    """Over IPv4 routers cut up what is too large for them; over IPv6 none does, and nodes have to be given the MTU of the way.

    Nodes tell pods with larger devices what fits into the tunnel; some time after it is gone they send whole packets again.
    """
    ways = between(lab, wide["node1"], wide["node3"])
    for way in ways:
        wait_learned(way, DEVICE_MTU[family_of(way[2])])
    with narrow(lab.host("tor"), everybody(lab)):
        for way in ways:
            if way[2].version == 4:
                assert carried(*way), f"{way[0].name} to {way[2]}"
        for mtu in (NARROW, WHOLE):
            for node in ("node1", "node3"):
                lab.host(node).ip("link", "set", "dev", "eth0", "mtu", str(mtu))
            for node, (family, device) in product(("node1", "node3"), DEVICES.items()):
                largest = DEVICE_MTU[family] - WHOLE + mtu
                wait_for(
                    lambda node=node, device=device, largest=largest: (  # type: ignore[misc]  # bound now
                        standing(lab.host(node)).get(device, (0, 0))[1] == largest
                    ),
                    deadline=40,
                    what=f"{device} of {node} takes {largest}",
                )
            for way in ways if mtu == NARROW else ():
                assert carried(*way), f"{way[0].name} to {way[2]}"
    switch(lab, "Never")
    for way in ways:
        wait_whole(way)


def test_a_tunnel_between_subnets_alone_over_a_way_that_takes_less(lab: Lab, wide: dict[str, Pod]) -> None:
    """Pods send whole packets to their own subnet, whatever they learn of the way to another: what fits into the tunnel there.

    When the tunnel is gone they forget that.
    """
    switch(lab, "CrossSubnet")
    within = between(lab, wide["node1"], wide["node2"])
    across = [*between(lab, wide["node1"], wide["node3"]), *between(lab, wide["node2"], wide["node3"])]
    for way in across:
        wait_learned(way, DEVICE_MTU[family_of(way[2])])
    with narrow(lab.host("tor"), everybody(lab)):
        for way in across:
            if way[2].version == 4:  # as above
                assert carried(*way), f"{way[0].name} to {way[2]}"
        for way in within:
            assert carried(*way), f"{way[0].name} to {way[2]}"
            wait_whole(way)
            assert learned(way[0], way[2]) == 0
    switch(lab, "Never")
    for way in across:
        wait_whole(way)
    switch(lab, "Always")


def wait_mtu(lab: Lab, node: str, mtu: int) -> None:
    """Wait until new pods of a node have this MTU."""
    wait_for(
        lambda: pods.conflist(lab.node_directory(node, "cni"))["plugins"][0].get("mtu") == mtu,
        deadline=60,
        what=f"pods of {node} get {mtu}",
    )


def test_tunnels_follow_the_default_route(lab: Lab) -> None:
    """By another interface that takes less: tunnels take less, and packets to the other subnet go that way; and back."""
    node = lab.host("node1")
    before = standing(node)
    with default_by_another(lab, mtu=NARROW) as side:
        smaller = {name: (one[0], one[1] - WHOLE + NARROW, *one[2:]) for name, one in before.items()}
        wait_for(lambda: standing(node) == smaller, deadline=40, what="the tunnels are smaller")
        sent = sent_by(node, side)
        for family in lab.families:
            (pod,) = (one for one in lab.pods.values() if one.name == "node3-p1")
            to = str(pod.address(family))
            wait_for(lambda to=to: fits(lab, "node1", to, size=LARGEST - 100), deadline=20, what="from the node itself")
            assert not fits(lab, "node1", to, size=LARGEST)
        facts.wait_reachable(lab)
        assert sent_by(node, side) >= sent + 2 * LARGEST - 200
    wait_for(lambda: standing(node) == before, deadline=40, what="the tunnels are as they were")
    facts.wait_reachable(lab)


def guarded(host: Host) -> bool:
    """Whether packets of strangers into tunnels are dropped."""
    return "tunnel_input" in host.run("nft", "list", "table", "inet", "towpath")


def guarded_and_gone(host: Host) -> bool:
    """Whether no tunnel is left; as long as one is, it is guarded."""
    shielded = guarded(host)
    there = standing(host) != {}
    assert shielded or not there, "a device stands that anybody may send into"
    return not there


def test_a_number_that_somebody_has_is_said_of_the_pool(lab: Lab) -> None:
    """On the node where it is taken there is no such tunnel, and the pool that goes by it says so, no other; what has it stays as it is."""
    paths = [f"{collection('IPPool')}/pods-{family.key}" for family in Family]

    def told() -> dict[str, str]:
        return {
            name: f"{one['status']} {one['reason']} {one['message']}"
            for name, pool in lab.api.items("IPPool").items()
            for one in pool.get("status", {}).get("conditions", ())
            if one["type"] == "TunnelsStand"
        }

    fine = dict.fromkeys(("pods-ipv4", "pods-ipv6"), "True NothingRefused ")
    wait_for(lambda: told() == fine, deadline=60, what="nothing is refused")
    before = of_others(lab.host("node1"))
    try:
        for path in paths:
            lab.api.patch(path, {"spec": {"vxlan": {"vni": 9, "port": 8472}}})
        words = ("False DeviceRefused spec.vxlan: ", "the VXLAN 9 on port 8472", "node1", "another vxlan.vni or port")
        wait_for(lambda: all(word in told()["pods-ipv4"] for word in words), deadline=60, what="the pool says so")
        assert told()["pods-ipv6"] == fine["pods-ipv6"]
        assert of_others(lab.host("node1")) == before
    finally:
        for path in paths:
            lab.api.patch(path, {"spec": {"vxlan": {"vni": None, "port": None}}})
    wait_for(lambda: told() == fine, deadline=90, what="nothing is refused again")
    facts.wait_reachable(lab)


def test_a_node_reaches_pods_while_a_pod_has_its_address_in_the_tunnel() -> None:
    """Pods from before the tunnel have the lowest addresses of all blocks: nodes send to pods of others as themselves, in both families.

    Nothing else that a node finds out about its addresses is other for that.
    """
    with cluster(Shape(nodes=2, rack_b=1, controllers=1), prefix=own("tpxt")) as lab:
        assert {str(pod.address(family)) for pod in lab.pods.values() for family in lab.families} == {
            str(block.network_address) for block in facts.blocks(lab)
        }

        def said(node: str) -> tuple[object, ...]:
            """Which addresses a node says that it has, and how large its subnets are."""
            status = lab.api.items("RoutingNode")[node].get("status", {})
            return status.get("ipv4Address"), status.get("ipv6Address")

        for node in lab.nodes:
            wait_for(lambda node=node: all(said(node)), deadline=30, what=f"{node} says its addresses")  # type: ignore[misc]  # bound now
        found = {node: said(node) for node in lab.nodes}
        switch(lab, "Always")
        pods_of = {pod.node: pod for pod in lab.pods.values()}
        for node, other in (("node1", "node2"), ("node2", "node1")):
            for family, address in zip(lab.families, lab.node_addresses(node), strict=True):
                to = str(pods_of[other].address(family))
                wait_for(
                    lambda node=node, to=to: fits(lab, node, to, size=LARGEST), deadline=20, what=f"{node} to {to}"
                )  # type: ignore[misc]  # bound now
                (route,) = lab.host(node).ip_json("route", "get", to)
                assert route["prefsrc"] == str(address)
            wait_mtu(lab, node, LARGEST)
            assert {name: one[1] for name, one in standing(lab.host(node)).items()} == {
                DEVICES[family]: DEVICE_MTU[family] for family in lab.families
            }
            assert said(node) == found[node]


@pytest.mark.parametrize("below", list(Family))
def test_pods_of_a_family_that_the_network_has_not(below: Family) -> None:
    """Nodes of one family carry pods of both: two tunnels at once, each with a number and a port of its own."""
    other = Family.IPV6 if below is Family.IPV4 else Family.IPV4
    shape = Shape(nodes=2, rack_b=1, families=(below,), controllers=1, pool={"vxlanMode": "Always"})
    with Lab(own("tpx"), shape) as lab, router_drops_pods(lab.up()):
        second = {"cidr": str(PODS[other]), "vxlanMode": "Always", "vxlan": {"vni": 7, "port": 8472}}
        lab.api.apply(custom("IPPool", f"pods-{other.key}", second))
        for node in lab.nodes:
            wait_for(lambda node=node: serves_both(lab, node), deadline=40, what=f"{node} serves both")
            lab.add_pod(node)
        one, two = lab.pods.values()
        largest = 1450 if below is Family.IPV4 else 1430
        for family in Family:
            to = str(two.address(family))
            wait_for(lambda to=to: fits(lab, one.name, to, size=largest), deadline=30, what=f"{one.name} to {to}")
        names = {f"tp-vx{below:d}-{number}" for number in (4096, 7)}
        links = lab.host("node1").ip_json("-d", "link", "show", "type", "vxlan")
        assert {link["ifname"]: link["linkinfo"]["info_data"]["port"] for link in links} == dict(
            zip(sorted(names), (4789, 8472), strict=True)
        )


@pytest.mark.parametrize("below", list(Family))
def test_a_node_of_one_family_sends_while_pods_have_its_addresses_in_the_tunnel(below: Family) -> None:
    """Pods from before the tunnel have the lowest addresses: of the family that the node has not it keeps another one of its block.

    It is no pod's, the node says which it is, and it goes when the pod does.
    """
    other = Family.IPV6 if below is Family.IPV4 else Family.IPV4
    shape = Shape(nodes=2, rack_b=1, families=(below,), controllers=1, pool={"vxlanMode": "Always"})
    with Lab(own("tpxo"), shape) as lab:
        lab.up()
        lab.api.apply(custom("IPPool", f"pods-{other.key}", {"cidr": str(PODS[other]), "vxlanMode": "Always"}))
        for node in lab.nodes:
            wait_for(lambda node=node: serves_both(lab, node), deadline=40, what=f"{node} serves both")  # type: ignore[misc]  # bound now
        set_mode(lab, "Never")
        lowest = {str(block.network_address) for block in facts.blocks(lab)}
        for node in lab.nodes:
            wait_for(lambda node=node: starts(lab, node) <= lowest, deadline=40, what="pods get every address")  # type: ignore[misc]  # bound now
            lab.add_pod(node)
        one, two = lab.pods.values()
        assert {str(pod.address(family)) for pod in (one, two) for family in Family} == lowest
        set_mode(lab, "Always")
        for node, pod in (("node1", two), ("node2", one)):
            for family in Family:
                to = str(pod.address(family))
                wait_for(
                    lambda node=node, to=to: fits(lab, node, to, size=LARGEST), deadline=40, what=f"{node} to {to}"
                )  # type: ignore[misc]  # bound now
        theirs = str(one.address(other))
        (route,) = lab.host("node1").ip_json("route", "get", str(two.address(other)))
        spare = route["prefsrc"]
        told = [f"a pod has {one.address(family)}" for family in Family] + [f"the node sends with {spare}"]
        wait_for(lambda: all(each in taken(lab, "node1") for each in told), deadline=40, what="what the node says")
        lab.delete_pod(one.name)
        wait_for(lambda: not taken(lab, "node1"), deadline=40, what="nothing is wrong any more")
        wait_for(
            lambda: has(lab.host("node1")) & {theirs, spare} == {theirs},
            deadline=20,
            what="the node has its own address, and not the other one",
        )


def taken(lab: Lab, node: str) -> str:
    """What a node says of its addresses in tunnels that pods have."""
    conditions = lab.api.items("NodeStatus")[node]["status"]["conditions"]
    return next((one["message"] for one in conditions if one["type"] == "TunnelAddressTaken"), "")


def has(host: Host) -> set[str]:
    """The addresses of a host."""
    return {one["local"] for link in host.ip_json("addr") for one in link["addr_info"]}


def starts(lab: Lab, node: str) -> set[str]:
    """Where the ranges begin that new pods of a node get addresses of."""
    ranges = pods.conflist(lab.node_directory(node, "cni"))["plugins"][0]["ipam"]["ranges"]
    return {one["rangeStart"] for each in ranges for one in each}


def serves_both(lab: Lab, node: str) -> bool:
    """Whether new pods of a node have an address of each family."""
    if not facts.ready(lab, node):
        return False
    ranges = pods.conflist(lab.node_directory(node, "cni"))["plugins"][0]["ipam"]["ranges"]
    return len(ranges) == 2

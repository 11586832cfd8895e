"""Pools whose nodes find each other by multicast: from nothing but a group to packets as large as they may be, and what disturbs it."""

import ast
import contextlib
import re
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.netns.path.below import default_by_another, down_and_up, readdress, sent_by
from tests.netns.path.cluster import cluster, under_probe, wait_large
from tests.netns.path.mtu import NARROW, WHOLE, between, forgetful, wait_learned, wait_whole
from towpath.lab import facts
from towpath.lab.addressing import RACKS, node_number
from towpath.lab.api import collection
from towpath.lab.netns import Host
from towpath.lab.probe import Flow
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.encapsulation import mac_of
from towpath.model.net import Family, family_of

NAME = "tp-vx4-4096"
GROUPS = {Family.IPV4: "239.1.1.1", Family.IPV6: "ff05::4096"}
ASKED = {"discovery": "Multicast", "group": GROUPS[Family.IPV4]}
SECOND = "tp-vx6-7"
THEIRS = "tp-theirs"
_DROPPED = "table bridge t {\nchain f {\ntype filter hook forward priority -200\nip6 daddr ff05::4096 drop\n}\n}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes on one segment; both families of pods by one group of IPv4. Node 1 is in another one for somebody else."""
    with cluster(Shape(nodes=3, pool={"vxlanMode": "Always", "vxlan": ASKED})) as made:
        host = made.host("node1")
        host.ip(
            *("link", "add", THEIRS, "type", "vxlan", "id", "9", "group", "239.1.1.9", "dev", "eth0"),
            *("local", str(made.node_addresses("node1")[0]), "dstport", "8472"),
        )
        host.ip("link", "set", "dev", THEIRS, "up")
        yield made


def say(lab: Lab, family: Family, **vxlan: Any) -> None:
    """The pool's VXLAN is this now."""
    lab.api.patch(f"{collection('IPPool')}/pods-{family.key}", {"spec": {"vxlan": vxlan}})


def of(lab: Lab, family: Family) -> tuple[Flow, ...]:
    """What goes from pods to pods in one family."""
    return tuple(flow for flow in facts.flows(lab, client=False) if ip_address(flow.address).version == family)


def forwarding(host: Host, device: str = NAME) -> dict[str, set[str]]:
    """Where the MACs are that a device knows, and which of that was written down (``permanent``)."""
    found: dict[str, set[str]] = {"learned": set(), "permanent": set()}
    for line in host.run("bridge", "fdb", "show", "dev", device).splitlines():
        found["permanent" if "permanent" in line else "learned"].add(line.split(" self")[0].strip())
    return found


def neighbours(host: Host, device: str = NAME) -> dict[str, str]:
    """The MAC of each neighbour that answers; ``PERMANENT`` for one that was written down."""
    found = {}
    for family in ("-4", "-6"):
        for one in host.ip_json(family, "neigh", "show", "dev", device):
            if "lladdr" in one:
                found[one["dst"]] = "PERMANENT" if "PERMANENT" in one["state"] else one["lladdr"]
    return found


def standing(host: Host, device: str = NAME) -> Any:
    """All of a device but its number."""
    with contextlib.suppress(RuntimeError, ValueError):  # gone meanwhile
        (link,) = host.ip_json("-d", "link", "show", "dev", device)
        (shown,) = host.ip_json("addr", "show", "dev", device)
        data = link["linkinfo"]["info_data"]
        kind = [
            data.get(key) for key in ("id", "group", "group6", "link", "local", "local6", "port", "learning", "ttl")
        ]
        addresses = sorted((one["local"], one["prefixlen"]) for one in shown["addr_info"])
        return (
            kind,
            link["mtu"],
            link["address"],
            "UP" in link["flags"],
            addresses,
            forwarding(host, device)["permanent"],
        )
    return None


def test_nodes_find_each_other_without_being_told(lab: Lab) -> None:
    """Nothing is written down but the group; MACs and nodes are learned, and packets pass as large as pods may send."""
    wait_large(lab, size=1450)
    for node in lab.nodes:
        host = lab.host(node)
        (kind, mtu, mac, up, _, permanent) = standing(host)
        own = str(lab.node_addresses(node)[0])
        assert kind == [4096, GROUPS[Family.IPV4], None, "eth0", own, None, 4789, True, 64]
        assert (mtu, mac, up) == (1450, mac_of(node), True)
        assert permanent == {f"00:00:00:00:00:00 dst {GROUPS[Family.IPV4]} via eth0"}
        others = {other: str(lab.node_addresses(other)[0]) for other in lab.nodes if other != node}
        assert forwarding(host)["learned"] == {f"{mac_of(other)} dst {address}" for other, address in others.items()}
        found = neighbours(host)
        assert len(found) == 4, "two others, in both families"
        assert set(found.values()) == {mac_of(other) for other in others}
        owners = facts.blocks(lab)
        for prefix, route in facts.kernel_routes(lab, node).items():
            if owners[prefix] != node:
                assert (route["dev"], route["gateway"] in found) == (NAME, True)
                if family_of(prefix) is Family.IPV4:
                    assert route["gateway"] == str(prefix.network_address)


SPOILS = {
    "device deleted": "ip link del dev DEVICE",
    "device learns nothing": "ip link set dev DEVICE type vxlan nolearning",
    "link-local address deleted": "ip -6 addr flush dev DEVICE scope link",
    "address deleted": "ip -4 addr flush dev DEVICE",
    "group forgotten": "bridge fdb del 00:00:00:00:00:00 dev DEVICE self",
    "group altered": "bridge fdb append 00:00:00:00:00:00 dev DEVICE dst 192.0.2.99 self permanent",
    "neighbour written down": "ip neigh replace GATEWAY lladdr 66:00:00:00:00:77 nud permanent dev DEVICE",
    "forwarding written down": "bridge fdb replace MAC dev DEVICE dst 192.0.2.99 self permanent",
}


@pytest.mark.parametrize("deed", list(SPOILS))
def test_what_somebody_does_to_it_is_repaired(lab: Lab, deed: str) -> None:
    """The device is as before and packets pass; what others have stays as it is."""
    host = lab.host("node1")
    before, theirs = standing(host), standing(host, THEIRS)
    gateway = next(one["gateway"] for one in facts.kernel_routes(lab, "node1").values() if one.get("dev") == NAME)
    words = SPOILS[deed].replace("DEVICE", NAME).replace("GATEWAY", gateway).replace("MAC", mac_of("node2"))
    host.run(*words.split())
    wait_for(lambda: standing(host) == before, deadline=5, what=f"repaired: {deed}")
    facts.wait_reachable(lab)
    assert "PERMANENT" not in neighbours(host).values()
    assert standing(host, THEIRS) == theirs


def test_a_network_without_multicast_is_told_of(lab: Lab) -> None:
    """A second group that the switch drops: every node names pool and field; once it passes, packets do, and nobody is told of it any more."""
    switch = lab.host("switch-a")
    switch.run("nft", "-f", "-", stdin=_DROPPED)
    say(lab, Family.IPV6, vni=7, group=GROUPS[Family.IPV6])
    for node in lab.nodes:
        wait_for(lambda node=node: standing(lab.host(node), SECOND), deadline=20, what=f"{node} has its second device")

    def told(node: str) -> str:
        return str(facts.conditions(lab, node).get("EndsNotFound", {}).get("message", ""))

    said = re.compile(rf"IPPool/pods-ipv6 spec.vxlan.group: [12] of 2 nodes do not answer in {SECOND} ")
    for node in lab.nodes:
        wait_for(lambda node=node: said.search(told(node)), deadline=90, what=f"{node} says that nobody answers")
    facts.wait_reachable(lab, of(lab, Family.IPV4))
    switch.run("nft", "delete", "table", "bridge", "t")
    facts.wait_reachable(lab)
    wait_large(lab, size=1430)
    for node in lab.nodes:
        wait_for(lambda node=node: not told(node), deadline=90, what=f"{node} says no such thing any more")


def test_one_tunnel_by_multicast_and_one_by_the_objects(lab: Lab) -> None:
    """Two at once; the second changes how its nodes find each other, and the first has no part in it."""
    before = {node: standing(lab.host(node)) for node in lab.nodes}
    say(lab, Family.IPV6, discovery="ControlPlane", group=None)
    for node in lab.nodes:
        host, others = lab.host(node), {mac_of(other) for other in lab.nodes if other != node}
        wait_for(
            lambda host=host, others=others: (
                (now := standing(host, SECOND)) is not None and {one.split()[0] for one in now[-1]} == others
            ),
            deadline=20,
            what=f"{node} is told where the others are",
        )
    facts.wait_reachable(lab)
    wait_large(lab, size=1430)
    assert {node: standing(lab.host(node)) for node in lab.nodes} == before


def test_an_interface_that_is_not_there(lab: Lab) -> None:
    """A pool that names one has no tunnel on nodes without it, and they say so; with none all is as before."""
    say(lab, Family.IPV4, device="eth7")

    for node in lab.nodes:
        said = (
            f"IPPool/pods-ipv4 spec.vxlan.device: node {node} takes no part in the VXLAN 4096:"
            " it has no interface eth7 on which to join the group 239.1.1.1"
        )
        wait_for(
            lambda node=node, said=said: facts.conditions(lab, node).get("DeviceRefused", {}).get("message") == said,
            deadline=60,
            what=f"{node} says what it lacks",
        )
    facts.wait_reachable(lab, of(lab, Family.IPV6))
    say(lab, Family.IPV4, device=None)
    facts.wait_reachable(lab)


def stand(lab: Lab, wanted: dict[str, Any], what: str, *, node: str = "node1") -> None:
    """Both tunnels of a node are like this."""
    host = lab.host(node)
    for name, one in wanted.items():
        wait_for(lambda name=name, one=one: standing(host, name) == one, deadline=30, what=f"{name} {what}")


def follows(lab: Lab, wanted: dict[str, Any], what: str) -> None:
    """They are, and packets pass."""
    stand(lab, wanted, what)
    facts.wait_reachable(lab, (*of(lab, Family.IPV4), *of(lab, Family.IPV6)), deadline=40)


def test_the_network_below_gets_smaller_and_larger(lab: Lab) -> None:
    """Both tunnels are as large as it lets them be; nodes tell pods with larger devices, and those forget it some time later."""
    before = {node: {name: standing(lab.host(node), name) for name in (NAME, SECOND)} for node in lab.nodes}
    one, other, *_ = lab.pods.values()
    forgetful(lab.host(one.name), lab.host(other.name))
    ways = between(lab, one, other)
    for mtu in (NARROW, WHOLE):
        for node in lab.nodes:
            lab.host(node).ip("link", "set", "dev", "eth0", "mtu", str(mtu))
        for node, tunnels in before.items():
            wanted = {name: (tunnel[0], tunnel[1] - WHOLE + mtu, *tunnel[2:]) for name, tunnel in tunnels.items()}
            stand(lab, wanted, f"takes what {mtu} leaves", node=node)
        for way in ways:
            largest = (1450 if family_of(way[2]) is Family.IPV4 else 1430) - WHOLE + mtu
            if mtu == NARROW:
                wait_learned(way, largest, size=largest + 1)
            wait_whole(way, size=largest)
    follows(lab, before["node1"], "are as they were")


def test_the_default_route_goes_elsewhere(lab: Lab) -> None:
    """Nodes on one segment do not need it: the tunnels stay where the nodes' addresses are, and go on following that interface."""
    host = lab.host("node1")
    before = {device: standing(host, device) for device in (NAME, SECOND)}
    with default_by_another(lab) as side:
        sent = sent_by(host, side)
        facts.wait_reachable(lab)
        assert sent_by(host, side) > sent, "what goes beyond the segment leaves by the other interface"
        host.ip("link", "set", "dev", "eth0", "mtu", str(NARROW))
        follows(lab, {name: (one[0], one[1] - WHOLE + NARROW, *one[2:]) for name, one in before.items()}, "are smaller")
        host.ip("link", "set", "dev", "eth0", "mtu", str(WHOLE))
        follows(lab, before, "are as they were")
    follows(lab, before, "are as they were")
    wait_large(lab, size=1430)


@pytest.mark.parametrize("name", ["eth0", "lan0"])
def test_the_link_below_goes_down_and_comes_back(lab: Lab, name: str) -> None:
    """By its name, or by another one: the tunnels are the same and on it."""
    before = {device: standing(lab.host("node1"), device) for device in (NAME, SECOND)}

    def deed() -> None:
        down_and_up(lab, "eth0", name)
        stand(lab, renamed(before, name), f"goes by {name}")

    result, _ = under_probe(lab, deed, watch=())
    print(f"link down, up as {name}: {result.lost} of {result.sent} lost, longest gap {result.longest_gap:.3f} s")
    follows(lab, renamed(before, name), f"goes by {name}")
    if name != "eth0":
        down_and_up(lab, name, "eth0")
    follows(lab, before, "is as it was")


def renamed(before: dict[str, Any], name: str) -> Any:
    """The same tunnels on an interface of this name."""
    return ast.literal_eval(repr(before).replace("eth0", name))


def test_the_address_below_changes(lab: Lab) -> None:
    """The tunnels have the new ones, and others send there: one learns it, the other is told."""
    host = lab.host("node1")
    before = {device: standing(host, device) for device in (NAME, SECOND)}

    def sent_to() -> dict[str, str]:
        found = {}
        for line in (*forwarding(lab.host("node2"))["learned"], *forwarding(lab.host("node2"), SECOND)["permanent"]):
            mac, _, address = line.split()[:3]
            if mac == mac_of("node1"):
                found[address] = mac
        return found

    def arrive(number: int) -> None:
        readdress(lab, number)
        addresses = {str(RACKS["a"].address(family, number)) for family in Family}
        wait_for(lambda: locals_of(host) == addresses, deadline=30, what="both tunnels are at the new addresses")
        wait_for(lambda: sent_to().keys() == addresses, deadline=60, what="node2 sends there")

    result, _ = under_probe(lab, lambda: arrive(77), watch=())
    print(f"another address: {result.lost} of {result.sent} lost, longest gap {result.longest_gap:.3f} s")
    facts.wait_reachable(lab, (*of(lab, Family.IPV4), *of(lab, Family.IPV6)), deadline=60)
    under_probe(lab, lambda: arrive(node_number(1)), watch=())
    follows(lab, before, "is as it was")


def locals_of(host: Host) -> set[str]:
    """The addresses from which both tunnels send."""
    found = set()
    for name in (NAME, SECOND):
        if (one := standing(host, name)) is not None:
            found.add(one[0][4] or one[0][5])
    return found


def test_cleanup_leaves_no_tunnel(lab: Lab) -> None:
    """Neither of ours, and all of others'; an agent that starts again makes both anew."""
    host = lab.host("node1")
    names = (NAME, SECOND)
    before, theirs = [standing(host, name) for name in names], standing(host, THEIRS)
    lab.stop("node1/agent", "node1/speaker")
    folders = [(f"--{kind}-dir", str(lab.node_directory("node1", kind))) for kind in ("run", "state")]
    host.run(sys.executable, "-m", "towpath.controller.cli", "cleanup", *(word for pair in folders for word in pair))
    assert [standing(host, name) for name in names] == [None, None]
    assert standing(host, THEIRS) == theirs
    lab.start("node1/speaker", "node1/agent")
    wait_for(lambda: [standing(host, name) for name in names] == before, deadline=30, what="the tunnels are back")
    facts.wait_reachable(lab)

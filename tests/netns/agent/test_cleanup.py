"""``towpath cleanup``, way by way: a node is as it was before towpath came, also after it was killed at any moment.

One node goes through all of it, one way after the other, and is compared with how it was at the very first.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import Struct

from tests import effort
from tests.names import in_memory, own
from tests.netns.agent import underlay
from tests.netns.agent.node import (
    BIRD_CONFIGURATION,
    BLOCKS,
    LEARNED,
    PASSWORD,
    OneNode,
    made,
    made_block,
    manifests,
    ours,
)
from towpath.ipam.plugins import NEEDED
from towpath.lab import pods
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for

ROUNDS = effort.examples(1, soak=100)
"""Of kills, each way."""
LONGEST = 2.0
"""Seconds after its start within which an agent is killed: it has started, done everything, and begun to look again."""
OTHER = ("10.244.0.64/26", "fd00:244::40/122")
"""Blocks of another node."""
SMALL = ("10.244.1.0/29", "fd00:244::80/125")
"""Blocks of the node with few addresses."""
TUNNELS = ("tp-vx4-4096", "tp-vx6-4096")
PORTS = ({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},)
BEFORE = {
    "net__ipv4__ip_forward": 0,
    "net__ipv6__conf__all__forwarding": 0,
    "net__ipv4__conf__all__accept_redirects": 0,
    "net__ipv6__conf__eth0__forwarding": 1,
    "net__ipv6__conf__eth0__accept_ra": 1,
}
"""Of a machine that somebody has hardened, and that forwards for a link alone."""
THEIRS = (
    "ip link add theirs type vxlan id 9 local 10.0.0.1 dstport 8472 nolearning",
    "ip link set theirs up",
    "ip addr add 10.99.0.1/24 dev theirs",
    "ip neigh add 10.99.0.9 lladdr 66:00:00:00:00:09 dev theirs nud permanent",
    "bridge fdb add 66:00:00:00:00:09 dev theirs dst 192.0.2.99 self permanent",
    "ip route add 10.98.0.0/16 via 10.0.0.254 proto static metric 1179",
    "ip rule add from 10.97.0.0/16 table 97 priority 97",
    "iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE",
    "iptables -t nat -N CNI-HOSTPORT-OTHER",
)
"""What others have on the node."""
VOLATILE = ("net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets")


class Way(Struct, frozen=True):
    """A way to attach pods and to reach them: what the objects say, and how one sees that the node does it."""

    stands: Callable[[OneNode], bool]
    pools: dict[str, Any] = {}
    configuration: dict[str, Any] = {}
    blocks: tuple[str, ...] = BLOCKS
    instead: tuple[dict[str, Any], ...] = ()
    """These objects in place of all that."""


def routed(one: OneNode, *devices: str) -> bool:
    """The other node's blocks are reached by these devices."""
    found = {
        route["dst"]: route["dev"]
        for family in ("-4", "-6")
        for route in one.node.ip_json(family, "route", "show", "proto", "179")
        if route.get("type") != "blackhole"
    }
    return [found.get(block) for block in OTHER] == list(devices)


def on_bridge(one: OneNode) -> bool:
    return one.plugin().get("type") == "bridge" and "10.244.1.1/29" in one.node.ip("addr")


def translates(one: OneNode) -> bool:
    return "masquerade" in one.node.run("nft", "list", "ruleset").partition("table inet towpath")[2]


WAYS = {
    "direct": Way(stands=lambda one: ours(one.node) >= {*BLOCKS, *LEARNED}),
    "host-gw": Way(
        stands=lambda one: routed(one, "eth0", "eth0"),
        configuration={"clusterRoutes": "Kubernetes", "nodeToNodeMeshEnabled": False},
    ),
    "vxlan": Way(stands=lambda one: routed(one, *TUNNELS), pools={"vxlanMode": "Always"}),
    "vxlan by multicast": Way(
        stands=lambda one: routed(one, TUNNELS[0], TUNNELS[0]),
        pools={"vxlanMode": "Always", "vxlan": {"discovery": "Multicast", "group": "239.1.1.1"}},
    ),
    "bridge": Way(stands=on_bridge, pools={"attachment": {"type": "bridge"}}, blocks=SMALL),
    "macvlan": Way(
        stands=lambda one: one.plugin().get("type") == "macvlan" and underlay.SHIM in one.node.ip("link"),
        instead=tuple(underlay.objects(type="macvlan", mode="bridge", master="eth0")),
    ),
    "natOutgoing": Way(stands=translates, pools={"natOutgoing": True}),
    "all at once": Way(
        stands=lambda one: routed(one, *TUNNELS) and on_bridge(one) and translates(one),
        pools={"vxlanMode": "Always", "attachment": {"type": "bridge"}, "natOutgoing": True},
        blocks=SMALL,
    ),
}


def objects(way: Way) -> list[dict[str, Any]]:
    """The node's objects, another node with blocks of its own, and the pools of this way."""
    if way.instead:
        return list(way.instead)

    found = [one for one in manifests() if one["kind"] != "IPAMBlock"]
    for one in found:
        if one["kind"] == "IPPool":
            one["spec"] |= way.pools
        if one["kind"] == "BGPConfiguration":
            one["spec"] |= way.configuration
    owners = {**dict.fromkeys(way.blocks, "a"), **dict.fromkeys(OTHER, "b")}
    found += [made_block(cidr, node, pool_of(cidr)) for cidr, node in owners.items()]
    bgp = {"ipv4Address": "10.0.0.2/24", "ipv6Address": "fd00::2/64"}
    return [*found, {**made("RoutingNode", "b", bgp=bgp), "status": {"tunnels": list(TUNNELS)}}]


def pool_of(cidr: str) -> str:
    return "v6" if ":" in cidr else "v4"


class Cleaned(OneNode):
    """A node on which others have something too, with what it had before towpath came."""

    def __init__(self, network: Network, root: Any) -> None:
        super().__init__(network, root)
        self.count = 0
        source, bin_dir = root / "plugins", root / "bin"
        for folder in (source, bin_dir):
            folder.mkdir()
        for name in NEEDED:
            (source / name).symlink_to(pods.PLUGINS / name)
        (bin_dir / "theirs").write_text("#!/bin/sh\n")
        self.options |= {"--cni-bin-dir": bin_dir, "--cni-plugin-source": source}
        self.node.sysctl(**BEFORE)
        for line in THEIRS:
            self.node.run(*line.split())
        wait_for(lambda: "tentative" not in self.node.ip("addr"), deadline=20, what="addresses that count")
        self.bird.start(BIRD_CONFIGURATION.format(log=root / "bird.log", password=PASSWORD, more=""))
        self.before = self.seen()

    def begin(self, way: Way) -> None:
        self.write(objects(way))
        self.speaker.start()
        self.start_agent()

    def stands(self, way: Way) -> None:
        try:
            wait_for(lambda: way.stands(self) and self.plugin(), deadline=60, what="the way stands")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.conditions()}\n{self.agent.log}\n{self.speaker.log}") from None

    def pod_comes_and_goes(self) -> None:
        """With a port of the node, so that every plugin has made what it makes."""
        self.count += 1
        host = self.node.network.host(f"p{self.count}", forwarding=False)
        pod = pods.add(self.node, host, folder=self.cni, ports=PORTS)
        pods.remove(self.node, host, folder=self.cni, container=pod.container, ports=PORTS)
        self.node.network.remove_host(host.name)

    def seen(self) -> dict[str, Any]:
        """All that somebody could have left in the kernel and on the disk."""
        places = [self.cni, self.options["--cni-bin-dir"], self.options["--state-dir"], self.run_dir]
        return kernel(self.node) | {str(place.relative_to(self.root)): files(place) for place in places}

    def is_as_before(self) -> None:
        now = self.seen()
        assert now.keys() == self.before.keys()
        for what, was in self.before.items():
            assert now[what] == was, what


def kernel(host: Host) -> dict[str, list[str]]:
    """What the kernel has that somebody put there; neighbours that it found itself come and go."""
    asked = {
        "links": ("ip", "-o", "-d", "link", "show"),
        "addresses": ("ip", "-o", "addr", "show"),
        "IPv4 routes": ("ip", "-4", "route", "show", "table", "all"),
        "IPv6 routes": ("ip", "-6", "route", "show", "table", "all"),
        "IPv4 rules": ("ip", "-4", "rule"),
        "IPv6 rules": ("ip", "-6", "rule"),
        "next hops": ("ip", "nexthop"),
        "neighbours": ("ip", "neigh", "show", "nud", "permanent"),
        "forwarding": ("bridge", "fdb", "show"),
        "packet filters": ("nft", "--stateless", "list", "ruleset"),
        "sysctls": ("sysctl", "--all", "--pattern", "^net[.]"),
    }
    found = {what: host.run(*words, check=False).splitlines() for what, words in asked.items()}
    found["sysctls"] = [line for line in found["sysctls"] if not line.startswith(VOLATILE)]
    return found


def files(place: Any) -> dict[str, str]:
    """By name: where links lead, what is in the rest; empty where there is no such folder."""
    return {
        str(path.relative_to(place)): str(path.readlink()) if path.is_symlink() else digest(path)
        for path in sorted(place.rglob("*"))
    }


def digest(path: Any) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"


@pytest.fixture(scope="module")
def node() -> Iterator[Cleaned]:
    """The node, before towpath came."""
    prefix = own("tpacl")
    with in_memory(prefix) as root, Network(prefix) as network:
        yield Cleaned(network, root)


@pytest.mark.parametrize("name", WAYS)
def test_a_node_is_as_it_was(node: Cleaned, name: str) -> None:
    """Links, addresses, rules, routes, neighbours, packet filters, sysctls and files, what CNI plugins made included."""
    node.begin(WAYS[name])
    node.stands(WAYS[name])
    node.pod_comes_and_goes()
    assert node.seen() != node.before
    node.clean_up()
    node.is_as_before()


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("name", WAYS)
def test_a_node_is_as_it_was_after_a_kill(node: Cleaned, name: str, number: int) -> None:
    """``kill -9`` at a random moment, of some after the node was told to do something else: cleanup needs no goodbye."""
    chance = effort.chance("cleanup", name, str(number))
    node.begin(WAYS[name])
    if chance.random() < 0.5:
        node.stands(WAYS[name])
        node.write(objects(WAYS[chance.choice(list(WAYS))]))
    time.sleep(chance.uniform(0, LONGEST))
    node.agent.kill()
    node.speaker.kill()
    node.clean_up()
    node.is_as_before()

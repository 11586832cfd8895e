"""A node that towpath comes to and leaves: what its kernel and disk had before, and what they have afterwards.

Shared by the tests of each kernel that ways need.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests import effort
from tests.netns.agent.node import (
    BIRD_CONFIGURATION,
    BLOCKS,
    PASSWORD,
    OneNode,
    kernel,
    made,
    made_block,
    manifests,
)
from tests.netns.agent.sites import has
from towpath.ipam.plugins import NEEDED
from towpath.lab import pods
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for
from towpath.lab.tools import towpath_ipam
from towpath.model.encapsulation import IPIP_DEVICE
from towpath.model.net import Family

ROUNDS = effort.examples(1, soak=100)
"""Of kills, each way."""
OTHER = ("10.244.0.64/26", "fd00:244::40/122")
"""Blocks of another node."""
FAR = ("10.244.2.0/26", "fd00:244::c0/122")
"""Blocks of a node in another subnet."""
TUNNELS = ("tp-vx4-4096", "tp-vx6-4096")
BESIDE = ("eth1", "eth2")
"""Further interfaces of the node, without addresses."""
PORT = 8080
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


class Way(Struct, frozen=True):
    """A way to attach pods and to reach them: what the objects say, and how one sees that the node does it."""

    stands: Callable[["Cleaned"], bool]
    pools: dict[str, Any] = {}
    families: frozenset[Family] = frozenset(Family)
    """Those whose pools say so."""
    configuration: dict[str, Any] = {}
    blocks: tuple[str, ...] = BLOCKS
    far: tuple[str, ...] = ()
    """Blocks of a node in another subnet."""
    instead: tuple[dict[str, Any], ...] = ()
    """These objects in place of all that."""
    more: tuple[dict[str, Any], ...] = ()
    """Further objects."""
    networks: tuple[str, ...] = ()
    """The networks among them that are beside pods' own."""


def objects(way: Way) -> list[dict[str, Any]]:
    """The node's objects, other nodes with blocks of their own, and the pools of this way."""
    if way.instead:
        return list(way.instead)

    found = [one for one in manifests() if one["kind"] != "IPAMBlock"]
    for one in found:
        if one["kind"] == "IPPool" and _family(one["spec"]["cidr"]) in way.families:
            one["spec"] |= way.pools
        if one["kind"] == "BGPConfiguration":
            one["spec"] |= way.configuration
    owners = {**dict.fromkeys(way.blocks, "a"), **dict.fromkeys(OTHER, "b"), **dict.fromkeys(way.far, "c")}
    found += [made_block(cidr, node, f"v{_family(cidr):d}") for cidr, node in owners.items()]
    found.append(_peer("b", ipv4Address="10.0.0.2/24", ipv6Address="fd00::2/64"))
    found += [_peer("c", ipv4Address="10.0.1.3/24", ipv6Address="fd00:1::3/64")] if way.far else []
    return [*found, *way.more]


def ports(number: int) -> tuple[dict[str, Any]]:
    """What a runtime says to plugins of a pod that has this port of its node."""
    return ({"hostPort": number, "containerPort": 80, "protocol": "tcp"},)


def beside(name: str, cidr: str, block: str, **attachment: str) -> list[dict[str, Any]]:
    """A pool that is a network beside pods' own, with a block of the node."""
    spec = {"cidr": cidr, "blockSize": int(block.rpartition("/")[2]), "attachment": {"primary": False, **attachment}}
    return [made("IPPool", name, **spec), made_block(block, "a", name)]


def _peer(name: str, **bgp: str) -> dict[str, Any]:
    return {**made("RoutingNode", name, bgp=bgp), "status": {"tunnels": [*TUNNELS, IPIP_DEVICE]}}


def _family(cidr: str) -> Family:
    return Family.IPV6 if ":" in cidr else Family.IPV4


class Cleaned(OneNode):
    """A node on which others have something too, with what it had before towpath came."""

    def __init__(self, network: Network, root: Path, *, longest: float, more: str = "") -> None:
        """``longest``: seconds after its start within which an agent is killed: it has done everything, and begun to look again.

        ``more``: routes that the router has besides.
        """
        super().__init__(network, root)
        for device in BESIDE:
            network.link(self.node, device, self.router, device)
        self.longest = longest
        self.count = 0
        source, bin_dir = root / "plugins", root / "bin"
        for folder in (source, bin_dir):
            folder.mkdir()
        for plugin in (*(pods.PLUGINS / name for name in NEEDED), towpath_ipam()):
            (source / plugin.name).symlink_to(plugin)
        (bin_dir / "theirs").write_text("#!/bin/sh\n")
        self.options |= {"--cni-bin-dir": bin_dir, "--cni-plugin-source": source}
        self.node.sysctl(**BEFORE)
        for line in THEIRS:
            self.node.run(*line.split())
        wait_for(lambda: "tentative" not in self.node.ip("addr"), deadline=20, what="addresses that count")
        self.bird.start(BIRD_CONFIGURATION.format(log=root / "bird.log", password=PASSWORD, more=more))
        self.before = self.seen()

    def routed(self, ways: Mapping[str, str]) -> bool:
        """Blocks of other nodes are reached by these devices, and no others are."""
        found = {
            route["dst"]: route["dev"]
            for family in ("-4", "-6")
            for route in self.node.ip_json(family, "route", "show", "proto", "179")
            if route.get("type") != "blackhole"
        }
        return {block: device for block, device in found.items() if block in (*OTHER, *FAR)} == ways

    def begin(self, way: Way) -> None:
        self.write(objects(way))
        self.speaker.start()
        self.start_agent()

    def stands(self, way: Way) -> None:
        try:
            wait_for(
                lambda: way.stands(self) and self.plugin() and all(has(self.networks, one) for one in way.networks),
                deadline=60,
                what="the way stands",
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.conditions()}\n{self.agent.log}\n{self.speaker.log}") from None

    def pod(self, port: int) -> tuple[Host, pods.Pod]:
        """A pod to which this port of the node leads."""
        self.count += 1
        host = self.node.network.host(f"p{self.count}", forwarding=False)
        plugins = self.options["--cni-bin-dir"]
        return host, pods.add(self.node, host, folder=self.cni, ports=ports(port), plugins=plugins)

    def pod_comes_and_goes(self, way: Way) -> None:
        """With an interface in every network besides, so that every plugin has made what it makes."""
        host, pod = self.pod(PORT)
        plugins = self.options["--cni-bin-dir"]
        more = [
            {"folder": self.networks, "network": one, "interface": f"net{number}", "container": pod.container}
            for number, one in enumerate(way.networks)
        ]
        for what in more:
            pods.add(self.node, host, plugins=plugins, **what)
        for what in more:
            pods.remove(self.node, host, plugins=plugins, **what)
        pods.remove(self.node, host, folder=self.cni, container=pod.container, ports=ports(PORT), plugins=plugins)
        self.node.network.remove_host(host.name)

    def seen(self) -> dict[str, Any]:
        """All that somebody could have left in the kernel and on the disk."""
        places = [self.cni, self.networks, *(self.options[f"--{one}-dir"] for one in ("cni-bin", "state", "run"))]
        return kernel(self.node) | {str(place.relative_to(self.root)): _files(place) for place in places}

    def comes_and_goes(self, way: Way) -> None:
        """Towpath comes, a pod too, and all is as it was afterwards; a second cleanup finds nothing to do."""
        self.begin(way)
        self.stands(way)
        self.pod_comes_and_goes(way)
        assert self.seen() != self.before
        for _ in range(2):
            self.clean_up()
            self.is_as_before()

    def is_killed(self, name: str, ways: Mapping[str, Way], *, number: int) -> None:
        """``kill -9`` at a random moment, of some after the node was told to go another of these ways; then cleanup.

        Of some the first cleanup is killed as well.
        """
        chance = effort.chance("cleanup", name, str(number))
        self.begin(ways[name])
        if chance.random() < 0.5:
            self.stands(ways[name])
            if chance.random() < 0.5:
                self.pod_comes_and_goes(ways[name])
            self.write(objects(ways[chance.choice(list(ways))]))
        time.sleep(chance.uniform(0, self.longest))
        self.are_killed()
        if chance.random() < 0.3:
            cleanup = self.process("cleanup", *self.settings()).start()
            time.sleep(chance.uniform(0, self.longest / 2))
            cleanup.kill()
        self.clean_up()
        self.is_as_before()

    def is_killed_at_work(self, way: Way) -> None:
        """The way stands, and then the programs end."""
        self.begin(way)
        self.stands(way)
        self.are_killed()

    def are_killed(self) -> None:
        """Agent and speaker."""
        self.agent.kill()
        self.speaker.kill()

    def is_as_before(self) -> None:
        """Each thing by itself, for who reads that it is not so."""
        now = self.seen()
        assert now.keys() == self.before.keys()
        for what, was in self.before.items():
            assert now[what] == was, what


def translates(one: Cleaned) -> bool:
    """Whether the node gives packets that leave the cluster its own address."""
    return "masquerade" in one.node.run("nft", "list", "ruleset").partition("table inet towpath")[2]


def _files(place: Path) -> dict[str, str]:
    """By name: where links lead, what is in the rest; empty where there is no such folder."""
    return {
        str(path.relative_to(place)): str(path.readlink()) if path.is_symlink() else _digest(path)
        for path in sorted(place.rglob("*"))
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"

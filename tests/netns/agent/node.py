"""One node from a folder of manifests: the real agent, speaker and kernel, with BIRD as its router."""

import re
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from towpath.lab import pods
from towpath.lab.api import custom
from towpath.lab.bird import Bird
from towpath.lab.netns import Host, Network
from towpath.lab.process import Process, wait_for
from towpath.model.net import block_name

PASSWORD = "canary-4711"
_TIMERS = re.compile(r" [a-z_]+_timer +[0-9.]+")
"""Of a bridge: when each runs out."""
_VOLATILE = ("net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets")
HOLD_TIME = 60
BLOCKS = ("10.244.0.0/26", "fd00:244::/122")
LEARNED = ("192.0.2.0/24", "2001:db8:1::/48")
BIRD_CONFIGURATION = """
log "{log}" all;
router id 10.0.0.254;
protocol device {{ scan time 1; }}
protocol kernel kernel4 {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel kernel6 {{ ipv6 {{ import none; export where source = RTS_BGP; }}; }}
protocol static static4 {{ ipv4; route 192.0.2.0/24 blackhole; {more} }}
protocol static static6 {{ ipv6; route 2001:db8:1::/48 blackhole; }}
template bgp node {{
  connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on;
}}
protocol bgp a4 from node {{
  local 10.0.0.254 as 65000; neighbor 10.0.0.1 as 64512; password "{password}";
  ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};
}}
protocol bgp a6 from node {{
  local fd00::254 as 65000; neighbor fd00::1 as 64512;
  ipv6 {{ import all; export where source = RTS_STATIC; next hop self; }};
}}
"""


def made(kind: str, named: str, **spec: Any) -> dict[str, Any]:
    """An object of ours."""
    return custom(kind, named, spec)


def made_block(cidr: str, node: str, pool: str) -> dict[str, Any]:
    """A block of a node."""
    return made("IPAMBlock", block_name(ip_network(cidr)), cidr=cidr, node=node, pool=pool)


def manifests() -> list[dict[str, Any]]:
    """Objects of node a."""

    timers = {"holdTime": f"{HOLD_TIME}s", "keepaliveTime": "20s", "connectRetryTime": "1s"}
    tor = {"asNumber": 65000, "importPolicy": "All"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tor", "namespace": "towpath-system"},
        "stringData": {"password": PASSWORD},
    }
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "a"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "fd00::1"}]
        },
    }
    return [
        made("BGPConfiguration", "default", asNumber=64512, timers=timers, nodeToNodeMeshEnabled=False),
        made(
            "BGPPeer", "tor4", peerIP="10.0.0.254", password={"secretKeyRef": {"name": "tor", "key": "password"}}, **tor
        ),
        made("BGPPeer", "tor6", peerIP="fd00::254", **tor),
        made("IPPool", "v4", cidr="10.244.0.0/16"),
        made("IPPool", "v6", cidr="fd00:244::/112"),
        *(made_block(cidr, "a", f"v{family}") for cidr, family in zip(BLOCKS, (4, 6), strict=True)),
        made("RoutingNode", "a", bgp={"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64"}),
        node,
        secret,
    ]


class Node:
    """Agent and speaker in a host's namespace, on a folder of manifests."""

    def __init__(self, host: Host, root: Path, objects: list[dict[str, Any]], *, name: str = "a") -> None:
        self.name = name
        self.root = root
        self.node = host
        self.program = "towpath.controller.cli"
        """The module that is run; what is changed holds for an agent that is started afterwards."""
        self.folder, self.run_dir, self.cni = root / "manifests", root / "run", root / "cni"
        self.networks = root / "networks"
        self.within: tuple[str, ...] = ()
        """What agent and speaker are run by; to be changed before they are started."""
        self.folder.mkdir()
        self.cni.mkdir()
        self.write(objects)
        self.speaker = self.process("speaker", "--run-dir", str(self.run_dir))
        self.options = {
            "--run-dir": self.run_dir,
            "--state-dir": root / "state",
            "--cni-conf-dir": self.cni,
            "--cni-bin-dir": Path("/usr/lib/cni"),
            "--cni-networks-dir": self.networks,
        }
        """Where things are on this machine; to be changed before the agent is started."""
        self.agent = self.process("agent")
        host.network.processes += [self.speaker, self.agent]

    def process(self, *arguments: str) -> Process:
        command = [*self.within, sys.executable, "-m", self.program, *arguments]
        return Process(command, log=self.root / f"{arguments[0]}.log", netns=self.node.netns)

    def write(self, objects: list[dict[str, Any]]) -> None:
        beside = self.folder / "node.new"
        beside.write_text(yaml.safe_dump_all(objects))
        beside.rename(self.folder / "node.yaml")

    def run_within(self, *words: str) -> None:
        """Agent and speaker are run by another program, which is given their command."""
        self.within = words
        self.speaker.command = self.process("speaker", "--run-dir", str(self.run_dir)).command

    def start_agent(self) -> None:
        """With the options as they are now."""
        command = self.process("agent", "--node", self.name, "--from", str(self.folder), *self.settings()).command
        self.agent.command = command
        self.agent.start()

    def settings(self) -> list[str]:
        """The options as they are now, for a command line."""
        return [str(part) for option in self.options.items() for part in option]

    def clean_up(self) -> None:
        """``towpath cleanup``, with everything stopped."""
        self.agent.stop()
        self.speaker.stop()
        self.node.run(sys.executable, "-m", "towpath.controller.cli", "cleanup", *self.settings())

    def plugin(self) -> dict[str, Any]:
        """What the first plugin of its configuration is told; empty where there is none."""
        try:
            return dict(pods.conflist(self.cni)["plugins"][0])
        except pods.NotReadyError:
            return {}

    def status(self) -> dict[str, Any]:
        path = self.folder / "status" / f"NodeStatus-{self.name}.yaml"
        return yaml.safe_load(path.read_text())["status"] if path.exists() else {}

    def conditions(self) -> dict[str, dict[str, Any]]:
        return {one["type"]: one for one in self.status().get("conditions", ())}


class OneNode(Node):
    """Node a and its router."""

    def __init__(self, network: Network, root: Path) -> None:
        host, self.router = network.host("a"), network.host("tor")
        network.link(host, "eth0", self.router, "eth0")
        host.address("10.0.0.1/24", "fd00::1/64", dev="eth0")
        self.router.address("10.0.0.254/24", "fd00::254/64", dev="eth0")
        self.bird = Bird(self.router, directory=root)
        network.processes.append(self.bird.process)
        super().__init__(host, root, manifests())

    def start(self, *, more: str = "") -> None:
        self.bird.start(BIRD_CONFIGURATION.format(log=self.root / "bird.log", password=PASSWORD, more=more))
        self.speaker.start()
        self.start_agent()

    def converged(self, *, deadline: float = 20) -> None:
        """Both blocks are at the router and both learned routes in the node's kernel."""
        try:
            wait_for(lambda: set(BLOCKS) <= announced(self.bird), deadline=deadline, what="blocks at the router")
            wait_for(lambda: set(LEARNED) <= ours(self.node), deadline=deadline, what="routes in the kernel")
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- agent\n{self.agent.log}\n--- speaker\n{self.speaker.log}") from None


def announced(bird: Bird) -> set[str]:
    return {str(prefix) for prefix in bird.routes()}


def ours(host: Host) -> set[str]:
    """Routes with our protocol number in a host's kernel."""
    found = [*host.ip_json("-4", "route", "show", "proto", "179"), *host.ip_json("-6", "route", "show", "proto", "179")]
    return {str(ip_network(one["dst"])) for one in found}


def kernel(host: Host) -> dict[str, list[str]]:
    """What the kernel has that somebody put there; neighbours and ports that it found itself come and go, and its timers run."""
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
    found["sysctls"] = [line for line in found["sysctls"] if not line.startswith(_VOLATILE)]
    found["forwarding"] = [line for line in found["forwarding"] if "permanent" in line or "static" in line]
    found["links"] = [_TIMERS.sub("", line) for line in found["links"]]
    return found

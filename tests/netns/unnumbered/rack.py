r"""A rack without an address on any link to a node: two nodes, FRR and BIRD as their routers, a client behind both.

 n1      n2          each with one interface to each router, link-local addresses alone;
 | \    / |          node addresses lie on lo, an AS each
 |  \  /  |
tor1  tor2           tor1 is FRR (``neighbor IF interface``), tor2 is BIRD (radv, waits to be dialled)
   \  /
   lan -- client
"""

import json
import shutil
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from towpath.lab import pods
from towpath.lab.bird import Bird
from towpath.lab.netns import Host, Network
from towpath.lab.probe import Flow, both_ways, unreached
from towpath.lab.process import Process, wait_for
from towpath.model.net import Address, parse_address

NODES = {"n1": 4200000001, "n2": 4200000002}
TORS = {"tor1": 65001, "tor2": 65002}
INTERFACES = {"eth0": "tor1", "eth1": "tor2"}
BLOCKS = {"n1": ("10.244.1.0/26", "fd00:244::40/122"), "n2": ("10.244.2.0/26", "fd00:244::80/122")}
_MAY = {"agent": "+net_admin,+net_raw", "speaker": "+net_bind_service"}
"""All capabilities that each has in a pod."""
MTU = 1400
LAN = ("192.0.2.0/24", "2001:db8:1::/64")
CLIENT = ("192.0.2.9", "2001:db8:1::9")
_ROUTERS = {"tor1": ("192.0.2.1/24", "2001:db8:1::1/64"), "tor2": ("192.0.2.2/24", "2001:db8:1::2/64")}
_BIRD = """
log "{log}" all;
router id 192.0.2.2;
protocol device {{ scan time 1; }}
protocol direct {{ ipv4; ipv6; interface "lan"; }}
protocol kernel kernel4 {{ merge paths on; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel kernel6 {{ merge paths on; ipv6 {{ import none; export where source = RTS_BGP; }}; }}
protocol radv {{ interface "n1", "n2" {{ max ra interval 4; default lifetime 0; }}; }}
template bgp node {{
  local as 65002; graceful restart on; connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ extended next hop on; import all; export all; next hop self; }};
  ipv6 {{ import all; export all; next hop self; }};
}}
{sessions}
"""
_FRR = """
log file {log} informational
router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart notification
{neighbours}
 address-family ipv4 unicast
  network 192.0.2.0/24
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:1::/64
{activated}
 exit-address-family
"""


def _made(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "towpath.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def manifests() -> list[dict[str, Any]]:
    """The objects of the rack."""
    timers = {"holdTime": "30s", "connectRetryTime": "1s"}
    return [
        _made("BGPConfiguration", "default", nodeToNodeMeshEnabled=False, timers=timers, unnumbered={"enabled": True}),
        *(
            _made("BGPPeer", tor, peerFrom={"interface": interface}, asNumber=TORS[tor], importPolicy="All")
            for interface, tor in INTERFACES.items()
        ),
        _made("IPPool", "v4", cidr="10.244.0.0/16"),
        _made("IPPool", "v6", cidr="fd00:244::/112"),
        *(
            _made("IPAMBlock", cidr.translate(str.maketrans(".:/", "---")), cidr=cidr, node=node, pool=pool)
            for node, blocks in BLOCKS.items()
            for cidr, pool in zip(blocks, ("v4", "v6"), strict=True)
        ),
        *(
            _made("RoutingNode", node, bgp={"asNumber": number, "ipv4Address": v4, "ipv6Address": v6})
            for (node, number), (v4, v6) in zip(NODES.items(), map(_own, NODES), strict=True)
        ),
        *(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": node},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": one.partition("/")[0]} for one in _own(node)]
                },
            }
            for node in NODES
        ),
    ]


def _own(node: str) -> tuple[str, str]:
    number = node.removeprefix("n")
    return f"10.255.0.{number}/32", f"fd00:255::{number}/128"


class Rack:
    """The rack; ``start`` brings it up. Its files lie in ``root``, on tmpfs."""

    def __init__(self, network: Network, root: Path) -> None:
        self.network = network
        self.root = root
        self.folder = root / "manifests"
        self.folder.mkdir()
        (self.folder / "rack.yaml").write_text(yaml.safe_dump_all(manifests()))
        self.tors = {name: network.host(name) for name in TORS}
        self.nodes = {name: network.host(name) for name in NODES}
        for node, host in self.nodes.items():
            host.address(*_own(node), dev="lo")
            for interface, tor in INTERFACES.items():
                network.link(host, interface, self.tors[tor], node, mtu=MTU)
        lan = network.switch("lan")
        for name, addresses in _ROUTERS.items():
            network.plug(lan, self.tors[name], "lan")
            self.tors[name].address(*addresses, dev="lan")
        self.client = network.host("client", forwarding=False)
        network.plug(lan, self.client)
        for address, prefix, gateway in zip(CLIENT, LAN, _ROUTERS["tor2"], strict=True):
            length = prefix.partition("/")[2]
            self.client.address(f"{address}/{length}", dev="eth0")
            self.client.ip("route", "add", "default", "via", gateway.partition("/")[0])
        self.speakers = {name: self._process(name, "speaker", "--run-dir", str(root / name / "run")) for name in NODES}
        self.agents = {name: self._process(name, "agent", *self._options(name)) for name in NODES}
        (root / "tor2").mkdir()
        self.bird = Bird(self.tors["tor2"], directory=root / "tor2")
        network.processes += [*self.speakers.values(), *self.agents.values(), self.bird.process]
        self.pods: dict[str, tuple[Address, ...]] = {}

    def _process(self, node: str, *arguments: str) -> Process:
        (self.root / node).mkdir(exist_ok=True)
        only = ["setpriv", f"--bounding-set=-all,{_MAY[arguments[0]]}", "--inh-caps=-all"]
        command = [*only, sys.executable, "-m", "towpath.controller.cli", *arguments]
        return Process(command, log=self.root / node / f"{arguments[0]}.log", netns=self.nodes[node].netns)

    def _options(self, node: str) -> list[str]:
        home = self.root / node
        (home / "cni").mkdir(exist_ok=True)
        folders = {"run-dir": "run", "state-dir": "state", "cni-conf-dir": "cni"}
        places = [part for flag, name in folders.items() for part in (f"--{flag}", str(home / name))]
        return ["--node", node, "--from", str(self.folder), *places, "--cni-bin-dir", "/usr/lib/cni"]

    def start(self) -> None:
        """Routers first, then the nodes; pods once the nodes are ready for them."""
        self.start_frr()
        sessions = "\n".join(
            f'protocol bgp {node} from node {{ neighbor range fe80::/10 as {number}; interface "{node}"; '
            f'dynamic name "{node}_"; }}'
            for node, number in NODES.items()
        )
        self.bird.start(_BIRD.format(log=self.bird.log, sessions=sessions))
        for process in (*self.speakers.values(), *self.agents.values()):
            process.start()
        self.converged()
        for node, host in self.nodes.items():
            pod = self.network.host(f"{node}-pod", forwarding=False)
            wait_for(lambda node=node: self._ready(node), deadline=20, what=f"{node} is ready for pods")
            made = pods.add(host, pod, folder=self.root / node / "cni")
            self.pods[pod.name] = tuple(parse_address(one.partition("/")[0]) for one in made.addresses)

    def _ready(self, node: str) -> bool:
        try:
            return bool(pods.conflist(self.root / node / "cni"))
        except pods.NotReadyError:
            return False

    def start_frr(self) -> None:
        """zebra and bgpd of tor1."""
        folder = self.root / "tor1"
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, "frr", "frr")
        (folder / "zebra.conf").write_text("hostname tor1\n")
        neighbours = "\n".join(
            f" neighbor {node} interface remote-as {number}\n neighbor {node} timers connect 1"
            for node, number in NODES.items()
        )
        activated = "\n".join(f"  neighbor {node} activate" for node in NODES)
        (folder / "bgpd.conf").write_text(
            _FRR.format(log=folder / "bgpd.log", neighbours=neighbours, activated=activated)
        )
        common = [
            "-u",
            "frr",
            "-g",
            "frr",
            "--vty_socket",
            str(folder),
            "-z",
            str(folder / "zserv.api"),
            "-A",
            "127.0.0.1",
        ]
        for daemon in ("zebra", "bgpd"):
            self.tors["tor1"].process(
                *(f"/usr/lib/frr/{daemon}", *common, "-i", str(folder / f"{daemon}.pid")),
                *("-f", str(folder / f"{daemon}.conf")),
                log=folder / f"{daemon}.out",
            )
            wait_for((folder / f"{daemon}.vty").exists, deadline=20, what=f"{daemon} answers")

    def vtysh(self, command: str) -> Any:
        """What tor1 answers, as JSON."""
        text = self.tors["tor1"].run("vtysh", "--vty_socket", str(self.root / "tor1"), "-c", command, check=False)
        return json.loads(text) if text.startswith("{") else {}

    def converged(self, *, deadline: float = 40) -> None:
        """Every node has both ways to the other's blocks and the client's net, and every router all blocks."""
        try:
            wait_for(lambda: not self.lacking(), deadline=deadline, what="the rack has converged", interval=0.1)
        except AssertionError as error:
            logs = "\n".join(
                f"--- {one.log_path}\n{one.log}" for one in (*self.agents.values(), *self.speakers.values())
            )
            raise AssertionError(f"{error}: {self.lacking()}\n{logs}") from None

    def lacking(self, *, tors: tuple[str, ...] = tuple(TORS)) -> list[str]:
        """What is missing while these routers are there."""
        missing: list[str] = []
        for node, host in self.nodes.items():
            found = ways(host, protocol="179")
            others = [cidr for other, blocks in BLOCKS.items() if other != node for cidr in blocks]
            wanted = {interface for interface, tor in INTERFACES.items() if tor in tors}
            missing += [
                f"{node} to {cidr}: {found.get(cidr)}" for cidr in (*others, *LAN) if found.get(cidr, set()) != wanted
            ]
        for tor in tors:
            found = ways(self.tors[tor], protocol="bgp" if tor == "tor1" else "bird")
            missing += [
                f"{tor} to {cidr}: {found.get(cidr)}"
                for node, blocks in BLOCKS.items()
                for cidr in blocks
                if node not in found.get(cidr, set())
            ]
        return missing

    def flows(self) -> tuple[Flow, ...]:
        """Every pod and the client to every other, in both families."""
        client = tuple(map(parse_address, CLIENT))
        return both_ways([*self.pods.items(), ("client", client)])

    def reachable(self, *, deadline: float = 20) -> None:
        """A packet arrives on every flow."""
        wait_for(lambda: not unreached(self.network, self.flows()), deadline=deadline, what="all are reachable")

    def status(self, node: str) -> dict[str, Any]:
        path = self.folder / "status" / f"NodeStatus-{node}.yaml"
        found: dict[str, Any] = yaml.safe_load(path.read_text())["status"] if path.exists() else {}
        return found


def ways(host: Host, *, protocol: str) -> dict[str, set[str]]:
    """The devices of each route of a protocol, in both families."""
    found: dict[str, set[str]] = {}
    for family in (4, 6):
        for route in host.ip_json(f"-{family}", "route", "show", "proto", protocol):
            hops = route.get("nexthops") or [route]
            prefix = str(ip_network(route["dst"])) if route["dst"] != "default" else "default"
            found.setdefault(prefix, set()).update(one["dev"] for one in hops if "dev" in one)
    return found

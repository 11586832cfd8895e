"""The node of the interop suite: real agent, speaker and kernel, from a folder of manifests, with a router in a namespace.

Session ``k`` is between ``10.9.k.1`` on the node and ``10.9.k.2`` on the router, or ``fd09:k::1`` and ``fd09:k::2``: to both
ends the addresses say which of the many it is. A third host is BIRD: an internal peer of the node, to which the node
reflects everything as it holds it, and a peer outside of the router.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from string import Template
from typing import Any

import yaml

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.lab.process import Process, wait_for
from towpath.lab.routers.bird import BirdRouter
from towpath.lab.routers.router import HeldPath, Router
from towpath.lab.shape import ROOT
from towpath.model.net import Prefix

HERE = Path(__file__).parent
PASSWORD = "canary-rX81"
SESSIONS = range(1, 13)
"""The numbers of the sessions with the router."""
OWN4, OWN6 = ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")
"""Blocks of the node, announced on every session."""
KEPT4, KEPT6 = ip_network("10.244.128.0/26"), ip_network("fd00:244::80/122")
"""Blocks that the router is told on one session each: where several tell the same, the router's choice moves as they come back."""
MORE = tuple(ip_network(f"10.244.{number}.0/26") for number in range(1, 5))
"""Further ones: more than one router allows; FRR sees the limit passed at the second too many."""
MARKED, PREFERRED = ip_network("203.0.113.0/26"), ip_network("203.0.113.64/26")
MARKED6 = ip_network("2001:db8:1::/48")
"""What the router originates."""
UNNUMBERED = ip_network("203.0.113.32/27")
"""What it tells over the link without addresses."""
UPSTREAM = ip_network("192.0.2.0/24")
"""What the router learns from the third host."""
REFLECTED = ip_network("198.51.100.0/26")
"""What the third host tells the node, which reflects it to the router."""
THEIRS = ip_network("198.51.100.64/26")
"""What the third host tells the router, which reflects it to the node."""
CLIENT = """
log "{folder}/bird.log" all;
router id 10.9.0.3;
protocol device {{ }}
protocol static s4 {{ ipv4; route 192.0.2.0/24 blackhole; route 198.51.100.0/26 blackhole; route 198.51.100.64/26 blackhole; }}
template bgp session {{
  connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on;
}}
protocol bgp node4 from session {{
  local 10.9.20.3 as 64512; neighbor 10.9.20.1 as 64512;
  ipv4 {{ import all; export where net = 198.51.100.0/26; next hop self; }};
}}
protocol bgp node6 from session {{
  local fd09:20::3 as 64512; neighbor fd09:20::1 as 64512;
  ipv6 {{ import all; export none; }};
}}
protocol bgp inside from session {{
  local 10.9.12.3 as 65000; neighbor 10.9.12.2 as 65000;
  ipv4 {{ import none; export where net = 198.51.100.64/26; next hop self; }};
}}
protocol bgp upstream from session {{
  local 10.9.20.3 as 65001; neighbor 10.9.20.2 as 65000;
  ipv4 {{ import none; export where net = 192.0.2.0/24; }};
}}
"""


def made(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """An object of ours."""
    return {"apiVersion": "towpath.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _block(prefix: Prefix) -> dict[str, Any]:
    name = str(prefix).translate(str.maketrans(".:/", "---"))
    return made("IPAMBlock", name, cidr=str(prefix), node="a", pool=f"v{prefix.version}")


def _operations(*, internal: bool) -> list[dict[str, Any]]:
    if internal:
        return [{"setLocalPref": {"value": 300}}]
    return [
        {"addCommunity": {"value": "64512:7"}},
        {"addCommunity": {"value": "64512:1:2"}},
        {"prependASPath": {"prefix": [64512, 64512]}},
        {"setMED": {"value": 77}},
    ]


def manifests(
    *, more: tuple[Prefix, ...] = (), leaving: bool = False, **changes: dict[str, Any]
) -> list[dict[str, Any]]:
    """The node's objects. ``changes``: fields of the peer of that name."""
    router = {"asNumber": 65000, "importPolicy": "All", "sourceAddress": "None", "filters": ["usual"]}
    timers = {"holdTime": "90s", "connectRetryTime": "1s"}
    accept = {"action": "Accept"}
    pools = {4: {"cidr": "10.244.0.0/16", "matchOperator": "In"}, 6: {"cidr": "fd00:244::/112", "matchOperator": "In"}}
    kept = {
        family: {"action": "Reject", "cidr": str(one), "matchOperator": "Equal"}
        for family, one in ((4, KEPT4), (6, KEPT6))
    }
    learned = {**accept, "source": "RemotePeers"}
    client = {"asNumber": 64512, "importPolicy": "All", "sourceAddress": "None", "advertise": "All", "filters": ["all"]}
    peers: dict[str, dict[str, Any]] = {
        "four": {"peerIP": "10.9.1.2", "filters": ["marks"]},
        "six": {"peerIP": "fd09:2::2", "filters": ["marks"]},
        "internal": {"peerIP": "10.9.3.2", "localASNumber": 65000, "advertise": "All", "filters": ["prefers"]},
        "signed": {"peerIP": "10.9.4.2", "password": {"secretKeyRef": {"name": "tor", "key": "password"}}},
        "near": {"peerIP": "10.9.5.2", "ttlSecurity": 1},
        "limited": {"peerIP": "10.9.6.2", "maxPrefixes": {"limit": 1}},
        "large": {"peerIP": "10.9.7.2", "localASNumber": 4200000001},
        "both": {"peerIP": "10.9.8.2", "addressFamilies": ["ipv4", "ipv6"]},
        "customer": {"peerIP": "10.9.9.2", "role": "Customer", "strictRole": True},
    }
    return [
        made(
            "BGPConfiguration",
            "default",
            asNumber=64512,
            timers=timers,
            nodeToNodeMeshEnabled=False,
            unnumbered={"enabled": True},
            shutdown=leaving,
        ),
        *(made("BGPPeer", name, **{**router, **spec, **changes.get(name, {})}) for name, spec in peers.items()),
        made("BGPPeer", "link", **{**router, "peerFrom": {"interface": "eth1"}, "ttlSecurity": 1}),
        made("BGPPeer", "client4", peerIP="10.9.20.3", **client),
        made("BGPPeer", "client6", peerIP="fd09:20::3", **client),
        made(
            "BGPFilter",
            "marks",
            exportV4=[{**accept, **pools[4], "operations": _operations(internal=False)}],
            exportV6=[{**accept, **pools[6], "operations": _operations(internal=False)}],
        ),
        made(
            "BGPFilter",
            "prefers",
            exportV4=[
                kept[4],
                {**accept, **pools[4], "operations": _operations(internal=True)},
                {**learned, "cidr": str(REFLECTED), "matchOperator": "Equal"},
            ],
        ),
        made("BGPFilter", "usual", exportV4=[kept[4]], exportV6=[kept[6]]),
        made("BGPFilter", "all", exportV4=[learned], exportV6=[learned]),
        made("IPPool", "v4", cidr="10.244.0.0/16"),
        made("IPPool", "v6", cidr="fd00:244::/112"),
        *map(_block, (OWN4, OWN6, KEPT4, KEPT6, *more)),
        made(
            "RoutingNode",
            "a",
            bgp={
                "ipv4Address": "10.9.20.1/24",
                "ipv6Address": "fd09:20::1/64",
                "routeReflectorClusterID": "10.9.8.8",
                "routerID": "10.9.0.1",
            },
        ),
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "a", "annotations": {"towpath.io/route-reflector-cluster-id": "10.9.8.8"}},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": "10.9.20.1"},
                    {"type": "InternalIP", "address": "fd09:20::1"},
                ]
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "tor", "namespace": "towpath-system"},
            "stringData": {"password": PASSWORD},
        },
    ]


class Node:
    """Agent and speaker in a namespace."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host = host
        self.folder = root / "manifests"
        self.folder.mkdir(parents=True)
        self.write(manifests())
        run = str(root / "run")
        self.speaker = self._process(root, "speaker", "--run-dir", run)
        places = ("--run-dir", run, "--state-dir", str(root / "state"))
        self.agent = self._process(root, "agent", "--node", "a", "--from", str(self.folder), *places)
        host.network.processes += [self.speaker, self.agent]

    def _process(self, root: Path, *arguments: str) -> Process:
        command = (sys.executable, "-m", "towpath.controller.cli", *arguments)
        return Process(command, log=root / f"{arguments[0]}.log", netns=self.host.netns)

    def write(self, objects: list[dict[str, Any]]) -> None:
        """New objects; the agent sees them by itself."""
        beside = self.folder / "node.new"
        beside.write_text(yaml.safe_dump_all(objects))
        beside.rename(self.folder / "node.yaml")

    def start(self) -> None:
        """Both processes."""
        self.speaker.start()
        self.agent.start()

    def kernel(self) -> set[Prefix]:
        """Routes of ours in the kernel."""
        found = (self.host.ip_json(f"-{family}", "route", "show", "proto", "179") for family in (4, 6))
        return {ip_network(route["dst"]) for routes in found for route in routes}

    def said(self, event: str, peer: str) -> list[str]:
        """The lines of the speaker's log with an event of the session with a peer's address."""
        name = re.escape(peer.replace(".", "-").replace(":", "-"))
        return re.findall(rf"session\.{event} .*?session=\S*-{name} .*", self.speaker.log)

    def losses(self, peer: str) -> list[str]:
        """Ends of sessions."""
        return self.said("lost", peer)

    def up(self, peer: str) -> int:
        """How many sessions with a peer have come up, so far."""
        return len(self.said("established", peer))


class Bench:
    """Node, router and third host on one Ethernet segment, all started."""

    def __init__(self, network: Network, root: Path, make: type[Router], configuration: str) -> None:
        self.root = root
        switch = network.switch("sw")
        hosts = {name: network.host(name) for name in ("a", "tor", "c")}
        for number, host in enumerate(hosts.values(), 1):
            network.plug(switch, host)
            numbers = (11, 12, 20) if host.name == "c" else (*SESSIONS, 20)
            host.address(
                *(f"10.9.{k}.{number}/24" for k in numbers), *(f"fd09:{k}::{number}/64" for k in numbers), dev="eth0"
            )
        self._cable(network, hosts["a"], hosts["tor"])
        self.node = Node(hosts["a"], root / "a")
        self.router = make(hosts["tor"], directory=root / "tor")
        self.client = BirdRouter(hosts["c"], directory=root / "c")
        self.client.start(CLIENT.format(folder=self.client.directory))
        self.router.start(
            Template((HERE / "routers" / configuration).read_text()).substitute(
                folder=self.router.directory, password=PASSWORD
            )
        )

    @staticmethod
    def _cable(network: Network, node: Host, tor: Host) -> None:
        """A link of its own, whose ends have nothing but fe80::1 and fe80::2.

        Its name matters: OpenBGPD 7.7 prints ``fe80::1%link0`` by a format in which ``%li`` takes an argument, and dies.
        """
        network.link(node, "eth1", tor, "eth1")
        for number, host in enumerate((node, tor), 1):
            host.ip("addr", "flush", "dev", "eth1")
            host.address(f"fe80::{number}/64", dev="eth1")

    def close(self) -> None:
        """End the routers, which have files elsewhere than in the network."""
        self.router.remove()
        self.client.remove()

    def told(self, prefix: Prefix) -> HeldPath:
        """What the node holds of a prefix, as its internal peer was told."""
        return self.client.wait_path(prefix)

    def from_session(self, prefix: Prefix, next_hop: str) -> HeldPath | None:
        """The path of a prefix that the router has from one of the node's addresses."""
        found = (path for path in self.router.paths(prefix) if str(path.next_hop) == next_hop)
        return next(found, None)

    def held(self, prefix: Prefix, next_hop: str) -> HeldPath:
        """The same, waited for."""
        return wait_for(
            lambda: self.from_session(prefix, next_hop), deadline=20, what=f"{prefix} from {next_hop}", interval=0.1
        )


@contextmanager
def bench(make: type[Router], configuration: str) -> Iterator[Bench]:
    """A bench for a make of router, gone afterwards."""
    prefix = own("tpio")
    root = ROOT / prefix
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    try:
        with Network(prefix) as network:
            made_ = Bench(network, root, make, configuration)
            try:
                made_.node.start()
                yield made_
            finally:
                made_.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)

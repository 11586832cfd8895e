"""TCP throughput and round-trip time from pod to pod, against the same path made by hand, and against one bare veth pair.

The three are there at the same time and measured in turn, so that whatever else the machine does hits them alike.
"""

import contextlib
import json
import os
import re
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from towpath.lab import facts
from towpath.lab.addressing import RACK_A, TOR
from towpath.lab.bench.result import Result, compared
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.net import Family

ROUNDS = 7
SECONDS = 2
PINGS = 1000
STREAMS = (1, 8)
_PORT = "5201"


class Ends(Struct, frozen=True):
    """Two hosts, and an address of the second one."""

    source: Host
    target: Host
    address: str


class Way(Struct, frozen=True):
    """How packets go between the pods of two nodes."""

    name: str
    asked: Mapping[str, Any]
    """What of the lab's shape asks for it."""
    by_hand: Callable[[Host, int, int], None] | None
    """Lead what is for another node's pods to it: the node, its number and the other's; None: pods are on the nodes' network."""
    attach: Callable[[Host, Host, int], str]
    """Attach a pod to the node with a number: its address."""
    mtu: int = 1500
    """Of the pods."""


def paths() -> Iterator[Result]:
    """Each way, IPv4: medians of rates in Gbit/s (a higher ratio is better) and of round trips in µs (a lower one is)."""
    for way in WAYS:
        yield from _measured(way)


def _measured(way: Way) -> Iterator[Result]:
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="towpath-bench-")))
        networks = [stack.enter_context(Network(f"tp{what}{os.getpid()}")) for what in ("bare", "hand")]
        shape = Shape(nodes=2, controllers=1, families=(Family.IPV4,), **way.asked)
        lab = stack.enter_context(Lab(f"tpours{os.getpid()}", shape))
        contenders = {
            "one veth pair": _bare(networks[0]),
            "the same by hand": _by_hand(networks[1], way),
            "": _ours(lab, routed=way.by_hand is not None),
        }
        found: dict[tuple[str, str, str], list[float]] = {}
        for _ in range(ROUNDS):
            for against, ends in contenders.items():
                for what, unit, value in _figures(ends, scratch):
                    found.setdefault((what, unit, against), []).append(value)
    medians = {key: statistics.median(values) for key, values in found.items()}
    for (what, unit, against), theirs in medians.items():
        if against:
            ours = medians[what, unit, ""]
            yield compared(f"{way.name}, {what}", against=against, ours=ours, theirs=theirs, unit=unit)


# -- what is measured -------------------------------------------------------------------------------------------------------


def _figures(ends: Ends, scratch: Path) -> Iterator[tuple[str, str, float]]:
    for streams in STREAMS:
        yield f"TCP, {streams} stream{'s' * (streams > 1)}", "Gbit/s", _rate(ends, streams, log=scratch / "iperf3.log")
    trips = statistics.quantiles(_round_trips(ends), n=100)
    for percent in (50, 99):
        yield f"round trip p{percent}", "µs", trips[percent - 1]


def _rate(ends: Ends, streams: int, *, log: Path) -> float:
    """What arrives, in Gbit/s."""
    serving = ends.target.process("iperf3", "-s", "-1", "-p", _PORT, log=log)
    wait_for(
        lambda: ends.target.run("ss", "-Htln", "sport", "=", f":{_PORT}") != "",
        deadline=10,
        what="iperf3 listens",
        interval=0.005,
    )
    options = ("-p", _PORT, "-P", str(streams), "-t", str(SECONDS), "-J")
    said = json.loads(ends.source.run("iperf3", "-c", ends.address, *options))
    wait_for(lambda: not serving.running, deadline=10, what="iperf3 has ended", interval=0.005)
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9


def _round_trips(ends: Ends) -> list[float]:
    """Each ping's, in µs."""
    said = ends.source.run("ping", "-n", "-i", "0.001", "-c", str(PINGS), ends.address)
    return [1000 * float(one) for one in re.findall(r" time=([0-9.]+) ms", said)]


# -- the contenders ---------------------------------------------------------------------------------------------------------


def _bare(network: Network) -> Ends:
    one, other = network.host("one"), network.host("other")
    network.link(one, "eth0", other, "eth0")
    one.address("192.0.2.1/24", dev="eth0")
    other.address("192.0.2.2/24", dev="eth0")
    return Ends(one, other, "192.0.2.2")


_KUBE_PROXY = """table ip kube-proxy {
  chain out {
    type nat hook postrouting priority 100
    meta mark 0x4000 masquerade
  }
}
"""
"""What every node has: with address translation the kernel tracks connections, ours beside it or not."""


def _by_hand(network: Network, way: Way) -> Ends:
    """Two nodes on a switch with a pod each, as the plugin attaches them."""
    switch = network.switch("switch")
    pods = []
    address = ""
    for number, other in ((1, 2), (2, 1)):
        node, pod = network.host(f"node{number}"), network.host(f"pod{number}")
        network.plug(switch, node)
        node.address(f"192.0.2.{number}/24", dev="eth0")
        address = way.attach(node, pod, number)
        pod.ip("link", "set", "dev", "eth0", "mtu", str(way.mtu))
        node.run("nft", "-f", "-", stdin=_KUBE_PROXY)
        if way.by_hand is not None:
            way.by_hand(node, number, other)
        pods.append(pod)
    return Ends(pods[0], pods[1], address)


def _ours(lab: Lab, *, routed: bool) -> Ends:
    lab.up()
    if routed:
        facts.wait_converged(lab)
    facts.wait_ready(lab)
    one, other = (lab.add_pod(node) for node in lab.nodes)
    facts.wait_reachable(lab)
    return Ends(lab.host(one.name), lab.host(other.name), str(other.address(Family.IPV4)))


def _cable(node: Host, pod: Host, number: int) -> str:
    """A cable of its own."""
    node.network.link(node, "pod", pod, "eth0")
    node.address("10.20.0.1/32", dev="pod")
    pod.address(f"10.20.{number}.2/32", dev="eth0")
    pod.ip("route", "add", "10.20.0.1", "dev", "eth0")
    pod.ip("route", "add", "default", "via", "10.20.0.1")
    node.ip("route", "add", f"10.20.{number}.2", "dev", "pod")
    return f"10.20.{number}.2"


def _bridge(node: Host, pod: Host, number: int) -> str:
    """A port of a bridge that has the node's address."""
    node.network.link(node, "pod", pod, "eth0")
    node.ip("link", "add", "br0", "type", "bridge")
    node.ip("link", "set", "dev", "pod", "master", "br0")
    node.ip("link", "set", "dev", "br0", "up")
    node.address(f"10.20.{number}.1/24", dev="br0")
    pod.address(f"10.20.{number}.2/24", dev="eth0")
    pod.ip("route", "add", "default", "via", f"10.20.{number}.1")
    return f"10.20.{number}.2"


def _macvlan(node: Host, pod: Host, number: int) -> str:
    """On the nodes' network."""
    node.ip("link", "add", "link", "eth0", "name", "pod", "type", "macvlan", "mode", "bridge")
    node.ip("link", "set", "dev", "pod", "netns", pod.netns)
    pod.ip("link", "set", "dev", "pod", "name", "eth0")
    pod.ip("link", "set", "dev", "eth0", "up")
    pod.address(f"192.0.2.{100 + number}/24", dev="eth0")
    return f"192.0.2.{100 + number}"


def _direct(node: Host, _number: int, other: int) -> None:
    node.ip("route", "add", f"10.20.{other}.0/24", "via", f"192.0.2.{other}")


def _vxlan(node: Host, number: int, other: int) -> None:
    macs = {one: f"66:00:00:00:00:0{one}" for one in (number, other)}
    options = ("id", "4096", "local", f"192.0.2.{number}", "dstport", "4789", "nolearning")
    node.ip("link", "add", "vx", "type", "vxlan", *options)
    node.ip("link", "set", "dev", "vx", "address", macs[number], "mtu", "1450", "up")
    node.run("ethtool", "-K", "vx", "tx-checksum-ip-generic", "off")
    node.address(f"10.20.{number}.0/32", dev="vx")
    node.ip("neigh", "add", f"10.20.{other}.0", "lladdr", macs[other], "dev", "vx", "nud", "permanent")
    node.run("bridge", "fdb", "add", macs[other], "dev", "vx", "dst", f"192.0.2.{other}", "self", "permanent")
    node.ip("route", "add", f"10.20.{other}.0/24", "via", f"10.20.{other}.0", "dev", "vx", "onlink")


_UNDERLAY = {
    "cidr": "192.0.2.128/25",
    "blockSize": 28,
    "attachment": {
        "type": "macvlan",
        "master": "eth0",
        "mode": "bridge",
        "gateway": str(RACK_A.address(Family.IPV4, TOR)),
    },
}
WAYS = (
    Way("BGP, direct", {}, _direct, _cable),
    Way("VXLAN", {"pool": {"vxlanMode": "Always"}}, _vxlan, _cable, mtu=1450),
    Way("BGP, pods on a bridge", {"pool": {"attachment": {"type": "bridge"}}}, _direct, _bridge),
    Way("macvlan", {"pools": {Family.IPV4.key: _UNDERLAY}}, None, _macvlan),
)
"""In the order in which they are measured."""

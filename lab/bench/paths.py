"""TCP throughput and round-trip time from pod to pod, against the same path made by hand, and against one bare veth pair.

The three are there at the same time and measured in turn, so that whatever else the machine does hits them alike. Paths with devices that
this kernel lacks are measured in user-mode Linux, all three of each.
"""

import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from towpath.lab import facts
from towpath.lab.bench.result import Result, compared
from towpath.lab.bench.ways import FAR, WAYS, Way
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for
from towpath.lab.tools import user_mode_linux
from towpath.lab.topology import Lab
from towpath.lab.uml.machine import boot
from towpath.model.net import Family
from towpath.routes.machine import knows_kind

STREAMS = (1, 8)
_PORT = "5201"
_LIMIT = 3600.0
"""Seconds for what is measured in another kernel."""


class Effort(Struct, frozen=True):
    """How often, how long, and with how many pings one round measures."""

    rounds: int = 7
    seconds: int = 1
    pings: int = 1000


FEW = Effort(rounds=3, seconds=1, pings=200)
"""User-mode Linux scatters by a quarter, and has one processor."""


class Ends(Struct, frozen=True):
    """Two hosts, and an address of the second one."""

    source: Host
    target: Host
    address: str


def paths() -> Iterator[Result]:
    """Each way, IPv4: medians of rates in Gbit/s (a higher ratio is better) and of round trips in µs (a lower one is)."""
    lacking = [way for way in WAYS if way.kind and not knows_kind(way.kind)]
    for way in WAYS:
        if way not in lacking:
            yield from measured(way, Effort())
    if lacking:
        yield from _in_another_kernel(lacking)


def _in_another_kernel(ways: Sequence[Way]) -> Iterator[Result]:
    said = bytearray()
    names = [way.name for way in ways]
    code = boot(
        user_mode_linux(),
        *(sys.executable, "-m", "towpath.lab.bench.paths", *names),
        folder=Path.cwd(),
        show=said.extend,
        deadline=_LIMIT,
    )
    if code:
        raise RuntimeError(f"in user-mode Linux: exit {code}\n{said.decode(errors='replace')}")
    for line in said.splitlines():
        found = msgspec.json.decode(line, type=Result)
        yield msgspec.structs.replace(found, name=f"{found.name}, in user-mode Linux")


def measured(way: Way, effort: Effort) -> Iterator[Result]:
    """One way: ours against the same by hand and against a veth pair."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="towpath-bench-")))
        networks = [stack.enter_context(Network(f"tp{what}{os.getpid()}")) for what in ("bare", "hand")]
        lab = stack.enter_context(Lab(f"tpours{os.getpid()}", way.shape))
        contenders = {
            "one veth pair": _bare(networks[0]),
            "the same by hand": by_hand(networks[1], way),
            "": ours(lab, routed=way.lead is not None),
        }
        found: dict[tuple[str, str, str], list[float]] = {}
        for _ in range(effort.rounds):
            for against, ends in contenders.items():
                for what, unit, value in _figures(ends, effort, scratch):
                    found.setdefault((what, unit, against), []).append(value)
    medians = {key: statistics.median(values) for key, values in found.items()}
    for (what, unit, against), theirs in medians.items():
        if against:
            mine = medians[what, unit, ""]
            yield compared(f"{way.name}, {what}", against=against, ours=mine, theirs=theirs, unit=unit)


# -- what is measured -------------------------------------------------------------------------------------------------------


def _figures(ends: Ends, effort: Effort, scratch: Path) -> Iterator[tuple[str, str, float]]:
    for streams in STREAMS:
        gained = rate(ends, streams, seconds=effort.seconds, log=scratch / "iperf3.log")
        yield f"TCP, {streams} stream{'s' * (streams > 1)}", "Gbit/s", gained
    trips = statistics.quantiles(_round_trips(ends, effort.pings), n=100)
    for percent in (50, 99):
        yield f"round trip p{percent}", "µs", trips[percent - 1]


def rate(ends: Ends, streams: int, *, seconds: int, log: Path) -> float:
    """What arrives, in Gbit/s."""
    serving = ends.target.process("iperf3", "-s", "-1", "-p", _PORT, log=log)
    wait_for(
        lambda: ends.target.run("ss", "-Htln", "sport", "=", f":{_PORT}") != "",
        deadline=10,
        what="iperf3 listens",
        interval=0.005,
    )
    options = ("-p", _PORT, "-P", str(streams), "-t", str(seconds), "-J")
    said = json.loads(ends.source.run("iperf3", "-c", ends.address, *options))
    wait_for(lambda: not serving.running, deadline=10, what="iperf3 has ended", interval=0.005)
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9


def _round_trips(ends: Ends, pings: int) -> list[float]:
    """Each ping's, in µs."""
    said = ends.source.run("ping", "-n", "-i", "0.001", "-c", str(pings), ends.address)
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


def by_hand(network: Network, way: Way) -> Ends:
    """Two nodes on a switch, or on one each with a router between them, with a pod each as the plugin attaches them."""
    far = way.places == FAR
    switches = [network.switch("switch1")]
    switches.append(network.switch("switch2") if far else switches[0])
    router = network.host("router") if far else None
    pods = []
    address = ""
    for switch, place, other in zip(switches, way.places, way.places[::-1], strict=True):
        node, pod = network.host(f"node{place.number}"), network.host(f"pod{place.number}")
        network.plug(switch, node)
        node.address(f"{place.outside}/24", dev="eth0")
        if router is not None:
            gateway = f"{place.outside.rpartition('.')[0]}.254"
            network.plug(switch, router, switch.name)
            router.address(f"{gateway}/24", dev=switch.name)
            node.ip("route", "add", "default", "via", gateway)
        address = way.attach(node, pod, place)
        pod.ip("link", "set", "dev", "eth0", "mtu", str(way.mtu))
        node.run("nft", "-f", "-", stdin=_KUBE_PROXY)
        if way.lead is not None:
            way.lead(node, place, other)
        pods.append(pod)
    return Ends(pods[0], pods[1], address)


def ours(lab: Lab, *, routed: bool) -> Ends:
    lab.up()
    if routed:
        facts.wait_converged(lab)
    facts.wait_ready(lab)
    one, other = (lab.add_pod(node) for node in lab.nodes)
    facts.wait_reachable(lab)
    return Ends(lab.host(one.name), lab.host(other.name), str(other.address(Family.IPV4)))


def main(names: Sequence[str]) -> int:
    """Measure the ways with these names here; print a line of JSON for each result."""
    for way in WAYS:
        if way.name in names:
            for one in measured(way, FEW):
                print(msgspec.json.encode(one).decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

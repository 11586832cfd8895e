"""The bench's two hosts: ``dut`` runs what is measured, ``peer`` speaks to it. One veth pair, both families.

The same rig carries towpath (agent and speaker on a folder of manifests) and BIRD, so that both face the same bytes
and fill the same kind of table. How many routes the kernel holds is read from its own counters: that costs
milliseconds at 100,000 routes, and costs both sides the same.
"""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from towpath.lab.netns import Host, Network
from towpath.lab.process import Process, wait_for
from towpath.model.net import Address, Family

DUT = {Family.IPV4: "10.255.0.1", Family.IPV6: "fd00:255::1"}
PEER = {Family.IPV4: "10.255.0.2", Family.IPV6: "fd00:255::2"}
DUT_AS, PEER_AS = 65001, 65002
OTHER_BLOCKS = 1000
"""Blocks of other nodes in the snapshot, so that validation has something to look through."""


class Rig:
    """Two hosts, a scratch folder, and ways to run either contender on ``dut``."""

    def __init__(self, network: Network, scratch: Path) -> None:
        self.network = network
        self.scratch = scratch
        self.dut = network.host("dut")
        self.peer = network.host("peer")
        network.link(self.dut, "eth0", self.peer, "eth0")
        for host, addresses in ((self.dut, DUT), (self.peer, PEER)):
            host.address(f"{addresses[Family.IPV4]}/24", f"{addresses[Family.IPV6]}/64", dev="eth0")
            # IPv6 tables are limited to 4096 routes in small kernels
            host.sysctl(net__ipv6__route__max_size=2147483647)

    def bird(self, host: Host, name: str, configuration: str) -> Process:
        """BIRD on a host."""
        path = self.scratch / f"{name}.conf"
        path.write_text(configuration)
        return host.process(
            *(
                "bird",
                "-f",
                "-c",
                str(path),
                "-s",
                str(self.scratch / f"{name}.ctl"),
                "-P",
                str(self.scratch / f"{name}.pid"),
            ),
            log=self.scratch / f"{name}.log",
        )

    def speaker(self) -> Process:
        """Our speaker on ``dut``."""
        return self.dut.process(
            *(sys.executable, "-m", "towpath.controller.cli", "speaker", "--socket", str(self.socket)),
            log=self.scratch / "speaker.log",
        )

    def agent(self, *, health_port: int | None = None, server: str = "") -> Process:
        """Our agent on ``dut``, on the manifests of this rig, or on an API server."""
        source = ["--server", server] if server else ["--from", str(self.manifests)]
        health = [] if health_port is None else ["--health-port", str(health_port)]
        return self.dut.process(
            *(sys.executable, "-m", "towpath.controller.cli", "agent", "--node", "dut", *source),
            *(
                "--socket",
                str(self.socket),
                "--run-dir",
                str(self.scratch / "run"),
                "--state-dir",
                str(self.scratch / "state"),
            ),
            *health,
            log=self.scratch / "agent.log",
        )

    @property
    def socket(self) -> Path:
        """Where agent and speaker meet."""
        return self.scratch / "speaker.sock"

    @property
    def manifests(self) -> Path:
        """The folder that the agent reads."""
        folder = self.scratch / "manifests"
        folder.mkdir(exist_ok=True)
        return folder

    def wait_listening(self) -> None:
        """Wait until somebody on ``dut`` takes BGP connections."""
        wait_for(lambda: self.dut.run("ss", "-Htln", "sport", "=", ":179") != "", deadline=120, what="it listens")

    def routes(self, family: Family) -> int:
        """Routes in the kernel of ``dut``, by its own counters."""
        with self.dut.entered():
            if family is Family.IPV4:
                text = Path("/proc/thread-self/net/fib_triestat").read_text()
                return int(text.split("Prefixes:", 2)[1].split()[0])
            return int(Path("/proc/thread-self/net/rt6_stats").read_text().split()[3], 16)

    def wait_routes(self, family: Family, count: int, *, last: Address | None = None, deadline: float = 120) -> float:
        """Wait until the kernel holds at least ``count`` routes; the wall-clock time at which it did.

        ``last``: an address in the prefix that is sent last. Only once it can be reached are the routes counted:
        counting walks the whole IPv4 table, and that would take a processor from whoever fills it.
        """
        if last is not None:
            with self.dut.entered(), socket.socket(_SOCKET_FAMILY[family], socket.SOCK_DGRAM) as probe:
                wait_for(lambda: _reachable(probe, last), deadline=deadline, what=f"a route to {last}", interval=0.001)
        wait_for(lambda: self.routes(family) >= count, deadline=deadline, what=f"{count} routes", interval=0.002)
        return time.time()


_SOCKET_FAMILY = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


def _reachable(probe: socket.socket, address: Address) -> bool:
    """Whether the kernel has a way to an address: connecting a datagram socket looks it up and sends nothing."""
    return probe.connect_ex((str(address), 9)) == 0


@contextmanager
def rig() -> Iterator[Rig]:
    """A rig, gone with all that runs in it when the block ends."""
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as scratch, Network(f"tpbench{os.getpid()}") as network:
        yield Rig(network, Path(scratch))


def manifests(family: Family, *, peers: str = "", blocks: int = OTHER_BLOCKS) -> str:
    """What the node under test is told: a peer outside whose routes are all accepted, and blocks of other nodes."""
    addresses = (
        f"[{{type: InternalIP, address: {DUT[Family.IPV4]}}}, {{type: InternalIP, address: '{DUT[Family.IPV6]}'}}]"
    )
    documents = [
        document("BGPConfiguration", "default", f"{{asNumber: {DUT_AS}, nodeToNodeMeshEnabled: false}}"),
        document("IPPool", "pods", "{cidr: 172.16.0.0/12}"),
        f"{{apiVersion: v1, kind: Node, metadata: {{name: dut, uid: u-dut}}, status: {{addresses: {addresses}}}}}",
    ]
    documents.append(
        document("IPAMBlock", "172-31-255-192-26", "{cidr: 172.31.255.192/26, node: dut, nodeUID: u-dut, pool: pods}")
    )
    documents += [peers] if peers else [peer("peer", PEER[family])]
    for index in range(blocks):
        cidr = f"172.{16 + (index >> 10)}.{(index >> 2) & 255}.{(index & 3) * 64}/26"
        name = cidr.replace(".", "-").replace("/", "-")
        documents.append(document("IPAMBlock", name, f"{{cidr: {cidr}, node: n{index}, pool: pods}}"))
    return "\n---\n".join(documents)


def peer(name: str, address: str, *, source: str = "UseNodeIP", policy: str = "importPolicy: All") -> str:
    """A passive session with a peer outside whose routes are all accepted, unless another policy is given."""
    return document(
        "BGPPeer",
        name,
        f"{{peerIP: '{address}', asNumber: {PEER_AS}, {policy}, passive: true, sourceAddress: '{source}',"
        " maxPrefixes: {limit: 10000000}}",
    )


def document(kind: str, name: str, spec: str) -> str:
    """An object of ours in YAML; ``spec`` in flow style."""
    return f"{{apiVersion: towpath.io/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}"


def bird_receiver(family: Family) -> str:
    """BIRD as the receiver: one passive eBGP session, everything into the kernel."""
    channel = family.key
    return f"""router id 10.255.0.1;
protocol device {{}}
protocol kernel {{ {channel} {{ export all; }}; }}
protocol bgp peer {{
  local {DUT[family]} as {DUT_AS}; neighbor {PEER[family]} as {PEER_AS}; passive;
  {channel} {{ import all; export none; }};
}}
"""

"""10,000 blocks announced to a BIRD peer: from the session to its full table."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from towpath.lab.bench.result import Result, compared
from towpath.lab.bench.rig import DUT, DUT_AS, PEER, PEER_AS, Rig, manifests, peer, rig
from towpath.lab.process import wait_for
from towpath.model.net import Family

BLOCKS = 10_000
SESSIONS = 4


def announce() -> Iterator[Result]:
    """Our blocks, against BIRD that announces as many static routes."""
    yield compared(
        "announce 10,000 blocks",
        against="BIRD",
        ours=_run(towpath=True),
        theirs=_run(towpath=False),
    )


def _run(*, towpath: bool) -> float:
    with rig() as here:
        if towpath:
            (here.manifests / "node.yaml").write_text(_with_own_blocks())
            here.speaker()
            here.agent()
            here.wait_routes(Family.IPV4, BLOCKS)
        else:
            here.bird(here.dut, "sender", _bird_sender())
        here.bird(here.peer, "receiver", _bird_receiver())
        return _time_to_full(here)


def _time_to_full(here: Rig) -> float:
    """Of a second session: a BIRD that has just started sends nothing for three seconds, and that is not meant here."""
    with closing(BirdControl(here.scratch / "receiver.ctl")) as control:
        wait_for(lambda: control.count() >= BLOCKS, deadline=60, what=f"{BLOCKS} routes in BIRD", interval=0.01)
        control.ask("disable dut")
        wait_for(lambda: control.count() == 0, deadline=60, what="no route in BIRD", interval=0.01)
        control.ask("enable dut")
        wait_for(
            lambda: "Established" in control.ask("show protocols dut"), deadline=60, what="a session", interval=0.001
        )
        started = time.perf_counter()
        wait_for(lambda: control.count() >= BLOCKS, deadline=60, what=f"{BLOCKS} routes in BIRD", interval=0.001)
        return time.perf_counter() - started


class BirdControl:
    """BIRD's control socket, kept open: asking costs no process."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wait_for(lambda: self._socket.connect_ex(str(path)) == 0, deadline=10, what="BIRD answers")
        self._reply()

    def ask(self, command: str) -> str:
        """The reply to a command."""
        self._socket.sendall(command.encode() + b"\n")
        return self._reply()

    def count(self) -> int:
        """Routes in all tables."""
        match = re.search(r"Total: (\d+) of", self.ask("show route count"))
        return int(match[1]) if match else 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _reply(self) -> str:
        text = ""
        while not re.search(r"^\d{4} .*\n\Z", text, re.MULTILINE):
            text += self._socket.recv(1 << 16).decode()
        return text


def _with_own_blocks() -> str:
    documents = [manifests(Family.IPV4, peers=peer("peer", PEER[Family.IPV4]), blocks=0)]
    documents += [
        f"{{apiVersion: towpath.io/v1alpha1, kind: IPAMBlock, metadata: {{name: {_cidr(index).replace('.', '-').replace('/', '-')}}}, "
        f"spec: {{cidr: {_cidr(index)}, node: dut, nodeUID: u-dut, pool: pods}}}}"
        for index in range(BLOCKS)
    ]
    return "\n---\n".join(documents)


def _cidr(index: int) -> str:
    return f"172.{16 + (index >> 10)}.{(index >> 2) & 255}.{(index & 3) * 64}/26"


def _bird_sender() -> str:
    routes = "\n".join(f"  route {_cidr(index)} blackhole;" for index in range(BLOCKS))
    return f"""router id 10.255.0.1;
protocol device {{}}
protocol static {{ ipv4; {routes} }}
protocol bgp peer {{
  local {DUT[Family.IPV4]} as {DUT_AS}; neighbor {PEER[Family.IPV4]} as {PEER_AS}; passive;
  ipv4 {{ import none; export all; next hop self; }};
}}
"""


def _bird_receiver() -> str:
    return f"""router id 10.255.0.2;
protocol device {{}}
protocol bgp dut {{
  local {PEER[Family.IPV4]} as {PEER_AS}; neighbor {DUT[Family.IPV4]} as {DUT_AS};
  connect delay time 1; connect retry time 1;
  ipv4 {{ import all; export none; }};
}}
"""

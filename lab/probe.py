"""Counts what is lost between hosts: small UDP packets on many paths at once, each way on its own, every 2 ms.

One process holds a socket in every namespace (a socket stays where it was opened), so sending, receiving and the
clock are in one place: a packet that was sent and did not arrive is lost, and a late turn of the loop is seen as such
and never mistaken for a gap of the network. As a module it is that process; ``Probe`` is how others use it.
"""

import gc
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import msgspec
from msgspec import Struct, field

from towpath.lab.netns import Network
from towpath.lab.process import Process, wait_for
from towpath.model.net import Address

PORT = 4911
INTERVAL = 0.002
DRAIN = 2.0
"""How long after the last packet those under way are still waited for, in seconds."""
_SO_RCVBUFFORCE = 33
_PACKET = struct.Struct("!II")


class Flow(Struct, frozen=True):
    """One direction of one path: from a host to an address of another."""

    source: str
    target: str
    address: str


class Plan(Struct, frozen=True):
    """What the process is to do."""

    prefix: str
    flows: tuple[Flow, ...]
    interval: float
    least: int
    """So many packets are sent before it ends."""
    result: str


class Counted(Struct, frozen=True):
    """What became of a flow's packets; the gap is the longest time between two arrivals, in seconds."""

    flow: Flow
    sent: int
    received: int
    longest_gap: float
    first_lost: tuple[int, ...] = ()

    @property
    def lost(self) -> int:
        """Packets that never arrived."""
        return self.sent - self.received


class Result(Struct, frozen=True):
    """A whole run; ``stall`` is the longest time that the prober itself came late, in seconds."""

    seconds: float
    stall: float
    flows: tuple[Counted, ...]

    @property
    def sent(self) -> int:
        """Packets sent on all flows."""
        return sum(flow.sent for flow in self.flows)

    @property
    def lost(self) -> int:
        """Packets lost on all flows."""
        return sum(flow.lost for flow in self.flows)

    @property
    def longest_gap(self) -> float:
        """The longest gap of any flow, in seconds."""
        return max((flow.longest_gap for flow in self.flows), default=0)

    def __str__(self) -> str:
        worst = [f"{c.flow.source} to {c.flow.target} ({c.flow.address}): {c.lost}" for c in self.flows if c.lost]
        return (
            f"{self.sent} packets on {len(self.flows)} paths in {self.seconds:.1f} s, {self.lost} lost, longest gap "
            f"{self.longest_gap * 1000:.0f} ms" + "".join(f"\n  {line}" for line in worst)
        )


class _Tally:
    """A flow while it runs."""

    def __init__(self) -> None:
        self.sent = 0
        self.arrived = bytearray()
        self.last = 0.0
        self.gap = 0.0

    def counted(self, flow: Flow) -> Counted:
        missing = [number for number, seen in enumerate(self.arrived) if not seen]
        return Counted(flow, self.sent, sum(self.arrived), self.gap, tuple(missing[:10]))


class Prober:
    """The flows, and a socket per host and family to send and receive them."""

    def __init__(self, network: Network, flows: Sequence[Flow]) -> None:
        self.flows = tuple(flows)
        self.tallies = [_Tally() for _ in flows]
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, socket.socket] = {}
        for flow in self.flows:
            version = 6 if ":" in flow.address else 4
            for host in (flow.source, flow.target):
                self._open(network, host, version)
        self._outgoing = [
            (self._sockets[flow.source, 6 if ":" in flow.address else 4], (flow.address, PORT), tally, index)
            for index, (flow, tally) in enumerate(zip(self.flows, self.tallies, strict=True))
        ]

    def _open(self, network: Network, name: str, version: int) -> None:
        if (name, version) in self._sockets:
            return
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with network.known(name).entered():
            opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if version == 6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
        opened.bind(("::" if version == 6 else "0.0.0.0", PORT))
        self._sockets[name, version] = opened
        self._by_descriptor[opened.fileno()] = opened
        self._epoll.register(opened, select.EPOLLIN)

    def send(self) -> None:
        """One packet on every flow; one that the kernel refuses counts as sent and never arrives."""
        for opened, where, tally, index in self._outgoing:
            packet = _PACKET.pack(index, tally.sent)
            tally.sent += 1
            tally.arrived.append(0)
            try:
                opened.sendto(packet, where)
            except OSError:
                continue

    def receive(self, wait: float) -> None:
        """Take what has arrived, waiting up to ``wait`` seconds for something."""
        for descriptor, _ in self._epoll.poll(max(wait, 0)):
            opened = self._by_descriptor[descriptor]
            while True:
                try:
                    packet = opened.recv(64)
                except BlockingIOError:
                    break
                except OSError:  # an ICMP error that came back
                    continue
                index, number = _PACKET.unpack(packet)
                tally = self.tallies[index]
                if number < len(tally.arrived):
                    tally.arrived[number] = 1
                    now = time.monotonic()
                    if tally.last:
                        tally.gap = max(tally.gap, now - tally.last)
                    tally.last = now

    def counted(self) -> tuple[Counted, ...]:
        """All flows as they stand."""
        return tuple(tally.counted(flow) for tally, flow in zip(self.tallies, self.flows, strict=True))

    def close(self) -> None:
        """Close the sockets."""
        self._epoll.close()
        for opened in self._sockets.values():
            opened.close()


def unreached(network: Network, flows: Sequence[Flow], *, wait: float = 0.3) -> tuple[Flow, ...]:
    """The flows on which one packet, tried once, did not arrive within ``wait`` seconds."""
    prober = Prober(network, flows)
    try:
        prober.send()
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0 and any(not sum(t.arrived) for t in prober.tallies):
            prober.receive(left)
        return tuple(flow for flow, tally in zip(flows, prober.tallies, strict=True) if not sum(tally.arrived))
    finally:
        prober.close()


class Probe:
    """A prober process that runs while the ``with`` block does; then ``result`` says what was lost."""

    def __init__(
        self, network: Network, flows: Iterable[Flow], *, directory: Path, interval: float = INTERVAL, least: int = 0
    ) -> None:
        self.directory = directory
        self._result = directory / "probe.json"
        self._plan = directory / "probe-plan.json"
        self._log = directory / "probe.log"
        plan = Plan(network.prefix, tuple(flows), interval=interval, least=least, result=str(self._result))
        self._plan.write_bytes(msgspec.json.encode(plan))
        self._process = Process([sys.executable, "-m", "towpath.lab.probe", str(self._plan)], log=self._log)
        self.result = Result(0, 0, ())

    def __enter__(self) -> Self:
        self._result.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        self._process.start()
        wait_for(self._started, deadline=10, what="the prober has started", interval=0.01)
        return self

    def _started(self) -> bool:
        if not self._process.running:
            raise RuntimeError(f"the prober ended: {self._process.log}")
        return "started" in self._process.log

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop(deadline=DRAIN + 30)
        if self._result.exists():
            self.result = msgspec.json.decode(self._result.read_bytes(), type=Result)
        elif error is None:
            raise RuntimeError(f"the prober left no result: {self._process.log}")


class _Ended(Struct):
    """Whether a signal asked to end."""

    asked: bool = field(default=False)

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def main(path: str) -> None:
    """Run a plan until SIGTERM or SIGINT, then write its result."""
    plan = msgspec.json.decode(Path(path).read_bytes(), type=Plan)
    ended = _Ended()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended)
    prober = Prober(Network(plan.prefix), plan.flows)
    gc.disable()  # a collection is a stall
    started = following = time.monotonic()
    stall = 0.0
    print("started", flush=True)
    while not ended.asked or sum(tally.sent for tally in prober.tallies) < plan.least:
        now = time.monotonic()
        if now >= following:
            stall = max(stall, now - following)
            prober.send()
            # a late turn is not made up for by a burst
            following = max(following + plan.interval, now)
        prober.receive(following - time.monotonic())
    seconds = time.monotonic() - started
    end = time.monotonic() + DRAIN
    while (left := end - time.monotonic()) > 0 and any(sum(t.arrived) < t.sent for t in prober.tallies):
        prober.receive(left)
    result = Result(seconds, stall, prober.counted())
    prober.close()
    Path(plan.result).write_bytes(msgspec.json.encode(result))


def both_ways(hosts: Iterable[tuple[str, Sequence[Address]]]) -> tuple[Flow, ...]:
    """Every host to every other's addresses; ``hosts`` are names with addresses."""
    known = list(hosts)
    return tuple(
        Flow(source, target, str(address))
        for source, _ in known
        for target, addresses in known
        if source != target
        for address in addresses
    )


if __name__ == "__main__":
    main(sys.argv[1])

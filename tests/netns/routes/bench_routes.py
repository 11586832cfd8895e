"""How fast routes get from the speaker's frames into the kernel, beside ``ip -batch`` in the same namespace.

Run it: ``python -m tests.netns.routes.bench_routes [ROUTES]``. Not collected by pytest.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Self

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.model.net import Address, Family, to_wire
from towpath.model.speaker import Routes, Withdrawn
from towpath.routes.netlink import open_kernel
from towpath.routes.programmer import Programmer, Settings

FRAME = 1000
GATEWAYS = {Family.IPV4: ("10.0.0.254", "10.0.0.253"), Family.IPV6: ("fd00::254", "fd00::253")}


def prefixes(family: Family, count: int) -> list[str]:
    """Distinct /26 or /64 prefixes."""
    if family is Family.IPV4:
        base = int(ip_address("20.0.0.0"))
        return [f"{ip_address(base + number * 64)}/26" for number in range(count)]
    high = 0x2A00 << 112
    return [f"{ip_address(high + (number << 64))}/64" for number in range(count)]


def frames(family: Family, wires: list[bytes], *next_hops: Address) -> Iterator[Routes]:
    for start in range(0, len(wires), FRAME):
        yield Routes(family, next_hops, ("peer",), b"".join(wires[start : start + FRAME]))


class Rest:
    """Tells when the programmer has come to rest."""

    def __init__(self, node: Host) -> None:
        with node.entered():
            kernel = open_kernel()
        self._event = asyncio.Event()
        self.programmer = Programmer(lambda: kernel, on_change=self._event.set)

    async def come(self, *, want: int) -> None:
        """Until nothing is left to do and so many routes are there."""
        await self.pause()
        while self.programmer.status().installed != want:
            await self.pause()

    async def pause(self) -> None:
        """Until it comes to rest the next time."""
        self._event.clear()
        await self._event.wait()


class Stall:
    """The most CPU time that passed between two turns of the loop: what others on the machine take does not count."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.thread_time() - before)

    def stop(self) -> None:
        self._task.cancel()
        print(f"{'longest stall of the loop':44} {self.longest * 1000:9.1f} ms")


class Stopwatch:
    """Prints wall and CPU time of a block."""

    def __init__(self, label: str, *, count: int) -> None:
        self.label, self.count = label, count

    def __enter__(self) -> Self:
        self.cpu = resource.getrusage(resource.RUSAGE_SELF)
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.start
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        user, system = cpu.ru_utime - self.cpu.ru_utime, cpu.ru_stime - self.cpu.ru_stime
        print(
            f"{self.label:44} {self.seconds * 1000:9.1f} ms   user {user * 1e6 / self.count:6.2f} us/route   "
            f"kernel {system * 1e6 / self.count:6.2f} us/route",
            flush=True,
        )


def batch(node: Host, family: Family, names: list[str]) -> None:
    """The same with iproute2: add and delete."""
    version, gateway = f"-{int(family)}", GATEWAYS[family][0]
    for verb in ("add", "del"):
        lines = "\n".join(f"route {verb} {name} via {gateway} dev eth0 metric 1179 proto 179" for name in names)
        started = time.perf_counter()
        node.run("ip", version, "-batch", "-", stdin=lines)
        print(f"{f'ip -batch {verb}':44} {(time.perf_counter() - started) * 1000:9.1f} ms")


async def ours(node: Host, family: Family, names: list[str]) -> None:
    rest = Rest(node)
    programmer = rest.programmer
    await programmer.start()
    programmer.desire({}, settings=Settings())
    count = len(names)
    wires = [bytes(to_wire(ip_network(name))) for name in names]
    stall = Stall()
    one, other = (ip_address(gateway) for gateway in GATEWAYS[family])
    with Stopwatch("towpath add", count=count):
        for frame in frames(family, wires, one):
            programmer.learned(frame)
            await asyncio.sleep(0)
        programmer.learned(frame)
        await rest.come(want=count)
    with Stopwatch("towpath replace", count=count):
        for frame in frames(family, wires, other):
            programmer.learned(frame)
            await asyncio.sleep(0)
        programmer.learned(frame)
        await rest.come(want=count)
    times: list[float] = []
    for number in range(200):
        started = time.perf_counter()
        programmer.learned(Routes(family, (one if number % 2 else other,), ("peer",), wires[number]))
        await rest.pause()
        times.append(time.perf_counter() - started)
    print(
        f"{'one change among them, p50 / p99':44} {sorted(times)[100] * 1e6:9.0f} us {sorted(times)[198] * 1e6:9.0f} us"
    )
    with Stopwatch("read everything again", count=count):
        await programmer._observer.read(full=True)
    with Stopwatch("towpath multipath replace", count=count):
        for frame in frames(family, wires, one, other):
            programmer.learned(frame)
            await asyncio.sleep(0)
        programmer.learned(frame)
        await rest.come(want=count)
    programmer.whole()
    programmer.synced(True)
    with Stopwatch("towpath delete", count=count):
        for start in range(0, count, FRAME):
            programmer.learned(Withdrawn(family, b"".join(wires[start : start + FRAME])))
            await asyncio.sleep(0)
        programmer.learned(Withdrawn(family, wires[0]))
        await rest.come(want=0)
    stall.stop()
    programmer.close()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with Network(own("tpr")) as network:
        node, router = network.host("node"), network.host("router")
        network.link(node, "eth0", router, "node")
        node.address("10.0.0.1/24", "fd00::1/64", dev="eth0")
        for family in Family:
            print(f"-- {count} routes, {family.key}")
            names = prefixes(family, count)
            batch(node, family, names)
            asyncio.run(ours(node, family, names))


if __name__ == "__main__":
    main()

"""Kernel programming alone: 100,000 routes by our programmer, by ``ip -batch`` and by BIRD's kernel protocol."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

from towpath.lab.bench.announce import BirdControl
from towpath.lab.bench.receive import FIRST, ROUTES
from towpath.lab.bench.result import Result, compared
from towpath.lab.bench.rig import PEER, Rig, rig
from towpath.lab.blaster import Blast, prefixes
from towpath.model.net import Family, from_wire, parse_prefix
from towpath.model.speaker import Routes
from towpath.routes.programmer import Programmer, Settings

_FRAME = 1 << 16


def kernel() -> Iterator[Result]:
    """Both families against ``ip -batch``, IPv4 against BIRD too."""
    for family in Family:
        with rig() as here:
            ours = asyncio.run(_programmer(here, family))
        with rig() as here:
            batch = _ip_batch(here, family)
        with rig() as here:
            bird = _bird(here, family)
        yield compared(f"kernel {family.key}", against="ip -batch", ours=ours, theirs=batch)
        yield compared(f"kernel {family.key}", against="BIRD", ours=ours, theirs=bird)


def _wires(family: Family) -> list[bytes]:
    first = parse_prefix(FIRST[family])
    address = ip_address(PEER[family])
    blast = Blast(
        next_hop=address, local_as=1, remote_as=2, count=ROUTES, first=first.network_address, length=first.prefixlen
    )
    return list(prefixes(blast))


async def _programmer(here: Rig, family: Family) -> float:
    packed = b"".join(_wires(family))
    width = len(packed) // ROUTES
    step = _FRAME // width * width
    frames = [
        Routes(family, (ip_address(PEER[family]),), ("peer",), packed[start : start + step])
        for start in range(0, len(packed), step)
    ]
    with here.dut.entered():
        programmer = Programmer()
        await programmer.start()
    before = here.routes(family)
    started = time.perf_counter()
    programmer.desire({}, settings=Settings())
    for frame in frames:
        programmer.learned(frame)
    while here.routes(family) < before + ROUTES:  # noqa: ASYNC110
        await asyncio.sleep(0.002)  # the kernel's counters have no event
    took = time.perf_counter() - started
    programmer.close()
    return took


def _lines(family: Family, form: str) -> str:
    return "\n".join(form.format(from_wire(family, wire)) for wire in _wires(family)) + "\n"


def _ip_batch(here: Rig, family: Family) -> float:
    script = here.scratch / "routes.batch"
    script.write_text(_lines(family, f"route add {{}} via {PEER[family]} dev eth0 proto 179"))
    before = here.routes(family)
    started = time.perf_counter()
    here.dut.run("ip", "-batch", str(script))
    here.wait_routes(family, before + ROUTES)
    return time.perf_counter() - started


def _bird(here: Rig, family: Family) -> float:
    channel = family.key
    here.bird(
        here.dut,
        "bird",
        f"router id 10.255.0.1;\nprotocol device {{}}\n"
        f"protocol kernel fib {{ disabled; {channel} {{ export all; }}; }}\n"
        f"protocol static statics {{ {channel};\n{_lines(family, f'route {{}} via {PEER[family]};')}}}\n",
    )
    before = here.routes(family)
    with closing(BirdControl(here.scratch / "bird.ctl")) as control:
        while control.count() < ROUTES:
            time.sleep(0.05)
        started = time.perf_counter()
        control.ask("enable fib")
        here.wait_routes(family, before + ROUTES)
        return time.perf_counter() - started

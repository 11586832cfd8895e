"""How fast the table takes in 100,000 routes: ``python tests/unit/bgp_table/bench_table.py``. Not a test.

With ``--filters`` the session has a filter of 20 rules with prefixes, communities and AS paths.

Shapes: packed (one attribute block, full messages), 10 routes a block, one route a block. Validation is on: two pools,
1,000 blocks, importPolicy All. Best of three, one process, one core.
"""

import cProfile
import pstats
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

from msgspec.structs import replace

from towpath.bgp.ports import Negotiated
from towpath.bgp.table import Table
from towpath.model.decode import decode
from towpath.model.net import Family, Prefix, to_wire
from towpath.model.speaker import MaxPrefix, NodeOrigin, Session, Settings, SpeakerState

ROUTES = 100_000
FILTERS = "--filters" in sys.argv
LIMIT = 20_000


def state() -> SpeakerState:
    """One eBGP session with importPolicy All, 1,000 blocks of 250 nodes in two pools."""
    blocks: dict[Prefix, str] = {}
    for number in range(500):
        blocks[ip_network((0x0AF40000 + number * 64, 26))] = f"node-{number % 250}"
        blocks[ip_network(((0xFD00 << 112) + (number << 6), 122))] = f"node-{number % 250}"
    return SpeakerState(
        settings=Settings(
            node="node-0",
            local_as=64512,
            router_id=IPv4Address("192.0.2.1"),
            listen=(),
            maximum_paths=16,
            own_addresses=(IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")),
            pools=(ip_network("10.244.0.0/16"), ip_network("fd00::/48")),
        ),
        sessions={
            "tor": Session(
                name="tor",
                scope="Global",
                peer_address=IPv4Address("192.0.2.254"),
                peer_port=179,
                remote_as=65000,
                local_as=64512,
                local_address=IPv4Address("192.0.2.1"),
                passive=False,
                families=(Family.IPV4, Family.IPV6),
                hold_time=90,
                keepalive_time=30,
                connect_retry_time=5,
                restart_time=120,
                import_policy="All",
                max_prefix=MaxPrefix(limit=1_000_000),
            )
        },
        blocks=blocks,
        nodes={
            f"node-{n}": NodeOrigin((IPv4Address(0xC0000200 + n), IPv6Address((0xFD01 << 112) + n)), 64512)
            for n in range(250)
        },
    )


def filtered(made: SpeakerState) -> SpeakerState:
    """The same, with a filter of 20 rules in both families and importPolicy Filtered."""
    spec: dict[str, list[dict[str, object]]] = {}
    for key, cidr in (("importV4", "{}.0.0.0/8"), ("importV6", "26{:02d}::/16")):
        rules: list[dict[str, object]] = []
        for number in range(7):
            rules.append({"action": "Reject", "cidr": cidr.format(30 + number), "matchOperator": "In"})
            rules.append({"action": "Reject", "communities": {"values": [f"65001:{number}"]}})
            if number < 5:
                rules.append({"action": "Reject", "asPathPrefix": [65000, 100 + number]})
        last = {"importV4": "20.0.0.0/6", "importV6": "2000::/8"}[key]
        rules.append(
            {
                "action": "Accept",
                "cidr": last,
                "matchOperator": "In",
                "prefixLength": {"min": 16},
                "operations": [{"addCommunity": {"value": "64512:1"}}],
            }
        )
        spec[key] = rules
    found = decode("BGPFilter", {"metadata": {"name": "f"}, "spec": spec}).spec
    tor = replace(made.sessions["tor"], filters=("f",), import_policy="Filtered")
    return replace(made, sessions={"tor": tor}, filters={"f": found})


def attributes(number: int, family: Family) -> bytes:
    """ORIGIN, AS_PATH (four hops, the last one varies), NEXT_HOP, MED."""
    path = b"\x02\x04" + struct.pack("!IIII", 65000, 3356, 1299, 100_000 + number % 50_000)
    block = b"\x40\x01\x01\x00\x40\x02" + bytes((len(path),)) + path
    if family is Family.IPV4:
        block += b"\x40\x03\x04\xc0\x00\x02\xfe"
    return block + b"\x80\x04\x04" + struct.pack("!I", number)


def bodies(family: Family, *, per_block: int, routes: int = ROUTES, first: int = 0x14000000) -> list[bytes]:
    """UPDATE bodies; ``per_block`` routes share attributes, at most 700 a message."""
    if family is Family.IPV4:
        wires = [to_wire(ip_network((first + number * 256, 24))) for number in range(routes)]
    else:
        wires = [to_wire(ip_network(((0x20010000 << 96) + (number << 64), 64))) for number in range(routes)]
    hop = IPv6Address("2001:db8::fe").packed
    made = []
    for start in range(0, routes, min(per_block, 700)):
        packed = b"".join(wires[start : min(start + min(per_block, 700), routes)])
        block = attributes(start // per_block, family)
        if family is Family.IPV6:
            value = b"\x00\x02\x01\x10" + hop + b"\0" + packed
            block = b"\x90\x0e" + struct.pack("!H", len(value)) + value + block
            packed = b""
        made.append(b"\0\0" + struct.pack("!H", len(block)) + block + packed)
    return made


def negotiated() -> Negotiated:
    """Both families, four-octet AS, no graceful restart."""
    return Negotiated(
        families=(Family.IPV4, Family.IPV6),
        peer_router_id=0xC00002FE,
        peer_as=65000,
        local_as=64512,
        local_address=IPv4Address("192.0.2.1"),
        peer_address=IPv4Address("192.0.2.254"),
        hold_time=90,
        four_octet_as=True,
        message_size=4096,
        restart=None,
    )


def table() -> Table:
    """An established table."""
    made = Table(kick=lambda _: None, clock=time.monotonic)
    made.apply(filtered(state()) if FILTERS else state())
    made.established("tor", negotiated())
    return made


def run(messages: list[bytes], *, batch: int = 200) -> tuple[float, float, int]:
    """Seconds in ``updates``, seconds in ``drain``, frames."""
    made = table()
    copies = [messages[at : at + batch] for at in range(0, len(messages), batch)]
    began = time.perf_counter()
    for some in copies:
        made.updates("tor", some)
    received = time.perf_counter()
    frames = 0
    while made.dirty:
        frames += len(made.drain(LIMIT))
    return received - began, time.perf_counter() - received, frames


def memory(messages: list[bytes]) -> float:
    """Bytes a route, as Python allocates them."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    made = table()
    made.updates("tor", messages)
    while made.dirty:
        made.drain(LIMIT)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / ROUTES


def main() -> None:
    """Print the table of results; with an argument: a profile of that shape."""
    shapes: dict[str, Callable[[], list[bytes]]] = {
        f"{family.key} {name}": (lambda family=family, per=per: bodies(family, per_block=per))
        for family in Family
        for name, per in (("packed", ROUTES), ("ten", 10), ("one", 1))
    }
    asked = [word for word in sys.argv[1:] if word != "--filters"]
    if asked:
        messages = shapes[" ".join(asked)]()
        with cProfile.Profile() as profile:
            run(messages)
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
        return
    for name, make in shapes.items():
        messages = make()
        received, drained, frames = min((run(messages) for _ in range(3)), key=lambda took: took[0] + took[1])
        print(
            f"{name:12} updates {received:.3f} s  drain {drained:.3f} s  together {received + drained:.3f} s  "
            f"frames {frames}  {memory(messages):.0f} bytes a route"
        )


if __name__ == "__main__":
    main()

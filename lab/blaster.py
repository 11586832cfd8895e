"""A BGP peer that sends a precomputed byte stream as fast as TCP takes it: a load for tests and benchmarks.

``Blast`` describes the routes, ``stream`` makes the UPDATEs, and the program dials a speaker, sends them with End-of-RIB
and keeps the session up, answering KEEPALIVEs, until it is ended. It judges nothing that it receives.

    python -m towpath.lab.blaster --local 10.0.0.2 --local-as 65002 --peer 10.0.0.1 --routes 100000 --per-set 10
"""

import argparse
import itertools
import json
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from msgspec import Struct

from towpath.model.net import Address, Family, Prefix, family_of, parse_address, parse_prefix

_MARKER = b"\xff" * 16
_OPEN, _UPDATE, _NOTIFICATION, _KEEPALIVE = 1, 2, 3, 4
_MAXIMUM_MESSAGE = 4096
_RETRY_SECONDS = 0.05
_KEEPALIVE_SECONDS = 20.0


class Blast(Struct, frozen=True):
    """Routes to announce: ``count`` prefixes of length ``length`` from ``first`` on."""

    next_hop: Address
    local_as: int
    remote_as: int
    count: int
    first: Address
    length: int
    per_set: int | None = None
    """Prefixes that share one attribute set; None: one set for all, UPDATEs as full as they get."""
    prepended: int = 0
    """How often our AS is in the path besides; only where the peers' AS differ."""
    path: int | None = None
    """The path identifier of all of them, where the session carries such (RFC 7911)."""

    @property
    def ebgp(self) -> bool:
        """Whether the peers' AS differ: then our AS is in the path, else LOCAL_PREF is sent."""
        return self.local_as != self.remote_as


def message(kind: int, body: bytes = b"") -> bytes:
    """A BGP message."""
    return _MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def open_message(
    local_as: int,
    router_id: IPv4Address,
    *,
    hold_time: int = 90,
    restart_time: int | None = None,
    add_paths: bool = False,
) -> bytes:
    """An OPEN for both families with four-octet AS numbers, graceful restart where a time is given, and ADD-PATH both ways."""
    capabilities = b"".join(b"\x01\x04" + struct.pack("!HBB", family.afi, 0, 1) for family in Family)
    capabilities += b"\x41\x04" + struct.pack("!I", local_as)
    if restart_time is not None:
        families = b"".join(struct.pack("!HBB", family.afi, 1, 0x80) for family in Family)
        capabilities += bytes((64, 2 + len(families))) + struct.pack("!H", restart_time) + families
    if add_paths:
        families = b"".join(struct.pack("!HBB", family.afi, 1, 3) for family in Family)
        capabilities += bytes((69, len(families))) + families
    parameters = bytes((2, len(capabilities))) + capabilities
    short_as = local_as if local_as < 65536 else 23456
    head = struct.pack("!BHH4sB", 4, short_as, hold_time, router_id.packed, len(parameters))
    return message(_OPEN, head + parameters)


def end_of_rib(family: Family) -> bytes:
    """End-of-RIB (RFC 4724 §2)."""
    if family is Family.IPV4:
        return message(_UPDATE, b"\0\0\0\0")
    return message(_UPDATE, b"\0\0\0\x06\x80\x0f\x03" + struct.pack("!HB", family.afi, 1))


def prefixes(blast: Blast) -> Iterator[bytes]:
    """The prefixes in wire form, one after the other."""
    family = family_of(blast.first)
    size, octets = family.bits // 8, (blast.length + 7) // 8
    step = 1 << (family.bits - blast.length)
    head = (b"" if blast.path is None else blast.path.to_bytes(4, "big")) + bytes((blast.length,))
    start = int(blast.first)
    for number in range(blast.count):
        yield head + (start + number * step).to_bytes(size, "big")[:octets]


def stream(blast: Blast) -> bytes:
    """All UPDATEs of a blast, without End-of-RIB."""
    family = family_of(blast.first)
    groups: Iterator[list[bytes]]
    room = (_MAXIMUM_MESSAGE - 150) // len(next(prefixes(blast)))
    all_prefixes = prefixes(blast)
    groups = iter(lambda: list(itertools.islice(all_prefixes, min(blast.per_set or room, room))), [])
    updates = []
    for number, group in enumerate(groups):
        label = number if blast.per_set is not None else None
        nlri = b"".join(group)
        if family is Family.IPV4:
            attributes = _attributes(blast, label) + b"\x40\x03\x04" + blast.next_hop.packed
            body = struct.pack("!HH", 0, len(attributes)) + attributes + nlri
        else:
            reach = struct.pack("!HBB", family.afi, 1, 16) + blast.next_hop.packed + b"\0" + nlri
            attributes = b"\x90\x0e" + struct.pack("!H", len(reach)) + reach + _attributes(blast, label)
            body = struct.pack("!HH", 0, len(attributes)) + attributes
        updates.append(message(_UPDATE, body))
    return b"".join(updates)


def withdrawal(prefix: Prefix) -> bytes:
    """An UPDATE that withdraws one prefix."""
    family = family_of(prefix)
    wire = bytes((prefix.prefixlen,)) + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]
    if family is Family.IPV4:
        return message(_UPDATE, struct.pack("!H", len(wire)) + wire + b"\0\0")
    value = struct.pack("!HB", family.afi, 1) + wire
    attributes = b"\x80\x0f" + bytes((len(value),)) + value
    return message(_UPDATE, struct.pack("!HH", 0, len(attributes)) + attributes)


def _attributes(blast: Blast, label: int | None) -> bytes:
    """ORIGIN, AS_PATH, LOCAL_PREF within one AS, and a large community that makes each set distinct."""
    if blast.ebgp:
        times = 1 + blast.prepended
        path = bytes((0x40, 2, 2 + 4 * times, 2, times)) + times * struct.pack("!I", blast.local_as)
    else:
        path = b"\x40\x02\x00\x40\x05\x04\x00\x00\x00\x64"
    large = b"" if label is None else b"\xc0\x20\x0c" + struct.pack("!III", blast.local_as, label, 1)
    return b"\x40\x01\x01\x00" + path + large


class Blaster:
    """A session of our own making over a plain, blocking socket."""

    def __init__(
        self,
        *,
        local: Address,
        local_as: int,
        peer: Address,
        port: int = 179,
        router_id: IPv4Address | None = None,
        restart_time: int | None = None,
        deadline: float = 30,
    ) -> None:
        self._open = open_message(local_as, router_id or _router_id(local), restart_time=restart_time)
        self.socket = _dial(local, peer, port, deadline=deadline)

    def establish(self) -> None:
        """Exchange OPEN and KEEPALIVE; ``ConnectionError`` if the peer refuses."""
        self.socket.sendall(self._open)
        self.expect(_OPEN)
        self.socket.sendall(message(_KEEPALIVE))
        self.expect(_KEEPALIVE)

    def expect(self, kind: int) -> bytes:
        """The body of the next message, which must be of this type."""
        received, body = self.receive()
        if received != kind:
            raise ConnectionError(f"message of type {received} instead of {kind}: {body.hex()}")
        return body

    def receive(self) -> tuple[int, bytes]:
        """The next message: type and body."""
        header = self._exactly(19)
        length, kind = struct.unpack("!HB", header[16:])
        return kind, self._exactly(length - 19)

    def hold(self) -> None:
        """Keep the session up until the peer ends it; returns when it does."""
        self.socket.settimeout(_KEEPALIVE_SECONDS)
        while True:
            try:
                if not self.socket.recv(1 << 16):
                    return
            except TimeoutError:
                pass
            except OSError:
                return
            self.socket.sendall(message(_KEEPALIVE))

    def close(self) -> None:
        """Close without a word."""
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the peer closed the connection")
            data += more
        return data


def _dial(local: Address, peer: Address, port: int, *, deadline: float) -> socket.socket:
    family = socket.AF_INET6 if local.version == 6 else socket.AF_INET
    end = time.monotonic() + deadline
    while True:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind((str(local), 0))
            sock.connect((str(peer), port))
        except OSError:
            sock.close()
            if time.monotonic() > end:
                raise
            time.sleep(_RETRY_SECONDS)
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def _router_id(address: Address) -> IPv4Address:
    return address if isinstance(address, IPv4Address) else IPv4Address(address.packed[-4:])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one blast; ``--result FILE`` gets the times (seconds since the epoch) as JSON once all is sent."""
    parser = argparse.ArgumentParser(prog="blaster", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--local", type=parse_address, required=True)
    parser.add_argument("--local-as", type=int, required=True)
    parser.add_argument("--peer", type=parse_address, required=True)
    parser.add_argument("--peer-as", type=int, default=0, help="default: another AS than ours")
    parser.add_argument("--port", type=int, default=179)
    parser.add_argument("--routes", type=int, required=True)
    parser.add_argument("--per-set", type=int, help="prefixes an attribute set; default: packed")
    parser.add_argument("--first", type=parse_prefix, default=parse_prefix("20.0.0.0/26"), help="first prefix")
    parser.add_argument("--next-hop", type=parse_address, help="default: the local address")
    parser.add_argument("--restart-time", type=int, help="offer graceful restart")
    parser.add_argument("--result", type=Path)
    arguments = parser.parse_args(argv)
    blast = Blast(
        next_hop=arguments.next_hop or arguments.local,
        local_as=arguments.local_as,
        remote_as=arguments.peer_as,
        count=arguments.routes,
        first=arguments.first.network_address,
        length=arguments.first.prefixlen,
        per_set=arguments.per_set,
    )
    data = stream(blast) + end_of_rib(family_of(blast.first))
    blaster = Blaster(
        local=arguments.local,
        local_as=arguments.local_as,
        peer=arguments.peer,
        port=arguments.port,
        restart_time=arguments.restart_time,
    )
    blaster.establish()
    times = {"established": time.time()}
    blaster.socket.sendall(data)
    times["sent"] = time.time()
    if arguments.result is not None:
        unfinished = arguments.result.with_suffix(".part")
        unfinished.write_text(json.dumps(times))
        unfinished.replace(arguments.result)
    blaster.hold()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

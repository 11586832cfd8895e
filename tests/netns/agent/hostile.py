"""A peer that means harm, as a program for a namespace of its own: one campaign after another against one speaker.

    python -m tests.netns.agent.hostile CAMPAIGN SPEAKER SEED COUNT

It prints a line of JSON at the end: what it has done, and what it was answered.
"""

import contextlib
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

from towpath.lab.blaster import end_of_rib, message, open_message
from towpath.model.net import Family, to_wire

OPEN, UPDATE, NOTIFICATION, KEEPALIVE, REFRESH = 1, 2, 3, 4, 5
OUR_AS = 65666
ADDRESS = IPv4Address("10.0.9.2")
STRANGERS = tuple(IPv4Address("10.0.9.2") + number for number in range(1, 40))
PATIENCE = 240.0
"""Seconds that any campaign may take on a machine that has other things to do."""


WAITS = 60.0
"""Seconds for one answer of the speaker."""


class GoneError(Exception):
    """The speaker has ended the connection; with the NOTIFICATION that it sent, if there was one."""


class Peer:
    """One connection to the speaker."""

    def __init__(self, speaker: str, *, source: IPv4Address = ADDRESS) -> None:
        self.sock = socket.create_connection((speaker, 179), timeout=WAITS, source_address=(str(source), 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.said: tuple[int, int] | None = None

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.hear()
            raise GoneError from error

    def hear(self) -> None:
        """Read what has come, without waiting for more."""
        self.sock.setblocking(False)
        with contextlib.suppress(OSError):
            while data := self.sock.recv(65536):
                self.rest += data
        with contextlib.suppress(OSError):
            self.sock.settimeout(WAITS)
        for kind, body in self._messages():
            if kind == NOTIFICATION:
                self.said = (body[0], body[1])

    def look(self) -> None:
        """``hear``, and ``GoneError`` where the speaker has taken leave."""
        self.hear()
        if self.said is not None:
            raise GoneError

    def await_kind(self, kind: int) -> bytes:
        while True:
            for found, body in self._messages():
                if found == NOTIFICATION:
                    self.said = (body[0], body[1])
                if found == kind:
                    return body
            try:
                data = self.sock.recv(65536)
            except OSError as error:
                raise GoneError from error
            if not data:
                raise GoneError
            self.rest += data

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        while len(self.rest) >= 19:
            size = struct.unpack_from("!H", self.rest, 16)[0]
            if len(self.rest) < size:
                return
            kind, body = self.rest[18], self.rest[19:size]
            self.rest = self.rest[size:]
            yield kind, body

    def establish(self) -> "Peer":
        self.send(open_message(OUR_AS, ADDRESS, hold_time=180))
        self.await_kind(OPEN)
        self.send(message(KEEPALIVE))
        self.await_kind(KEEPALIVE)
        self.send(end_of_rib(Family.IPV4))  # what it may have said before counts no longer
        return self

    def alive(self) -> None:
        """Wait until everything that was sent has been read: the answer to a refresh comes after it."""
        self.hear()
        self.send(message(REFRESH, b"\0\1\0\1"))
        self.await_kind(UPDATE)

    def close(self) -> None:
        self.sock.close()


def attribute(flags: int, kind: int, value: bytes) -> bytes:
    if flags & 0x10 or len(value) > 255:
        return bytes((flags | 0x10, kind)) + struct.pack("!H", len(value)) + value
    return bytes((flags, kind, len(value))) + value


def block(*more: bytes) -> bytes:
    path = attribute(0x40, 2, b"\x02\x01" + OUR_AS.to_bytes(4, "big"))
    return b"".join((attribute(0x40, 1, b"\0"), path, attribute(0x40, 3, ADDRESS.packed), *more))


def update(attributes: bytes, announced: bytes, withdrawn: bytes = b"") -> bytes:
    head = struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attributes)) + attributes
    return message(UPDATE, head + announced)


def wire(text: str) -> bytes:
    return to_wire(ip_network(text))


def reach6(hop: bytes, text: str) -> bytes:
    """MP_REACH_NLRI with one IPv6 prefix."""
    return attribute(0x90, 14, struct.pack("!HBB", 2, 1, len(hop)) + hop + b"\0" + wire(text))


def samples() -> list[bytes]:
    """Good messages of every shape, from which bad ones are made."""
    reach6 = (
        struct.pack("!HBB", 2, 1, 16) + bytes.fromhex("fd000009" + "0" * 23 + "2") + b"\0" + wire("2001:db8:66::/48")
    )
    return [
        update(block(), wire("198.51.100.0/24") + wire("203.0.113.128/25")),
        update(block(attribute(0xC0, 8, bytes.fromhex("ffffff01fde80001"))), wire("198.51.100.64/26")),
        update(block(attribute(0xC0, 32, bytes(12)), attribute(0x80, 4, bytes(4))), wire("203.0.113.0/25")),
        update(
            block(attribute(0xC0, 7, OUR_AS.to_bytes(4, "big") + bytes(4)), attribute(0x40, 6, b"")),
            wire("192.0.2.128/25"),
        ),
        update(block(attribute(0xC0, 16, bytes(16)), attribute(0xE0, 99, b"unknown")), wire("198.51.100.128/25")),
        update(block(attribute(0x90, 14, reach6)), b""),
        update(attribute(0x80, 15, struct.pack("!HB", 2, 1) + wire("2001:db8:66::/48")), b""),
        update(b"", b"", wire("198.51.100.0/24")),
        update(block(attribute(0x80, 9, bytes(4)), attribute(0x80, 10, bytes(8))), wire("198.51.100.0/24")),
        message(REFRESH, b"\0\1\0\1"),
        message(KEEPALIVE),
        open_message(OUR_AS, ADDRESS, hold_time=180),
    ]


def mutated(chance: random.Random, good: bytes) -> bytes:
    """A message with bytes changed, put in or left out; seldom in the header, which would end the session at once."""
    made = bytearray(good)
    body_only = chance.random() > 0.05 and len(made) > 19
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(19 if body_only else 0, len(made)) if len(made) > (19 if body_only else 0) else len(made)
        match chance.randrange(4):
            case 0 if at < len(made):
                made[at] = chance.randrange(256)
            case 1 if at < len(made):
                made[at] ^= 1 << chance.randrange(8)
            case 2:
                made[at:at] = chance.randbytes(chance.randint(1, 8))
            case _:
                del made[at : at + chance.randint(1, 8)]
    if body_only:
        made[16:18] = struct.pack("!H", len(made))
    return bytes(made)


def mutations(speaker: str, chance: random.Random, count: int) -> dict[str, object]:
    """So many mutated messages, over as many sessions as it takes."""
    good, answers, sent, sessions = samples(), Counter[str](), 0, 0
    peer: Peer | None = None
    while sent < count:
        try:
            if peer is None:
                peer = Peer(speaker).establish()
                sessions += 1
            bad = b"".join(mutated(chance, chance.choice(good)) for _ in range(20))
            sent += 20
            peer.send(bad)
            if chance.random() < 0.3:
                peer.alive()
            peer.look()
        except (GoneError, OSError) as error:
            if peer is not None:
                peer.hear()
                answers[str(peer.said) if peer.said else type(error).__name__] += 1
                peer.close()
            peer = None
    if peer is not None:
        peer.close()
    return {"sent": sent, "sessions": sessions, "answers": answers}


def stay(peer: Peer, *, sent: int) -> dict[str, object]:
    """Say that all has been sent and read, and keep the session until the input ends."""
    peer.alive()
    print(json.dumps({"sent": sent}), flush=True)
    sys.stdin.read()
    peer.close()
    return {}


def flood(speaker: str, _chance: random.Random, count: int) -> dict[str, object]:
    """So many distinct prefixes, far more than anybody asked for; the session stays open until the input ends."""
    peer = Peer(speaker).establish()
    attributes, made = block(), bytearray()
    for number in range(count):
        made += b"\x20" + (0x14000000 + number * 3).to_bytes(4, "big")
        if len(made) > 3900 or number == count - 1:
            peer.send(update(attributes, bytes(made)))
            made.clear()
    return stay(peer, sent=count)


def attributes(speaker: str, chance: random.Random, count: int) -> dict[str, object]:
    """So many UPDATEs for ten prefixes, each with three kilobytes of attributes that no other has."""
    peer = Peer(speaker).establish()
    for number in range(count):
        junk = attribute(0xE0, 200 + number % 20, chance.randbytes(2000))
        more = attribute(0xC0, 8, chance.randbytes(1000))
        peer.send(update(block(more, junk), wire(f"198.51.100.{number % 10 * 16}/28")))
    return stay(peer, sent=count)


MARTIANS = (
    "0.0.0.0/0", "0.0.0.0/8", "0.1.2.0/24", "127.0.0.0/8", "127.1.2.3/32", "224.0.0.0/4", "239.1.1.1/32", "240.0.0.0/4",
    "255.255.255.255/32", "10.244.1.0/26", "10.244.1.7/32", "10.244.77.0/26", "10.0.0.1/32", "10.0.9.1/32",
)  # fmt: skip
"""What nobody outside may bring: the default route by no filter, martians, the node's own block and addresses, a pool's."""
MARTIANS6 = ("::/0", "::/128", "::1/128", "::ffff:10.0.0.0/104", "fe80::/10", "fe80::1/128", "ff00::/8", "ff02::1/128")


def wrongs(speaker: str, _chance: random.Random, _count: int) -> dict[str, object]:
    """Prefixes and next hops that nobody may bring, and a good prefix after each broken attribute: what was good goes."""
    peer = Peer(speaker).establish()
    hop6 = bytes.fromhex("fd000009" + "0" * 23 + "2")
    peer.send(update(block(), wire("198.51.100.200/32")))
    for text in MARTIANS:
        peer.send(update(block(), wire(text)))
    for text in MARTIANS6:
        peer.send(update(block(reach6(hop6, text)), b""))
    origin, path = attribute(0x40, 1, b"\0"), attribute(0x40, 2, b"\x02\x01" + OUR_AS.to_bytes(4, "big"))
    hops = ("0.0.0.0", "0.0.0.1", "127.0.0.1", "224.0.0.5", "240.0.0.1", "255.255.255.255", "10.0.9.1", "10.0.0.1")
    for number, text in enumerate(hops):
        hop = attribute(0x40, 3, IPv4Address(text).packed)
        peer.send(update(origin + path + hop, wire(f"198.51.100.{number}/32")))
    for number, text in enumerate(("::", "::1", "ff02::1", "fe80::2", "::ffff:10.0.9.2", "fd00:9::1")):
        peer.send(update(origin + path + reach6(IPv6Address(text).packed, f"2001:db8:{number}::/48"), b""))
    broken = (
        attribute(0x40, 1, b"\7") + path, origin + attribute(0x40, 2, b"\x02\x02" + OUR_AS.to_bytes(4, "big")), path, origin,
        origin + path + attribute(0x80, 4, b"\0"), origin + path + attribute(0xC0, 8, b"\0"),
        origin + path + attribute(0xC0, 32, bytes(11)), origin + path + attribute(0xC0, 16, bytes(7)),
        origin + path + attribute(0x40, 99, b""), origin + path + attribute(0xC0, 35, b"\0"),
        origin + path + b"\xc0\x08\xff",
    )  # fmt: skip
    hop = attribute(0x40, 3, ADDRESS.packed)
    for number, some in enumerate(broken):
        prefix = wire(f"203.0.113.{number}/32")
        peer.send(update(block(), prefix) + update(hop + some, prefix))
    peer.send(update(block(), b"\x19\xc6\x33\x64\xff"))  # host bits are set: 198.51.100.128/25
    return stay(peer, sent=len(MARTIANS) + len(MARTIANS6) + len(hops) + len(broken))


def strangers(speaker: str, chance: random.Random, count: int) -> dict[str, object]:
    """Connections from addresses without a session, and slow ones from the peer's own; then a session all the same."""
    slow = []
    for number in range(10):
        one = Peer(speaker)
        one.send(open_message(OUR_AS, ADDRESS)[: number * 3])
        slow.append(one)
    closed = 0
    for _ in range(count):
        with contextlib.suppress(OSError):
            one = Peer(speaker, source=chance.choice(STRANGERS))
            with contextlib.suppress(OSError):
                one.sock.sendall(open_message(OUR_AS, ADDRESS))
            with contextlib.suppress(OSError):
                while one.sock.recv(4096):
                    pass
            one.close()
        closed += 1
    peer = Peer(speaker).establish()
    peer.alive()
    for one in (*slow, peer):
        one.close()
    return {"closed": closed}


CAMPAIGNS: dict[str, Callable[[str, random.Random, int], dict[str, object]]] = {
    "mutations": mutations,
    "flood": flood,
    "attributes": attributes,
    "strangers": strangers,
    "wrongs": wrongs,
}


def main() -> None:
    name, speaker, seed, count = sys.argv[1:]
    began = time.monotonic()
    done = CAMPAIGNS[name](speaker, random.Random(int(seed)), int(count))
    print(json.dumps({**done, "seconds": round(time.monotonic() - began, 1)}), flush=True)


if __name__ == "__main__":
    main()

"""BGP peers that are sockets of this process, all served by one thread, so that they cost little beside what is measured."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from towpath.lab.bench.rig import DUT, PEER_AS, Rig
from towpath.lab.blaster import message, open_message
from towpath.model.net import Address, Family, family_of

NETWORK = "10.255.0.0/16"
"""Where the addresses of ``peer_addresses`` are; the node under test reaches them on its link."""
_HEADER = 19
_OPEN, _KEEPALIVE = 1, 4
_BUFFER = 1 << 18
_TICK = 0.2


def peer_addresses(here: Rig, count: int) -> list[IPv4Address]:
    """Addresses that so many peers have, on the peers' host."""
    made = [IPv4Address(f"10.255.{1 + number // 200}.{1 + number % 200}") for number in range(count)]
    here.peer.address(*(f"{place}/32" for place in made), dev="eth0")
    here.dut.ip("route", "add", NETWORK, "dev", "eth0")
    return made


class Peers:
    """Sessions with the node under test, each of which tells its table once it is up; ended with the block."""

    def __init__(self, here: Rig, own: Sequence[Address], tables: Sequence[bytes], *, hold_time: int = 90) -> None:
        """``own``: the address of each peer; ``tables``: what each says behind its first KEEPALIVE. ``hold_time`` in seconds."""
        self._selector = selectors.DefaultSelector()
        self._sessions = []
        self._over = threading.Event()
        with here.peer.entered():
            for address, table in zip(own, tables, strict=True):
                self._sessions.append(_Session(address, table, hold_time=hold_time))
        self._every = hold_time / 3
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        for session in self._sessions:
            session.dial()
            self._selector.register(session.socket, selectors.EVENT_WRITE, session)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for session in self._sessions:
            session.socket.close()

    def up(self) -> int:
        """How many sessions have said their table."""
        return sum(session.heard_at > 0 for session in self._sessions)

    def send(self, number: int, data: bytes) -> None:
        """Say something on the session of this number."""
        self._sessions[number].socket.sendall(data)

    def end(self, number: int) -> None:
        """Close the session of this number without a word."""
        self._sessions[number].socket.shutdown(socket.SHUT_RDWR)

    def watch(self) -> None:
        """Forget how long the silences were."""
        for session in self._sessions:
            session.silence = 0.0

    def silence(self) -> float:
        """Seconds: the longest time since ``watch`` in which the node said nothing on a session."""
        return max(max(session.silence, time.monotonic() - session.heard_at) for session in self._sessions)

    def _run(self) -> None:
        following = time.monotonic() + self._every
        while not self._over.is_set():
            for key, events in self._selector.select(_TICK):
                session: _Session = key.data
                if events & selectors.EVENT_WRITE:
                    self._selector.modify(key.fileobj, selectors.EVENT_READ, session)
                    session.greet()
                elif not session.listen():
                    self._selector.unregister(key.fileobj)
            if time.monotonic() > following:
                following += self._every
                for session in self._sessions:
                    session.keep()


class _Session:
    """One of them."""

    def __init__(self, own: Address, table: bytes, *, hold_time: int) -> None:
        family = family_of(own)
        self._own, self._there = own, DUT[family]
        self._table = table
        self._hello = open_message(PEER_AS, IPv4Address(own.packed[-4:]), hold_time=hold_time)
        self._rest = b""
        self.heard_at = 0.0
        self.silence = 0.0
        self.socket = socket.socket(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6)

    def dial(self) -> None:
        self.socket.bind((str(self._own), 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.socket.connect_ex((self._there, 179))

    def greet(self) -> None:
        self.socket.setblocking(True)
        self.socket.sendall(self._hello)

    def keep(self) -> None:
        if self.heard_at:
            with contextlib.suppress(OSError):
                self.socket.sendall(message(_KEEPALIVE))

    def listen(self) -> bool:
        """Take in what there is; whether the session goes on."""
        try:
            data = self.socket.recv(_BUFFER)
        except OSError:
            return False
        now = time.monotonic()
        if self.heard_at:
            self.silence = max(self.silence, now - self.heard_at)
            self.heard_at = now
        elif data:
            self._rest += data
            if len(self._rest) > _HEADER and self._rest[_HEADER - 1] == _OPEN:
                self.heard_at = now
                self.socket.sendall(message(_KEEPALIVE) + self._table)
        return bool(data)

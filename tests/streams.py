"""Connections that are open all the while: what pods with work under way see when the ways between them change.

Each sends eight kilobytes and has them back before it sends more, so segments are as large as the way takes.
"""

import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from towpath.lab.netns import Host
from towpath.lab.process import patience, wait_for
from towpath.model.net import Address

_BLOCK = bytes(8192)
_PAUSE = 0.02
_PATIENT = 60.0
"""Seconds without an answer after which a connection counts as broken."""
_FRESH = 3
"""Turns that show that a connection works: the first of them may have been under way."""


class Streams:
    """What becomes of them."""

    def __init__(self) -> None:
        self.turns: Counter[str] = Counter()
        """How often each sent a block and had it back."""
        self.broken: dict[str, str] = {}
        """Those that ended before they were to, and why."""

    def go_on(self) -> None:
        """Wait until each has sent and received anew."""
        before = dict(self.turns)

        def moved() -> bool:
            return bool(self.broken) or all(self.turns[name] >= turns + _FRESH for name, turns in before.items())

        wait_for(moved, deadline=_PATIENT, what="every connection goes on")
        assert not self.broken, self.broken


@contextmanager
def streaming(ways: Iterable[tuple[Host, Host, Address]]) -> Iterator[Streams]:
    """Open a connection from each first host to the address of the second, and keep it busy for as long as the block lasts."""
    seen, ended = Streams(), threading.Event()
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []
    try:
        for source, target, address in ways:
            name = f"{source.name} to {target.name} ({address})"
            ours, theirs = connected(source, target, address)
            opened += [ours, theirs]
            seen.turns[name] = 0
            threads.append(threading.Thread(target=_echo, args=(theirs,)))
            threads.append(threading.Thread(target=_send, args=(ours, name, seen, ended)))
        for thread in threads:
            thread.start()
        seen.go_on()
        yield seen
    finally:
        ended.set()
        for thread in threads[1::2]:
            thread.join()
        for one in opened:
            one.close()
        for thread in threads[::2]:
            thread.join()


def connected(source: Host, target: Host, address: Address) -> tuple[socket.socket, socket.socket]:
    """A connection from a host to an address of another, and its other end; to be closed by who asked."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with target.entered():
        server = socket.create_server((str(address), 0), family=family)
    with source.entered():
        client = socket.socket(family)
    with server:
        for one in (server, client):
            one.settimeout(_PATIENT * patience())
        client.connect((str(address), server.getsockname()[1]))
        accepted, _ = server.accept()
    return client, accepted


def _echo(one: socket.socket) -> None:
    one.settimeout(None)
    try:
        while data := one.recv(65536):
            one.sendall(data)
    except OSError:
        return  # who sent it says why


def _send(one: socket.socket, name: str, seen: Streams, ended: threading.Event) -> None:
    try:
        while not ended.wait(_PAUSE):
            one.sendall(_BLOCK)
            left = len(_BLOCK)
            while left:
                data = one.recv(left)
                if not data:
                    raise ConnectionResetError("closed by the other end")
                left -= len(data)
            seen.turns[name] += 1
        one.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        seen.broken[name] = repr(error)

"""New connections, one after the other, all the time: what a client sees while the ways to a service change.

Lost is a connection that could not be opened, or not with its first packet: a SYN that had to be sent again went somewhere
that takes none. A connection that was open when a router spread its flows anew may be reset, which no node can help;
it is tried again at once, and counts by what comes of that.
"""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from towpath.lab.netns import Host
from towpath.lab.process import patience

Server = tuple[str, int]
_TCP_INFO_SIZE, _TOTAL_RETRANSMISSIONS = 104, slice(100, 104)
"""Of ``struct tcp_info`` (linux/tcp.h): ``tcpi_total_retrans``."""
_PAUSE = 0.01
_SYN_AGAIN = 0.9
"""Seconds: a SYN that nobody answers is sent again after one (RFC 6298)."""
ANSWER_WITHIN = 5.0


class Knocks:
    """What came of them, by server; complete after the ``with`` block."""

    def __init__(self) -> None:
        self.answers: dict[Server, Counter[str]] = {}
        """How often each server's names answered."""
        self.lost: dict[Server, list[str]] = {}
        """What became of those that were lost."""

    def nothing_lost(self) -> None:
        """Everything that was asked was answered, and something was asked."""
        assert self.answers
        assert all(self.answers.values()), self.answers
        assert not any(self.lost.values()), self.lost

    def names(self) -> set[str]:
        """Everybody who answered."""
        return set().union(*self.answers.values())


@contextmanager
def knocking(host: Host, servers: Iterable[Server]) -> Iterator[Knocks]:
    """Ask each of these, from this host, again and again."""
    seen, ended = Knocks(), threading.Event()
    threads = []
    for server in servers:
        seen.answers[server], seen.lost[server] = Counter(), []
        threads.append(threading.Thread(target=_knock, args=(host, server, seen, ended)))
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _knock(host: Host, server: Server, seen: Knocks, ended: threading.Event) -> None:
    with host.entered():
        while not ended.wait(_PAUSE):
            began = time.monotonic()
            try:
                try:
                    name = ask(server)
                except ConnectionResetError:
                    name = ask(server)
            except OSError as error:
                seen.lost[server].append(f"{error!r} after {time.monotonic() - began:.2f} s")
            else:
                seen.answers[server][name] += 1


def ask(server: Server) -> str:
    """What a server says its name is. ``OSError`` where it does not answer, or not to the first packet."""
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family) as opened:
        opened.settimeout(ANSWER_WITHIN * patience())
        began = time.monotonic()
        opened.connect(server)
        waited = time.monotonic() - began
        info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        again = int.from_bytes(info[_TOTAL_RETRANSMISSIONS], "little")
        # sooner, what is left of an old connection of the same ports has answered, and the kernel sends the SYN again
        if again and waited > _SYN_AGAIN:
            raise TimeoutError(f"opened with packet {1 + again}")
        opened.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while more := opened.recv(65536):
            answer += more
    if not answer:
        raise ConnectionResetError("closed without an answer")
    return answer.partition(b"\r\n\r\n")[2].decode().strip()

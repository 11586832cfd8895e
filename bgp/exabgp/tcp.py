"""Sockets as BGP wants them: options, TCP-MD5 keys (RFC 2385), dialling, listening and a last word."""

import asyncio
import contextlib
import errno
import os
import socket
import struct
import sys

from towpath.model.net import Address, Family, family_of, parse_address, scoped, unscoped, zone_of
from towpath.model.secret import Secret

_TCP_MD5SIG = 14
_TCP_NOTSENT_LOWAT = 25
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73
_TCP_SAVE_SYN = 27
_TCP_SAVED_SYN = 28
_LONGEST_SYN = 256
"""More than any two headers with their options: into less the kernel puts nothing."""
_INFO_LAST_DATA_SENT = 44
"""Offset of ``tcpi_last_data_sent`` in ``struct tcp_info`` (linux/tcp.h), in milliseconds."""
_TICK = 0.01
"""The kernel counts it in ticks; at the lowest rate that it knows they are as long as this."""
_DEFAULT_HOPS = -1
FARTHEST = 255
"""The TTL of who is to be known as near (RFC 5082 section 3)."""
_TOS_CS6 = 0xC0
_MAXIMUM_KEY = 80
_UNSENT_BYTES = 131072
"""The kernel takes no more than this ahead of the wire: a KEEPALIVE never waits behind megabytes."""
BACKLOG = 512
_PROBE_SECONDS = 3
_PROBES = 127
"""Most that the kernel allows: a peer that is only silent is judged by the hold timer, long before they run out."""
_LINGER_SECONDS = 2.0
_DRAIN_BYTES = 65536


def dialling_socket(
    peer: Address, *, local: Address | None, key: Secret | None, hops: int | None, least: int
) -> socket.socket:
    """A socket, not connected yet, with its key and its TTLs; ``OSError`` if the kernel refuses one of them."""
    sock = _stream(family_of(peer))
    try:
        if key is not None:
            set_key(sock, peer, key)
        tune(sock, family_of(peer))
        limit(sock, family_of(peer), hops=hops, least=least)
        if local is not None:
            sock.bind(name_of(local, 0))
    except OSError:
        sock.close()
        raise
    return sock


def listening_socket(family: Family, address: Address | None, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket for one address, or all of a family; the address may still be missing on the host.

    ``shared``: beside others of ours at the same place, all of them with SO_REUSEPORT.
    """
    sock = _stream(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # whoever asks for TTL security judges our SYN-ACK too, and we judge a SYN by what is saved of it
        limit(sock, family, hops=FARTHEST, least=0)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)
        if family is Family.IPV6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind(name_of(address, port) if address is not None else ("", port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def linger(sock: socket.socket, loop: asyncio.AbstractEventLoop, *, last: bytes) -> None:
    """Send what is to be said last and close once the peer has; a peer that takes its time is not waited for long.

    Closing with unread input would reset the connection and lose our last message.
    """
    rest = last

    def finish() -> None:
        loop.remove_reader(sock)
        loop.remove_writer(sock)
        timer.cancel()
        sock.close()

    def say() -> None:
        nonlocal rest
        try:
            rest = rest[sock.send(rest) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            finish()
            return
        if not rest:
            loop.remove_writer(sock)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

    def drain() -> None:
        try:
            if not sock.recv(_DRAIN_BYTES):
                finish()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            finish()

    timer = loop.call_later(_LINGER_SECONDS, finish)
    loop.add_reader(sock, drain)
    loop.add_writer(sock, say)
    say()


def hops_of_syn(sock: socket.socket, family: Family) -> int:
    """The TTL that the SYN of an accepted socket came with; 0 where that is not known, as after a SYN cookie."""
    try:
        header = sock.getsockopt(socket.IPPROTO_TCP, _TCP_SAVED_SYN, _LONGEST_SYN)
    except OSError:
        return 0
    at = 7 if family is Family.IPV6 else 8  # Hop Limit (RFC 8200 section 3), Time to Live (RFC 791 section 3.1)
    return header[at] if len(header) > at else 0


def age(sock: socket.socket) -> float:
    """At most so many seconds ago the kernel took an incoming connection, on which nothing was sent yet.

    A process that is busy accepts it later. Its last sending is set to when it was made (``tcp_create_openreq_child``).
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_LAST_DATA_SENT + 4)
    except OSError:
        return 0.0  # it is gone
    return int.from_bytes(info[_INFO_LAST_DATA_SENT:], sys.byteorder) / 1000 + _TICK


def limit(sock: socket.socket, family: Family, *, hops: int | None, least: int) -> None:
    """The TTL that we send with, None for the kernel's default, and the least that a segment must come with (ip(7)).

    It may be called on a connection that is up.
    """
    sent = _DEFAULT_HOPS if hops is None else hops
    if family is Family.IPV6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, sent)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, least)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, sent)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, least)


def tune(sock: socket.socket, family: Family) -> None:
    """Options of every session's socket, whatever its TTLs."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    # a peer that has rebooted answers a probe with RST: whoever dials it knows in seconds, not at the next KEEPALIVE
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    if family is Family.IPV6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _TOS_CS6)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS_CS6)


def set_key(sock: socket.socket, peer: Address, key: Secret | None) -> None:
    """Set, change or (None) remove the MD5 key for a peer; removing one that is not there is fine."""
    value = key.reveal() if key is not None else b""
    if len(value) > _MAXIMUM_KEY:
        raise OSError(errno.EINVAL, f"a TCP-MD5 password has at most {_MAXIMUM_KEY} bytes")
    if peer.version == 4:
        address = struct.pack("=HH4s", socket.AF_INET, 0, peer.packed)
    else:
        address = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, peer.packed, 0)
    # struct tcp_md5sig: sockaddr_storage, flags, prefixlen, keylen, ifindex, key
    option = struct.pack("=128sBBHi80s", address, 0, 0, len(value), 0, value)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, option)
    except OSError as error:
        if key is not None or error.errno != errno.ENOENT:
            raise


def address_of(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """The address in what ``getpeername``, ``getsockname`` and ``accept`` return, a link-local one with its device.

    ``OSError``: the device is gone.
    """
    address = parse_address(name[0].partition("%")[0])
    return scoped(address, socket.if_indextoname(name[3])) if len(name) == 4 and name[3] else address


def name_of(address: Address, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """What ``bind`` and ``connect`` take, the device as its number. ``OSError``: there is no such device."""
    device = zone_of(address)
    return (str(unscoped(address)), port, 0, _index(device)) if device else (str(address), port)


def _index(device: str) -> int:
    try:
        return socket.if_nametoindex(device)
    except OSError:  # it has neither number nor reason
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None


def _stream(family: Family) -> socket.socket:
    kind = socket.AF_INET6 if family is Family.IPV6 else socket.AF_INET
    return socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

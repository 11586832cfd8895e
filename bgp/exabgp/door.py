"""One place to listen, with the TCP-MD5 keys of the peers that may come in there.

The kernel has room for some hundred keys on a socket (net.core.optmem_max). Where there are more, several sockets listen
at the same place (SO_REUSEPORT), and a filter in the kernel sends each peer to the one that has its key, by its address
alone. Their number is doubled at need: then a key stays where it is or moves to a new socket, and no connection meets a
moment without its key.
"""

import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from towpath.bgp.exabgp import tcp
from towpath.model.net import Address, Family
from towpath.model.secret import Secret

MOST: Final = 32
"""Sockets at one place, at most: room for four thousand keys where the kernel has its smallest limit."""
_ATTACH_FILTER: Final = 51
"""SO_ATTACH_REUSEPORT_CBPF (socket(7))."""
_LOAD, _KEEP, _XOR, _MULTIPLY, _SHIFT, _MODULO, _RETURN = 0x20, 0x07, 0xAC, 0x24, 0x74, 0x94, 0x16
"""Instructions of classic BPF (linux/filter.h): load a word, A to X, A ^ X, A * k, A >> k, A % k, return A."""
_NETWORK_HEADER: Final = 0xFFF00000
"""SKF_NET_OFF: from the IP header on."""
_IPV4_SOURCE, _IPV6_SOURCE_HIGH, _IPV6_SOURCE_LOW = 12, 16, 20
"""The source address, of IPv6 the two words of its interface identifier."""
_FACTOR, _BITS = 0x9E3779B1, 16
"""Neighbouring addresses end up far from each other."""


class Key(Struct, frozen=True):
    """A peer's key; ``needed``: this side only listens, so that without the key there is no session."""

    secret: Secret
    needed: bool


class Leaf:
    """One of the sockets."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.keys: dict[Address, Secret] = {}


class Door:
    """The sockets of one place. ``OSError`` where the kernel does not let us listen."""

    def __init__(self, family: Family, address: Address | None, port: int) -> None:
        self.family = family
        self._place = address, port
        self.leaves = [Leaf(tcp.listening_socket(family, address, port))]

    def leaf(self, peer: Address) -> Leaf:
        """The socket at which a peer comes in."""
        return self.leaves[place_of(peer, len(self.leaves))]

    def stale(self, wanted: Mapping[Address, Key]) -> bool:
        """Whether any key is to be changed."""
        keys = {peer: secret for leaf in self.leaves for peer, secret in leaf.keys.items()}
        return keys != {peer: key.secret for peer, key in wanted.items()}

    def key(self, wanted: Mapping[Address, Key]) -> Iterator[tuple[Address, OSError]]:
        """Bring the keys to what is wanted, needed ones first; needed ones that the kernel refuses, and why."""
        for leaf in self.leaves:
            for peer in [peer for peer in leaf.keys if peer not in wanted]:
                del leaf.keys[peer]
                tcp.set_key(leaf.sock, peer, None)
        for peer in sorted(wanted, key=lambda peer: (not wanted[peer].needed, peer.packed)):
            secret = wanted[peer].secret
            if self.leaf(peer).keys.get(peer) == secret:
                continue
            refused = self._set(peer, secret, needed=wanted[peer].needed)
            if refused is not None and wanted[peer].needed:
                yield peer, refused

    def close(self) -> None:
        """Listen no more."""
        for leaf in self.leaves:
            leaf.sock.close()

    def _set(self, peer: Address, secret: Secret, *, needed: bool) -> OSError | None:
        while True:
            leaf = self.leaf(peer)
            try:
                tcp.set_key(leaf.sock, peer, secret)
            except OSError as error:
                # a key that is only good to have is not worth a socket
                if error.errno != errno.ENOMEM or not needed or not self._double():
                    return error
            else:
                leaf.keys[peer] = secret
                return None

    def _double(self) -> bool:
        """Twice as many sockets, and half the keys of each on a new one; whether that was possible."""
        count = len(self.leaves)
        if 2 * count > MOST:
            return False
        fresh: list[Leaf] = []
        try:
            for leaf in self.leaves:
                leaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            while len(fresh) < count:
                fresh += [Leaf(tcp.listening_socket(self.family, *self._place, shared=True))]
            moves = [(leaf, peer) for leaf in self.leaves for peer in leaf.keys if place_of(peer, 2 * count) >= count]
            for leaf, peer in moves:
                there = fresh[place_of(peer, 2 * count) - count]
                tcp.set_key(there.sock, peer, leaf.keys[peer])
                there.keys[peer] = leaf.keys[peer]
            _choose(self.leaves[0].sock, self.family, 2 * count)
        except OSError:
            for leaf in reversed(fresh):
                leaf.sock.close()
            return False
        self.leaves += fresh
        for leaf, peer in moves:
            del leaf.keys[peer]
            tcp.set_key(leaf.sock, peer, None)
        for leaf in fresh:
            _turn_away(leaf)
        return True


def place_of(peer: Address, count: int) -> int:
    """Which of ``count`` sockets a peer comes in at: what ``_choose`` lets the kernel compute."""
    number = int(peer)
    low = number & 0xFFFFFFFF
    if peer.version == 6:
        low ^= number >> 32 & 0xFFFFFFFF
    return ((low * _FACTOR & 0xFFFFFFFF) >> _BITS) % count


def _turn_away(leaf: Leaf) -> None:
    """Whoever came in before the keys were there was not checked by the kernel: let him come again."""
    with contextlib.suppress(OSError):
        while True:
            leaf.sock.accept()[0].close()


def _choose(sock: socket.socket, family: Family, count: int) -> None:
    """Let the kernel choose among the sockets at a place, in the order in which they were opened."""
    if family is Family.IPV4:
        program = [(_LOAD, _NETWORK_HEADER + _IPV4_SOURCE)]
    else:
        program = [
            (_LOAD, _NETWORK_HEADER + _IPV6_SOURCE_HIGH),
            (_KEEP, 0),
            (_LOAD, _NETWORK_HEADER + _IPV6_SOURCE_LOW),
            (_XOR, 0),
        ]
    program += [(_MULTIPLY, _FACTOR), (_SHIFT, _BITS), (_MODULO, count), (_RETURN, 0)]
    # struct sock_filter: code, two jumps, operand; struct sock_fprog: how many, and where they are
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", what, 0, 0, k) for what, k in program))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))

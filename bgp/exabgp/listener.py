"""Listening sockets with their MD5 keys: an incoming connection finds its session by address in one look-up.

Desired sockets and keys are given whole. A session with a password takes a connection only through a socket on which
its key is set: without the key the kernel would let an unsigned one in.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping

from msgspec import Struct

from towpath.bgp.exabgp import tcp
from towpath.model.net import Address, Family, family_of, unscoped
from towpath.model.reason import Reason
from towpath.model.secret import Secret
from towpath.model.speaker import Listen, Notice

_ACCEPTS_A_TURN = 64
_RETRY_SECONDS = 5.0


class Arrival(Struct, frozen=True):
    """An accepted connection and where it came in."""

    sock: socket.socket
    peer: Address
    local: Address
    signed: bool
    """The listener held a key for this peer: the kernel has checked the signatures."""
    hops: int
    """The TTL that its SYN came with; 0: not known."""


class Key(Struct, frozen=True):
    """A peer's key; ``needed``: this side only listens, so that without the key there is no session."""

    secret: Secret
    needed: bool
    session: str


class _Door:
    """One listening socket."""

    def __init__(self, sock: socket.socket, family: Family, address: Address | None) -> None:
        self.sock = sock
        self.family = family
        self.address = address
        self.keys: dict[Address, Secret] = {}


class Listener:
    """All listening sockets. ``arrived`` takes every accepted connection and owns its socket.

    ``changed``: what was refused before was tried again.
    """

    def __init__(
        self,
        *,
        arrived: Callable[[Arrival], None],
        notice: Callable[[Notice], None],
        changed: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = arrived
        self._changed = changed
        self._notice = notice
        self._doors: dict[tuple[Listen, Family], _Door] = {}
        self._listens: tuple[Listen, ...] = ()
        self._keys: Mapping[Address, Key] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._told: set[tuple[str, str]] = set()
        self.refused: dict[tuple[Listen, Family], str] = {}
        """Where the kernel lets nobody listen, or not us, and what it says."""

    def apply(self, listens: tuple[Listen, ...], keys: Mapping[Address, Key]) -> None:
        """Open, close and key the sockets so that they are as desired; what fails is tried again."""
        self._listens, self._keys = listens, keys
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        wanted = {(listen, family) for listen in listens for family in _families(listen)}
        for place in [place for place in self._doors if place not in wanted]:
            self._close(self._doors.pop(place))
        self.refused = {place: said for place, said in self.refused.items() if place in wanted}
        for listen, family in sorted(wanted - self._doors.keys(), key=str):
            self._open(listen, family)
        for door in self._doors.values():
            self._key(door)
        if self._retry is None:
            self._told.clear()

    def close(self) -> None:
        """Close all sockets."""
        self.apply((), {})

    def _open(self, listen: Listen, family: Family) -> None:
        try:
            sock = tcp.listening_socket(family, listen.address, listen.port)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return  # a kernel without IPv6
            where = f"{listen.address if listen.address is not None else '*'} port {listen.port}"
            said = self.refused[listen, family] = f"cannot listen on {where}: {error.strerror}"
            self._tell(Reason.LISTEN_REFUSED, said, session="")
            self._later()
            return
        self.refused.pop((listen, family), None)
        door = _Door(sock, family, listen.address)
        self._doors[listen, family] = door
        self._key(door)
        self._loop.add_reader(sock, self._accept, door)

    def _close(self, door: _Door) -> None:
        self._loop.remove_reader(door.sock)
        door.sock.close()

    def _key(self, door: _Door) -> None:
        """Bring the keys of a socket to what is desired: those that are needed first."""
        wanted = {peer: key for peer, key in self._keys.items() if family_of(peer) is door.family}
        changed = [peer for peer, key in wanted.items() if door.keys.get(peer) != key.secret]
        gone = [peer for peer in door.keys if peer not in wanted]
        if changed or gone:
            # who waits in the queue came in under the old keys and is judged by them
            self._accept(door, limit=tcp.BACKLOG)
        for peer in gone:
            del door.keys[peer]
            tcp.set_key(door.sock, peer, None)
        for peer in sorted(changed, key=lambda peer: (not wanted[peer].needed, peer.packed)):
            key = wanted[peer]
            try:
                tcp.set_key(door.sock, peer, key.secret)
            except OSError as error:
                if key.needed:
                    self._tell(Reason.KEY_LIMIT, _refused_key(peer, error), session=key.session)
                    self._later()
            else:
                door.keys[peer] = key.secret

    def _accept(self, door: _Door, limit: int = _ACCEPTS_A_TURN) -> None:
        for _ in range(limit):
            try:
                sock, name = door.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.ENFILE, errno.EMFILE, errno.ENOBUFS, errno.ENOMEM):
                    return
                continue  # this one was gone before it was accepted
            sock.setblocking(False)
            try:
                peer, local = tcp.address_of(name), tcp.address_of(sock.getsockname())
            except OSError:
                sock.close()
                continue
            hops = tcp.hops_of_syn(sock, door.family)
            self._arrived(Arrival(sock=sock, peer=peer, local=local, signed=unscoped(peer) in door.keys, hops=hops))

    def _later(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._again)

    def _again(self) -> None:
        self._retry = None
        self.apply(self._listens, self._keys)
        self._changed()

    def _tell(self, reason: Reason, message: str, *, session: str) -> None:
        if (session, message) not in self._told:
            self._told.add((session, message))
            self._notice(Notice(reason=reason, message=message, session=session))


def _families(listen: Listen) -> tuple[Family, ...]:
    return tuple(Family) if listen.address is None else (family_of(listen.address),)


def _refused_key(peer: Address, error: OSError) -> str:
    if error.errno == errno.ENOMEM:
        return f"no room for the TCP-MD5 key of {peer}: raise the sysctl net.core.optmem_max"
    return f"the kernel refused the TCP-MD5 key of {peer}: {error.strerror}"

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
from towpath.bgp.exabgp.door import Door, Key, Leaf
from towpath.model.net import Address, Family, family_of, unscoped
from towpath.model.reason import Reason
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
        self._doors: dict[tuple[Listen, Family], Door] = {}
        self._listens: tuple[Listen, ...] = ()
        self._keys: Mapping[Address, Key] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._told: set[str] = set()
        self.refused: dict[tuple[Listen, Family], str] = {}
        """Where the kernel lets nobody listen, or not us, and what it says."""
        self.keyless: tuple[str, ...] = ()
        """Whose keys the kernel refuses, and why: a sentence for each kind of refusal."""

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
        self.keyless = _sentences([found for door in self._doors.values() for found in self._key(door)])
        for said in self.keyless:
            self._tell(Reason.KEY_LIMIT, said)
        if self.keyless:
            self._later()
        if self._retry is None:
            self._told.clear()

    def close(self) -> None:
        """Close all sockets."""
        self.apply((), {})

    def _open(self, listen: Listen, family: Family) -> None:
        try:
            door = Door(family, listen.address, listen.port)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return  # a kernel without IPv6
            where = f"{listen.address if listen.address is not None else '*'} port {listen.port}"
            remedy = ": stop what listens there, or set another listenPort" if error.errno == errno.EADDRINUSE else ""
            said = self.refused[listen, family] = f"cannot listen on {where}: {error.strerror}{remedy}"
            self._tell(Reason.LISTEN_REFUSED, said)
            self._later()
            return
        self.refused.pop((listen, family), None)
        self._doors[listen, family] = door

    def _close(self, door: Door) -> None:
        for leaf in door.leaves:
            self._loop.remove_reader(leaf.sock)
        door.close()

    def _key(self, door: Door) -> list[tuple[Address, OSError]]:
        """Bring the keys of a door to what is desired, and listen at all its sockets; the needed keys that it cannot have."""
        wanted = {peer: key for peer, key in self._keys.items() if family_of(peer) is door.family}
        if door.stale(wanted):
            # who waits in the queue came in under the old keys and is judged by them
            for leaf in door.leaves:
                self._accept(leaf, door.family, limit=tcp.BACKLOG)
        refused = list(door.key(wanted))
        for leaf in door.leaves:
            self._loop.add_reader(leaf.sock, self._accept, leaf, door.family)
        return refused

    def _accept(self, leaf: Leaf, family: Family, limit: int = _ACCEPTS_A_TURN) -> None:
        for _ in range(limit):
            try:
                sock, name = leaf.sock.accept()
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
            hops = tcp.hops_of_syn(sock, family)
            self._arrived(Arrival(sock=sock, peer=peer, local=local, signed=unscoped(peer) in leaf.keys, hops=hops))

    def _later(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._again)

    def _again(self) -> None:
        self._retry = None
        self.apply(self._listens, self._keys)
        self._changed()

    def _tell(self, reason: Reason, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._notice(Notice(reason=reason, message=message))


def _families(listen: Listen) -> tuple[Family, ...]:
    return tuple(Family) if listen.address is None else (family_of(listen.address),)


def _sentences(refused: list[tuple[Address, OSError]]) -> tuple[str, ...]:
    """What is to be said of refused keys: one sentence for all that have no room, and one for each other refusal."""
    full = [peer for peer, error in refused if error.errno == errno.ENOMEM]
    said = [
        f"the kernel refused the TCP-MD5 key of {peer}: {error.strerror}" for peer, error in refused if peer not in full
    ]
    if full:
        whose = f"that of {full[0]}" if len(full) == 1 else f"those of {len(full)} peers, {full[0]} among them"
        said.append(f"no room for all TCP-MD5 keys, not for {whose}: raise the sysctl net.core.optmem_max")
    return tuple(said)

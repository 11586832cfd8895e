"""What others do to routes, links and addresses, as events; what we do ourselves never reaches us.

A filter in the kernel drops messages that carry the port id of our own socket (nlmsg_pid). It never looks at the protocol:
somebody else's deletion of our route carries our protocol. When the buffer overflows the kernel drops the rest and says
so once (ENOBUFS): then everything is read again.
"""

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Callable

from towpath.model.net import Family
from towpath.routes.kernel import AddressEvent, Event, EventsLostError, LinkEvent, NextHopEvent, RouteEvent
from towpath.routes.message import AF, NLM_F_REPLACE, RTM_DELROUTE, RTM_NEWROUTE, RouteReader
from towpath.routes.netsocket import (
    NETLINK_ADD_MEMBERSHIP,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    SOL_NETLINK,
    messages,
    open_socket,
    read_address,
    read_link,
)
from towpath.routes.objects import RTM_DELNEXTHOP, RTM_NEWNEXTHOP

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE (rtnetlink(7))."""
_GROUP_NEXT_HOPS = 32
"""RTNLGRP_NEXTHOP, beyond the mask."""
_AT_ONCE = 512
_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
_BPF_LD_W_ABS, _BPF_JEQ, _BPF_RET = 0x20, 0x15, 0x06
_NLMSG_PID = 12


class Monitor:
    """The event socket of one namespace."""

    def __init__(self, *, port: int, reader: RouteReader, receive_buffer: int) -> None:
        self._reader = reader
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket, _ = open_socket(groups=_GROUPS, receive_buffer=receive_buffer)
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):  # a kernel without next-hop objects has no such group
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, _GROUP_NEXT_HOPS)
        _ignore_port(self._socket, port)

    def watch(self, readable: Callable[[], None]) -> None:
        """See ``kernel.Kernel``."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), readable)

    def events(self) -> list[Event]:
        """See ``kernel.Kernel``: at most some hundred at once, the rest with the next call."""
        found: list[Event] = []
        while len(found) < _AT_ONCE:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._empty()
                raise EventsLostError from error
            for start, length, kind, _ in messages(data):
                event = self._event(data, start, start + length, kind=kind)
                if event is not None:
                    found.append(event)
        return found

    def _empty(self) -> None:
        """Throw away what is left: it is older than what will be read."""
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _event(self, data: bytes, start: int, end: int, *, kind: int) -> Event | None:
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            if data[start + 16] not in AF.values():
                return None
            seen = self._reader.read(data, start, end)
            if seen is None:
                return None
            family = Family.IPV4 if data[start + 16] == AF[Family.IPV4] else Family.IPV6
            replaced = kind == RTM_NEWROUTE and bool(
                int.from_bytes(data[start + 6 : start + 8], "little") & NLM_F_REPLACE
            )
            return RouteEvent(family, gone=kind == RTM_DELROUTE, replaced=replaced, seen=seen)
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            link = read_link(data, start, end)
            return None if link is None else LinkEvent(link, gone=kind == RTM_DELLINK)
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            address = read_address(data, start, end)
            return None if address is None else AddressEvent(address, gone=kind == RTM_DELADDR)
        if kind in (RTM_NEWNEXTHOP, RTM_DELNEXTHOP):
            return NextHopEvent()
        return None

    def close(self) -> None:
        """Stop watching and close."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


def _ignore_port(monitor: socket.socket, port: int) -> None:
    """Attach a classic BPF program: drop where nlmsg_pid is ``port``, else take all (socket(7), SO_ATTACH_FILTER)."""
    # an absolute load gives the word in network order
    swapped = int.from_bytes(struct.pack("=I", port), "big")
    program = b"".join(
        (
            _INSTRUCTION.pack(_BPF_LD_W_ABS, 0, 0, _NLMSG_PID),
            _INSTRUCTION.pack(_BPF_JEQ, 0, 1, swapped),
            _INSTRUCTION.pack(_BPF_RET, 0, 0, 0),
            _INSTRUCTION.pack(_BPF_RET, 0, 0, 0xFFFFFFFF),
        )
    )
    held = ctypes.create_string_buffer(program)
    monitor.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 4, ctypes.addressof(held)))

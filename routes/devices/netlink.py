"""Tunnel devices over netlink: made and changed one by one, their entries in bulk, and what others do to any of it as events."""

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from towpath.model.net import Address
from towpath.routes.devices import message
from towpath.routes.devices.device import Device, Seen, Vxlan, kind_of
from towpath.routes.devices.port import AnswerEvent, Change, DeviceEvent, EntryEvent, Event, Known, take
from towpath.routes.kernel import EventsLostError
from towpath.routes.message import HEADER, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NUMBER, attribute
from towpath.routes.netsocket import (
    ADDRESS_HEADER,
    AF_BRIDGE,
    ERRNO,
    LINK_HEADER,
    NETLINK_ADD_MEMBERSHIP,
    NLMSG_ERROR,
    NLMSG_NOOP,
    RECEIVE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
    SOL_NETLINK,
    dump,
    messages,
    open_socket,
    request,
)

_GROUPS = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, IPV4_IFADDR, IPV6_IFADDR (rtnetlink(7))."""
_GROUP_NEIGHBOURS = 3
_ABSENT = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})
_AT_ONCE = 256
"""Changes of entries for one system call: their errors, if all are refused, fit into a small receive buffer."""
_EVENTS_AT_ONCE = 1024
_SIOCETHTOOL, _GET_CHECKSUMS, _SET_CHECKSUMS = 0x8946, 0x16, 0x17
"""ETHTOOL_GTXCSUM and ETHTOOL_STXCSUM (linux/ethtool.h)."""


class NetlinkDevices:
    """The namespace in which it was made, whatever the thread enters later."""

    def __init__(self, *, event_buffer: int = 16 << 20) -> None:
        self._asking, _ = open_socket()
        self._events, _ = open_socket(groups=_GROUPS, receive_buffer=event_buffer)
        self._events.setblocking(False)
        self._tool = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._names: dict[int, str] = {}
        """Of devices that have, or had, names of ours."""
        self._listens = False
        """Whether events of neighbours and forwarding entries come: other devices have many."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sequence = 1

    def devices(self) -> dict[str, Seen]:
        """See ``port.DeviceKernel``."""
        found = {}
        for data in dump(self._asking, RTM_GETLINK, LINK_HEADER.pack(0, 0, 0, 0, 0)):
            for seen in _devices(data):
                found[seen.name] = seen
        return {name: self._whole(seen) for name, seen in found.items()}

    def device(self, name: str) -> Seen | None:
        """See ``port.DeviceKernel``."""
        body = message.named(name)
        self._asking.send(HEADER.pack(HEADER.size + len(body), RTM_GETLINK, NLM_F_REQUEST, 1, 0) + body)
        seen = next(_devices(self._asking.recv(RECEIVE)), None)
        return self._whole(seen) if seen is not None else None

    def _whole(self, seen: Seen) -> Seen:
        """With what other messages say of the device."""
        self._names[seen.index] = seen.name
        if not self._listens:
            self._events.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, _GROUP_NEIGHBOURS)
            self._listens = True
        found = [
            one
            for data in dump(self._asking, RTM_GETADDR, ADDRESS_HEADER.pack(0, 0, 0, 0, seen.index))
            for start, length, kind, _ in messages(data)
            if kind == RTM_NEWADDR
            for index, one in (message.read_single_address(data, start, start + length),)
            if index == seen.index and one is not None
        ]
        # of VXLANs alone it matters
        offloads = seen.kind == Vxlan.kind and bool(self._checksums(seen.name, _GET_CHECKSUMS))
        links = frozenset(one for one in found if one.is_link_local)
        return replace(seen, addresses=frozenset(found) - links, link_locals=links, offloads=offloads)

    def make(self, device: Device) -> None:
        """See ``port.DeviceKernel``."""
        flags = NLM_F_CREATE | NLM_F_EXCL
        _refused(request(self._asking, RTM_NEWLINK, message.link_body(device), flags=flags), device.name)
        if device.link_local is not None and (made := self.device(device.name)) is not None:
            _refused(request(self._asking, RTM_SETLINK, message.without_link_local(made.index)), device.name)
            _refused(request(self._asking, RTM_NEWLINK, message.change_body(made.index, mtu=None)), device.name)

    def adjust(self, device: Device, seen: Seen) -> None:
        """See ``port.DeviceKernel``."""
        mtu = device.mtu if device.mtu != seen.mtu else None
        if mtu is not None or not seen.up:
            body = message.change_body(seen.index, mtu=mtu)
            _refused(request(self._asking, RTM_NEWLINK, body), device.name)
        if seen.offloads:
            self._checksums(device.name, _SET_CHECKSUMS)
        wanted = frozenset(device.addresses)
        for one in seen.addresses - wanted:
            code = request(self._asking, RTM_DELADDR, message.address_body(seen.index, one))
            _refused(0 if code in _ABSENT else code, f"{one} on {device.name}")
        links = frozenset() if device.link_local is None else {device.link_local} - seen.link_locals
        for one in (*(wanted - seen.addresses), *links):
            flags = NLM_F_CREATE | NLM_F_EXCL
            code = request(self._asking, RTM_NEWADDR, message.address_body(seen.index, one), flags=flags)
            _refused(0 if code == errno.EEXIST else code, f"{one} on {device.name}")

    def _checksums(self, name: str, command: int) -> int:
        """Ask, or switch off, whether checksums are left to the device below; 0 where it has no such thing or is gone."""
        value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._tool, _SIOCETHTOOL, struct.pack("@16sP16x", name.encode(), ctypes.addressof(value)))
            return int(struct.unpack("=II", value.raw[:8])[1])
        return 0

    def remove(self, seen: Seen) -> None:
        """See ``port.DeviceKernel``."""
        code = request(self._asking, RTM_DELLINK, message.numbered(seen.index))
        _refused(0 if code in _ABSENT else code, seen.name)

    def known(self, seen: Seen) -> Known:
        """See ``port.DeviceKernel``."""
        only = attribute(message.NDA_IFINDEX, NUMBER.pack(seen.index))
        found = Known({}, {})
        for family in (socket.AF_INET, socket.AF_INET6, AF_BRIDGE):
            for data in dump(self._asking, message.RTM_GETNEIGH, message.NDM.pack(family, 0, 0, 0, 0) + only):
                for event in self._entries(data):
                    if event.name == seen.name:
                        take(found, event)
        return found

    def _entries(self, data: bytes) -> Iterator[EntryEvent | AnswerEvent]:
        for start, length, kind, _ in messages(data):
            if kind not in (message.RTM_NEWNEIGH, message.RTM_DELNEIGH):
                continue
            there = kind == message.RTM_NEWNEIGH
            if (neighbour := message.read_neighbour(data, start, start + length)) is not None:
                index, address, mac, answer = neighbour
                if (name := self._names.get(index)) is not None:
                    ours = there and mac is not None
                    yield EntryEvent(name, address, mac if ours else None, ours)
                    if not there or answer is not None:
                        yield AnswerEvent(name, address, answer if there else None)
            elif (forwarding := message.read_forwarding(data, start, start + length)) is not None:
                index, forwarded, node = forwarding
                if (name := self._names.get(index)) is not None:
                    yield EntryEvent(name, forwarded, node if there else None, there)

    def apply(self, index: int, changes: Sequence[Change]) -> list[tuple[Change, int]]:
        """See ``port.DeviceKernel``."""
        refused: list[tuple[Change, int]] = []
        for start in range(0, len(changes), _AT_ONCE):
            some = changes[start : start + _AT_ONCE]
            first, end = self._sequence, self._sequence + len(some)
            self._sequence = end + 1 if end < 1 << 30 else 1
            finish = HEADER.pack(HEADER.size, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, end, 0)
            self._asking.send(message.encoded(index, some, number=first) + finish)
            refused += [(some[number - first], code) for number, code in self._answers(end)]
        return [(change, code) for change, code in refused if code and not (change.remove and code in _ABSENT)]

    def _answers(self, end: int) -> Iterator[tuple[int, int]]:
        """Sequence and error number of what was refused, up to the answer that ends it."""
        while True:
            data = self._asking.recv(RECEIVE)
            for start, _, kind, sequence in messages(data):
                if kind == NLMSG_ERROR:
                    if sequence == end:
                        return
                    yield sequence, -int(ERRNO.unpack_from(data, start + HEADER.size)[0])

    def ask(self, index: int, addresses: Iterable[Address]) -> None:
        """See ``port.DeviceKernel``."""
        for one in addresses:
            request(self._asking, message.RTM_NEWNEIGH, message.question(index, one), flags=NLM_F_CREATE)

    def watch(self, readable: Callable[[], None]) -> None:
        """See ``port.DeviceKernel``."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._events.fileno(), readable)

    def events(self) -> Iterable[Event]:
        """See ``port.DeviceKernel``."""
        found: list[Event] = []
        while len(found) < _EVENTS_AT_ONCE:
            try:
                data = self._events.recv(RECEIVE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                raise EventsLostError from error
            found += self._entries(data)
            found += self._happened(data)
        return found

    def _happened(self, data: bytes) -> Iterator[DeviceEvent]:
        for start, length, kind, _ in messages(data):
            if kind in (RTM_NEWADDR, RTM_DELADDR):
                index, _ = message.read_single_address(data, start, start + length)
                if (known := self._names.get(index)) is not None:
                    yield DeviceEvent(known)
            elif kind in (RTM_NEWLINK, RTM_DELLINK):
                seen = message.read_device(data, start, start + length)
                if seen is None:
                    continue
                before = self._names.pop(seen.index, "")
                if kind == RTM_NEWLINK and kind_of(seen.name) is not None:
                    self._names[seen.index] = seen.name
                for name in {before, seen.name}:
                    if kind_of(name) is not None:
                        yield DeviceEvent(name)

    def close(self) -> None:
        """See ``port.DeviceKernel``."""
        if self._loop is not None:
            self._loop.remove_reader(self._events.fileno())
        for one in (self._events, self._asking, self._tool):
            one.close()


def _devices(data: bytes) -> Iterator[Seen]:
    """Devices with names of ours in the link messages of a datagram."""
    for start, length, kind, _ in messages(data):
        if kind == RTM_NEWLINK:
            seen = message.read_device(data, start, start + length)
            if seen is not None and kind_of(seen.name) is not None:
                yield seen


def _refused(code: int, what: str) -> None:
    if code:
        raise OSError(code, f"{what}: {os.strerror(code)}")


def open_device_kernel() -> NetlinkDevices:
    """The devices of the network namespace that the calling thread is in."""
    return NetlinkDevices()

"""The kernel's routing table over netlink: bulk changes, dumps with the kernel's own filter, events.

Changes go in chunks, one system call each: the kernel carries out a whole chunk before ``send`` returns, so all its errors
are waiting in the socket by then, told apart by sequence number, and a no-op that asks for an acknowledgement ends them.
"""

import errno
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from towpath.model.net import Family
from towpath.routes.kernel import Batch, Event, Failure, Link, LinkAddress, RouteSeen
from towpath.routes.message import (
    AF,
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    ROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RouteReader,
    Template,
)
from towpath.routes.monitor import Monitor
from towpath.routes.netsocket import (
    ADDRESS_HEADER,
    BUFFER,
    CHUNK,
    LINK_HEADER,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    SMALL_CHUNK,
    messages,
    open_socket,
    read_address,
    read_link,
)
from towpath.routes.route import MAIN_TABLE

_RECEIVE = 256 << 10
_ERRNO = struct.Struct("=i")
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
_TEMPLATES = 1024


class NetlinkKernel:
    """The namespace in which it was made, whatever the thread enters later."""

    def __init__(self, *, receive_buffer: int = BUFFER, event_buffer: int = 32 << 20) -> None:
        self._socket, forced = open_socket(receive_buffer=receive_buffer)
        self.chunk = CHUNK if forced and receive_buffer >= BUFFER else SMALL_CHUNK
        self._asking, _ = open_socket(receive_buffer=receive_buffer)
        self._sequence = 1
        self._reader = RouteReader()
        self._templates: dict[tuple[object, ...], Template] = {}
        self._monitor = Monitor(
            port=self._socket.getsockname()[0],
            reader=self._reader,
            receive_buffer=event_buffer,
        )

    def apply(self, batches: Sequence[Batch]) -> list[Failure]:
        """See ``kernel.Kernel``."""
        failures: list[Failure] = []
        chunk = _Chunk(self.chunk)
        for batch in batches:
            template = self._template(batch)
            offset, total = 0, len(batch.wires)
            while offset < total:
                count = min(chunk.room // template.size, total - offset)
                if count == 0:
                    failures += self._exchange(chunk)
                    chunk = _Chunk(self.chunk)
                    continue
                wires = batch.wires if count == total else batch.wires[offset : offset + count]
                sequence = self._numbers(count)
                chunk.add(template.encode(wires, sequence=sequence), part=_Part(sequence, batch, wires))
                offset += count
        return failures + self._exchange(chunk)

    def _numbers(self, count: int) -> int:
        """The first of ``count`` fresh sequence numbers."""
        first = self._sequence if self._sequence < 1 << 30 else 1
        self._sequence = first + count
        return first

    def _template(self, batch: Batch) -> Template:
        key = (batch.operation, batch.family, batch.spec.type, batch.spec.next_hops, batch.spec.metric)
        found = self._templates.get(key)
        if found is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            found = self._templates[key] = Template(batch.operation, batch.family, batch.spec)
        return found

    def _exchange(self, chunk: "_Chunk") -> list[Failure]:
        """Send one chunk; what the kernel refused of it."""
        if not chunk.parts:
            return []
        end = self._numbers(1)
        chunk.buffers.append(HEADER.pack(16, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, end, 0))
        self._socket.send(b"".join(chunk.buffers))
        failures: list[Failure] = []
        while True:
            data = self._socket.recv(_RECEIVE)
            for start, _, kind, sequence in messages(data):
                if kind != NLMSG_ERROR:
                    continue
                if sequence == end:
                    return failures
                (code,) = _ERRNO.unpack_from(data, start + 16)
                part = chunk.part_of(sequence) if code else None
                if part is not None:
                    failures.append(Failure(part.batch, part.wires[sequence - part.sequence], -code))

    def routes(self, family: Family, *, protocol: int = 0) -> Iterator[list[RouteSeen]]:
        """See ``kernel.Kernel``."""
        read = self._reader.read
        for data in self._dump(RTM_GETROUTE, ROUTE.pack(AF[family], 0, 0, 0, MAIN_TABLE, protocol, 0, 0, 0)):
            found = [
                read(data, start, start + length) for start, length, kind, _ in messages(data) if kind == RTM_NEWROUTE
            ]
            yield [route for route in found if route is not None]

    def links(self) -> list[Link]:
        """See ``kernel.Kernel``."""
        return [
            link
            for data in self._dump(RTM_GETLINK, LINK_HEADER.pack(0, 0, 0, 0, 0))
            for start, length, kind, _ in messages(data)
            if kind == RTM_NEWLINK and (link := read_link(data, start, start + length)) is not None
        ]

    def addresses(self) -> list[LinkAddress]:
        """See ``kernel.Kernel``."""
        return [
            found
            for data in self._dump(RTM_GETADDR, ADDRESS_HEADER.pack(0, 0, 0, 0, 0))
            for start, length, kind, _ in messages(data)
            if kind == RTM_NEWADDR and (found := read_address(data, start, start + length)) is not None
        ]

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """The answers of one dump, datagram by datagram."""
        number = self._numbers(1)
        self._asking.send(HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, number, 0) + body)
        finished = False
        try:
            while not finished:
                data = self._asking.recv(_RECEIVE)
                finished = ends(data)
                yield data
        finally:
            while not finished:  # given up half-way: the socket takes no other dump before this one is read
                finished = ends(self._asking.recv(_RECEIVE))

    def watch(self, readable: Callable[[], None]) -> None:
        """See ``kernel.Kernel``."""
        self._monitor.watch(readable)

    def events(self) -> list[Event]:
        """See ``kernel.Kernel``."""
        return self._monitor.events()

    def close(self) -> None:
        """See ``kernel.Kernel``."""
        self._monitor.close()
        self._asking.close()
        self._socket.close()


class _Part(Struct, frozen=True):
    """Consecutive messages of one chunk."""

    sequence: int
    batch: Batch
    wires: Sequence[bytes]


class _Chunk:
    """What goes to the kernel in one system call."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.buffers: list[bytes | bytearray] = []
        self.parts: list[_Part] = []

    def add(self, buffer: bytearray, *, part: _Part) -> None:
        self.buffers.append(buffer)
        self.parts.append(part)
        self.room -= len(buffer)

    def part_of(self, sequence: int) -> _Part | None:
        """The part that a message belongs to."""
        position = bisect_right(self.parts, sequence, key=lambda part: part.sequence) - 1
        if position < 0 or sequence - self.parts[position].sequence >= len(self.parts[position].wires):
            return None
        return self.parts[position]


def open_kernel() -> NetlinkKernel:
    """The routing table of the network namespace that the calling thread is in."""
    return NetlinkKernel()


def ends(data: bytes) -> bool:
    """Whether a dump ends with this datagram; ``OSError`` where the kernel refused it."""
    for start, length, kind, _ in messages(data):
        if kind not in (NLMSG_ERROR, NLMSG_DONE):
            continue
        code = -_ERRNO.unpack_from(data, start + 16)[0] if length >= 20 else 0
        # a family that this kernel lacks, or a table that nothing is in yet, has no routes
        if code not in (0, errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code))
        return True
    return False

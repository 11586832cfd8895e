"""The kernel's routing table over netlink: bulk changes, dumps with the kernel's own filter, events.

Changes go in chunks, one system call each: the kernel carries out a whole chunk before ``send`` returns, so all its errors
are waiting in the socket by then, told apart by sequence number, and a no-op that asks for an acknowledgement ends them.
"""

import errno
from collections.abc import Callable, Collection, Iterator, Sequence

from towpath.model.net import Family
from towpath.routes.chunk import Chunk, Part
from towpath.routes.kernel import (
    Batch,
    Event,
    EventsLostError,
    Failure,
    Link,
    LinkAddress,
    NextHopEvent,
    Operation,
    RouteSeen,
)
from towpath.routes.message import (
    AF,
    HEADER,
    NLM_F_ACK,
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
    ERRNO,
    LINK_HEADER,
    NLMSG_ERROR,
    NLMSG_NOOP,
    RECEIVE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    SMALL_CHUNK,
    dump,
    messages,
    open_socket,
    read_address,
    read_link,
)
from towpath.routes.objects import NextHopObjects
from towpath.routes.route import MAIN_TABLE, Spec

_TEMPLATES = 1024


class NetlinkKernel:
    """The namespace in which it was made, whatever the thread enters later."""

    def __init__(self, *, receive_buffer: int = BUFFER, event_buffer: int = 32 << 20) -> None:
        self._socket, forced = open_socket(receive_buffer=receive_buffer)
        self.chunk = CHUNK if forced and receive_buffer >= BUFFER else SMALL_CHUNK
        self._asking, _ = open_socket(receive_buffer=receive_buffer)
        self._sequence = 1
        self._objects = NextHopObjects(self._socket, numbers=self._numbers)
        self.shares = self._objects.supported
        self._reader = RouteReader(self._objects.find)
        self._templates: dict[tuple[object, ...], Template] = {}
        self._monitor = Monitor(
            port=self._socket.getsockname()[0],
            reader=self._reader,
            receive_buffer=event_buffer,
        )

    def apply(self, batches: Sequence[Batch]) -> list[Failure]:
        """See ``kernel.Kernel``."""
        failures = self._apply(batches)
        if any(failure.errno == errno.EINVAL and failure.batch.spec.shared for failure in failures):
            # an object went with its link a moment ago, and the event of that is still to come
            self._doubt()
            failures = self._once_more(failures)
        return failures

    def _once_more(self, failures: list[Failure]) -> list[Failure]:
        left: list[Failure] = []
        again: dict[int, tuple[Batch, list[bytes]]] = {}
        for failure in failures:
            if failure.errno == errno.EINVAL and failure.batch.spec.shared:
                again.setdefault(id(failure.batch), (failure.batch, []))[1].append(failure.wire)
            else:
                left.append(failure)
        for batch, wires in again.values():
            part = Batch(batch.operation, batch.family, batch.spec, wires)
            left += [Failure(batch, failure.wire, failure.errno) for failure in self._apply([part])]
        return left

    def _apply(self, batches: Sequence[Batch]) -> list[Failure]:
        failures: list[Failure] = []
        chunk = Chunk(self.chunk)
        for batch in batches:
            try:
                template = self._template(batch)
            except OSError as error:  # its next hop's object
                failures += [Failure(batch, wire, error.errno or errno.EIO) for wire in batch.wires]
                continue
            offset, total = 0, len(batch.wires)
            while offset < total:
                count = min(chunk.room // template.size, total - offset)
                if count == 0:
                    failures += self._exchange(chunk)
                    chunk = Chunk(self.chunk)
                    continue
                wires = batch.wires if count == total else batch.wires[offset : offset + count]
                sequence = self._numbers(count)
                chunk.add(template.encode(wires, sequence=sequence), part=Part(sequence, batch, wires))
                offset += count
        return failures + self._exchange(chunk)

    def _numbers(self, count: int) -> int:
        """The first of ``count`` fresh sequence numbers."""
        first = self._sequence if self._sequence < 1 << 30 else 1
        self._sequence = first + count
        return first

    def _template(self, batch: Batch) -> Template:
        number = self._number(batch.operation, batch.spec) if batch.spec.shared else 0
        key = (batch.operation, batch.family, batch.spec.type, batch.spec.next_hops, batch.spec.metric, number)
        found = self._templates.get(key)
        if found is None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            found = self._templates[key] = Template(batch.operation, batch.family, batch.spec, number=number)
        return found

    def _number(self, operation: Operation, route: Spec) -> int:
        """That of a shared spec's object; ``OSError`` where it cannot be, or where no route can be by it."""
        (hop,) = route.next_hops
        if operation is not Operation.DELETE:
            return self._objects.make(hop)
        number = self._objects.known(hop)
        if number is None:
            raise OSError(errno.ESRCH, "the object is gone, and its routes with it")
        return number

    def keep(self, specs: Collection[Spec]) -> None:
        """See ``kernel.Kernel``."""
        self._objects.keep({hop for one in specs if one.shared for hop in one.next_hops})

    def _doubt(self) -> None:
        """Objects may be other ones than we know."""
        self._objects.stale = True
        self._reader.forget()

    def _exchange(self, chunk: Chunk) -> list[Failure]:
        """Send one chunk; what the kernel refused of it."""
        if not chunk.parts:
            return []
        end = self._numbers(1)
        chunk.buffers.append(HEADER.pack(16, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, end, 0))
        self._socket.send(b"".join(chunk.buffers))
        failures: list[Failure] = []
        while True:
            data = self._socket.recv(RECEIVE)
            for start, _, kind, sequence in messages(data):
                if kind != NLMSG_ERROR:
                    continue
                if sequence == end:
                    return failures
                (code,) = ERRNO.unpack_from(data, start + 16)
                part = chunk.part_of(sequence) if code else None
                if part is not None:
                    failures.append(Failure(part.batch, part.wires[sequence - part.sequence], -code))

    def routes(self, family: Family, *, protocol: int = 0) -> Iterator[list[RouteSeen]]:
        """See ``kernel.Kernel``."""
        self._doubt()
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
        return dump(self._asking, kind, body, number=self._numbers(1))

    def watch(self, readable: Callable[[], None]) -> None:
        """See ``kernel.Kernel``."""
        self._monitor.watch(readable)

    def events(self) -> list[Event]:
        """See ``kernel.Kernel``."""
        try:
            found = self._monitor.events()
        except EventsLostError:
            self._doubt()
            raise
        if any(isinstance(event, NextHopEvent) for event in found):
            self._doubt()
        return found

    def close(self) -> None:
        """See ``kernel.Kernel``."""
        self._monitor.close()
        self._asking.close()
        self._socket.close()


def open_kernel() -> NetlinkKernel:
    """The routing table of the network namespace that the calling thread is in."""
    return NetlinkKernel()

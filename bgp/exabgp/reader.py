"""Bytes of a TCP stream cut into BGP messages: many a turn, in runs of one type.

UPDATEs come out as one list of bodies, so that a full table costs one call for some hundred messages. Neighbours of one
length are found by looking at one column of their headers after the other, that is, by loops in C. A header that is wrong
ends the stream, after what came before it was delivered.
"""

from collections.abc import Iterator

from towpath.bgp.exabgp.codec import HEADER_LENGTH, KEEPALIVE, MARKER, NOTIFICATION, OPEN, REFRESH, UPDATE, valid_length
from towpath.bgp.ports import SessionError

STANDARD_SIZE = 4096
EXTENDED_SIZE = 65535
_MINIMUM_UPDATE = 23
_TYPES = frozenset((OPEN, UPDATE, NOTIFICATION, KEEPALIVE, REFRESH))
_MANY = 8
"""UPDATEs with the same header are cut out together where so many more may follow."""


class Reader:
    """The receive buffer of one connection. ``message_size`` grows to 65535 with extended messages (RFC 8654)."""

    __slots__ = ("_rest", "message_size")

    def __init__(self) -> None:
        self._rest = b""
        self.message_size = STANDARD_SIZE

    def feed(self, data: bytes) -> Iterator[tuple[int, list[bytes]]]:
        """Runs of messages, (type, bodies), that ``data`` completes; ``SessionError`` 1/x at a wrong header.

        To be used up whole: what is left over is kept for the next call when the iteration ends.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position, end = 0, len(data)
        kind, run = 0, list[bytes]()
        while end - position >= HEADER_LENGTH:
            if not data.startswith(MARKER, position):
                if run:
                    yield kind, run
                raise SessionError(1, 1, message="wrong marker")
            length = data[position + 16] << 8 | data[position + 17]
            following = data[position + 18]
            if following != UPDATE or not _MINIMUM_UPDATE <= length <= self.message_size:
                error = self._header_error(following, length)
                if error is not None:
                    if run:
                        yield kind, run
                    raise error
            if position + length > end:
                break
            if following != kind:
                if run:
                    yield kind, run
                kind, run = following, []
            run.append(data[position + HEADER_LENGTH : position + length])
            if kind == UPDATE and data.startswith(data[position : position + HEADER_LENGTH], position + _MANY * length):
                count = _same_headers(data, position, length)
                stop = position + count * length
                run += [data[at + HEADER_LENGTH : at + length] for at in range(position + length, stop, length)]
                position = stop
                continue
            position += length
            if kind == OPEN:
                # what an OPEN says (sizes, families) governs what follows it
                yield kind, run
                kind, run = 0, []
        self._rest = data[position:]
        if run:
            yield kind, run

    def _header_error(self, kind: int, length: int) -> SessionError | None:
        if kind not in _TYPES:
            return SessionError(1, 3, data=bytes((kind,)), message=f"unknown message type {kind}")
        limit = STANDARD_SIZE if kind == OPEN else self.message_size
        if length > limit or not valid_length(kind, length):
            return SessionError(1, 2, data=length.to_bytes(2, "big"), message=f"bad length {length}")
        return None


def _same_headers(data: bytes, start: int, length: int) -> int:
    """How many whole messages from ``start`` on have the header of the first one, which has this length; one at least."""
    count = (len(data) - start) // length
    for column in range(start, start + HEADER_LENGTH):
        octets = data[column : start + count * length : length]
        count = len(octets) - len(octets.lstrip(octets[:1]))
    return count

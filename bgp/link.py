"""The Unix socket between agent and speaker: length-prefixed msgpack frames, and back-pressure that coalesces.

Neither side queues. Each knows what it wants the other to know and writes the difference only while the socket takes it:
a slow reader gets fewer, newer frames, and the writer's memory stays bounded. A new connection starts from the whole.
"""

import asyncio
import contextlib
import os
import random
import socket
import stat
import struct
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from towpath.model.codec import packer, unpacker
from towpath.model.net import Address
from towpath.model.speaker import (
    LINK_VERSION,
    FromSpeaker,
    Hello,
    NextHopMetrics,
    SpeakerState,
    ToSpeaker,
    WholeState,
    diff_state,
)

MAXIMUM_FRAME = 256 * 1024 * 1024
"""A frame above this is an error: the whole state of a large cluster is some ten megabytes."""
BUFFER_BYTES = 1024 * 1024
"""Above this much unsent nothing more is written."""
_LENGTH = struct.Struct("!I")
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 0.25
"""Seconds between two attempts: one that finds no socket costs next to nothing, and a speaker that starts is awaited."""

Received = TypeVar("Received")


class LinkError(Exception):
    """What came over the socket is not of our protocol; the connection is closed."""


class Frames(asyncio.Protocol, Generic[Received]):
    """One connection: frames in by callback, frames out while the socket takes them."""

    def __init__(
        self,
        decode: msgspec.msgpack.Decoder[Received],
        *,
        received: Callable[["Frames[Received]", Received], None],
        opened: Callable[["Frames[Received]"], None],
        closed: Callable[["Frames[Received]", str], None],
        writable: Callable[["Frames[Received]"], None],
    ) -> None:
        self._decode = decode
        self._encode = packer()
        self._received = received
        self._opened = opened
        self._closed = closed
        self._writable = writable
        self._transport: asyncio.Transport | None = None
        self._rest = bytearray()
        self._paused = False
        self._reason = "closed by the other side"

    @property
    def writable(self) -> bool:
        """Whether the socket takes more."""
        return self._transport is not None and not self._paused and not self._transport.is_closing()

    def send(self, message: ToSpeaker | FromSpeaker) -> None:
        """Write one frame; the caller looks at ``writable`` first."""
        if self._transport is None or self._transport.is_closing():
            return
        body = self._encode.encode(message)
        if len(body) > MAXIMUM_FRAME:
            raise LinkError(f"a frame of {len(body)} bytes is too large")
        # not writelines: that of Python 3.12.0 to 3.12.8 and 3.13.0 and 3.13.1 never says that the buffer is full (CVE-2024-12254)
        self._transport.write(_LENGTH.pack(len(body)) + body)

    def close(self, reason: str) -> None:
        """Close at once, dropping what is unsent."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self._opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        self._rest.clear()
        self._closed(self, str(exc) if exc is not None else self._reason)

    def pause_writing(self) -> None:
        """Called by the loop: the buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Called by the loop: the buffer has room."""
        self._paused = False
        self._writable(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop. An error in what was received closes the connection."""
        self._rest += data
        position, end = 0, len(self._rest)
        try:
            while end - position >= _LENGTH.size:
                length = _frame_length(self._rest, position)
                start = position + _LENGTH.size
                if end - start < length:
                    break
                position = start + length
                with memoryview(self._rest) as view:
                    message = self._decode.decode(view[start:position])
                self._received(self, message)
                if self._transport is None or self._transport.is_closing():
                    return
        except (LinkError, msgspec.DecodeError) as error:
            # msgspec's messages name types and places, never values
            self.close(f"bad frame: {error}")
            return
        del self._rest[:position]


def _frame_length(data: bytearray, position: int) -> int:
    length: int = _LENGTH.unpack_from(data, position)[0]
    if length > MAXIMUM_FRAME:
        raise LinkError(f"a frame of {length} bytes is announced, more than {MAXIMUM_FRAME}")
    return length


def _check_version(hello: Hello) -> None:
    if hello.version != LINK_VERSION:
        raise LinkError(f"the other side speaks version {hello.version} of the link, this side {LINK_VERSION}")


def bound(path: Path) -> socket.socket:
    """A Unix socket at a path, for its owner alone; a stale one is replaced, anything else there is ``FileExistsError``."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is there and is not a socket")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    return sock


def listens(path: Path) -> bool:
    """Whether a process takes connections at a path: of one that has ended the socket may still be there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except OSError:
            return False
    return True


class LinkServer:
    """The speaker's side. One agent at a time: a new one takes the place of the old one."""

    def __init__(
        self,
        path: Path,
        *,
        received: Callable[[ToSpeaker], None],
        connected: Callable[[], None],
        disconnected: Callable[[str], None],
        writable: Callable[[], None],
    ) -> None:
        self._path = path
        self._received = received
        self._connected = connected
        self._disconnected = disconnected
        self._on_writable = writable
        self._decoder: msgspec.msgpack.Decoder[ToSpeaker] = unpacker(ToSpeaker)  # type: ignore[arg-type]  # a union, no class
        self._server: asyncio.AbstractServer | None = None
        self._frames: Frames[ToSpeaker] | None = None
        self._greeted = False
        self.instance = uuid.uuid4().hex

    async def start(self) -> None:
        """Listen; a stale socket file is replaced, anything else at the path is an error."""
        sock = bound(self._path)
        self._server = await asyncio.get_running_loop().create_unix_server(self._protocol, sock=sock)

    async def stop(self) -> None:
        """Close the connection and remove the socket file."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        if self._frames is not None:
            self._frames.close("the speaker stops")

    @property
    def connected(self) -> bool:
        """Whether an agent is there and has said hello."""
        return self._greeted and self._frames is not None

    @property
    def writable(self) -> bool:
        """Whether an agent is there, has said hello, and takes more."""
        return self._greeted and self._frames is not None and self._frames.writable

    def send(self, message: FromSpeaker) -> None:
        """Write one frame to the agent, if there is one."""
        if self._frames is not None and self._greeted:
            self._frames.send(message)

    def _protocol(self) -> Frames[ToSpeaker]:
        return Frames(
            self._decoder,
            received=self._frame,
            opened=self._opened,
            closed=self._closed,
            writable=lambda _: self._on_writable(),
        )

    def _opened(self, frames: Frames[ToSpeaker]) -> None:
        if self._frames is not None:
            self._frames.close("another agent has connected")
        self._frames, self._greeted = frames, False
        frames.send(Hello(version=LINK_VERSION, instance=self.instance))

    def _frame(self, frames: Frames[ToSpeaker], message: ToSpeaker) -> None:
        if frames is not self._frames:
            return
        if isinstance(message, Hello):
            _check_version(message)
            self._greeted = True
            self._connected()
        elif self._greeted:
            self._received(message)
        else:
            raise LinkError("the first frame is not a hello")

    def _closed(self, frames: Frames[ToSpeaker], reason: str) -> None:
        if frames is self._frames:
            self._frames, self._greeted = None, False
            self._disconnected(reason)


class LinkClient:
    """The agent's side: connects again and again, and keeps the speaker at what is desired.

    ``received`` gets every frame of the speaker in order, its ``Hello`` first: all it said before is void then, the whole
    follows. ``disconnected`` gets the reason, once a lost connection (not for every failed attempt).
    """

    def __init__(
        self,
        path: Path,
        *,
        received: Callable[[FromSpeaker], None],
        disconnected: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._received = received
        self._disconnected = disconnected
        self._decoder: msgspec.msgpack.Decoder[FromSpeaker] = unpacker(FromSpeaker)  # type: ignore[arg-type]  # as above
        self._frames: Frames[FromSpeaker] | None = None
        self._greeted = self._was_greeted = False
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._desired: SpeakerState | None = None
        self._sent: SpeakerState | None = None
        self._metrics: NextHopMetrics | None = None
        self._metrics_sent: NextHopMetrics | None = None
        self.last_error = ""
        """Why there is no connection, for conditions and logs."""

    async def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run(), name="link to the speaker")

    async def stop(self) -> None:
        """Close and connect no more; the speaker keeps its state."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._frames is not None:
            self._frames.close("the agent stops")

    @property
    def connected(self) -> bool:
        """Whether the speaker is there and speaks our version."""
        return self._greeted

    def desire(self, state: SpeakerState) -> None:
        """What the speaker should be doing from now on. States that a slow speaker missed are skipped."""
        self._desired = state
        self._pump()

    def metrics(self, metrics: dict[Address, int | None], *, interfaces: dict[Address, str]) -> None:
        """What the kernel says of all next hops that the speaker asked about."""
        self._metrics = NextHopMetrics(metrics, interfaces)
        self._pump()

    def _pump(self) -> None:
        """Send what differs, if the socket takes it."""
        frames = self._frames
        if frames is None or not self._greeted or self._desired is None or not frames.writable:
            return
        if self._sent is None:
            frames.send(WholeState(self._desired))
        elif self._sent is not self._desired and (change := diff_state(self._sent, self._desired)):
            frames.send(change)
        self._sent = self._desired
        if self._metrics is not None and self._metrics != self._metrics_sent and frames.writable:
            frames.send(self._metrics)
            self._metrics_sent = self._metrics

    async def _run(self) -> None:
        delay = _FIRST_DELAY
        loop = asyncio.get_running_loop()
        while True:
            self._lost.clear()
            try:
                await loop.create_unix_connection(self._protocol, str(self._path))
            except OSError as error:
                self.last_error = f"{self._path}: {error.strerror}"
            else:
                await self._lost.wait()
                delay = _FIRST_DELAY if self._was_greeted else delay
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _LONGEST_DELAY)

    def _protocol(self) -> Frames[FromSpeaker]:
        return Frames(
            self._decoder,
            received=self._frame,
            opened=self._opened,
            closed=self._closed,
            writable=lambda _: self._pump(),
        )

    def _opened(self, frames: Frames[FromSpeaker]) -> None:
        self._frames, self._greeted = frames, False
        self._sent = self._metrics_sent = None
        frames.send(Hello(version=LINK_VERSION, instance=uuid.uuid4().hex))

    def _frame(self, frames: Frames[FromSpeaker], message: FromSpeaker) -> None:
        if frames is not self._frames:
            return
        if isinstance(message, Hello):
            _check_version(message)
            self._greeted = True
            self.last_error = ""
        elif not self._greeted:
            raise LinkError("the first frame is not a hello")
        self._received(message)
        if isinstance(message, Hello):
            self._pump()

    def _closed(self, frames: Frames[FromSpeaker], reason: str) -> None:
        if frames is not self._frames:
            return
        self._was_greeted = self._greeted
        self._frames, self._greeted = None, False
        self.last_error = reason
        self._lost.set()
        self._disconnected(reason)

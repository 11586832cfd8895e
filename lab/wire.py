"""A TCP port that passes everything on to another one, until it is cut: both ends see a reset, as from a failing middlebox."""

import asyncio
import contextlib
from typing import Self


class Wire:
    """Listens on a free port of loopback, as an async context manager; ``port`` is what clients are told."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        while self._passing:
            self.cut()
            await asyncio.wait(self._passing, timeout=0.1)

    def cut(self) -> None:
        """End every connection that is open now; new ones are passed on."""
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            ends = {writer, back}
            self._open |= ends
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
            self._open -= ends
        except OSError:
            writer.transport.abort()
        finally:
            self._passing.discard(task)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes in one direction, until either end is closed; then the other one is."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()

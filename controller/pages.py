"""A few pages over HTTP, made when they are asked for: health and metrics need no more than that."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

_LONGEST_REQUEST = 4096
_ANSWERED_WITHIN = 2.0
"""Seconds."""


class Page(Struct, frozen=True):
    """What one request is answered with."""

    status: str
    body: bytes
    kind: str = "text/plain"


class Pages:
    """Serves pages by path; each connection gets one answer."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._pages = pages

    async def serve(self, port: int, *, host: str = "127.0.0.1") -> asyncio.Server:
        """Listen on a port; ``OSError`` where that is refused."""
        return await asyncio.start_server(self._answer, host, port, limit=_LONGEST_REQUEST)

    async def serve_at(self, path: Path) -> asyncio.Server:
        """Listen on a Unix socket, in place of what an earlier process left; ``OSError`` where that is refused."""
        return await asyncio.start_unix_server(self._answer, path, limit=_LONGEST_REQUEST)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ANSWERED_WITHIN):
                request = await reader.readuntil(b"\r\n")
            page = self.response(request)
            head = f"HTTP/1.1 {page.status}\r\nContent-Type: {page.kind}\r\nContent-Length: {len(page.body)}"
            writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + page.body)
            async with asyncio.timeout(_ANSWERED_WITHIN):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a prober that went away or talks nonsense
        finally:
            writer.close()

    def response(self, request_line: bytes) -> Page:
        """The answer to the first line of a request."""
        method, _, rest = request_line.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return Page("405 Method Not Allowed", b"GET only\n")
        if path not in self._pages:
            return Page("404 Not Found", f"{' or '.join(self._pages)}\n".encode())
        return self._pages[path]()

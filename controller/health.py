"""``/healthz`` and ``/readyz`` on localhost or on a Unix socket: is the process alive, and does it do what it should.

Dead and not ready are different answers: a probe that kills a node's agent because a router is away makes it worse.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from towpath.controller.settings import CannotRunError

_LONGEST_REQUEST = 4096
_LONGEST_ANSWER = 65536


class Health:
    """Answers from two functions that give a sentence on what is wrong, or None."""

    def __init__(self, *, dead: Callable[[], str | None], unready: Callable[[], str | None]) -> None:
        self._checks = {"/healthz": dead, "/readyz": unready}

    async def serve(self, port: int) -> asyncio.Server:
        """Listen on 127.0.0.1; ``CannotRunError`` where the port is taken."""
        try:
            return await asyncio.start_server(self._answer, "127.0.0.1", port, limit=_LONGEST_REQUEST)
        except OSError as error:
            raise CannotRunError(f"--health-port {port} of 127.0.0.1: {error.strerror or error}") from error

    async def serve_at(self, path: Path) -> asyncio.Server:
        """Listen on a Unix socket, in place of what an earlier process left; ``CannotRunError`` where that is refused."""
        try:
            return await asyncio.start_unix_server(self._answer, path, limit=_LONGEST_REQUEST)
        except OSError as error:
            raise CannotRunError(f"--health-socket {path}: {error.strerror or error}") from error

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(2):
                request = await reader.readuntil(b"\r\n")
            status, body = self.response(request)
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a prober that went away or talks nonsense
        finally:
            writer.close()

    def response(self, request_line: bytes) -> tuple[str, bytes]:
        """Status and body for the first line of a request."""
        method, _, rest = request_line.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return "405 Method Not Allowed", b"GET only\n"
        if path not in self._checks:
            return "404 Not Found", b"/healthz or /readyz\n"
        wrong = self._checks[path]()
        return ("200 OK", b"ok\n") if wrong is None else ("503 Service Unavailable", f"{wrong}\n".encode())


async def ask(path: Path, what: str, *, within: float) -> tuple[bool, str]:
    """Whether the process that serves at ``path`` says that it is well, and what it says; ``within`` seconds."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(f"GET {what} HTTP/1.1\r\n\r\n".encode())
            answer = (await reader.read(_LONGEST_ANSWER)).decode(errors="replace")
            writer.close()
    except TimeoutError:
        return False, f"no answer within {within:g} s"
    except OSError as error:
        return False, f"{path}: {error.strerror or error}"
    head, _, body = answer.partition("\r\n\r\n")
    return head.startswith("HTTP/1.1 200 "), body.strip() or head

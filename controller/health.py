"""``/healthz`` and ``/readyz`` on localhost or on a Unix socket: is the process alive, and does it do what it should.

Dead and not ready are different answers: a probe that kills a node's agent because a router is away makes it worse.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from towpath.controller.pages import Page, Pages
from towpath.controller.settings import CannotRunError

_LONGEST_ANSWER = 65536


class Health(Pages):
    """Answers from two functions that give a sentence on what is wrong, or None."""

    def __init__(self, *, dead: Callable[[], str | None], unready: Callable[[], str | None]) -> None:
        super().__init__({"/healthz": lambda: _page(dead()), "/readyz": lambda: _page(unready())})

    async def serve(self, port: int, *, host: str = "127.0.0.1") -> asyncio.Server:
        """Listen on 127.0.0.1; ``CannotRunError`` where the port is taken."""
        try:
            return await super().serve(port, host=host)
        except OSError as error:
            raise CannotRunError(f"--health-port {port} of {host}: {error.strerror or error}") from error

    async def serve_at(self, path: Path) -> asyncio.Server:
        """Listen on a Unix socket; ``CannotRunError`` where that is refused."""
        try:
            return await super().serve_at(path)
        except OSError as error:
            raise CannotRunError(f"--health-socket {path}: {error.strerror or error}") from error


def _page(wrong: str | None) -> Page:
    return Page("200 OK", b"ok\n") if wrong is None else Page("503 Service Unavailable", f"{wrong}\n".encode())


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

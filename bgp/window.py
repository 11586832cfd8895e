"""The Unix socket at which people look at a running speaker: a line with a question in, items a line out.

The question is a JSON object: ``{"what": "prefix", "prefix": "10.0.0.0/8"}``, or ``{"what": …}`` with sessions, routes or
announcements. The answer ends with the line ``{"end": true}``, or with ``{"error": "…"}``. Nothing can be changed
here. Long answers are written piece by piece, as fast as they are read.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from towpath.bgp.link import bound
from towpath.bgp.look import Look
from towpath.model.net import parse_prefix

NAME = "look.sock"
"""In the folder of the socket to the agent."""
PIECE = 500
"""Items between two turns of the loop."""
ASKS_WITHIN = 5.0
"""Seconds in which a question has to come."""
LOOKERS = 8
"""Who may look at a time: each costs memory and turns of the loop."""

log = structlog.get_logger()


class Question(Struct, forbid_unknown_fields=True):
    """What is asked."""

    what: str
    prefix: str | None = None


class Window:
    """Serves questions about what ``look`` gives."""

    def __init__(self, path: Path, look: Callable[[], Look]) -> None:
        self._path = path
        self._look = look
        self._lookers = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Serve; a socket that an earlier process left is replaced. Where that is refused nobody can look, no more."""
        try:
            self._server = await asyncio.start_unix_server(self._served, sock=bound(self._path), limit=4096)
        except OSError as error:
            log.warning(
                "window.closed", error=str(error), remedy="none needed for routing; towpath get --here needs it"
            )

    async def close(self) -> None:
        """Serve no longer."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lookers += 1
        try:
            if self._lookers > LOOKERS:
                writer.write(msgspec.json.encode({"error": f"{LOOKERS} others look already"}) + b"\n")
                return
            async with asyncio.timeout(ASKS_WITHIN):
                asked = await reader.readuntil(b"\n")
            for place, item in enumerate(self._answer(msgspec.json.decode(asked, type=Question)), start=1):
                writer.write(msgspec.json.encode(item) + b"\n")
                if place % PIECE == 0:
                    await writer.drain()
                    await asyncio.sleep(0)
            writer.write(b'{"end":true}\n')
        except (ValueError, msgspec.DecodeError) as error:
            writer.write(msgspec.json.encode({"error": str(error)}) + b"\n")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # somebody who went away, or asks nothing
        finally:
            self._lookers -= 1
            writer.close()

    def _answer(self, question: Question) -> Iterable[dict[str, Any]]:
        look = self._look()
        match question.what:
            case "sessions":
                return look.sessions()
            case "routes":
                return look.routes()
            case "announcements":
                return look.announcements()
            case "prefix" if question.prefix is not None:
                return (look.prefix(parse_prefix(question.prefix)),)
        raise ValueError(f"{question.what!r} is no question: sessions, prefix, routes or announcements")

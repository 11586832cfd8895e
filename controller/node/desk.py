"""The agent's desk for pods' addresses: our CNI program (``cni/``) asks at a Unix socket, once for every pod that starts.

A question is three lines (container, interface, CNI_ARGS) and the runtime's configuration, up to the end of the stream. An
answer is ``use LENGTH`` or ``refuse CODE LENGTH``, a line end, and so many bytes: the configuration that host-local is to
have, or a sentence for the pod's events. To what is no question, and before the agent knows anything, nothing is said: the
program goes by what stands in the configuration then.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from towpath.ipam.allowance import Allowance, configured
from towpath.ipam.cni import PROGRAM
from towpath.model.reason import Reason, Refusal

log = structlog.get_logger()
LARGEST = 1 << 20
"""Bytes of a question."""
AT_ONCE = 256
"""Questions at one time; whoever comes beyond them is told nothing."""
PATIENCE = 5.0
"""Seconds for a question to come whole, and again for its answer to be taken."""
ANSWER_WITHIN = 1.5
"""Seconds for an answer to be found: the program waits two."""
TRY_AGAIN = 11
"""The CNI specification's code of an error that may be over the next time."""
REFUSED = 100
"""The first code that is a plugin's own."""
_PASSES = frozenset({Reason.PODS_WAITING, Reason.ADDRESS_TAKEN})


class Question(Struct, frozen=True):
    """What the program asks for a pod; name and namespace are empty where the runtime does not say."""

    container: str
    interface: str
    namespace: str
    name: str
    uid: str
    configuration: Mapping[str, Any]

    @property
    def pod(self) -> str:
        """``NAMESPACE/NAME``; empty where it is not known."""
        return f"{self.namespace}/{self.name}" if self.namespace and self.name else ""

    @property
    def before_plugin(self) -> bool:
        """Whether it is not about addresses: the program stands before a plugin that gives an interface to one pod."""
        return self.configuration.get("type") == PROGRAM


Decide = Callable[[Question], Awaitable[Allowance | Refusal | None]]
"""What a pod may have; None: nobody knows yet."""


class Desk:
    """Answers at a socket until cancelled."""

    def __init__(self, socket: Path, decide: Decide) -> None:
        self._socket = socket
        self._decide = decide
        self._busy = 0

    async def serve(self) -> None:
        """Answer for ever. A socket that cannot be made is tried again: pods start without it as far as they can."""
        while True:
            try:
                await self._listen()
            except OSError as error:
                log.warning("desk.refused", socket=str(self._socket), error=str(error), remedy="tried again")
                await asyncio.sleep(PATIENCE)

    async def _listen(self) -> None:
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        # nobody but root comes into its folder's parents; the mode is for whoever looks
        server = await asyncio.start_unix_server(self._meet, self._socket, limit=LARGEST, backlog=AT_ONCE)
        async with server:
            self._socket.chmod(0o600)
            await server.serve_forever()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._busy += 1
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                if self._busy <= AT_ONCE:
                    await self._attend(reader, writer)
        finally:
            self._busy -= 1
            writer.close()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(PATIENCE):
            content = bytearray()
            while piece := await reader.read(1 << 16):
                content += piece
                if len(content) > LARGEST:
                    log.warning("desk.too_large", bytes=len(content))
                    return
        question = read(bytes(content))
        if question is None:
            log.warning("desk.not_understood", bytes=len(content))
            return
        async with asyncio.timeout(ANSWER_WITHIN):
            decided = await self._decide(question)
        if decided is None:
            return
        writer.write(answer(question, decided))
        async with asyncio.timeout(PATIENCE):
            await writer.drain()


def read(content: bytes) -> Question | None:
    """A question; None where it is none."""
    try:
        container, interface, arguments, text = content.decode().split("\n", 3)
        configuration = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(configuration, dict) or not isinstance(configuration.get("ipam"), dict):
        return None
    said = dict(one.split("=", 1) for one in arguments.split(";") if "=" in one)
    return Question(
        container=container,
        interface=interface,
        namespace=said.get("K8S_POD_NAMESPACE", ""),
        name=said.get("K8S_POD_NAME", ""),
        uid=said.get("K8S_POD_UID", ""),
        configuration=configuration,
    )


def answer(question: Question, decided: Allowance | Refusal) -> bytes:
    """What the program is told."""
    if isinstance(decided, Allowance):
        content = json.dumps(configured(question.configuration, decided)).encode()
        return b"use %d\n%b" % (len(content), content)
    content = f"{decided.object}: {decided.message}".encode()
    code = TRY_AGAIN if decided.reason in _PASSES else REFUSED
    return b"refuse %d %d\n%b" % (code, len(content), content)

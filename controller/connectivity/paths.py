"""Trying paths: a small server in a pod on each node, which says where it runs and tries, on request, to reach others.

A connection gets one line of JSON with the node's name: whoever reads it has been answered by that node's pod and nobody
else. A line sent back asks for targets to be tried from here; the answer is a line with those that failed.
"""

import asyncio
import os
import socket
from collections.abc import Iterable, Mapping

import msgspec
import structlog
from msgspec import Struct

log = structlog.get_logger()
BGP_PORT = 179
AT_ONCE = 64
_LONGEST_LINE = 1 << 20
_ECHO_REQUEST = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
"""ICMP types of a request and of its reply (RFC 792, RFC 4443)."""


class Asked(Struct, frozen=True):
    """What to try: pods by address, with the node that should answer there, and hosts that may answer in any way."""

    pods: dict[str, str] = {}
    hosts: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """What failed, by address, each with a sentence."""

    failed: dict[str, str]


class Paths:
    """The server of one pod. ``within``: seconds for each path that is tried."""

    def __init__(self, node: str, *, port: int, within: float = 2.0) -> None:
        self._node = node
        self._port = port
        self._within = within

    async def serve(self) -> asyncio.Server:
        """Listen on all addresses, of both families where the pod has them."""
        hosts = ["0.0.0.0", "::"] if socket.has_ipv6 and _has_ipv6() else ["0.0.0.0"]
        return await asyncio.start_server(self._serve, hosts, self._port, limit=_LONGEST_LINE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(msgspec.json.encode(self._node) + b"\n")
            async with asyncio.timeout(60):
                await writer.drain()
                if line := await reader.readline():
                    asked = msgspec.json.decode(line, type=Asked)
                    failed = await try_all(asked, port=self._port, within=self._within)
                    writer.write(msgspec.json.encode(Answer(failed)) + b"\n")
                    await writer.drain()
        except (OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
            log.debug("connectivity.request", error=str(error))
        finally:
            writer.close()


async def ask(address: str, asked: Asked, *, node: str, port: int, within: float) -> Mapping[str, str]:
    """Have the pod at ``address`` try paths; what failed. ``OSError`` with a sentence where it cannot be asked."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(address, port, limit=_LONGEST_LINE)
            try:
                _expect(await reader.readline(), node)
                writer.write(msgspec.json.encode(asked) + b"\n")
                return msgspec.json.decode(await reader.readline(), type=Answer).failed
            finally:
                writer.close()
    except TimeoutError as error:
        raise OSError(f"no answer within {within:g} s") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise OSError(f"something else answers there: {error}") from error


async def try_all(asked: Asked, *, port: int, within: float) -> dict[str, str]:
    """Try every target from here, a bounded number at once; what failed."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(address: str, node: str | None) -> tuple[str, str | None]:
        async with limit:
            return address, await (host(address, within=within) if node is None else pod(address, node, port, within))

    targets: Iterable[tuple[str, str | None]] = [*asked.pods.items(), *((address, None) for address in asked.hosts)]
    found = await asyncio.gather(*(one(address, node) for address, node in targets))
    return {address: wrong for address, wrong in found if wrong is not None}


async def pod(address: str, node: str, port: int, within: float) -> str | None:
    """What is wrong with the path to the pod of a node; None: nothing."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                _expect(await reader.readline(), node)
            finally:
                writer.close()
    except TimeoutError:
        return f"no answer within {within:g} s"
    except OSError as error:
        return said(error)
    except (ValueError, msgspec.MsgspecError) as error:
        return str(error)
    return None


async def host(address: str, *, within: float) -> str | None:
    """What is wrong with the path to a host that may be a router: an echo reply, a connection or its refusal will do."""
    attempts = [asyncio.ensure_future(_echo(address)), asyncio.ensure_future(_connects(address))]
    reasons = []
    try:
        for attempt in asyncio.as_completed(attempts, timeout=within):
            wrong = await attempt
            if wrong is None:
                return None
            reasons.append(wrong)
    except TimeoutError:
        reasons.append(f"neither ICMP nor TCP port {BGP_PORT} answers within {within:g} s")
    finally:
        for attempt in attempts:
            attempt.cancel()
    return "; ".join(reasons)


async def _connects(address: str) -> str | None:
    try:
        _, writer = await asyncio.open_connection(address, BGP_PORT)
    except ConnectionRefusedError:
        return None  # its refusal came back: the path carries packets both ways
    except OSError as error:
        return f"TCP: {said(error)}"
    writer.close()
    return None


async def _echo(address: str) -> str | None:
    """One ICMP echo, by the kernel's socket for it (icmp(7)): it needs no capability, only net.ipv4.ping_group_range."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    request, reply = _ECHO_REQUEST[family]
    try:
        with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (address, 0))
            await loop.sock_sendall(sock, bytes([request, 0, 0, 0, 0, 0, 0, 1]) + os.urandom(8))
            while (await loop.sock_recv(sock, 2048))[0] != reply:
                pass
    except OSError as error:
        return f"ICMP: {said(error)}"
    return None


def said(error: OSError) -> str:
    """What the kernel said, without the address that asyncio adds."""
    return os.strerror(error.errno) if error.errno else str(error)


def _expect(line: bytes, node: str) -> None:
    found = msgspec.json.decode(line, type=str)
    if found != node:
        raise ValueError(f"the pod of {found} answers, not that of {node}")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True

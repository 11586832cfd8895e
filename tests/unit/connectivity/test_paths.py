"""Trying paths, on loopback: servers that answer, that are somebody else, and that do not answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from towpath.controller.connectivity.paths import Asked, Paths, ask, host, try_all
from towpath.lab.kubernetes import free_ports


@asynccontextmanager
async def pods(*nodes: str) -> AsyncIterator[int]:
    """One server a node, each on a loopback address of its own; gives their port."""
    (port,) = free_ports(1)
    servers = []
    for index, node in enumerate(nodes, 1):
        paths = Paths(node, port=port, within=1)
        servers.append(await asyncio.start_server(paths._serve, f"127.0.0.{index}", port))
    try:
        yield port
    finally:
        for one in servers:
            one.close()


async def test_a_pod_tries_what_it_is_asked_to() -> None:
    """Each path is tried from the pod that is asked; what answers as the right node is fine, the rest has a reason."""
    async with pods("a", "b", "c") as port:
        asked = Asked(pods={"127.0.0.2": "b", "127.0.0.3": "x", "127.0.0.4": "d"})
        failed = await ask("127.0.0.1", asked, node="a", port=port, within=10)
    assert failed == {"127.0.0.3": "the pod of c answers, not that of x", "127.0.0.4": "Connection refused"}


async def test_another_pod_under_the_address_is_noticed() -> None:
    """Who asks a pod knows whose it is: an address that two nodes gave out does not pass."""
    async with pods("a") as port:
        with pytest.raises(OSError, match="the pod of a answers, not that of b"):
            await ask("127.0.0.1", Asked(), node="b", port=port, within=10)


async def test_a_pod_that_says_nothing_has_no_path() -> None:
    """A connection alone is no answer: something else may accept it."""

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        failed = await try_all(Asked(pods={"127.0.0.1": "a"}), port=port, within=0.3)
    assert failed == {"127.0.0.1": "no answer within 0.3 s"}


async def test_nonsense_ends_the_connection_and_nothing_else() -> None:
    """A pod's server outlives whoever talks nonsense to it."""
    async with pods("a") as port:
        for nonsense in (b"\xff\xfe\n", b"{}{}\n", b'{"pods": 4}\n', b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert json.loads(await reader.readline()) == "a"
            writer.write(nonsense)
            assert await reader.read() == b""
            writer.close()
        assert await ask("127.0.0.1", Asked(), node="a", port=port, within=10) == {}


async def test_a_refused_connection_shows_the_path() -> None:
    """A host without BGP answers with a reset: packets went there and came back."""
    assert await host("127.0.0.1", within=5) is None

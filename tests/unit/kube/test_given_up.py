"""A request that is given up is gone from the wire as well: nothing of it can arrive under the next leader."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from towpath.controller.kube.client import KubeApi, Timeouts
from towpath.controller.kube.credentials import Credentials
from towpath.lab.certificates import Authority

DEADLINE = 15.0
"""Seconds; half of what TLS may take to say goodbye if asyncio is left to it."""


class Mute:
    """A server that takes a request and says nothing any more, not even goodbye."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self.port = self._listener.getsockname()[1]
        self.end = "nobody came"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener, contextlib.suppress(TimeoutError):
            made, _ = self._listener.accept()
            made.settimeout(DEADLINE)
            with made:
                self.end = "the request did not come"
                if self._context is not None:
                    # the bare socket stays ours: the TLS beside it never sees a goodbye
                    with self._context.wrap_socket(made.dup(), server_side=True) as spoken:
                        spoken.recv(1)
                self.end = "the connection stayed"
                with contextlib.suppress(ConnectionResetError):
                    while made.recv(4096):
                        pass
                    self.end = "the connection was closed in order"
                    return
                self.end = "reset"

    def ended(self) -> str:
        """How the connection ended, as the server saw it."""
        self._thread.join()
        return self.end


@pytest.fixture(params=["http", "https"])
def mute(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Mute, Credentials]]:
    """The server, and how to reach it."""
    trusted = served = None
    if request.param == "https":
        authority = Authority(tmp_path)
        authority.make()
        pair = authority.issue("server", hosts=("127.0.0.1",))
        served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        served.load_cert_chain(pair.certificate, pair.key)
        trusted = ssl.create_default_context(cafile=str(authority.certificate))
    server = Mute(served)
    yield server, Credentials(f"{request.param}://127.0.0.1:{server.port}", tls=lambda: trusted)
    server.ended()


def test_what_is_given_up_is_reset(mute: tuple[Mute, Credentials]) -> None:
    """The kernel would go on sending what a connection in the middle of TLS' goodbye still holds."""
    server, credentials = mute

    async def give_up() -> str:
        async with KubeApi(credentials, timeouts=Timeouts(request=60.0)) as api:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await api.delete("Node", "one")
            return await asyncio.to_thread(server.ended)

    assert asyncio.run(give_up()) == "reset"

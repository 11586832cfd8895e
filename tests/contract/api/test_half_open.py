"""A connection whose other end has vanished without a word is noticed, and the store catches up afterwards."""

import asyncio
import contextlib
import functools
import sys
import threading
import urllib.request
import uuid

import pytest

from tests.names import own
from tests.patience import asked
from towpath.controller.kube.client import Timeouts
from towpath.controller.kube.connect import connect
from towpath.controller.kube.watch import Retry, following
from towpath.controller.ports import UnreachableError
from towpath.controller.store import Store
from towpath.lab.certificates import trusting
from towpath.lab.kubernetes import Place
from towpath.lab.netns import Network
from towpath.lab.process import wait_for

PORTS = "{ 8001, 6443 }"
THERE = f"chain there {{ type filter hook input priority 0; tcp dport {PORTS} drop; }}"
BACK = f"chain back {{ type filter hook output priority 0; tcp sport {PORTS} drop; }}"


@pytest.fixture
def network():
    with Network(own("tpk")) as made:
        yield made


def _in_thread(host, main):
    """Run a coroutine in a thread of its own that stays inside of a namespace."""
    outcome = []

    def body():
        with host.entered():
            try:
                outcome.append((asyncio.run(main()), None))
            except BaseException as error:  # noqa: BLE001  # raised again by the caller
                outcome.append((None, error))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


@pytest.fixture
def served(network, tmp_path):
    """An API server at 192.0.2.1:8001 and the host of its client."""
    server, client = network.host("server"), network.host("client")
    network.link(server, "eth0", client, "eth0")
    server.address("192.0.2.1/24", dev="eth0")
    client.address("192.0.2.2/24", dev="eth0")
    command = (
        "-m",
        "towpath.lab.apiserver",
        "--listen",
        "192.0.2.1:8001",
        "--data",
        str(tmp_path / "data"),
        "--bookmarks",
        "2",
    )
    process = server.process(sys.executable, *command, log=tmp_path / "log")
    wait_for(lambda: "serving" in process.log, deadline=10, what="it serves")
    return server, client


@pytest.mark.parametrize(
    ("timeouts", "drop"),
    [
        (Timeouts(dead_after=4, ask_after=75), (THERE, BACK)),
        (Timeouts(dead_after=60, ask_after=2, connect=1), (THERE,)),
        (Timeouts(dead_after=60, ask_after=2, connect=1), (BACK,)),
        (Timeouts(dead_after=60, ask_after=75, watch_silence=4), (THERE,)),
    ],
    ids=["keepalive", "there", "back", "silence"],
)
def test_half_open(served, settled, timeouts, drop):
    """By the kernel's probes; by a question that is not answered, whichever direction is cut; by the end of the watch that does not come.

    The times here are short ones; with those of production it takes 24 s, 25 s and, behind a proxy alone, 11 minutes.
    """
    server, client = served
    connecting = functools.partial(connect, server="http://192.0.2.1:8001", timeouts=timeouts)
    _in_thread(client, lambda: _cut(server, connecting, drop, settled))


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory):
    """A real API server at 192.0.2.1:6443, the host of its client, and the way in."""
    with Network(own("tpkr")) as network:
        server, client = network.host("server"), network.host("client")
        network.link(server, "eth0", client, "eth0")
        server.address("192.0.2.1/24", dev="eth0")
        client.address("192.0.2.2/24", dev="eth0")
        place = Place(tmp_path_factory.mktemp("kubernetes"), "192.0.2.1")
        place.prepare()
        server.process(*place.etcd_command(), log=place.folder / "etcd.log")
        server.process(*place.apiserver_command(), log=place.folder / "apiserver.log")
        with client.entered():
            wait_for(lambda: _ready(place), deadline=90, what="it serves", interval=0.2)
        yield server, client, place


def _ready(place):
    """Whether it answers that it is ready."""
    request = urllib.request.Request(
        f"{place.url}/readyz", headers={"Authorization": f"Bearer {place.token.read_text()}"}
    )
    try:
        with urllib.request.urlopen(request, context=trusting(place.authority.certificate), timeout=2) as answer:
            return answer.read() == b"ok"
    except OSError:
        return False


@pytest.mark.parametrize("drop", [THERE, BACK], ids=["there", "back"])
def test_half_open_to_the_real_server(kubernetes, settled, drop):
    """The same over TLS, with what the real one sends of itself: whichever direction is cut, it is noticed, and caught up with."""
    server, client, place = kubernetes
    timeouts = Timeouts(dead_after=60, ask_after=2, connect=1)
    connecting = functools.partial(connect, kubeconfig=place.kubeconfig, timeouts=timeouts)
    _in_thread(client, lambda: _cut(server, connecting, (drop,), settled))


async def _cut(server, connecting, drop, settled):
    """Follow Nodes, cut the connection, mend it: what was known stays, and what comes afterwards is seen."""
    store = Store(("Node",))
    async with await connecting() as api, following(api, store, retry=Retry(longest=0.5)):
        before, after = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("before", "after"))
        await api.create("Node", {"metadata": {"name": before}})
        await settled(lambda: before in store.cluster().nodes and store.unreachable_for() == 0)
        known = list(store.cluster().nodes)
        server.run("nft", f"table inet cut {{ {'; '.join(drop)}; }}")
        try:
            await settled(lambda: store.unreachable_for() > 0, deadline=10)
            assert list(store.cluster().nodes) == known
        finally:
            server.run("nft", "delete table inet cut")
        await settled(lambda: store.unreachable_for() == 0, deadline=12)
        await api.create("Node", {"metadata": {"name": after}})
        await settled(lambda: after in store.cluster().nodes)


def test_a_request_that_was_given_up_never_arrives(served):
    """Once the client has stopped waiting, the kernel does not go on sending: the lease may be somebody else's by then."""
    server, client = served

    async def main():
        async with (
            await connect(server="http://192.0.2.1:8001") as api,
            await connect(server="http://192.0.2.1:8001", timeouts=Timeouts(request=0.5)) as hasty,
        ):
            await api.create("Node", {"metadata": {"name": "before"}})

            async def answered() -> bool:
                """The connection is there over which the request goes; a busy machine may take longer than half a second."""
                with contextlib.suppress(UnreachableError):
                    return bool((await hasty.list("Node")).items)
                return False

            await asked(answered, what="an answer")
            server.run("nft", f"table inet cut {{ {THERE}; }}")
            with pytest.raises(UnreachableError):
                await hasty.create("Node", {"metadata": {"name": "late"}})
            server.run("nft", "delete table inet cut")
            await asyncio.sleep(2)  # its retransmissions would come within this time
            return [body["metadata"]["name"] for body in (await api.list("Node")).items]

    assert _in_thread(client, main) == ["before"]

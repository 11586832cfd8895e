"""A connection whose other end has vanished without a word is noticed, and the store catches up afterwards."""

import asyncio
import sys
import threading

import pytest

from tests.names import own
from towpath.controller.kube.client import Timeouts
from towpath.controller.kube.connect import connect
from towpath.controller.kube.watch import Retry, following
from towpath.controller.ports import UnreachableError
from towpath.controller.store import Store
from towpath.lab.netns import Network
from towpath.lab.process import wait_for

THERE = "chain there { type filter hook input priority 0; tcp dport 8001 drop; }"
BACK = "chain back { type filter hook output priority 0; tcp sport 8001 drop; }"


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

    async def main():
        store = Store(("Node",))
        async with (
            await connect(server="http://192.0.2.1:8001", timeouts=timeouts) as api,
            following(api, store, retry=Retry(longest=0.5)),
        ):
            await api.create("Node", {"metadata": {"name": "before"}})
            await settled(lambda: "before" in store.cluster().nodes and store.unreachable_for() == 0)
            server.run("nft", f"table inet cut {{ {'; '.join(drop)}; }}")
            await settled(lambda: store.unreachable_for() > 0, deadline=10)
            assert list(store.cluster().nodes) == ["before"]
            server.run("nft", "delete table inet cut")
            await settled(lambda: store.unreachable_for() == 0, deadline=12)
            await api.create("Node", {"metadata": {"name": "after"}})
            await settled(lambda: "after" in store.cluster().nodes)

    _in_thread(client, main)


def test_a_request_that_was_given_up_never_arrives(served):
    """Once the client has stopped waiting, the kernel does not go on sending: the lease may be somebody else's by then."""
    server, client = served

    async def main():
        async with await connect(server="http://192.0.2.1:8001", timeouts=Timeouts(request=0.5)) as api:
            await api.create("Node", {"metadata": {"name": "before"}})
            server.run("nft", f"table inet cut {{ {THERE}; }}")
            with pytest.raises(UnreachableError):
                await api.create("Node", {"metadata": {"name": "late"}})
            server.run("nft", "delete table inet cut")
            await asyncio.sleep(2)  # its retransmissions would come within this time
            return [body["metadata"]["name"] for body in (await api.list("Node")).items]

    assert _in_thread(client, main) == ["before"]

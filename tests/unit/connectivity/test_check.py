"""The whole check, with the objects in memory and the pods' servers on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from towpath.controller.connectivity.check import CheckSettings, look
from towpath.controller.connectivity.paths import Paths
from towpath.controller.settings import Source
from towpath.lab.fake_api import FakeApi

SELECTOR = "app.kubernetes.io/component=test-path"


@asynccontextmanager
async def pods(**addresses: str) -> AsyncIterator[int]:
    """The server of a pod for each node, on an address of loopback each; gives their port."""
    async with AsyncExitStack() as stack:
        port = 0
        for node, address in addresses.items():
            paths = Paths(node, port=port, within=2)
            server = await asyncio.start_server(paths._serve, address, port)
            await stack.enter_async_context(server)
            if not port:
                port = server.sockets[0].getsockname()[1]
                paths._port = port  # the first one learns it from the kernel
        yield port


async def cluster(**addresses: str) -> FakeApi:
    """Nodes that are well, with a session each, and their pods."""
    api = FakeApi()
    session = {"name": "tor", "peer": "127.0.0.1", "remoteAS": 65000, "state": "Established"}
    conditions = [{"type": one, "status": "True", "reason": one} for one in ("Ready", "InSync", "APIReachable")]
    await api.create("Namespace", {"metadata": {"name": "towpath-system"}})
    for node, address in addresses.items():
        await api.create("RoutingNode", {"metadata": {"name": node}, "spec": {"bgp": {"ipv4Address": "10.0.0.1/24"}}})
        await api.create("NodeStatus", {"metadata": {"name": node}, "spec": {}})
        status = {"inSync": True, "sessions": [session], "conditions": conditions}
        await api.patch_status("NodeStatus", node, {"status": status})
        labels = dict([SELECTOR.split("=")])
        pod = {
            "metadata": {"name": f"path-{node}", "labels": labels},
            "spec": {"nodeName": node},
            "status": {"phase": "Running", "podIPs": [{"ip": address}]},
        }
        await api.create("Pod", pod, namespace="towpath-system")
    return api


def settings(port: int, *, peers: bool = True) -> CheckSettings:
    return CheckSettings(Source(), "towpath-system", SELECTOR, port=port, timeout=10, peers=peers)


async def test_all_is_well() -> None:
    """Every pod reached every other one, the peers, and was reached from here: each path is counted."""
    addresses = {"a": "127.0.0.1", "b": "127.0.0.2", "c": "127.0.0.3"}
    api = await cluster(**addresses)
    async with pods(**addresses) as port:
        result = await look(api, settings(port))
    assert result.wrong == ()
    assert (result.nodes, result.sessions, result.paths) == (3, 3, 6 + 3 + 3)


async def test_a_pod_that_is_not_reached_is_named_from_everywhere() -> None:
    """From each of the others and from here, with its node and its address."""
    api = await cluster(a="127.0.0.1", b="127.0.0.2", c="127.0.0.3")
    async with pods(a="127.0.0.1", b="127.0.0.2") as port:
        result = await look(api, settings(port))
    told = [sentence for sentence in result.wrong if "127.0.0.3" in sentence]
    assert {sentence.split(" to ")[0] for sentence in told} >= {
        "from the pod on a",
        "from the pod on b",
        "from this node",
    }
    assert any(sentence.startswith("the pod on c (127.0.0.3) cannot be asked") for sentence in told)
    assert len(told) == len(result.wrong)


async def test_addresses_that_were_mixed_up_are_found() -> None:
    """Each pod answers as itself, so one that answers for another is noticed."""
    api = await cluster(a="127.0.0.1", b="127.0.0.2")
    async with pods(a="127.0.0.1", x="127.0.0.2") as port:
        result = await look(api, settings(port))
    assert any("the pod of x answers, not that of b" in sentence for sentence in result.wrong)

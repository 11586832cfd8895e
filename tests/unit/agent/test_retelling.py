"""A node tells again how it is when the API server's store went back."""

import asyncio

import pytest

from tests.patience import eventually
from tests.unit.agent.worlds import FakeApi
from towpath.controller.node import retelling as module
from towpath.controller.node.retelling import retelling
from towpath.controller.status import StatusWriter
from towpath.controller.store import Store
from towpath.model.kinds.node import NodeStatusStatus


async def test_twice_for_each_time_that_the_store_went_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the list itself is the same as before: what the node said is gone all the same."""
    monkeypatch.setattr(module, "AFTER", (0.0, 0.01))
    store, api = Store(("BGPPeer",)), FakeApi()
    writer = StatusWriter(api, node="a")
    offered: list[int] = []

    def wake() -> None:
        offered.append(len(offered))

    store.subscribe(retelling(store, writer, wake=wake))
    store.listed("BGPPeer", [], version="60")
    store.listed("BGPPeer", [], version="61")
    await asyncio.sleep(0)
    assert offered == []
    store.listed("BGPPeer", [], version="50")
    await eventually(lambda: len(offered) == 2)
    status = NodeStatusStatus(node_uid="uid-a")
    await writer.offer(status, None, now=100)
    api.calls.clear()
    store.listed("BGPPeer", [], version="40")
    await eventually(lambda: len(offered) == 4)
    await writer.offer(status, None, now=200)
    assert api.calls == [("patch_status", "NodeStatus", "a")]

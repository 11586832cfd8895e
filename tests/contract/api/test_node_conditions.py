"""Clearing a Node's NetworkUnavailable: what holds on the fake, on the embedded server and on the real one alike."""

import pytest

from towpath.controller import node_conditions
from towpath.controller.ports import ConflictError, NotFoundError
from towpath.model.decode import decode_node

BEFORE, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
READY = {
    "type": "Ready",
    "status": "True",
    "reason": "KubeletReady",
    "message": "m",
    "lastHeartbeatTime": BEFORE,
    "lastTransitionTime": BEFORE,
}
MARKED = {**READY, "type": "NetworkUnavailable", "reason": "NoRouteCreated"}


async def marked(api):
    """A Node that its cloud has marked."""
    await api.create("Node", {"metadata": {"name": "n1"}})
    return decode_node(await api.patch_status("Node", "n1", {"status": {"conditions": [MARKED, READY]}}))


async def test_it_is_cleared_and_what_others_wrote_stays(api):
    """The very Node, once; a Node of another uid is left alone."""
    node = await marked(api)
    assert node.network_unavailable
    assert await node_conditions.clear(api, node, now=NOW)
    found = await api.get("Node", "n1")
    conditions = {one["type"]: one for one in found["status"]["conditions"]}
    assert conditions["Ready"] == READY
    assert {key: conditions["NetworkUnavailable"][key] for key in ("status", "reason", "lastTransitionTime")} == {
        "status": "False",
        "reason": "TowpathIsUp",
        "lastTransitionTime": NOW,
    }
    assert not decode_node(found).network_unavailable
    assert not await node_conditions.clear(api, node, now=NOW)
    await api.delete("Node", "n1")
    with pytest.raises(NotFoundError):
        await node_conditions.clear(api, node, now=NOW)
    await marked(api)
    assert not await node_conditions.clear(api, node, now=NOW)


async def test_a_heartbeat_in_between_is_not_lost(api):
    """Kubelet writes after we read: a conflict, and its word stands."""
    node = await marked(api)

    class Interfering:
        async def get(self, kind, name):
            found = await api.get(kind, name)
            later = {**READY, "lastHeartbeatTime": NOW}
            await api.patch_status("Node", "n1", {"status": {"conditions": [MARKED, later]}})
            return found

        def __getattr__(self, name):
            return getattr(api, name)

    with pytest.raises(ConflictError):
        await node_conditions.clear(Interfering(), node, now=NOW)
    conditions = {one["type"]: one for one in (await api.get("Node", "n1"))["status"]["conditions"]}
    assert conditions["Ready"]["lastHeartbeatTime"] == NOW

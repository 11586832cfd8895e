"""The controller takes NetworkUnavailable back where a node's own agent says that its network works."""

from typing import Any

import pytest

from tests.sim.ipam.world import Replica, World
from tests.sim.leaders import Network
from towpath.controller.cluster import KINDS

HEARTBEAT = "2026-01-01T00:00:00Z"
OTHERS = [
    {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": HEARTBEAT, "message": "fine"},
    {"type": "DiskPressure", "status": "False", "reason": "KubeletHasNoDiskPressure", "lastHeartbeatTime": HEARTBEAT},
]
NO_ROUTE = {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "lastHeartbeatTime": HEARTBEAT}


@pytest.fixture
def world():
    """A server with a pool and a node that its cloud has marked."""
    world = World()
    world.put("IPPool", "four", spec={"cidr": "10.0.0.0/16"})
    world.add_node("n1", "m")
    world.put("Node", "n1", status={"conditions": [OTHERS[0], NO_ROUTE, OTHERS[1]]})
    yield world
    world.close()


def reported(world: World, *, ready: str = "True", uid: str | None = None) -> None:
    """The agent of n1 reports."""
    own = world.items("Node")["n1"]["metadata"]["uid"]
    conditions = [{"type": "Ready", "status": ready, "reason": "R", "lastTransitionTime": HEARTBEAT}]
    world.put("NodeStatus", "n1", status={"nodeUID": own if uid is None else uid, "conditions": conditions})


def passed(world: World, *, times: int = 4) -> list[str]:
    """Some passes of a controller; what it wrote to Nodes."""
    replica = Replica(world, Network())
    world.server.calls.clear()
    for _ in range(times):
        replica.refresh(*KINDS)
        replica.step()
    return [call.verb for call in world.server.calls if call.kind == "Node" and call.verb != "get"]


def conditions(world: World) -> dict[str, dict[str, Any]]:
    """Those of n1."""
    return {one["type"]: one for one in world.items("Node")["n1"]["status"]["conditions"]}


def test_it_is_cleared_once_and_the_others_stay(world):
    """One write, when the agent is ready; kubelet's conditions keep every field, heartbeats included."""
    reported(world)
    assert passed(world) == ["patch_status"]
    found = conditions(world)
    cleared = found.pop("NetworkUnavailable")
    assert (cleared["status"], cleared["reason"]) == ("False", "TowpathIsUp")
    assert cleared["lastTransitionTime"] != HEARTBEAT
    assert list(found.values()) == OTHERS
    assert passed(world) == []


@pytest.mark.parametrize(
    ("ready", "uid"), [("False", None), ("Unknown", None), ("True", "another"), ("True", "")], ids=str
)
def test_it_stays_while_the_node_is_not_known_to_work(world, ready, uid):
    """Not ready, or a report about an earlier Node of the same name: pods are kept away."""
    reported(world, ready=ready, uid=uid)
    assert passed(world) == []
    assert conditions(world)["NetworkUnavailable"]["status"] == "True"


def test_without_a_report_it_stays(world):
    """Nobody has said anything of this node."""
    assert passed(world) == []


def test_a_node_that_nobody_marked_is_not_written(world):
    """No cloud, no condition, no write; False is left as it is, whoever said it."""
    reported(world)
    for marks in ([], [{**NO_ROUTE, "status": "False", "reason": "RouteCreated"}]):
        world.put("Node", "n1", status={"conditions": [*OTHERS, *marks]})
        assert passed(world) == []


def test_marked_again_it_is_cleared_again(world):
    """The cloud is later than we were: level, not edge."""
    reported(world)
    assert passed(world) == ["patch_status"]
    world.put("Node", "n1", status={"conditions": [*OTHERS, NO_ROUTE]})
    assert passed(world) == ["patch_status"]


def test_an_agent_that_is_not_ready_later_does_not_set_it(world):
    """Pods that run go on running; kubelet and the agent's own condition say what is wrong."""
    reported(world)
    passed(world)
    reported(world, ready="False")
    assert passed(world) == []
    assert conditions(world)["NetworkUnavailable"]["status"] == "False"

"""The controller on the API in memory: what it writes, how often, and what it does when it is told no."""

import asyncio
from ipaddress import ip_network

import pytest

from tests.leading import AlwaysLeading
from tests.sim.ipam.world import Replica, World
from tests.sim.leaders import Network
from towpath.controller.cluster import KINDS, ClusterController
from towpath.controller.kube.lease import Lease
from towpath.controller.store import Store
from towpath.lab.apiserver.objects import Objects
from towpath.lab.fake_api import FakeApi, Fault


@pytest.fixture
def world():
    """A server with two pools."""
    world = World()
    world.put("IPPool", "four", spec={"cidr": "10.0.0.0/16"})
    world.put("IPPool", "six", spec={"cidr": "fd00::/64"})
    yield world
    world.close()


def settled(world: World) -> Replica:
    """A controller that has nothing left to do."""
    replica = Replica(world, Network())
    for _ in range(4):
        replica.refresh(*KINDS)
        replica.step()
    return replica


def writes(world: World) -> list[tuple[str, str]]:
    """Verbs and kinds of what was asked of the server since the last look, reads left out."""
    found = [(call.verb, call.kind) for call in world.server.calls if call.verb != "get"]
    world.server.calls.clear()
    return found


def condition(world: World, kind: str, name: str, type_: str) -> dict:
    """A condition of an object."""
    status = world.items(kind)[name].get("status", {})
    return next(one for one in status["conditions"] if one["type"] == type_)


def test_one_more_node_costs_three_writes(world):
    """Its RoutingNode and a block per family, however many nodes there are; then nothing more."""
    for number in range(20):
        world.add_node(f"n{number}", "m")
    replica = settled(world)
    world.add_node("new", "m")
    writes(world)
    for _ in range(3):
        replica.refresh(*KINDS)
        assert replica.step()
    assert writes(world) == [("create", "RoutingNode"), ("create", "IPAMBlock"), ("create", "IPAMBlock")]


def test_a_cache_that_shows_nothing_of_it_does_not_make_it_write_twice(world):
    """Its own answered writes count."""
    world.add_node("n1", "m")
    replica = Replica(world, Network())
    replica.refresh(*KINDS)
    replica.step()
    writes(world)
    for _ in range(3):
        assert replica.step()
    assert writes(world) == []


def test_a_claim_that_somebody_else_made_is_read_and_planned_around(world):
    """A 409 costs one read; the node gets another block in the next pass."""
    world.add_node("n1", "m")
    replica = Replica(world, Network())
    replica.refresh(*KINDS)
    other = Replica(world, Network())
    other.refresh(*KINDS)
    other.step()
    assert not replica.step()
    assert replica.step()
    assert len(world.blocks()) == 2


def test_a_node_that_goes_takes_everything_with_it_after_the_quarantine(world):
    """RoutingNode at once, blocks after the quarantine, the status with the last block."""
    world.add_node("n1", "m")
    replica = settled(world)
    world.report("n1")
    world.delete("Node", "n1")
    for _ in range(2):
        replica.refresh(*KINDS)
        replica.step()
    assert world.items("RoutingNode") == {}
    assert {block.spec.state for block in world.blocks().values()} == {"Quarantined"}
    assert "n1" in world.items("NodeStatus")
    world.time += 301
    for _ in range(2):
        replica.refresh(*KINDS)
        replica.step()
    assert world.blocks() == {}
    assert world.items("NodeStatus") == {}


def test_no_block_is_claimed_before_it_is_known_what_services_have(world):
    """And none is cut from what they have in a pool that is for pods by now."""
    world.add_node("n1", "m")
    store, taken = Store(KINDS), [None]
    for kind in KINDS:
        store.listed(kind, world.page(kind).items, version="1")
    controller = ClusterController(world.server, store, lease=AlwaysLeading(), taken=lambda: taken[0])
    writes(world)
    assert world.run(controller.step())
    assert writes(world) == []
    # all of the one pool, and nothing of the other
    taken[0] = (ip_network("10.0.0.0/17"), ip_network("10.0.128.0/17"))
    world.run(controller.step())
    assert [block.spec.pool for block in world.blocks().values()] == ["six"]


def test_who_does_not_lead_writes_nothing(world):
    """Not even in the middle of a pass."""
    world.add_node("n1", "m")
    replica = Replica(world, Network())
    replica.refresh(*KINDS)

    class Once(AlwaysLeading):
        asked = 0

        @property
        def leading(self):
            self.asked += 1
            return self.asked == 1

    replica.controller._writer._lease = Once()
    writes(world)
    assert not replica.step()
    assert writes(world) == []


def test_a_write_ends_with_the_lease(world):
    """A request without an answer is given up when the lease is over, so that it cannot land under the next leader."""
    clock = [1000.0]

    def delayed(call):
        return Fault.DELAYED_REQUEST if (call.verb, call.kind) == ("create", "IPAMBlock") else Fault.NONE

    api, store = FakeApi(world.objects, faults=delayed), Store(KINDS)
    lease = Lease(api, namespace="default", name="l", identity="one", clock=lambda: clock[0])
    controller = ClusterController(api, store, lease=lease, clock=lambda: clock[0])
    world.add_node("n1", "m")

    async def late():
        await lease.attempt()
        clock[0] += 9.8
        for kind in KINDS:
            page = await api.list(kind)
            store.listed(kind, page.items, version=page.resource_version)
        done = await asyncio.wait_for(controller.step(), 2)
        while api.waiting:
            api.release()
        await asyncio.sleep(0)
        return done

    assert not world.run(late())
    assert ("create", "IPAMBlock") in [(call.verb, call.kind) for call in api.calls]
    assert world.blocks() == {}


def test_objects_say_whether_they_are_accepted(world):
    """Once, with the field and the reason; an unchanged picture is not written again."""
    world.put("IPPool", "wrong", spec={"cidr": "10.0.0.0/25"})
    settled(world)
    assert condition(world, "IPPool", "four", "Accepted")["status"] == "True"
    accepted = condition(world, "IPPool", "wrong", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "OverlappingPool")
    assert "spec.cidr" in accepted["message"]
    writes(world)
    settled(world)
    assert not [call for call in writes(world) if call[0] == "patch_status"]


def test_a_peer_that_names_a_filter_which_does_not_exist_says_so(world):
    """It stays in force, and says which filter rejects everything; once the filter is there all is well."""
    spec = {"peerIP": "192.0.2.1", "asNumber": 65000, "filters": ["here", "gone"]}
    world.put("BGPFilter", "here", spec={})
    world.put("BGPPeer", "tor", spec=spec)
    settled(world)
    assert condition(world, "BGPPeer", "tor", "Accepted")["status"] == "True"
    resolved = condition(world, "BGPPeer", "tor", "ResolvedRefs")
    assert (resolved["status"], resolved["reason"]) == ("False", "UnknownFilter")
    assert "spec.filters[1]" in resolved["message"]
    assert condition(world, "BGPFilter", "here", "Accepted")["status"] == "True"
    world.put("BGPFilter", "gone", spec={"importV4": [{"action": "Accept"}]})
    settled(world)
    assert condition(world, "BGPPeer", "tor", "ResolvedRefs")["status"] == "True"


def test_a_full_pool_says_so(world):
    """On the pool and in an event, and with the nodes that little is left for; it stays accepted."""
    world.put("IPPool", "four", spec={"disabled": True})
    world.put("IPPool", "small", spec={"cidr": "192.168.0.0/29", "blockSize": 29})
    for name in ("n1", "n2"):
        world.add_node(name, "m")
    settled(world)
    assert condition(world, "IPPool", "small", "Accepted")["status"] == "True"
    available = condition(world, "IPPool", "small", "Available")
    assert (available["status"], available["reason"]) == ("False", "PoolExhausted")
    ample = condition(world, "IPPool", "small", "Ample")
    assert (ample["status"], ample["reason"]) == ("False", "PoolRunningLow")
    assert ample["message"] == (
        "spec.cidr: none of its blocks is left: add a pool for these nodes before they need more (n1, n2)"
    )
    events = {one["reason"]: one for one in world.items("Event").values()}
    assert events.keys() == {"PoolExhausted", "PoolRunningLow"}
    event = events["PoolExhausted"]
    # without the uid kubectl describe would not show it
    pool = world.items("IPPool")["small"]["metadata"]
    assert (event["involvedObject"]["name"], event["involvedObject"]["uid"]) == ("small", pool["uid"])
    assert event["count"] == 1


def test_nodes_that_vanish_while_no_controller_runs_keep_their_blocks_until_it_is_sure(world):
    """Half of the nodes at once, and their RoutingNodes with them: blocks and reports stay for 30 s and a second listing."""
    for number in range(10):
        world.add_node(f"n{number}", "m")
        world.report(f"n{number}")
    settled(world)
    for number in range(5):
        world.delete("Node", f"n{number}")
        world.delete("RoutingNode", f"n{number}")
    replica = Replica(world, Network())
    for _ in range(3):
        replica.refresh(*KINDS)
        replica.step()
    assert {block.spec.state for block in world.blocks().values()} == {"Active"}
    assert len(world.items("NodeStatus")) == 10
    world.time += 31
    for _ in range(3):
        replica.refresh(*KINDS)
        replica.step()
    gone = {block.spec.node for block in world.blocks().values() if block.spec.state == "Quarantined"}
    assert gone == {f"n{number}" for number in range(5)}


def test_a_selector_that_labels_leave_with_nothing_says_so(world):
    """Its object is accepted, with what it holds and the way out; corrected, it is as before."""
    world.add_node("a", "m")
    world.run(world.server.patch("Node", "a", {"metadata": {"labels": {"rack": "a"}}}))
    world.put("IPPool", "four", spec={"nodeSelector": "rack == 'a'"})
    replica = settled(world)
    world.run(world.server.patch("Node", "a", {"metadata": {"labels": None}}))
    for _ in range(2):
        replica.refresh(*KINDS)
        replica.step()
    said = condition(world, "IPPool", "four", "Accepted")
    assert (said["status"], said["reason"]) == ("True", "SelectionHeld")
    assert "spec.nodeSelector: selects nothing since labels changed, and keeps a: " in said["message"]
    world.run(world.server.patch("IPPool", "four", {"metadata": {"annotations": {"towpath.io/acknowledge": "1"}}}))
    for _ in range(2):
        replica.refresh(*KINDS)
        replica.step()
    assert condition(world, "IPPool", "four", "Accepted")["reason"] == "Accepted"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_spoiled_routing_node_is_repaired_and_told(world, restarted):
    """Its spec is the controller's: it is written anew, also by one that never saw it good; the status stays the agent's."""
    world.add_node("a", "m")
    replica = settled(world)
    good = world.items("RoutingNode")["a"]
    world.run(world.server.patch_status("RoutingNode", "a", {"status": {"ipv4Address": "192.0.2.7"}}))
    careless = FakeApi(Objects(world.objects.storage, checked=False))
    world.run(careless.patch("RoutingNode", "a", {"spec": {"bgp": {"ipv4Address": "node.example"}, "more": 1}}))
    replica = Replica(world, Network()) if restarted else replica
    replica.refresh(*KINDS)
    replica.step()
    assert any(
        "spec.bgp.ipv4Address" in one["message"] or "spec.more" in one["message"]
        for one in world.items("Event").values()
    )
    repaired = world.items("RoutingNode")["a"]
    assert repaired["spec"] == good["spec"]
    assert repaired["metadata"]["ownerReferences"] == good["metadata"]["ownerReferences"]
    assert repaired["status"] == {"ipv4Address": "192.0.2.7"}
    writes(world)
    for _ in range(2):
        replica.refresh(*KINDS)
        replica.step()
    assert "RoutingNode" not in {kind for _, kind in writes(world)}


def test_a_conflict_changes_nothing_and_is_tried_again(world):
    """409 for every change: nothing is decided until the server takes one."""
    world.add_node("n1", "m")
    replica = settled(world)
    world.delete("Node", "n1")
    replica.refresh(*KINDS)
    world.server.faults = lambda call: Fault.CONFLICT if call.verb == "replace" else Fault.NONE
    assert not replica.step()
    assert {block.spec.state for block in world.blocks().values()} == {"Active"}
    world.server.faults = lambda _call: Fault.NONE
    assert replica.step()
    assert {block.spec.state for block in world.blocks().values()} == {"Quarantined"}

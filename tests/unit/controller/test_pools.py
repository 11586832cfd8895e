"""Pools that are deleted: what keeps them, for how long, what they say meanwhile, and what lets them go."""

import pytest

from tests.sim.ipam.world import Replica, World
from tests.sim.leaders import Network
from towpath.controller.cluster import KINDS, ClusterController
from towpath.controller.ports import ForbiddenError
from towpath.ipam.ending import FINALIZER

OLD = {"cidr": "10.0.0.0/24", "blockSize": 28}


@pytest.fixture
def world():
    """A server with a pool and a node."""
    world = World()
    world.put("IPPool", "old", spec=OLD)
    world.put("IPAMConfiguration", "default", spec={"minFreeAddresses": 1, "growAtPercent": 100})
    world.add_node("n1", "m")
    yield world
    world.close()


def passes(world: World, replica: Replica, *, report: bool = True, count: int = 5) -> None:
    """The controller goes on, and the node says how full its blocks are."""
    for _ in range(count):
        replica.refresh(*KINDS)
        replica.step()
        if report:
            world.report("n1")


def settled(world: World) -> Replica:
    replica = Replica(world, Network())
    passes(world, replica)
    return replica


def states(world: World) -> dict[str, str]:
    """Pool and state of each block."""
    return {one.spec.pool: one.spec.state for one in world.blocks().values()}


def finalizers(world: World, name: str = "old") -> list[str]:
    return world.items("IPPool")[name]["metadata"].get("finalizers", [])


def condition(world: World, name: str) -> dict:
    found = world.items("IPPool")[name]["status"]["conditions"]
    return next(one for one in found if one["type"] == "InService")


def pods(world: World, pool: str, count: int) -> None:
    """So many pods have addresses of the block of a pool."""
    (block,) = (one for one in world.blocks().values() if one.spec.pool == pool)
    world.pods[block.spec.node_uid, block.name] = count


def test_a_pool_is_kept_before_a_block_is_cut_from_it(world):
    """The mark comes first, once, and beside those of others; a pool without blocks has none."""
    world.put("IPPool", "unused", spec={"cidr": "10.9.0.0/24", "nodeSelector": "rack == 'none'"})
    world.run(world.server.patch("IPPool", "old", {"metadata": {"finalizers": ["example.com/theirs"]}}))
    settled(world)
    assert finalizers(world) == ["example.com/theirs", FINALIZER]
    assert finalizers(world, "unused") == []
    writes = [(call.verb, call.kind, call.name) for call in world.server.calls]
    marks = [place for place, one in enumerate(writes) if one == ("patch", "IPPool", "old")]
    assert len(marks) == 2, "that of the test, and one more"
    assert marks[1] < next(place for place, one in enumerate(writes) if one[:2] == ("create", "IPAMBlock"))


def test_a_pool_that_blocks_were_cut_from_by_an_earlier_release_is_kept_too(world):
    """It has blocks and no mark."""
    settled(world)
    world.run(world.server.patch("IPPool", "old", {"metadata": {"finalizers": None}}))
    assert finalizers(world) == []
    settled(world)
    assert finalizers(world) == [FINALIZER]


def test_a_deleted_pool_goes_after_its_last_block_and_another_takes_its_place(world):
    """The node gets a block of the other, then the old one drains; while a pod is left, the pool says what holds it, and stays."""
    replica = settled(world)
    pods(world, "old", 2)
    world.put("IPPool", "new", spec={"cidr": "10.1.0.0/24", "blockSize": 28})
    passes(world, replica)
    assert condition(world, "old")["status"] == "True"
    world.delete("IPPool", "old")
    passes(world, replica)
    assert states(world) == {"old": "Draining", "new": "Active"}
    said = condition(world, "old")
    assert (said["status"], said["reason"]) == ("False", "PoolDeleted")
    assert "1 block of it with 2 addresses in use (n1)" in said["message"]
    assert condition(world, "new")["status"] == "True"
    event = next(one for one in world.items("Event").values() if one["reason"] == "PoolDeleted")
    assert event["involvedObject"]["name"] == "old"
    pods(world, "old", 0)
    passes(world, replica)
    assert states(world) == {"old": "Quarantined", "new": "Active"}
    assert "old" in world.items("IPPool"), "whoever comes back to the block finds its pool"
    world.time += 301
    passes(world, replica)
    assert states(world) == {"new": "Active"}
    assert world.items("IPPool").keys() == {"new"}
    world.put("IPPool", "old", spec=OLD)  # another one, of the same name and range
    passes(world, replica)
    assert "deletionTimestamp" not in world.items("IPPool")["old"]["metadata"]


def test_without_another_pool_nodes_go_on_with_its_blocks(world):
    """Nothing is taken from anybody by a deletion that nothing replaces, and the pool says that it is needed."""
    replica = settled(world)
    pods(world, "old", 1)
    world.delete("IPPool", "old")
    passes(world, replica)
    assert states(world) == {"old": "Active"}
    assert "no other pool is for these nodes (n1)" in condition(world, "old")["message"]
    world.add_node("n2", "m2")
    passes(world, replica)
    assert [one.spec.node for one in world.blocks().values()] == ["n1"], "no new block is cut from it"
    world.put("IPPool", "new", spec={"cidr": "10.1.0.0/24", "blockSize": 28})
    passes(world, replica)
    assert states(world) == {"old": "Draining", "new": "Active"}


def test_a_controller_whose_list_of_blocks_is_old_lets_no_pool_go(world):
    """Before the mark is taken off the API server is asked what blocks there are."""
    replica = Replica(world, Network())
    replica.refresh(*KINDS)
    old = [kind for kind in KINDS if kind != "IPAMBlock"]
    other = settled(world)
    world.delete("IPPool", "old")
    for _ in range(3):
        replica.refresh(*old)
        replica.step()
        assert "old" in world.items("IPPool")
    passes(world, other)
    assert "old" in world.items("IPPool")


def test_two_leaders_put_one_mark_and_take_it_off_once(world):
    """Each carries the version that it saw: the slower one is refused, reads again, and finds that it is done."""
    first, second = Replica(world, Network()), Replica(world, Network())
    for _ in range(3):
        for one in (first, second):
            one.refresh(*KINDS)
        for one in (first, second):
            one.step()
    assert finalizers(world) == [FINALIZER]
    assert len(world.blocks()) == 1
    world.delete("Node", "n1")
    world.delete("IPPool", "old")
    for seconds in (0, 0, 301, 0, 0):
        world.time += seconds
        for one in (first, second):
            one.refresh(*KINDS)
        for one in (first, second):
            one.step()
    assert world.blocks() == {}
    assert world.items("IPPool") == {}


def test_who_may_not_write_pools_claims_blocks_all_the_same(world, monkeypatch):
    """With the rights of an earlier release's chart: nodes get their blocks, and a pool goes as it did then."""
    replica = Replica(world, Network())
    patch = replica.api.server.patch

    async def refuse(kind, name, body, **more):
        if kind == "IPPool":
            raise ForbiddenError("ippools is forbidden", status=403, reason="Forbidden")
        return await patch(kind, name, body, **more)

    monkeypatch.setattr(replica.api.server, "patch", refuse)
    passes(world, replica)
    assert states(world) == {"old": "Active"}
    assert finalizers(world) == []


def test_one_that_leaves_lets_go_of_all_pools(world):
    """Whatever lies in them: an administrator deletes what he likes afterwards."""
    replica = settled(world)
    assert finalizers(world) == [FINALIZER]
    lease, clock = replica.controller._writer._lease, lambda: world.time
    replica.controller = ClusterController(replica.api, replica.store, lease=lease, clock=clock, leaving=True)
    passes(world, replica)
    assert finalizers(world) == []
    world.delete("IPPool", "old")
    assert world.items("IPPool") == {}

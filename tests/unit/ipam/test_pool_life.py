"""A pool is added, disabled, replaced by another, and goes, under nodes that have blocks of it: the steps of docs/ipam.md."""

from msgspec.structs import replace

from tests.unit.ipam.world import block, claimed, cluster, node, pool, report, resource, status
from towpath.ipam.plan import Planner, quarantine_time
from towpath.model.encapsulation import endpoints

OLD, NEW = pool("old", "10.0.0.0/24", blockSize=28), pool("new", "10.1.0.0/24", blockSize=26)
OFF = pool("old", "10.0.0.0/24", blockSize=28, disabled=True)


class World:
    """A cluster whose controller plans and carries out, with a clock of the test's own."""

    def __init__(self, *objects) -> None:
        self.cluster, self.planner, self.now, self.version = cluster(*objects), Planner(), 0.0, 1

    def put(self, *objects) -> None:
        """These objects are as here from now on."""
        fresh = cluster(*objects)
        fields = ("pools", "nodes", "statuses")
        self.cluster = replace(
            self.cluster, **{name: {**getattr(self.cluster, name), **getattr(fresh, name)} for name in fields}
        )

    def settle(self, *, seconds: float = 0.0) -> None:
        """The controller has done all that it wants, after some time."""
        self.now += seconds
        for _ in range(5):
            self.version += 1
            wished = self.planner.plan(self.cluster, now=self.now)
            self.cluster = claimed(self.cluster, wished, version=str(self.version))
        assert not wished.refusals

    def blocks(self) -> dict[str, str]:
        """Pool and state of each block."""
        return {one.spec.pool: one.spec.state for one in self.cluster.blocks.values()}

    def use(self, *, drained: bool = False, room: int = 16, **in_use: int) -> None:
        """The node reports so many addresses in use, by pool, and room in each block for so many at most."""
        reports = [
            report(
                str(one.spec.cidr),
                in_use=in_use.get(one.spec.pool, 0),
                capacity=min(room, one.spec.cidr.num_addresses),
                drained=drained,
            )
            for one in self.cluster.blocks.values()
            if one.spec.state != "Quarantined"
        ]
        self.version += 1
        self.put(status("n", *reports, version=str(self.version)))


def test_an_added_pool_is_used_once_the_others_are_full_and_a_disabled_one_no_more():
    """In name order; what a node has of a disabled one it keeps, and grows from the others."""
    world = World(OLD, node("n"))
    world.settle()
    assert world.blocks() == {"old": "Active"}
    world.put(pool("zzz", "10.9.0.0/24", blockSize=28))
    world.use(old=2)
    world.settle(seconds=3600)
    assert world.blocks() == {"old": "Active"}
    world.put(OFF)
    world.settle(seconds=3600)
    assert world.blocks() == {"old": "Active"}
    world.use(old=15)
    world.settle()
    assert world.blocks() == {"old": "Active", "zzz": "Active"}


def test_a_pool_is_replaced_node_by_node():
    """The old one is disabled, a node leaves and comes back: its old block drains while pods have it, and the new one serves."""
    world = World(OLD, node("n"))
    world.settle()
    world.use(old=3)
    world.put(NEW, OFF)
    world.settle()
    assert world.blocks() == {"old": "Active"}
    world.put(node("n", labels={"towpath.io/exclude": ""}))
    world.settle()
    assert world.blocks() == {"old": "Draining"}
    world.use(old=1)
    world.settle(seconds=3600)
    assert world.blocks() == {"old": "Draining"}, "a pod has an address of it"
    world.use(drained=True)
    world.settle()
    assert world.blocks() == {"old": "Quarantined"}
    world.put(node("n"))
    world.settle()
    assert world.blocks() == {"old": "Quarantined", "new": "Active"}
    world.use(new=3)
    world.settle(seconds=quarantine_time(world.cluster) + 1)
    assert world.blocks() == {"new": "Active"}
    pools = {name: one for name, one in world.cluster.pools.items() if name != "old"}
    world.cluster = replace(world.cluster, pools=pools)
    world.settle(seconds=3600)
    assert world.blocks() == {"new": "Active"}


def test_a_pool_that_is_deleted_too_early_loses_its_blocks_when_they_are_empty():
    """Not before: pods keep their addresses, though nobody cuts blocks of it any more."""
    world = World(OLD, NEW, node("n"))
    world.cluster = replace(world.cluster, pools={"old": OLD})
    world.settle()
    world.use(old=1)
    world.cluster = replace(world.cluster, pools={"new": NEW})
    for _ in range(3):
        wished = world.planner.plan(world.cluster, now=world.now)
        assert [(one.reason, one.object.field) for one in wished.refusals] == [("NoPool", "spec.pool")]
        assert not wished.changes
        world.now += 3600
    world.use()
    world.planner.plan(world.cluster, now=world.now)
    (change,) = world.planner.plan(world.cluster, now=world.now + 601).changes
    assert (change.spec.pool, change.spec.state) == ("old", "Draining")


def test_of_two_empty_blocks_the_disabled_pools_goes():
    """Whichever is first by address: a node is not left with what it cannot grow from."""
    for old, new in (("10.0.0.0/24", "10.1.0.0/24"), ("10.1.0.0/24", "10.0.0.0/24")):
        world = World(pool("old", old, blockSize=28), node("n"))
        world.settle()
        world.put(pool("old", old, blockSize=28, disabled=True), pool("new", new, blockSize=26))
        world.use(old=15)
        world.settle()
        assert world.blocks() == {"old": "Active", "new": "Active"}
        world.use(room=62)
        world.settle()
        world.settle(seconds=601)
        assert world.blocks() == {"old": "Draining", "new": "Active"}
        world.use(room=62, drained=True)
        world.settle()
        assert world.blocks() == {"old": "Quarantined", "new": "Active"}
        world.settle(seconds=quarantine_time(world.cluster) + 1)
        assert world.blocks() == {"new": "Active"}


def deleted(one):
    """The same pool after somebody has deleted it, and while something keeps it."""
    return replace(one, meta=replace(one.meta, deletion_timestamp="2026-02-01T00:00:00Z"))


def test_a_node_leaves_a_deleted_pool_once_it_uses_a_block_of_another():
    """The other's block first, of whatever age and order; pods keep the addresses that they have."""
    world = World(OLD, node("n"))
    world.settle()
    world.use(old=3)
    world.put(NEW, deleted(OLD))
    world.settle()
    assert world.blocks() == {"old": "Active", "new": "Active"}, "the node has not said that it uses the new one"
    world.settle(seconds=3600)
    assert world.blocks() == {"old": "Active", "new": "Active"}
    world.use(old=3)
    world.settle()
    assert world.blocks() == {"old": "Draining", "new": "Active"}
    world.settle(seconds=3600)
    assert world.blocks() == {"old": "Draining", "new": "Active"}, "pods have addresses of it"


def test_the_last_block_of_a_deleted_pool_goes_when_it_is_empty():
    """Ten minutes later, as one whose pool is gone; nobody gets a block of the pool again."""
    world = World(deleted(OLD), node("n"))
    world.cluster = replace(world.cluster, pools={"old": OLD})
    world.settle()
    world.use(old=1)
    world.put(deleted(OLD))
    world.settle(seconds=3600)
    assert world.blocks() == {"old": "Active"}
    world.use()
    world.settle()
    world.settle(seconds=601)
    assert world.blocks() == {"old": "Draining"}
    world.use(drained=True)
    world.settle(seconds=1)
    world.settle(seconds=quarantine_time(world.cluster) + 1)
    assert world.blocks() == {}


def test_a_block_that_is_the_nodes_pod_cidr_outlives_the_deletion_of_its_pool():
    """It is never given back, so the pool stays as long."""
    settings = resource("IPAMConfiguration", "default", assignPodCIDRs=True)
    world = World(OLD, settings, node("n"))
    world.settle()
    (own,) = (one.spec.cidr for one in world.cluster.blocks.values())
    world.put(NEW, deleted(OLD), node("n", pod_cidrs=(own,)))
    world.use(old=1)
    world.settle()
    world.use(old=1)
    world.settle(seconds=3600)
    assert world.blocks() == {"old": "Active", "new": "Active"}


def test_a_node_has_its_address_in_a_tunnel_of_another_pool_as_soon_as_it_can():
    """What is deleted has the last turn, so that the new block's lowest address is kept from pods from the beginning."""
    old = pool("old", "10.0.0.0/24", blockSize=28, vxlanMode="Always")
    new = pool("new", "10.1.0.0/24", blockSize=28, vxlanMode="Always")
    blocks = [
        block("10.0.0.16/28", "n", pool="old"),
        block("10.1.0.16/28", "n", pool="new", created="2026-06-01T00:00:00Z"),
    ]
    before, after = cluster(old, new), cluster(deleted(old), new)
    assert [one.spec.pool for one in endpoints(blocks, before.pools).values()] == ["old"]
    assert [one.spec.pool for one in endpoints(blocks, after.pools).values()] == ["new"]
    assert [one.spec.pool for one in endpoints(blocks[:1], after.pools).values()] == ["old"]

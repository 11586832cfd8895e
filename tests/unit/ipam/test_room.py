"""How much room pools have, who is told that it ends, and for how long it lasts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.ipam.world import block, cluster, node, pool, reservation, resource
from towpath.ipam.blocks import Space, carve
from towpath.ipam.ledger import Ledger
from towpath.ipam.memory import Memory
from towpath.ipam.plan import plan
from towpath.ipam.room import AT_LEAST, SPACING, WINDOW, Room, Trend, rooms, running_low
from towpath.model.net import parse_prefix
from towpath.model.reason import Reason, Why
from towpath.model.spans import span

DAY = 86400.0


def books(*objects) -> Ledger:
    made = Ledger()
    made.look(cluster(*objects))
    return made


def taken(count: int, *, of: str = "10.0.0.0/24", pool: str = "a") -> list:
    """As many blocks of /29, of nodes that do not matter."""
    return [block(str(carve(parse_prefix(of), length=29, place=place)), "other", pool=pool) for place in range(count)]


PREFIXES = st.builds(
    lambda length, place: carve(parse_prefix("10.0.0.0/24"), length=length, place=place % (1 << (length - 24))),
    st.integers(23 + 1, 32),
    st.integers(0, 255),
)


@given(st.lists(PREFIXES, max_size=8), st.integers(25, 32))
def test_as_many_are_left_as_can_be_found(held, length):
    """Whatever takes places, in one piece or several times over."""
    space, count = Space(parse_prefix("10.0.0.0/24"), length=length, taken=map(span, held)), 0
    left = space.left
    while space.find(0) is not None:
        count += 1
        assert space.left == left - count
    assert (left, space.left) == (count, 0)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (28, None),
        (29, "10 % of its blocks or less are left"),
        (31, "5 % of its blocks or less are left"),
        (32, "none of its blocks is left"),
    ],
)
def test_people_are_told_before_blocks_end(count, said):
    """With the pool, its field, each node that it serves and what to do; in stages, so that a number is no news."""
    low = list(running_low(books(pool("a", "10.0.0.0/24", blockSize=29), node("n1"), node("n2"), *taken(count))))
    assert [name for name, _ in low] == (["n1", "n2"] if said else [])
    for _, refusal in low:
        assert (refusal.reason, refusal.object) == (Reason.POOL_RUNNING_LOW, Why("IPPool", "a", "spec.cidr"))
        assert refusal.message == f"{said}: add a pool for these nodes before they need more"


def test_pools_that_serve_the_same_nodes_are_one_to_them():
    """A full one is no news while another has room; where both end, both say so; a disabled one gives nothing."""
    first, second = pool("a", "10.0.0.0/24", blockSize=29), pool("b", "10.1.0.0/24", blockSize=29)
    assert not list(running_low(books(first, second, node("n"), *taken(32))))
    both = [*taken(32), *taken(30, of="10.1.0.0/24", pool="b")]
    found = list(running_low(books(first, second, node("n"), *both)))
    assert [(name, one.object.name) for name, one in found] == [("n", "a"), ("n", "b")]
    assert "of IPPool/a, IPPool/b, which serve the same nodes" in found[0][1].message
    off = pool("b", "10.1.0.0/24", blockSize=29, disabled=True)
    assert [one.object.name for _, one in running_low(books(first, off, node("n"), *taken(32)))] == ["a"]


def test_only_nodes_that_a_pool_serves_are_named():
    """By its selector, and only those that take part; the other family is another matter."""
    narrow = pool("a", "10.0.0.0/24", blockSize=29, nodeSelector="rack == 'x'")
    wide, six = pool("z", "10.9.0.0/16"), pool("s", "fd00::/64")
    nodes = node("in", labels={"rack": "x"}), node("out"), node("left", labels={"rack": "x", "towpath.io/exclude": ""})
    assert not list(running_low(books(narrow, wide, six, *nodes, *taken(32))))
    assert [name for name, _ in running_low(books(narrow, six, *nodes, *taken(32)))] == ["in"]


def test_a_network_beside_that_of_all_pods_is_judged_by_itself():
    """Another pool of the family has nothing to give to it."""
    edge = {"type": "macvlan", "master": "eth1", "mode": "private", "primary": False}
    beside = pool("edge", "10.9.0.0/24", blockSize=29, attachment=edge)
    blocks = [replace(one, spec=replace(one.spec, primary=False)) for one in taken(32, of="10.9.0.0/24", pool="edge")]
    found = list(running_low(books(pool("a", "10.0.0.0/16"), beside, node("n"), *blocks)))
    assert [(name, one.object.name) for name, one in found] == [("n", "edge")]


def test_where_the_cluster_assigns_nobody_is_told():
    """Its podCIDRs are cut from no pool."""
    assigned = resource("IPAMConfiguration", "default", blockSource="PodCIDRs")
    assert not list(running_low(books(pool("a", "10.0.0.0/24", blockSize=29), assigned, node("n"), *taken(32))))


def test_reserved_blocks_are_no_room():
    """Neither left nor in all."""
    kept = books(pool("a", "10.0.0.0/24", blockSize=29), reservation("10.0.0.128/25"), *taken(3))
    assert rooms(kept) == {"a": Room(blocks=16, left=13)}


def test_a_node_that_waits_gets_a_block_of_the_pool_that_is_added():
    """And nothing is said of the pools any more, for together they have room again."""
    full = [pool("a", "10.0.0.0/24", blockSize=29), node("n"), *taken(32)]
    before = plan(cluster(*full), memory=Memory(), now=0.0)
    (refusal,) = before.refusals
    assert (refusal.reason, refusal.object) == (Reason.POOL_EXHAUSTED, Why("IPPool", "a", "spec.cidr"))
    assert refusal.message == "no free block of /29 is left for n: add a pool for them"
    more = cluster(*full, pool("b", "10.1.0.0/24", blockSize=29))
    after = plan(more, memory=before.memory, now=1.0)
    assert ([claim.spec.pool for claim in after.claims], after.refusals) == (["b"], ())
    assert not list(running_low(books(*full, pool("b", "10.1.0.0/24", blockSize=29))))


def test_the_rate_is_that_of_what_was_seen():
    """Blocks taken since, over the time since; none before an hour, and none of a pool that does not fill up."""
    trend, pools = Trend(), {"a": Room(blocks=100, left=90), "b": Room(blocks=100, left=50)}
    trend.note(pools, now=0.0)
    later = {"a": Room(blocks=100, left=80), "b": Room(blocks=100, left=51)}
    trend.note(later, now=AT_LEAST - 1)
    assert trend.days_left("a", later["a"], now=AT_LEAST - 1) is None
    trend.note(later, now=DAY)
    assert trend.days_left("a", later["a"], now=DAY) == pytest.approx(8)
    assert trend.days_left("b", later["b"], now=DAY) is None
    assert trend.days_left("unknown", later["b"], now=DAY) is None


def test_what_is_long_ago_does_not_count():
    """A week at most, and what is remembered is bounded; a reservation that comes is no rate, for it takes nothing."""
    trend = Trend()
    for step in range(3000):
        left = 1000 - (500 if step else 0)  # a rush at the beginning, and nothing since
        trend.note({"a": Room(blocks=1000, left=left)}, now=step * SPACING)
    assert len(trend._seen["a"]) <= WINDOW / SPACING + 2
    assert trend.days_left("a", Room(blocks=1000, left=500), now=3000 * SPACING) is None
    assert trend.days_left("a", Room(blocks=600, left=100), now=3000 * SPACING) is None
    trend.note({}, now=3001 * SPACING)
    assert trend._seen == {}

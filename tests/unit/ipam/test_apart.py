"""Pools for some pods only: who takes addresses of them, and when a node gets blocks of them."""

from tests.unit.ipam.world import block, cluster, node, pool, report, resource
from towpath.ipam.allowance import Allowance, Asker, Offer, allowance
from towpath.ipam.apart import Bound, Needs, in_apart, kept_apart, needs_of, pools_of, serving, up_front
from towpath.ipam.memory import Memory
from towpath.ipam.plan import GIVE_BACK_AFTER, Planner, plan
from towpath.model.kinds.node import NodeStatusSpec, NodeStatusStatus, PoolNeed
from towpath.model.net import parse_address, parse_prefix
from towpath.model.reason import Reason, Refusal
from towpath.model.resource import Meta, Resource

ALL = pool("all", "10.0.0.0/24", blockSize=29)
TEAM = pool("team", "10.1.0.0/24", blockSize=29, namespaceSelector="team == 'a'")
MORE = pool("more", "10.2.0.0/29", blockSize=29, namespaceSelector="team == 'a'")
HAND = pool("hand", "10.3.0.0/24", blockSize=29, assignmentMode="Manual")
EVERY = pool("every", "10.4.0.0/24", blockSize=29, namespaceSelector="all()")
SIX = pool("six", "fd00::/64", blockSize=125)
MINE, OTHERS = {"team": "a"}, {"team": "b"}
NAMESPACES = {"mine": MINE, "others": OTHERS}


def said(*reports, needs=(), requested=(), wanted=0):
    """What the node's agent reports."""
    body = NodeStatusStatus(
        node_uid="uid-n",
        blocks=reports,
        wanted_addresses=wanted,
        pool_needs=tuple(needs),
        requested_addresses=tuple(map(parse_address, requested)),
    )
    return Resource("NodeStatus", Meta(name="n", uid="s", resource_version="1"), NodeStatusSpec(), body)


def claims(*objects, **options):
    made = plan(cluster(node("n"), *objects), memory=Memory(), now=0.0, **options)
    return sorted((one.spec.pool, str(one.spec.cidr)) for one in made.claims)


def names(pools):
    return [one.name for one in pools]


def test_pods_of_a_namespace_take_addresses_from_its_pools():
    """All of its pools, and no other; another namespace's from those for all. A selector of everything selects nobody in particular."""
    pools = (ALL, EVERY, HAND, MORE, TEAM)
    assert names(serving(pools, "mine", MINE)) == ["every", "more", "team"]
    assert names(serving(pools, "others", OTHERS)) == ["every"]
    assert names(serving((ALL, HAND, TEAM), "others", OTHERS)) == ["all"]
    assert kept_apart((ALL, HAND, TEAM), NAMESPACES) == {"mine"}
    assert kept_apart((ALL, HAND), NAMESPACES) == frozenset()


def test_a_node_has_blocks_of_pools_for_all_before_any_pod_is_there():
    """Where there are none, of those for some: it would never be ready else. Never of what has to be asked for."""
    assert names(up_front((ALL, HAND, TEAM))) == ["all"]
    assert names(up_front((HAND, TEAM))) == ["team"]
    assert up_front((HAND,)) == ()
    assert [one for one, _ in claims(ALL, TEAM, HAND, SIX)] == ["all", "six"]
    assert [one for one, _ in claims(TEAM, HAND)] == ["team"]
    assert claims(HAND) == []


def test_a_node_gets_a_block_once_a_pod_needs_one():
    """As many as wait, from the pools of the namespace in their order; what pods of others do not use is no room."""
    own = block("10.0.0.8/29", "n", pool="all")
    free = report("10.0.0.8/29", in_use=0, capacity=8)
    need = PoolNeed(("more", "team"), pods=10, waiting=10)
    found = claims(ALL, TEAM, MORE, own, said(free, needs=[need]))
    assert [one for one, _ in found] == ["more", "team"]
    assert claims(ALL, TEAM, own, said(free, needs=[PoolNeed(("team",), pods=0, waiting=0)])) == []
    assert claims(ALL, TEAM, own, said(free)) == []
    team = block("10.1.0.8/29", "n", pool="team")
    need = PoolNeed(("team",), pods=3, waiting=1)
    # one of before whose use nobody has reported yet is waited for
    assert claims(ALL, TEAM, own, team, said(free, needs=[need])) == []
    used = report("10.1.0.8/29", in_use=2, capacity=8)
    assert claims(ALL, TEAM, own, team, said(free, used, needs=[need])) == []
    full = report("10.1.0.8/29", in_use=8, capacity=8)
    assert [one for one, _ in claims(ALL, TEAM, own, team, said(free, full, needs=[need]))] == ["team"]


def test_what_is_free_for_some_is_no_room_for_all():
    """A node whose common blocks are full gets another one, however much is free of the others; and nothing of theirs."""
    own, team = block("10.0.0.8/29", "n", pool="all"), block("10.1.0.8/29", "n", pool="team")
    status = said(report("10.0.0.8/29", in_use=8, capacity=8), report("10.1.0.8/29", in_use=0, capacity=8), wanted=8)
    assert {one for one, _ in claims(ALL, TEAM, own, team, status)} == {"all"}


def test_the_limit_counts_all_blocks():
    """``maxBlocksPerHost`` is for a family, whoever its blocks are for."""
    limit = resource("IPAMConfiguration", "default", maxBlocksPerHost=2)
    own = block("10.0.0.8/29", "n", pool="all")
    need = PoolNeed(("team",), pods=30, waiting=30)
    status = said(report("10.0.0.8/29", in_use=0, capacity=64), needs=[need])
    assert len(claims(ALL, TEAM, own, limit, status)) == 1


def test_the_limit_counts_blocks_around_addresses_that_pods_ask_for():
    """Those that come at once included; an address that is not to be had takes nobody's place."""
    own, theirs = block("10.0.0.8/29", "n", pool="all"), block("10.3.0.0/29", "m", pool="hand")
    free = report("10.0.0.8/29", in_use=0, capacity=64)
    asked = ["10.3.0.1", "10.3.0.20", "10.3.0.21", "10.3.0.44"]
    status = said(free, needs=[PoolNeed(("team",), pods=1, waiting=1)], requested=asked)
    for limit, found in ((1, []), (2, ["team"]), (3, ["hand", "team"]), (4, ["hand", "hand", "team"])):
        rules = resource("IPAMConfiguration", "default", maxBlocksPerHost=limit)
        made = plan(
            cluster(node("n"), node("m"), ALL, HAND, TEAM, own, theirs, rules, status), memory=Memory(), now=0.0
        )
        assert sorted(one.spec.pool for one in made.claims if one.spec.node == "n") == found


def test_a_node_gets_the_block_around_an_address_that_a_pod_asks_for():
    """Of a pool for all or by hand, if it is nobody's; else nothing."""
    own = block("10.0.0.8/29", "n", pool="all")
    free = report("10.0.0.8/29", in_use=0, capacity=64)
    asked = ["10.0.0.9", "10.0.0.77", "10.3.0.20", "10.3.0.33", "10.9.0.1"]
    theirs = block("10.3.0.32/29", "m", pool="hand")
    found = claims(ALL, HAND, own, theirs, node("m"), said(free, requested=asked))
    assert [one for one in found if one[0] == "hand"] == [("hand", "10.3.0.16/29")]
    assert ("all", "10.0.0.72/29") in found


def test_a_block_that_no_pod_needs_any_more_is_given_back():
    """After ten minutes, also the last of its pool; not while a pod asks for an address of it, or has one."""
    own, team = block("10.0.0.8/29", "n", pool="all"), block("10.1.0.8/29", "n", pool="team")
    free = report("10.0.0.8/29", in_use=0, capacity=64)
    empty = report("10.1.0.8/29", in_use=0, capacity=8)

    def drained(status):
        planner, world = Planner(), cluster(node("n"), ALL, TEAM, own, team, status)
        planner.plan(world, now=0.0)
        made = planner.plan(world, now=GIVE_BACK_AFTER)
        return [str(change.spec.cidr) for change in made.changes if change.spec.state == "Draining"]

    assert drained(said(free, empty)) == ["10.1.0.8/29"]
    assert drained(said(free, empty, needs=[PoolNeed(("team",), pods=1, waiting=1)])) == []
    assert drained(said(free, empty, requested=["10.1.0.9"])) == []
    assert drained(said(free, report("10.1.0.8/29", in_use=1, capacity=8))) == []


def test_the_block_with_the_nodes_own_address_in_a_tunnel_goes_last():
    """Without it others would send to the lowest address of another block, which a pod may have by then."""
    tunnel = pool("team", "10.1.0.0/24", blockSize=29, namespaceSelector="team == 'a'", vxlanMode="Always")
    own = block("10.0.0.8/29", "n", pool="all")
    first = block("10.1.0.8/29", "n", pool="team", created="2026-01-01T00:00:00Z")
    second = block("10.1.0.16/29", "n", pool="team", created="2026-01-02T00:00:00Z")
    free = report("10.0.0.8/29", in_use=0, capacity=64)

    def drained(*blocks, used):
        reports = [report(str(one.spec.cidr), in_use=one is used, capacity=7) for one in blocks]
        planner, world = Planner(), cluster(node("n"), ALL, tunnel, own, *blocks, said(free, *reports))
        planner.plan(world, now=0.0)
        made = planner.plan(world, now=GIVE_BACK_AFTER)
        return [str(change.spec.cidr) for change in made.changes if change.spec.state == "Draining"]

    assert drained(first, second, used=second) == []
    assert drained(first, second, used=first) == ["10.1.0.16/29"]
    assert drained(first, used=None) == ["10.1.0.8/29"]


def test_what_the_pods_of_a_node_need():
    """By the pools that they may take addresses of; a family without one for them they do without."""
    world = cluster(node("n"), ALL, TEAM, HAND, SIX)
    pods = [Bound("mine", True), Bound("mine", False), Bound("others", False), Bound("unknown", True)]
    pods.append(Bound("others", False, (parse_address("10.3.0.9"), parse_address("fd00::9"))))
    pods.append(Bound("others", False, (parse_address("10.1.0.9"),)))
    found = needs_of(pods, pools_of(world, "n"), NAMESPACES)
    assert found.apart == (PoolNeed(("team",), pods=2, waiting=1),)
    assert found.addresses == (parse_address("10.3.0.9"), parse_address("fd00::9"))
    assert found.common == 5
    assert needs_of((), pools_of(world, "n"), NAMESPACES) == Needs()


def offered(*ranges, pools=(ALL, TEAM, HAND, SIX), blocks=("10.0.0.8/29", "10.1.0.8/29", "10.3.0.8/29", "fd00::8/125")):
    own = [block(one, "n", pool="") for one in blocks]
    given = [{"rangeStart": str(first), "rangeEnd": str(first + 7)} for first in map(parse_address, ranges)]
    return Offer("n", cluster(node("n"), *pools, *own), tuple(given))


def asks(offer, pod, labels, addresses=""):
    return allowance(offer, Asker(pod, labels=labels, addresses=addresses), taken={})


def starts(found):
    assert isinstance(found, Allowance), found
    return [one["rangeStart"] for each in found.ranges for one in each]


def test_a_pod_is_offered_what_is_for_its_namespace():
    """And never what is for another; what has to be asked for only if it asks."""
    offer = offered("10.0.0.8", "10.1.0.8", "10.3.0.8", "fd00::8")
    assert starts(asks(offer, "mine/p", MINE)) == ["10.1.0.8", "fd00::8"]
    assert starts(asks(offer, "others/p", OTHERS)) == ["10.0.0.8", "fd00::8"]
    assert starts(asks(offer, "", {})) == ["10.0.0.8", "fd00::8"]
    assert starts(asks(offer, "others/p", OTHERS, "10.3.0.9")) == ["10.3.0.8", "fd00::8"]
    found = asks(offer, "others/p", OTHERS, "10.1.0.9")
    assert isinstance(found, Refusal)
    assert "10.1.0.9 lies in IPPool/team, which is for other namespaces (team == 'a')" in found.message
    found = asks(offer, "mine/p", MINE, "10.0.0.9")
    assert isinstance(found, Refusal)
    assert "not for namespace mine, which has pools of its own" in found.message


def test_a_pod_waits_for_the_first_block_of_its_pool():
    """It is told which pool and which node; where no pool at all is for it, that."""
    found = asks(offered("10.0.0.8", "fd00::8", blocks=("10.0.0.8/29", "fd00::8/125")), "mine/p", MINE)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.PODS_WAITING
    assert "pods of namespace mine take IPv4 addresses of IPPool team, and node n has no block of it" in found.message
    found = asks(offered("10.1.0.8", pools=(TEAM,), blocks=("10.1.0.8/29",)), "others/p", OTHERS)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.NO_POOL


def test_a_block_stays_for_some_when_its_pool_serves_the_node_no_more():
    """The node's labels changed: its block is of the pool all the same."""
    gone = pool("team", "10.1.0.0/24", blockSize=29, namespaceSelector="team == 'a'", nodeSelector="rack == 'x'")
    offer = offered("10.0.0.8", "10.1.0.8", pools=(ALL, gone), blocks=("10.0.0.8/29", "10.1.0.8/29"))
    assert starts(asks(offer, "others/p", OTHERS)) == ["10.0.0.8"]
    assert in_apart(offer.cluster, "n", map(parse_prefix, ("10.0.0.8/29", "10.1.0.8/29"))) == {
        parse_prefix("10.1.0.8/29")
    }

"""Plans made one after another are those that would be made from each snapshot alone, and look only at what changed."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.effort import examples
from tests.unit.ipam.world import block, claimed, cluster, node, pool, report, reservation, resource, status
from towpath.ipam import plan as planning
from towpath.ipam.plan import Planner
from towpath.model.net import parse_address, parse_prefix

NAMES = [f"n{number}" for number in range(5)]
CIDRS = ["10.0.0.0/28", "10.0.0.16/28", "10.0.0.0/27", "10.0.0.64/26", "10.0.0.128/25", "10.9.0.0/24"]


def world(order: random.Random):
    """Any small cluster: nodes that come and go, are made anew or left out, blocks of every state, pools, settings."""
    objects = []
    for name in order.sample(NAMES, order.randint(0, len(NAMES))):
        objects.append(
            node(
                name,
                uid=order.choice(["", "other"]),
                labels=order.choice([{}, {"towpath.io/exclude": ""}, {"rack": "a"}]),
                pod_cidrs=order.choice([(), (parse_prefix("10.0.0.64/26"),), (parse_prefix("10.7.0.0/24"),)]),
                addresses=order.choice([(), (parse_address("10.0.0.20"),), (parse_address("192.0.2.1"),)]),
                unschedulable=order.random() < 0.2,
            )
        )
    for cidr in order.sample(CIDRS, order.randint(0, 4)):
        one = block(
            cidr,
            order.choice(NAMES),
            state=order.choice(["Active", "Active", "Draining", "Quarantined"]),
            pool=order.choice(["a", "", "gone"]),
            version=str(order.randint(1, 3)),
            mirrored=order.random() < 0.3,
        )
        created = order.choice(["2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"])
        objects.append(replace(one, meta=replace(one.meta, creation_timestamp=created)))
    for name in order.sample(NAMES, order.randint(0, 3)):
        reports = [
            report(cidr, in_use=order.choice([0, 5, 60]), drained=order.random() < 0.5)
            for cidr in order.sample(CIDRS, order.randint(0, 2))
        ]
        wanted = order.choice([0, 0, 30])
        objects.append(status(name, *reports, version=str(order.randint(1, 3)), wanted_addresses=wanted))
    if order.random() < 0.8:
        selector = {"nodeSelector": "rack == 'a'"} if order.random() < 0.2 else {}
        objects.append(pool("a", "10.0.0.0/24", blockSize=28, **selector))
    if order.random() < 0.3:
        objects.append(pool("b", "10.0.0.0/25", created="2024-01-01T00:00:00Z", blockSize=28))
    if order.random() < 0.3:
        objects.append(reservation(*order.sample(["10.0.0.0/29", "10.0.0.32/28", "10.0.0.0/24", "10.0.0.81/32"], 2)))
    if order.random() < 0.5:
        source = order.choice([{"blockSource": "PodCIDRs"}, {"assignPodCIDRs": True}, {"maxBlocksPerHost": 2}])
        objects.append(resource("IPAMConfiguration", "default", **source))
    return cluster(*objects)


def shared(before, after):
    """The later snapshot with what did not change being the very object that it was, as a store gives it."""
    fields = {}
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if not isinstance(new, dict):
            fields[name] = new
            continue
        fields[name] = {key: old[key] if old.get(key) == value else value for key, value in new.items()}
    return replace(after, **fields)


@settings(max_examples=examples(200))
@given(st.integers(0, 2**32), st.lists(st.sampled_from([0, 31, 301, 601]), min_size=1, max_size=6))
def test_one_after_another_is_as_from_the_beginning(seed, times):
    """Any sequence of snapshots, whatever comes and goes, with claims that were lost: every plan is the same."""
    order = random.Random(seed)
    planner, fresh, before, now = Planner(), Planner().memory, cluster(), 0.0
    services = (parse_prefix("10.0.0.192/26"),)
    lost = block("10.0.0.32/28", "n1").spec
    for seconds in times:
        now += seconds
        before = shared(before, world(order) if order.random() < 0.7 else before)
        known = {
            "uncertain": {"x": lost} if order.random() < 0.3 else {},
            "services": services if order.random() < 0.3 else (),
            "barred": (parse_prefix("10.0.0.48/28"),) if order.random() < 0.3 else (),
        }
        wished = planner.plan(before, now=now, **known)
        assert wished == planning.plan(before, memory=fresh, now=now, **known)
        fresh = wished.memory


def test_one_more_node_is_the_only_one_that_is_looked_at(monkeypatch):
    """Among two thousand: one node is judged, and two searches are made; without a change, nothing is."""
    judged = []
    original = planning.work

    def counting(account, rules, *, exists):
        judged.append(account.name)
        return original(account, rules, exists=exists)

    monkeypatch.setattr(planning, "work", counting)
    many = cluster(pool("a", "10.0.0.0/8"), pool("b", "fd00::/48"), *(node(f"n{number}") for number in range(2000)))
    planner = Planner()
    wished = planner.plan(many, now=0)
    settled = claimed(many, wished)
    assert len(wished.claims) == 4000
    assert not planner.plan(settled, now=1).claims
    judged.clear()
    assert not planner.plan(settled, now=2).claims
    assert judged == []
    more = replace(settled, nodes={**settled.nodes, "new": node("new")})
    assert [claim.spec.node for claim in planner.plan(more, now=3).claims] == ["new", "new"]
    assert judged == ["new"]

"""Plans from old and torn snapshots, carried out late, in part and in any order: no status ever shows what is not claimed for it."""

import pytest
from hypothesis import Phase, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.effort import SEED, examples
from tests.unit.loadbalancer.world import Server, balancing
from towpath.ipam.loadbalancer import plan as planning
from towpath.ipam.loadbalancer.book import World
from towpath.ipam.loadbalancer.plan import plan

NAMES = st.sampled_from(["a", "b", "c", "d"])
BOTH = ["IPv4", "IPv6"]
SHAPES = st.sampled_from(
    [
        {},
        {},
        {"kind": "ClusterIP"},
        {"families": ["IPv6"]},
        {"families": BOTH, "policy": "RequireDualStack"},
        {"families": BOTH, "policy": "PreferDualStack"},
    ]
)
WISHES = st.sampled_from([{}, {}, {"key": "k"}, {"key": "k"}, {"key": "l"}, {"asks": "198.51.100.1"}])
PORTS = st.sampled_from([[80], [443], [80, 443], [25]])


class Sequences(RuleBasedStateMachine):
    """``Server.judge`` looks after every write."""

    @initialize()
    def begin(self):
        self.server = Server(balancing("four", "198.51.100.0/31"), balancing("six", "2001:db8::/127"))
        self.seen = [self.server.world()]
        self.under_way = []

    @rule(name=NAMES, shape=SHAPES, wish=WISHES, ports=PORTS, ours=st.booleans())
    def put(self, name, shape, wish, ports, ours):
        self.server.put(name, ports=ports, our_class=ours, **shape, **wish)
        self.seen.append(self.server.world())

    @rule(name=NAMES)
    def delete(self, name):
        if f"shop/{name}" in self.server.bodies:
            self.server.delete(name)
            self.seen.append(self.server.world())

    @rule(name=st.sampled_from(["four", "six"]), there=st.booleans())
    def pool(self, name, there):
        cidr = {"four": "198.51.100.0/31", "six": "2001:db8::/127"}[name]
        self.server.pools = {key: one for key, one in self.server.pools.items() if key != name}
        if there:
            self.server.pools[name] = balancing(name, cidr)

    @rule(services=st.integers(0, 8), claims=st.integers(0, 8))
    def somebody_plans(self, services, claims):
        """With a cache of each kind that is so many changes old."""
        old, older = self.seen[-1 - min(services, len(self.seen) - 1)], self.seen[-1 - min(claims, len(self.seen) - 1)]
        world = World(self.server.pools, older.claims, old.services, old.namespaces)
        made = plan(world)
        self.under_way += [*made.claims, *made.changes, *made.publications]

    @rule(data=st.data(), count=st.integers(1, 4))
    def some_of_it_arrives(self, data, count):
        for _ in range(min(count, len(self.under_way))):
            self.server.write(self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1))))
            self.server.judge()
            self.seen.append(self.server.world())

    @rule()
    def nothing_more_arrives(self):
        self.under_way.clear()

    def teardown(self):
        """With fresh caches there is an end, and everybody who can be served is."""
        self.server.pools = {
            one.name: one for one in (balancing("four", "198.51.100.0/28"), balancing("six", "2001:db8::/124"))
        }
        made = self.server.settle()
        assert {one.reason for one in made.refusals} <= {planning.Reason.ADDRESS_TAKEN, planning.Reason.INVALID_SPEC}
        for service in self.server.services().values():
            shows = len(service.addresses)
            assert (
                shows in ((1, 2) if service.requested else (len(service.families),))
                or not service.is_balanced
                or (service.condition.status == "False")
            )
        claimed = {tenant.uid for claim in self.server.claims.values() for tenant in claim.spec.services}
        assert claimed == {one.uid for one in self.server.services().values() if one.addresses}


BOUND = settings(
    max_examples=examples(250, soak=10_000),
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    phases=(Phase.generate,),  # shrinking takes minutes; the seed is printed
)


def test_no_order_of_events_gives_an_address_twice() -> None:
    """Old caches, writes that arrive late or never, services that change and go meanwhile."""
    run_state_machine_as_test(with_seed(SEED)(Sequences), settings=BOUND)


def released_while_it_comes_back(server: Server) -> None:
    """One controller takes a service that is no load balancer out of its claim, another sees that it is one again."""
    server.put("a")
    server.carry_out(plan(server.world()))
    server.put("a", kind="ClusterIP")
    release = plan(server.world())
    assert release.changes
    server.put("a")
    server.carry_out(plan(server.world()))
    server.carry_out(release)
    server.judge()


def released_while_it_is_published(server: Server) -> None:
    """Two controllers claim an address each; one publishes its own, another, which sees both, gives that one back."""
    server.put("a")
    first = plan(server.world())
    server.hold("198.51.100.0")
    server.carry_out(plan(server.world()))
    publication = plan(server.world())
    assert publication.publications
    server.claims.pop("198-51-100-0")
    server.carry_out(first)
    assert len(server.claims) == 2
    for change in plan(server.world()).changes:  # of what it writes this arrives first
        server.write(change)
    server.carry_out(publication)
    server.judge()


FENCES = [("_is_fenced", released_while_it_comes_back), ("_is_past", released_while_it_is_published)]


@pytest.mark.parametrize(("guard", "sequence"), FENCES)
def test_each_fence_is_needed(guard: str, sequence, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it the status shows nothing that is not claimed; without it the same writes in the same order do."""
    sequence(Server(balancing("four", "198.51.100.0/31"), balancing("six", "2001:db8::/127")))
    monkeypatch.setattr(planning, guard, lambda *_: True)
    with pytest.raises(AssertionError, match="without a claim"):
        sequence(Server(balancing("four", "198.51.100.0/31"), balancing("six", "2001:db8::/127")))

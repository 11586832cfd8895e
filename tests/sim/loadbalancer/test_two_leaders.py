"""Two controllers that both believe they lead give addresses to services, with old caches and a network that loses and delays."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests.effort import SEED, examples
from tests.sim.leaders import DEAF, FATES, REPLICAS, Leaders, Network
from tests.sim.loadbalancer.world import ALL, Replica, World
from towpath.model.balanced import ADDRESSES, SHARES

NAMES = st.sampled_from(["a", "b", "c", "d"])
CACHES = st.just(ALL) | st.sets(st.sampled_from(ALL)).map(tuple)
BOTH = ["IPv4", "IPv6"]
SHAPES = st.sampled_from(
    [
        {},
        {"type": "ClusterIP", "loadBalancerClass": None},
        {"loadBalancerClass": None},
        {"ipFamilies": ["IPv6"]},
        {"ipFamilies": BOTH, "ipFamilyPolicy": "RequireDualStack"},
        {"ipFamilies": BOTH, "ipFamilyPolicy": "PreferDualStack"},
    ]
)
WISHES = st.sampled_from([{}, {}, {SHARES: "k"}, {SHARES: "k"}, {ADDRESSES: "198.51.100.1"}])
PORTS = st.sampled_from([80, 443, 25])


class TwoLeaders(Leaders):
    """Every step ends with ``World.judge``."""

    @initialize()
    def begin(self):
        self.world = World()
        self.network = Network()
        self.world.put_pool("four", "198.51.100.0/29")
        self.world.put_pool("six", "2001:db8::/124")
        self.replicas = [Replica(self.world, self.network) for _ in range(2)]
        for replica in self.replicas:
            replica.refresh()
            replica.step()
            replica.refresh(*ALL)

    @rule(name=NAMES, shape=SHAPES, wish=WISHES, port=PORTS)
    def service_changes(self, name, shape, wish, port):
        self.world.put(name, wish, ports=[{"port": port}], **shape)

    @rule(name=NAMES)
    def service_goes(self, name):
        self.world.delete(name)

    @rule(which=REPLICAS, kinds=CACHES, fates=FATES, deaf=DEAF)
    def controller_steps(self, which, kinds, fates, deaf):
        self.world.time += 6
        self.pass_of(which, kinds, fates=fates, deaf=deaf)

    def settle(self):
        """With everything working again who can be served is, nothing is left over, and nothing left to do."""
        self.network.under_way.clear()
        for _ in range(4):
            for replica in self.replicas:
                replica.api.deaf = False
                self.world.time += 6
                replica.refresh(*ALL)
                replica.step()
        before = self.world.objects.storage.latest
        for replica in self.replicas:
            replica.refresh(*ALL)
            assert replica.step(), "something is left to do"
        assert self.world.objects.storage.latest == before, "what is settled is written to"
        users = {tenant.uid for claim in self.world.claims.values() for tenant in claim.spec.services}
        assert users == {one.uid for one in self.world.services.values() if one.addresses}
        for service in self.world.services.values():
            if service.is_balanced and not service.requested and service.mistake is None:
                assert len(service.addresses) == len(service.families), service


@pytest.mark.usefixtures("quiet")
def test_no_service_ever_shows_an_address_that_is_not_claimed_for_it() -> None:
    """Whatever is lost, late, old or restarted; and it comes to an end."""
    chosen = settings(
        max_examples=examples(40, soak=10_000),
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        phases=(Phase.generate,),  # shrinking takes minutes; the seed is printed
    )
    run_state_machine_as_test(with_seed(SEED)(TwoLeaders), settings=chosen)


@pytest.mark.usefixtures("quiet")
def test_whoever_gets_an_address_is_told_although_another_one_has_to_wait() -> None:
    """A status of the same round that is not taken, because somebody else has just written it, keeps no event back."""
    world, network = World(), Network()
    try:
        world.put_pool("four", "198.51.100.0/29")
        world.put("a", {}, ports=[{"port": 80}])
        world.put("b", {}, ports=[{"port": 80}])
        replica = Replica(world, network)
        replica.refresh()
        replica.step()
        replica.refresh(*ALL)
        network.plan.extend(["arrives", "arrives", "arrives", "lost"])  # two claims, two statuses
        assert not replica.step()
        assert not network.plan
        replica.refresh(*ALL)
        world.time += 6
        assert replica.step()
        events = [one for one in world.page("Event").items if one["reason"] == "AddressAssigned"]
        assert sorted(one["involvedObject"]["name"] for one in events) == ["a", "b"]
    finally:
        world.close()

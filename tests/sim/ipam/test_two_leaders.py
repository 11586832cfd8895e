"""Two controllers that both believe they lead, on a network that loses and delays, with caches that are old."""

from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests.effort import SEED, examples
from tests.sim.ipam.world import Replica, World
from tests.sim.leaders import DEAF, FATES, REPLICAS, Leaders, Network
from towpath.controller.cluster import KINDS

NAMES = st.sampled_from(["a", "b", "c", "d"])
MACHINES = st.sampled_from(["one", "two"])
CACHES = st.just(KINDS) | st.sets(st.sampled_from(KINDS)).map(tuple)
TIMES = st.sampled_from([0, 1, 31, 150, 299, 301, 700])


class TwoLeaders(Leaders):
    """Every step ends with ``World.judge``: a block with two owners, or one given away early, fails there."""

    @initialize()
    def begin(self):
        self.world = World()
        self.network = Network()
        self.world.put("IPPool", "four", spec={"cidr": "10.0.0.0/27", "blockSize": 30})
        self.world.put("IPPool", "six", spec={"cidr": "fd00::/123", "blockSize": 126})
        self.world.put("IPAMConfiguration", "default", spec={"minFreeAddresses": 1, "growAtPercent": 100})
        self.replicas = [Replica(self.world, self.network) for _ in range(2)]
        for name in ("a", "b", "c"):
            self.world.add_node(name, "one")
        for replica in self.replicas:
            replica.refresh(*KINDS)
            replica.step()
            replica.refresh(*KINDS)

    @rule(name=NAMES, machine=MACHINES, how=st.sampled_from(["goes", "comes", "is made anew"]))
    def node_changes(self, name, machine, how):
        if how != "comes":
            self.world.delete("Node", name)
        if how != "goes" and name not in self.world.items("Node"):
            self.world.add_node(name, machine)

    @rule(name=NAMES)
    def node_reports(self, name):
        self.world.report(name)

    @rule(data=st.data(), change=st.sampled_from([1, 2, -4]))
    def pods_change(self, data, change):
        alive = {node["metadata"]["uid"] for node in self.world.items("Node").values()}
        keys = [
            (block.spec.node_uid, block.name)
            for block in self.world.blocks().values()
            if block.spec.state == "Active" and block.spec.node_uid in alive
        ]
        keys = [key for key in keys if key not in self.world.sealed]
        if keys:
            key = data.draw(st.sampled_from(keys))
            self.world.pods[key] = min(4, max(0, self.world.pods.get(key, 0) + change))

    @rule(data=st.data())
    def somebody_drains_a_block(self, data):
        active = sorted(name for name, block in self.world.blocks().items() if block.spec.state == "Active")
        if active:
            self.world.put("IPAMBlock", data.draw(st.sampled_from(active)), spec={"state": "Draining"})

    @rule(which=REPLICAS, kinds=CACHES, fates=FATES, deaf=DEAF, seconds=TIMES)
    def controller_steps(self, which, kinds, fates, deaf, seconds):
        self.world.time += seconds
        self.pass_of(which, kinds, fates=fates, deaf=deaf)

    def settle(self):
        """With everything working again each node has its blocks, and there is nothing left to do."""
        self.network.under_way.clear()
        for replica in self.replicas:
            replica.api.deaf = False
        for _ in range(30):
            for name in self.world.items("Node"):
                self.world.report(name)
            for replica in self.replicas:
                replica.refresh(*KINDS)
                replica.step()
            self.world.time += 61
        before = self.world.objects.storage.latest
        for replica in self.replicas:
            replica.refresh(*KINDS)
            assert replica.step(), "something is left to do"
        assert self.world.objects.storage.latest == before, "a settled cluster is written to"
        nodes = self.world.items("Node")
        for name, node in nodes.items():
            own = [block for block in self.world.blocks().values() if block.spec.node_uid == node["metadata"]["uid"]]
            assert {block.spec.pool for block in own if block.spec.state == "Active"} == {"four", "six"}, (name, own)
        assert all(block.spec.node in nodes for block in self.world.blocks().values())
        assert self.world.items("RoutingNode").keys() == nodes.keys()


# of four nodes at most three have a range in the pool, and enough of it is left for all four
RANGES = ["10.1.0.0/29", "10.1.0.8/29", "10.0.0.0/28", "10.0.0.16/28", "10.0.0.32/29", "10.0.0.8/29"]
SOURCES = st.sampled_from(["Towpath", "PodCIDRs"])


class Assigned(TwoLeaders):
    """The same where a controller manager assigns podCIDRs, some inside a pool, and somebody changes who assigns.

    It hands a range on at once when its node is gone, as the real one does.
    """

    @initialize(source=SOURCES)
    def begin(self, source):
        self.world = World()
        self.network = Network()
        self.world.put("IPPool", "four", spec={"cidr": "10.0.0.0/26", "blockSize": 30})
        self.world.put("IPPool", "six", spec={"cidr": "fd00::/123", "blockSize": 126})
        self.world.put(
            "IPAMConfiguration",
            "default",
            spec={"minFreeAddresses": 1, "growAtPercent": 100, "blockSource": source},
        )
        self.replicas = [Replica(self.world, self.network) for _ in range(2)]
        for number, name in enumerate("ab"):
            self.join(name, "one", number)
        for replica in self.replicas:
            replica.refresh(*KINDS)
            replica.step()

    def join(self, name, machine, number):
        """A Node and its range: one that no living node has an address of."""
        taken = [ip_network(node["spec"]["podCIDRs"][0]) for node in self.world.items("Node").values()]
        turned = [*RANGES[number:], *RANGES[:number]]
        free = (one for one in turned if not any(ip_network(one).overlaps(other) for other in taken))
        self.world.add_node(name, machine, pod_cidrs=[next(free)])

    @rule(name=NAMES, machine=MACHINES, how=st.sampled_from(["goes", "comes", "is made anew"]))
    def node_changes(self, name, machine, how):
        if how != "comes":
            self.world.delete("Node", name)
        if how != "goes" and name not in self.world.items("Node"):
            self.join(name, machine, self.world.objects.storage.latest % len(RANGES))

    @rule(source=SOURCES)
    def somebody_changes_who_assigns(self, source):
        self.world.put("IPAMConfiguration", "default", spec={"blockSource": source})

    def settle(self):
        """With the pods gone each node has its podCIDRs, or a block of each family."""
        self.network.under_way.clear()
        self.world.pods.clear()
        for replica in self.replicas:
            replica.api.deaf = False
        for _ in range(40):
            for name in self.world.items("Node"):
                self.world.report(name)
            for replica in self.replicas:
                replica.refresh(*KINDS)
                replica.step()
            self.world.time += 61
        source = self.world.items("IPAMConfiguration")["default"]["spec"]["blockSource"]
        for node in self.world.items("Node").values():
            uid, wanted = node["metadata"]["uid"], set(node["spec"]["podCIDRs"])
            own = [
                one.spec
                for one in self.world.blocks().values()
                if one.spec.node_uid == uid and one.spec.state == "Active"
            ]
            if source == "PodCIDRs":
                assert {str(one.cidr) for one in own} == wanted, own
            else:
                assert {one.cidr.version for one in own} == {4, 6}, own


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("machine", [TwoLeaders, Assigned])
def test_no_block_ever_has_two_owners(machine):
    """Whatever is lost, late, stale or restarted: no address has two owners, none is handed on before its quarantine ended."""
    chosen = settings(
        max_examples=examples(15, soak=1500),
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=True,
        phases=(Phase.generate,),  # shrinking takes minutes; the seed is printed
    )
    run_state_machine_as_test(with_seed(SEED)(machine), settings=chosen)


@pytest.mark.usefixtures("quiet")
def test_a_node_that_the_cache_has_not_seen_yet_is_not_gone():
    """Blocks and RoutingNode of a node that came a moment ago stay, although the list of Nodes is behind the others."""
    world, network = World(), Network()
    try:
        world.put("IPPool", "four", spec={"cidr": "10.0.0.0/27", "blockSize": 30})
        first, second = (Replica(world, network) for _ in range(2))
        second.refresh(*KINDS)
        world.add_node("a", "one")
        first.refresh(*KINDS)
        first.step()
        second.refresh(*(kind for kind in KINDS if kind != "Node"))
        second.step()
        assert [block.spec.state for block in world.blocks().values()] == ["Active"]
        assert list(world.items("RoutingNode")) == ["a"]
    finally:
        world.close()

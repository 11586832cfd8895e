"""Two controllers that both believe they lead, on a network that loses and delays, with caches that are old."""

import os
import random

from hypothesis import HealthCheck, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.sim.ipam.world import Network, Replica, World
from towpath.controller.cluster import KINDS
from towpath.controller.ports import ApiError

EXAMPLES = int(os.environ.get("TOWPATH_EXAMPLES", "40"))
SEED = int(os.environ.get("TOWPATH_SEED", random.randrange(1 << 32)))
NAMES = st.sampled_from(["a", "b", "c", "d"])
MACHINES = st.sampled_from(["one", "two"])
REPLICAS = st.sampled_from([0, 1])
FATES = st.lists(st.sampled_from(["arrives", "lost", "late", "answer lost"]), max_size=5)


class TwoLeaders(RuleBasedStateMachine):
    """Every step ends with ``World.judge``: a block with two owners, or one given away early, fails there."""

    @initialize()
    def begin(self):
        self.world = World()
        self.network = Network()
        self.world.put("IPPool", "four", spec={"cidr": "10.0.0.0/27", "blockSize": 30})
        self.world.put("IPPool", "six", spec={"cidr": "fd00::/123", "blockSize": 126})
        self.world.put("IPAMConfiguration", "default", spec={"minFreeAddresses": 1, "growAtPercent": 100})
        self.replicas = [Replica(self.world, self.network) for _ in range(2)]
        for replica in self.replicas:
            replica.refresh()

    @rule(name=NAMES, machine=MACHINES)
    def node_comes(self, name, machine):
        if name not in self.world.items("Node"):
            self.world.add_node(name, machine)

    @rule(name=NAMES)
    def node_goes(self, name):
        self.world.delete("Node", name)

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

    @rule(which=REPLICAS, kinds=st.sets(st.sampled_from(KINDS)))
    def cache_catches_up(self, which, kinds):
        self.replicas[which].refresh(*kinds)

    @rule(which=REPLICAS, fates=FATES, deaf=st.booleans())
    def controller_steps(self, which, fates, deaf):
        self.network.plan.clear()
        self.network.plan.extend(fates)
        self.replicas[which].api.deaf = deaf
        self.replicas[which].step()
        self.network.plan.clear()

    @rule(which=REPLICAS)
    def controller_restarts(self, which):
        self.replicas[which].restart()

    @precondition(lambda self: self.network.under_way)
    @rule(data=st.data())
    def late_request_arrives(self, data):
        index = data.draw(st.integers(0, len(self.network.under_way) - 1))

        async def carry_out(step):
            try:
                await step()
            except ApiError:
                return

        self.world.run(carry_out(self.network.under_way.pop(index)))

    @rule(seconds=st.sampled_from([1, 31, 150, 299, 301, 700]))
    def time_passes(self, seconds):
        self.world.time += seconds

    def teardown(self):
        try:
            self.settle()
        finally:
            self.world.close()

    def settle(self):
        """With everything working again each node has its blocks, and there is nothing left to do."""
        self.network.under_way.clear()
        for replica in self.replicas:
            replica.api.deaf = False
        for _ in range(30):
            for name in self.world.items("Node"):
                self.world.report(name)
            for replica in self.replicas:
                replica.refresh()
                replica.step()
            self.world.time += 61
        before = self.world.objects.storage.latest
        for replica in self.replicas:
            replica.refresh()
            assert replica.step(), "something is left to do"
        assert self.world.objects.storage.latest == before, "a settled cluster is written to"
        nodes = self.world.items("Node")
        for name, node in nodes.items():
            own = [block for block in self.world.blocks().values() if block.spec.node_uid == node["metadata"]["uid"]]
            assert {block.spec.pool for block in own if block.spec.state == "Active"} == {"four", "six"}, (name, own)
        assert all(block.spec.node in nodes for block in self.world.blocks().values())
        assert self.world.items("RoutingNode").keys() == nodes.keys()


def test_no_block_ever_has_two_owners():
    """Whatever is lost, late, stale or restarted: no address has two owners, none is handed on before its quarantine ended."""
    print(f"TOWPATH_SEED={SEED} TOWPATH_EXAMPLES={EXAMPLES}")
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=True,
    )
    run_state_machine_as_test(with_seed(SEED)(TwoLeaders), settings=chosen)

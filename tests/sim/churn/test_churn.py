"""Pods, nodes and pools that come and go, for long: blocks, ranges and routes never say different things, and memory stays."""

import time

import pytest

from tests.effort import SOAK, chance, examples
from tests.sim.churn.flat import growth, held
from tests.sim.churn.judge import judge
from tests.sim.churn.world import Churn

NODES = examples(200, soak=5_000)
MINUTES = 30 if SOAK else 0
"""For how long it goes on at least."""
ROUNDS, STEPS = 8, examples(20, soak=60)
"""How often the cluster comes to rest at least, and what happens before each of these times."""
EACH = 4.0
"""Pieces of memory that may be left of each happening in the second half: whatever is kept of what is gone is more."""
SHARE = 0.03
"""By what part of it the memory of the process may be larger in the last quarter than in the one before."""


@pytest.mark.usefixtures("quiet")
def test_in_a_cluster_that_never_rests_nothing_drifts_and_memory_is_flat():
    """Blocks in force, what nodes give out, what is announced and what is routed are one; so are old books and new ones."""
    world = Churn(NODES, chance("churn"))
    try:
        judge(world, resting=True)
        began, seen, happened = time.monotonic(), [], []
        while len(seen) < ROUNDS or time.monotonic() < began + 60 * MINUTES:
            for _ in range(STEPS):
                world.step()
            judge(world, resting=False)
            world.settle()
            judge(world, resting=True)
            seen.append(held())
            happened.append(world.happened)
            print(
                f"{time.monotonic() - began:6.0f} s, {world.time:8.0f} s there, {world.happened} happenings,"
                f" {world.objects.storage.latest} writes, {seen[-1].blocks} pieces, {seen[-1].resident:.1f} MB"
            )
        assert growth([one.blocks for one in seen]) < EACH * growth(happened), seen
        resident = [one.resident for one in seen]
        assert growth(resident) < SHARE * resident[-1], seen
    finally:
        world.close()

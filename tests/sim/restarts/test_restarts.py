"""Whoever of a node dies, in whatever order things happen afterwards: its peers see no route move."""

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from tests.sim.restarts.world import Node
from tests.virtual import run
from towpath.model.net import Prefix

V4, V6 = 0, 1
DEEDS = st.one_of(
    st.tuples(st.sampled_from(["kill agent", "kill speaker", "kill both", "start agent", "start speaker"])),
    st.tuples(st.sampled_from(["step", "busy step", "deliver", "api goes", "api comes"])),
    st.tuples(st.just("come up"), st.integers(0, 2)),
    st.tuples(st.just("talk"), st.sampled_from([1, 65536])),
    st.tuples(st.just("lose"), st.integers(0, 2)),
    st.tuples(st.just("time"), st.sampled_from([0.1, 1.0, 4.0, 40.0])),
    st.tuples(st.just("blackhole goes"), st.sampled_from([V4, V6])),
)


async def do(node: Node, deed: str, *how: float) -> None:
    """One thing that happens."""
    match deed:
        case "kill agent":
            node.kill_agent()
        case "kill speaker":
            node.kill_speaker()
        case "kill both":
            node.kill_agent()
            node.kill_speaker()
        case "start agent":
            await node.start_agent()
        case "start speaker":
            await node.start_speaker()
        case "step":
            await node.step()
        case "busy step":
            await node.step(busy=True)
        case "deliver":
            await node.deliver()
        case "api goes":
            node.answers = False
        case "api comes":
            node.answers = True
        case "come up":
            await node.come_up(int(how[0]))
        case "talk":
            await node.talk(int(how[0]))
        case "lose":
            await node.lose_one(int(how[0]))
        case "time":
            await asyncio.sleep(how[0])
        case "blackhole goes":
            standing = node.parts.standing if node.parts is not None else node.standing
            standing -= {one for one in set(standing) if one.version == (6 if how[0] else 4)}


def own(node: Node) -> set[Prefix]:
    return {one.spec.cidr for one in node.cluster.blocks.values() if one.spec.node == "a"}


# a peer that is lost twice before it was told again, by whatever dies
AGAIN = [("kill speaker",), ("start speaker",), ("deliver",), ("come up", 2), ("kill speaker",)]
# an agent that starts from disk beside a speaker that runs, and one that starts with it
FROM_DISK = [("api goes",), ("kill agent",), ("start agent",), ("time", 4.0), ("step",), ("deliver",)]
ALONE = [("api goes",), ("kill both",), ("start agent",), ("start speaker",), ("time", 4.0), ("step",), ("deliver",)]

# a blackhole that somebody has deleted while there was no agent, and that takes its time
GAP = [("kill agent",), ("blackhole goes", V4), ("start agent",), ("busy step",), ("deliver",), ("talk", 65536)]


@given(disk=st.booleans(), deeds=st.lists(DEEDS, max_size=40))
@example(disk=True, deeds=AGAIN)
@example(disk=True, deeds=FROM_DISK)
@example(disk=True, deeds=GAP)
@example(disk=True, deeds=[*ALONE, *[("come up", 2)] * 2, ("api comes",), ("step",), ("deliver",)])
@example(disk=False, deeds=[*ALONE, *[("come up", 2)] * 2, ("talk", 65536), ("api comes",), ("step",), ("deliver",)])
def test_no_order_of_deaths_moves_a_route_at_a_peer(
    disk: bool, deeds: list[tuple[str, *tuple[float, ...]]]
) -> None:  # Hypothesis passes by name
    """Every prefix that peers were told stays, as it was, while the node owns it: told again before End-of-RIB, and in time.

    Between them lie whole and partial pictures, blackholes that somebody deletes, an API server that is away, and
    sessions that end at any point.
    """

    async def scenario() -> None:
        node = Node(disk=disk)
        await node.settle()
        assert len(node.helpers) == 3
        if not disk:
            node.disk = None
        for deed, *how in deeds:
            await do(node, deed, *how)
            assert node.moved == {}, deed
        await node.settle()
        assert node.moved == {}
        told = {prefix for helper in node.helpers.values() for prefix in helper.routes}
        assert told == own(node)
        assert not any(helper.stale for helper in node.helpers.values())

    run(scenario)

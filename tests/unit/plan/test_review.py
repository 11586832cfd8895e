"""What BGPPeers contradict one another in, gone through for all nodes, and again for those alone that a change touches."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.unit.plan.test_peering_properties import worlds
from tests.unit.plan.worlds import cluster, config, node, peer
from towpath.bgp.peering import CONTRADICTIONS, sessions
from towpath.controller import peer_review
from towpath.controller.peer_review import PeerReview
from towpath.model.cluster import Cluster

PASSWORDS = st.sampled_from([None, {"secretKeyRef": {"name": "p", "key": "k"}}])


def plainly(world: Cluster) -> dict[str, set]:
    """The contradictions by node, from each node's whole plan."""
    found = {
        name: {
            one
            for one in sessions(world, name).warnings
            if one.reason in CONTRADICTIONS and one.object.kind != "RoutingNode"
        }
        for name in world.routing_nodes
    }
    return {name: warnings for name, warnings in found.items() if warnings}


@st.composite
def histories(draw: st.DrawFn) -> list[Cluster]:
    """A cluster, and what becomes of it: now and then an object goes, comes, or is another one."""
    kinds = {"reversePeering": st.sampled_from(["Auto", "Manual"])}
    now = {(one["kind"], one["metadata"]["name"]): one for one in draw(worlds(kinds))}
    found = [cluster(*now.values())]
    for _ in range(draw(st.integers(1, 3))):
        other = {(one["kind"], one["metadata"]["name"]): one for one in draw(worlds(kinds))}
        for key in draw(st.lists(st.sampled_from(sorted({*now, *other})), min_size=1, max_size=3)):
            if key in other and draw(st.booleans()):
                now[key] = other[key]
            else:
                now.pop(key, None)
        if draw(st.integers(0, 3)) == 0:
            password = draw(PASSWORDS)
            now["BGPConfiguration", "default"] = config(**({"nodeMeshPassword": password} if password else {}))
        found.append(cluster(*now.values()))
    return found


@given(histories())
@settings(max_examples=examples(25))
def test_the_review_says_what_the_plans_of_all_nodes_say(history: list[Cluster]) -> None:
    """After every change, although only the nodes that it touches are asked again."""

    async def look() -> None:
        review = PeerReview()
        for world in history:
            assert {name: set(one) for name, one in (await review.look(world)).items()} == plainly(world)

    asyncio.run(look())


def test_a_node_that_joins_costs_no_look_at_the_others(monkeypatch) -> None:
    """One in ninety, with a router and a reflector as peers: asked are itself and the reflector."""
    asked: list[str] = []

    def counted(*arguments, **options):
        asked.append(arguments[1])
        return peer_warnings(*arguments, **options)

    peer_warnings = peer_review.peer_warnings
    monkeypatch.setattr(peer_review, "peer_warnings", counted)
    objects = [
        config(nodeToNodeMeshEnabled=False),
        peer("tor", peerIP="10.0.1.254", asNumber=65000, nodeSelector="rack == '1'"),
        peer("rr", peerSelector="has(rr)", nodeSelector="!has(rr)"),
        node("rr", "10.0.2.1/16", labels={"rr": ""}),
        *(node(f"n{number}", f"10.0.1.{number}/16", labels={"rack": "1"}) for number in range(1, 90)),
    ]

    async def look() -> None:
        review = PeerReview()
        await review.look(cluster(*objects))
        assert len(asked) == 90
        asked.clear()
        await review.look(cluster(*objects))
        assert asked == []
        await review.look(cluster(*objects, node("new", "10.0.1.200/16", labels={"rack": "1"})))

    asyncio.run(look())
    assert sorted(asked) == ["new", "rr"]

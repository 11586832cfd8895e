"""Blocks that are gone while pods live in them."""

from ipaddress import ip_network

import pytest

from tests.unit.agent.test_node import Parts, agent, messages
from tests.unit.agent.worlds import block, cluster
from towpath.controller.node.retained import missing, retained
from towpath.model.cluster import Cluster, IPAMBlock

V4, V6 = ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")
OWN = [block(str(V4), "a", node_uid="uid-of-an-earlier-a"), block(str(V6), "a")]


def world(*blocks: IPAMBlock) -> Cluster:
    return cluster(blocks={one.name: one for one in blocks})


def test_a_block_that_pods_live_in_is_kept_and_gives_out_no_more() -> None:
    """It drains, for the node that is there now; one that nobody lives in goes."""
    found = retained(world(), "a", gone=OWN, in_use={V4})
    (kept,) = found.cluster.blocks.values()
    assert (kept.spec.cidr, kept.spec.state, kept.spec.node_uid) == (V4, "Draining", "uid-a")
    assert [(one.reason, one.object.name) for one in found.refusals] == [("BlockMissing", "10-244-0-0-26")]


@pytest.mark.parametrize("other", ["10.244.0.0/26", "10.244.0.32/27", "10.244.0.0/24"])
def test_what_somebody_else_has_claimed_is_theirs(other: str) -> None:
    """Nothing of the other block is touched; that pods live there is not forgotten."""
    theirs = world(block(other, "b"))
    found = retained(theirs, "a", gone=missing(theirs, "a", before=OWN), in_use={V4})
    assert found.cluster == theirs
    assert found.refusals == ()
    assert [one.spec.cidr for one in found.gone] == [V4]


def test_a_block_that_is_there_is_not_missing() -> None:
    """Whatever its state; one that was made anew for this node is the controller's again."""
    assert missing(world(block(str(V4), "a", state="Quarantined"), OWN[1]), "a", before=OWN) == ()


async def test_a_node_goes_on_with_a_block_that_is_gone() -> None:
    """It stays announced and blackholed through any number of steps, is reported, and goes with its last pod."""
    parts = Parts()
    node, pods = await agent(parts)
    await node.step()
    whole = parts.present
    parts.present, pods.used = world(block(str(V6), "a")), frozenset({V4})
    for _ in range(2):
        await node.step()
        assert set(parts.told[-1].announcements) == {V4, V6}
        assert parts.standing == {V4, V6}
        assert pods.written[-1].draining == (V4,)
    (message,) = messages(node, "BlockMissing")
    assert message.startswith("IPAMBlock/10-244-0-0-26: 10.244.0.0/26 is gone while pods of node a")
    assert node.retaining
    status = node.status(before=None, now="now")
    assert status is not None
    assert [(one.cidr, one.in_use) for one in status.blocks] == [(V6, 0), (V4, 1)]
    parts.present = whole
    await node.step()
    assert pods.written[-1].usable == (V4, V6)
    parts.present, pods.used = world(block(str(V6), "a")), frozenset()
    await node.step()
    assert set(parts.told[-1].announcements) == {V6}


async def test_a_new_process_keeps_what_the_last_one_knew() -> None:
    """The picture on disk says which blocks were this node's; the list that lacks one came while nobody looked."""
    parts = Parts()
    parts.present = world(block(str(V6), "a"))
    node, pods = await agent(parts, saved=cluster())
    pods.used = frozenset({V4})
    await node.step()
    assert set(parts.told[-1].announcements) == {V4, V6}

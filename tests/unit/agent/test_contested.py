"""Pods with addresses in what is another node's block by now: nobody else gets them."""

from ipaddress import ip_address, ip_network

import pytest

from tests.unit.agent.test_node import Parts, agent, messages
from tests.unit.agent.worlds import block, cluster
from towpath.controller.node.contested import contested
from towpath.model.cluster import Cluster, IPAMBlock
from towpath.model.net import host_prefix

V4, V6 = ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")
POD, POD6 = ip_address("10.244.0.40"), ip_address("fd00:244::5")


def world(*blocks: IPAMBlock) -> Cluster:
    return cluster(blocks={one.name: one for one in blocks})


@pytest.mark.parametrize("other", ["10.244.0.0/26", "10.244.0.32/27", "10.244.0.0/24"])
def test_what_lies_in_anothers_block_is_found(other: str) -> None:
    """Of whatever size, and in no other state than one in which its node may give out addresses."""
    found = contested(world(block(other, "b"), block(str(V6), "a")), "a", (POD, POD6))
    assert set(found.addresses) == {POD}
    assert set(found.blocks) == {ip_network(other)}
    draining = world(block(other, "b", state="Draining"))
    assert set(contested(draining, "a", (POD,)).addresses) == {POD}


@pytest.mark.parametrize(
    "blocks",
    [
        (),
        (block(str(V4), "a"),),
        (block(str(V4), "a", state="Quarantined"),),
        (block(str(V4), "b", state="Quarantined"),),
        (block("10.244.1.0/26", "b"),),
    ],
    ids=["nobody's", "its own", "its own in quarantine", "another's in quarantine", "elsewhere"],
)
def test_all_else_is_contested_by_nobody(blocks: tuple[IPAMBlock, ...]) -> None:
    """What is gone is kept (``retained``); what is in quarantine nobody gives out."""
    assert contested(world(*blocks), "a", (POD,)).addresses == {}


async def test_all_peers_hear_of_each_address_until_its_pod_ends() -> None:
    """And nobody of the block itself; it is reported as in use, and people are told whose it is and what to do."""
    parts = Parts()
    node, pods = await agent(parts)
    parts.present = world(block(str(V4), "b"), block(str(V6), "a"))
    pods.used, pods.lived_at = frozenset({V4, V6}), (POD, POD6)
    for _ in range(2):
        await node.step()
        assert set(parts.told[-1].announcements) == {host_prefix(POD), V6}
    (message,) = messages(node, "OverlappingBlock")
    assert message.startswith("IPAMBlock/10-244-0-0-26: pods of node a have 10.244.0.40, and 10.244.0.0/26 is node b's")
    assert "delete IPAMBlock/10-244-0-0-26" in message
    assert node.retaining
    status = node.status(before=None, now="now")
    assert status is not None
    assert {one.cidr: one.in_use for one in status.blocks} == {V4: 1, V6: 1}
    pods.used, pods.lived_at = frozenset({V6}), (POD6,)
    await node.step()
    assert set(parts.told[-1].announcements) == {V6}
    assert messages(node, "OverlappingBlock") == []
    assert not node.retaining


async def test_a_new_process_finds_them_again() -> None:
    """By host-local's records alone: nothing has to be remembered."""
    parts = Parts()
    parts.present = world(block(str(V4), "b"), block(str(V6), "a"))
    node, pods = await agent(parts, saved=cluster())
    pods.used, pods.lived_at = frozenset({V4}), (POD,)
    await node.step()
    assert set(parts.told[-1].announcements) == {host_prefix(POD), V6}

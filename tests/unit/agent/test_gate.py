"""What a node may announce, and which blocks pods may have addresses from."""

from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.agent.worlds import block, cluster, pool
from towpath.controller.node.gate import Standing, addressing, announceable, clear_of_others, families, waits_for
from towpath.model.cluster import Node
from towpath.model.kinds.attachment import Attachment
from towpath.model.kinds.ipam import IPAMConfigurationSpec
from towpath.model.net import Family
from towpath.model.resource import Meta, Resource
from towpath.model.selector import parse_selector
from towpath.model.speaker import Announcement, Report

V4, V6 = ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")
BLOCKS = [block(str(V4), "a"), block(str(V6), "a")]
ADDRESSES = (ip_address("10.0.0.1"), ip_address("fd00::1"))


def standing(**changes: Any) -> Standing:
    return msgspec.structs.replace(Standing(in_kernel={V4, V6}, clear={V4, V6}, served=()), **changes)


FINE = standing()


def wanted(*prefixes: str, source: str = "Block") -> dict:
    return {
        ip_network(prefix): Announcement(prefix=ip_network(prefix), source=source, local_preference=100)
        for prefix in prefixes
    }


def test_a_block_is_announced_once_its_blackhole_stands() -> None:
    """A block without blackhole waits; one whose blackhole is being repaired stays announced."""
    both = wanted(str(V4), str(V6))
    assert set(announceable(both, in_kernel={V4}, announced=())) == {V4}
    assert set(announceable(both, in_kernel={V4}, announced={V6})) == {V4, V6}
    assert set(announceable(both, in_kernel=(), announced={V4, ip_network("10.9.0.0/26")})) == {V4}


def test_what_needs_no_blackhole_is_announced_at_once() -> None:
    """A block of one address, and a service, wait for nothing."""
    single = wanted("10.244.0.1/32", "fd00:244::1/128")
    service = wanted("10.96.0.0/16", source="Service")
    assert announceable({**single, **service}, in_kernel=(), announced=()) == {**single, **service}


def test_confirmed_blocks_serve_pods() -> None:
    """Blocks of this very node whose blackholes stand are usable, and nothing is lacking."""
    found = addressing(cluster(), "a", blocks=BLOCKS, standing=FINE)
    assert found.usable == (V4, V6)
    assert found.lacking == ()


def test_a_block_without_blackhole_waits() -> None:
    """Pods get no address of a block that the kernel does not drop yet."""
    found = addressing(cluster(), "a", blocks=BLOCKS, standing=standing(in_kernel={V4}))
    assert found.usable == (V4,)
    assert found.lacking == (f"block {V6} has no blackhole route yet", "no ipv6 block yet")


def test_a_new_block_waits_until_nobody_elses_path_lies_in_it() -> None:
    """Pods get no address of a block of which the speaker has said nothing yet, or in which it holds a path."""
    found = addressing(cluster(), "a", blocks=BLOCKS, standing=standing(clear={V4}))
    assert found.usable == (V4,)
    assert found.lacking == (f"block {V6} waits until the speaker holds no path of others in it", "no ipv6 block yet")


def test_a_block_that_serves_pods_goes_on() -> None:
    """Somebody who begins to announce inside a block that is in use takes nothing away from its pods."""
    assert addressing(cluster(), "a", blocks=BLOCKS, standing=standing(clear=(), served={V4, V6})).usable == (V4, V6)


def test_a_report_speaks_of_the_blocks_that_the_speaker_knew() -> None:
    """A block is clear only if the speaker was asked about it; without a report none is."""
    assert clear_of_others(None) == frozenset()
    assert clear_of_others(Report(sessions=(), foreign_paths=(V4,), own_blocks=(V4, V6))) == {V6}


def test_a_block_of_an_earlier_node_serves_nobody() -> None:
    """A block bound to another UID is not this node's, although the name is the same."""
    nodes = {"a": Node(meta=Meta(name="a", uid="uid-of-the-new-a"))}
    found = addressing(cluster(nodes=nodes), "a", blocks=BLOCKS, standing=FINE)
    assert found.usable == ()
    assert f"block {V4} belongs to an earlier node of this name" in found.lacking


def test_without_a_node_object_no_bound_block_is_used() -> None:
    """Nobody's block becomes ours because our Node object is not there."""
    assert addressing(cluster(nodes={}), "a", blocks=BLOCKS, standing=FINE).usable == ()


def test_a_block_made_by_hand_goes_by_the_name() -> None:
    """A block without UID, as in a folder of manifests, serves the node that it names."""
    blocks = [block(str(V4), "a", node_uid=""), block(str(V6), "a", node_uid="")]
    assert addressing(cluster(nodes={}), "a", blocks=blocks, standing=FINE).usable == (V4, V6)


def test_draining_and_quarantined_blocks_give_nothing_out() -> None:
    """A draining block is told apart, a quarantined one is not ours any more."""
    blocks = [block(str(V4), "a", state="Draining"), block(str(V6), "a", state="Quarantined")]
    found = addressing(cluster(), "a", blocks=blocks, standing=FINE)
    assert (found.usable, found.draining) == ((), (V4,))


def test_families_come_from_the_pools_of_this_node() -> None:
    """A pool that is disabled or selects other nodes asks for no family."""
    pools = [
        pool("off", "10.1.0.0/16", disabled=True),
        pool("elsewhere", "10.2.0.0/16", node_selector=parse_selector("rack == 'two'")),
        pool("here", "fd01::/112", node_selector=parse_selector("rack == 'one'")),
    ]
    assert families(cluster(pools={one.name: one for one in pools}), "a") == {Family.IPV6}


def test_a_pool_of_another_attachment_asks_for_nothing() -> None:
    """Its family does not keep the node from ready, and its blocks serve no pod; those of the other family do."""
    pools = {
        "v4": pool("v4", "10.244.0.0/16"),
        "v6": pool("v6", "fd00:244::/112", attachment=Attachment(type="bridge")),
    }
    world = cluster(pools=pools)
    blocks = [block(str(V4), "a", pool="v4"), block(str(V6), "a", pool="v6")]
    found = addressing(world, "a", blocks=blocks, standing=FINE)
    assert (found.usable, found.idle, found.complete, found.lacking) == ((V4,), (V6,), True, ())


def test_while_the_attachment_changes_what_stands_goes_on() -> None:
    """A family that has served is missed although its block is idle, and the node is ready: pods start in the former way."""
    blocks = [block(str(V4), "a"), block(str(V6), "a")]
    serving = replace(FINE, served={V4, V6}, otherwise={V4})
    found = addressing(cluster(), "a", blocks=blocks, standing=serving)
    assert (found.usable, found.idle, found.complete, found.lacking) == ((V6,), (V4,), False, ())
    found = addressing(cluster(), "a", blocks=blocks, standing=replace(FINE, served=(), otherwise={V4}))
    assert (found.complete, found.lacking) == (False, ("no ipv4 block yet",))


@pytest.mark.parametrize(
    ("labels", "selector", "expected"),
    [
        ({"rack": "one"}, "rack == 'one'", frozenset(Family)),
        ({"rack": "two"}, "rack == 'one'", frozenset()),
        ({"rack": "one", "towpath.io/exclude": ""}, "all()", frozenset()),
    ],
    ids=["selected", "not selected", "excluded"],
)
def test_a_node_that_takes_no_part_lacks_nothing(
    labels: dict[str, str], selector: str, expected: frozenset[Family]
) -> None:
    """Who is left out by the configuration or a label waits for no block, and is ready without."""
    spec = IPAMConfigurationSpec(node_selector=parse_selector(selector))
    world = cluster(
        nodes={"a": Node(meta=Meta(name="a", uid="uid-a", labels=labels), addresses=ADDRESSES)},
        ipam_configurations={"default": Resource(kind="IPAMConfiguration", meta=Meta(name="default"), spec=spec)},
    )
    assert families(world, "a") == expected
    assert bool(addressing(world, "a", blocks=[], standing=FINE).lacking) is bool(expected)


@pytest.mark.parametrize(
    ("addresses", "source", "pod_cidrs", "expected"),
    [
        (ADDRESSES, "Towpath", (), {Family.IPV4, Family.IPV6}),
        (ADDRESSES[:1], "Towpath", (), {Family.IPV4}),
        ((), "Towpath", (), set()),
        (ADDRESSES[:1], "PodCIDRs", ("fd00:9::/64",), {Family.IPV6}),
        (ADDRESSES, "PodCIDRs", (), set()),
    ],
)
def test_a_family_counts_where_the_node_can_be_reached_by_it(addresses, source, pod_cidrs, expected) -> None:
    """By its addresses; where the cluster assigns, by its podCIDRs. A node with nothing to cut a block from says so."""
    spec = IPAMConfigurationSpec(block_source=source)
    own = Node(
        meta=Meta(name="a", uid="uid-a"), addresses=addresses, pod_cidrs=tuple(ip_network(one) for one in pod_cidrs)
    )
    world = cluster(
        nodes={"a": own},
        routing_nodes={},
        ipam_configurations={"default": Resource(kind="IPAMConfiguration", meta=Meta(name="default"), spec=spec)},
    )
    assert families(world, "a") == expected
    assert bool(waits_for(world, "a")) is not bool(expected)


@pytest.mark.parametrize(("addresses", "expected"), [(ADDRESSES[:1], {Family.IPV6}), ((), set())])
def test_a_tunnel_reaches_any_family_by_any_address(addresses, expected) -> None:
    """A node with IPv4 alone is to have IPv6 pods of a pool that encapsulates; one without any address none."""
    world = cluster(
        nodes={"a": Node(meta=Meta(name="a", uid="uid-a"), addresses=addresses)},
        routing_nodes={},
        pools={"v6": pool("v6", "fd00:244::/112", vxlan_mode="Always")},
    )
    assert families(world, "a") == expected

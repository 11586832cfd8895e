"""Networks beside that of all pods: which of them a node has, what they stand on, and blocks that are counted for each alone."""

import json
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.unit.ipam.world import block, claimed, cluster, node, pool, report, resource, status
from towpath.ipam.attachment import attached
from towpath.ipam.cni import Places, called, conflist, write
from towpath.ipam.memory import Memory
from towpath.ipam.plan import GIVE_BACK_AFTER, Planner, plan
from towpath.ipam.underlay import Ground, ground
from towpath.model.links import NodeLink
from towpath.model.reason import Reason, Refusal

EDGE = {"type": "macvlan", "master": "eth1", "mode": "private", "primary": False}
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def edge(name: str = "edge", cidr: str = "10.9.0.0/24", **changed):
    """A pool that is such a network."""
    created, selector = changed.pop("created", OLD), changed.pop("selector", "all()")
    attachment = {**EDGE, **changed}
    return pool(
        name, cidr, created=created, blockSize=124 if ":" in cidr else 28, nodeSelector=selector, attachment=attachment
    )


def behind(**changed):
    """A pool of pods' own network behind eth1."""
    attachment = {"type": "ipvlan", "master": "eth1", "mode": "l3", **changed}
    return pool("own", "10.1.0.0/16", created=NEW, attachment=attachment)


@pytest.mark.parametrize(
    ("pools", "refused"),
    [
        ([edge(), edge("b", "10.8.0.0/24", mode="bridge"), edge("c", "fd09::/112", mode="vepa")], {}),
        ([edge(), edge("b", "10.8.0.0/24", master="eth2", type="ipvlan", mode="l2")], {}),
        ([edge(), edge("b", "10.8.0.0/24", type="ipvlan", mode="l2")], {"edge": "type"}),
        ([edge("a", type="ipvlan", mode="l2"), edge("b", "10.8.0.0/24", type="ipvlan", mode="l3")], {"b": "mode"}),
        ([edge("a", mode="passthru"), edge("b", "10.8.0.0/24", mode="passthru")], {"b": "mode"}),
        ([edge("a", mode="passthru"), edge("b", "10.8.0.0/24", mode="bridge", created=NEW)], {"b": "mode"}),
        ([edge("a", mode="passthru", created=NEW), edge("b", "10.8.0.0/24", mode="bridge")], {"a": "mode"}),
        ([edge(), behind()], {"edge": "type"}),
        ([edge(), behind(master="eth0")], {}),
        ([edge(type="ipvlan", mode="l2"), behind()], {"edge": "mode"}),
        ([edge(type="ipvlan", mode="l3"), behind()], {}),
        ([edge(mode="passthru"), pool("own", "10.1.0.0/16", attachment={"type": "bridge"})], {}),
    ],
)
def test_what_one_interface_cannot_carry(pools: list, refused: dict[str, str]) -> None:
    """Two kinds, two modes of ipvlan, and whatever is beside passthru: pods' own network stays, else the older, else the first by name."""
    found = attached(pools)
    fields = {name: one.object.field.removeprefix("spec.attachment.") for name, one in found.refusals.items()}
    assert fields == refused
    assert {one.reason for one in found.refusals.values()} <= {Reason.ATTACHMENT_CONFLICT}
    beside = {one.name for one in pools if not one.spec.attachment.primary}
    assert {one.name for one in found.beside} == beside - refused.keys()


def test_a_network_beside_never_says_how_pods_are_attached() -> None:
    """Also where it is the oldest pool, or the only one; none of its addresses is for pods' own network."""
    found = attached([edge(created=OLD), pool("own", "10.1.0.0/16", created=NEW)])
    assert (found.attachment.type, found.pool) == ("ptp", "own")
    assert not found.takes(edge())
    assert attached([edge()]).pool == ""


@pytest.mark.parametrize(
    ("addresses", "changed", "wanted"),
    [
        ((), {}, "10.9.0.0/24"),
        ((), {"gateway": "10.9.0.254"}, "10.9.0.0/24"),
        ((), {"gateway": "10.8.0.254"}, "gateway"),
        (("10.9.3.1/16", "fe80::1/64"), {"gateway": "10.9.200.1"}, "10.9.0.0/16"),
        (("10.9.3.1/16",), {}, "10.9.0.0/16"),
        (("10.9.0.7/24",), {}, "master"),
        (("192.0.2.1/24",), {}, "10.9.0.0/24"),
        (("192.0.2.1/24",), {"mode": "passthru"}, "master"),
        (("fe80::1/64",), {"mode": "passthru"}, "10.9.0.0/24"),
    ],
)
def test_the_subnet_of_a_network_beside(addresses: tuple[str, ...], changed: dict, wanted: str) -> None:
    """That around the pool which its interface is in, else the pool; for one pod alone the node has no address there."""
    links = {"eth1": NodeLink(1500, addresses=tuple(map(ip_interface, addresses)))}
    found = ground(edge(**changed), links)
    said = found.object.field.removeprefix("spec.attachment.") if isinstance(found, Refusal) else str(found.subnet)
    assert said == wanted


@pytest.mark.parametrize(("mode", "above"), [("passthru", "bridge"), ("private", "passthru")])
def test_somebody_else_on_the_interface(mode: str, above: str) -> None:
    """A device that needs it whole, or one where pods do: nothing is made there."""
    links = {"eth1": NodeLink(1500, above=(("macvlan", above, "theirs"),))}
    found = ground(edge(mode=mode), links)
    assert isinstance(found, Refusal)
    assert found.message.startswith("theirs is on eth1 too")


def test_its_configuration(tmp_path: Path) -> None:
    """It has its own name and records, the pool's block as its range, no default route and no ports of the node."""
    one = edge(gateway="10.9.0.254")
    places = Places(tmp_path / "run", tmp_path / "net.d").beside("edge", conf_dir=tmp_path / "multus")
    own = block("10.9.0.16/28", "a", pool="edge", primary=False).spec
    said = conflist(
        [own],
        {"edge": one},
        data_dir=places.data_dir,
        network=places.network,
        way=one.spec.attachment,
        grounds={"edge": Ground(one.spec.cidr, None)},
    )
    (device,) = said["plugins"]
    assert (said["name"], called(said)) == ("towpath-edge", {"macvlan", "host-local"})
    assert (device["master"], device["mode"], device["ipam"]["routes"]) == ("eth1", "private", [])
    (entry,) = device["ipam"]["ranges"][0]
    assert entry == {
        "subnet": "10.9.0.0/24",
        "rangeStart": "10.9.0.16",
        "rangeEnd": "10.9.0.31",
        "gateway": "10.9.0.254",
    }
    assert write(said, places)
    assert places.link == tmp_path / "multus" / "towpath-edge.conflist"
    assert json.loads(places.link.read_text()) == said
    assert [one.pool for one in places.networks(tmp_path / "multus")] == ["edge"]


def needs(world) -> list[str]:
    return sorted(
        f"{one.spec.cidr} {one.spec.pool} {one.spec.primary}" for one in plan(world, memory=Memory(), now=0).claims
    )


POOLS = (pool("a", "10.1.0.0/16"), edge(), edge("alone", "10.8.0.0/24", mode="passthru", master="eth2"))


def test_a_node_gets_blocks_of_each() -> None:
    """One of the network of all pods and one of each beside; of one that is disabled or for other nodes none."""
    world = cluster(node("n"), *POOLS)
    made = {one.spec.pool: one.spec.primary for one in plan(world, memory=Memory(), now=0).claims}
    assert made == {"a": True, "edge": False, "alone": False}
    assert needs(claimed(world, plan(world, memory=Memory(), now=0))) == []
    assert [one.split()[1] for one in needs(cluster(node("n"), POOLS[0], edge(selector="rack == 'x'")))] == ["a"]
    cluster_assigns = resource("IPAMConfiguration", "default", blockSource="PodCIDRs")
    assert [one.split()[1] for one in needs(cluster(node("n"), *POOLS[:2], cluster_assigns))] == ["edge"]


def test_each_grows_by_what_it_gave_out() -> None:
    """A full network beside claims for itself alone, however many pods wait for addresses of their own; one for one pod never grows."""
    own = (
        block("10.1.0.0/26", "n"),
        block("10.9.0.0/28", "n", pool="edge", primary=False),
        block("10.8.0.0/28", "n", pool="alone", primary=False),
    )

    def grown(*, pods: int = 0, beside: int = 0, alone: int = 0, wanted: int = 0) -> list[str]:
        reports = (
            report("10.1.0.0/26", in_use=pods),
            report("10.9.0.0/28", in_use=beside, capacity=16),
            report("10.8.0.0/28", in_use=alone, capacity=1),
        )
        found = cluster(node("n"), *POOLS, *own, status("n", *reports, wanted_addresses=wanted))
        return [one.split()[1] for one in needs(found)]

    assert grown(pods=10, beside=2, alone=1) == []
    assert grown(pods=10, beside=15, alone=1) == ["edge"]
    assert grown(pods=60, beside=2) == ["a"]
    assert grown(pods=10, wanted=70) == ["a"]
    assert grown(pods=10, beside=16, wanted=20) == ["edge"], "pods have those beside their own"


def test_each_gives_back_what_it_can_spare() -> None:
    """An empty block of one network is no reserve of another; what is left of a pool goes when it is empty."""
    beside = [block(f"10.9.0.{16 * one}/28", "n", pool="edge", primary=False) for one in range(3)]
    reports = [report(str(one.spec.cidr), in_use=0, capacity=16) for one in beside]
    own = block("10.1.0.0/26", "n")
    for pools, left in ((POOLS[:2], 2), (POOLS[:1], 0)):
        planner, world = Planner(), cluster(node("n"), *pools, own, *beside)
        for number in range(8):
            active = [one for one in world.blocks.values() if one.spec.state == "Active"]
            said = [one for one in reports if str(one.cidr) in {str(each.spec.cidr) for each in active}]
            world = cluster(
                node("n"), *pools, *world.blocks.values(), status("n", report("10.1.0.0/26", in_use=1), *said)
            )
            made = planner.plan(world, now=number * GIVE_BACK_AFTER)
            world = claimed(world, made)
            blocks = [
                block(str(one.spec.cidr), "n", pool="edge", primary=False, state="Quarantined")
                if one.spec.state == "Draining"
                else one
                for one in world.blocks.values()
            ]
            world = cluster(node("n"), *pools, *blocks)
        active = [one for one in world.blocks.values() if one.spec.state == "Active"]
        assert len([one for one in active if not one.spec.primary]) == left
        assert [str(one.spec.cidr) for one in active if one.spec.primary] == ["10.1.0.0/26"]


def test_where_the_cluster_assigns_networks_beside_keep_their_blocks() -> None:
    """They are in no podCIDR, and are not drained for that; a node that comes back has them again."""
    configured = resource("IPAMConfiguration", "default", blockSource="PodCIDRs")
    own = block("10.9.0.0/28", "n", pool="edge", primary=False)
    mirrored = block("10.1.0.0/26", "n", mirrored=True)
    pod_cidrs = (mirrored.spec.cidr,)
    world = cluster(node("n", pod_cidrs=pod_cidrs), *POOLS[:2], own, mirrored, configured)
    assert plan(world, memory=Memory(), now=0).changes == ()
    again = node("n", uid="other", pod_cidrs=pod_cidrs)
    changes = plan(cluster(again, *POOLS[:2], own, mirrored, configured), memory=Memory(), now=0).changes
    assert {(str(one.spec.cidr), one.spec.node_uid) for one in changes} >= {("10.9.0.0/28", "other")}

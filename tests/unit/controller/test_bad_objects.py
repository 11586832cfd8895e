"""Blocks by hand and reports that cannot be, under a whole controller: each has an event that names object and field."""

import pytest

from tests.sim.ipam.world import Replica, World
from tests.sim.leaders import Network
from towpath.controller.cluster import KINDS
from towpath.controller.kube.resources import RESOURCES
from towpath.lab.api import custom
from towpath.lab.apiserver.refusal import RefusedError


@pytest.fixture
def world():
    """A server with a pool and two nodes, which have their blocks."""
    world = World()
    world.judge = lambda: None  # blocks overlap here as the test makes them
    world.put("IPPool", "a", spec={"cidr": "10.0.0.0/24", "blockSize": 28})
    world.put("IPAMConfiguration", "default", spec={"minFreeAddresses": 1, "growAtPercent": 100})
    for name in ("n1", "n2"):
        world.add_node(name, name)
    yield world
    world.close()


def events(world: World, *stored: dict) -> set[tuple[str, str, str, str]]:
    """Kind, name and field of what is told, and the reason; ``stored``: objects that are older than the rules for them."""
    replica = Replica(world, Network())
    for _ in range(3):
        replica.refresh(*KINDS)
        for body in stored:
            replica.store.upserted(body["kind"], body)
        replica.step()
    found = set()
    for one in world.items("Event").values():
        about = one["involvedObject"]
        found.add((about["kind"], about["name"], one["message"].partition(" ")[0], one["reason"]))
    return found


def by_hand(name: str, **spec: str) -> dict:
    """A block as somebody writes it."""
    return custom("IPAMBlock", name, spec)


REFUSED = {
    "a wrong name": ("mine", "10.0.0.16/28", "metadata.name"),
    "the name in another spelling": ("fd00-0--122", "fd00:0::/122", "metadata.name"),
    "host bits": ("10-0-0-17-28", "10.0.0.17/28", "spec.cidr"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_api_server_refuses_is_told_where_it_is_stored_from_before(world, case):
    """With the field, by whoever sees it first; the others get their blocks."""
    name, cidr, field = REFUSED[case]
    body = by_hand(name, cidr=cidr, node="n1")
    with pytest.raises(RefusedError, match=field):
        world.objects.create(RESOURCES["IPAMBlock"], body)
    body["metadata"] |= {"uid": "uid-old", "resourceVersion": "1"}
    assert events(world, body) == {("IPAMBlock", name, field, "InvalidSpec")}
    assert sorted(one.spec.node for one in world.blocks().values()) == ["n1", "n2"]


BLOCKS = {
    "no node": ("10-0-0-16-28", {"cidr": "10.0.0.16/28", "node": "nobody"}, ("spec.node", "NodeMissing")),
    "another size": ("10-0-0-16-29", {"cidr": "10.0.0.16/29", "node": "n1", "pool": "a"}, ("spec.cidr", "BlockSize")),
    "another pool": ("10-9-0-0-28", {"cidr": "10.9.0.0/28", "node": "n1", "pool": "a"}, ("spec.pool", "NoPool")),
    "no pool": ("10-9-0-0-28", {"cidr": "10.9.0.0/28", "node": "n1"}, ("spec.cidr", "NoPool")),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_a_block_by_hand_that_does_not_fit_is_told_and_the_others_get_theirs(world, case):
    name, spec, (field, reason) = BLOCKS[case]
    world.objects.create(RESOURCES["IPAMBlock"], by_hand(name, **spec))
    assert events(world) == {("IPAMBlock", name, field, reason)}
    found = (body["spec"] for body in world.items("IPAMBlock").values() if body["metadata"]["name"] != name)
    assert "n2" in [one["node"] for one in found]


def test_a_younger_block_over_another_is_told(world):
    """It counts for nobody; the older one goes on."""
    assert events(world) == set()
    (own,) = (one.spec for one in world.blocks().values() if one.spec.node == "n1")
    world.time += 60
    (half, _) = own.cidr.subnets(prefixlen_diff=1)
    name = str(half).translate({ord("."): "-", ord("/"): "-"})
    world.objects.create(RESOURCES["IPAMBlock"], by_hand(name, cidr=str(half), node="n2"))
    assert events(world) == {("IPAMBlock", name, "spec.cidr", "OverlappingBlock")}


def test_a_status_that_lies_is_told_of_its_node(world):
    """Of another's block, and of more addresses than there are."""
    assert events(world) == set()
    (theirs,) = (one.spec for one in world.blocks().values() if one.spec.node == "n2")
    (own,) = (one.spec for one in world.blocks().values() if one.spec.node == "n1")
    uid = world.items("Node")["n1"]["metadata"]["uid"]
    blocks = [
        {"cidr": str(theirs.cidr), "inUse": 1, "capacity": 14},
        {"cidr": str(own.cidr), "inUse": 1 << 40, "capacity": 14},
    ]
    world.put("NodeStatus", "n1", status={"nodeUID": uid, "blocks": blocks})
    assert events(world) == {
        ("Node", "n1", "status.blocks", "OthersBlock"),
        ("Node", "n1", "status.blocks", "CountDiffers"),
    }
    assert len(world.blocks()) == 3, "it grows as one whose block is full"

"""A selector that labels leave with nothing keeps what it selected last, until somebody says that it is meant."""

from typing import Any

from msgspec.structs import replace

from tests.unit.plan.worlds import by_name, cluster, config, node, peer
from towpath.model.cluster import Cluster
from towpath.model.codec import packer, unpacker
from towpath.model.selection import ACKNOWLEDGE, Memory, remember, select

TOR = peer("tor", nodeSelector="rack == 'a'", peerIP="10.0.0.254", asNumber=65000)
RACK = peer("rack", nodeSelector="rack == 'a'", peerSelector="role == 'rr'")


def world(
    *peers: dict[str, Any], labels: dict[str, dict[str, str]], annotations: dict[str, str] | None = None
) -> Cluster:
    """Nodes a, b and c with labels, and peers with annotations."""
    nodes = [node(name, f"10.0.0.{number}/24", labels=labels.get(name)) for number, name in enumerate("abc", 1)]
    more = {"uid": "1", "annotations": annotations or {}}
    made = [{**one, "metadata": {**one["metadata"], **more}} for one in peers]
    return cluster(config(nodeToNodeMeshEnabled=False), *nodes, *made)


GOOD = {"a": {"rack": "a"}, "b": {"rack": "a"}, "c": {"role": "rr"}}
NONE: dict[str, dict[str, str]] = {}


def test_labels_that_are_lost_everywhere_end_no_session() -> None:
    """Both ends of a rule hold: the nodes that have it and those that it leads to; others get nothing."""
    good, memory = select(world(TOR, RACK, labels=GOOD), memory={}, now=0.0)
    before = {name: by_name(good, name) for name in "abc"}
    held, _ = select(world(TOR, RACK, labels=NONE), memory=memory, now=0.0)
    assert held.held == {
        "BGPPeer/tor spec.nodeSelector": ("a", "b"),
        "BGPPeer/rack spec.nodeSelector": ("a", "b"),
        "BGPPeer/rack spec.peerSelector": ("c",),
    }
    assert {name: by_name(held, name).keys() for name in "abc"} == {name: one.keys() for name, one in before.items()}
    assert len(before["a"]) == 2
    assert "Global-10-0-0-254" not in before["c"]


def test_fewer_is_believed_and_so_is_another_choice() -> None:
    """Only nothing at all is doubted; labels that select something again are what counts."""
    _, memory = select(world(TOR, labels=GOOD), memory={}, now=0.0)
    fewer, memory = select(world(TOR, labels={"b": {"rack": "a"}}), memory=memory, now=10.0)
    assert [name for name in "abc" if by_name(fewer, name)] == ["b"]
    held, memory = select(world(TOR, labels=NONE), memory=memory, now=50.0)
    assert [name for name in "abc" if by_name(held, name)] == ["b"]
    other, _ = select(world(TOR, labels={"c": {"rack": "a"}}), memory=memory, now=60.0)
    assert [name for name in "abc" if by_name(other, name)] == ["c"]
    assert other.held == {}


def test_a_change_of_the_selector_itself_is_believed_at_once() -> None:
    """And an object that is another of the same name starts afresh."""
    _, memory = select(world(TOR, labels=GOOD), memory={}, now=0.0)
    changed = {**TOR, "spec": {**TOR["spec"], "nodeSelector": "rack == 'b'"}}
    assert select(world(changed, labels=GOOD), memory=memory, now=0.0)[0].held == {}
    again = world(TOR, labels=NONE)
    meta = replace(again.peers["tor"].meta, uid="2")
    again = replace(again, peers={"tor": replace(again.peers["tor"], meta=meta)})
    assert select(again, memory=memory, now=0.0)[0].held == {}


def test_acknowledged_is_what_is_written_after_it_happened() -> None:
    """A value that was there before says nothing; a new one ends what is held, and holds nothing back later."""
    old, new = {ACKNOWLEDGE: "1"}, {ACKNOWLEDGE: "2"}
    _, memory = select(world(TOR, labels=GOOD, annotations=old), memory={}, now=0.0)
    held, memory = select(world(TOR, labels=NONE, annotations=old), memory=memory, now=0.0)
    assert held.held
    believed, memory = select(replace(world(TOR, labels=NONE, annotations=new), held=held.held), memory=memory, now=0.0)
    assert believed.held == {}
    assert by_name(believed, "a") == {}
    _, memory = select(world(TOR, labels=GOOD, annotations=new), memory=memory, now=0.0)
    assert select(world(TOR, labels=NONE, annotations=new), memory=memory, now=0.0)[0].held


def test_a_node_that_is_gone_is_held_by_nobody() -> None:
    """Of those that were selected last the ones that exist are kept; with the last of them the rule selects nothing."""
    _, memory = select(world(TOR, labels=GOOD), memory={}, now=0.0)
    less = world(TOR, labels=NONE)
    less = replace(less, routing_nodes={name: one for name, one in less.routing_nodes.items() if name != "a"})
    held, memory = select(less, memory=memory, now=0.0)
    assert held.held == {"BGPPeer/tor spec.nodeSelector": ("b",)}
    nobody = replace(less, routing_nodes={"c": less.routing_nodes["c"]})
    assert select(nobody, memory=memory, now=0.0)[0].held == {}


def test_what_is_held_survives_on_disk() -> None:
    """A picture that was saved says by itself what it holds, and its reader goes on from there."""
    _, memory = select(world(TOR, labels=GOOD), memory={}, now=0.0)
    held, _ = select(world(TOR, labels=NONE), memory=memory, now=0.0)
    read = unpacker(Cluster).decode(packer().encode(held))
    restored, _ = select(read, memory={}, now=0.0)
    assert by_name(restored, "a").keys() == by_name(held, "a").keys() != set()
    now, _ = select(world(TOR, labels=NONE), memory=remember(read), now=0.0)
    assert now.held == held.held


def test_the_same_picture_is_the_same_object() -> None:
    """Where nothing is held nothing is made anew."""
    good = world(TOR, RACK, labels=GOOD)
    same, memory = select(good, memory={}, now=0.0)
    assert same is good
    assert select(good, memory=memory, now=0.0)[0] is good


def test_labels_that_go_one_by_one_are_one_event() -> None:
    """What was lost within 30 s before the last one was is held with it; what was lost before that is gone."""
    steps = ((0.0, GOOD), (5.0, {"b": {"rack": "a"}}), (34.0, NONE))
    memory: Memory = {}
    for now, labels in steps:
        held, memory = select(world(TOR, labels=labels), memory=memory, now=now)
    assert held.held == {"BGPPeer/tor spec.nodeSelector": ("a", "b")}
    memory = {}
    for now, labels in (*steps[:2], (36.0, NONE)):
        held, memory = select(world(TOR, labels=labels), memory=memory, now=now)
    assert held.held == {"BGPPeer/tor spec.nodeSelector": ("b",)}

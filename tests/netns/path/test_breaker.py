"""Objects that vanish in a mass, on a running cluster: nothing follows from it before a second listing agrees."""

import time
from collections.abc import Iterator

import pytest

from tests.netns.path.cluster import cluster, connections, saved, under_probe
from towpath.lab import facts
from towpath.lab.api import custom
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab

CONFIRMED_AFTER = 30


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes with a pod each: each has heard of four blocks of others."""
    with cluster(Shape(nodes=3)) as made:
        yield made


def held(lab: Lab, kind: str) -> bool:
    """Whether every node says that objects of a kind are gone and stay in force."""
    return all(
        any(
            one["reason"] == "MassWithdraw" and kind in one["message"] and "vanished at once" in one["message"]
            for one in facts.conditions(lab, node).values()
        )
        for node in lab.nodes
    )


def pictured(lab: Lab) -> set[str]:
    """Names of the blocks in every agent's last picture."""
    found = []
    for node in lab.nodes:
        picture = saved(lab, node)
        found.append(set(picture.blocks) if picture is not None else set())
    return set.intersection(*found)


def test_blocks_that_vanish_while_nobody_looks_and_return_move_no_route(lab: Lab) -> None:
    """Agents start to find none; then all are there again as from a backup: 0 packets lost, 0 route events."""
    blocks = lab.api.items("IPAMBlock")
    wait_for(lambda: pictured(lab) == blocks.keys(), deadline=30, what="every agent has them on disk", interval=0.1)
    controllers, agents = ("ctl1", "ctl2"), [f"{node}/agent" for node in lab.nodes]

    def deed() -> None:
        lab.kill(*controllers, *agents)
        for name in blocks:
            lab.api.delete("IPAMBlock", name)
        lab.start(*agents)
        wait_for(lambda: held(lab, "IPAMBlock"), deadline=30, what="they are held", interval=0.1)
        for name, body in blocks.items():
            lab.api.apply(custom("IPAMBlock", name, body["spec"]))
        wait_for(lambda: not held(lab, "IPAMBlock"), deadline=30, what="they are there again", interval=0.1)
        lab.start(*controllers)
        facts.wait_healthy(lab)

    result, moved = under_probe(lab, deed, watch=(*lab.nodes, "tor"))
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"


def test_peers_that_are_gone_for_good_are_believed_by_the_second_listing(lab: Lab) -> None:
    """Three may always go: those that no node has. The sessions of the others end after half a minute, and not sooner."""
    few = [f"further-{number}" for number in range(3)]
    for name in few:
        spec = {"peerIP": f"198.51.100.{name[-1]}", "asNumber": 65010, "nodeSelector": "nobody == 'here'"}
        lab.api.apply(custom("BGPPeer", name, spec))
    before = connections(lab)
    routers = lab.api.items("BGPPeer").keys() - few
    assert routers
    deleted = time.monotonic()
    for name in (*few, *routers):
        lab.api.delete("BGPPeer", name)
    wait_for(lambda: held(lab, "BGPPeer"), deadline=20, what="they are held", interval=0.1)
    assert connections(lab) == before
    wait_for(lambda: not lab.tor.routes(), deadline=90, what="the router has forgotten the blocks", interval=0.1)
    assert time.monotonic() - deleted >= CONFIRMED_AFTER
    wait_for(lambda: not held(lab, "BGPPeer"), deadline=20, what="that is over", interval=0.1)

"""A storm: processes of any node and the API server die at random, again and again, some before they have come up."""

import random
from collections.abc import Iterator

import pytest

from tests import effort
from tests.netns.path.cluster import cluster, under_probe
from towpath.lab import facts
from towpath.lab.process import wait_for
from towpath.lab.shape import PARTS, Shape
from towpath.lab.topology import Lab

ROUNDS = effort.examples(2, soak=300)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes with a pod each, and peers that wait for as long as a busy machine may take to start them again."""
    with cluster(Shape(nodes=3, configuration={"gracefulRestart": {"restartTime": "30m"}})) as made:
        yield made


def programs(lab: Lab) -> list[str]:
    """All that may die: not the router, which is not ours."""
    return ["api", "ctl1", "ctl2", *(f"{node}/{part}" for node in lab.nodes for part in PARTS)]


def storm(lab: Lab, chance: random.Random) -> None:
    """Several waves of ``kill -9``, each before the last one's victims have settled; then wait until all is well."""
    everyone = programs(lab)
    for _ in range(chance.randint(2, 5)):
        victims = chance.sample(everyone, chance.randint(1, len(everyone)))
        lab.kill(*victims)
        lab.start(*victims)
        if chance.random() < 0.5:  # some waves find all well again, others what has not come up yet
            settled(lab)
    settled(lab)


def settled(lab: Lab) -> None:
    """Wait until all is as before."""
    wait_for(lab.api.ready, deadline=20, what="the API server answers")
    facts.wait_sessions(lab)
    facts.wait_healthy(lab)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_storm_of_kills_loses_no_packet_and_moves_no_route(lab: Lab, number: int) -> None:
    """Whoever dies, however often: 0 packets lost, 0 route events on every node and the router."""
    chance = effort.chance("storm", str(number))
    before = len(lab.tor.said)
    result, moved = under_probe(lab, lambda: storm(lab, chance), watch=(*lab.nodes, "tor"))
    assert result.sent > 0
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}\nthe router:\n{lab.tor.said[before:]}"

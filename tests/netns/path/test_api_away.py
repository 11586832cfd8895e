"""The API server is away: nothing changes on any node, and what changed meanwhile is caught up with afterwards."""

import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.netns.path.cluster import cluster, under_probe
from towpath.lab import facts
from towpath.lab.api import custom
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab

RESTART_TIME = 30
"""Seconds: more than a busy machine takes to start a node's processes again."""
AWAY = 45
"""Beyond every timeout of a request or watch, and well beyond where paths become provisional."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes whose routes are kept by their peers for some seconds only."""
    shape = Shape(nodes=3, configuration={"gracefulRestart": {"restartTime": f"{RESTART_TIME}s"}})
    with cluster(shape) as made:
        yield made


def everywhere(lab: Lab) -> tuple[str, ...]:
    """All nodes and the router."""
    return (*lab.nodes, "tor")


def test_a_half_open_connection_changes_nothing_and_is_caught_up_with(lab: Lab) -> None:
    """Packets to the server vanish, connections hang; a block written meanwhile is routed soon after it is back."""
    block = ip_network("10.245.7.0/26")

    def deed() -> None:
        lab.cut_api()
        body = custom("IPAMBlock", "10-245-7-0-26", {"cidr": str(block), "node": "node1"})
        lab.api.apply(body)
        # nothing can be waited for: that nothing happens is the point
        time.sleep(AWAY)
        assert not facts.sessions_down(lab)

    result, moved = under_probe(lab, deed, watch=everywhere(lab))
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"
    lab.mend_api()
    wait_for(
        lambda: all(block in facts.kernel_routes(lab, node) for node in lab.nodes),
        deadline=60,
        what="the block is routed everywhere",
    )
    wait_for(lambda: block in lab.tor.routes(), deadline=10, what="the router has learned it")


def test_a_server_that_is_dead_changes_nothing(lab: Lab) -> None:
    """Connections are refused; the server comes back with what it had, and agents report again."""

    def deed() -> None:
        lab.kill("api")
        # nothing can be waited for: that nothing happens is the point
        time.sleep(4)
        assert not facts.sessions_down(lab)
        lab.start("api")
        wait_for(lab.api.ready, deadline=60, what="the API server answers again")
        facts.wait_healthy(lab)

    result, moved = under_probe(lab, deed, watch=everywhere(lab))
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"


def test_a_node_restarts_from_its_last_picture_while_the_server_is_away(lab: Lab) -> None:
    """Agent and speaker killed and started, the server away for longer than the restart time: no route moves elsewhere."""

    def deed() -> None:
        lab.cut_api()
        lab.kill("node2/agent", "node2/speaker")
        wait_for(lambda: facts.sessions_down(lab), deadline=10, what="the router has lost the sessions")
        lab.start("node2/agent", "node2/speaker")
        facts.wait_sessions(lab)
        # stale routes would be flushed by now
        time.sleep(RESTART_TIME + 2)

    result, moved = under_probe(lab, deed, watch=everywhere(lab))
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"
    lab.mend_api()
    wait_for(lambda: facts.healthy(lab, "node2"), deadline=30, what="the agent has caught up")

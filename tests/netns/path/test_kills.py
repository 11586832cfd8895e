"""kill -9 of any process, under packets every 2 ms: nothing is lost and no route moves anywhere."""

from collections.abc import Iterator

import pytest

from tests.netns.path.cluster import PROBES, cluster, preserved, restarted, under_probe
from towpath.lab import facts
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab

SILENCE = "table inet silence {\n chain out {\n type filter hook output priority 0\n tcp dport 179 drop\n tcp sport 179 drop\n }\n}\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three nodes with a pod each."""
    with cluster(Shape(nodes=3)) as made:
        yield made


def everywhere(lab: Lab) -> tuple[str, ...]:
    """All nodes and the router."""
    return (*lab.nodes, "tor")


@pytest.mark.parametrize(
    "programs",
    [
        # the speaker first: beside an agent that has never been restarted
        pytest.param(("node2/speaker",), id="speaker"),
        pytest.param(("node2/agent",), id="agent"),
        pytest.param(("node2/agent", "node2/speaker"), id="both of a node"),
        pytest.param(("ctl1", "ctl2"), id="both controllers"),
        pytest.param(("api",), id="API server"),
        pytest.param(
            ("ctl1", "ctl2", *(f"node{number}/{part}" for number in (1, 2, 3) for part in ("agent", "speaker"))),
            id="everything of ours",
        ),
        pytest.param(
            ("api", "ctl1", "ctl2", *(f"node{number}/{part}" for number in (1, 2, 3) for part in ("agent", "speaker"))),
            id="everything and the API server",
        ),
    ],
)
def test_a_kill_loses_no_packet_and_moves_no_route(lab: Lab, programs: tuple[str, ...]) -> None:
    """Killed, started, all sessions up again: 0 packets lost, 0 route events on every node and the router."""
    result, moved = under_probe(lab, lambda: restarted(lab, *programs), watch=everywhere(lab))
    assert result.sent >= PROBES
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"
    if "node2/speaker" in programs:
        assert all(preserved(lab, "node2").values())


def test_sigterm_means_restart_and_not_goodbye(lab: Lab) -> None:
    """A pod that is replaced withdraws nothing."""

    def deed() -> None:
        lab.stop("node3/speaker", "node3/agent")
        wait_for(lambda: facts.sessions_down(lab), deadline=10, what="the router has lost the sessions")
        lab.start("node3/speaker", "node3/agent")
        facts.wait_sessions(lab)
        facts.wait_healthy(lab)

    result, moved = under_probe(lab, deed, watch=everywhere(lab))
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"


def test_a_speaker_that_dies_without_a_word_is_replaced_within_seconds(lab: Lab) -> None:
    """Nobody hears that it is gone; its new session takes the old one's place and no route moves."""
    node = lab.host("node1")
    before = lab.tor.changes("node1_v4")

    def deed() -> None:
        node.run("nft", "-f", "-", stdin=SILENCE)
        lab.kill("node1/speaker", "node1/agent")
        assert not facts.sessions_down(lab)
        node.run("nft", "delete", "table", "inet", "silence")
        lab.start("node1/speaker", "node1/agent")
        wait_for(lambda: lab.tor.changes("node1_v4") != before, deadline=20, what="the router saw a new session")
        facts.wait_sessions(lab, deadline=20)
        facts.wait_healthy(lab, deadline=20)

    result, moved = under_probe(lab, deed, watch=everywhere(lab))
    assert (result.lost, moved) == (0, {}), f"{result}\n{moved}"


def test_the_other_controller_takes_over(lab: Lab) -> None:
    """With the leader dead, a new node gets its blocks from the replica that is left."""
    holder = next(iter(lab.api.items("Lease", namespace="towpath-system").values()))["spec"]["holderIdentity"]
    lab.kill(str(holder).partition("_")[0])
    lab.add_node("node4")
    facts.wait_ready(lab, "node4", deadline=60)
    facts.wait_converged(lab)

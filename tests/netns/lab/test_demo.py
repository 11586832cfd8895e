"""``./dev demo``: every check holds, and nothing is left, also of one that is interrupted."""

import signal
from pathlib import Path

import pytest

from tests.netns.lab.demo import DEMO, holds, left
from towpath.lab.process import Process, wait_for


@pytest.mark.parametrize("path", ["bgp", "host-gw", "vxlan", "vxlan-multicast", "cross-subnet", "macvlan"])
def test_every_check_holds_and_nothing_is_left(path: str) -> None:
    """The whole story, as a person sees it: packets go as they are, by BGP or not, by a tunnel, and on the nodes' network."""
    holds(path, within=120)


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, "1. Three nodes"), (signal.SIGTERM, "3. Everyone pings everyone")]
)
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    """Ctrl-C, in the middle of bringing it up or later: it says so, exits with 1, and cleans up."""
    demo = Process(DEMO, log=tmp_path / "demo.log").start()
    wait_for(lambda: moment in demo.log, deadline=60, what=f"the demo has come to {moment!r}")
    demo.signal(number)
    wait_for(lambda: not demo.running, deadline=30, what="the demo has ended")
    assert demo.child is not None
    assert demo.child.returncode == 1, demo.log
    assert f"interrupted by {number.name}" in demo.log
    assert left() == []

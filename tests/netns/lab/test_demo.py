"""``./dev demo``: every check holds, and nothing is left, also of one that is interrupted."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.names import own
from tests.patience import longer
from towpath.lab.process import Process, run, wait_for
from towpath.lab.shape import ROOT

PREFIX = own("tpld")
# in a network of its own: the demo also looks at the machine's devices and routes, which others change meanwhile
DEMO = ["unshare", "--net", sys.executable, "-m", "towpath.lab.demo", "--prefix", PREFIX]


def left() -> list[str]:
    """Namespaces, files and processes of the demo."""
    found = [line for line in run("ip", "netns", "list").splitlines() if line.startswith(f"{PREFIX}-")]
    if (ROOT / PREFIX).exists():
        found.append(str(ROOT / PREFIX))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (entry / "cmdline").exists():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{ROOT / PREFIX}/".encode() in command:
                found.append(command.decode())
    return found


@pytest.mark.parametrize("path", ["bgp", "host-gw", "vxlan", "vxlan-multicast", "cross-subnet", "macvlan"])
def test_every_check_holds_and_nothing_is_left(path: str) -> None:
    """The whole story, as a person sees it: exit code 0; packets go as they are, by BGP or not, by a tunnel, and on the nodes' network."""
    done = subprocess.run([*DEMO, "--path", path], capture_output=True, text=True, timeout=longer(120), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT OK" not in done.stdout
    assert "checks held" in done.stdout
    assert left() == []


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

"""What a cluster leaves behind: nothing, whatever ended it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.traces import traces
from tests.names import own
from towpath.lab.cluster import cgroups
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import BUSYBOX, archive
from towpath.lab.cluster.shape import Shape
from towpath.lab.process import wait_for


def test_a_start_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which program ended and why; nothing of the cluster is left."""
    made = Cluster(own("tpf"), Shape(nodes=1))
    monkeypatch.setattr("towpath.lab.cluster.control.SERVICES", {4: "999.0.0.0/8", 6: "nonsense"})
    with pytest.raises(RuntimeError, match="api/server ended") as caught:
        made.up()
    assert "== api-etcd" in "".join(caught.value.__notes__)
    assert traces(made.prefix) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Interrupted while the nodes start, the command takes everything away before it ends."""
    prefix = own("tpi")
    image = archive(BUSYBOX, {}, links={}, command=("/none",), target=tmp_path / "image.tar")
    command = [sys.executable, "-m", "towpath.lab.cluster.cli", "--prefix", prefix, "up", "1", "--image", str(image)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(
            lambda: cgroups.processes(f"{prefix}-node1") or child.poll() is not None, deadline=120, what="a node boots"
        )
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=90)
    finally:
        if child.poll() is None:
            child.kill()
            Cluster(prefix).down()
    assert (child.returncode, said.strip()) == (130, "stopped; nothing is left of what was begun")
    assert traces(prefix) == []

"""What a cluster leaves behind: nothing, whatever ended it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.hand import pod, start_pod, write_network
from tests.names import own
from towpath.lab.cluster import cgroups
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import BUSYBOX, archive
from towpath.lab.cluster.shape import ROOT, Shape
from towpath.lab.process import run, wait_for

SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
)


def traces(prefix: str) -> list[str]:
    """Everything on this machine that carries the name of a cluster."""
    found = [f"namespace {path.name}" for path in Path("/run/netns").glob(f"{prefix}-*")]
    found += [f"control group {name}" for name in cgroups.names(prefix)]
    found += [f"file {path}" for path in (ROOT / prefix, *Path("/run/netns").glob("cni-*")) if path.exists()]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{prefix}" in line]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and f"/{prefix}/".encode() in _read(entry / "cmdline"):
            found.append(f"process {entry.name}")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def links() -> set[str]:
    return {line.split(":")[1].strip().split("@")[0] for line in run("ip", "-oneline", "link").splitlines()}


def sysctls() -> dict[str, str]:
    return {name: (Path("/proc/sys") / name).read_text() for name in SYSCTLS}


def test_down_leaves_nothing() -> None:
    """A cluster with a running pod is gone with all that it had; this machine's own settings are what they were."""
    before = sysctls()
    with Cluster(own("tpd"), Shape(nodes=1)) as made:
        made.up()
        write_network(made, "node1", 1)
        made.wait_ready()
        start_pod(made, pod("one", node="node1"))
        way_in = f"towpath-in{made.state.link}"
        assert way_in in links()
        assert len(traces(made.prefix)) > 10
        assert sysctls() == before
    assert traces(made.prefix) == []
    assert way_in not in links()
    assert sysctls() == before


def test_two_clusters_at_a_time() -> None:
    """Each has a way in of its own, and one that is found by its prefix is the same cluster."""
    with Cluster(own("tpx"), Shape(nodes=1)) as one, Cluster(own("tpy"), Shape(nodes=1, proxy=False)) as other:
        one.up()
        other.up()
        assert one.control.outside != other.control.outside
        found = Cluster.open(one.prefix)
        assert found.programs.running() == one.programs.running()
        assert all(found.programs.running().values())
        assert "node1/kube-proxy" not in other.programs.running()
        uids = {cluster.get("namespace", "kube-system")["metadata"]["uid"] for cluster in (one, other, found)}
        assert len(uids) == 2
        other.down()
        assert set(one.nodes_ready()) == {"node1"}
    assert traces(one.prefix) + traces(other.prefix) == []


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

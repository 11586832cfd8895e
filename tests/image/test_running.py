"""The processes run in the image as a pod runs them: read-only root, no new privileges, one capability or none."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.image.container import Bundle, Container
from tests.names import own
from towpath.lab.image import recipe
from towpath.lab.netns import Host, Network
from towpath.lab.process import Process, wait_for

API = "127.0.0.1:8001"
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": f"http://{API}"}}],
    "users": [{"name": "u", "user": {"token": "canary"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}


@pytest.fixture
def host() -> Iterator[Host]:
    """A namespace for a node's processes."""
    with Network(own("tpim")) as network:
        yield network.host("a")


@pytest.mark.parametrize("arguments", [(), ("controller",), ("agent",), ("speaker",), ("cleanup",)])
def test_every_process_explains_itself(bundle: Bundle, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """``--help`` of each, as the image's own user."""
    with Container(bundle, tmp_path, (*arguments, "--help"), name="help") as container:
        assert container.ended() == 0, container.log
    assert container.log.startswith(" ".join(("usage: towpath", *arguments)))


def test_it_runs_towpath(bundle: Bundle, tmp_path: Path) -> None:
    """The entry point is the command, in this version, run by nobody in particular."""
    assert bundle.config["process"]["user"] == {"uid": recipe.USER, "gid": recipe.USER}
    with Container(bundle, tmp_path, ("version",), name="version") as container:
        assert container.ended() == 0, container.log
    assert container.log.strip() == recipe.version()


def test_the_environment_changes_nothing_of_python(bundle: Bundle, tmp_path: Path) -> None:
    """Isolated: a module beside it, or a variable of Python's, is not picked up; text is UTF-8 whatever the locale."""
    probe = "import sys; print(sys.flags.isolated, sys.flags.utf8_mode, sys.flags.dont_write_bytecode)"
    first = (bundle.root / recipe.ENTRYPOINT[0].lstrip("/")).read_text().splitlines()[0]
    interpreter, options = first.removeprefix("#!").split()
    with Container(bundle, tmp_path, ("-c", probe), name="flags", command=(interpreter, options)) as container:
        assert container.ended() == 0, container.log
    assert container.log.split() == ["1", "1", "1"]


def test_the_speaker_starts_and_ends(bundle: Bundle, host: Host, tmp_path: Path) -> None:
    """As root of a container with nothing but NET_BIND_SERVICE."""
    options = {"user": 0, "capabilities": ("NET_BIND_SERVICE",), "netns": host.netns}
    with Container(bundle, tmp_path, ("speaker",), name="speaker", **options) as container:
        container.says("speaker.started")
        assert container.stop() == 0, container.log


def test_the_agent_programs_a_node(bundle: Bundle, host: Host, tmp_path: Path) -> None:
    """With nothing but NET_ADMIN: the node's own block is in the kernel, and its status is written."""
    host.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    host.ip("link", "set", "eth0", "up")
    host.address("10.0.0.1/24", dev="eth0")
    (tmp_path / "manifests").mkdir()
    for number, one in enumerate(manifests()):
        (tmp_path / "manifests" / f"{number}.yaml").write_text(yaml.safe_dump(one))
    options = {"user": 0, "capabilities": ("NET_ADMIN",), "netns": host.netns}
    mounts = {tmp_path / "manifests": "/manifests"}
    arguments = ("agent", "--node", "a", "--from", "/manifests", "--state-dir", "/run/state")
    with Container(bundle, tmp_path, arguments, name="agent", mounts=mounts, **options) as container:
        container.says("agent.started")
        wait_for(
            lambda: "blackhole 10.244.0.0/26" in host.run("ip", "route", "show", "proto", "179"),
            deadline=20,
            what=f"the block's route\n{container.log}",
        )
        assert container.stop() == 0, container.log


@pytest.mark.parametrize("how", ["server", "kubeconfig"])
def test_the_controller_leads(bundle: Bundle, host: Host, tmp_path: Path, how: str) -> None:
    """As the image's own user without any capability; the client that reads a kubeconfig is all there."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))
    server = Process(
        [sys.executable, "-m", "towpath.lab.apiserver", "--listen", API], log=tmp_path / "api", netns=host.netns
    )
    arguments = ("--server", f"http://{API}") if how == "server" else ("--kubeconfig", "/files/kubeconfig")
    host.network.processes.append(server.start())
    wait_for(lambda: "serving at" in server.log, deadline=20, what="the API server")
    mounts = {tmp_path / "files": "/files"}
    with Container(
        bundle, tmp_path, ("controller", *arguments), name="controller", netns=host.netns, mounts=mounts
    ) as container:
        container.says("lease.taken")
        assert container.stop() == 0, container.log


def test_a_start_writes_nothing_into_the_image(bundle: Bundle, host: Host, tmp_path: Path) -> None:
    """Not even where it could: nothing is compiled, cached or noted."""

    def state() -> set[tuple[str, int]]:
        found = (Path(folder) / name for folder, *names in os.walk(bundle.root) for part in names for name in part)
        return {(str(path), path.lstat().st_mtime_ns) for path in found}

    before = state()
    options = {"user": 0, "capabilities": ("NET_BIND_SERVICE", "DAC_OVERRIDE"), "netns": host.netns}
    with Container(bundle, tmp_path, ("speaker",), name="writer", read_only=False, **options) as container:
        container.says("speaker.started")
        assert container.stop() == 0
    runtime_made = {str(bundle.root / name) for name in ("run", "tmp", "proc", "sys", "dev")}
    changed = {path for path, _ in state() ^ before}
    assert {path for path in changed if not any(path.startswith(one) for one in runtime_made)} - {
        str(bundle.root)
    } == set()


def manifests() -> list[dict]:
    """Objects of a node with one block."""

    def made(kind: str, name: str, **spec: object) -> dict:
        return {"apiVersion": "towpath.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "a"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
    }
    return [
        made("BGPConfiguration", "default", asNumber=64512),
        made("IPPool", "v4", cidr="10.244.0.0/16"),
        made("IPAMBlock", "10-244-0-0-26", cidr="10.244.0.0/26", node="a", pool="v4"),
        made("RoutingNode", "a", bgp={"ipv4Address": "10.0.0.1/24"}),
        node,
    ]

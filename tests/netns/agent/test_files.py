"""What the agent puts on a node's disks: plugins, the CNI configuration, and what it says where it cannot."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.netns.agent.node import OneNode, manifests
from tests.unit.ipam.plugins import plugin
from towpath.ipam.plugins import NEEDED
from towpath.lab import pods
from towpath.lab.process import run, wait_for

PLUGINS = Path("/usr/lib/cni")


def told(one: OneNode, reason: str, *words: str) -> bool:
    """Whether a condition is there and says all the words."""
    found = one.conditions().get(reason, {})
    return found.get("status") == "True" and all(word in found["message"] for word in words)


def ready(one: OneNode, status: str = "True", *words: str) -> bool:
    """Whether ``Ready`` is so, and says all the words."""
    found = one.conditions().get("Ready", {})
    return found.get("status") == status and all(word in found.get("message", "") for word in words)


def wait(one: OneNode, probe: Callable[[], object], what: str) -> None:
    """Wait, and show what the agent said if it does not come true."""
    try:
        wait_for(probe, deadline=40, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{one.conditions()}\n{one.agent.log}") from None


def listing(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in folder.iterdir():
        with contextlib.suppress(
            FileNotFoundError
        ):  # a write that is refused leaves nothing, but is under way for a moment
            if path.is_file():
                found[path.name] = path.read_bytes()
    return found


@contextlib.contextmanager
def small_disk(where: Path, *options: str) -> Iterator[Path]:
    """A file system of a few pages."""
    where.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", ",".join(("size=256k", *options)), "tmpfs", str(where))
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=False)


def fill(disk: Path) -> Path:
    """Leave no room on it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_plugins_come_with_the_agent_and_go_with_the_cleanup(one: OneNode) -> None:
    """A host without plugins gets them and then its configuration; a pod is attached; what the host had is as before."""
    one.options["--cni-bin-dir"] = target = one.root / "bin"
    one.options["--cni-plugin-source"] = source = one.root / "image"
    for folder in (target, source):
        folder.mkdir()
    for name in NEEDED:
        (source / name).write_bytes((PLUGINS / name).read_bytes())
        (source / name).chmod(0o755)
    own = plugin(target / "bridge", "1.0.0", note="the host's own")
    before = listing(target)
    one.start()
    wait(one, lambda: ready(one), "Ready")
    assert {name: (source / name).read_bytes() for name in NEEDED} | before == listing(target)
    pod = one.node.network.host("pod", forwarding=False)
    attached = pods.add(one.node, pod, folder=one.cni)
    assert len(attached.addresses) == 2
    pods.remove(one.node, pod, folder=one.cni, container=attached.container)
    one.clean_up()
    assert listing(target) == before
    assert own.exists()


def test_plugins_that_do_not_fit(one: OneNode) -> None:
    """A full disk under the plugins: conditions that name it, nothing half-written, and with room all comes right."""
    one.options["--cni-plugin-source"] = source = one.root / "image"
    for name in NEEDED:
        plugin(source / name, "1.0.0", note="x" * 100_000)
    with small_disk(one.root / "bin") as target:
        one.options["--cni-bin-dir"] = target
        one.start()
        wait(one, lambda: told(one, "DiskRefused", str(target), "No space left"), "DiskRefused")
        wait(one, lambda: told(one, "PluginMissing", "does not exist"), "PluginMissing")
        wait(one, lambda: ready(one, "False", "does not exist"), "not Ready")
        assert not any(one.cni.iterdir())
        whole = listing(source).items()
        wait(one, lambda: listing(target).items() <= whole, "nothing half-written")
        run("mount", "-o", "remount,size=1m", str(target))
        wait(one, lambda: ready(one), "Ready")
        wait(one, lambda: not {"DiskRefused", "PluginMissing"} & one.conditions().keys(), "no condition")
        assert listing(target) == listing(source)
        one.clean_up()


def test_a_read_only_folder_for_the_configuration(one: OneNode) -> None:
    """Pods cannot start, and the condition names the folder; once it can be written to they can."""
    with small_disk(one.cni, "ro"):
        one.start()
        wait(one, lambda: told(one, "DiskRefused", str(one.cni), "Read-only file system"), "DiskRefused")
        wait(one, lambda: ready(one, "False", "Read-only file system"), "not Ready")
        run("mount", "-o", "remount,rw", str(one.cni))
        wait(one, lambda: ready(one) and "DiskRefused" not in one.conditions(), "Ready")
        assert [path.name for path in one.cni.iterdir()] == ["10-towpath.conflist"]
        one.agent.stop()


def test_full_disks_under_run_and_state(one: OneNode) -> None:
    """The configuration that stands stays whole; each disk is named; sessions and routes go on; with room all catches up."""
    with small_disk(one.run_dir) as run_dir, small_disk(one.root / "state") as state:
        one.start()
        one.converged()
        wait(one, lambda: ready(one) and (state / "snapshot").exists(), "Ready")
        before, picture = (one.cni / "10-towpath.conflist").read_text(), (state / "snapshot").read_bytes()
        fillers = fill(run_dir), fill(state)
        block = {"cidr": "10.244.9.0/26", "node": "a", "pool": "v4"}
        extra = {"apiVersion": "towpath.io/v1alpha1", "kind": "IPAMBlock", "metadata": {"name": "10-244-9-0-26"}}
        one.write([*manifests(), {**extra, "spec": block}])
        wait(one, lambda: told(one, "DiskRefused", str(run_dir), str(state), "No space left"), "DiskRefused")
        assert ready(one), "what stands works"
        assert (one.cni / "10-towpath.conflist").read_text() == before
        assert (state / "snapshot").read_bytes() == picture
        wait(
            one,
            lambda: not [path for disk in (run_dir, state) for path in disk.rglob(".*.new")],
            "nothing half-written",
        )
        assert one.agent.running
        for filler in fillers:
            filler.unlink()
        wait(one, lambda: "DiskRefused" not in one.conditions(), "no condition")
        wait(one, lambda: "10.244.9.0" in (one.cni / "10-towpath.conflist").read_text(), "the new block")
        wait(one, lambda: (state / "snapshot").read_bytes() != picture, "a new picture")
        one.agent.stop()
        one.speaker.stop()


def test_a_run_dir_that_cannot_be_used(one: OneNode) -> None:
    """The agent ends with a sentence that names it."""
    with small_disk(one.root / "ro", "ro") as disk:
        one.options["--run-dir"] = disk / "run"
        one.start_agent()
        wait_for(lambda: not one.agent.running, deadline=30, what="the agent ends")
        assert f"--run-dir {disk / 'run'} cannot be used: Read-only file system" in one.agent.log


def test_moving_over_from_another_network(one: OneNode) -> None:
    """Beside another network's configuration ours is not written, and the node says so; without it pods are ours."""
    theirs = one.cni / "10-calico.conflist"
    theirs.write_text(json.dumps({"name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [{"type": "calico"}]}))
    one.start()
    one.converged()
    wait(one, lambda: told(one, "OtherNetworkPlugin", str(theirs), "k8s-pod-network"), "OtherNetworkPlugin")
    wait(one, lambda: ready(one, "False"), "not Ready")
    wait(one, lambda: "OtherNetworkPlugin" in one.agent.log, "an event is made of it")
    assert [path.name for path in one.cni.iterdir()] == ["10-calico.conflist"]
    theirs.rename(one.root / "away")
    wait(one, lambda: ready(one) and "OtherNetworkPlugin" not in one.conditions(), "Ready")
    (one.root / "away").rename(theirs)
    wait(one, lambda: told(one, "OtherNetworkPlugin", "comes before ours"), "OtherNetworkPlugin again")
    wait(one, lambda: ready(one, "False", "comes before ours"), "not Ready again")
    assert (one.cni / "10-towpath.conflist").exists()

"""What happens to one node: the real agent, speaker and kernel, with BIRD as its router."""

import contextlib
import sys

import pytest

from tests.netns.agent.node import BLOCKS, LEARNED, PASSWORD, OneNode, announced, manifests, ours
from towpath.bgp.ports import LossKind
from towpath.lab.events import RouteEvents
from towpath.lab.process import wait_for


def test_a_node_from_a_folder(one: OneNode) -> None:
    """Blocks are blackholed, announced and served to pods; what the router says reaches the kernel; status lies beside."""
    one.start()
    one.converged()
    wait_for(lambda: ours(one.node) == {*BLOCKS, *LEARNED}, deadline=20, what="blocks and learned routes alone")
    assert {route["type"] for route in one.node.ip_json("route", "show", "10.244.0.0/26")} == {"blackhole"}
    wait_for(one.plugin, deadline=20, what="the CNI configuration")
    assert [each[0]["rangeStart"] for each in one.plugin()["ipam"]["ranges"]]
    assert (one.cni / "10-towpath.conflist").is_symlink()
    wait_for(lambda: one.conditions().get("Ready", {}).get("status") == "True", deadline=10, what="Ready")
    wait_for(lambda: one.conditions().get("InSync", {}).get("status") == "True", deadline=10, what="InSync")
    wait_for(
        lambda: (
            {session["state"] for session in one.status()["sessions"]} == {"Established"}
            and one.status()["routes"]["installed"] == 4
        ),
        deadline=40,
        what="sessions and routes are reported",
    )


@pytest.mark.parametrize("killed", [("agent",), ("speaker",), ("agent", "speaker")], ids="-".join)
def test_a_killed_process_moves_no_route(one: OneNode, killed: tuple[str, ...]) -> None:
    """SIGKILL and a new start: no route event on the node or the router, and everything works afterwards."""
    one.start()
    one.converged()
    wait_for(lambda: one.conditions().get("InSync", {}).get("status") == "True", deadline=10, what="InSync")
    with RouteEvents(one.node) as here, RouteEvents(one.router) as there:
        processes = [getattr(one, name) for name in killed]
        for process in processes:
            process.kill()
        for process in processes:
            process.start()
        back = "10.244.9.0/26"
        block = {"cidr": back, "node": "a", "pool": "v4"}
        extra = {"apiVersion": "towpath.io/v1alpha1", "kind": "IPAMBlock", "spec": block}
        one.write([*manifests(), {**extra, "metadata": {"name": "10-244-9-0-26"}}])
        wait_for(lambda: back in announced(one.bird), deadline=30, what="a new block at the router")
        moved = {event.prefix for event in (*here.read(), *there.read())}
    assert moved <= {back}, one.agent.log


def test_a_restart_without_its_source(one: OneNode) -> None:
    """Both processes killed and the folder gone: the node runs on its picture on disk, passwords included."""
    one.start()
    one.converged()
    wait_for((one.root / "state" / "snapshot").exists, deadline=5, what="a snapshot")
    one.agent.kill()
    one.speaker.kill()
    one.folder.rename(one.root / "away")
    with RouteEvents(one.node) as here, RouteEvents(one.router) as there:
        one.speaker.start()
        one.agent.start()
        wait_for(lambda: "snapshot.used" in one.agent.log, deadline=15, what="the snapshot is used")
        one.converged()
        wait_for(
            lambda: all(p.established for p in one.bird.protocols().values() if p.kind == "BGP"),
            deadline=20,
            what=f"sessions are up: {one.agent.log}\n{one.speaker.log}",
        )
        assert (*here.read(), *there.read()) == ()
    (one.root / "away").rename(one.folder)
    wait_for(
        lambda: one.conditions().get("APIReachable", {}).get("status") == "True", deadline=10, what="the folder counts"
    )


def test_a_block_that_is_gone_under_its_pods(one: OneNode) -> None:
    """It stays announced and blackholed as long as a pod has an address of it, over a restart too, and goes with the pod."""
    one.start()
    one.converged()
    wait_for(lambda: one.conditions().get("Ready", {}).get("status") == "True", deadline=10, what="Ready")
    records = one.run_dir / "cni" / "towpath"
    records.mkdir(parents=True)
    (records / "10.244.0.5").write_text("some-container\r\neth0")
    with RouteEvents(one.node) as here, RouteEvents(one.router) as there:
        one.write([body for body in manifests() if body["metadata"]["name"] != "10-244-0-0-26"])
        wait_for(lambda: "BlockMissing" in one.conditions(), deadline=10, what=f"BlockMissing\n{one.agent.log}")
        wait_for((records / "10.244.0.6").exists, deadline=5, what="the free addresses are reserved")
        one.agent.kill()
        one.agent.start()
        wait_for(lambda: one.agent.log.count("node.first_step") == 2, deadline=10, what="the next process")
        wait_for(lambda: one.conditions()["InSync"]["status"] == "True", deadline=10, what="InSync")
        assert "BlockMissing" in one.conditions()
        assert (*here.read(), *there.read()) == ()
    (records / "10.244.0.5").unlink()
    wait_for(lambda: BLOCKS[0] not in ours(one.node), deadline=10, what="the block goes")
    wait_for(lambda: BLOCKS[0] not in announced(one.bird), deadline=10, what="the router hears of it")


def test_a_link_without_carrier(one: OneNode) -> None:
    """The sessions over it end at once and not by their hold time, and its routes go; with the link both come back."""
    one.router.sysctl(net__ipv6__conf__eth0__keep_addr_on_down=1)
    one.start()
    one.converged()
    wait_for(lambda: one.conditions().get("InSync", {}).get("status") == "True", deadline=10, what="InSync")
    established = one.speaker.log.count("session.established")
    one.router.ip("link", "set", "dev", "eth0", "down")
    wait_for(lambda: not set(LEARNED) & ours(one.node), deadline=10, what="the routes go", interval=0.01)
    wait_for(lambda: one.speaker.log.count("session.lost") == 2, deadline=10, what=f"sessions end\n{one.speaker.log}")
    assert one.speaker.log.count(f"why='{LossKind.CARRIER.value}'") == 2, one.speaker.log
    assert set(BLOCKS) <= ours(one.node)
    one.router.ip("link", "set", "dev", "eth0", "up")
    one.converged(deadline=20)
    wait_for(
        lambda: one.speaker.log.count("session.established") == established + 2,
        deadline=10,
        what="both sessions are new",
    )
    wait_for(lambda: one.conditions()["InSync"]["status"] == "True", deadline=10, what="InSync")


def test_no_password_is_in_any_file_or_log(one: OneNode) -> None:
    """The password is in the 0600 file on tmpfs and nowhere else that we write."""
    one.start()
    one.converged()
    found = []
    for path in one.root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # written anew just now
            if path.is_file() and PASSWORD.encode() in path.read_bytes():
                found.append(path)
    theirs = {one.root / "bird.conf", one.folder / "node.yaml"}
    assert set(found) - theirs == {one.run_dir / "secrets"}


def test_the_log_level_changes_while_everything_runs(one: OneNode) -> None:
    """``logSeverityScreen`` reaches agent and speaker at once, this node's before the cluster's; no session notices."""
    one.start()
    one.converged()
    assert "debug" not in one.agent.log + one.speaker.log
    objects = manifests()
    objects[0]["spec"]["logSeverityScreen"] = "Debug"
    with RouteEvents(one.node) as here, RouteEvents(one.router) as there:
        one.write(objects)
        wait_for(lambda: "node.step" in one.agent.log, deadline=20, what="the agent says more")
        wait_for(lambda: "state.applied" in one.speaker.log, deadline=20, what="the speaker says more")
        assert (*here.read(), *there.read()) == ()
    assert one.speaker.log.count("session.lost") == 0
    own, block = dict(objects[0]), dict(objects[5])
    own |= {"metadata": {"name": "node.a"}, "spec": {"logSeverityScreen": "Error"}}
    block |= {"metadata": {"name": "10-244-9-0-26"}, "spec": {"cidr": "10.244.9.0/26", "node": "a", "pool": "v4"}}
    one.write([*objects, own, block])
    wait_for(lambda: "10.244.9.0/26" in announced(one.bird), deadline=20, what="the new objects count")
    one.speaker.kill()
    one.speaker.start()
    wait_for(lambda: one.speaker.log.count("speaker.started") == 2, deadline=20, what="the next speaker")
    wait_for(
        lambda: all(p.established for p in one.bird.protocols().values() if p.kind == "BGP"),
        deadline=30,
        what="sessions are up again",
    )
    assert "speaker.lost" not in one.agent.log
    assert one.speaker.log.count("session.established") == 2, "the second time nobody is told"


def test_cleanup_stays_for_a_daemonset(one: OneNode) -> None:
    """With a health port it answers once it is done, and not before; SIGTERM ends it."""
    folders = ("--run-dir", str(one.run_dir), "--state-dir", str(one.root / "state"), "--cni-conf-dir", str(one.cni))
    cleanup = one.process("cleanup", *folders, "--health-port", "9179")
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9179/readyz', timeout=5).status)"
    cleanup.start()
    try:
        answer = wait_for(
            lambda: one.node.run(sys.executable, "-c", ask, check=False).strip(), deadline=30, what="it is done"
        )
        assert answer == "200"
        assert "cleanup.done" in cleanup.log
        cleanup.stop()
        assert "Traceback" not in cleanup.log
    finally:
        cleanup.kill()

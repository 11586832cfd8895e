"""A folder of manifests in place of an API server."""

import asyncio

import pytest

from towpath.controller.directory import Directory
from towpath.controller.node.bound import BoundPods
from towpath.controller.ports import AlreadyExistsError, NotFoundError, UnreachableError
from towpath.controller.store import Store
from towpath.model.reason import Reason

KINDS = ("BGPPeer", "IPPool", "IPAMBlock", "RoutingNode", "Node")
PEER = (
    "apiVersion: towpath.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: 10.0.0.9, asNumber: 65000}\n"
)
NODES = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: a}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: b}}
- {apiVersion: towpath.io/v1alpha1, kind: RoutingNode, metadata: {name: a}}
- {apiVersion: v1, kind: Secret, metadata: {name: s, namespace: towpath-system}, stringData: {key: word}}
"""


def _folder(path, **files):
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text)
    store = Store(KINDS)
    return store, Directory(path, store, node="a", interval=0.02)


def test_objects_of_all_files(tmp_path):
    """Every kind is listed; of Nodes only this one; files in folders below count, hidden ones do not."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "pool.json").write_text(
        '{"apiVersion": "towpath.io/v1alpha1", "kind": "IPPool", "metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16"}}'
    )
    (tmp_path / ".hidden.yaml").write_text("[")
    store, directory = _folder(tmp_path, peer=PEER, nodes=NODES)
    directory.scan()
    cluster = store.cluster()
    assert store.complete
    assert store.problems() == ()
    assert (list(cluster.peers), list(cluster.pools), list(cluster.nodes)) == (["tor"], ["p"], ["a"])
    assert str(cluster.nodes["a"].addresses[0]) == "192.0.2.1"


def test_a_bad_file_leaves_what_it_held(tmp_path):
    """Its problem names file and line; when it is good again it counts again."""
    store, directory = _folder(tmp_path, peer=PEER, nodes=NODES)
    directory.scan()
    (tmp_path / "peer.yaml").write_text(PEER + "  broken: [\n")
    directory.scan()
    (problem,) = store.problems()
    assert (problem.kind, problem.reason) == ("File", Reason.UNREADABLE)
    assert problem.name.endswith("peer.yaml")
    assert "line" in problem.message
    assert list(store.cluster().peers) == ["tor"]
    (tmp_path / "peer.yaml").write_text(PEER.replace("65000", "65001"))
    directory.scan()
    assert store.problems() == ()
    assert store.cluster().peers["tor"].spec.as_number == 65001


def test_a_file_that_never_was_good_keeps_the_store_incomplete(tmp_path):
    """Nothing may be removed on account of what could not be read; the other files' objects are there."""
    store, directory = _folder(tmp_path, peer=PEER, broken="[")
    directory.scan()
    assert not store.complete
    assert list(store.cluster().peers) == ["tor"]
    (tmp_path / "broken.yaml").unlink()
    directory.scan()
    assert store.complete


def test_a_bad_object_in_a_good_file(tmp_path):
    """It is a problem that names object and field; the rest of the file counts."""
    store, directory = _folder(tmp_path, peer=PEER.replace("65000", "0") + "---" + NODES)
    directory.scan()
    (problem,) = store.problems()
    assert (problem.kind, problem.name, problem.field) == ("BGPPeer", "tor", "spec.asNumber")
    assert list(store.cluster().nodes) == ["a"]


def test_an_object_twice(tmp_path):
    """The file that comes first by name counts, the other is a problem."""
    store, directory = _folder(tmp_path, a=PEER, b=PEER.replace("65000", "65001"))
    directory.scan()
    assert store.cluster().peers["tor"].spec.as_number == 65000
    assert [problem.reason for problem in store.problems()] == [Reason.UNREADABLE]


async def test_changes_are_picked_up(tmp_path, settled):
    """A file that appears, changes or vanishes is seen within a moment; the folder itself may vanish and come back."""
    store, directory = _folder(tmp_path, nodes=NODES)
    task = asyncio.create_task(directory.run())
    try:
        await settled(lambda: store.complete)
        (tmp_path / "peer.yaml").write_text(PEER)
        await settled(lambda: "tor" in store.cluster().peers)
        beside = tmp_path / "peer.new"
        beside.write_text(PEER.replace("65000", "65001"))
        beside.replace(tmp_path / "peer.yaml")
        await settled(lambda: store.cluster().peers["tor"].spec.as_number == 65001)
        (tmp_path / "peer.yaml").unlink()
        await settled(lambda: store.cluster().peers == {})
        away = tmp_path.with_name("away")
        tmp_path.rename(away)
        await settled(lambda: any(problem.reason is Reason.UNREADABLE for problem in store.problems()))
        assert list(store.cluster().nodes) == ["a"]
        with pytest.raises(UnreachableError):  # and not that there is none
            await directory.get("Secret", "tor", namespace="ns")
        away.rename(tmp_path)
        await settled(lambda: store.problems() == ())
    finally:
        task.cancel()


async def test_status_lies_beside(tmp_path):
    """Status is written to a file of its own, is read again by the next process, and never touches a manifest."""
    store, directory = _folder(tmp_path, nodes=NODES)
    directory.scan()
    await directory.patch_status("RoutingNode", "a", {"status": {"ipv4Address": "192.0.2.1/24"}})
    assert str(store.cluster().routing_nodes["a"].status.ipv4_address) == "192.0.2.1/24"
    await directory.create("NodeStatus", {"metadata": {"name": "a"}, "spec": {}})
    await directory.patch_status("NodeStatus", "a", {"status": {"inSync": True, "sessions": []}})
    await directory.patch_status("NodeStatus", "a", {"status": {"sessions": None}})
    assert (tmp_path / "nodes.yaml").read_text() == NODES
    assert sorted(path.name for path in (tmp_path / "status").iterdir()) == ["NodeStatus-a.yaml", "RoutingNode-a.yaml"]
    with pytest.raises(AlreadyExistsError):
        await directory.create("NodeStatus", {"metadata": {"name": "a"}})
    again = Directory(tmp_path, Store(KINDS), node="a")
    again.scan()
    assert (await again.get("NodeStatus", "a"))["status"] == {"inSync": True}
    assert (await again.get("RoutingNode", "a"))["status"] == {"ipv4Address": "192.0.2.1/24"}


async def test_secrets(tmp_path):
    """A Secret is found by name and namespace; one that is not there is NotFoundError."""
    _, directory = _folder(tmp_path, nodes=NODES)
    directory.scan()
    assert (await directory.get("Secret", "s", namespace="towpath-system"))["stringData"] == {"key": "word"}
    with pytest.raises(NotFoundError):
        await directory.get("Secret", "other", namespace="towpath-system")


async def test_what_cannot_be_read_is_not_missing(tmp_path):
    """A Secret of a folder that is away, not read yet, or read in part is unreachable: only a whole folder lacks it."""
    _, directory = _folder(tmp_path / "absent")
    for _ in range(2):
        with pytest.raises(UnreachableError, match="get Secret s"):
            await directory.get("Secret", "s", namespace="towpath-system")
        directory.scan()
    _, directory = _folder(tmp_path, peer=PEER, broken="[")
    directory.scan()
    with pytest.raises(UnreachableError, match="get Secret s"):
        await directory.get("Secret", "s", namespace="towpath-system")
    (tmp_path / "broken.yaml").unlink()
    directory.scan()
    with pytest.raises(NotFoundError, match="get Secret s"):
        await directory.get("Secret", "s", namespace="towpath-system")


async def test_pods_of_this_node_are_told_to_whoever_asks(tmp_path):
    """Those that are bound to it, as they are written and when files change; objects of the store go on as they are."""
    pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: x, labels: {app: r}}\nspec: {nodeName: %s}\nstatus: {podIP: 10.0.0.%s}\n"
    store, directory = _folder(tmp_path, nodes=NODES, pods=pod % ("p", "a", 5) + pod % ("q", "b", 6))
    directory.scan()
    bound = BoundPods(changed=lambda: None, moved=lambda: None)
    task = asyncio.create_task(directory.feed(bound, kinds=("Pod",)))
    await asyncio.sleep(0)
    directory.scan()
    assert (list(bound.workloads), bound.settled) == (["x/p"], True)
    (tmp_path / "pods.yaml").write_text(pod % ("r", "a", 7))
    directory.scan()
    assert list(bound.workloads) == ["x/r"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (tmp_path / "pods.yaml").unlink()
    directory.scan()
    assert list(bound.workloads) == ["x/r"], "nobody asks any more"
    assert store.complete

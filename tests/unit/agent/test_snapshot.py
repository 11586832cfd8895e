"""The snapshot on disk."""

import stat
from pathlib import Path

import pytest

from tests.unit.agent.worlds import cluster
from towpath.controller.snapshot import SnapshotError, SnapshotFile
from towpath.model.cluster import Cluster


def test_a_cluster_comes_back_as_it_was(tmp_path: Path) -> None:
    """What was saved is loaded, value for value."""
    file = SnapshotFile(tmp_path / "state" / "snapshot", node="a")
    assert file.load() is None
    assert file.save(cluster())
    assert SnapshotFile(file.path, node="a").load() == cluster()


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """The file is 0600, whatever the umask, and nothing else is left beside it."""
    file = SnapshotFile(tmp_path / "snapshot", node="a")
    file.save(cluster())
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["snapshot"]


def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    """The same cluster again touches no disk, also in the process that loaded it."""
    file = SnapshotFile(tmp_path / "snapshot", node="a")
    file.save(cluster())
    again = SnapshotFile(file.path, node="a")
    again.load()
    assert not again.save(cluster())
    assert again.save(cluster(blocks={}))
    assert not again.save(cluster(blocks={}))


def test_a_damaged_file_is_reported_wherever_it_is_damaged(tmp_path: Path) -> None:
    """A byte changed, bytes missing or bytes added anywhere: an error that says so, never another cluster."""
    file = SnapshotFile(tmp_path / "snapshot", node="a")
    file.save(cluster())
    whole = file.path.read_bytes()
    damaged = [whole[:length] for length in (0, 1, 20, 48, 60, len(whole) - 1)]
    damaged += [whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :] for at in range(0, len(whole), 97)]
    damaged.append(whole + b"\0")
    for content in damaged:
        file.path.write_bytes(content)
        with pytest.raises(SnapshotError, match="damaged"):
            file.load()


def test_the_snapshot_of_another_node_is_refused(tmp_path: Path) -> None:
    """A disk image that was copied to another node does not make it the first one."""
    SnapshotFile(tmp_path / "snapshot", node="a").save(Cluster())
    with pytest.raises(SnapshotError, match="belongs to node a"):
        SnapshotFile(tmp_path / "snapshot", node="b").load()


def test_what_a_crash_left_beside_is_no_obstacle(tmp_path: Path) -> None:
    """A half-written file, or a link somebody put in its place, is replaced and not followed."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".snapshot.new").symlink_to(victim)
    file = SnapshotFile(tmp_path / "snapshot", node="a")
    file.save(cluster())
    assert file.load() == cluster()
    assert victim.read_text() == "mine"

"""Files are whole or not there, whatever the disk says."""

import errno
from pathlib import Path

import pytest

from towpath.ipam.files import copy_atomically, link_atomically, write_atomically


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes the bytes and refuses to keep them."""

    def fsync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("towpath.ipam.files.os.fsync", fsync)


@pytest.mark.usefixtures("full")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """The error names the file, the old content stands, and nothing lies beside it."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("file", "old")]


def test_a_copy_never_takes_a_name_that_is_taken(tmp_path: Path) -> None:
    """Also where it was free a moment ago; with leave it replaces."""
    source, path = tmp_path / "source", tmp_path / "folder" / "path"
    source.write_text("new")
    assert copy_atomically(source, path, mode=0o755, replace=False)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o755)
    path.write_text("theirs")
    assert not copy_atomically(source, path, mode=0o755, replace=False)
    assert path.read_text() == "theirs"
    assert copy_atomically(source, path, mode=0o755, replace=True)
    assert path.read_text() == "new"
    assert [one.name for one in path.parent.iterdir()] == ["path"]


def test_what_a_crash_left_beside_is_made_anew(tmp_path: Path) -> None:
    """It is never written through, wherever it leads."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".file.new").symlink_to(victim)
    write_atomically(tmp_path / "file", b"content")
    (tmp_path / ".link.new").symlink_to(victim)
    link_atomically(tmp_path / "link", tmp_path / "file")
    assert victim.read_text() == "mine"
    assert (tmp_path / "link").read_text() == "content"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "link", "victim"]

"""host-local's records as they are read: again when they may have changed."""

import os
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from towpath.ipam.cni import NETWORK
from towpath.ipam.hostlocal import HostLocal

ONE, OTHER = "10.244.0.5", "10.244.0.6"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With one address given out, long ago."""
    made = tmp_path / NETWORK
    made.mkdir()
    (made / ONE).write_text("first\r\neth0")
    (made / "lock").touch()
    os.utime(made, (1000, 1000))
    return made


def containers(local: HostLocal) -> list[str]:
    return [record.container for record in local.records()]


def test_a_folder_that_has_not_changed_is_read_once(folder: Path) -> None:
    """Until an address is taken or given back."""
    local = HostLocal(folder.parent)
    assert containers(local) == ["first"]
    (folder / ONE).write_text("not looked at")
    assert containers(local) == ["first"]
    (folder / OTHER).write_text("second\r\neth0")
    assert containers(local) == ["not looked at", "second"]
    (folder / ONE).unlink()
    assert local.in_use() == (ip_address(OTHER),)


def test_one_that_changed_a_moment_ago_is_read_again(folder: Path) -> None:
    """It may have changed once more within the same tick of its clock."""
    local = HostLocal(folder.parent)
    soon = time.time() + 1000  # for as long as this test may be held up
    os.utime(folder, (soon, soon))
    assert containers(local) == ["first"]
    (folder / ONE).write_text("second")
    assert containers(local) == ["second"]


def test_an_address_that_is_just_being_given_out_is_read_again(folder: Path) -> None:
    """The plugin makes the file first, and then writes into it."""
    (folder / OTHER).touch()
    os.utime(folder, (1000, 1000))
    local = HostLocal(folder.parent)
    assert containers(local) == ["first", ""]
    (folder / OTHER).write_text("second")
    assert containers(local) == ["first", "second"]

"""host-local's records as they are read: again when they may have changed."""

import os
import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from towpath.controller.node.records import Records
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


def test_an_address_for_the_node_itself(folder: Path) -> None:
    """The last one of the last range that nobody has; once it is held it stays the same, and where all are given out there is none."""
    local = HostLocal(folder.parent)
    ranges = [(ip_address(text), ip_address(text)) for text in ("10.244.0.4", ONE)]
    assert local.spare(ranges, fresh=False) is None
    spare = local.spare(ranges, fresh=True)
    assert spare == ip_address("10.244.0.4")
    assert local.hold([spare]) == set()
    ranges.append((ip_address(OTHER), ip_address("10.244.0.9")))
    assert local.spare(ranges, fresh=True) == local.spare(ranges, fresh=False) == spare
    assert local.hold([]) == set()
    assert local.spare(ranges, fresh=True) == ip_address("10.244.0.9")
    assert local.spare(ranges[1:2], fresh=True) is None


def test_reservations_in_a_block_that_is_not_the_nodes_any_more_are_taken_back(folder: Path) -> None:
    """But of what is still given out, of what was reserved a moment ago, and what is anybody's: a drained block leaves nothing else behind."""
    local = HostLocal(folder.parent)
    records = Records(local)
    left, kept, new = (ip_network(one) for one in ("10.244.0.0/29", "10.244.1.0/29", "10.244.2.0/30"))
    strayed = (ip_address("10.244.3.1"), ip_address("10.244.3.2"))
    records.reserve(usable=(), draining=[left, kept], own=[left, kept], subnet=lambda _: None, strayed=[strayed])
    for path in folder.iterdir():
        os.utime(path, (1000, 1000))
    records.reserve(usable=(), draining=[kept, new], own=[kept, new], subnet=lambda _: None, strayed=[strayed])
    records.reserve(usable=(), draining=[kept], own=[kept], subnet=lambda _: None, strayed=[strayed])
    found = {record.address: record.container for record in local.records()}
    assert {one for one in found if one in left} == {ip_address(ONE)}
    assert found[ip_address(ONE)] == "first"
    assert len([one for one in found if one in kept]) == 5
    assert len([one for one in found if one in new]) == 1
    assert strayed[0] in found
    assert strayed[1] in found

"""Forwarding sysctls: set where needed, undone as found."""

from pathlib import Path

import pytest

from towpath.routes import sysctl
from towpath.routes.sysctl import Change, forwarding_changes, restore


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def make(root: Path, values: dict[str, str]) -> None:
    for name, value in values.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)


VALUES = {
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/accept_redirects": "1",
    "ipv4/conf/all/forwarding": "0",
    "ipv4/conf/eth0/forwarding": "1",
    "ipv4/conf/eth1/forwarding": "0",
    "ipv6/conf/all/forwarding": "0",
    "ipv6/conf/all/accept_ra": "1",
    "ipv6/conf/eth0/accept_ra": "1",
    "ipv6/conf/eth1/accept_ra": "0",
    "ipv6/conf/eth2/accept_ra": "2",
}


def test_set_and_restored(tmp_path: Path) -> None:
    """Forwarding goes on, accept_ra 1 becomes 2, and everything is as before after restoring."""
    make(tmp_path, VALUES)
    changes = forwarding_changes(tmp_path)
    assert tree(tmp_path) == VALUES
    sysctl.make(changes, proc=tmp_path)
    assert tree(tmp_path) == {
        **VALUES,
        "ipv4/ip_forward": "1",
        "ipv4/conf/all/accept_redirects": "0",
        "ipv6/conf/all/forwarding": "1",
        "ipv6/conf/all/accept_ra": "2",
        "ipv6/conf/eth0/accept_ra": "2",
    }
    assert changes[-1].name == "ipv6/conf/all/forwarding"
    assert forwarding_changes(tmp_path) == ()
    assert Change("ipv4/conf/eth0/forwarding", "1", "1") in changes, "it goes with the switch on the way back"
    restore({one.name: one.before for one in changes}, proc=tmp_path)
    assert tree(tmp_path) == VALUES


def test_nothing_to_do(tmp_path: Path) -> None:
    """A node that forwards already is left as it is, and one without IPv6 lacks nothing."""
    make(tmp_path, {"ipv4/ip_forward": "1"})
    assert forwarding_changes(tmp_path) == ()


def test_one_that_is_refused_keeps_no_other(tmp_path: Path) -> None:
    """The error is of that one; the others are as before."""
    make(tmp_path, {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"})
    (tmp_path / "ipv6/conf/eth0/accept_ra").mkdir(parents=True)
    before = {"ipv4/ip_forward": "0", "ipv6/conf/eth0/accept_ra": "1", "ipv6/conf/all/forwarding": "0"}
    with pytest.raises(IsADirectoryError):
        restore(before, proc=tmp_path)
    assert tree(tmp_path) == {"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0"}

"""The record of the sysctls that the agent changed."""

import json
from pathlib import Path

import pytest

from towpath.controller.node import forwarding
from towpath.routes import sysctl


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A node that does not forward."""
    for name, value in (("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0"), ("ipv6/conf/eth0/accept_ra", "1")):
        path = tmp_path / "sys" / "net" / name
        path.parent.mkdir(parents=True)
        path.write_text(value)
    return tmp_path / "sys"


def values(proc: Path) -> list[str]:
    return [path.read_text() for path in sorted(proc.rglob("*")) if path.is_file()]


def test_a_crash_between_record_and_change_loses_nothing(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is there first; the next agent makes the changes, and the oldest values are put back."""
    record = tmp_path / "run" / "sysctls"
    with monkeypatch.context() as patched:

        def dies(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(sysctl, "make", dies)
        with pytest.raises(KeyboardInterrupt):
            forwarding.prepare(record, proc_sys=proc)
    assert values(proc) == ["0", "0", "1"]
    assert len({name for name in json.loads(record.read_text()) if not name.startswith("ifindex/")}) == 3
    (proc / "net/ipv4/ip_forward").write_text("1")
    forwarding.prepare(record, proc_sys=proc)
    assert values(proc) == ["1", "1", "2"]
    forwarding.undo(record, proc_sys=proc)
    assert values(proc) == ["0", "0", "1"]
    assert not record.exists()


def test_what_is_loose_for_tunnels_is_strict_again_without_them(proc: Path, tmp_path: Path) -> None:
    """Whoever else has been below meanwhile; and nothing of it is touched before it is known whether there are any."""
    record = tmp_path / "run" / "sysctls"
    for name in ("all", "eth0", "eth1"):
        path = proc / f"net/ipv4/conf/{name}/rp_filter"
        path.parent.mkdir(parents=True)
        path.write_text("1")

    def filters() -> list[str]:
        return [(proc / f"net/ipv4/conf/{name}/rp_filter").read_text() for name in ("all", "eth0", "eth1")]

    forwarding.prepare(record, proc_sys=proc, below=["eth0"])
    assert filters() == ["1", "2", "1"]
    forwarding.prepare(record, proc_sys=proc)
    assert filters() == ["1", "2", "1"]
    forwarding.prepare(record, proc_sys=proc, below=["eth1"])
    assert filters() == ["1", "1", "2"]
    forwarding.prepare(record, proc_sys=proc, below=[])
    assert filters() == ["1", "1", "1"]
    assert not any("rp_filter" in name for name in json.loads(record.read_text()))
    forwarding.prepare(record, proc_sys=proc, below=["eth0"])
    forwarding.undo(record, proc_sys=proc)
    assert filters() == ["1", "1", "1"]


def test_an_interface_below_that_has_another_name_is_strict_again(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sysctls go with it: it is still below by its new name, and is given back by that."""
    record, conf = tmp_path / "run" / "sysctls", proc / "net/ipv4/conf"
    (conf / "eth0").mkdir(parents=True)
    (conf / "eth0/rp_filter").write_text("1")
    monkeypatch.setattr("socket.if_nameindex", lambda: [(2, "eth0")])
    forwarding.prepare(record, proc_sys=proc, below=["eth0"])
    (conf / "eth0").rename(conf / "lan0")
    monkeypatch.setattr("socket.if_nameindex", lambda: [(2, "lan0")])
    forwarding.prepare(record, proc_sys=proc, below=["lan0"])
    assert (conf / "lan0/rp_filter").read_text() == "2"
    forwarding.prepare(record, proc_sys=proc, below=[])
    assert (conf / "lan0/rp_filter").read_text() == "1"

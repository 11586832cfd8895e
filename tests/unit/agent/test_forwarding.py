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

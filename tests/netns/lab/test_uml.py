"""A machine with a kernel of its own: what runs in it, and that nothing is left of it however it ends."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests import names
from tests.tree import ROOT
from towpath.lab import tools
from towpath.lab.process import Process, wait_for
from towpath.lab.uml import machine
from towpath.lab.uml.machine import Kernel, MachineError, boot


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    """The project's own."""
    return tools.user_mode_linux()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own for the files of its machines."""
    monkeypatch.setattr(machine, "SCRATCH", tmp_path / "scratch")
    machine.SCRATCH.mkdir()
    return machine.SCRATCH


def running(scratch: Path) -> list[str]:
    """The processes of this test's machines."""
    return [line for line in names.processes().values() if str(scratch) in line]


def sh(kernel: Kernel, script: str, **settings: Any) -> tuple[int, str]:
    """The exit code and the output of a script in a machine."""
    printed = bytearray()
    code = boot(kernel, "sh", "-c", script, folder=ROOT, show=printed.extend, **settings)
    return code, printed.decode()


def test_a_program_runs_in_another_kernel_on_the_same_files(kernel: Kernel) -> None:
    """Its folder, its environment, its output as written, its exit code; our Python with all that is installed for it."""
    script = 'uname -r; pwd; echo "$WORD"; .venv/bin/python -c "import msgspec, pyroute2; print(6 * 7)"; (sleep 600 &); exit 5'
    code, printed = sh(kernel, script, environment={"WORD": "one  two"})
    release, *rest = printed.splitlines(keepends=True)
    assert release.endswith("-towpath\n")
    assert rest == [f"{ROOT}\n", "one  two\n", "42\n"]
    assert code == 5


def test_a_program_that_is_killed_says_by_what(kernel: Kernel) -> None:
    """As in a shell; and one that does not exist is 127."""
    assert sh(kernel, "kill -9 $$")[0] == 137
    assert boot(kernel, "nonesuch", folder=ROOT, show=bytearray().extend) == 127


def test_a_machine_that_ends_first_leaves_its_last_words(kernel: Kernel, scratch: Path) -> None:
    """Switched off from inside, it is an error, with what the kernel said; its files are gone."""
    halt = "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0xCDEF0123)'; sleep 600"
    with pytest.raises(MachineError, match="System halted"):
        sh(kernel, halt)
    assert running(scratch) == []
    assert list(scratch.iterdir()) == []


def test_a_machine_whose_time_is_over_is_killed(kernel: Kernel, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything in it, at whatever it was."""
    monkeypatch.setenv("TOWPATH_PATIENCE", "1")
    with pytest.raises(MachineError, match="is not done after 5 s"):
        sh(kernel, "sleep 600 & sleep 600", deadline=5)
    assert running(scratch) == []
    assert list(scratch.iterdir()) == []


def test_a_machine_ends_with_whoever_booted_it(kernel: Kernel, scratch: Path, tmp_path: Path) -> None:
    """Also by ``kill -9``, and the next boot's sweep finds the files."""
    script = f"""
import sys
from pathlib import Path
from towpath.lab.uml import machine
machine.SCRATCH = Path({str(scratch)!r})
kernel = machine.Kernel(Path({str(kernel.program)!r}), Path({str(kernel.preload)!r}))
machine.boot(kernel, "sh", "-c", "echo up; sleep 600", folder=Path("/"), show=lambda some: print(some, flush=True))
"""
    booter = Process([sys.executable, "-c", script], log=tmp_path / "log").start()
    try:
        wait_for(lambda: "up" in booter.log, deadline=30, what="the machine is up")
        assert running(scratch)
    finally:
        booter.kill()
    wait_for(lambda: not running(scratch), deadline=10, what="the machine is gone")
    assert list(scratch.iterdir())
    machine.sweep()
    assert list(scratch.iterdir()) == []

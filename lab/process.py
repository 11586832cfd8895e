"""Programs that the lab starts: each ended by its pid, its output in a file, never a pipe that could fill."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class WaitError(AssertionError):
    """A condition did not come true before its deadline."""


def patience() -> float:
    """How many times longer than on a machine with nothing else to do is waited: ``$TOWPATH_PATIENCE``, else once."""
    return float(os.environ.get("TOWPATH_PATIENCE") or 1)


def wait_for(probe: Callable[[], T], *, deadline: float, what: str, interval: float = 0.05) -> T:
    """Call ``probe`` until its result is true; ``WaitError`` with the last result after ``deadline`` patient seconds."""
    deadline *= patience()
    end = time.monotonic() + deadline
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > end:
            raise WaitError(f"after {deadline:g} s still not: {what} (last: {result!r})")
        time.sleep(interval)


def run(*command: str, check: bool = True, stdin: str | None = None, timeout: float = 60) -> str:
    """Run a short program and return its standard output; a failure carries what it printed."""
    limit = timeout * patience()
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=limit, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Process:
    """A long-running program. ``start`` it (again), ``stop`` or ``kill`` it; ``log`` is its output so far."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        netns: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # nsenter and not `ip netns exec`: that one mounts a new /sys, and keeps a process of its own
        self.command = [*(["nsenter", f"--net=/run/netns/{netns}"] if netns else []), *command]
        self.log_path = log
        self.environment = {**os.environ, **(environment or {})}
        self.child: subprocess.Popen[bytes] | None = None
        self._adopted: tuple[int, str] | None = None

    def adopt(self, identity: tuple[int, str]) -> "Process":
        """Take over a program that another process started: its ``identity`` then; nothing if it has ended since."""
        self._adopted = identity if process_start(identity[0]) == identity[1] else None
        return self

    @property
    def identity(self) -> tuple[int, str] | None:
        """The process id and when it started (a pid alone may be somebody else's by now); None: not running."""
        return (self.pid, process_start(self.pid)) if self.running else None

    def start(self) -> "Process":
        """Start the program; its output is appended to the log."""
        self._adopted = None
        with self.log_path.open("ab") as log:
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        if self._adopted is not None:
            return self._adopted[0]
        assert self.child is not None, "not started"
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        if self._adopted is not None:
            return process_start(self._adopted[0]) == self._adopted[1]
        return self.child is not None and self.child.poll() is None

    @property
    def log(self) -> str:
        """All output so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it is still running."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._gone(deadline=10)

    def stop(self, *, deadline: float = 5) -> None:
        """SIGTERM, then SIGKILL after ``deadline`` seconds; returns when it is gone."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if not self._gone(deadline=deadline):
            self.kill()

    def _gone(self, *, deadline: float) -> bool:
        end = time.monotonic() + deadline * patience()
        while self.running:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True


def process_start(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty where there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]

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


def wait_for(probe: Callable[[], T], *, deadline: float, what: str, interval: float = 0.05) -> T:
    """Call ``probe`` until its result is true; ``WaitError`` after ``deadline`` seconds with the last result."""
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
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
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

    def start(self) -> "Process":
        """Start the program; its output is appended to the log."""
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
        assert self.child is not None, "not started"
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
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
        if self.child is not None:
            self.child.wait()

    def stop(self, *, deadline: float = 5) -> None:
        """SIGTERM, then SIGKILL after ``deadline`` seconds; returns when it is gone."""
        if self.child is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.child.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()

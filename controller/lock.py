"""One process a folder: whoever programs a node holds the lock of its run dir."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from towpath.controller.settings import CannotRunError


@contextlib.contextmanager
def only_one(run_dir: Path) -> Iterator[None]:
    """Hold the lock of this run dir: two agents that program one node would undo each other's work."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotRunError(f"--run-dir {run_dir} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CannotRunError(f"another agent runs with {run_dir}") from None
    finally:
        os.close(descriptor)

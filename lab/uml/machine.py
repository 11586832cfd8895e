"""A machine with a kernel of its own, for one program: booted on the host's files, gone when the program has ended.

The kernel and all its processes live in a process and a mount namespace of the host's, whose first process dies with whoever
booted it: however that ends, nothing is left running, and its memory is a file that nobody else ever saw.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from towpath.lab.process import patience

Show = Callable[[bytes], object]
"""Is given what a program prints, as it comes."""
_INIT = Path(__file__).with_name("init.py")
SCRATCH = Path("/var/tmp")
"""Where host and guest see the same files: /run and /dev are each one's own."""
_FOLDER = "towpath-uml-{}-"
_MEGABYTES = 1536
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TERM")
_FIRST = 'mount -t tmpfs -o "size=$1" memory "$2" && shift 2 && "$@"; exit $?'
"""The first process of the namespace: the guest's memory is on a tmpfs of its own, whatever those of the host are good for."""
_FLAGS = ("rootfstype=hostfs", "rootflags=/", "rw", "con=null", "con0=null,fd:2", "con1=null,fd:1", "quiet", "panic=-1")

_CARD = "vec{}:transport=raw,ifname={},depth=128,mtu=1500,gro=1"
"""Sums of packets and their cutting into pieces are left to whoever needs them, as between veth devices."""


class MachineError(Exception):
    """The machine ended before its program did; the message has its last words."""


class Kernel(Struct, frozen=True):
    """A user-mode Linux, and what is preloaded when it runs."""

    program: Path
    preload: Path


def boot(
    kernel: Kernel,
    *command: str,
    folder: Path,
    show: Show,
    environment: Mapping[str, str] | None = None,
    deadline: float = 60,
    cards: Sequence[str] = (),
) -> int:
    """Run a program in a folder, in a machine with one processor: its exit code, as a shell has it.

    Of this process' environment it has what it needs to find programs and files, and ``environment``. Its network cards
    are ``vec0`` and so on, whose cables are ``cards``, devices of this process' network namespace. ``MachineError`` where
    the machine ends first, and after ``deadline`` patient seconds, when it is killed.
    """
    with tempfile.TemporaryDirectory(prefix=_FOLDER.format(os.getpid()), dir=SCRATCH) as name:
        scratch = Path(name)
        memory = scratch / "memory"
        memory.mkdir()
        init = scratch / "init"
        # a Python that is told its hashes' seed asks for no randomness, which this kernel has to be given first
        init.write_text(f"#!/bin/sh\nPYTHONHASHSEED=0 exec '{sys.executable}' -P -S '{_INIT}' '{scratch}'\n")
        init.chmod(0o755)
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        job = {
            "command": command,
            "folder": str(folder),
            "seed": os.urandom(32).hex(),
            "environment": {**kept, "TMPDIR": "/run/tmp", **(environment or {})},
        }
        (scratch / "job.json").write_text(json.dumps(job))
        with (scratch / "kernel.log").open("wb") as log:
            machine = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *("sh", "-c", _FIRST, "sh", f"{_MEGABYTES + 64}m", str(memory)),
                    *("env", f"LD_PRELOAD={kernel.preload}", f"TMPDIR={memory}", str(kernel.program)),
                    *(f"mem={_MEGABYTES}M", f"uml_dir={memory}", f"init={init}", *_FLAGS),
                    *(_CARD.format(number, device) for number, device in enumerate(cards)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
            in_time = _relay(machine, show, limit=deadline * patience())
        if not in_time:
            raise MachineError(f"{' '.join(command)} is not done after {deadline * patience():g} s")
        try:
            return int((scratch / "exit").read_text())
        except FileNotFoundError:
            words = (scratch / "kernel.log").read_text(errors="replace")[-4000:]
            raise MachineError(f"the machine ended before {' '.join(command)} did:\n{words}") from None


def sweep() -> None:
    """Remove the files of machines whose booters were killed."""
    for folder in SCRATCH.glob(_FOLDER.format("*") + "*"):
        pid = folder.name.removeprefix(_FOLDER.partition("{")[0]).partition("-")[0]
        if not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _relay(machine: subprocess.Popen[bytes], show: Show, *, limit: float) -> bool:
    """Pass on what is printed until all of the machine is gone; False where it had to be killed for its time."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        machine.kill()

    timer = threading.Timer(limit, kill)
    timer.start()
    assert machine.stdout is not None
    with machine.stdout as printed:
        try:
            while some := os.read(printed.fileno(), 1 << 16):
                show(some)
        finally:
            timer.cancel()
            machine.kill()
            machine.wait()
            while os.read(printed.fileno(), 1 << 16):  # its processes end a moment after the first
                pass
    return not late.is_set()

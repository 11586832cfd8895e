"""Names for what tests make on the machine: none that two runs at the same time would share."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.shape import ROOT as CLUSTERS
from towpath.lab.netns import remove
from towpath.lab.shape import ROOT
from towpath.lab.uml import machine

os.environ.setdefault("TOWPATH_RUN", str(os.getpid()))  # what a test starts belongs to the same run
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
"""Which of the processes that share one run's tests this is."""

_NAMESPACE = re.compile(r"(tp[a-z]+)([0-9]+)-")
_NETNS = Path("/run/netns")
_MEMORY = Path("/dev/shm")
SCRATCH = Path("/var/tmp")
"""Where results of runs lie while they run; not where a kernel of its own has its own files."""
_RESULTS = re.compile(r"towpath-tests-([0-9]+)-")


def own(stem: str) -> str:
    """A prefix for the namespaces of one test: ``tpe`` becomes ``tpea4711``, with the number of this run.

    The letter before it is the worker's, where several share the run.
    """
    assert _NAMESPACE.fullmatch(f"{stem}0-"), stem
    return f"{stem}{chr(ord('a') + int(_WORKER))}{os.environ['TOWPATH_RUN']}"


@contextmanager
def in_memory(prefix: str) -> Iterator[Path]:
    """A folder on tmpfs, empty at first and gone afterwards, named by a prefix of this run."""
    root = _MEMORY / prefix
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    try:
        yield root
    finally:
        shutil.rmtree(root)


def loopback(last: int) -> str:
    """An IPv4 address of loopback that no other run uses; those of one run are ordered by ``last``."""
    run = int(os.environ["TOWPATH_RUN"]) + 50 * int(_WORKER)
    return f"127.{100 + run // 100 % 100}.{100 + run % 100}.{last}"


def scratch() -> str:
    """How the names of this run's folders in ``SCRATCH`` begin."""
    return f"towpath-tests-{os.environ['TOWPATH_RUN']}-"


def namespaces() -> set[str]:
    """The network namespaces of this run."""
    return {name for name, run in _namespaces() if run == os.environ["TOWPATH_RUN"]}


def processes() -> dict[int, str]:
    """The command lines, by process id, of what tests of this run have started."""
    mark, found = f"TOWPATH_RUN={os.environ['TOWPATH_RUN']}".encode(), {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = line.decode(errors="replace").strip()
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def sweep() -> None:
    """Remove what runs that were killed have left: namespaces, the processes in them, files in memory, results."""
    for name, run in _namespaces():
        if not Path(f"/proc/{run}").exists():
            prefix = name.partition("-")[0]
            if (CLUSTERS / prefix).exists():
                Cluster(prefix).down()
            remove(prefix)
            for folder in (ROOT, _MEMORY):
                shutil.rmtree(folder / prefix, ignore_errors=True)
    for path in SCRATCH.iterdir():
        if (match := _RESULTS.match(path.name)) and not Path(f"/proc/{match[1]}").exists():
            shutil.rmtree(path, ignore_errors=True)
    machine.sweep()


def _namespaces() -> list[tuple[str, str]]:
    names = (entry.name for entry in _NETNS.iterdir()) if _NETNS.is_dir() else ()
    return [(name, match[2]) for name in names if (match := _NAMESPACE.match(name))]

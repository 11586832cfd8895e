"""A node's control groups: a group of its own in every hierarchy of this machine, which the node sees as the whole.

Version 1 has a hierarchy per controller, version 2 one for all; some machines have both. The node's programs and pods
are in groups below its own, so that one walk finds all its processes, whatever became of their parents.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from towpath.lab.process import wait_for

_MOUNTS = Path("/proc/self/mountinfo")
_GROUP = "towpath-"


class Hierarchy(Struct, frozen=True):
    """A mounted hierarchy: where, of which type (``cgroup``, ``cgroup2``), and the options that mount it again."""

    path: Path
    kind: str
    options: str

    def group(self, name: str) -> Path:
        """The folder of a node's group in it."""
        return self.path / f"{_GROUP}{name}"


def hierarchies() -> tuple[Hierarchy, ...]:
    """The hierarchies of this machine, as they are mounted."""
    found = []
    for line in _MOUNTS.read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            wanted = [word for word in options.split(",") if word not in {"rw", "ro"}] if kind == "cgroup" else []
            found.append(Hierarchy(Path(left.split()[4]), kind, ",".join(wanted)))
    return tuple(found)


def create(name: str) -> None:
    """Make a node's groups."""
    for hierarchy in hierarchies():
        group = hierarchy.group(name)
        group.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):  # a new group of version 1 has none and takes no process
            if hierarchy.kind == "cgroup" and (group / file).exists():
                (group / file).write_text((hierarchy.path / file).read_text())
        if hierarchy.kind == "cgroup2":
            _divide(group)


def _divide(group: Path) -> None:
    """Version 2: a group with controllers for its children has no process itself; ours are in ``init``."""
    (group / "init").mkdir(exist_ok=True)
    controllers = (group / "cgroup.controllers").read_text().split()
    with contextlib.suppress(OSError):  # beside version 1 there are none
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in controllers))


def doors(name: str) -> Iterator[Path]:
    """The files that a process writes its id to, to be in the node."""
    for hierarchy in hierarchies():
        group = hierarchy.group(name)
        yield (group / "init" if hierarchy.kind == "cgroup2" else group) / "cgroup.procs"


def processes(name: str) -> set[int]:
    """Everything that runs in a node."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy.group(name)):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split())
    return found


def remove(name: str) -> None:
    """End what still runs in a node, and remove its groups."""

    def gone() -> bool:
        for pid in processes(name) - {0}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for hierarchy in hierarchies():
            for folder, _, _ in os.walk(hierarchy.group(name), topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        return not any(hierarchy.group(name).exists() for hierarchy in hierarchies())

    wait_for(gone, deadline=30, what=f"the control groups of {name} are empty")


def names(prefix: str) -> set[str]:
    """The nodes whose groups are there and whose names begin with ``prefix-``."""
    return {
        entry.name.removeprefix(_GROUP)
        for hierarchy in hierarchies()
        for entry in hierarchy.path.glob(f"{_GROUP}{prefix}-*")
    }

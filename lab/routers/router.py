"""What is alike in all routers: a folder, a configuration file, programs that are started and ended, paths that are held.

A router lives in a host's namespace. Nothing of it is outside its folder: what a program insists on writing elsewhere it
writes to a file system in memory that only it sees, gone with it.
"""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from msgspec import Struct

from towpath.lab.netns import Host
from towpath.lab.process import Process, wait_for
from towpath.model.net import Address, Prefix


class HeldPath(Struct, frozen=True):
    """A path as a router holds it, with the attributes that it was sent."""

    next_hop: Address | None
    as_path: tuple[int, ...]
    communities: frozenset[str] = frozenset()
    """Standard and large ones alike: ``65000:1``, ``65000:1:2``."""
    med: int | None = None
    local_preference: int | None = None
    originator: Address | None = None
    clusters: tuple[Address, ...] = ()
    stale: bool = False
    """Kept for a peer that restarts; BIRD does not show it."""


class Router(ABC):
    """A router of one make. ``start`` it with a configuration, ``kill`` and ``restart`` it, ``stop`` it in the end."""

    programs: tuple[Process, ...]
    """In the order in which they are started."""
    configuration: str
    """Name of its configuration file."""

    def __init__(self, host: Host, *, directory: Path) -> None:
        self.host = host
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def file(self) -> Path:
        """Its configuration file."""
        return self.directory / self.configuration

    @property
    def log(self) -> str:
        """All that its programs have said."""
        return "\n".join(program.log for program in self.programs)

    def start(self, text: str) -> None:
        """Write the configuration and start; returns when it answers."""
        self.write(text)
        self.restart()

    def write(self, text: str) -> None:
        """Write the configuration; it is read at the next start."""
        self.file.write_text(text)
        self.file.chmod(0o600)

    def restart(self) -> None:
        """Start with the configuration that there is: after ``kill`` a restart that peers are told of where it can."""
        for program in self.programs:
            if not program.running:
                self.host.network.processes.append(program)
                program.start()
        wait_for(self._up, deadline=20, what=f"{type(self).__name__} answers", interval=0.02)

    def _up(self) -> bool:
        """Whether it answers; ``RuntimeError`` with what it said if it has ended: it refuses its configuration."""
        if not all(program.running for program in self.programs):
            raise RuntimeError(f"{type(self).__name__} has ended: {self.log[-2000:]}")
        return self.answers()

    def stop(self) -> None:
        """End it as its service manager would."""
        for program in reversed(self.programs):
            program.stop()

    def kill(self) -> None:
        """SIGKILL to what speaks BGP: no goodbye to anyone."""
        self.programs[-1].kill()

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @abstractmethod
    def answers(self) -> bool:
        """Whether it can be asked."""

    @abstractmethod
    def established(self) -> frozenset[Address]:
        """Addresses of the neighbours whose sessions are up."""

    @abstractmethod
    def paths(self, prefix: Prefix) -> tuple[HeldPath, ...]:
        """The paths of a prefix that it holds after its import policy, the best first."""

    def wait_established(self, *neighbours: str, deadline: float = 30) -> None:
        """Wait until the sessions with these neighbours are up."""
        wanted = set(map(ip_address, neighbours))
        wait_for(lambda: wanted <= self.established(), deadline=deadline, what=f"{neighbours} up\n{self.log[-3000:]}")

    def wait_path(self, prefix: Prefix, *, deadline: float = 20) -> HeldPath:
        """Wait until it holds a path of a prefix; the best."""
        return wait_for(lambda: self.paths(prefix), deadline=deadline, what=f"a path of {prefix}", interval=0.1)[0]

    def wait_no_path(self, prefix: Prefix, *, deadline: float = 20) -> None:
        """Wait until it holds none."""
        wait_for(lambda: not self.paths(prefix), deadline=deadline, what=f"no path of {prefix}", interval=0.1)


class Returning(Router):
    """A router of one program that is started in another way after a kill: so it tells its peers that it has restarted."""

    def __init__(self, host: Host, *, directory: Path) -> None:
        super().__init__(host, directory=directory)
        self.killed = False
        self.programs = (self.program(),)

    @abstractmethod
    def program(self) -> Process:
        """The program as it is to be started now."""

    def kill(self) -> None:
        super().kill()
        self.killed = True

    def restart(self) -> None:
        if not self.programs[0].running:
            self.programs = (self.program(),)
        super().restart()


def with_own(folders: Mapping[str, Sequence[str]], *command: str) -> tuple[str, ...]:
    """A command that sees each of these folders as an empty file system in memory, with subfolders of these names."""
    steps = [
        f"mount -t tmpfs -o mode=755 tmpfs {folder}" + "".join(f" && mkdir {folder}/{name}" for name in names)
        for folder, names in folders.items()
    ]
    return ("unshare", "--mount", "sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh", *command)


def parsed(text: str) -> Any:
    """JSON that a router printed; None where it printed something else."""
    try:
        return json.loads(text)
    except ValueError:
        return None

"""The programs of a lab by name, ``tor``, ``node1/agent`` and so on: started, stopped, found again by another process."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from towpath.lab.bird import Bird
from towpath.lab.netns import Network
from towpath.lab.process import Process

HEALTH_PORT = 9180
"""Port of ``/readyz`` on localhost in the namespace of an agent or controller."""
METRICS_PORT = 9181
"""Port of ``/metrics`` on all addresses there."""
_HEALTH = ("--health-port", str(HEALTH_PORT), "--metrics-port", str(METRICS_PORT))


class Programs:
    """Every program runs in the namespace of its host and logs to a file of its own in the lab's folder.

    ``servers``: the commands of the API server's programs by name; ``source``: the flags by which others find it.
    """

    def __init__(
        self, network: Network, root: Path, *, servers: Mapping[str, Sequence[str]], source: Sequence[str]
    ) -> None:
        self.network = network
        self.root = root
        self.servers = servers
        self.source = tuple(source)
        self.module = "towpath.controller.cli"
        """What Python runs as one of ours."""
        self._processes: dict[str, Process] = {}

    def __getitem__(self, name: str) -> Process:
        if name not in self._processes:
            self._processes[name] = self._make(name)
        return self._processes[name]

    def start(self, name: str) -> None:
        """Start a program; one that runs stays."""
        if not self[name].running:
            self[name].start()

    def stop(self, *names: str, deadline: float = 5) -> None:
        """SIGTERM to all, then wait for each."""
        for name in names:
            self[name].signal(signal.SIGCONT)
            self[name].signal(signal.SIGTERM)
        for name in names:
            self[name].stop(deadline=deadline)

    def kill(self, *names: str) -> None:
        """SIGKILL to all, then wait for each."""
        for name in names:
            self[name].signal(signal.SIGKILL)
        for name in names:
            self[name].kill()

    def stop_all(self) -> None:
        """Stop everything."""
        self.stop(*self._processes, deadline=3)
        self._processes.clear()

    def forget(self, *names: str) -> None:
        """Kill programs that will not come back."""
        self.kill(*(name for name in names if name in self._processes))
        for name in names:
            self._processes.pop(name, None)

    def running(self) -> Mapping[str, bool]:
        """All programs, and whether each one runs."""
        return {name: process.running for name, process in self._processes.items()}

    def identities(self) -> dict[str, tuple[int, str]]:
        """What another process needs to find the running ones."""
        found = {name: process.identity for name, process in self._processes.items()}
        return {name: identity for name, identity in found.items() if identity is not None}

    def adopt(self, identities: Mapping[str, tuple[int, str]]) -> None:
        """Take over programs that another process started."""
        for name, identity in identities.items():
            self[name].adopt(identity)

    def bird(self) -> Bird:
        """The router's BIRD; its process is the program ``tor``."""
        bird = Bird(self.network.known("tor"), directory=self.root / "tor")
        bird.process = self._processes.setdefault("tor", bird.process)
        return bird

    def _make(self, name: str) -> Process:
        if name == "tor":
            return self.bird().process
        host, _, part = name.partition("/")
        command = self.servers.get(name) or [sys.executable, "-m", *self._command(host, part)]
        return Process((*self.network.known(host).enter, *command), log=self.root / f"{name.replace('/', '-')}.log")

    def _command(self, host: str, part: str) -> list[str]:
        run = self.root / host / "run"
        socket = ["--socket", str(run / "speaker.sock")]
        match part:
            case "speaker":
                arguments = ["speaker", *socket]
            case "agent":
                folders = ("--run-dir", str(run), "--state-dir", str(self.root / host / "state"))
                cni = ("--cni-conf-dir", str(self.root / host / "cni"), "--cni-bin-dir", "/usr/lib/cni")
                arguments = ["agent", "--node", host, *self.source, *socket, *folders, *cni, *_HEALTH]
            case _:
                arguments = ["controller", *self.source, "--identity", host, *_HEALTH]
        return [self.module, *arguments]

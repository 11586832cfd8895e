"""The program as a plugin calls it: with the CNI project's host-local, and a desk like the agent's in a thread."""

import asyncio
import contextlib
import json
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ipam.world import block, pool
from tests.unit.ipam.world import node as node_object
from towpath.controller.node.desk import Desk, Question
from towpath.ipam.allowance import Allowance, Asker, Offer, allowance
from towpath.ipam.cni import NETWORK, conflist
from towpath.ipam.hostlocal import HostLocal
from towpath.lab.process import wait_for
from towpath.lab.tools import cni_plugins, towpath_ipam
from towpath.model.cluster import Cluster
from towpath.model.reason import Refusal

POOLS = {"a": pool("a", "10.99.0.0/24", blockSize=29), "b": pool("b", "fd99::/64", blockSize=125)}
OWN = (block("10.99.0.8/29", "n"), block("fd99::8/125", "n", pool="b"))
THEIRS = block("10.99.0.16/29", "m")


class Node:
    """A node's folder, its configuration, and its desk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "ipam.sock"
        self.asks: dict[str, str] = {}
        """What pods ask for, by namespace and name."""
        self.asked: list[Question] = []
        self.silent = False
        """Nobody knows anything yet."""
        self.waiting: tuple[str, ...] = ()
        self.program = towpath_ipam()
        self.path = f"{self.program.parent}:{cni_plugins()}"
        self.written: dict[str, Any] = {}
        """What another agent has written in place of ours."""
        self.records = HostLocal(folder / "cni")
        blocks = {one.name: one for one in (*OWN, THEIRS)}
        self.cluster = Cluster(pools=POOLS, blocks=blocks, nodes={"n": node_object("n")})

    def configuration(self, **changes: Any) -> dict[str, Any]:
        """What a plugin hands on."""
        if self.written:
            return {**self.written, **changes}
        made = conflist(
            [one.spec for one in OWN],
            POOLS,
            data_dir=self.folder / "cni",
            agent=self.socket,
            waiting=self.waiting,
            versions=("1.0.0",),
        )
        return {"cniVersion": "1.1.0", "name": NETWORK, **made["plugins"][0], **changes}

    def call(self, command: str, *, pod: str = "default/p", container: str = "c", **changes: Any) -> tuple[int, Any]:
        """Run the program; its exit code and what it printed, as JSON."""
        return self.call_with(json.dumps(self.configuration(**changes)), command, pod=pod, container=container)

    def call_with(self, text: str, command: str, *, pod: str = "default/p", container: str = "c") -> tuple[int, Any]:
        """The same with any text as configuration."""
        namespace, _, name = pod.partition("/")
        done = subprocess.run(
            [self.program],
            input=text.encode(),
            env={
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": container,
                "CNI_NETNS": "/run/netns/none",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": self.path,
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}",
            },
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert not done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def add(self, **wanted: Any) -> list[str]:
        """The addresses that a pod gets."""
        code, said = self.call("ADD", **wanted)
        assert code == 0, said
        return [one["address"] for one in said["ips"]]

    def listened_to(self) -> bool:
        """Whether somebody takes connections at the socket, which is there a moment before."""
        with socket.socket(socket.AF_UNIX) as asking:
            return asking.connect_ex(str(self.socket)) == 0

    async def decide(self, question: Question) -> Allowance | Refusal | None:
        """As the agent does."""
        self.asked.append(question)
        taken = {one.address: f"container {one.container}" for one in self.records.records()}
        ranges = self.configuration()["ipam"]["ranges"]
        offer = Offer("n", self.cluster, tuple(one for each in ranges for one in each))
        asker = Asker(question.pod, addresses=self.asks.get(question.pod, ""))
        return None if self.silent else allowance(offer, asker, taken=taken)


@pytest.fixture
def node() -> Iterator[Node]:
    """A node without an agent."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        yield Node(Path(folder))


@pytest.fixture
def served(node: Node) -> Iterator[Node]:
    """A node with one."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(Desk(node.socket, node.decide).serve())

    def run() -> None:
        with_suppressed(loop, task)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(node.listened_to, deadline=20, what="the desk")
        yield node
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def with_suppressed(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    """Run until it is cancelled."""
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)

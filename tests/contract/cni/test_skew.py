"""``towpath-ipam`` of an earlier release with the agent of this one, and this one's with that agent: what a host keeps, and a rollback."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.cni.conftest import Node
from tests.tree import ASKING
from towpath.ipam.cni import EVERYBODY
from towpath.ipam.plugins import FORM, ask
from towpath.lab.clang import compile_static
from towpath.lab.process import wait_for
from towpath.lab.tools import towpath_ipam

TRY_AGAIN = 11
FIXED = "10.99.0.13"
FREE = {f"10.99.0.{one}/24" for one in range(8, 16)} - {f"{FIXED}/24"}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that release's sources, the program made of them in it."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ASKING) as archive:  # our own
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    sources = folder / "towpath"
    compile_static(sorted((sources / "cni").glob("*.c")), sources / "bin" / "towpath-ipam")
    return sources


@pytest.fixture
def agent_of_before(node: Node, earlier: Path) -> Iterator[Node]:
    """A node whose agent is of that release, with the configuration that it writes."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("earlier_agent.py")),
        str(node.folder),
        f"default/p={FIXED}",
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(earlier / "src")},
    ) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        try:
            node.written = json.loads(agent.stdout.readline())
            wait_for(node.listened_to, deadline=20, what="the desk")
            yield node
        finally:
            agent.stdin.close()


def a_life(node: Node) -> None:
    """A pod gets what it asks for, another one is told who has it, and everything is given back."""
    assert node.add(pod="default/p") == [f"{FIXED}/24", "fd99::8/64"]
    code, said = node.call("ADD", pod="default/p", container="d")
    assert (code, said["code"]) == (1, TRY_AGAIN)
    assert f"{FIXED} is taken by container c" in said["msg"]
    assert node.add(pod="default/other", container="e")[0] in FREE
    assert node.call("STATUS") == (0, None)
    assert node.call("DEL") == (0, None)
    assert node.call("GC", **{"cni.dev/valid-attachments": []}) == (0, None)
    assert not list(node.records.records())


def test_the_program_of_before_asks_the_agent_of_now(served: Node, earlier: Path) -> None:
    """A host that keeps its own: pods get what they ask for, and those whose namespace is named wait where nobody answers."""
    served.program = earlier / "bin" / "towpath-ipam"
    served.asks = {"default/p": FIXED}
    a_life(served)
    served.silent, served.waiting = True, ("team",)
    assert served.add(pod="default/q", container="q")[0] in FREE
    code, said = served.call("ADD", pod="team/p", container="t")
    assert (code, said["code"]) == (1, TRY_AGAIN)


def test_the_program_of_now_asks_the_agent_of_before(agent_of_before: Node) -> None:
    """After a rollback, or on a host that brings a newer one itself."""
    a_life(agent_of_before)


def test_the_agent_knows_what_the_program_of_before_does_not(node: Node, earlier: Path) -> None:
    """It says so in VERSION alone. With what it does not know it would give anybody an address, and one twice: so it is not asked that."""
    (now,) = ask(towpath_ipam().parent, ["towpath-ipam"])
    (before,) = ask(earlier / "bin", ["towpath-ipam"])
    assert (now.older, now.trouble, before.trouble) == ("", "", "")
    assert before.versions == now.versions
    assert "is of an older towpath than the agent" in before.older
    assert node.call("VERSION")[1]["towpathForm"] == FORM
    node.waiting = (EVERYBODY,)
    assert node.call("ADD")[1]["code"] == TRY_AGAIN
    assert node.call("ADD", type="towpath-ipam") == (0, {"cniVersion": "1.1.0"})
    assert not list(node.records.records())
    node.program = earlier / "bin" / "towpath-ipam"
    assert node.call("ADD")[0] == 0
    assert node.call("DEL")[0] == 0
    assert node.call("ADD", type="towpath-ipam")[1]["ips"]

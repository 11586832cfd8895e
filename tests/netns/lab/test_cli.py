"""``./dev lab``, as a person types it: each command is a process of its own."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

PREFIX = "tplc"


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    """One command."""
    command = [sys.executable, "-m", "towpath.lab.cli", "--prefix", PREFIX, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


@pytest.fixture(scope="module")
def up() -> Iterator[str]:
    """A lab of one node; what ``up`` printed."""
    done = lab("up", "1")
    assert done.returncode == 0, done.stderr
    yield done.stdout
    assert lab("down").returncode == 0


def test_up_says_what_to_try(up: str) -> None:
    """When it returns everything is there, and it names the next commands."""
    assert "everyone has a route to every block" in up
    assert f"./dev lab --prefix {PREFIX} pod add node1" in up


def test_a_pod_is_added_reached_and_deleted(up: str) -> None:
    """Its name and addresses are printed, and the client reaches it."""
    added = lab("pod", "add", "node1")
    assert added.returncode == 0, added.stderr
    address = added.stdout.split()[1].partition("/")[0]
    assert "1 received" in lab("exec", "client", "ping", "-n", "-c", "1", "-W", "2", address).stdout
    assert lab("pod", "del", "node1-p1").stdout == "node1-p1 is gone\n"


def test_a_program_that_was_killed_is_shown_as_ended_and_started_again(up: str) -> None:
    """``status`` lists all programs, running or not."""
    assert lab("kill", "node1/speaker").returncode == 0
    line = next(line for line in lab("status").stdout.splitlines() if "node1/speaker" in line)
    assert line.split() == ["node1/speaker", "ended"]
    assert lab("start", "node1/speaker").returncode == 0
    assert "speaker.started" in lab("logs", "node1/speaker").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("pod", "add", "node7"), "there is no node node7; there are node1"),
        (("pod", "del", "x"), "there is no pod x; there are none"),
        (("exec", "x", "true"), "there is no host x; there are node1, tor, client, api, ctl1, ctl2"),
        (("kill", "x"), "there is no program x; there are api, tor, ctl1, ctl2, node1/speaker, node1/agent"),
        (("node", "add", "node1"), "there is a node node1 already"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(up: str, words: tuple[str, ...], sentence: str) -> None:
    """It names what there is instead."""
    done = lab(*words)
    assert (done.returncode, done.stderr) == (1, f"{sentence}\n")

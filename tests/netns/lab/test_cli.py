"""``./dev lab``, as a person types it: each command is a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.names import own
from tests.patience import longer

PREFIX = own("tplc")


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    """One command."""
    command = [sys.executable, "-m", "towpath.lab.cli", "--prefix", PREFIX, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=longer(90), check=False)


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
    assert "1 received" in lab("exec", "client", "ping", "-n", "-c", "1", "-W", "20", address).stdout
    assert lab("pod", "del", "node1-p1").stdout == "node1-p1 is gone\n"


def test_a_program_that_was_killed_is_shown_as_ended_and_started_again(up: str) -> None:
    """``status`` lists all programs, running or not."""
    assert lab("kill", "node1/speaker").returncode == 0
    line = next(line for line in lab("status").stdout.splitlines() if "node1/speaker" in line)
    assert line.split() == ["node1/speaker", "ended"]
    assert lab("start", "node1/speaker").returncode == 0
    assert "speaker.started" in lab("logs", "node1/speaker").stdout


def test_a_file_is_applied_and_shown(up: str, tmp_path: Path) -> None:
    """What it names is merged into the object that is there; a mistake is told in the server's words."""
    change = tmp_path / "change.yaml"
    text = "apiVersion: towpath.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor-a-ipv4}\nspec: {description: "
    change.write_text(text + "changed}\n")
    assert lab("apply", str(change)).stdout == "BGPPeer/tor-a-ipv4 is applied\n"
    shown = lab("get", "bgppeer", "tor-a-ipv4").stdout
    assert "description: changed\n" in shown
    assert "peerIP: 192.0.2.1\n" in shown
    change.write_text(text + "changed, asNumber: 0}\n")
    refused = lab("apply", str(change))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "spec.asNumber" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("pod", "add", "node7"), "there is no node node7; there are node1"),
        (("pod", "del", "x"), "there is no pod x; there are none"),
        (("exec", "x", "true"), "there is no host x; there are node1, tor, client, api, ctl1, ctl2"),
        (("kill", "x"), "there is no program x; there are api, tor, ctl1, ctl2, node1/speaker, node1/agent"),
        (("get", "BGPPeer", "x"), "there is no BGPPeer x; there are tor-a-ipv4, tor-a-ipv6, tor-b-ipv4, tor-b-ipv6"),
        (("apply", "/dev/null/x"), "/dev/null/x: [Errno 20] Not a directory: '/dev/null/x'"),
        (("node", "add", "node1"), "there is a node node1 already"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(up: str, words: tuple[str, ...], sentence: str) -> None:
    """It names what there is instead."""
    done = lab(*words)
    assert (done.returncode, done.stderr) == (1, f"{sentence}\n")

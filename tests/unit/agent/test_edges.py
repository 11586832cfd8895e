"""Logs, events, health and the command line."""

import io
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from towpath.controller import logging as ours
from towpath.controller.cli import agent_settings, main, parser
from towpath.controller.health import Health, ask
from towpath.controller.pages import Page
from towpath.controller.settings import CannotRunError
from towpath.model.secret import Secret


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging of the test run is as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    ours.set_level("Info")
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines() -> io.StringIO:
    """The JSON log of this process."""
    stream = io.StringIO()
    ours.configure(process="test", style="json", stream=stream)
    return stream


def test_a_secret_is_stars_wherever_it_is(lines: io.StringIO) -> None:
    """Values, nested values and fields that are named like a password print as stars."""
    secret = Secret(b"canary")
    structlog.get_logger().info("seen", one=secret, many={"x": [secret]}, password="canary", text=f"{secret}")
    assert "canary" not in lines.getvalue()
    assert json.loads(lines.getvalue())["many"] == {"x": ["***"]}


def test_the_level_follows_the_configuration(lines: io.StringIO) -> None:
    """``logSeverityScreen`` takes effect at once, on loggers that exist already; ExaBGP never goes below INFO."""
    log = structlog.get_logger()
    log.debug("one")
    ours.set_level("Debug")
    log.debug("two")
    assert logging.getLogger("exabgp").level == logging.INFO
    ours.set_level("Error")
    log.warning("three")
    log.error("four")
    assert [json.loads(line)["event"] for line in lines.getvalue().splitlines()] == ["two", "four"]


def test_messages_of_libraries_are_events(lines: io.StringIO) -> None:
    """The standard library's records come out as ours."""
    logging.getLogger("aiohttp").warning("slow %s", "thing")
    found = json.loads(lines.getvalue())
    assert (found["event"], found["logger"], found["message"]) == ("library.message", "aiohttp", "slow thing")


def test_not_ready_is_not_dead() -> None:
    """The two paths answer by themselves; other paths and methods are refused."""
    health = Health(dead=lambda: None, unready=lambda: "no ipv6 block yet")
    assert health.response(b"GET /healthz HTTP/1.1\r\n") == Page("200 OK", b"ok\n")
    assert health.response(b"GET /readyz?verbose HTTP/1.1\r\n") == Page(
        "503 Service Unavailable", b"no ipv6 block yet\n"
    )
    assert health.response(b"GET /etc/passwd HTTP/1.1\r\n").status.startswith("404")
    assert health.response(b"POST /healthz HTTP/1.1\r\n").status.startswith("405")
    assert health.response(b"\xff\xfe\r\n").status.startswith("405")


async def test_a_probe_asks_by_a_socket(tmp_path: Path) -> None:
    """Where ports are shared, a socket tells the same; what an earlier process left under its name is no obstacle."""
    path = tmp_path / "health.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    health = Health(dead=lambda: None, unready=lambda: "the cluster is not listed yet")
    async with await health.serve_at(path):
        assert await ask(path, "/healthz", within=10) == (True, "ok")
        assert await ask(path, "/readyz", within=10) == (False, "the cluster is not listed yet")
    assert await ask(tmp_path / "none.sock", "/healthz", within=10) == (
        False,
        f"{tmp_path}/none.sock: No such file or directory",
    )


async def test_a_process_that_hangs_fails_its_probe(tmp_path: Path) -> None:
    """A loop that does not turn accepts connections and does not answer."""
    path = tmp_path / "health.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        assert await ask(path, "/healthz", within=0.2) == (False, "no answer within 0.2 s")


async def test_a_port_that_is_taken_is_told() -> None:
    """On the host's network somebody else may have it: the message names the flag."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotRunError, match=rf"--health-port {port} of 127.0.0.1: .*in use"):
            await Health(dead=lambda: None, unready=lambda: None).serve(port)


def test_the_probe_is_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``towpath health`` fails with a sentence; without a socket it says what is missing."""
    assert main(["health", "/readyz"]) == 1
    assert "--health-socket says which process is asked" in capsys.readouterr().err
    monkeypatch.setenv("TOWPATH_HEALTH_SOCKET", str(tmp_path / "none"))
    assert main(["health", "/readyz"]) == 1
    assert "No such file" in capsys.readouterr().out


def test_flags_win_over_the_environment() -> None:
    """``TOWPATH_*`` gives defaults, flags override them, folders follow the run dir."""
    environment = {"TOWPATH_NODE": "one", "TOWPATH_RUN_DIR": "/run/x", "TOWPATH_HEALTH_PORT": "9000"}
    found = agent_settings(parser(environment).parse_args(["agent", "--node", "two"]))
    assert (found.node, found.run_dir, found.health_port) == ("two", Path("/run/x"), 9000)
    assert found.socket == Path("/run/x/speaker.sock")


def test_usage_errors_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A bad value in the environment names the variable; exclusive flags are named; the exit codes differ."""
    with pytest.raises(SystemExit) as usage:
        parser({"TOWPATH_HEALTH_PORT": "many"}).parse_args(["agent"])
    assert usage.value.code == 2
    assert "TOWPATH_HEALTH_PORT='many'" in capsys.readouterr().err
    assert main(["agent", "--from", "/tmp", "--server", "http://127.0.0.1:1"]) == 1
    assert "--from and --server exclude each other" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """``towpath version`` prints a version and nothing else."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out.count(".") == 2


def test_the_run_dir_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The CNI configuration is a link into it that a container runtime follows from another folder."""
    monkeypatch.chdir(tmp_path)
    found = agent_settings(parser({}).parse_args(["agent", "--run-dir", "run"]))
    assert (found.run_dir, found.socket) == (tmp_path / "run", tmp_path / "run" / "speaker.sock")

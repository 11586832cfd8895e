"""The desk at which pods' addresses are asked for: what it understands, what it answers, and what it bears."""

import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.patience import eventually, longer
from towpath.controller.node import desk
from towpath.controller.node.desk import Desk, Question, answer, read
from towpath.ipam.allowance import Allowance
from towpath.model.net import parse_address
from towpath.model.reason import Reason, Refusal, Why

CONFIGURATION = {
    "name": "towpath",
    "args": {"cni": {"labels": []}},
    "ipam": {"type": "towpath-ipam", "ranges": [], "x": 1},
}
ASKED = b"c\neth0\nK8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=u;=;X\n" + json.dumps(CONFIGURATION).encode()
RANGE = {"rangeStart": "10.0.0.2"}
ALLOWED = Allowance(((RANGE,),), (parse_address("10.0.0.2"),))


def test_a_question_says_who_asks_and_with_what() -> None:
    """Names come from CNI_ARGS; a runtime that gives none is understood too."""
    question = read(ASKED)
    assert question is not None
    assert (question.pod, question.uid, question.container) == ("a/b", "u", "c")
    assert question.configuration == CONFIGURATION
    other = read(b"c\neth0\n\n" + json.dumps(CONFIGURATION).encode())
    assert other is not None
    assert other.pod == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n\n", b"c\neth0\n\n{}", b'c\neth0\n\n{"ipam": 1}', b"c\neth0\n\n[]", b"\xff\n\n\n{}", b"[" * 9000],
)
def test_what_is_no_question_is_none(content: bytes) -> None:
    """Nothing is raised, whatever comes."""
    assert read(content) is None
    assert read(b"c\neth0\n\n" + b"[" * 200_000) is None


def test_an_answer_is_a_configuration_for_host_local_or_a_sentence() -> None:
    """All that the runtime wrote stays, but for type and ranges; what the pod asks for is among its arguments."""
    question = read(ASKED)
    assert question is not None
    head, _, content = answer(question, ALLOWED).partition(b"\n")
    assert head == b"use %d" % len(content)
    assert json.loads(content) == {
        "name": "towpath",
        "args": {"cni": {"labels": [], "ips": ["10.0.0.2"]}},
        "ipam": {"type": "host-local", "ranges": [[RANGE]], "x": 1},
    }
    why = Why("Pod", "a/b")
    assert answer(question, Refusal(Reason.ADDRESS_TAKEN, "é", why)) == "refuse 11 11\nPod/a/b: é".encode()
    assert answer(question, Refusal(Reason.ADDRESS_OUTSIDE, "x", why)).startswith(b"refuse 100 ")


@contextlib.asynccontextmanager
async def serving(decide: Callable[[Question], Awaitable[Allowance | Refusal | None]]) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as left:
        path = Path(folder) / "ipam.sock"
        left.bind(str(path))  # by a process that was killed
        path.chmod(0o755)
        task = asyncio.create_task(Desk(path, decide).serve())
        try:
            ready = lambda: path.exists() and path.stat().st_mode & 0o777 == 0o600  # noqa: E731
            await eventually(ready, deadline=10, what="a socket that only root may use")
            yield path
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def asked(path: Path, content: bytes = ASKED) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    with contextlib.suppress(OSError):
        writer.write(content)
        writer.write_eof()
    try:
        return await reader.read()
    except OSError:
        return b""
    finally:
        writer.close()


async def allow(question: Question) -> Allowance:
    return ALLOWED


async def test_many_ask_at_once_and_garbage_disturbs_nobody() -> None:
    """Each of 200 gets its answer; what is no question, or far too large, gets none."""
    async with serving(allow) as path, asyncio.timeout(longer(30)):
        good, bad = [asked(path) for _ in range(200)], [asked(path, b"\xff" * 9) for _ in range(20)]
        answers = await asyncio.gather(*good, *bad, asked(path, b"x" * (desk.LARGEST + 9)))
    assert all(one.startswith(b"use ") for one in answers[:200])
    assert set(answers[200:]) == {b""}


async def test_one_who_never_ends_its_question_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """And others are served meanwhile."""
    monkeypatch.setattr(desk, "PATIENCE", 0.5)
    async with serving(allow) as path, asyncio.timeout(longer(30)):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"c\n")
        assert (await asked(path)).startswith(b"use ")
        assert await reader.read() == b""
        writer.close()


async def test_who_comes_beyond_the_limit_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be decided in time is told nothing either; both go by their configuration."""
    monkeypatch.setattr(desk, "AT_ONCE", 1)
    begun = asyncio.Event()

    async def never(question: Question) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with serving(never) as path, asyncio.timeout(longer(30)):
        first = asyncio.create_task(asked(path))
        await begun.wait()
        assert await asked(path) == b""
        assert await first == b""

"""What a reflector does after each kind of answer: the class of error, how long it waits, and that it never runs hot."""

import asyncio

import aiohttp
import pytest

from towpath.controller.kube.errors import error_of
from towpath.controller.kube.watch import Reflector, Restores, Retry
from towpath.controller.ports import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidObjectError,
    NotFoundError,
    Page,
    UnreachableError,
    WatchEvent,
)
from towpath.controller.store import Store

RETRY = Retry(first=0.1, longest=3.0, longest_refused=15.0, longest_asked=60.0)
SOON, REFUSED = RETRY.longest, RETRY.longest_refused
STATUSES = [
    (302, "", ApiError, SOON),
    (400, "BadRequest", InvalidObjectError, REFUSED),
    (401, "Unauthorized", ForbiddenError, REFUSED),
    (403, "Forbidden", ForbiddenError, REFUSED),
    (404, "NotFound", NotFoundError, REFUSED),
    (405, "MethodNotAllowed", ApiError, SOON),
    (408, "", ApiError, SOON),
    (409, "Conflict", ConflictError, SOON),
    (409, "AlreadyExists", AlreadyExistsError, SOON),
    (410, "Expired", GoneError, SOON),
    (410, "Gone", GoneError, SOON),
    (413, "RequestEntityTooLarge", ApiError, SOON),
    (415, "UnsupportedMediaType", ApiError, SOON),
    (422, "Invalid", InvalidObjectError, REFUSED),
    (429, "TooManyRequests", ApiError, SOON),
    (500, "InternalError", UnreachableError, SOON),
    (502, "", UnreachableError, SOON),
    (503, "ServiceUnavailable", UnreachableError, SOON),
    (504, "Timeout", UnreachableError, SOON),
]
"""Status, the reason in the body, the error, the longest pause."""


@pytest.mark.parametrize(("status", "reason", "kind", "longest"), STATUSES)
def test_every_status_has_its_error_and_its_pause(status, reason, kind, longest):
    """Pauses double with jitter up to the limit of their class; a Retry-After is obeyed, up to a minute."""
    body = b'{"message": "no", "reason": "%s"}' % reason.encode()
    error = error_of("list Node", status=status, body=body)
    assert type(error) is kind
    assert error.status == status
    assert str(error) == "list Node: no"
    for failures in range(40):
        pauses = {RETRY.pause(failures, error) for _ in range(20)}
        wanted = min(0.1 * 2**failures, longest)
        assert wanted / 2 <= min(pauses) < max(pauses) <= wanted
    asked = error_of("list Node", status=status, body=b"", retry_after="30")
    assert 30 <= RETRY.pause(0, asked) <= 36
    long = error_of("list Node", status=status, body=b"", retry_after="86400")
    assert 60 <= RETRY.pause(0, long) <= 72


class Clock:
    """Stands in for the passing of time: what is slept is added up."""

    def __init__(self, *, until):
        self.now, self.until = 0.0, until

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.get_running_loop().create_future() if self.now > self.until else None


class Failing:
    """A reader whose lists, or watches alone, always end the same way."""

    def __init__(self, error, *, at):
        self.error, self.at, self.calls = error, at, 0

    async def list(self, kind, **_):
        self.calls += 1
        if self.at == "list":
            raise self.error
        return Page((), "5")

    async def watch(self, kind, resource_version, **_):
        self.calls += 1
        if self.at == "first event":
            yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": resource_version}})
        if self.error is not None:
            raise self.error


ERRORS = {
    **{
        f"{status} {reason}": error_of("x", status=status, body=b"", retry_after=None)
        for status, reason, *_ in STATUSES
    },
    "transport": UnreachableError(f"x: {aiohttp.ServerDisconnectedError()}"),
    "ended in order": None,
}


WHERE = [
    (what, at)
    for what, error in ERRORS.items()
    for at in ("list", "watch", "first event")
    if error is not None or at != "list"
]


@pytest.mark.parametrize(("what", "at"), WHERE)
async def test_no_error_makes_a_hot_loop(monkeypatch, what, at):
    """In ten minutes of any error, in a list, at the opening of a watch or right after, the server is asked at most 1.4 times a second."""
    clock = Clock(until=600)
    monkeypatch.setattr("towpath.controller.kube.watch.asyncio.sleep", clock.sleep)
    reader, store = Failing(ERRORS[what], at=at), Store(("Node",))
    task = asyncio.create_task(Reflector(reader, store, kind="Node", retry=RETRY).run())
    while clock.now <= clock.until:
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert 600 / 15 < reader.calls < 600 * 1.4


class Restored:
    """A server that goes away once and comes back with what it had at an earlier version."""

    def __init__(self, *, back_at):
        self.versions, self.watched, self.listed = iter(("90", back_at, back_at)), [], []

    async def list(self, kind, *, limit, **_):
        self.listed.append(limit)
        return Page((), next(self.versions))

    async def watch(self, kind, resource_version, **_):
        self.watched.append(resource_version)
        if len(self.watched) == 1:
            raise UnreachableError("gone")
        await asyncio.get_running_loop().create_future()
        yield


@pytest.mark.parametrize(("back_at", "goes_on_from"), [("90", "90"), ("95", "90"), ("50", "50")])
async def test_a_store_from_a_backup_is_listed_anew(settled, back_at, goes_on_from):
    """It would say nothing to a watch from a version that it has not reached; any other store goes on where it was lost."""
    reader = Restored(back_at=back_at)
    retry = Retry(first=0.001, longest=0.001, longest_refused=0.001, longest_asked=0.001)
    task = asyncio.create_task(Reflector(reader, Store(("Node",)), kind="Node", retry=retry).run())
    await settled(lambda: len(reader.watched) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert reader.watched == ["90", goes_on_from]
    assert reader.listed[1] == 1


class Overtaken:
    """A server that comes back with what it had at an earlier version, and has gone on when it is asked for the second kind."""

    def __init__(self, *, lost):
        self.lost = lost
        self.versions = {"Node": iter(("90", "50", "50", "60", "61")), "IPAMBlock": iter(("80", "99", "100", "101"))}
        self.watched = {"Node": [], "IPAMBlock": []}
        self.begun = asyncio.Event()

    async def list(self, kind, **_):
        return Page((), next(self.versions[kind]))

    async def watch(self, kind, resource_version, **_):
        self.watched[kind].append(resource_version)
        if all(self.watched.values()):
            self.begun.set()
        await self.begun.wait()
        if kind in self.lost and len(self.watched[kind]) == 1:
            raise UnreachableError("gone")
        await asyncio.get_running_loop().create_future()
        yield


@pytest.mark.parametrize("lost", [("Node",), ("Node", "IPAMBlock"), ("IPAMBlock", "Node")])
async def test_what_one_finds_undone_all_list_anew_once(settled, lost):
    """Of the other kind all looks as if the store had only gone on, whether its watch was lost or not."""
    reader, store, restores = Overtaken(lost=lost), Store(("Node", "IPAMBlock")), Restores()
    retry = Retry(first=0.001, longest=0.001, longest_refused=0.001, longest_asked=0.001)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(Reflector(reader, store, kind=kind, retry=retry, restores=restores).run())
            for kind in ("Node", "IPAMBlock")
        ]
        await settled(lambda: "50" in reader.watched["Node"] and {"99", "100"} & set(reader.watched["IPAMBlock"]))
        for _ in range(20):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
    assert reader.watched["Node"] == ["90", "50"]
    assert [one for one in reader.watched["IPAMBlock"] if one != "80"] in (["99"], ["100"])

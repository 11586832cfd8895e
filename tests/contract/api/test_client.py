"""The client against servers that misbehave, and the credentials that it presents."""

import asyncio
import base64
import socket
import time

import pytest
from aiohttp import web

from tests.patience import longer, within
from towpath.controller.kube.client import KubeApi, Timeouts
from towpath.controller.kube.connect import connect
from towpath.controller.kube.credentials import Credentials
from towpath.controller.ports import ApiError, ForbiddenError, UnreachableError


@pytest.fixture
async def answering():
    """A server whose one handler a test sets."""
    runners = []

    async def start(handler):
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_too_many_requests(answering):
    """429 is waited for as long as the server asks, and then tried again; one that asks for long is the caller's affair."""
    asked = []

    async def handler(request):
        asked.append(time.monotonic())
        if len(asked) < 3:
            return web.json_response({"message": "slow down"}, status=429, headers={"Retry-After": "0.2"})
        if len(asked) > 3:
            return web.json_response({"message": "slow down"}, status=429, headers={"Retry-After": "60"})
        return web.json_response({"metadata": {"name": "n"}})

    async with await connect(server=await answering(handler)) as api:
        await api.get("Node", "n")
        assert asked[2] - asked[0] >= 0.4
        with pytest.raises(ApiError, match="get Node n: slow down") as caught:
            await api.get("Node", "n")
        assert caught.value.retry_after == 60
        assert len(asked) == 4


async def test_deadlines(answering):
    """A server that takes the request and does not answer is UnreachableError in time, for requests and watches."""
    ended = asyncio.Event()

    async def handler(request):
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await ended.wait()
            return response
        await ended.wait()
        return web.Response()

    async with await connect(server=await answering(handler), timeouts=Timeouts(request=0.3, watch_silence=0.3)) as api:
        async with within(3):
            with pytest.raises(UnreachableError, match="get Node n: no answer"):
                await api.get("Node", "n")
            with pytest.raises(UnreachableError, match="watch Node"):
                async for _ in api.watch("Node", "1"):
                    pass
        ended.set()


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"<html>bad gateway</html>", 502, UnreachableError),
        (b'{"message": "nodes is forbidden", "reason": "Forbidden"}', 403, ForbiddenError),
        (b"", 401, ForbiddenError),
        (b"no json", 200, UnreachableError),
        (b"[1]", 200, UnreachableError),
        (b"{}", 200, UnreachableError),
        (b'{"metadata": {}, "items": [{}]}', 200, UnreachableError),
        (b'{"metadata": {}, "items": [{"metadata": {"name": ""}}]}', 200, UnreachableError),
        (b"", 302, ApiError),
        (b'{"message": 5}', 500, UnreachableError),
    ],
)
async def test_strange_answers(answering, body, status, error):
    """Whatever comes back is an ApiError that names verb and kind, never another exception."""

    async def handler(request):
        return web.Response(body=body, status=status, content_type="application/json")

    async with await connect(server=await answering(handler)) as api:
        with pytest.raises(error, match="list Node"):
            await api.list("Node")


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b'{"type": "ADDED"}\n',
        b"[]\n",
        b'{"type": "ERROR", "object": {"message": "x", "code": 500}}\n',
        b'{"type": "ERROR", "object": {"message": "x", "code": "many"}}\n',
        b'{"type": "ERROR", "object": 7}\n',
        b'{"type": "ADDED", "object": {"metadata": {"name": "n"}}}\n',
        b'{"type": "MODIFIED", "object": {"metadata": {"resourceVersion": "2"}}}\n',
        b'{"type": "BOOKMARK", "object": {"metadata": null}}\n',
        b'{"type": "LATER", "object": {"metadata": {"name": "n", "resourceVersion": "2"}}}\n',
    ],
)
async def test_strange_lines(answering, line):
    """Whatever a watch says is an ApiError if it is no event."""

    async def handler(request):
        return web.Response(body=line)

    async with await connect(server=await answering(handler)) as api:
        with pytest.raises(ApiError, match="watch Node"):
            async for _ in api.watch("Node", "1"):
                pass


async def test_a_silent_watch_asks_whether_anybody_is_there(answering, settled):
    """It goes on while the server answers, anything at all, and ends soon after the server does not; one question for all."""
    asked, answers, ended = [], [True], asyncio.Event()

    async def handler(request):
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await ended.wait()
            return response
        asked.append(request.path)
        if not answers[0]:
            await ended.wait()
        return web.Response(status=500)

    timeouts = Timeouts(ask_after=0.2, connect=longer(0.3))
    async with await connect(server=await answering(handler), timeouts=timeouts) as api:

        async def follow():
            async for _ in api.watch("Node", "1"):
                pass

        watches = [asyncio.create_task(follow()) for _ in range(5)]
        async with within(10):
            await settled(lambda: len(asked) >= 3)
            assert not any(watch.done() for watch in watches)
            answers[0], count = False, len(asked)
            found = await asyncio.gather(*watches, return_exceptions=True)
        assert {str(error).partition(":")[0] for error in found} == {"watch Node"}
        assert all(isinstance(error, UnreachableError) for error in found)
        assert set(asked) == {"/version"}
        assert len(asked) <= count + 5
        ended.set()


async def test_nobody_there():
    """A refused connection is UnreachableError at once; so is a kubeconfig that is not there."""
    with socket.socket() as taken:  # a port that nobody else can begin to listen on
        taken.bind(("127.0.0.1", 0))
        async with await connect(server=f"http://127.0.0.1:{taken.getsockname()[1]}") as api:
            with pytest.raises(UnreachableError, match="get Node n"):
                await api.get("Node", "n")


async def test_bad_kubeconfig(tmp_path):
    """Missing, empty or broken, it is UnreachableError with its path."""
    for text in (None, "", "[", "apiVersion: v1\nkind: Config\n"):
        path = tmp_path / "config"
        if text is not None:
            path.write_text(text)
        with pytest.raises(UnreachableError, match=str(path)):
            await connect(kubeconfig=path)


async def test_a_service_account_is_read_whenever_it_is_used(tmp_path, monkeypatch, answering):
    """In a pod a token that the kubelet replaced is presented at once; one that is missing is an error that names it."""
    seen = []

    async def handler(request):
        seen.append((request.headers.get("Authorization"), request.headers["User-Agent"]))
        return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})

    with pytest.raises(UnreachableError, match="KUBERNETES_SERVICE_HOST"):
        Credentials.in_cluster(tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "2001:db8::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    credentials = Credentials.in_cluster(tmp_path)
    assert credentials.server == "https://[2001:db8::1]:443"
    credentials.server, credentials.tls = await answering(handler), lambda: None
    async with KubeApi(credentials) as api:
        for word in ("first", "second\n"):
            (tmp_path / "token").write_text(word)
            await api.list("Node")
        for break_it in ((tmp_path / "token").unlink, lambda: (tmp_path / "token").write_text("")):
            break_it()
            with pytest.raises(UnreachableError, match=f"list Node: the token cannot be read: .*{tmp_path / 'token'}"):
                await api.list("Node")
    assert seen == [("Bearer first", "towpath"), ("Bearer second", "towpath")]


async def test_a_kubeconfig_is_read_again_after_401(tmp_path, answering):
    """A token file that was replaced is used at the next try, of a request as of a watch; the same one is not tried twice."""
    seen = []

    async def handler(request):
        token = request.headers.get("Authorization")
        seen.append(token)
        if token != "Bearer new":
            return web.json_response({"message": "Unauthorized", "code": 401}, status=401)
        return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})

    token = tmp_path / "token"
    token.write_text("old")
    async with await connect(kubeconfig=_kubeconfig(tmp_path, await answering(handler), "tokenFile: token")) as api:
        with pytest.raises(ForbiddenError, match=f"list Node: .*does not accept .*{tmp_path / 'config'}: Unauthorized"):
            await api.list("Node")
        assert len(seen) == 1
        token.write_text("new")
        await api.list("Node")
        assert seen == ["Bearer old"] * 2 + ["Bearer new"]
        token.write_text("older")
        async with await connect(kubeconfig=tmp_path / "config") as second:
            with pytest.raises(ForbiddenError, match="watch Node"):
                await anext(second.watch("Node", "1"))
            token.write_text("new")
            with pytest.raises(ForbiddenError, match="watch Node"):
                await anext(second.watch("Node", "1"))
            await anext(second.watch("Node", "1"))


def _kubeconfig(folder, url, user):
    path = folder / "config"
    path.write_text(
        f"apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster:\n    server: {url}\n"
        f"users:\n- name: u\n  user:\n    {user}\ncontexts:\n- name: c\n  context: {{cluster: c, user: u}}\n"
    )
    return path


async def test_kubeconfig_credentials(tmp_path, answering):
    """Tokens and basic credentials of a kubeconfig are presented; they are in no error and no repr."""
    seen = []

    async def handler(request):
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=403)

    url = await answering(handler)
    for user, header in (
        ("token: canary", "Bearer canary"),
        ("username: me\n    password: canary", f"Basic {base64.b64encode(b'me:canary').decode()}"),
    ):
        async with await connect(kubeconfig=_kubeconfig(tmp_path, url, user)) as api:
            with pytest.raises(ForbiddenError) as caught:
                await api.list("Node")
            assert "canary" not in f"{caught.value!r} {api!r}"
        assert seen[-1] == header

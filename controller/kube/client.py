"""Requests to a Kubernetes API server: plain JSON in and out, every one with a deadline.

How long an other end that has vanished goes unnoticed, by what vanished:

- the server, or the way to it or from it: ``ask_after`` plus ``connect`` seconds. A watch that was silent for so long asks
  the server for its version, unless it has just answered something else.
- one connection alone: ``dead_after`` seconds of silence, by the kernel's keepalive.
- one connection behind a proxy that keeps our half of it: the server would have ended the watch by then, ten minutes.

Bookmarks are no sign of life: the server sends none for a kind of which it has seen no change since it started.
"""

import asyncio
import contextlib
import random
import socket
import struct
import time
import types
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Self

import aiohttp
import msgspec
from msgspec import Struct

from towpath.controller.kube.credentials import Credentials
from towpath.controller.kube.errors import error_of
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.ports import ApiError, GoneError, Page, UnreachableError, WatchEvent

_MERGE_PATCH = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
LONGEST_WATCH = 600
"""Seconds after which we ask the server to end a watch at the latest."""
GOODBYE = 0.01
"""Seconds for the end of TLS. Until it is over the kernel sends what was given up again and again, and it could arrive
when somebody else leads."""


class Timeouts(Struct, frozen=True):
    """Seconds."""

    connect: float = 5.0
    request: float = 15.0
    ask_after: float = 20.0
    watch_silence: float = LONGEST_WATCH + 60.0
    dead_after: int = 24
    longest_retry_after: float = 10.0


class KubeApi:
    """``controller.ports.Api`` and ``Reader`` over HTTP. An async context manager."""

    def __init__(self, credentials: Credentials, *, timeouts: Timeouts | None = None) -> None:
        self._credentials = credentials
        self._timeouts = timeouts or Timeouts()
        self._session: aiohttp.ClientSession | None = None
        self._answered_at = time.monotonic()
        """When a request was answered last: the way there and the way back were open."""
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, kind: str, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""
        path = RESOURCES[kind].path(namespace=namespace, name=name)
        return await self._object("GET", path, what=f"get {kind} {name}")

    async def create(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Create; ``AlreadyExistsError`` where the name is taken."""
        resource = RESOURCES[kind]
        body = {"apiVersion": resource.api_version, "kind": kind, **body}
        what = f"create {kind} {body['metadata'].get('name', '')}"
        return await self._object("POST", resource.path(namespace=namespace), what=what, body=body)

    async def replace(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Replace under the body's ``resourceVersion``; ``ConflictError`` where it is not the newest."""
        return await self._replace(kind, body, namespace=namespace)

    async def replace_status(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replace the status under the body's ``resourceVersion``; without one, whatever is there."""
        if body["metadata"].get("resourceVersion"):
            return await self._replace(kind, body, subresource="status")
        operation = [{"op": "add", "path": "/status", "value": body.get("status", {})}]
        name = body["metadata"]["name"]
        path = RESOURCES[kind].path(name=name, subresource="status")
        return await self._object(
            "PATCH", path, what=f"replace status of {kind} {name}", body=operation, content_type=_JSON_PATCH
        )

    async def patch_status(self, kind: str, name: str, patch: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Merge-patch (RFC 7386) the status."""
        path = RESOURCES[kind].path(namespace=namespace, name=name, subresource="status")
        return await self._object(
            "PATCH", path, what=f"patch status of {kind} {name}", body=patch, content_type=_MERGE_PATCH
        )

    async def patch(self, kind: str, name: str, patch: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Merge-patch (RFC 7386) the object."""
        path = RESOURCES[kind].path(namespace=namespace, name=name)
        return await self._object("PATCH", path, what=f"patch {kind} {name}", body=patch, content_type=_MERGE_PATCH)

    async def delete(
        self, kind: str, name: str, *, namespace: str = "", uid: str = "", resource_version: str = ""
    ) -> None:
        """Delete, with preconditions where given."""
        asked = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {field: value for field, value in asked.items() if value}
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        body = {**options, "preconditions": preconditions} if preconditions else options
        path = RESOURCES[kind].path(namespace=namespace, name=name)
        await self._request("DELETE", path, what=f"delete {kind} {name}", body=body)

    async def list(
        self,
        kind: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Page:
        """One page of at most ``limit`` objects (0: all); ``GoneError`` where the token is too old."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, limit=limit)
        query |= _query(**{"continue": continue_token})
        what = f"list {kind}"
        found = await self._object("GET", RESOURCES[kind].path(namespace=namespace), what=what, query=query)
        metadata, items = found.get("metadata"), tuple(found.get("items") or ())
        if not isinstance(metadata, dict) or not all(map(_is_object, items)):
            raise UnreachableError(f"{what}: the answer is no list of objects")
        return Page(items, str(metadata.get("resourceVersion", "")), str(metadata.get("continue") or ""))

    async def watch(
        self,
        kind: str,
        resource_version: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after ``resource_version``, until the server ends it; ``GoneError`` where that is too old."""
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=random.randint(LONGEST_WATCH // 2, LONGEST_WATCH),
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        what, path = f"watch {kind}", RESOURCES[kind].path(namespace=namespace)
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeouts.connect, sock_read=self._timeouts.watch_silence
        )
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timeouts.request):
                    answer = self._answer("GET", path, what=what, query=query, limits=limits)
                    response = await stack.enter_async_context(answer)
                    if response.status == 401:
                        await self._credentials.renew()  # for the next try
                    if response.status != 200:
                        raise await self._refusal(response, what)
            except TimeoutError as error:
                raise UnreachableError(f"{what}: no answer from {self._credentials.server} in time") from error
            yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": resource_version}})
            rest = b""
            while chunk := await self._chunk(response, what):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield _event(line, what)

    async def _chunk(self, response: aiohttp.ClientResponse, what: str) -> bytes:
        """The next bytes of a watch, empty at its end; now and then of a silent one, whether anybody is there."""
        while True:
            try:
                async with asyncio.timeout(self._timeouts.ask_after):
                    return await response.content.readany()
            except TimeoutError as error:
                if isinstance(error, aiohttp.ServerTimeoutError):
                    raise
            await self._ask(what)

    async def _ask(self, what: str) -> None:
        """Any answer will do. The watches share it."""
        async with self._asking:
            if time.monotonic() - self._answered_at < self._timeouts.ask_after:
                return
            limits = aiohttp.ClientTimeout(total=self._timeouts.connect)
            async with self._answer("GET", "/version", what=f"{what}: silent, and get version", limits=limits):
                self._answered_at = time.monotonic()

    async def _replace(
        self, kind: str, body: dict[str, Any], *, namespace: str = "", subresource: str = ""
    ) -> dict[str, Any]:
        resource, name = RESOURCES[kind], body["metadata"]["name"]
        body = {"apiVersion": resource.api_version, "kind": kind, **body}
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        return await self._object(
            "PUT", path, what=f"replace {subresource} {kind} {name}".replace("  ", " "), body=body
        )

    async def _object(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        content = await self._request(method, path, **request)
        try:
            found: dict[str, Any] = msgspec.json.decode(content, type=dict)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreachableError(f"{request['what']}: the answer is no object: {error}") from error
        return found

    async def _request(self, method: str, path: str, *, what: str, **request: Any) -> bytes:
        """The body of a good answer.

        Refused before anything was done, and so tried again: 429, twice and after the time that the server asks for; 401
        once, if there are newer credentials by now.
        """
        limits = aiohttp.ClientTimeout(total=self._timeouts.request, sock_connect=self._timeouts.connect)
        patience, renewed = 2, False
        while True:
            async with self._answer(method, path, what=what, limits=limits, **request) as response:
                self._answered_at = time.monotonic()
                if response.status < 300:
                    return await response.read()
                refusal = await self._refusal(response, what)
            if refusal.status == 401 and not renewed and await self._credentials.renew():
                renewed = True
                continue
            pause = refusal.retry_after
            if refusal.status != 429 or not patience or pause is None or pause > self._timeouts.longest_retry_after:
                raise refusal
            patience -= 1
            await asyncio.sleep(pause * random.uniform(1.0, 1.2))

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        what: str,
        limits: aiohttp.ClientTimeout,
        body: Any = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            headers = {"Accept": "application/json", "User-Agent": "towpath", **await self._credentials.headers()}
        except UnreachableError as error:
            raise UnreachableError(f"{what}: {error}") from error
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = msgspec.json.encode(body)
        url = self._credentials.server + path
        try:
            async with self._opened().request(
                method, url, params=query, data=data, headers=headers, timeout=limits, allow_redirects=False
            ) as response:
                yield response
        except TimeoutError as error:
            raise UnreachableError(f"{what}: no answer from {self._credentials.server} in time") from error
        except aiohttp.ClientSSLError as error:
            await self.close()  # the CA may have been replaced: read it again next time
            raise UnreachableError(f"{what}: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"{what}: {error or type(error).__name__}") from error

    async def _refusal(self, response: aiohttp.ClientResponse, what: str) -> ApiError:
        if response.status == 401:
            what = f"{what}: the API server does not accept {self._credentials.named}"
        return error_of(
            what,
            status=response.status,
            body=await response.read(),
            retry_after=response.headers.get("Retry-After"),
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            with warnings.catch_warnings():
                # aiohttp's default says none and means asyncio's half a minute for a connection that is given up alone
                warnings.simplefilter("ignore", DeprecationWarning)
                connector = aiohttp.TCPConnector(
                    ssl=self._credentials.tls() or True,
                    limit=0,
                    keepalive_timeout=15,
                    socket_factory=self._socket,
                    ssl_shutdown_timeout=GOODBYE,
                )
            self._session = aiohttp.ClientSession(connector=connector, trust_env=True)
        return self._session

    def _socket(self, address: Any) -> socket.socket:
        """A socket whose peer has to answer the kernel's probes."""
        family, kind, protocol, _name, _address = address
        made = socket.socket(family, kind, protocol)
        # what is given up is not sent any more: the kernel would go on trying after we have closed
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        quarter = max(1, self._timeouts.dead_after // 4)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, quarter)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, quarter)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._timeouts.dead_after * 1000)
        return made


def _query(**parameters: Any) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if value}


_EVENTS = types.MappingProxyType({name: name for name in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")})


def _event(line: bytes, what: str) -> WatchEvent:
    try:
        found = msgspec.json.decode(line)
        kind, body = found["type"], found["object"]
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise UnreachableError(f"{what}: a line that is no event") from error
    if kind in _EVENTS and _has_version(body) and (kind == "BOOKMARK" or _is_object(body)):
        return WatchEvent(kind, body)
    if kind != "ERROR" or not isinstance(body, dict):
        raise UnreachableError(f"{what}: an event without an object")
    message, code = str(body.get("message", "")), body.get("code")
    status = code if isinstance(code, int) else 0
    if status == 410:
        raise GoneError(f"{what}: {message}", status=410, reason="Expired")
    raise ApiError(f"{what}: {message}", status=status, reason=str(body.get("reason", "")))


def _is_object(body: Any) -> bool:
    """Whether this is something with a name."""
    return isinstance(body, dict) and isinstance(body.get("metadata"), dict) and bool(body["metadata"].get("name"))


def _has_version(body: Any) -> bool:
    return (
        isinstance(body, dict)
        and isinstance(body.get("metadata"), dict)
        and bool(body["metadata"].get("resourceVersion"))
    )

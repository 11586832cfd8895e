"""The API over HTTP: routes and content types around ``Objects``; nobody is asked who they are.

For the loopback and the namespaces of a lab, never for a network with others on it.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from towpath.controller.kube.resources import RESOURCES, ResourceType
from towpath.lab.apiserver import discovery
from towpath.lab.apiserver.objects import ListPage, Objects
from towpath.lab.apiserver.refusal import RefusedError
from towpath.lab.apiserver.selectors import Wanted
from towpath.lab.apiserver.storage import Storage
from towpath.lab.apiserver.table import columns_of, table
from towpath.lab.apiserver.watching import watch

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MERGING = ("application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json")


class ApiServer:
    """A server in this process. ``async with ApiServer(...) as server`` serves at ``server.url``."""

    def __init__(self, data: Path | str = ":memory:", *, bookmarks: float = 10.0, checked: bool = True) -> None:
        self.objects = Objects(Storage(data), checked=checked)
        self._bookmarks = bookmarks
        self._runner: web.AppRunner | None = None
        self._watches: set[asyncio.Task[Any]] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        await self.listen("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def listen(self, address: str, port: int, *, unix: Path | None = None) -> None:
        """Serve at an address and port (0: any free one) or at a Unix socket."""
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        if unix is not None:
            await web.UnixSite(self._runner, str(unix)).start()
            self.url = f"unix:{unix}"
            return
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=512)
        await web.SockSite(self._runner, listener).start()
        host = f"[{address}]" if ":" in address else address
        self.url = f"http://{host}:{listener.getsockname()[1]}"

    async def close(self) -> None:
        """End all watches, stop serving, close the file."""
        self.end_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.objects.storage.close()

    def end_watches(self) -> None:
        """End every watch, as a server does that shuts down."""
        for task in self._watches:
            task.cancel()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_refusals], client_max_size=16 * 2**20)
        route = application.router.add_route
        for path in ("/healthz", "/livez", "/readyz"):
            route("GET", path, _constant(lambda: web.Response(text="ok")))
        route("GET", "/version", _constant(lambda: _json(discovery.VERSION)))
        route("GET", "/api", _constant(lambda: _json(discovery.api_versions())))
        route("GET", "/apis", _constant(lambda: _json(discovery.api_groups())))
        route("GET", "/openapi/v3", _constant(lambda: _json(discovery.openapi_index())))
        route("GET", "/openapi/v3/api/{version}", self._openapi)
        route("GET", "/openapi/v3/apis/{group}/{version}", self._openapi)
        route("GET", "/apis/{group}", self._group)
        for resource in RESOURCES.values():
            self._add(application, resource)
        route("GET", "/api/{version}", self._resources)
        route("GET", "/apis/{group}/{version}", self._resources)
        route("*", "/{rest:.*}", self._nowhere)
        return application

    def _add(self, application: web.Application, resource: ResourceType) -> None:
        def bound(handler: Callable[[ResourceType, web.Request], Awaitable[web.StreamResponse]]) -> Handler:
            async def handle(request: web.Request) -> web.StreamResponse:
                return await handler(resource, request)

            return handle

        route = application.router.add_route
        namespace = "{namespace}" if resource.namespaced else ""
        collection = resource.path(namespace=namespace)
        one = resource.path(namespace=namespace, name="{name}")
        if resource.namespaced:
            route("GET", resource.path(), bound(self._list))
        route("GET", collection, bound(self._list))
        route("POST", collection, bound(self._create))
        route("DELETE", collection, bound(self._delete_all))
        for path in (one, f"{one}/status") if resource.has_status else (one,):
            route("GET", path, bound(self._get))
            route("PUT", path, bound(self._replace))
            route("PATCH", path, bound(self._patch))
        route("DELETE", one, bound(self._delete))

    async def _group(self, request: web.Request) -> web.StreamResponse:
        return _found(discovery.api_group(request.match_info["group"]))

    async def _resources(self, request: web.Request) -> web.StreamResponse:
        return _found(discovery.api_resources(_api_version(request)))

    async def _openapi(self, request: web.Request) -> web.StreamResponse:
        return _found(discovery.openapi(_api_version(request)))

    async def _nowhere(self, request: web.Request) -> web.StreamResponse:
        raise RefusedError(404, f"the server could not find the requested resource: {request.method} {request.path}")

    async def _list(self, resource: ResourceType, request: web.Request) -> web.StreamResponse:
        query = request.query
        wanted = Wanted(resource, labels=query.get("labelSelector", ""), fields=query.get("fieldSelector", ""))
        namespace = request.match_info.get("namespace", "")
        if query.get("watch", "") in ("1", "true"):
            return await self._watch(resource, request, wanted, namespace)
        limit, token = _number(query.get("limit", "")), query.get("continue", "")
        page = self.objects.list(resource, wanted, namespace=namespace, limit=limit, token=token)
        if _wants_table(request):
            columns = columns_of(resource.kind, self.objects.columns)
            body = table(page.items, columns, include=query.get("includeObject", "Metadata"), version=str(page.version))
            body["metadata"] = _list_metadata(page)
            return _json(body)
        kind = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        return _json({**kind, "metadata": _list_metadata(page), "items": list(page.items)})

    async def _watch(
        self, resource: ResourceType, request: web.Request, wanted: Wanted, namespace: str
    ) -> web.StreamResponse:
        self.objects.check_served(resource)
        query = request.query
        version = query.get("resourceVersion", "")
        first: tuple[dict[str, Any], ...] = ()
        if version in ("", "0"):
            page = self.objects.list(resource, wanted, namespace=namespace)
            first, start = page.items, page.version
        else:
            start = _number(version)
        bookmarks = self._bookmarks if query.get("allowWatchBookmarks") in ("1", "true") else 0.0
        columns = columns_of(resource.kind, self.objects.columns) if _wants_table(request) else None
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            async with asyncio.timeout(_number(query.get("timeoutSeconds", "")) or None):
                for item in first:
                    await response.write(_line("ADDED", item, columns))
                events = watch(self.objects, resource, wanted, namespace=namespace, start=start, bookmarks=bookmarks)
                async with contextlib.aclosing(events):
                    async for kind, item in events:
                        await response.write(_line(kind, item, columns))
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._watches.discard(task)
        return response

    async def _get(self, resource: ResourceType, request: web.Request) -> web.StreamResponse:
        name, namespace = _place(request)
        found = self.objects.get(resource, name, namespace=namespace)
        if _wants_table(request):
            columns = columns_of(resource.kind, self.objects.columns)
            return _json(table([found], columns, include=request.query.get("includeObject", "Metadata")))
        return _json(found)

    async def _create(self, resource: ResourceType, request: web.Request) -> web.StreamResponse:
        namespace = request.match_info.get("namespace", "")
        made = self.objects.create(resource, await _body(request), namespace=namespace, **_flags(request))
        return _json(made, status=201)

    async def _replace(self, resource: ResourceType, request: web.Request) -> web.StreamResponse:
        body, status = await _body(request), request.path.endswith("/status")
        name, namespace, flags = *_place(request), _flags(request)
        return _json(self.objects.update(resource, body, name=name, namespace=namespace, status=status, **flags))

    async def _patch(self, resource: ResourceType, request: web.Request) -> web.StreamResponse:
        if request.content_type not in _MERGING:
            raise RefusedError(415, f"patches of type {request.content_type} are not supported here")
        patch, status = await _body(request), request.path.endswith("/status")
        name, namespace, flags = *_place(request), _flags(request)
        return _json(self.objects.patch(resource, patch, name=name, namespace=namespace, status=status, **flags))

    async def _delete(self, resource: ResourceType, request: web.Request) -> web.StreamResponse:
        options = await _body(request) if request.can_read_body else {}
        name, namespace = _place(request)
        gone = self.objects.delete(resource, name, namespace=namespace, preconditions=options.get("preconditions"))
        if "deletionTimestamp" in gone["metadata"]:
            return _json(gone)
        details = {
            "name": name,
            "group": resource.group,
            "kind": resource.plural,
            "uid": gone["metadata"]["uid"],
        }
        return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})

    async def _delete_all(self, resource: ResourceType, request: web.Request) -> web.StreamResponse:
        query, namespace = request.query, request.match_info.get("namespace", "")
        wanted = Wanted(resource, labels=query.get("labelSelector", ""), fields=query.get("fieldSelector", ""))
        page = self.objects.list(resource, wanted, namespace=namespace)
        for item in page.items:
            self.objects.delete(resource, item["metadata"]["name"], namespace=item["metadata"].get("namespace", ""))
        kind = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        return _json({**kind, "metadata": _list_metadata(page), "items": list(page.items)})


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as refused:
        return _json(refused.status(), status=refused.code)
    except web.HTTPMethodNotAllowed as error:
        return _json(RefusedError(405, str(error)).status(), status=405)


def _constant(make: Callable[[], web.Response]) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return make()

    return handler


def _api_version(request: web.Request) -> str:
    parts = [request.match_info.get("group", ""), request.match_info["version"]]
    return "/".join(part for part in parts if part)


def _found(body: dict[str, Any] | None) -> web.Response:
    if body is None:
        raise RefusedError(404, "the server could not find the requested resource")
    return _json(body)


def _json(body: Any, *, status: int = 200) -> web.Response:
    return web.Response(
        body=json.dumps(body, separators=(",", ":")).encode(), status=status, content_type="application/json"
    )


def _line(kind: str, item: dict[str, Any], columns: Any) -> bytes:
    if columns is not None and kind != "ERROR":
        version = str(item["metadata"]["resourceVersion"])
        item = table([] if kind == "BOOKMARK" else [item], columns, include="Object", version=version)
    return json.dumps({"type": kind, "object": item}, separators=(",", ":")).encode() + b"\n"


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, UnicodeDecodeError):
        raise RefusedError(400, "the body of the request is no JSON") from None


def _place(request: web.Request) -> tuple[str, str]:
    """Name and namespace of the object that the path means."""
    return request.match_info["name"], request.match_info.get("namespace", "")


def _flags(request: web.Request) -> dict[str, bool]:
    return {
        "strict": request.query.get("fieldValidation") == "Strict",
        "dry_run": request.query.get("dryRun", "") == "All",
    }


def _list_metadata(page: ListPage) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(page.version)}
    if page.token:
        metadata |= {"continue": page.token, "remainingItemCount": page.remaining}
    return metadata


def _wants_table(request: web.Request) -> bool:
    return "as=Table" in request.headers.get("Accept", "")


def _number(text: str) -> int:
    if text and not text.isdecimal():
        raise RefusedError(400, f"{text!r} is not a number")
    return int(text or 0)

"""The cluster's API in memory, for simulations: the embedded server's objects without HTTP, and faults on demand.

Several ``FakeApi`` on one ``Objects`` are several clients of one server. A fault is chosen per call by a function, so a
simulation decides everything and nothing depends on time: a delayed call waits until ``release`` lets it go on.
"""

import asyncio
import enum
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from msgspec import Struct

from towpath.controller.kube.resources import RESOURCES, ResourceType
from towpath.controller.ports import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    GoneError,
    InvalidObjectError,
    NotFoundError,
    Page,
    UnreachableError,
    WatchEvent,
)
from towpath.lab.apiserver.objects import Objects
from towpath.lab.apiserver.refusal import RefusedError
from towpath.lab.apiserver.selectors import Wanted
from towpath.lab.apiserver.storage import Storage

_ERRORS: Mapping[str, type[ApiError]] = {
    "NotFound": NotFoundError,
    "AlreadyExists": AlreadyExistsError,
    "Conflict": ConflictError,
    "Invalid": InvalidObjectError,
    "Expired": GoneError,
}


class Fault(enum.Enum):
    """What goes wrong with one call."""

    NONE = "nothing"
    UNREACHABLE = "the request never arrives"
    LOST_ANSWER = "the request is carried out, the answer is lost"
    CONFLICT = "409, and nothing is done"
    DELAYED_REQUEST = "the request is carried out when it is released"
    DELAYED_ANSWER = "the request is carried out at once, the answer comes when it is released"


class Call(Struct, frozen=True):
    """A call that is about to be made; ``verb`` is the method's name."""

    verb: str
    kind: str
    name: str
    body: dict[str, Any] | None = None


def no_fault(_call: Call) -> Fault:
    """Everything works."""
    return Fault.NONE


class FakeApi:
    """``controller.ports.Api`` and ``Reader`` in memory."""

    def __init__(self, objects: Objects | None = None, *, faults: Callable[[Call], Fault] = no_fault) -> None:
        self.objects = objects or Objects(Storage(":memory:"))
        self.faults = faults
        self.calls: list[Call] = []
        self.waiting: list[tuple[Call, asyncio.Event]] = []
        """Delayed calls, oldest first."""

    def release(self, index: int = 0) -> Call:
        """Let a delayed call go on."""
        call, event = self.waiting.pop(index)
        event.set()
        return call

    async def _do(self, call: Call, step: Callable[[], Any]) -> Any:
        self.calls.append(call)
        fault = self.faults(call)
        await asyncio.sleep(0)
        if fault is Fault.UNREACHABLE:
            raise UnreachableError(f"{call.verb} {call.kind} {call.name}: the request was lost")
        if fault is Fault.CONFLICT:
            raise ConflictError(
                f"{call.verb} {call.kind} {call.name}: changed meanwhile", status=409, reason="Conflict"
            )
        if fault is Fault.DELAYED_REQUEST:
            await self._wait(call)
        try:
            result = step()
        except RefusedError as refused:
            result = _ERRORS.get(refused.reason, ApiError)(
                f"{call.verb} {call.kind} {call.name}: {refused}", status=refused.code, reason=refused.reason
            )
        if fault is Fault.DELAYED_ANSWER:
            await self._wait(call)
        if fault is Fault.LOST_ANSWER:
            raise UnreachableError(f"{call.verb} {call.kind} {call.name}: the answer was lost")
        if isinstance(result, ApiError):
            raise result
        return result

    async def _wait(self, call: Call) -> None:
        event = asyncio.Event()
        self.waiting.append((call, event))
        await event.wait()

    async def get(self, kind: str, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""
        step = lambda: self.objects.get(RESOURCES[kind], name, namespace=namespace)  # noqa: E731  # reads as one line
        body: dict[str, Any] = await self._do(Call("get", kind, name), step)
        return body

    async def create(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Create an object."""
        call = Call("create", kind, body["metadata"].get("name", ""), body)
        created: dict[str, Any] = await self._do(
            call, lambda: self.objects.create(RESOURCES[kind], body, namespace=namespace)
        )
        return created

    async def replace(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Replace an object."""
        return await self._update("replace", kind, body, namespace=namespace, status=False)

    async def replace_status(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replace the status; without a resourceVersion whatever is there."""
        name = body["metadata"]["name"]
        if not body["metadata"].get("resourceVersion"):
            operation = [{"op": "add", "path": "/status", "value": body.get("status", {})}]
            return await self._patch("replace_status", kind, name, operation, status=True)
        return await self._update("replace_status", kind, body, namespace="", status=True)

    async def patch_status(self, kind: str, name: str, patch: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Merge-patch the status."""
        return await self._patch("patch_status", kind, name, patch, namespace=namespace, status=True)

    async def patch(self, kind: str, name: str, patch: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Merge-patch the object."""
        return await self._patch("patch", kind, name, patch, namespace=namespace)

    async def delete(
        self, kind: str, name: str, *, namespace: str = "", uid: str = "", resource_version: str = ""
    ) -> None:
        """Delete an object."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        resource = RESOURCES[kind]
        await self._do(
            Call("delete", kind, name),
            lambda: self.objects.delete(resource, name, namespace=namespace, preconditions=preconditions),
        )

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
        """One page of a list."""
        resource = RESOURCES[kind]
        page = await self._do(
            Call("list", kind, ""),
            lambda: self.objects.list(
                resource,
                Wanted(resource, labels=label_selector, fields=field_selector),
                namespace=namespace,
                limit=limit,
                token=continue_token,
            ),
        )
        return Page(page.items, str(page.version), page.token)

    async def watch(
        self,
        kind: str,
        resource_version: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes as they happen, until the caller leaves."""
        resource = RESOURCES[kind]
        await self._do(Call("watch", kind, ""), lambda: self.objects.check_served(resource))
        wanted = Wanted(resource, labels=label_selector, fields=field_selector)
        changed = asyncio.Event()

        def tell(which: ResourceType) -> None:
            if which is resource:
                changed.set()

        storage, seen = self.objects.storage, int(resource_version)
        self.objects.on_change.append(tell)
        try:
            yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": resource_version}})
            while True:
                changed.clear()
                if seen < storage.compacted:
                    raise GoneError(f"watch {kind}: too old resource version", status=410, reason="Expired")
                for change in list(storage.changes(resource.qualified, seen)):
                    seen = change.version
                    event = wanted.event(change) if not namespace or change.namespace == namespace else None
                    if event is not None:
                        yield WatchEvent(event[0], event[1])  # type: ignore[arg-type]  # the log's three words
                if not self.objects.serves(resource):
                    return
                await changed.wait()
        finally:
            self.objects.on_change.remove(tell)

    async def _update(
        self, verb: str, kind: str, body: dict[str, Any], *, namespace: str, status: bool
    ) -> dict[str, Any]:
        name = body["metadata"]["name"]
        updated: dict[str, Any] = await self._do(
            Call(verb, kind, name, body),
            lambda: self.objects.update(RESOURCES[kind], body, name=name, namespace=namespace, status=status),
        )
        return updated

    async def _patch(
        self, verb: str, kind: str, name: str, patch: Any, *, namespace: str = "", status: bool = False
    ) -> dict[str, Any]:
        updated: dict[str, Any] = await self._do(
            Call(verb, kind, name, patch if isinstance(patch, dict) else None),
            lambda: self.objects.patch(RESOURCES[kind], patch, name=name, namespace=namespace, status=status),
        )
        return updated

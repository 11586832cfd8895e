"""How many addresses the pods of this node need, those included that wait for one: growth begins before anyone waits long.

A sink for a reflector of the pods that are bound to this node; of each only whether it needs an address is kept.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any

import structlog
from msgspec.structs import replace

from towpath.controller.ports import Page, Reader, WatchEvent

log = structlog.get_logger()
OTHER_NETWORK = "v1.multus-cni.io/default-network"
"""Annotation of a pod whose own network is not the cluster's."""
Body = Mapping[str, Any]


def needs_address(pod: Body) -> bool:
    """Whether a pod has an address of a node's blocks, or is to get one."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if spec.get("hostNetwork") or OTHER_NETWORK in (metadata.get("annotations") or {}):
        return False
    if status.get("phase") in ("Succeeded", "Failed"):
        return False
    return bool(status.get("podIP")) or not metadata.get("deletionTimestamp")


class BoundPods:
    """The pods of one node. ``changed`` is called when the number of addresses that they need is another."""

    def __init__(self, *, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._needing: set[str] = set()

    @property
    def wanted(self) -> int:
        """Addresses of each family that the pods need."""
        return len(self._needing)

    # -- what a reflector calls -----------------------------------------------------------------------------------------

    def listing(self, kind: str) -> "_Listing":
        """A list begins."""
        del kind
        return _Listing(self._listed)

    def upserted(self, kind: str, body: Body) -> None:
        """A pod was added or changed."""
        del kind
        name = str(body["metadata"]["name"])
        self._become(self._needing | {name} if needs_address(body) else self._needing - {name})

    def deleted(self, kind: str, name: str) -> None:
        """A pod is gone."""
        del kind
        self._become(self._needing - {name})

    def kind_missing(self, kind: str) -> None:
        """Cannot be: every API server has pods."""

    def refused(self, kind: str, message: str) -> None:
        """Not allowed: growth goes by the addresses in use alone."""
        log.warning("pods.refused", kind=kind, error=message, remedy="allow list and watch of pods")

    def answered(self) -> None:
        """Of no interest."""

    def contact(self, kind: str, *, connected: bool) -> None:
        """Of no interest: what was known last stays."""

    def look_again_in(self, kind: str) -> float | None:
        """Never: no breaker holds anything back."""
        del kind
        return None

    def _listed(self, needing: set[str]) -> None:
        self._become(needing)

    def _become(self, needing: set[str]) -> None:
        before, self._needing = len(self._needing), needing
        if len(needing) != before:
            self._changed()


class _Listing:
    def __init__(self, done: Callable[[set[str]], None]) -> None:
        self._done = done
        self._found: set[str] = set()

    def page(self, objects: Iterable[Body]) -> None:
        """Some of the pods."""
        self._found |= {str(body["metadata"]["name"]) for body in objects if needs_address(body)}

    def done(self, *, version: str) -> None:
        """That was all."""
        del version
        self._done(self._found)


class QualifiedNames:
    """A reader of all namespaces whose objects are named ``NAMESPACE/NAME``: two pods may have one name."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def list(self, kind: str, **wanted: Any) -> Page:
        """As ``Reader.list``."""
        page = await self._reader.list(kind, **wanted)
        return replace(page, items=tuple(map(_qualified, page.items)))

    async def watch(self, kind: str, resource_version: str, **wanted: Any) -> AsyncGenerator[WatchEvent, None]:
        """As ``Reader.watch``."""
        async for event in self._reader.watch(kind, resource_version, **wanted):
            yield event if event.type == "BOOKMARK" else replace(event, object=_qualified(event.object))


def _qualified(body: dict[str, Any]) -> dict[str, Any]:
    metadata = body["metadata"]
    return {**body, "metadata": {**metadata, "name": f"{metadata.get('namespace', '')}/{metadata['name']}"}}

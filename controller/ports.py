"""What the processes need of a cluster: a store to read and an API to write. Kubernetes and a folder both give it."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct


class ApiError(Exception):
    """The API said no, or nothing: kept dirty, tried again with backoff. ``status`` is HTTP's, 0 without an answer."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class NotFoundError(ApiError):
    """There is no such object."""


class AlreadyExistsError(ApiError):
    """Somebody created it first."""


class ConflictError(ApiError):
    """It changed since it was read, or a precondition does not hold."""


class InvalidObjectError(ApiError):
    """The API server refused the object by its schema or a rule."""


class ForbiddenError(ApiError):
    """RBAC does not allow it; the message names verb and resource."""


class GoneError(ApiError):
    """The server no longer has this resourceVersion or continue token: list again."""


class UnreachableError(ApiError):
    """No answer: the request may or may not have been carried out."""


PAGE = 500
"""Objects of a list that are read at once, where nothing else is said."""


class Page(Struct, frozen=True):
    """One page of a list; ``continue_token`` is empty on the last one."""

    items: tuple[dict[str, Any], ...]
    resource_version: str
    continue_token: str = ""


class WatchEvent(Struct, frozen=True):
    """One line of a watch. A bookmark's object has nothing but a resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: dict[str, Any]


class Reader(Protocol):
    """Following all objects of a kind: a list, then a watch from its resourceVersion on."""

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

    def watch(
        self,
        kind: str,
        resource_version: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after ``resource_version``, until the server ends it; ``GoneError`` where that is too old.

        The first event is a bookmark of ``resource_version`` itself: the watch is open.
        """


async def every(
    reader: Reader, kind: str, *, namespace: str = "", label_selector: str = "", limit: int = PAGE
) -> AsyncIterator[dict[str, Any]]:
    """All objects of a kind, read in pages of at most ``limit`` (0: in one piece)."""
    token = ""
    while True:
        page = await reader.list(
            kind, namespace=namespace, label_selector=label_selector, limit=limit, continue_token=token
        )
        for item in page.items:
            yield item
        token = page.continue_token
        if not token:
            return


class Api(Protocol):
    """Writing and reading single objects. ``kind`` is a name of ``kinds.registry``, ``Node``, ``Lease``, ``Secret`` or ``Event``.

    Objects are plain JSON here (``dict``), as the API has them; ``controller.kube.decode`` makes values of them.
    Every method raises ``ApiError`` or one of its children.
    """

    async def get(self, kind: str, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""

    async def create(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Create; ``AlreadyExistsError`` where the name is taken."""

    async def replace(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Replace under the body's ``resourceVersion``; ``ConflictError`` where it is not the newest."""

    async def replace_status(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replace the status subresource under the body's ``resourceVersion`` (if it has one)."""

    async def patch_status(self, kind: str, name: str, patch: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Merge-patch (RFC 7386) the status subresource."""

    async def patch(self, kind: str, name: str, patch: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Merge-patch (RFC 7386) the object."""

    async def delete(
        self,
        kind: str,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        """Delete, with preconditions where given."""


class Server(Api, Reader, Protocol):
    """Both: single objects, and all of a kind."""


class Listing(Protocol):
    """A list on its way into a sink."""

    def page(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Some of the objects."""

    def done(self, *, version: str) -> None:
        """That was all, as of ``version``."""


class Sink(Protocol):
    """Where a reflector puts what it reads: a ``Store``, or whatever else follows a kind."""

    def listing(self, kind: str) -> Listing:
        """A list begins."""

    def upserted(self, kind: str, body: Mapping[str, Any]) -> None:
        """An object was added or changed."""

    def deleted(self, kind: str, name: str) -> None:
        """An object is gone."""

    def kind_missing(self, kind: str) -> None:
        """The API server does not know the kind."""

    def refused(self, kind: str, message: str) -> None:
        """The API server does not let us read the kind."""

    def answered(self) -> None:
        """The API server gave an answer."""

    def contact(self, kind: str, *, connected: bool) -> None:
        """A watch is open, or has ended."""

    def look_again_in(self, kind: str) -> float | None:
        """Seconds until a new list is wanted; None: it is not."""

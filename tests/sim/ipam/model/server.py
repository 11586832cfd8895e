"""An API server that is a value: objects, versions, preconditions, and nothing else, so that a world can be copied.

``tests/sim/ipam/test_model.py`` holds it against the server that the contract suite holds against a real one. Unlike
both it takes a change without a version, as somebody makes it who reads the newest one first and does not look at it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from towpath.controller.ports import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from towpath.model.cluster import Cluster
from towpath.model.decode import decode, decode_node

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = {
    "IPPool": "pools",
    "IPAMConfiguration": "ipam_configurations",
    "IPAMBlock": "blocks",
    "Node": "nodes",
    "NodeStatus": "statuses",
}
Body = dict[str, Any]


class Request(NamedTuple):
    """What a client asks for. Bodies are never changed once they are here."""

    verb: str
    kind: str
    name: str
    body: Any = None
    uid: str = ""
    version: str = ""


class Entry(NamedTuple):
    """An object as it is sent, and as it reads."""

    body: Body
    value: Any


class Change(NamedTuple):
    """One object before and after a request; None where there was or is none."""

    kind: str
    before: Any
    after: Any


class Server:
    """``now``: seconds on its wall clock, which stamps what is created."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Entry]] = {kind: {} for kind in FIELDS}
        self.version = 0
        self.made = 0
        self.now = 0.0
        self.changes: list[Change] = []
        """What happened since somebody took it away."""

    def copy(self) -> "Server":
        """Another one with the same objects."""
        other = Server()
        other.objects = {kind: dict(found) for kind, found in self.objects.items()}
        other.version, other.made, other.now = self.version, self.made, self.now
        return other

    def snapshot(self, kinds: tuple[str, ...], before: Cluster) -> Cluster:
        """``before``, with these kinds as they are now."""
        fields = {field: getattr(before, field) for field in FIELDS.values()}
        for kind in kinds:
            fields[FIELDS[kind]] = {name: self.objects[kind][name].value for name in sorted(self.objects[kind])}
        return Cluster(**fields)

    def answer(self, request: Request) -> Body | None:
        """Carry a request out, as one step; an ``ApiError`` where it is refused."""
        found = self.objects[request.kind].get(request.name)
        step = getattr(self, f"_{request.verb}")
        result: Body | None = step(request, found)
        return result

    def _get(self, request: Request, found: Entry | None) -> Body:
        return self._there(request, found).body

    def _create(self, request: Request, found: Entry | None) -> Body:
        if found is not None:
            raise AlreadyExistsError(request.name, status=409, reason="AlreadyExists")
        self.made += 1
        metadata = {"uid": f"u{self.made}", "creationTimestamp": stamp(self.now), "generation": 1}
        return self._write(request, None, {**request.body, "metadata": {**request.body["metadata"], **metadata}})

    def _put(self, request: Request, found: Entry | None) -> Body:
        """As a server would that knew no names: the last one counts."""
        return self._create(request, found) if found is None else self._replace(request, found)

    def _replace(self, request: Request, found: Entry | None) -> Body:
        old = self._there(request, found)
        mine, theirs = request.body["metadata"], old.body["metadata"]
        if mine.get("uid", theirs["uid"]) != theirs["uid"]:
            raise ConflictError(request.name, status=409, reason="Conflict")
        if mine.get("resourceVersion", theirs["resourceVersion"]) != theirs["resourceVersion"]:
            raise ConflictError(request.name, status=409, reason="Conflict")
        kept = {key: theirs[key] for key in ("uid", "creationTimestamp", "resourceVersion", "generation")}
        body = {**old.body, **request.body, "metadata": {**mine, **kept}}
        if body == old.body:
            return old.body
        if body["spec"] != old.body["spec"]:
            body["metadata"] = {**body["metadata"], "generation": theirs["generation"] + 1}
        return self._write(request, old, body)

    def _delete(self, request: Request, found: Entry | None) -> None:
        old = self._there(request, found)
        theirs = old.body["metadata"]
        if request.uid and request.uid != theirs["uid"]:
            raise ConflictError(request.name, status=409, reason="Conflict")
        if request.version and request.version != theirs["resourceVersion"]:
            raise ConflictError(request.name, status=409, reason="Conflict")
        del self.objects[request.kind][request.name]
        self.version += 1
        self.changes.append(Change(request.kind, old.value, None))

    def _there(self, request: Request, found: Entry | None) -> Entry:
        if found is None:
            raise NotFoundError(request.name, status=404, reason="NotFound")
        return found

    def _write(self, request: Request, old: Entry | None, body: Body) -> Body:
        self.version += 1
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        value = decode_node(body) if request.kind == "Node" else decode(request.kind, body)
        self.objects[request.kind][request.name] = Entry(body, value)
        self.changes.append(Change(request.kind, old.value if old else None, value))
        return body


class Asked:
    """Waits for the answer to a request, which whoever drives the coroutine sends or throws into it."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __await__(self):  # type: ignore[no-untyped-def]  # a generator of one request
        return (yield self._request)


class Line:
    """The ``Api`` of a client whose coroutines are driven by hand, one request after the other."""

    async def get(self, kind: str, name: str, *, namespace: str = "") -> Body:
        body: Body = await Asked(Request("get", kind, name))
        return body

    async def create(self, kind: str, body: Body, *, namespace: str = "") -> Body:
        made: Body = await Asked(Request("create", kind, body["metadata"]["name"], body))
        return made

    async def replace(self, kind: str, body: Body, *, namespace: str = "") -> Body:
        made: Body = await Asked(Request("replace", kind, body["metadata"]["name"], body))
        return made

    async def delete(
        self, kind: str, name: str, *, namespace: str = "", uid: str = "", resource_version: str = ""
    ) -> None:
        await Asked(Request("delete", kind, name, uid=uid, version=resource_version))


def stamp(seconds: float) -> str:
    """A time as objects have it."""
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def outcome(server: Server, request: Request) -> Mapping[str, Any] | ApiError | None:
    """What the server answers, be it an error."""
    try:
        return server.answer(request)
    except ApiError as error:
        return error

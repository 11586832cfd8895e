"""A folder of manifests in place of an API server: the same objects for the same store, status written beside them.

Files are looked at twice a second. One that cannot be read or parsed leaves its last good objects in force; if it never
was good, the store stays incomplete, so that nothing is removed on account of what could not be read.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from towpath.controller.kindstore import Problem
from towpath.controller.manifests import ManifestError, documents, dump
from towpath.controller.ports import AlreadyExistsError, ApiError, ConflictError, NotFoundError, Sink, UnreachableError
from towpath.controller.routing_nodes import routing_nodes
from towpath.controller.store import Store, read_node
from towpath.ipam.files import write_atomically
from towpath.model.cluster import Cluster
from towpath.model.decode import encode
from towpath.model.kinds.kind import API_VERSION
from towpath.model.reason import InvalidSpecError, Reason

log = structlog.get_logger(__name__)
SUFFIXES = frozenset({".yaml", ".yml", ".json"})
STATUS = "status"
SERVICES = ("Service", "EndpointSlice")
"""Kinds that are no part of a store: they are told to whoever asks for them."""
Body = dict[str, Any]


class _File(Struct):
    """One manifest file: what it looked like, what it held when it was good, and what is wrong with it."""

    mark: tuple[int, int, int]
    objects: list[Body] | None = None
    problem: str = ""


class Directory:
    """``controller.ports.Api`` on a folder. ``node``: of Nodes only this one is fed to the store; empty: all."""

    def __init__(self, folder: Path, store: Store, *, node: str = "", interval: float = 0.5) -> None:
        self._folder = folder
        self._store = store
        self._node = node
        self._interval = interval
        self._files: dict[Path, _File] = {}
        self._is_away = True  # until it was read
        self._sinks: dict[tuple[str, ...], Sink] = {}
        """Who is told of kinds that are no part of the store."""
        self._owed = False
        """One of them waits to be told of what was read long ago."""
        self._objects: dict[tuple[str, str, str], Body] = {}
        self._statuses: dict[tuple[str, str], Body] = {}
        for path in sorted((folder / STATUS).glob("*.yaml")):
            try:
                for body in documents(path.read_text()):
                    self._statuses[body["kind"], body["metadata"]["name"]] = body
            except (OSError, ManifestError, UnicodeDecodeError) as error:
                log.info("status.unreadable", file=str(path), error=str(error))

    async def run(self) -> None:
        """Keep the store up to date until cancelled."""
        while True:
            self.scan()
            await asyncio.sleep(self._interval)

    async def feed(self, sink: Sink, *, kinds: tuple[str, ...] = SERVICES) -> None:
        """Keep other kinds up to date as well until cancelled; of pods those of this node."""
        self._sinks[kinds] = sink
        self._owed = True
        try:
            await asyncio.Event().wait()
        finally:
            del self._sinks[kinds]

    def scan(self) -> None:
        """Look at the folder once."""
        due = any(self._store.look_again_in(kind) == 0 for kind in self._store.kinds)
        try:
            found = sorted(path for path in self._folder.rglob("*") if self._wanted(path))
        except OSError as error:
            self._away(f"cannot be listed: {error.strerror}")
            return
        if not self._folder.is_dir():
            self._away("is no folder")
            return
        changed = self._read(found)
        if changed or due or self._is_away or self._owed or not self._store.complete:
            self._feed()
        self._is_away = False
        for kind in self._store.kinds:
            self._store.contact(kind, connected=True)

    def _away(self, why: str) -> None:
        """The folder is not to be read: everything stays as it is."""
        self._is_away = True
        self._report([(self._folder, why)])

    def _wanted(self, path: Path) -> bool:
        inside = path.relative_to(self._folder).parts
        hidden = any(part.startswith(".") for part in inside)
        return path.suffix in SUFFIXES and not hidden and inside[0] != STATUS and path.is_file()

    def _read(self, found: Iterable[Path]) -> bool:
        """Read what changed; returns whether anything did."""
        before, changed = self._files, False
        self._files = {}
        for path in found:
            old = before.get(path)
            try:
                stat = path.stat()
                mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if old is not None and old.mark == mark:
                    self._files[path] = old
                    continue
                self._files[path] = _File(mark, list(documents(path.read_text())))
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError, ManifestError) as error:
                text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                self._files[path] = _File((0, 0, 0), old.objects if old else None, text)
                changed = changed or old is None or old.problem != text
                continue
            changed = True
        return changed or before.keys() != self._files.keys()

    def _feed(self) -> None:
        """Give the store what all files hold together."""
        problems = [(path, file.problem) for path, file in self._files.items() if file.problem]
        objects: dict[tuple[str, str, str], Body] = {}
        origin: dict[tuple[str, str, str], Path] = {}
        for path, file in self._files.items():
            for body in file.objects or ():
                key = (body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])
                if key in objects:
                    problems.append((path, f"{key[0]}/{key[2]} is in {origin[key].name} already, which counts"))
                else:
                    objects[key], origin[key] = self._completed(body), path
        self._objects = objects = {**self._made_from_nodes(objects), **objects}
        unread = any(file.objects is None for file in self._files.values())
        for kind in self._store.kinds:
            bodies = [body for (one, _, name), body in objects.items() if one == kind and self._concerns(kind, name)]
            if unread and not self._store.complete:
                for body in bodies:
                    self._store.upserted(kind, body)
            else:
                self._store.listed(kind, bodies)
        if not unread:
            self._owed = False
            for kinds, sink in self._sinks.items():
                for kind in kinds:
                    listing = sink.listing(kind)
                    listing.page(body for (one, _, _), body in objects.items() if one == kind and self._is_here(body))
                    listing.done(version="")
        self._report(problems)

    def _made_from_nodes(self, objects: Mapping[tuple[str, str, str], Body]) -> dict[tuple[str, str, str], Body]:
        """A RoutingNode for every Node, as the controller would make it; one that is written down wins over it."""
        made: dict[tuple[str, str, str], Body] = {}
        for (kind, _, name), body in objects.items():
            if kind != "Node" or ("RoutingNode", "", name) in objects:
                continue
            try:
                node = read_node(body)
            except InvalidSpecError:
                continue  # the store reports it
            desired = routing_nodes(Cluster(nodes={name: node})).desired
            if name in desired:
                made["RoutingNode", "", name] = self._completed(encode(desired[name]))
        return made

    def _concerns(self, kind: str, name: str) -> bool:
        return kind != "Node" or not self._node or name == self._node

    def _is_here(self, body: Body) -> bool:
        spec = body.get("spec")
        return body["kind"] != "Pod" or (isinstance(spec, dict) and spec.get("nodeName") == self._node)

    def _completed(self, body: Body) -> Body:
        """The object with the metadata that an API server would give it, and with the status that lies beside it."""
        metadata = {"uid": f"{body['kind']}/{body['metadata']['name']}", "generation": 1, **body["metadata"]}
        status = self._statuses.get((body["kind"], metadata["name"]))
        whole = {**body, "metadata": metadata}
        if status is not None and "status" in status:
            whole["status"] = status["status"]
        return _versioned(whole)

    def _report(self, problems: Iterable[tuple[Path, str]]) -> None:
        self._store.report(
            "folder",
            [
                Problem(kind="File", name=str(path), reason=Reason.UNREADABLE, message=message)
                for path, message in problems
            ],
        )

    async def get(self, kind: str, name: str, *, namespace: str = "") -> Body:
        """One object: from the manifests, else from the status that was written for it; of a folder that is away none is known."""
        if self._is_away:
            raise UnreachableError(f"get {kind} {name}: {self._folder} cannot be read")
        found = self._objects.get((kind, namespace, name)) or self._objects.get((kind, "", name))
        if found is None and (kind, name) in self._statuses:
            found = self._completed(self._statuses[kind, name])
        if found is None and (self._is_away or any(file.objects is None for file in self._files.values())):
            raise UnreachableError(f"get {kind} {name}: {self._folder} cannot be read whole")
        if found is None:
            raise NotFoundError(f"get {kind} {name}: not in {self._folder}", status=404, reason="NotFound")
        return found

    async def create(self, kind: str, body: Body, *, namespace: str = "") -> Body:
        """Create an object that is nothing but a status; manifests are written by people."""
        name = body["metadata"]["name"]
        try:
            await self.get(kind, name, namespace=namespace)
        except NotFoundError:
            if kind == "Event":
                return body
            return self._write(kind, name, body)
        raise AlreadyExistsError(f"create {kind} {name}: it exists", status=409, reason="AlreadyExists")

    async def replace(self, kind: str, body: Body, *, namespace: str = "") -> Body:
        """Refused: manifests are written by people."""
        raise ApiError(f"replace {kind} {body['metadata']['name']}{namespace}: manifests of a folder are never written")

    async def replace_status(self, kind: str, body: Body) -> Body:
        """Write the status file of an object."""
        name = body["metadata"]["name"]
        old = await self.get(kind, name)
        version = body["metadata"].get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise ConflictError(f"replace status of {kind} {name}: it changed", status=409, reason="Conflict")
        return self._write(kind, name, body)

    async def patch_status(self, kind: str, name: str, patch: Body, *, namespace: str = "") -> Body:
        """Merge-patch the status file of an object."""
        old = await self.get(kind, name, namespace=namespace)
        return self._write(kind, name, {**old, "status": _merged(old.get("status"), patch.get("status"))})

    async def patch(self, kind: str, name: str, patch: Body, *, namespace: str = "") -> Body:
        """Refused: manifests are written by people. Events go nowhere."""
        if kind == "Event":
            return patch
        raise ApiError(f"patch {kind} {name}{namespace} {sorted(patch)}: manifests of a folder are never written")

    async def delete(
        self, kind: str, name: str, *, namespace: str = "", uid: str = "", resource_version: str = ""
    ) -> None:
        """Remove the status of an object; its manifest is removed by people."""
        if self._statuses.pop((kind, name), None) is None:
            raise NotFoundError(f"delete {kind} {name}{namespace}{uid}{resource_version}: no status", status=404)
        (self._folder / STATUS / f"{kind}-{name}.yaml").unlink(missing_ok=True)

    def _write(self, kind: str, name: str, body: Body) -> Body:
        kept: Body = {"apiVersion": body.get("apiVersion", API_VERSION), "kind": kind, "metadata": {"name": name}}
        kept["status"] = body.get("status") or {}
        if not self._folder.is_dir():
            raise UnreachableError(f"write status of {kind} {name}: {self._folder} is no folder")  # never made by us
        if self._statuses.get((kind, name)) != kept:
            try:
                write_atomically(self._folder / STATUS / f"{kind}-{name}.yaml", dump(kept).encode(), mode=0o644)
            except OSError as error:
                raise ApiError(f"write status of {kind} {name}: {error.strerror}") from error
            self._statuses[kind, name] = kept
        key = (kind, "", name)
        whole = self._completed(self._objects.get(key, kept))
        if key in self._objects:
            self._objects[key] = whole
            if kind in self._store.kinds and self._concerns(kind, name):
                self._store.upserted(kind, whole)
        return whole


def _versioned(body: Body) -> Body:
    """The object with a resourceVersion that changes with its content."""
    metadata = {field: value for field, value in body["metadata"].items() if field != "resourceVersion"}
    content = json.dumps({**body, "metadata": metadata}, sort_keys=True, default=str).encode()
    version = hashlib.sha256(content).hexdigest()[:16]
    return {**body, "metadata": {**metadata, "resourceVersion": f"x{version}"}}


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        else:
            result[field] = _merged(result.get(field), value)
    return result

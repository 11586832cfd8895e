"""Passwords of the sessions: from one namespace, followed by a watch, kept through anything that only hides them from us.

What was read once is held: an API server that does not answer changes nothing, and a Secret that was deleted stays
usable for the session that is up with it. The held ones survive a restart in a 0600 file, on tmpfs or not at all.
A watch makes a change known at once; where there is none (not allowed, not open) each Secret is asked for by its name.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from towpath.controller.ports import Api, ApiError, ForbiddenError, NotFoundError
from towpath.controller.secret_watch import WatchedSecrets
from towpath.ipam.files import write_atomically
from towpath.model.cluster import Cluster
from towpath.model.codec import packer, unpacker
from towpath.model.kinds.bgp import SecretKey, SecretReference
from towpath.model.reason import Reason, Refusal
from towpath.model.secret import Secret
from towpath.model.speaker import Session

_TMPFS = frozenset({"tmpfs", "ramfs"})
ANSWER_WITHIN = 5.0
_FIELD = {"BGPPeer": "spec.password", "BGPConfiguration": "spec.nodeMeshPassword"}
"""The field that names the password, in each kind that asks for sessions."""
LONGEST_PASSWORD = 80  # TCP_MD5SIG_MAXKEYLEN of the kernel


class _Held(Struct, frozen=True):
    name: str
    key: str
    password: Secret


class Passwords:
    """The passwords that this node holds, and why some that are named are not to be had."""

    def __init__(
        self, api: Api | None, *, namespace: str, file: Path | None, watched: WatchedSecrets | None = None
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._file = file
        self._watched = watched
        self.held: dict[SecretKey, Secret] = {}
        self.missing: dict[SecretKey, str] = {}
        """A sentence for each one that is named and is not there (any more)."""
        self.unkept = ""
        """Why the file does not hold them; empty where it does."""

    def recall(self) -> None:
        """Read the file of an earlier process; one that does not decode counts as none."""
        if self._file is None:
            return
        try:
            held = unpacker(tuple[_Held, ...]).decode(self._file.read_bytes())
        except (OSError, msgspec.MsgspecError, ValueError):
            return
        self.held = {SecretKey(name=one.name, key=one.key): one.password for one in held}

    async def refresh(self, wanted: Iterable[SecretKey]) -> bool:
        """Read all that are wanted, forget the others; returns whether all could be asked for. Never raises."""
        keys = sorted(set(wanted), key=lambda key: (key.name, key.key))
        held, missing, answered = {}, {}, True
        if self._watched is not None:
            self._watched.name(frozenset(key.name for key in keys))
        objects: dict[str, Mapping[str, Any] | str | None] = {}
        for key in keys:
            if key.name not in objects:
                objects[key.name] = await self._read(key.name)
            found = objects[key.name]
            if isinstance(found, Mapping):
                value = password_of(found, key.key)
                if isinstance(value, Secret):
                    held[key] = value
                    continue
                missing[key] = f"Secret {key.name} {value}"
            elif found is not None:
                missing[key] = found
            else:
                answered = False
            if key in self.held:
                held[key] = self.held[key]
            elif found is None:
                missing[key] = f"Secret {key.name} was not read yet: the API server does not answer"
        changed = held != self.held
        self.held, self.missing = held, missing
        if changed or self.unkept:
            try:
                self._remember()
                self.unkept = ""
            except OSError as error:
                self.unkept = f"passwords cannot be kept for the next start in {self._file}: {error.strerror}"
        return answered

    def usable(self, *, in_use: Callable[[SecretKey], bool]) -> dict[SecretKey, Secret]:
        """Passwords to run sessions with: those that exist, and vanished ones that a session still runs with."""
        return {key: value for key, value in self.held.items() if key not in self.missing or in_use(key)}

    async def _read(self, name: str) -> Mapping[str, Any] | str | None:
        """The Secret, a sentence that says why there is none, or None where nobody could be asked."""
        known = self._watched.get(name) if self._watched is not None else None
        found: Mapping[str, Any] | None
        if known is not None:
            found = known.body
        elif self._api is None:
            return None
        else:
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    found = await self._api.get("Secret", name, namespace=self._namespace)
            except NotFoundError:
                found = None
            except ForbiddenError:
                return f"Secret {name} may not be read: RBAC of namespace {self._namespace} does not allow it"
            except (ApiError, TimeoutError):
                return None
            if self._watched is not None:
                self._watched.asked(name, found)
        return f"Secret {name} does not exist in namespace {self._namespace}" if found is None else found

    def _remember(self) -> None:
        if self._file is None:
            return
        held = tuple(_Held(name=key.name, key=key.key, password=value) for key, value in self.held.items())
        if held:
            write_atomically(self._file, packer().encode(held))
        else:
            self._file.unlink(missing_ok=True)


def references(cluster: Cluster) -> frozenset[SecretKey]:
    """Every password that the objects name."""
    named: list[SecretReference | None] = [one.spec.node_mesh_password for one in cluster.configurations.values()]
    named += [peer.spec.password for peer in cluster.peers.values()]
    return frozenset(reference.secret_key_ref for reference in named if reference is not None)


def missing_passwords(sessions: Iterable[Session], missing: Mapping[SecretKey, str]) -> list[Refusal]:
    """Passwords that nobody has, each with the objects whose sessions are to have it; ``missing`` says why."""
    if not missing:
        return []
    users = {(one.password_ref, one.why[0]) for one in sessions if one.password_ref in missing}
    return [
        Refusal(Reason.SECRET_MISSING, missing[key], replace(why, field=_FIELD.get(why.kind, why.field)))
        for key, why in users
        if key is not None
    ]


def file_on_tmpfs(path: Path, *, mounts: str | None = None) -> Path | None:
    """``path`` if what is written there never reaches a disk, else None. ``mounts``: ``/proc/self/mountinfo``."""
    table = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
    best, filesystem = "", ""
    target = str(path.parent.resolve())
    for line in table.splitlines():
        head, _, tail = line.partition(" - ")
        point = head.split()[4]
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, filesystem = point, tail.split()[0]
    return path if filesystem in _TMPFS else None


def password_of(secret: Mapping[str, Any], key: str) -> Secret | str:
    """The password under ``key``, or what is wrong with it."""
    data = secret.get("data") or {}
    plain = secret.get("stringData") or {}  # a manifest in a folder may carry it as text
    if not isinstance(data, dict) or not isinstance(plain, dict):
        return "has no object for data"
    if key in plain:
        value = str(plain[key]).encode()
    elif key in data:
        try:
            value = base64.b64decode(data[key], validate=True)
        except (binascii.Error, TypeError, ValueError):
            return f"has no valid base64 under key {key}"
    else:
        return f"has no key {key}"
    if not 1 <= len(value) <= LONGEST_PASSWORD:
        return f"has a password of {len(value)} bytes under key {key}; 1 to {LONGEST_PASSWORD} are possible"
    return Secret(value)

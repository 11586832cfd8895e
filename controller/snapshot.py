"""The last complete picture of the cluster on disk: what a node runs on while the API server does not answer.

The file is a first line that says what it is, a SHA-256 of the rest, and the rest as msgpack. It is whole or it is not
used: written beside, synced and renamed. It holds no secret, because a ``Cluster`` holds none.
"""

import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct

from towpath.ipam.files import write_atomically
from towpath.model.cluster import Cluster
from towpath.model.codec import packer, unpacker
from towpath.model.selection import select

SNAPSHOT_VERSION = 1
_MAGIC = b"towpath snapshot\n"
_DIGEST = hashlib.sha256().digest_size


class SnapshotError(Exception):
    """The file is there and cannot be used; the message says why."""


class _Body(Struct, frozen=True):
    version: int
    node: str
    cluster: Cluster


class _Head(Struct, frozen=True):
    """What any version of the body starts with."""

    version: int
    node: str


class SnapshotFile:
    """The snapshot of one node at one path."""

    def __init__(self, path: Path, *, node: str) -> None:
        self.path = path
        self._node = node
        self._digest = b""
        self._pack = packer()

    def load(self) -> Cluster | None:
        """The cluster as it was saved last, or None where nothing was; ``SnapshotError`` for anything unusable."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SnapshotError(f"{self.path} cannot be read: {error.strerror}") from error
        start = len(_MAGIC) + _DIGEST
        digest, body = content[len(_MAGIC) : start], content[start:]
        if not content.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            raise SnapshotError(f"{self.path} is damaged: its checksum does not match")
        try:
            head = msgspec.msgpack.decode(body, type=_Head)
            if head.version != SNAPSHOT_VERSION:
                raise SnapshotError(f"{self.path} has version {head.version}, this is version {SNAPSHOT_VERSION}")
            if head.node != self._node:
                raise SnapshotError(f"{self.path} belongs to node {head.node}, this is node {self._node}")
            cluster = unpacker(_Body).decode(body).cluster
        except (msgspec.MsgspecError, ValueError) as error:
            raise SnapshotError(f"{self.path} does not decode: {error}") from error
        self._digest = digest
        return select(cluster, memory={}, now=0.0)[0]

    def save(self, cluster: Cluster) -> bool:
        """Save if it differs from what was saved or loaded last; returns whether it did. ``OSError`` where the disk refuses."""
        body = self._pack.encode(_Body(version=SNAPSHOT_VERSION, node=self._node, cluster=cluster))
        digest = hashlib.sha256(body).digest()
        if digest == self._digest:
            return False
        write_atomically(self.path, _MAGIC + digest + body)
        self._digest = digest
        return True

"""Layers and the archive around them: the OCI image layout in a tar file, which Docker loads as well.

Everything that could differ between two builds of the same is fixed: order, owners, times, compression.
https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

import datetime as dt
import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from towpath.lab.image.recipe import Platform

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Layer(msgspec.Struct, frozen=True):
    """One compressed layer; digests in hexadecimal, sizes in bytes."""

    what: str
    digest: str
    diff_id: str
    size: int
    unpacked: int
    """Bytes of all files together."""


def pack(tree: Path, blob: Path, *, what: str, epoch: int) -> Layer:
    """Write a folder as a compressed layer."""
    unpacked = 0
    with blob.open("wb") as raw:
        compressed = _Hashed(raw)
        with gzip.GzipFile(filename="", mode="wb", fileobj=compressed, mtime=0, compresslevel=6) as zipped:
            plain = _Hashed(zipped)
            with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]  # it only writes
                for path in _sorted(tree):
                    member = _member(path, str(path.relative_to(tree)), epoch)
                    unpacked += member.size
                    if member.isreg():
                        with path.open("rb") as file:
                            archive.addfile(member, file)
                    else:
                        archive.addfile(member)
    return Layer(what, compressed.digest, plain.digest, compressed.size, unpacked)


def write(
    archive: Path,
    layers: Sequence[tuple[Layer, Path]],
    *,
    name: str,
    platform: Platform,
    config: Mapping[str, Any],
    epoch: int,
) -> str:
    """Write the archive of an image called ``name``; its digest, by which a registry and ``crictl`` know it."""
    created = dt.datetime.fromtimestamp(epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    whole = {
        "created": created,
        "architecture": platform.architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}" for layer, _ in layers]},
        "history": [{"created": created, "created_by": "towpath image", "comment": layer.what} for layer, _ in layers],
    }
    if platform.architecture == "arm64":
        whole["variant"] = "v8"
    configuration = _json(whole)
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, configuration),
            "layers": [
                {"mediaType": _LAYER, "digest": f"sha256:{layer.digest}", "size": layer.size} for layer, _ in layers
            ],
        }
    )
    annotations = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
    described = {**_descriptor(_MANIFEST, manifest), "annotations": annotations}
    described["platform"] = {key: whole[key] for key in ("architecture", "os", "variant") if key in whole}
    docker = [
        {
            "Config": f"blobs/sha256/{_sha256(configuration)}",
            "RepoTags": [name],
            "Layers": [f"blobs/sha256/{layer.digest}" for layer, _ in layers],
        }
    ]
    texts = {
        f"blobs/sha256/{_sha256(configuration)}": configuration,
        f"blobs/sha256/{_sha256(manifest)}": manifest,
        "index.json": _json({"schemaVersion": 2, "manifests": [described]}),
        "manifest.json": _json(docker),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }
    blobs = {f"blobs/sha256/{layer.digest}": path for layer, path in layers}
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as file:
        for entry in sorted({**texts, **blobs}):
            content: IO[bytes] = io.BytesIO(texts[entry]) if entry in texts else blobs[entry].open("rb")
            with content:
                member = tarfile.TarInfo(entry)
                member.size, member.mtime, member.mode = content.seek(0, os.SEEK_END), epoch, 0o644
                content.seek(0)
                file.addfile(member, content)
    return f"sha256:{_sha256(manifest)}"


class _Hashed:
    """A file that is written through, counted and hashed."""

    def __init__(self, file: Any) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._file.write(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self.size


def _sorted(tree: Path) -> Iterator[Path]:
    """Everything under a folder, each folder before what is in it; links are not followed."""
    return iter(sorted(Path(folder) / name for folder, *names in os.walk(tree) for part in names for name in part))


def _member(path: Path, name: str, epoch: int) -> tarfile.TarInfo:
    found = path.lstat()
    member = tarfile.TarInfo(name)
    member.mtime = epoch
    if stat.S_ISLNK(found.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
    elif stat.S_ISDIR(found.st_mode):
        # world-writable with the sticky bit stays so; all else belongs to root and is for everyone to read
        member.type, member.mode = tarfile.DIRTYPE, 0o1777 if found.st_mode & stat.S_ISVTX else 0o755
    else:
        member.size, member.mode = found.st_size, 0o755 if found.st_mode & 0o100 else 0o644
    return member


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{_sha256(data)}", "size": len(data)}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")

"""From the recipe to the archive, in three layers; what has been made of the same inputs is taken from the cache.

The layers are ordered by how seldom they change: the Debian system, the libraries and plugins, towpath itself. A node
that has an older version pulls the last one, about a megabyte, and seldom more.

In the cache (``image`` under the folder of built programs) everything lies under the hash of what it is made of, and
appears there by rename: what is in the cache is whole.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from towpath.lab.golang import cache, locked
from towpath.lab.image import archive, bytecode, debian, plugins, program, recipe, sbom, wheels
from towpath.lab.image.archive import Layer
from towpath.lab.image.recipe import ROOT, Platform
from towpath.lab.image.sbom import Component
from towpath.lab.tools import CNI_PLUGINS

KEPT = 14 * 24 * 3600
"""Seconds that something in the cache stays after its last use."""
_ROOMS = ("model", "ipam", "bgp", "routes", "controller", "lab", "src", "cni")
_FILES = ("pyproject.toml", "README.md", "LICENSE", "requirements/runtime.lock")


class Part(msgspec.Struct, frozen=True):
    """A layer in the cache, and what is in it."""

    layer: Layer
    components: tuple[Component, ...]


class Image(msgspec.Struct, frozen=True):
    """A made image: the files are called after version and architecture."""

    archive: Path
    sbom: Path
    digest: str
    layers: tuple[Layer, ...]


class Workshop:
    """Makes images for one platform in one folder of the cache."""

    def __init__(
        self, platform: Platform, *, epoch: int, store: Path | None = None, say: Callable[[str], None]
    ) -> None:
        self.platform = platform
        self.epoch = epoch
        self.store = store or cache() / "image"
        self.say = say

    def image(self, *, fresh: bool = False) -> Image:
        """The image of this checkout; ``fresh`` asks for Debian's newest packages, corrections of security included."""
        with locked(self.store / "all"):
            if fresh:
                for path in self.store.glob("debian-*"):
                    shutil.rmtree(path)
                for path in self.store.glob("image-*"):
                    shutil.rmtree(path)
            key = _hash(("image", self.platform.architecture, str(self.epoch), *_inputs(_ROOMS, _FILES)))
            folder = self._made(f"image-{self.platform.architecture}", key, self._image)
            self._tidy()
        found = msgspec.json.decode((folder / "image.json").read_bytes(), type=Image, dec_hook=_path)
        return msgspec.structs.replace(found, archive=folder / found.archive, sbom=folder / found.sbom)

    def system(self) -> Path:
        """The folder of the layer with Debian's packages; ``root`` in it is the layer unpacked."""
        packages = self._made(
            f"debian-{self.platform.architecture}",
            _hash((recipe.SUITE, *recipe.DEBIAN)),
            lambda into: debian.download(self.platform, into, mirror=os.environ.get("DEBIAN_MIRROR")),
        )
        key = self._key("system", *(path.name for path in debian.packages(packages)))

        def make(root: Path) -> list[Component]:
            components = debian.unpack(packages, root)
            native = self.platform == recipe.native()
            bytecode.compile_all(
                root, recipe.LIBRARY, system=root if native else self._native(), platform=recipe.native()
            )
            return components

        return self._layer("system", key, make, keep=True)

    def libraries(self) -> Path:
        """The folder of the layer with what towpath needs from PyPI, and with the CNI plugins."""
        lock = wheels.LOCK.read_text()
        fetched = self._made(
            f"wheels-{self.platform.architecture}", _hash((lock,)), lambda into: wheels.download(self.platform, into)
        )

        def make(root: Path) -> list[Component]:
            found = wheels.install(self.platform, root, fetched, leave_out=recipe.LIBRARIES_LEAVE_OUT, locked=True)
            found += plugins.install(self.platform, root)
            bytecode.compile_all(root, recipe.SITE, system=self._native(), platform=recipe.native())
            return found

        return self._layer("libraries", self._key("libraries", lock, CNI_PLUGINS), make)

    def towpath(self, below: Iterable[Component]) -> Path:
        """The folder of the layer with towpath itself, and with the list of what is in the whole image."""
        below = tuple(below)
        key = self._key("towpath", *_inputs(_ROOMS, _FILES), *(one.purl for one in below))

        def make(root: Path) -> list[Component]:
            with tempfile.TemporaryDirectory() as built:
                wheels.build(Path(built))
                found = wheels.install(
                    self.platform, root, Path(built), leave_out=recipe.TOWPATH_LEAVES_OUT, locked=False
                )
            wheels.command(root)
            found += program.install(self.platform, root)
            bytecode.compile_all(root, recipe.SITE, system=self._native(), platform=recipe.native())
            path = root / recipe.SBOM
            path.parent.mkdir(parents=True)
            path.write_bytes(sbom.document((*below, *found), platform=self.platform, epoch=self.epoch, key=key))
            return found

        return self._layer("towpath", key, make, keep=True)

    def _image(self, into: Path) -> None:
        folders = [self.system(), self.libraries()]
        folders.append(self.towpath(one for folder in folders for one in _part(folder).components))
        layers = [(_part(folder).layer, folder / "layer.tar.gz") for folder in folders]
        stem = f"towpath-{recipe.version()}-{self.platform.architecture}"
        into.mkdir()
        digest = archive.write(
            into / f"{stem}.oci.tar",
            layers,
            name=f"{recipe.NAME}:{recipe.version()}",
            platform=self.platform,
            config=config(),
            epoch=self.epoch,
        )
        shutil.copyfile(folders[-1] / "root" / recipe.SBOM, into / f"{stem}.spdx.json")
        made = Image(Path(f"{stem}.oci.tar"), Path(f"{stem}.spdx.json"), digest, tuple(layer for layer, _ in layers))
        (into / "image.json").write_bytes(msgspec.json.encode(made, enc_hook=str))

    def _native(self) -> Path:
        """The unpacked system of this machine's own platform, whose Python compiles for all."""
        return Workshop(recipe.native(), epoch=self.epoch, store=self.store, say=self.say).system() / "root"

    def _layer(self, name: str, key: str, make: Callable[[Path], list[Component]], *, keep: bool = False) -> Path:
        def whole(into: Path) -> None:
            root = into / "root"
            root.mkdir(parents=True)
            components = make(root)
            layer = archive.pack(root, into / "layer.tar.gz", what=name, epoch=self.epoch)
            (into / "part.json").write_bytes(msgspec.json.encode(Part(layer, tuple(components))))
            if not keep:
                shutil.rmtree(root)

        return self._made(f"{name}-{self.platform.architecture}", key, whole)

    def _made(self, name: str, key: str, make: Callable[[Path], None]) -> Path:
        """The folder of this name and key, made if it is not there."""
        target = self.store / f"{name}-{key}"
        if not target.exists():
            self.say(f"making {name}")
            self.store.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.store) as scratch:
                made = Path(scratch) / "made"
                make(made)
                made.rename(target)
        os.utime(target)
        return target

    def _key(self, *texts: str) -> str:
        return _hash((self.platform.architecture, str(self.epoch), *_inputs(("lab/image",), ()), *texts))

    def _tidy(self) -> None:
        """Take away what was not used for long."""
        for path in self.store.iterdir():
            if path.is_dir() and time.time() - path.stat().st_mtime > KEPT:
                shutil.rmtree(path)


def config() -> dict[str, Any]:
    """What the image says about running it (``config`` of an OCI image)."""
    return {
        "User": f"{recipe.USER}:{recipe.USER}",
        "Env": [f"{name}={value}" for name, value in sorted(recipe.ENVIRONMENT.items())],
        "Entrypoint": list(recipe.ENTRYPOINT),
        "WorkingDir": "/",
        "Labels": recipe.labels(),
    }


def _part(folder: Path) -> Part:
    return msgspec.json.decode((folder / "part.json").read_bytes(), type=Part)


def _inputs(rooms: Iterable[str], files: Iterable[str]) -> list[str]:
    """Names and contents of the files that something is made of."""
    paths = [ROOT / name for name in files]
    for room in rooms:
        paths += (
            Path(folder) / name
            for folder, _, names in os.walk(ROOT / room)
            for name in names
            if not name.endswith(".pyc")
        )
    return [f"{path.relative_to(ROOT)}:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(paths)]


def _hash(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def _path(kind: type, value: Any) -> Any:
    return kind(value)

"""The archive: who can read it, what it says, and that it comes out the same each time."""

import json
import os
import shutil
import struct
import tarfile
from pathlib import Path

from towpath.lab.golang import cache
from towpath.lab.image import recipe
from towpath.lab.image.build import Image, Workshop
from towpath.lab.process import run

MACHINES = {"amd64": 62, "arm64": 183}
"""What an ELF file says of its processor (e_machine)."""


def inspected(image: Image) -> dict:
    """The image's configuration, as skopeo reads it."""
    return json.loads(run("skopeo", "inspect", "--config", f"oci-archive:{image.archive}"))


def test_it_says_what_it_is(made: Image) -> None:
    """Labels, user, entry point and platform are those of the recipe; the digest is the one that we print."""
    config = inspected(made)
    assert config["config"]["Labels"] == recipe.labels()
    assert config["config"]["Entrypoint"] == list(recipe.ENTRYPOINT)
    assert config["config"]["User"] == f"{recipe.USER}:{recipe.USER}"
    assert config["config"]["Env"] == [f"{name}={value}" for name, value in recipe.ENVIRONMENT.items()]
    assert (config["architecture"], config["os"]) == (recipe.native().architecture, "linux")
    said = json.loads(run("skopeo", "inspect", f"oci-archive:{made.archive}"))
    assert said["Digest"] == made.digest


def test_it_is_found_under_its_name(made: Image, tmp_path: Path) -> None:
    """By those who read OCI archives, and by those who read Docker's."""
    name = f"{recipe.NAME}:{recipe.version()}"
    for kind in ("oci-archive", "docker-archive"):
        run("skopeo", "copy", "-q", f"{kind}:{made.archive}:{name}", f"oci:{tmp_path / kind}:x", timeout=300)
    with tarfile.open(made.archive) as archive:
        index = json.load(archive.extractfile("index.json"))
    (manifest,) = index["manifests"]
    assert manifest["annotations"]["io.containerd.image.name"] == name


def test_it_comes_out_the_same_again(made: Image, tmp_path: Path) -> None:
    """Made anew from the same packages and wheels, everything else done once more: the same digest."""
    for path in (cache() / "image").iterdir():
        if path.name.startswith(("debian-", "wheels-")):
            shutil.copytree(path, tmp_path / path.name)
    again = Workshop(recipe.native(), epoch=0, store=tmp_path, say=print).image()
    assert again.archive.read_bytes() == made.archive.read_bytes()
    assert again.digest == made.digest


def test_it_is_made_for_other_processors_too(tmp_path: Path) -> None:
    """Every program, library and extension module in it is for that one; bytecode is there as well."""
    (other,) = (one for one in recipe.PLATFORMS.values() if one != recipe.native())
    image = Workshop(other, epoch=0, say=print).image()
    assert inspected(image)["architecture"] == other.architecture
    seen = 0
    with tarfile.open(image.archive) as archive:
        for layer in image.layers:
            with tarfile.open(fileobj=archive.extractfile(f"blobs/sha256/{layer.digest}"), mode="r:gz") as contents:
                names = set(contents.getnames())
                for member in contents:
                    head = contents.extractfile(member).read(20) if member.isreg() else b""
                    if head.startswith(b"\x7fELF"):
                        seen += 1
                        assert struct.unpack("<H", head[18:20])[0] == MACHINES[other.architecture], member.name
                    folder, name = os.path.split(member.name)
                    if name.endswith(".py"):
                        assert f"{folder}/__pycache__/{name[:-3]}.cpython-311.pyc" in names
    assert seen > 100

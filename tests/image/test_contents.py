"""What is in the image, and what is not."""

import email.parser
import json
import marshal
import os
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from towpath.lab.golang import ask_go
from towpath.lab.image import bytecode, debian, recipe
from towpath.lab.image.build import Image
from towpath.lab.process import run

LARGEST = 200 * 1000 * 1000
"""Bytes of an unpacked image, as docs/images.md has it."""


def entries(root: Path) -> Iterator[Path]:
    """Everything in a root file system."""
    for folder, names, inside in os.walk(root):
        yield from (Path(folder) / name for name in (*names, *inside))


def regular(root: Path) -> list[Path]:
    return [path for path in entries(root) if path.is_file() and not path.is_symlink()]


def elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


@pytest.fixture(scope="module")
def modules(root: Path) -> list[Path]:
    """Every module of Python, of its own library and of what is installed."""
    found = [path for part in (recipe.LIBRARY, recipe.SITE) for path in (root / part).rglob("*.py")]
    assert len(found) > 1000
    return found


@pytest.fixture(scope="module")
def packages(made: Image) -> dict[str, dict]:
    """The packages that the list of contents names, by package URL without qualifiers."""
    document = json.loads(made.sbom.read_text())
    return {
        ref["referenceLocator"].split("?")[0]: package
        for package in document["packages"]
        for ref in package.get("externalRefs", ())
    }


def test_every_module_has_its_bytecode(modules: list[Path], root: Path) -> None:
    """Of this Python, never compared with the source (PEP 552), with the path that the module has in the image."""
    magic = set()
    for path in modules:
        data = (path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc").read_bytes()
        magic.add(data[:4])
        assert struct.unpack("<I", data[4:8])[0] == 0b01, path
    assert len(magic) == 1
    for path in modules[:: len(modules) // 40]:
        code = marshal.loads((path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc").read_bytes()[16:])
        assert isinstance(code, CodeType)
        assert code.co_filename == f"/{path.relative_to(root)}"


def test_bytecode_without_a_module_is_not_there(modules: list[Path], root: Path) -> None:
    """What was left out left nothing behind."""
    wanted = {path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc" for path in modules}
    assert {path for path in regular(root) if path.suffix == ".pyc"} == wanted


def test_nothing_can_be_run_but_what_is_used(root: Path) -> None:
    """No shell, no compiler, no pip, no package manager: the programs are those of the recipe."""
    programs = {
        str(path.relative_to(root))
        for path in regular(root)
        if path.stat().st_mode & 0o111 and not re.search(r"\.so(\.|$)", path.name)
    }
    plugins = {f"{recipe.PLUGIN_FOLDER}/{name}" for name in (*recipe.PLUGINS, "towpath-ipam")}
    assert programs == {*recipe.PROGRAMS, recipe.ENTRYPOINT[0].lstrip("/"), *plugins}
    site = {path.name for path in (root / recipe.SITE).iterdir()}
    assert not {"pip", "setuptools", "wheel", "pkg_resources", "pytest"} & site
    assert not (root / recipe.LIBRARY / "ensurepip").exists()


def test_nothing_is_more_than_a_plain_file(root: Path) -> None:
    """No setuid, no device, nothing that others may write, apart from /tmp; all of it root's."""
    for path in entries(root):
        found = path.lstat()
        assert stat.S_IFMT(found.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK), path
        assert (found.st_uid, found.st_gid) == (0, 0), path
        if not path.is_symlink() and path != root / "tmp":
            assert found.st_mode & (stat.S_ISUID | stat.S_ISGID | 0o022) == 0, path
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_no_link_leads_nowhere(root: Path) -> None:
    """What a link names is there; those into /run are made at run time."""
    for path in entries(root):
        if path.is_symlink() and not (target := str(path.readlink())).startswith("/run"):
            resolved = root / target.lstrip("/") if target.startswith("/") else path.parent / target
            assert resolved.exists(), f"{path} -> {target}"


def test_it_is_not_too_large(made: Image, root: Path) -> None:
    """Unpacked, and by its own count."""
    size = sum(path.stat().st_size for path in regular(root))
    assert size <= LARGEST
    assert size == sum(layer.unpacked for layer in made.layers)
    assert f"{LARGEST // 10**6} MB" in (recipe.ROOT / "docs" / "images.md").read_text()


def test_every_program_finds_its_libraries(root: Path) -> None:
    """Also those of Python's extension modules, though some Debian packages were left out."""
    platform = recipe.native()
    command, environment = bytecode.interpreter(root, platform)
    objects = [path for path in regular(root) if elf(path) and path.parent != root / recipe.PLUGIN_FOLDER]
    assert len(objects) > 100
    for path in objects:
        if path == root / platform.loader or path.name.startswith("ld-linux"):
            continue
        said = run(
            "env", *(f"{k}={v}" for k, v in environment.items()), *command[:-1], "--list", str(path), check=False
        )
        assert "not found" not in said, f"{path}: {said}"


def test_the_list_names_every_debian_package(root: Path, packages: dict[str, dict]) -> None:
    """Those of dpkg's records, which scanners read, with version, checksum and licence file."""
    records = list((root / debian.STATUS).iterdir())
    assert {path.name for path in records} >= {"libc6", "libssl3", "nftables", "python3.11"}
    for path in records:
        fields = email.parser.Parser().parsestr(path.read_text())
        purl = f"pkg:deb/debian/{fields['Package']}@{fields['Version'].replace('+', '%2B').replace(':', '%3A')}"
        assert packages[purl]["versionInfo"] == fields["Version"]
        assert len(packages[purl]["checksums"][0]["checksumValue"]) == 64
        assert (root / "usr/share/doc" / fields["Package"]).exists(), "its licence"
    assert len(records) == sum(purl.startswith("pkg:deb/") for purl in packages)


def test_the_list_names_every_python_package(root: Path, packages: dict[str, dict]) -> None:
    """With the version of its metadata and the checksum of the wheel, which the lock has too."""
    lock = (recipe.ROOT / "requirements" / "runtime.lock").read_text()
    found = [
        email.parser.Parser().parsestr(path.read_text()) for path in (root / recipe.SITE).glob("*.dist-info/METADATA")
    ]
    for meta in found:
        name = re.sub(r"[-_.]+", "-", meta["Name"]).lower()
        package = packages[f"pkg:pypi/{name}@{meta['Version']}"]
        if name != "towpath":
            assert package["checksums"][0]["checksumValue"] in lock
    assert len(found) == sum(purl.startswith("pkg:pypi/") for purl in packages)


def test_every_file_of_a_python_package_is_there(root: Path) -> None:
    """Its record names no file that was left out."""
    for record in (root / recipe.SITE).glob("*.dist-info/RECORD"):
        for line in record.read_text().splitlines():
            assert (root / recipe.SITE / line.rsplit(",", 2)[0].strip('"')).is_file(), line


def test_the_list_names_every_go_module(root: Path, packages: dict[str, dict], tmp_path: Path) -> None:
    """Those that each plugin says it was built from, and the licence of each."""
    said = ask_go(tmp_path, "version", "-m", *(str(root / recipe.PLUGIN_FOLDER / name) for name in recipe.PLUGINS))
    modules = set(re.findall(r"^\t(?:dep|mod)\t(\S+)\t(\S+)", said, re.MULTILINE))
    assert ("github.com/containernetworking/plugins", "v1.9.1") in modules
    for name, version in modules:
        package = packages[f"pkg:golang/{name}@{version}"]
        for path in package["licenseComments"].split():
            assert (root / path.lstrip("/")).is_file()


def test_the_list_lies_in_the_image_and_beside_the_archive(made: Image, root: Path) -> None:
    """The same document, whole: every relation is between packages that it has."""
    assert (root / recipe.SBOM).read_bytes() == made.sbom.read_bytes()
    document = json.loads(made.sbom.read_text())
    known = {"SPDXRef-DOCUMENT", *(package["SPDXID"] for package in document["packages"])}
    assert len(known) == len(document["packages"]) + 1
    for relation in document["relationships"]:
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= known
    contained = {
        one["relatedSpdxElement"] for one in document["relationships"] if one["relationshipType"] == "CONTAINS"
    }
    assert contained == known - {"SPDXRef-DOCUMENT", "SPDXRef-Image"}

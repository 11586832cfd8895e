"""Debian packages without running any of them: mmdebstrap fetches and checks, ``dpkg-deb`` unpacks, what is kept is kept.

No maintainer script runs, so a foreign architecture needs no emulator. What scripts would have made and the processes need
(users, the order of name look-ups) is written here.
"""

import fnmatch
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from towpath.lab.image.recipe import (
    DEBIAN,
    ONLY_FOR_SCRIPTS,
    SUITE,
    SYSTEM_KEEPS,
    SYSTEM_LEAVES_OUT,
    USER,
    Platform,
)
from towpath.lab.image.sbom import Component
from towpath.lab.process import run

FILES = {
    "etc/passwd": f"root:x:0:0:root:/:/usr/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\nnonroot:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
FOLDERS = ("dev", "etc", "proc", "run", "sys", "tmp", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "var/lib")
LINKS = {
    **{name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")},
    "var/run": "/run",
    "var/lock": "/run/lock",
}
STATUS = "var/lib/dpkg/status.d"
"""Where scanners look for packages in an image without dpkg: one file each."""
DOCUMENTS = "usr/share/doc"


def download(platform: Platform, into: Path, *, mirror: str | None = None) -> None:
    """Fetch the packages and what they depend on, signatures checked; as ``NAME_VERSION_ARCH.deb`` into a new folder."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        fetched = Path(scratch) / "packages"
        fetched.mkdir()
        run(
            "mmdebstrap",
            *("--mode=chrootless", "--variant=extract", "--format=null", f"--architectures={platform.architecture}"),
            f"--include={','.join(DEBIAN)}",
            # they are all extracted by mmdebstrap too, side by side; what it makes is thrown away
            "--setup-hook="
            + " && ".join(f'mkdir -p "$1/usr/{one}" && ln -s usr/{one} "$1/{one}"' for one in LINKS if "/" not in one),
            f'--extract-hook=cp "$1"/var/cache/apt/archives/*.deb {fetched}/',
            *(SUITE, "/dev/null", *([mirror] if mirror else [])),
            timeout=1800,
        )
        fetched.rename(into)


def packages(folder: Path) -> list[Path]:
    """The packages of a download that belong into the image, by name."""
    return [path for path in sorted(folder.glob("*.deb")) if path.name.split("_")[0] not in ONLY_FOR_SCRIPTS]


def unpack(folder: Path, root: Path) -> list[Component]:
    """Make the root file system from downloaded packages in a new folder; what is in it."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        components = [_unpack(package, root, Path(scratch)) for package in packages(folder)]
    for name, text in FILES.items():
        (root / name).write_text(text)
    # a package's folder of documents may be a link to another package's
    return [msgspec.structs.replace(one, licence_note=_licences(root / DOCUMENTS / one.name)) for one in components]


def _unpack(package: Path, root: Path, scratch: Path) -> Component:
    tree = scratch / package.stem
    run("dpkg-deb", "--extract", str(package), str(tree))
    for path in sorted(_files(tree)):
        name = _merged(str(path.relative_to(tree)))
        if _kept(name) or (path.is_symlink() and path.parent == tree / DOCUMENTS):
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
            if target.suffix == ".py" and not target.is_symlink():
                target.chmod(0o644)  # modules that are programs as well are modules here
    shutil.rmtree(tree)
    control = run("dpkg-deb", "--field", str(package))
    fields: dict[str, str] = dict(re.findall(r"^([A-Za-z-]+): (.*)$", control, re.MULTILINE))
    status = root / STATUS / fields["Package"]
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text(control)
    source = re.sub(r" \(.*", "", fields.get("Source", fields["Package"]))
    return Component(
        kind="deb",
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        sha256=hashlib.sha256(package.read_bytes()).hexdigest(),
        supplier=fields.get("Maintainer", ""),
        home=fields.get("Homepage", ""),
        source=source,
    )


def _files(tree: Path) -> Iterator[Path]:
    """Files and links; a link to a folder is a link."""
    for folder, names, inside in os.walk(tree):
        for name in (*inside, *(name for name in names if (Path(folder) / name).is_symlink())):
            yield Path(folder) / name


def _merged(name: str) -> str:
    """A path with ``bin``, ``sbin`` and ``lib`` under ``usr``, as Debian has it since version 12."""
    return f"usr/{name}" if name.split("/", maxsplit=1)[0] in LINKS else name


def _kept(name: str) -> bool:
    def matches(patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    return matches(SYSTEM_KEEPS) and not matches(SYSTEM_LEAVES_OUT)


def _licences(documents: Path) -> str:
    """The short names of licences, where a package's copyright file is machine-readable."""
    text = (documents / "copyright").read_text(errors="replace")
    return ", ".join(sorted(set(re.findall(r"^License: *(\S[^\n]*?) *$", text, re.MULTILINE))))

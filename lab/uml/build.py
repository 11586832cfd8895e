"""User-mode Linux from the distribution's kernel source: a kernel with what a host's may lack, as a program.

Made from ``linux-source-6.1`` of Debian 12, or the newest that the machine has, with ``configuration`` and nothing else: a
small kernel without modules. The folder of ``xstate.c`` goes with it: what is preloaded when it runs.
"""

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from towpath.lab.golang import ToolError
from towpath.lab.process import run

PREFERRED = "linux-source-6.1"
_CONFIGURATION = Path(__file__).with_name("configuration")
_PRELOAD = Path(__file__).with_name("xstate.c")
_UNUSED = ("*/drivers/gpu/*.[ch]", "*/tools/testing/*", "*/Documentation/*.rst")
"""A third of the source, which this kernel is not made of; what configures kernels is read whole."""
_NEEDED = ("make", "gcc", "bc", "bison", "flex", "strip", "tar")
_LONG = 3600


class Source(Struct, frozen=True):
    """An archive of kernel source, as a distribution's package brings it."""

    archive: Path
    version: str
    """The package's."""

    @property
    def digest(self) -> str:
        """What names the kernel made from it: its version, and a digest of how it is configured and preloaded."""
        made_of = hashlib.sha256(_CONFIGURATION.read_bytes() + _PRELOAD.read_bytes())
        return f"{self.version.replace('/', '_')}-{made_of.hexdigest()[:12]}"


def source(folder: Path = Path("/usr/src")) -> Source:
    """The kernel source of this machine; ``ToolError`` where there is none."""
    if platform.machine() != "x86_64":
        raise ToolError(f"user-mode Linux runs on x86_64 alone, this is {platform.machine()}")
    package, archive = archive_in(folder)
    return Source(archive, run("dpkg-query", "-W", "-f", "${Version}", package))


def archive_in(folder: Path) -> tuple[str, Path]:
    """The package that brought an archive into a folder, and the archive: of several the one that is tried, else the newest."""
    # Debian has it there, Ubuntu in a folder of its own below
    found = [*folder.glob("linux-source-*.tar.*"), *folder.glob("linux-source-*/linux-source-*.tar.*")]
    archives = {re.sub(r"\.tar\..*", "", path.name): path for path in found}
    if not archives:
        raise ToolError(f"kernel source is missing: install the package {PREFERRED} (elsewhere linux-source)")
    package = PREFERRED if PREFERRED in archives else max(archives, key=_numbers)
    return package, archives[package]


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", name))


def build(made_from: Source, into: Path) -> None:
    """Make ``xstate.so``, then ``linux``; each appears under ``into`` by rename. Minutes, and 1.2 GB until it is done."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise ToolError(f"to build user-mode Linux these are missing: {', '.join(missing)}")
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        tree, built = Path(scratch) / "source", Path(scratch) / "built"
        tree.mkdir()
        built.mkdir()
        unused = [f"--exclude={pattern}" for pattern in _UNUSED]
        run("tar", "-xf", str(made_from.archive), "-C", str(tree), "--strip-components=1", *unused, timeout=_LONG)
        _configure(tree, wanted())
        _make(tree, f"-j{os.cpu_count() or 1}", "linux")
        run("strip", "-o", str(built / "linux"), str(tree / "linux"))
        run("gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(built / "xstate.so"), str(_PRELOAD))
        for name in ("xstate.so", "linux"):
            (built / name).rename(into / name)


def wanted() -> tuple[str, ...]:
    """The options that are built in, without ``CONFIG_``."""
    lines = _CONFIGURATION.read_text().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _configure(tree: Path, options: Sequence[str]) -> None:
    lines = [f"CONFIG_{option}=y" for option in options]
    (tree / "wanted").write_text("\n".join([*lines, 'CONFIG_LOCALVERSION="-towpath"', ""]))
    _make(tree, "KCONFIG_ALLCONFIG=wanted", "allnoconfig")
    known = set((tree / ".config").read_text().splitlines())
    lacking = [line for line in lines if line not in known]
    if lacking:
        raise ToolError(f"this kernel source does not know, or not with the others: {', '.join(lacking)}")


def _make(tree: Path, *arguments: str) -> None:
    # whoever waits for something on this machine meanwhile goes first
    run("nice", "make", "-s", "-C", str(tree), "ARCH=um", *arguments, timeout=_LONG)

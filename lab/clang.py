"""A C compiler that makes static programs for every architecture on any machine: clang with musl, as PyPI's ``ziglang`` has both.

A distribution's compiler makes programs for its own processor, with its own library linked in; this one is the same
everywhere, so that the same source gives the same bytes.
"""

import hashlib
import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path

from towpath.lab.golang import cache, from_pypi
from towpath.lab.process import run

LOCK = Path(__file__).resolve().parent.parent / "requirements" / "compiler.lock"
"""Which compiler, with the hashes of what PyPI has to send."""
MUSL = "1.2.5"
"""The C library that this version has."""
_PROCESSORS = {"amd64": "x86_64", "arm64": "aarch64"}


def toolchain() -> Path:
    """The folder of the compiler; the first time it is fetched from PyPI (80 MB)."""
    folder = cache() / "ziglang" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:24]
    from_pypi(folder, "--no-deps", "--require-hashes", "-r", str(LOCK), there=folder)
    return folder / "ziglang"


def compile_static(sources: Iterable[Path], target: Path, *, architecture: str = "") -> None:
    """Compile and link one program, which appears by rename; ``architecture`` is Go's word, empty: this machine's."""
    processor = _PROCESSORS.get(architecture) or platform.machine()
    compiler, kept = toolchain() / "zig", cache() / "ziglang" / "objects"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / target.name
        flags = ("-std=c11", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Werror")
        folders = (f"ZIG_{which}_CACHE_DIR={kept}" for which in ("GLOBAL", "LOCAL"))
        run(
            *("env", *folders, str(compiler), "cc", "-target", f"{processor}-linux-musl", *flags, "-o", str(made)),
            *map(str, sources),
            timeout=600,
        )
        made.rename(target)

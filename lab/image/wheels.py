"""Python packages: the locked ones with their hashes checked, and towpath itself as a wheel of this checkout."""

import email.parser
import fnmatch
import hashlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from towpath.lab.golang import ToolError
from towpath.lab.image.recipe import ENTRYPOINT, PYTHON, ROOT, SITE, Platform, version
from towpath.lab.image.sbom import Component
from towpath.lab.process import run

LOCK = ROOT / "requirements" / "runtime.lock"
_PLATFORM_MARKER = re.compile(r"sys_platform == '(\w+)'")
_SCRIPT = f"""#!/usr/bin/python{PYTHON} -IBu
import sys

from towpath.controller.cli import main

sys.exit(main())
"""
"""The command: isolated from the environment and from a user's folders, writing no bytecode, holding back no output."""


def download(platform: Platform, into: Path) -> None:
    """Fetch the locked wheels for a platform into a new folder."""
    check_markers(LOCK)
    scratch = into.with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)
    _pip("download", "--require-hashes", "--no-deps", *_target(platform), "-r", str(LOCK), "-d", str(scratch))
    scratch.rename(into)


def build(into: Path) -> None:
    """Make the wheel of this checkout in a folder."""
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into))
    run("env", "-C", str(ROOT), "SOURCE_DATE_EPOCH=315532800", *command, timeout=300)  # a zip knows no year before 1980


def install(platform: Platform, root: Path, wheels: Path, *, leave_out: Sequence[str], locked: bool) -> list[Component]:
    """Install the locked wheels of a folder, or else the one that is ours, into a root file system; what they are."""
    site = root / SITE
    wanted = ("--require-hashes", "-r", str(LOCK)) if locked else (f"towpath=={version()}",)
    _pip(
        *("install", "--no-index", "-f", str(wheels), "--no-deps", "--no-compile", "--root-user-action=ignore"),
        *(*_target(platform), "--target", str(site), *wanted),
    )
    for path in sorted(site.rglob("*"), key=lambda path: len(path.parts)):
        name = str(path.relative_to(site))
        if path.exists() and any(_matches(name, pattern) for pattern in leave_out):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in site.rglob("*.py"):
        path.chmod(0o644)
    return [_described(info, wheels) for info in sorted(site.glob("*.dist-info"))]


def command(root: Path) -> None:
    """Write the command ``towpath`` into a root file system."""
    path = root / ENTRYPOINT[0].lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text(_SCRIPT)
    path.chmod(0o755)


def _matches(name: str, pattern: str) -> bool:
    """Whether a path matches a pattern part by part: a star stands for no slash."""
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _described(info: Path, wheels: Path) -> Component:
    """One installed package; its list of files shortened to what is there."""
    site, record = info.parent, info / "RECORD"
    lines = [line for line in record.read_text().splitlines() if (site / line.split(",")[0]).is_file()]
    record.write_text("\n".join((*lines, "")))
    meta = email.parser.Parser().parsestr((info / "METADATA").read_text())
    normal = re.sub(r"[-_.]+", "-", meta["Name"]).lower()
    (wheel,) = (
        path for path in wheels.glob("*.whl")
        if re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() == normal
    )  # fmt: skip
    classifiers = [one for one in meta.get_all("Classifier", []) if one.startswith("License ::")]
    return Component(
        kind="pypi",
        name=normal,
        version=meta["Version"],
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        licence=meta.get("License-Expression", ""),
        licence_note="; ".join(classifiers) or (meta.get("License") or "").split("\n")[0],
    )


def _target(platform: Platform) -> tuple[str, ...]:
    tags = (f"--platform={tag}" for tag in platform.tags)
    return ("--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *tags)


def check_markers(lock: Path) -> None:
    """Conditions in a lock are judged by the Python that builds: refuse such as might be true in the image alone."""
    for line in lock.read_text().splitlines():
        name, _, marker = line.removesuffix("\\").partition(";")
        if marker and not _PLATFORM_MARKER.fullmatch(marker.strip()):
            raise ToolError(f"{lock.name}: {name.strip()}: the condition {marker.strip()} is not understood")


def _pip(*arguments: str) -> None:
    run(sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments, timeout=1800)

"""Bytecode for every module, the same bytes each time, made by the image's own Python.

It is run in place, by its own loader, so that this needs neither root nor a chroot. Bytecode is the same on every
architecture: for a foreign one the native system's Python compiles.
"""

import os
import subprocess
from pathlib import Path

from towpath.lab.golang import ToolError
from towpath.lab.image.recipe import PYTHON, Platform


def interpreter(system: Path, platform: Platform) -> tuple[list[str], dict[str, str]]:
    """The command and the environment that run the Python of an unpacked system on this machine."""
    folders = f"{system / platform.libraries}:{system / 'usr/lib'}"
    command = [str(system / platform.loader), "--library-path", folders, str(system / f"usr/bin/python{PYTHON}")]
    return command, {"PATH": os.environ["PATH"], "PYTHONHOME": str(system / "usr"), "PYTHONHASHSEED": "0"}


def compile_all(root: Path, folder: str, *, system: Path, platform: Platform) -> None:
    """Compile every module in a folder of a root file system; ``system`` is one for this machine's platform.

    The files are never compared with their sources (PEP 552, unchecked): the root file system is read-only, and its times
    are all the same. The paths in them are those inside the image.
    """
    command, environment = interpreter(system, platform)
    options = ("-q", "-f", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/")
    done = subprocess.run(
        [*command, "-S", "-m", "compileall", *options, str(root / folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ToolError(f"not every module could be compiled:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")

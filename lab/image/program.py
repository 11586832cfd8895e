"""Our own CNI program in the image, with the licence of what is linked into it."""

import shutil
from pathlib import Path

from towpath.ipam.cni import PROGRAM
from towpath.lab import clang
from towpath.lab.image.recipe import PLUGIN_FOLDER, Platform, native
from towpath.lab.image.sbom import Component
from towpath.lab.tools import towpath_ipam

LICENCE = f"usr/share/doc/{PROGRAM}/musl/COPYRIGHT"


def install(platform: Platform, root: Path) -> list[Component]:
    """Put it beside the CNI project's plugins in a root file system; the library in it."""
    built = towpath_ipam(architecture="" if platform == native() else platform.architecture)
    for target in (root / PLUGIN_FOLDER / PROGRAM, root / LICENCE):
        target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(built, root / PLUGIN_FOLDER / PROGRAM)
    (root / PLUGIN_FOLDER / PROGRAM).chmod(0o755)
    shutil.copyfile(clang.toolchain() / "lib" / "libc" / "musl" / "COPYRIGHT", root / LICENCE)
    return [Component(kind="generic", name="musl", version=clang.MUSL, licence="MIT", licence_note=f"/{LICENCE}")]

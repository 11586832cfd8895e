"""What a node has on its disks, as it is looked at: plugins, folders, and what was refused."""

import os
from pathlib import Path

import structlog
from msgspec import Struct

from towpath.ipam.plugins import Folders, Plugin, ask, install

log = structlog.get_logger()


class Looked(Struct, frozen=True):
    """What plugins said, and what the disk refused."""

    plugins: tuple[Plugin, ...]
    refused: str = ""


def look(folders: Folders) -> Looked:
    """Put missing plugins in place and ask all what they understand."""
    refused = ""
    try:
        for name in install(folders):
            log.info("plugin.installed", plugin=name, folder=str(folders.target))
    except OSError as error:
        refused = f"CNI plugins cannot be put into {folders.target}: {said(error)}"
    return Looked(ask(folders.target), refused)


def said(error: OSError) -> str:
    """An error of a file system in words."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def mark(folder: Path) -> tuple[int, tuple[str, ...]]:
    """When the folder changed last, and what is in it: the kernel's clock for files stands still for milliseconds."""
    try:
        return folder.stat().st_mtime_ns, tuple(sorted(os.listdir(folder)))  # noqa: PTH208  # names alone
    except OSError:
        return 0, ()

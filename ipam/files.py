"""Files that any reader, after any crash, finds whole: the old one or the new one.

What could not be written, because a disk is full or a folder is read-only, leaves nothing behind.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file, or make it. ``OSError``: the old one stands."""
    with _beside(path, mode, lambda file: file.write(content)) as beside:
        beside.rename(path)


def copy_atomically(source: Path, path: Path, *, mode: int, replace: bool) -> bool:
    """Copy a file. Not ``replace``: only if there is none of that name, also if one appears meanwhile; whether it was."""
    with source.open("rb") as content, _beside(path, mode, lambda file: shutil.copyfileobj(content, file)) as beside:
        if replace:
            beside.rename(path)
            return True
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            return False
        return True


def link_atomically(link: Path, target: Path) -> None:
    """Make or replace a symbolic link."""
    link.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary(link)
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(target)
        beside.rename(link)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def temporary(path: Path) -> Path:
    """Where a file is made before it takes its name; one that a crash left there is made anew."""
    return path.with_name(f".{path.name}.new")


def intended(beside: Path) -> str:
    """The name that a file which is made beside it was to take."""
    return beside.name.removeprefix(".").removesuffix(".new")


@contextlib.contextmanager
def _beside(path: Path, mode: int, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
    """A whole and synced file beside ``path``, gone afterwards unless it was renamed; then its folder is synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary(path)
    beside.unlink(missing_ok=True)  # from a crash; never opened again, so that nobody's link is followed
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            write(file)
            file.flush()
            os.fsync(descriptor)
        yield beside
    except OSError as error:
        if error.filename is None:  # of a write: it knows a descriptor only
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""The CNI plugins of a node: put in place where the host lacks them, asked what they understand, taken away again.

What the host has is never replaced. What we put there is known by its content, which is on record before the file is:
a plugin that somebody has replaced since is theirs.
"""

import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path

from msgspec import Struct

from towpath.ipam.cni import HOST_LOCAL, PROGRAM
from towpath.ipam.files import copy_atomically, temporary, write_atomically

NEEDED = ("ptp", "bridge", "macvlan", "ipvlan", HOST_LOCAL, "portmap")
"""What our configuration may call, and cannot do without."""
VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""CNI versions that our configuration is valid in, the older first."""
FORM = 2
"""What our program has to understand: 1 is what the first one did, 2 that all namespaces wait, and that it stands before a plugin."""
ANSWER_WITHIN = 10.0
_MODE = 0o755


class Folders(Struct, frozen=True):
    """Where plugins are and where they come from."""

    target: Path
    """The folder that the container runtime takes plugins from."""
    record: Path
    """Our file on what we put there."""
    source: Path | None = None
    """Static plugins to put there; None: the host has its own."""


class Plugin(Struct, frozen=True):
    """One plugin: the CNI versions that it understands (none: it did not say), and why it cannot be used.

    ``older``: that it is our program of a release that does not understand all that we write, with what to do.
    """

    name: str
    versions: frozenset[str] = frozenset()
    trouble: str = ""
    older: str = ""


def install(folders: Folders) -> tuple[str, ...]:
    """Put plugins in place that are missing, and newer ones where an older one of ours is; the names of these.

    ``OSError`` where the disk refuses: what was there before is there, whole.
    """
    if folders.source is None or not folders.source.is_dir():
        return ()
    known = _recorded(folders.record)
    offered = {path.name: _digest(path) for path in sorted(folders.source.iterdir()) if path.is_file()}
    present = {name: _digest(folders.target / name) for name in {*offered, *known}}
    ours = {name: digest for name, digest in present.items() if digest and digest in known.get(name, ())}
    todo = [name for name, digest in offered.items() if not present[name] or (name in ours and ours[name] != digest)]
    wanted = {name: [digest] for name, digest in ours.items() if digest}
    if todo:
        both = {name: sorted({*wanted.get(name, ()), str(offered[name])}) for name in todo}
        _write(folders.record, {**wanted, **both})
    done = [name for name in todo if _put(folders, name, replace=name in ours)]
    now = {**wanted, **{name: [str(offered[name])] for name in done}}
    if done or now != known:
        _write(folders.record, now)
    return tuple(done)


def uninstall(folders: Folders) -> None:
    """Take away what is ours, then the record of it."""
    for name, digests in _recorded(folders.record).items():
        path = folders.target / name
        temporary(path).unlink(missing_ok=True)
        if _digest(path) in digests:
            path.unlink(missing_ok=True)
    for path in (folders.record, temporary(folders.record)):
        path.unlink(missing_ok=True)


def ask(folder: Path, names: Iterable[str] = (*NEEDED, PROGRAM)) -> tuple[Plugin, ...]:
    """Ask plugins for the CNI versions that they understand (CNI specification, VERSION)."""
    return tuple(_ask(folder / name) for name in names)


def agreed(plugins: Collection[Plugin]) -> tuple[str, ...]:
    """The CNI versions that all understand, the older first; of those that do not say, the common ones are expected.

    A runtime takes the highest of these that it knows itself: one of CNI 1.0 cannot read the answers of CNI 1.1.
    """
    said = [one.versions for one in plugins if one.versions]
    common = tuple(version for version in VERSIONS if all(version in versions for versions in said))
    return common if said else ("0.4.0", "1.0.0")


def _put(folders: Folders, name: str, *, replace: bool) -> bool:
    assert folders.source is not None
    return copy_atomically(folders.source / name, folders.target / name, mode=_MODE, replace=replace)


def _ask(path: Path) -> Plugin:
    try:
        done = subprocess.run(
            [path],
            input='{"cniVersion": "1.0.0"}',
            env={"CNI_COMMAND": "VERSION"},
            capture_output=True,
            text=True,
            timeout=ANSWER_WITHIN,
            check=False,
        )
        said = json.loads(done.stdout)
        is_older = path.name == PROGRAM and int(said.get("towpathForm", 1)) < FORM
        older = (
            f"{path} is of an older towpath than the agent, and is not asked for what it does not know: put this release's in"
            " its place, or remove it where the agent brings plugins itself"
        )
        return Plugin(path.name, frozenset(map(str, said["supportedVersions"])), older=older if is_older else "")
    except FileNotFoundError:
        if not path.exists():
            return Plugin(path.name, trouble=f"{path} does not exist")
    except OSError as error:
        if error.errno in (errno.ENOEXEC, errno.EACCES):
            return Plugin(path.name, trouble=f"{path} cannot be run: {error.strerror}")
    except (ValueError, KeyError, TypeError, subprocess.SubprocessError):
        pass
    return Plugin(path.name)  # it runs on the host, as far as we know: its libraries need not be here


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        return "folder" if os.path.lexists(path) else None


def _recorded(record: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(record.read_bytes())
        return {str(name): [str(digest) for digest in digests] for name, digests in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(record: Path, known: dict[str, list[str]]) -> None:
    write_atomically(record, json.dumps(known, indent=1, sort_keys=True).encode())

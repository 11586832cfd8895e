"""What the container runtime attached to networks: libcni's notes, which containerd and CRI-O keep for their DELs.

For every container and network there is a file with what ADD answered, from ADD until DEL, in ``results`` below
``/var/lib/cni``. The files outlive a boot, what they speak of does not.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import msgspec
from msgspec import Struct

from towpath.model.net import Address

CACHE = Path("var/lib/cni/results")
"""Where libcni keeps its notes, below the host's root."""
_KIND = "cniCacheV1"
_NAMES = {"container_id": "containerId", "if_name": "ifName", "network_name": "networkName"}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What the CNI specification lets a container's id be; an interface's name is no more."""


class Attachment(Struct, frozen=True):
    """An address that a network gave to a container; ``at`` is when, in seconds of the clock of then."""

    address: Address
    container: str
    interface: str
    network: str
    at: float


class _Address(Struct, frozen=True):
    address: str


class _Result(Struct, frozen=True):
    ips: tuple[_Address, ...] = ()


class _Note(Struct, frozen=True, rename=_NAMES):
    kind: str
    container_id: str
    if_name: str
    network_name: str
    result: _Result = _Result()


def attachments(folder: Path) -> dict[Address, Attachment]:
    """The latest of each address, of results since CNI 0.3.0; none where nothing is noted. What does not parse is left out."""
    try:
        files = sorted(folder.iterdir())
    except FileNotFoundError:
        return {}
    found = sorted((one for path in files for one in _noted(path)), key=lambda one: (one.at, one.container))
    return {one.address: one for one in found}


def _noted(path: Path) -> Iterator[Attachment]:
    try:
        at, note = path.stat().st_mtime, msgspec.json.decode(path.read_bytes(), type=_Note)
        addresses = [ip_interface(one.address).ip for one in note.result.ips]
    except (OSError, ValueError):
        return
    if note.kind == _KIND and all(_ID.fullmatch(one) for one in (note.container_id, note.if_name)):
        for address in addresses:
            yield Attachment(address, note.container_id, note.if_name, note.network_name, at)

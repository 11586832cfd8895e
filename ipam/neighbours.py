"""Other networks' CNI configurations beside ours: of all in its folder a container runtime takes the first by name."""

import json
from pathlib import Path
from typing import Any

from msgspec import Struct

from towpath.ipam.cni import FILE, Places

SUFFIXES = frozenset({".conf", ".conflist", ".json"})
_NO_NETWORK = frozenset({"loopback", "multus", "multus-shim"})
"""The loopback device of a pod, and a plugin that hands pods on to the networks that stand beside it."""


class OtherNetwork(Struct, frozen=True, order=True):
    """A network that is not ours."""

    file: Path
    name: str
    first: bool
    """Its file comes before ours: where both are, pods are its."""


def others(places: Places) -> tuple[OtherNetwork, ...]:
    """The other networks in the folder, in the order of their files. What does not parse is nobody's network."""
    try:
        files = sorted(path for path in places.conf_dir.iterdir() if path.suffix in SUFFIXES and path != places.link)
    except FileNotFoundError:
        return ()
    found = ((path, _network(path)) for path in files)
    return tuple(OtherNetwork(path, name, path.name < FILE) for path, name in found if name is not None)


def _network(path: Path) -> str | None:
    """The name of the network that a file configures; None where it configures none."""
    try:
        body: Any = json.loads(path.read_bytes())
        plugins = body.get("plugins", [body])
        types = {plugin["type"] for plugin in plugins}
        return str(body.get("name", "")) if types - _NO_NETWORK else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None

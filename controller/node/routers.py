"""The routers that were found at the ends of interfaces, kept in the run dir: a new process goes on with the same ones.

Without it a restart would begin by not knowing the peers of sessions that are up. A reboot empties the run dir, and the
links are asked again.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from towpath.ipam.files import write_atomically
from towpath.model.net import Address, parse_scoped, zone_of

log = structlog.get_logger()
_NAMES = msgspec.json.Decoder(dict[str, str])


class RoutersFile:
    """Addresses by interface, as text: ``{"eth0": "fe80::1%eth0"}``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: Mapping[str, Address] = {}

    def load(self) -> Mapping[str, Address]:
        """What was kept last; nothing where that cannot be read."""
        try:
            found = {name: parse_scoped(text) for name, text in _NAMES.decode(self._path.read_bytes()).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("routers.ignored", file=str(self._path), error=str(error), remedy="none: links are asked again")
            return {}
        self._kept = {name: one for name, one in found.items() if one.is_link_local and zone_of(one) == name}
        return self._kept

    def keep(self, routers: Mapping[str, Address]) -> None:
        """Write them down where they differ. What the disk refuses is asked for again after a restart."""
        if routers == self._kept:
            return
        try:
            write_atomically(self._path, msgspec.json.encode({name: str(one) for name, one in routers.items()}))
        except OSError as error:
            log.warning(
                "routers.not_kept", file=str(self._path), error=error.strerror, remedy="make room in the run dir"
            )
            return
        self._kept = dict(routers)

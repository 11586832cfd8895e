"""The node's sysctls, looked at again and again: who sets all of them anew, as ``sysctl --system`` does, stops packets for a second."""

from collections.abc import Collection
from pathlib import Path

import structlog

from towpath.controller.node import forwarding
from towpath.routes import sysctl

log = structlog.get_logger()


class Upkeep:
    """Of one node. ``record``: the file with what they were."""

    def __init__(self, record: Path, *, proc_sys: Path) -> None:
        self._record = record
        self._proc_sys = proc_sys
        self._tunnels: Collection[str] = ()
        self._below: Collection[str] | None = None
        """None until somebody has said which tunnels there are."""
        self._refused = ""

    def tunnels(self, names: Collection[str], *, below: Collection[str]) -> None:
        """These devices of ours stand, and their packets leave by the interfaces below: at once, packets come by both at a change.

        Each step of the node says so; without any, before and now, there is nothing that cannot wait for the next look.
        """
        none_yet = not names and self._below == ()
        self._tunnels, self._below = names, below if names else ()
        if not none_yet:
            self.look()

    def look(self) -> None:
        """Put right what is not as it should be; what is refused is told once."""
        try:
            forwarding.prepare(self._record, proc_sys=self._proc_sys, below=self._below)
            for one in sysctl.strict(self._tunnels, self._proc_sys / "net"):
                sysctl.keep(one.name, one.after, proc=self._proc_sys / "net")  # it goes with the device
        except OSError as error:
            if str(error) != self._refused:
                log.warning("sysctls.refused", error=str(error), remedy="mount the host's /proc/sys/net writable")
            self._refused = str(error)
        else:
            self._refused = ""

"""OpenBGPD: three processes, asked by ``bgpctl``; without routes in the kernel where its configuration says so."""

import contextlib
import os
import signal
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from towpath.lab.netns import Host
from towpath.lab.process import Process, wait_for
from towpath.lab.routers.router import HeldPath, Router, parsed, with_own
from towpath.model.net import Address, Prefix


class Openbgpd(Router):
    """OpenBGPD. Its configuration needs ``socket "CONTROL"``: ``control`` is that path."""

    configuration = "bgpd.conf"

    def __init__(self, host: Host, *, directory: Path) -> None:
        super().__init__(host, directory=directory)
        self.control = directory / "bgpd.sock"
        self.bgpd = Process(
            # the folder that its two unprivileged processes are locked into
            with_own({"/run": ("openbgpd",)}, "/usr/sbin/bgpd", "-d", "-v", "-f", str(self.file)),
            log=directory / "bgpd.log",
            netns=host.netns,
        )
        self.programs = (self.bgpd,)

    def kill(self) -> None:
        """All its processes at once: each that outlives the others would say goodbye to the peers."""
        if self.bgpd.running:
            group = self.bgpd.pid
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            super().kill()
            wait_for(lambda: not _exists(group), deadline=10, what="its processes are gone")

    def ask(self, *command: str) -> str:
        """What ``bgpctl`` answers."""
        return self.host.run("bgpctl", "-s", str(self.control), *command, check=False)

    def json(self, *command: str) -> dict[str, Any]:
        """The same where it is JSON; empty where it is not."""
        found = parsed(self.ask("-j", *command))
        return found if isinstance(found, dict) else {}

    def answers(self) -> bool:
        return self.control.exists() and "neighbors" in self.json("show", "neighbor")

    def established(self) -> frozenset[Address]:
        listed = self.json("show", "neighbor").get("neighbors", ())
        return frozenset(ip_address(one["remote_addr"]) for one in listed if one.get("state") == "Established")

    def paths(self, prefix: Prefix) -> tuple[HeldPath, ...]:
        listed = self.json("show", "rib", "detail", str(prefix)).get("rib", ())
        best_first = sorted(listed, key=lambda one: not one.get("best", False))
        return tuple(_held(one) for one in best_first if one.get("prefix") == str(prefix))


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _held(one: dict[str, Any]) -> HeldPath:
    hop = one.get("exit_nexthop")
    kinds = {attribute.get("type"): attribute for attribute in one.get("attributes", ())}
    originator = kinds.get("Originator Id", {}).get("originator")
    return HeldPath(
        next_hop=ip_address(hop) if hop else None,
        as_path=tuple(int(word) for word in one.get("aspath", "").split() if word.isdigit()),
        communities=frozenset((*one.get("communities", ()), *one.get("large_communities", ()))),
        med=one.get("metric"),
        local_preference=one.get("localpref"),
        originator=ip_address(originator) if originator else None,
        clusters=tuple(map(ip_address, kinds.get("Cluster Id List", {}).get("cluster_list", ()))),
        stale=bool(one.get("stale")),
    )

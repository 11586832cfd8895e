"""FRR: bgpd, with zebra between it and the kernel."""

import shutil
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from towpath.lab.netns import Host
from towpath.lab.process import Process, wait_for
from towpath.lab.routers.router import HeldPath, Router, parsed, with_own
from towpath.model.net import Address, Prefix, family_of

_PROGRAMS = Path("/usr/lib/frr")
_OWN = {"/var/tmp": ()}
"""There each of its programs has a folder for its log, and leaves it when it is killed."""


class Frr(Router):
    """FRR with routes in the kernel; its folder must be reachable for the user ``frr``."""

    configuration = "bgpd.conf"

    def __init__(self, host: Host, *, directory: Path) -> None:
        super().__init__(host, directory=directory)
        shutil.chown(directory, "frr", "frr")
        self.zebra = self._program("zebra")
        self.bgpd = self._program("bgpd")
        self.programs = (self.zebra, self.bgpd)

    def _program(self, name: str) -> Process:
        folder = str(self.directory)
        (self.directory / "zebra.conf").touch()
        return Process(
            with_own(
                _OWN,
                *(str(_PROGRAMS / name), "-u", "frr", "-g", "frr", "--vty_socket", folder, "-z", f"{folder}/zserv.api"),
                *("-P", "0", "-i", f"{folder}/{name}.pid", "-f", f"{folder}/{name}.conf", "--log", "stdout"),
                *(("-K", "300") if name == "zebra" else ()),
            ),
            log=self.directory / f"{name}.log",
            netns=self.host.netns,
        )

    def write(self, text: str) -> None:
        super().write(text)
        shutil.chown(self.file, "frr", "frr")

    def restart(self) -> None:
        if not self.zebra.running:
            self.host.network.processes.append(self.zebra)
            self.zebra.start()
            socket = self.directory / "zserv.api"
            wait_for(socket.exists, deadline=20, what=f"zebra listens\n{self.zebra.log}", interval=0.02)
        super().restart()

    def ask(self, command: str) -> str:
        """What ``vtysh`` answers."""
        return self.host.run("vtysh", "--vty_socket", str(self.directory), "-c", command, check=False)

    def json(self, command: str) -> dict[str, Any]:
        """The same where it is JSON; empty where there is none."""
        found = parsed(self.ask(f"{command} json"))
        return found if isinstance(found, dict) else {}

    def answers(self) -> bool:
        return "bgpd" in self.host.run(
            "vtysh", "--vty_socket", str(self.directory), "-d", "bgpd", "-c", "show daemons", check=False
        ) and bool(self.json("show bgp summary"))

    def established(self) -> frozenset[Address]:
        found = self.json("show bgp neighbors")
        up = (name for name, one in found.items() if isinstance(one, dict) and one.get("bgpState") == "Established")
        return frozenset(ip_address(name) for name in up if _is_address(name))

    def paths(self, prefix: Prefix) -> tuple[HeldPath, ...]:
        found = self.json(f"show bgp {family_of(prefix).key} unicast {prefix}").get("paths", [])
        best_first = sorted(found, key=lambda one: not one.get("bestpath", {}).get("overall", False))
        return tuple(_held(one) for one in best_first)


def _held(one: dict[str, Any]) -> HeldPath:
    segments = one.get("aspath", {}).get("segments", [])
    communities = {*one.get("community", {}).get("list", ()), *one.get("largeCommunity", {}).get("list", ())}
    hops = sorted(one.get("nexthops", ()), key=lambda hop: not hop.get("used", False))
    return HeldPath(
        next_hop=ip_address(hops[0]["ip"]) if hops else None,
        as_path=tuple(number for segment in segments for number in segment["list"]),
        communities=frozenset(communities),
        med=one.get("metric"),
        local_preference=one.get("locPrf"),
        originator=ip_address(one["originatorId"]) if "originatorId" in one else None,
        clusters=tuple(map(ip_address, one.get("clusterList", {}).get("list", ()))),
        stale=bool(one.get("stale")),
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True

"""What the four makes of router do alike and say differently: deeds, by the address of the neighbour that they concern."""

import base64
import json
import re
import subprocess
from abc import ABC, abstractmethod
from ipaddress import ip_address

from tests.netns.interop.node import MARKED, MARKED6, PREFERRED, UNNUMBERED
from towpath.lab.process import wait_for
from towpath.lab.routers.bird import BirdRouter
from towpath.lab.routers.frr import Frr
from towpath.lab.routers.gobgp import Gobgp
from towpath.lab.routers.openbgpd import Openbgpd
from towpath.lab.routers.router import Router

NAMES = {"10.9.1.1": "four", "10.9.5.1": "near", "10.9.7.1": "wide"}
"""BIRD's protocols by the address of the neighbour."""
SPARE = ("203.0.113.128/26", "203.0.113.192/26")


class Make(ABC):
    """One make."""

    name: str
    router: type[Router]
    configuration: str
    asked_by: str | None = None
    """Where it offers some things to IPv6 neighbours alone: the address of one."""
    kernel = False
    """It puts routes into the kernel in this suite."""
    version: tuple[str, ...]
    """The command that prints it."""

    def __init__(self, router: Router) -> None:
        self.it = router

    def release(self) -> str:
        """Its release without what a distribution adds: ``2.0.12``."""
        done = subprocess.run(self.version, capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        assert found is not None, done
        return found[0]

    def originate(self) -> None:  # noqa: B027  # most have it all in their configuration
        """Announce what the configuration cannot."""

    @abstractmethod
    def shut(self, neighbour: str, words: str) -> None:
        """End a session with words."""

    @abstractmethod
    def heard(self, neighbour: str) -> str:
        """What it says of a neighbour, with its log."""

    @abstractmethod
    def refresh(self, neighbour: str) -> None:
        """Ask a neighbour for its routes again."""

    @abstractmethod
    def updates(self, neighbour: str) -> int:
        """Updates received from a neighbour in this session."""

    @abstractmethod
    def refreshes(self, neighbour: str) -> int:
        """How often it has asked a neighbour for its routes."""


class NotifyingMake(Make):
    """One with the N bit of RFC 8538."""

    @abstractmethod
    def soft_reset(self, neighbour: str) -> None:
        """End a session by a NOTIFICATION that is no hard reset; it comes up again."""


class BirdMake(Make):
    name, router, configuration, kernel = "BIRD", BirdRouter, "bird.conf", True
    version = ("bird", "--version")
    it: BirdRouter

    def shut(self, neighbour: str, words: str) -> None:
        self.it.ask(f'disable {NAMES[neighbour]} "{words}"')

    def heard(self, neighbour: str) -> str:
        return self.it.log

    def refresh(self, neighbour: str) -> None:
        self.it.ask(f"reload in {NAMES[neighbour]}")

    def updates(self, neighbour: str) -> int:
        shown = self.it.ask(f"show protocols all {NAMES[neighbour]}")
        found = re.search(r"Import updates: +(\d+)", shown)
        return int(found[1]) if found else 0

    def refreshes(self, neighbour: str) -> int:
        return self.it.log.count(f"{NAMES[neighbour]}: Sending ROUTE-REFRESH") + 1


class FrrMake(NotifyingMake):
    name, router, configuration, kernel = "FRR", Frr, "frr.conf", True
    asked_by = "fd09:11::3"
    version = ("/usr/lib/frr/bgpd", "--version")
    it: Frr

    def _configure(self, *lines: str) -> None:
        commands = [part for line in ("configure terminal", "router bgp 65000", *lines) for part in ("-c", line)]
        self.it.host.run("vtysh", "--vty_socket", str(self.it.directory), *commands)

    def shut(self, neighbour: str, words: str) -> None:
        self._configure(f"neighbor {neighbour} shutdown message {words}")

    def heard(self, neighbour: str) -> str:
        return self.it.ask(f"show bgp neighbors {neighbour} json") + self.it.log

    def refresh(self, neighbour: str) -> None:
        self.it.ask(f"clear bgp ipv4 unicast {neighbour} soft in")

    def _stats(self, neighbour: str) -> dict[str, int]:
        return self.it.json(f"show bgp neighbors {neighbour}").get(neighbour, {}).get("messageStats", {})

    def updates(self, neighbour: str) -> int:
        return self._stats(neighbour).get("updatesRecv", 0)

    def refreshes(self, neighbour: str) -> int:
        return self._stats(neighbour).get("routeRefreshSent", 0)

    def restart_bits(self, neighbour: str) -> tuple[bool, bool, bool]:
        """R, N and, for IPv4, F of the neighbour's last OPEN (RFC 4724 section 3, RFC 8538 section 2)."""
        told = self.it.json(f"show bgp neighbors {neighbour}")[neighbour]["gracefulRestartInfo"]
        return told["rBit"], told["nBit"], told["ipv4Unicast"]["fBit"]

    def soft_reset(self, neighbour: str) -> None:
        self._configure("no bgp hard-administrative-reset")
        self.it.ask(f"clear bgp ipv4 unicast {neighbour}")

    def hard_reset(self, neighbour: str) -> None:
        """Cease/Hard Reset, and no session until ``revive``."""
        self._configure("bgp hard-administrative-reset", f"neighbor {neighbour} shutdown")

    def revive(self, neighbour: str) -> None:
        """Take its sessions again."""
        self._configure(f"no neighbor {neighbour} shutdown")


class GobgpMake(NotifyingMake):
    name, router, configuration = "GoBGP", Gobgp, "gobgp.toml"
    version = ("gobgpd", "--version")
    it: Gobgp

    def originate(self) -> None:
        for prefix in (str(MARKED), str(UNNUMBERED), str(PREFERRED), *SPARE):
            self.it.ask("global", "rib", "add", prefix, "-a", "ipv4")
        self.it.ask("global", "rib", "add", str(MARKED6), "-a", "ipv6")

    def shut(self, neighbour: str, words: str) -> None:
        self.it.ask("neighbor", neighbour, "disable", words)

    def heard(self, neighbour: str) -> str:
        data = re.findall(r'"Data":"([^"]+)"', self.it.log)
        return self.it.log + b" ".join(map(base64.b64decode, data)).decode(errors="replace")

    def refresh(self, neighbour: str) -> None:
        self.it.ask("neighbor", neighbour, "softresetin", "-a", "ipv4")

    def _messages(self, neighbour: str, way: str) -> dict[str, int]:
        listed = self.it.json("neighbor") or ()
        states = (one["state"] for one in listed if one["state"]["neighbor_address"] == neighbour)
        return next(states, {}).get("messages", {}).get(way, {})

    def updates(self, neighbour: str) -> int:
        return self._messages(neighbour, "received").get("update", 0)

    def refreshes(self, neighbour: str) -> int:
        return self._messages(neighbour, "sent").get("refresh", 0)

    def soft_reset(self, neighbour: str) -> None:
        # after `reset` it takes no connection for half a minute
        self.it.ask("neighbor", neighbour, "disable")
        wait_for(lambda: ip_address(neighbour) not in self.it.established(), deadline=20, what="it is down")
        self.it.ask("neighbor", neighbour, "enable")


class OpenbgpdMake(Make):
    name, router, configuration = "OpenBGPD", Openbgpd, "openbgpd.conf"
    version = ("/usr/sbin/bgpd", "-V")
    it: Openbgpd

    def shut(self, neighbour: str, words: str) -> None:
        self.it.ask("neighbor", neighbour, "down", words)

    def heard(self, neighbour: str) -> str:
        return json.dumps(self.it.json("show", "neighbor", neighbour)) + self.it.log

    def refresh(self, neighbour: str) -> None:
        self.it.ask("neighbor", neighbour, "refresh")

    def _stats(self, neighbour: str) -> dict:
        return next(iter(self.it.json("show", "neighbor", neighbour).get("neighbors", ())), {}).get("stats", {})

    def updates(self, neighbour: str) -> int:
        return self._stats(neighbour).get("update", {}).get("received", {}).get("updates", 0)

    def refreshes(self, neighbour: str) -> int:
        return self._stats(neighbour).get("message", {}).get("sent", {}).get("route_refresh", 0)


MAKES: tuple[type[Make], ...] = (BirdMake, FrrMake, GobgpMake, OpenbgpdMake)

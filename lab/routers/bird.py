"""BIRD by the same words as the other routers; ``lab/bird.py`` has what the demo's own router needs."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path

from towpath.lab.process import Process
from towpath.lab.routers.router import HeldPath, Returning
from towpath.model.net import Address, Prefix


class BirdRouter(Returning):
    """BIRD, with routes in the kernel where its configuration says so."""

    configuration = "bird.conf"

    @property
    def control(self) -> Path:
        """The socket at which ``birdc`` asks."""
        return self.directory / "bird.ctl"

    def program(self) -> Process:
        files = ("-c", str(self.file), "-s", str(self.control), "-P", str(self.directory / "bird.pid"))
        options = ("-f", *files, *(("-R",) if self.killed else ()))
        return Process(("bird", *options), log=self.directory / "bird.out", netns=self.host.netns)

    @property
    def log(self) -> str:
        """``log "bird.log" all`` in the configuration says where."""
        said = self.directory / "bird.log"
        return super().log + (said.read_text(errors="replace") if said.exists() else "")

    def ask(self, command: str) -> str:
        """What ``birdc`` answers."""
        return self.host.run("birdc", "-s", str(self.control), command, check=False)

    def answers(self) -> bool:
        return self.control.exists() and "Daemon is up and running" in self.ask("show status")

    def established(self) -> frozenset[Address]:
        found = re.findall(r"BGP state: +(\w+)\n +Neighbor address: (\S+)", self.ask("show protocols all"))
        return frozenset(ip_address(address) for state, address in found if state == "Established")

    def paths(self, prefix: Prefix) -> tuple[HeldPath, ...]:
        return tuple(parse_paths(self.ask(f"show route {prefix} all"), prefix))


_PATH = re.compile(r"^(?P<prefix>\S+/\d+)?\s+(unicast|blackhole|unreachable) \[\S+ \S+( from \S+)?\]", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^\s+BGP\.(\w+): ?(.*)$", re.MULTILINE)


def parse_paths(text: str, prefix: Prefix) -> list[HeldPath]:
    """The paths of ``show route PREFIX all`` that came by BGP, the best first."""
    found: list[HeldPath] = []
    current: Prefix | None = None
    entries = list(_PATH.finditer(text))
    for place, entry in enumerate(entries):
        current = ip_network(entry["prefix"]) if entry["prefix"] else current
        body = text[entry.end() : entries[place + 1].start() if place + 1 < len(entries) else len(text)]
        attributes = dict(_ATTRIBUTE.findall(body))
        if current == prefix and "origin" in attributes:
            found.append(_held(attributes))
    return found


def _held(attributes: dict[str, str]) -> HeldPath:
    # over a link without addresses BIRD shows both halves of a next hop of 32 bytes, and the first may be ``::``
    hops = [hop for hop in attributes.get("next_hop", "").split() if hop != "::"]
    pairs = re.findall(r"\(([\d, ]+)\)", attributes.get("community", "") + attributes.get("large_community", ""))
    return HeldPath(
        next_hop=ip_address(hops[0]) if hops else None,
        as_path=tuple(int(word) for word in attributes.get("as_path", "").split() if word.isdigit()),
        communities=frozenset(pair.replace(" ", "").replace(",", ":") for pair in pairs),
        med=int(attributes["med"]) if "med" in attributes else None,
        local_preference=int(attributes["local_pref"]) if "local_pref" in attributes else None,
        originator=ip_address(attributes["originator_id"]) if "originator_id" in attributes else None,
        clusters=tuple(map(ip_address, attributes.get("cluster_list", "").split())),
    )

"""The top-of-rack router: BIRD with one eBGP session per node and family, and what ``birdc`` says of it, parsed.

It learns the nodes' blocks and puts them into its kernel, so that the client behind it reaches pods. It tells the
nodes nothing: they reach the client by their default route.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from towpath.lab.netns import Host
from towpath.lab.process import Process, wait_for
from towpath.model.net import Address, Family, Prefix, family_of


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One session of the router; ``name`` is BIRD's protocol name."""

    name: str
    address: Address
    local: Address
    remote_as: int
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Protocol:
    """One line of ``show protocols``."""

    name: str
    kind: str
    state: str
    info: str

    @property
    def established(self) -> bool:
        """Whether this BGP session is up."""
        return self.info.startswith("Established")


@dataclass(frozen=True, slots=True)
class LearnedRoute:
    """One prefix of ``show route``: its next hops and the protocols that they came from, the best first."""

    prefix: Prefix
    gateways: tuple[str, ...]
    protocols: tuple[str, ...]


def configuration(
    neighbours: Sequence[Neighbour],
    *,
    local_as: int,
    router_id: str,
    log: Path,
    hold_time: int = 90,
    extra: str = "",
) -> str:
    """The router's configuration file."""
    lines = [
        f'log "{log}" all;',
        # a test that sees a route move asks the log what the router saw
        "debug protocols { states, routes, events };",
        f"router id {router_id};",
        "protocol device { scan time 1; }",
    ]
    lines.extend(
        f"protocol kernel kernel{family.value} {{ merge paths on; scan time 10; "
        f"{family.key} {{ import none; export where source = RTS_BGP; }}; }}"
        for family in Family
    )
    for neighbour in neighbours:
        family = family_of(neighbour.address)
        password = f'  password "{neighbour.password}";\n' if neighbour.password else ""
        lines.append(
            f"protocol bgp {neighbour.name} {{\n"
            f"  local {neighbour.local} as {local_as};\n"
            f"  neighbor {neighbour.address} as {neighbour.remote_as};\n"
            f"  hold time {hold_time}; connect delay time 1; connect retry time 1; error wait time 1, 2;\n"
            f"  graceful restart on; long lived graceful restart off;\n{password}"
            f"  {family.key} {{ import all; export none; }};\n"
            "}"
        )
    return "\n".join([*lines, extra, ""])


class Bird:
    """A running BIRD in a host's namespace; its files lie in ``directory``."""

    def __init__(self, host: Host, *, directory: Path) -> None:
        self.host = host
        self.control = directory / "bird.ctl"
        self.file = directory / "bird.conf"
        self.log = directory / "bird.log"
        self.process = Process(
            ["bird", "-f", "-c", str(self.file), "-s", str(self.control), "-P", str(directory / "bird.pid")],
            log=directory / "bird.out",
            netns=host.netns,
        )

    def start(self, text: str) -> None:
        """Write the configuration and start; ready when ``birdc`` answers."""
        self.file.write_text(text)
        self.process.start()
        wait_for(self._answers, deadline=10, what="bird answers", interval=0.02)

    def _answers(self) -> bool:
        return self.control.exists() and "BIRD" in self.ask("show status")

    def configure(self, text: str) -> None:
        """Take a new configuration; sessions that did not change stay up."""
        self.file.write_text(text)
        answer = self.ask("configure")
        if "Reconfigured" not in answer and "Reconfiguration in progress" not in answer:
            raise RuntimeError(f"bird refuses its configuration: {answer}")

    def ask(self, command: str) -> str:
        """What ``birdc`` answers."""
        return self.host.run("birdc", "-s", str(self.control), command, check=False)

    def protocols(self) -> dict[str, Protocol]:
        """All protocols by name."""
        return {protocol.name: protocol for protocol in parse_protocols(self.ask("show protocols"))}

    def changes(self, name: str) -> int:
        """How often a protocol has changed its state: equal twice means that nothing touched it in between.

        Counted in the log: the times of ``show protocols`` are computed anew at every call and jitter.
        """
        return state_changes(self.said, name)

    @property
    def said(self) -> str:
        """The log so far: states and events of sessions, and every route that came or went."""
        return self.log.read_text() if self.log.exists() else ""

    def routes(self) -> dict[Prefix, LearnedRoute]:
        """All prefixes of both families that were learned by BGP."""
        return {route.prefix: route for route in parse_routes(self.ask("show route where source = RTS_BGP"))}


def state_changes(log: str, name: str) -> int:
    """How often a protocol has changed its state, by a log with ``debug protocols { states }``."""
    return log.count(f"> {name}: State changed to ")


def parse_protocols(text: str) -> Iterable[Protocol]:
    """The lines of ``show protocols``."""
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        # NAME KIND TABLE STATE SINCE [INFO]; the first two lines are BIRD's greeting and the heading
        if len(words) >= 5 and words[3] in {"up", "down", "start", "stop"}:
            yield Protocol(words[0], words[1], words[3], words[5] if len(words) > 5 else "")


_ENTRY = re.compile(r"^(?P<prefix>\S+/\d+)?\s+(unicast|blackhole|unreachable) \[(?P<protocol>\S+) ")


def parse_routes(text: str) -> Iterable[LearnedRoute]:
    """The entries of ``show route``: a line per path, lines with ``via`` below it."""
    prefix: Prefix | None = None
    gateways: list[str] = []
    protocols: list[str] = []
    for line in text.splitlines():
        entry = _ENTRY.match(line)
        if entry:
            if entry["prefix"]:
                if prefix is not None:
                    yield LearnedRoute(prefix, tuple(gateways), tuple(protocols))
                prefix, gateways, protocols = ip_network(entry["prefix"]), [], []
            protocols.append(entry["protocol"])
        elif line.strip().startswith("via ") and prefix is not None:
            gateways.append(str(ip_address(line.split()[1])))
    if prefix is not None:
        yield LearnedRoute(prefix, tuple(gateways), tuple(protocols))

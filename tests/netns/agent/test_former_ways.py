"""One prefix by two routers, one of them preferred, while the speaker restarts: the kernel's route moves only for a reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.node import Node, made
from towpath.controller.plan.here import ask
from towpath.controller.settings import CannotRunError
from towpath.lab.bird import Bird
from towpath.lab.events import RouteEvents
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for

PREFIXES = ("192.0.2.0/24", "2001:db8:1::/48")
LINKS = {
    name: (ip_network(f"10.0.{n}.0/24"), ip_network(f"fd00:{n}::/64"))
    for n, name in enumerate(("best", "other", "late"))
}
"""Routers by name, each on a link of its own, on which the node is ``.1``."""
SILENCE = (
    "table inet silence { chain out { type filter hook output priority 0; tcp dport 179 drop; tcp sport 179 drop; }; }"
)
BIRD = """
log "{log}" all;
router id {four};
protocol device {{ scan time 1; }}
protocol static s4 {{ ipv4; {route4} }}
protocol static s6 {{ ipv6; {route6} }}
template bgp node {{ connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on; }}
protocol bgp a4 from node {{ local {four} as 65000; neighbor {node4} as 64512; ipv4 {{ import all; export all; next hop self; }}; }}
protocol bgp a6 from node {{ local {six} as 65000; neighbor {node6} as 64512; ipv6 {{ import all; export all; next hop self; }}; }}
"""


def manifests() -> list[dict[str, Any]]:
    """Node a with three routers, of which one is preferred. Nobody's restart time ends during a test."""

    first = {"action": "Accept", "operations": [{"setPriority": {"value": 100}}]}
    peers = [
        made(
            "BGPPeer",
            f"{name}-{link.version}",
            peerIP=str(link[254]),
            asNumber=65000,
            importPolicy="All",
            sourceAddress="None",
            filters=["first"] if name == "best" else [],
        )
        for name, links in LINKS.items()
        for link in links
    ]
    return [
        made(
            "BGPConfiguration",
            "default",
            asNumber=64512,
            timers={"connectRetryTime": "1s"},
            gracefulRestart={"restartTime": "60m"},
            nodeToNodeMeshEnabled=False,
        ),
        made("BGPFilter", "first", importV4=[first], importV6=[first]),
        *peers,
        made("RoutingNode", "a", bgp={"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64"}),
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}},
    ]


class Routers(Node):
    """Node a and its routers, started."""

    def __init__(self, network: Network, root: Path) -> None:
        super().__init__(network.host("a"), root, manifests())
        self.birds: dict[str, Bird] = {}
        for number, (name, links) in enumerate(LINKS.items()):
            router = network.host(name)
            network.link(self.node, f"eth{number}", router, "eth0")
            for link in links:
                self.node.address(f"{link[1]}/{link.prefixlen}", dev=f"eth{number}")
                router.address(f"{link[254]}/{link.prefixlen}", dev="eth0")
            (root / name).mkdir()
            bird = self.birds[name] = Bird(router, directory=root / name)
            network.processes.append(bird.process)
            bird.start(self._configuration(name, links))
        self.speaker.start()
        self.start_agent()

    def _configuration(self, name: str, links: tuple[IPv4Network | IPv6Network, ...]) -> str:
        route4, route6 = (f"route {prefix} blackhole;" if name != "late" else "" for prefix in PREFIXES)
        four, six = links
        addresses = {"four": four[254], "node4": four[1], "six": six[254], "node6": six[1]}
        return BIRD.format(log=self.root / name / "bird.log", route4=route4, route6=route6, **addresses)

    def announce(self, name: str, *, on: bool) -> None:
        """Whether a router has a way to the prefixes."""
        for protocol in ("s4", "s6"):
            self.birds[name].ask(f"{'enable' if on else 'disable'} {protocol}")

    def up(self, *names: str) -> bool:
        """Whether the speaker has the sessions with these routers, and all that they have told."""
        peers = {str(link[254]): name for name in names for link in LINKS[name]}
        try:
            found = {one["peer"]: one for one in ask(self.run_dir / "speaker.sock", "sessions")}
        except CannotRunError:  # it has just been started
            return False
        return all(
            found.get(peer, {}).get("state") == "Established" and found[peer]["accepted"] == (name != "late")
            for peer, name in peers.items()
        )

    def by(self, name: str) -> bool:
        """Whether the kernel's routes to the prefixes lead over a router."""
        wanted = [str(link[254]) for link in LINKS[name]]
        found = [
            self.node.ip_json(f"-{ip_network(prefix).version}", "route", "show", prefix, "proto", "179")
            for prefix in PREFIXES
        ]
        return [[route.get("gateway") for route in routes] for routes in found] == [[gateway] for gateway in wanted]

    def settled(self) -> None:
        """All as in the beginning."""
        wait_for(lambda: self.up(*LINKS) and self.by("best"), deadline=40, what="all is up", interval=0.1)

    def restart(self, *, late: tuple[str, ...]) -> None:
        """Kill the speaker and start it; some routers come back late, the others have told all they have."""
        for name in late:
            self.birds[name].host.run("nft", "-f", "-", stdin=SILENCE)
        self.speaker.kill()
        self.speaker.start()
        there = set(LINKS) - set(late)
        wait_for(lambda: self.up(*there), deadline=30, what=f"{there} are back", interval=0.1)


@contextmanager
def restored(routers: Routers) -> Iterator[None]:
    """Afterwards nobody is silent, and all is as before."""
    try:
        yield
    finally:
        for bird in routers.birds.values():
            loud(bird.host)
        routers.announce("best", on=True)
        routers.settled()


def loud(host: Host) -> None:
    host.run("nft", "delete", "table", "inet", "silence", check=False)


@pytest.fixture(scope="module")
def routers() -> Iterator[Routers]:
    prefix = own("tpfw")
    with in_memory(prefix) as root, Network(prefix) as network:
        made = Routers(network, root)
        made.settled()
        yield made


def moved(events: RouteEvents) -> list[tuple[str, str]]:
    return [(one.deed, one.gateway) for one in events.read() if one.prefix in PREFIXES]


def test_a_worse_way_that_is_told_first_moves_no_route(routers: Routers) -> None:
    """The preferred router is back last: not one event. What it withdraws then is gone at once, though somebody is still awaited."""
    with restored(routers), RouteEvents(routers.node) as events:
        routers.restart(late=("best", "late"))
        assert routers.by("best")
        loud(routers.birds["best"].host)
        wait_for(lambda: routers.up("best"), deadline=30, what="the preferred one is back", interval=0.1)
        assert routers.by("best")
        assert moved(events) == []
        routers.announce("best", on=False)
        wait_for(lambda: routers.by("other"), deadline=10, what="over the other")


def test_a_router_that_comes_back_without_a_way_is_left_with_its_end_of_rib(routers: Routers) -> None:
    """Whether others are still awaited or not; until then the route stays."""
    with restored(routers), RouteEvents(routers.node) as events:
        routers.birds["best"].host.run("nft", "-f", "-", stdin=SILENCE)
        routers.announce("best", on=False)
        routers.restart(late=("best", "late"))
        assert moved(events) == []
        loud(routers.birds["best"].host)
        wait_for(lambda: routers.by("other"), deadline=30, what="over the other")
        assert {deed for deed, _ in moved(events)} == {"added"}


def test_a_link_that_goes_down_waits_for_nobody(routers: Routers) -> None:
    """The preferred router's, before it is back: over the other at once."""
    with restored(routers):
        routers.restart(late=("best", "late"))
        assert routers.by("best")
        try:
            routers.birds["best"].host.ip("link", "set", "dev", "eth0", "down")
            wait_for(lambda: routers.by("other"), deadline=10, what="over the other")
        finally:
            routers.birds["best"].host.ip("link", "set", "dev", "eth0", "up")
            routers.birds["best"].host.address(f"{LINKS['best'][1][254]}/64", dev="eth0")

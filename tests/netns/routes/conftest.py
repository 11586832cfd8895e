"""A node on one segment with two routers, and a programmer in it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_network

import pytest

from tests import patience
from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.model.net import Family, to_wire
from towpath.model.speaker import Routes, Withdrawn
from towpath.routes.netlink import open_kernel
from towpath.routes.programmer import Programmer, Settings
from towpath.routes.route import StaticRoute

SETTINGS = Settings()


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(own("tpr")) as made:
        yield made


@pytest.fixture
def node(network: Network) -> Host:
    """A node with eth0 10.0.0.1/24, fd00::1/64 towards a router host."""
    node, router = network.host("node"), network.host("router")
    network.link(node, "eth0", router, "node")
    node.address("10.0.0.1/24", "fd00::1/64", dev="eth0")
    router.address("10.0.0.254/24", "10.0.0.253/24", "fd00::254/64", dev="node")
    return node


class World:
    """A programmer and what a test asks of it."""

    def __init__(self, node: Host) -> None:
        self.node = node
        self.programmer = make(node)

    def learn(self, *prefixes: str, via: tuple[str, ...] | str) -> None:
        via = (via,) if isinstance(via, str) else via
        for version in (4, 6):
            chosen = [ip_network(prefix) for prefix in prefixes if ip_network(prefix).version == version]
            hops = tuple(ip_address(hop) for hop in via if ip_address(hop).version == version)
            if chosen:
                self.programmer.learned(Routes(Family(version), hops, ("s",), b"".join(map(to_wire, chosen))))

    def withdraw(self, *prefixes: str) -> None:
        for prefix in map(ip_network, prefixes):
            self.programmer.learned(Withdrawn(Family(prefix.version), to_wire(prefix)))

    def blackhole(self, *prefixes: str, settings: Settings = SETTINGS) -> None:
        self.programmer.desire(
            {ip_network(prefix): StaticRoute(ip_network(prefix), "blackhole", "Block") for prefix in prefixes},
            settings=settings,
        )

    def believe(self) -> None:
        self.programmer.whole()
        self.programmer.synced(True)

    def routes(self, *selector: str) -> list[str]:
        """Routes of ours as ``ip route`` prints them, both families."""
        selector = selector or ("proto", "179")
        lines: list[str] = []
        for version in ("-4", "-6"):
            out = self.node.run("ip", version, "route", "show", *selector)
            lines += [" ".join(line.split()) for line in out.replace("\n\t", " ").splitlines()]
        return sorted(lines)

    def has(self, *fragments: str) -> bool:
        """Whether one route of ours holds all fragments."""
        return any(all(fragment in line for fragment in fragments) for line in self.routes())

    def reasons(self) -> list[str]:
        return sorted(f"{one.prefix} {one.reason}" for one in self.programmer.status().conflicts)


def make(node: Host, **callbacks) -> Programmer:
    with node.entered():
        kernel = open_kernel()
    return Programmer(lambda: kernel, **callbacks)


@pytest.fixture
async def world(node: Host) -> AsyncIterator[World]:
    made = World(node)
    await made.programmer.start()
    yield made
    made.programmer.close()


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Wait, the loop running, until something is true; fails after the deadline."""
    return patience.eventually

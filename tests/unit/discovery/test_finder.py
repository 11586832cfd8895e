"""Which router is chosen on an interface, and what is asked and told there, on a clock that jumps."""

import asyncio
import errno
import os
import socket
from collections.abc import Mapping
from ipaddress import IPv6Address

from tests.unit.discovery.test_packets import echo_reply, neighbour_advertisement
from tests.virtual import run
from towpath.model.net import Address, scoped
from towpath.routes.discovery import packets
from towpath.routes.discovery.choice import SILENCE, Choice
from towpath.routes.discovery.finder import Finder

ONE, OTHER, OWN = (IPv6Address(f"fe80::{number}") for number in (1, 2, 99))
ADVERTISEMENT, SOLICITATION = packets.router_advertisement(), packets.router_solicitation()


class Wire:
    """One interface's channel, and what lies on its link."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.sent: list[tuple[bytes, str]] = []
        self.read = 0
        self.closed = False
        self._waiting: list[tuple[bytes, Address, int]] = []
        self._near, self._far = socket.socketpair()

    def fileno(self) -> int:
        return self._near.fileno()

    def send(self, message: bytes, to: str) -> None:
        self.sent.append((message, to))

    def arrive(self, data: bytes, source: Address, hop_limit: int = 255) -> None:
        self._waiting.append((data, source, hop_limit))
        if len(self._waiting) == 1:
            self._far.send(b"x")

    def receive(self) -> list[tuple[bytes, Address, int]]:
        some, self._waiting = self._waiting[:32], self._waiting[32:]
        if not self._waiting:
            self._near.recv(1)
        self.read += len(some)
        return some

    def close(self) -> None:
        self.closed = True
        self._near.close()
        self._far.close()

    def told(self, message: bytes) -> int:
        return sum(one == message for one, _ in self.sent)


class World:
    """A finder on a node whose eth0 and eth1 there are."""

    def __init__(self) -> None:
        self.devices = {"eth0": 2, "eth1": 3}
        self.wires: dict[str, Wire] = {}
        self.refuses: OSError | None = None
        self.changes: list[Mapping[str, Address]] = []
        self.finder = Finder(
            found=lambda: self.changes.append(self.finder.routers),
            own=lambda: {scoped(OWN, "eth0")},
            index=self.devices.get,
            channel=self._open,
        )

    def _open(self, interface: str) -> Wire:
        if self.refuses is not None:
            raise self.refuses
        self.wires[interface] = Wire(self.devices[interface])
        return self.wires[interface]

    def desire(self, *severed: str, **interfaces: bool) -> None:
        self.finder.desire(interfaces, severed=severed)

    async def meet(self, router: Address) -> None:
        """A router at the end of eth0 advertises itself, and is heard."""
        self.eth0.arrive(ADVERTISEMENT, router)
        await asyncio.sleep(0.5)

    @property
    def eth0(self) -> Wire:
        return self.wires["eth0"]

    @property
    def router(self) -> str:
        return str(self.finder.routers.get("eth0", ""))


def test_the_first_router_is_found_and_told_of_us() -> None:
    """Asked at once; an answer makes it the interface's router, and an advertisement of ours follows within seconds."""

    async def scenario() -> None:
        world = World()
        world.desire(eth0=False)
        assert world.eth0.told(SOLICITATION) == 1
        assert not world.eth0.told(ADVERTISEMENT)
        await world.meet(ONE)
        assert world.changes == [{"eth0": scoped(ONE, "eth0")}]
        await asyncio.sleep(1)
        assert world.eth0.told(ADVERTISEMENT) == 1
        world.desire(eth0=True)
        solicitations = world.eth0.told(SOLICITATION)
        await asyncio.sleep(60)
        assert world.eth0.told(SOLICITATION) == solicitations, "who has a session asks no more"
        assert 5 <= world.eth0.told(ADVERTISEMENT) <= 8
        world.finder.close()
        assert world.eth0.closed

    run(scenario)


def test_a_router_that_says_nothing_before_it_hears_us() -> None:
    """We advertise ourselves from the second step on, every three seconds while there is no session."""

    async def scenario() -> None:
        world = World()
        world.desire(eth0=False)
        await asyncio.sleep(1.5)
        assert world.eth0.told(ADVERTISEMENT) == 1
        await asyncio.sleep(30)
        assert world.eth0.told(ADVERTISEMENT) == 11
        world.desire(eth0=True)
        world.eth0.arrive(SOLICITATION, ONE)
        await asyncio.sleep(4)
        assert world.eth0.told(ADVERTISEMENT) == 12, "who asks is answered, session or not"
        world.finder.close()

    run(scenario)


def test_a_router_that_advertises_nothing() -> None:
    """It answers the echo to all routers, is asked whether it is on this link, and says so: then it counts, not before."""

    async def scenario() -> None:
        world = World()
        world.desire(eth0=False)
        world.eth0.arrive(echo_reply(), ONE, 64)
        await asyncio.sleep(1.5)
        assert world.router == ""
        assert (packets.neighbour_solicitation(ONE), packets.solicited_node(ONE)) in world.eth0.sent
        world.eth0.arrive(neighbour_advertisement(ONE), ONE)
        await asyncio.sleep(0.5)
        assert world.router == "fe80::1%eth0"
        world.finder.close()

    run(scenario)


def test_somebody_else_on_the_link_changes_nothing() -> None:
    """While the session is up, or while the chosen router answers, a second one may say what it likes."""

    async def scenario() -> None:
        world = World()
        world.desire(eth0=False)
        await world.meet(ONE)
        world.desire(eth0=True)
        for _ in range(100):
            world.eth0.arrive(ADVERTISEMENT, OTHER)
            await asyncio.sleep(1)
        world.desire(eth0=False)
        for _ in range(30):
            world.eth0.arrive(neighbour_advertisement(ONE), ONE)
            world.eth0.arrive(ADVERTISEMENT, OTHER)
            await asyncio.sleep(1)
        assert world.router == "fe80::1%eth0"
        assert len(world.changes) == 1
        world.finder.close()

    run(scenario)


def test_a_router_that_was_replaced() -> None:
    """Its session is down and it says nothing more: the other one is followed; after a link was down, the first one."""

    async def scenario() -> None:
        world = World()
        world.desire(eth0=False)
        await world.meet(ONE)
        world.desire(eth0=True)
        await asyncio.sleep(60)
        world.desire(eth0=False)
        await asyncio.sleep(SILENCE + 1)
        await world.meet(OTHER)
        assert world.router == "fe80::2%eth0"
        world.desire("eth0", eth0=False)
        world.desire(eth0=False)
        await world.meet(ONE)
        assert world.router == "fe80::1%eth0"
        world.finder.close()

    run(scenario)


def test_a_flood_costs_little() -> None:
    """Of thousands of routers that there are not a few hundred are read in a second, none counts, and others are served."""

    async def scenario() -> None:
        world = World()
        world.finder.recall({"eth0": scoped(ONE, "eth0")})
        world.desire(eth0=True, eth1=False)
        for number in range(10_000):
            world.eth0.arrive(ADVERTISEMENT, IPv6Address((0xFE80 << 112) + 1000 + number))
        world.wires["eth1"].arrive(ADVERTISEMENT, ONE)
        await asyncio.sleep(10)
        assert 0 < world.eth0.read < 11 * 300
        assert {str(router) for router in world.finder.routers.values()} == {"fe80::1%eth0", "fe80::1%eth1"}
        assert len(world.changes) == 1
        world.finder.close()

    run(scenario)


def test_ourselves_and_another_process_of_ours() -> None:
    """Our own address is no router; who was chosen before a restart stays without a word, and goes when it is not wanted."""

    async def scenario() -> None:
        world = World()
        world.finder.recall({"eth0": scoped(ONE, "eth0"), "eth1": scoped(ONE, "eth1")})
        assert world.router == "fe80::1%eth0"
        world.desire(eth0=True)
        world.eth0.arrive(ADVERTISEMENT, OWN)
        world.eth0.arrive(ADVERTISEMENT, OTHER)
        await asyncio.sleep(1)
        assert dict(world.finder.routers) == {"eth0": scoped(ONE, "eth0")}
        world.desire()
        assert dict(world.finder.routers) == {}
        assert world.eth0.closed

    run(scenario)


def test_an_interface_that_is_not_there_and_a_right_that_is_missing() -> None:
    """Both are tried again every second; the missing right is a problem that goes with its cause."""

    async def scenario() -> None:
        world = World()
        del world.devices["eth0"]
        world.refuses = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        world.desire(eth0=False)
        assert dict(world.finder.problems) == {}
        world.devices["eth0"] = 7
        await asyncio.sleep(1.5)
        assert dict(world.finder.problems) == {"eth0": "Operation not permitted"}
        world.refuses = None
        await asyncio.sleep(1.5)
        assert dict(world.finder.problems) == {}
        before = world.eth0
        world.devices["eth0"] = 8
        await asyncio.sleep(1.5)
        assert before.closed
        assert world.eth0.index == 8
        world.finder.close()

    run(scenario)


def test_a_choice_remembers_one_router() -> None:
    """The first is chosen; another one only after silence without a session."""
    choice = Choice(None, now=0)
    assert choice.hear(ONE, now=1)
    assert not choice.hear(OTHER, now=1 + SILENCE - 0.1)
    assert not choice.hear(ONE, now=5)
    assert choice.hear(OTHER, now=5 + SILENCE)
    choice.established = True
    assert not choice.hear(ONE, now=1000)
    choice.doubt()
    assert not choice.hear(ONE, now=1001)
    choice.established = False
    assert choice.hear(ONE, now=1002)

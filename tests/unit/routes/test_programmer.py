"""The programmer on a kernel in memory, whatever happens in whatever order: the end state is the wanted one.

Time is virtual: the loop's clock jumps to the next timer, so minutes of audits and retries take no time.
"""

import asyncio
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.virtual import run
from towpath.lab.fake_kernel import FakeKernel
from towpath.model.net import Family, WirePrefix, scoped, to_wire
from towpath.model.reason import Reason
from towpath.model.speaker import Routes, Withdrawn
from towpath.routes import targets
from towpath.routes.kernel import RouteSeen
from towpath.routes.programmer import Programmer, Settings
from towpath.routes.route import PROTOCOL, NextHop, RouteType, Spec, StaticRoute, alike, spec

FAMILY_PREFIXES = {
    Family.IPV4: [ip_network(f"10.244.{number}.0/26") for number in range(2)],
    Family.IPV6: [ip_network(f"fd00:244:{number}::/122") for number in range(2)],
}
GATEWAYS = {
    Family.IPV4: [ip_address("10.0.0.1"), ip_address("10.0.1.1"), ip_address("192.0.2.1")],
    Family.IPV6: [ip_address("fd00::1"), ip_address("fd01::1"), ip_address("2001:db8::1")],
}
OWN = {2: ("10.0.0.9/24", "fd00::9/64"), 3: ("10.0.1.9/24", "fd01::9/64")}


class World:
    """A fake kernel, a programmer, and what should come out of it."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        for index, addresses in OWN.items():
            self.kernel.link(index, f"eth{index}")
            for address in addresses:
                self.kernel.address(index, ip_interface(address))
        self.programmer = Programmer(lambda: self.kernel)
        self.static: dict[tuple[Family, int], StaticRoute] = {}
        self.learned: dict[tuple[Family, int], tuple[int, ...]] = {}
        self.foreign: dict[tuple[Family, int], Spec] = {}
        self.down: set[int] = set()

    def wire(self, family: Family, number: int) -> WirePrefix:
        return to_wire(FAMILY_PREFIXES[family][number])

    def ours(self, family: Family, number: int) -> list[Spec]:
        routes = self.kernel.table[family].get(self.wire(family, number), [])
        return [route.spec for route in routes if route.protocol == PROTOCOL]

    def wanted(self, family: Family, number: int) -> Spec | None:
        """By the simplest reading of the rules."""
        static = self.static.get((family, number))
        if static is not None and static.type == "blackhole":
            return spec(RouteType.BLACKHOLE, metric=1179)
        if static is not None:
            hops = static.next_hops
        else:
            hops = tuple(GATEWAYS[family][gateway] for gateway in self.learned.get((family, number), ()))
        ways = [
            NextHop(hop, device)
            for hop in hops
            for device, addresses in OWN.items()
            if device not in self.down and any(hop in ip_interface(address).network for address in addresses)
        ]
        return spec(RouteType.UNICAST, ways, metric=1179) if ways else None

    def tell_static(self) -> None:
        self.programmer.desire({route.prefix: route for route in self.static.values()}, settings=Settings())

    def act(self, action: str, family: Family, number: int, choice: int) -> None:
        """One thing that happens."""
        wire, key = self.wire(family, number), (family, number)
        prefix = FAMILY_PREFIXES[family][number]
        match action:
            case "learn":
                gateways = ((0,), (1,), (0, 1), (2,))[choice]
                self.learned[key] = gateways
                self.tell_learned(family, number)
            case "withdraw":
                self.learned.pop(key, None)
                self.programmer.learned(Withdrawn(family, wire))
            case "static":
                if choice == 3:
                    self.static.pop(key, None)
                elif choice == 2:
                    self.static[key] = StaticRoute(prefix, "blackhole", "Block")
                else:
                    self.static[key] = StaticRoute(prefix, "unicast", "Kubernetes", (GATEWAYS[family][choice],))
                self.tell_static()
            case "restart":
                self.programmer.begin()
                for learned_family, learned_number in self.learned:
                    self.tell_learned(learned_family, learned_number)
                self.programmer.whole()
                self.programmer.synced(True)
            case "foreign":
                self.toggle_foreign(family, number)
            case "delete":
                for route in self.ours(family, number) if key not in self.foreign else ():
                    self.kernel.remove(family, wire, route, protocol=PROTOCOL)
            case "alter" if key not in self.foreign and self.ours(family, number):
                hop = NextHop(GATEWAYS[family][choice % 2], 2 + choice % 2)
                if hop.device not in self.down:
                    altered = spec(RouteType.UNICAST, (hop,), metric=1179)
                    self.kernel.replace(family, wire, altered, protocol=PROTOCOL)
            case "link":
                self.toggle_link(2 + choice % 2)
            case "flap":
                self.toggle_link(2 + choice % 2)
                self.toggle_link(2 + choice % 2)
            case "lose":
                self.kernel.lose_events()
            case "unshare":
                self.kernel.remove_objects()
            case _:
                pass

    def tell_learned(self, family: Family, number: int) -> None:
        hops = tuple(GATEWAYS[family][gateway] for gateway in self.learned[family, number])
        self.programmer.learned(Routes(family, hops, ("s",) * len(hops), self.wire(family, number)))

    def toggle_foreign(self, family: Family, number: int) -> None:
        """A blackhole of somebody else at our metric: beside ours, or where ours would be."""
        wire, key = self.wire(family, number), (family, number)
        if key in self.foreign:
            self.kernel.remove(family, wire, self.foreign.pop(key), protocol=4)
        else:
            self.foreign[key] = spec(RouteType.OTHER, metric=1179)
            self.kernel.foreign(family, wire, self.foreign[key])

    def toggle_link(self, index: int) -> None:
        if index in self.down:
            self.down.discard(index)
            self.kernel.link(index, f"eth{index}")
            return
        self.down.add(index)
        self.kernel.link(index, f"eth{index}", usable=False)

    def check(self) -> None:
        """What is wanted is there and nothing else of ours, except beside what is foreign."""
        reasons = {(one.prefix, one.reason) for one in self.programmer.status().conflicts}
        for family, prefixes in FAMILY_PREFIXES.items():
            for number, prefix in enumerate(prefixes):
                want, ours = self.wanted(family, number), self.ours(family, number)
                if (family, number) not in self.foreign:
                    assert len(ours) == (want is not None), prefix
                    assert want is None or alike(ours[0], want), prefix
                    continue
                routes = self.kernel.table[family][self.wire(family, number)]
                assert RouteSeen(self.wire(family, number), 4, self.foreign[family, number]) in routes
                if want is not None and not ours:
                    assert (prefix, Reason.FOREIGN_ROUTE) in reasons or (prefix, Reason.MIXED_ROUTE) in reasons


ACTIONS = ("learn", "withdraw", "static", "restart", "foreign", "delete", "alter", "link", "flap", "lose", "unshare")
steps = st.tuples(
    st.sampled_from(ACTIONS),
    st.sampled_from(list(Family)),
    st.integers(0, 1),
    st.integers(0, 3),
    st.sampled_from([None, None, 0.0, 0.03]),
)


@settings(max_examples=examples(500))
@given(st.lists(steps, max_size=20), st.sampled_from([1, 2, 1000]))
def test_whatever_happens(happens, many) -> None:
    """After any sequence of changes by anybody the kernel holds what is wanted, and what is foreign is untouched.

    Routes share next-hop objects from the first prefix on, from the second, or never.
    """

    async def scenario() -> None:
        world = World()
        await world.programmer.start()
        world.tell_static()
        world.programmer.whole()
        world.programmer.synced(True)
        for family in Family:
            world.act("learn", family, 0, 2)
            world.act("learn", family, 1, 0)
        await asyncio.sleep(0.1)
        for action, family, number, choice, pause in happens:
            world.act(action, family, number, choice)
            if pause is not None:
                await asyncio.sleep(pause)
        await asyncio.sleep(200)
        world.check()
        before = world.kernel.applied
        await asyncio.sleep(200)
        assert world.kernel.applied == before
        world.programmer.close()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(targets, "MANY", many)
        run(scenario)


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.key)
def test_nothing_goes_before_it_is_believed(family) -> None:
    """A fresh programmer deletes nothing that it found before objects and speaker have told everything."""

    async def scenario() -> None:
        world = World()
        one = spec(RouteType.UNICAST, (NextHop(GATEWAYS[family][0], 2),), metric=1179)
        hole = spec(RouteType.BLACKHOLE, metric=1179)
        world.kernel.foreign(family, world.wire(family, 0), one, protocol=PROTOCOL)
        world.kernel.foreign(family, world.wire(family, 1), hole, protocol=PROTOCOL)
        assert await world.programmer.start()
        world.programmer.desire({}, settings=Settings(), complete=False)
        world.programmer.begin()
        world.programmer.whole()
        await asyncio.sleep(100)
        assert world.ours(family, 0) == [one]
        assert world.ours(family, 1) == [hole]
        world.programmer.desire({}, settings=Settings())
        await asyncio.sleep(1)
        assert world.ours(family, 0) == [one]
        assert world.ours(family, 1) == []
        world.programmer.synced(True)
        await asyncio.sleep(1)
        assert world.ours(family, 0) == []
        world.programmer.close()

    run(scenario)


@pytest.mark.parametrize("alone", [True, False], ids=["speaker", "both"])
@pytest.mark.parametrize("end", ["whole", "less", "link"])
@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.key)
def test_a_restart_takes_no_next_hop_away(family, end, alone) -> None:
    """Of two ways the first to be told again is no reason to give up the other, before the speaker has heard everybody.

    Whoever has restarted: the speaker alone, or the agent with it. A way whose link goes down is given up at once.
    """

    async def scenario() -> None:
        world = World()
        near, far = (spec(RouteType.UNICAST, (NextHop(GATEWAYS[family][n], 2 + n),), metric=1179) for n in (0, 1))
        both = spec(RouteType.UNICAST, (*near.next_hops, *far.next_hops), metric=1179)
        if not alone:
            world.kernel.foreign(family, world.wire(family, 0), both, protocol=PROTOCOL)
        await world.programmer.start()
        world.programmer.desire({}, settings=Settings())
        if alone:
            world.programmer.begin()
            world.learned[family, 0] = (0, 1)
            world.tell_learned(family, 0)
            world.programmer.whole()
            world.programmer.synced(True)
            await asyncio.sleep(1)
        world.programmer.begin()
        world.learned[family, 0] = (0,)
        world.tell_learned(family, 0)
        world.programmer.whole()
        await asyncio.sleep(1)
        assert world.ours(family, 0) == [both]
        if end == "link":
            world.toggle_link(3)
            await asyncio.sleep(1)
            assert world.ours(family, 0) == [near]
            world.toggle_link(3)
            await asyncio.sleep(1)
            assert world.ours(family, 0) == [both]
        if end == "whole":
            world.learned[family, 0] = (0, 1)
            world.tell_learned(family, 0)
        world.programmer.synced(True)
        await asyncio.sleep(1)
        assert world.ours(family, 0) == [both if end == "whole" else near]
        world.check()
        world.programmer.close()

    run(scenario)


@pytest.mark.parametrize("end", ["back", "heard", "synced", "link"])
@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.key)
def test_a_restart_prefers_nobody_for_being_quick(family, end) -> None:
    """The former way stays while its peer may tell it again; no message reaches the kernel. Its link going down ends that."""

    async def scenario() -> None:
        world = World()
        former, other = (spec(RouteType.UNICAST, (NextHop(GATEWAYS[family][n], 2 + n),), metric=1179) for n in (0, 1))
        world.kernel.foreign(family, world.wire(family, 0), former, protocol=PROTOCOL)
        await world.programmer.start()
        world.programmer.desire({}, settings=Settings())
        world.programmer.begin()
        world.learned[family, 0] = (1,)
        world.tell_learned(family, 0)
        world.programmer.whole()
        world.programmer.heard([GATEWAYS[family][1]])
        await asyncio.sleep(1)
        assert world.ours(family, 0) == [former]
        match end:
            case "back":
                world.learned[family, 0] = (0,)
                world.tell_learned(family, 0)
            case "heard":
                world.programmer.heard([GATEWAYS[family][0]])
            case "synced":
                world.programmer.synced(True)
            case _:
                world.toggle_link(2)
        before = world.kernel.applied
        await asyncio.sleep(1)
        assert world.ours(family, 0) == [former if end == "back" else other]
        assert world.kernel.applied == before + (end != "back")
        world.programmer.synced(True)
        await asyncio.sleep(1)
        world.check()
        world.programmer.close()

    run(scenario)


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.key)
def test_excluded_ranges(family) -> None:
    """What was learned inside an excluded range is not programmed, and what the objects give there is."""

    async def scenario() -> None:
        world = World()
        await world.programmer.start()
        world.act("learn", family, 0, 0)
        world.act("static", family, 1, 2)
        await asyncio.sleep(1)
        excluded = tuple(prefix.supernet(new_prefix=16) for prefix in (FAMILY_PREFIXES[family][0],))
        static = {route.prefix: route for route in world.static.values()}
        world.programmer.desire(static, settings=Settings(excluded=excluded))
        await asyncio.sleep(1)
        assert world.ours(family, 0) == []
        assert world.ours(family, 1) == [spec(RouteType.BLACKHOLE, metric=1179)]
        world.programmer.desire(static, settings=Settings())
        await asyncio.sleep(1)
        assert len(world.ours(family, 0)) == 1
        world.programmer.close()

    run(scenario)


def test_one_change_is_one_message() -> None:
    """Among many routes one change reaches the kernel as one message."""

    async def scenario() -> None:
        world = World()
        await world.programmer.start()
        wires = b"".join(to_wire(ip_network((int(ip_address("20.0.0.0")) + number * 64, 26))) for number in range(5000))
        one, other, _ = GATEWAYS[Family.IPV4]
        world.programmer.learned(Routes(Family.IPV4, (one,), ("s",), wires))
        await asyncio.sleep(1)
        before = world.kernel.applied
        world.programmer.learned(Routes(Family.IPV4, (other,), ("s",), wires[:5]))
        await asyncio.sleep(1)
        assert world.kernel.applied == before + 1
        world.programmer.close()

    run(scenario)


def test_ipv4_routes_with_ipv6_gateways() -> None:
    """A next hop of IPv6, global or on the link of an interface, leads IPv4 prefixes too; of IPv4 no IPv6 ones."""

    async def scenario() -> None:
        world = World()
        await world.programmer.start()
        link, far = scoped(ip_address("fe80::1"), "eth3"), ip_address("fd00::7")
        wire, other = world.wire(Family.IPV4, 0), world.wire(Family.IPV6, 0)
        world.programmer.learned(Routes(Family.IPV4, (link, far), ("a", "b"), wire))
        world.programmer.learned(Routes(Family.IPV6, (ip_address("10.0.0.1"),), ("a",), other))
        await asyncio.sleep(1)
        ways = {NextHop(ip_address("fe80::1"), 3), NextHop(far, 2)}
        assert world.ours(Family.IPV4, 0) == [spec(RouteType.UNICAST, ways, metric=1179)]
        assert world.ours(Family.IPV6, 0) == []
        world.kernel.link(3, "eth3", usable=False)
        await asyncio.sleep(1)
        assert world.ours(Family.IPV4, 0) == [spec(RouteType.UNICAST, (NextHop(far, 2),), metric=1179)]
        assert world.programmer.carrier({"on": link, "gone": scoped(ip_address("fe80::1"), "eth9")}) == {"on", "gone"}
        assert world.programmer.carrier({"far": far}) == frozenset()
        world.programmer.close()

    run(scenario)


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.key)
def test_many_routes_share_their_next_hop(family, monkeypatch) -> None:
    """From so many prefixes on new routes share an object; those before stay as they are, also when they are told again.

    A process that starts finds both kinds and changes none, and an object goes when no route needs it.
    """
    monkeypatch.setattr(targets, "MANY", 2)

    async def scenario() -> None:
        world = World()
        await world.programmer.start()
        world.programmer.desire({}, settings=Settings())
        world.programmer.whole()
        world.programmer.synced(True)
        hop = NextHop(GATEWAYS[family][0], 2)
        plain, shared = (spec(RouteType.UNICAST, (hop,), metric=1179, shared=one) for one in (False, True))
        for number in (0, 1):
            world.act("learn", family, number, 0)
            await asyncio.sleep(1)
        assert (world.ours(family, 0), world.ours(family, 1)) == ([plain], [shared])
        done = world.kernel.applied
        world.act("restart", family, 0, 0)
        await asyncio.sleep(100)
        world.programmer.close()
        world.programmer = Programmer(lambda: world.kernel)
        await world.programmer.start()
        world.programmer.desire({}, settings=Settings())
        world.act("restart", family, 0, 0)
        await asyncio.sleep(100)
        assert world.kernel.applied == done
        assert (world.ours(family, 0), world.ours(family, 1)) == ([plain], [shared])
        assert world.kernel.objects == {hop}
        for number in (0, 1):
            world.act("learn", family, number, 1)
        await asyncio.sleep(100)
        assert [one.next_hops for number in (0, 1) for one in world.ours(family, number)] == [
            (NextHop(GATEWAYS[family][1], 3),)
        ] * 2
        assert hop not in world.kernel.objects
        for number in (0, 1):
            world.act("withdraw", family, number, 0)
        await world.programmer.drop_all()
        assert world.kernel.objects == set()
        world.programmer.close()

    run(scenario)


@pytest.mark.parametrize("family", list(Family))
def test_a_route_into_a_tunnel_waits_for_its_device(family: Family) -> None:
    """What the speaker has learned of the prefix counts no more; the route comes with the device, and again with a new one."""

    async def scenario() -> None:
        world = World()
        await world.programmer.start()
        world.act("learn", family, 0, 0)
        prefix, gateway = FAMILY_PREFIXES[family][0], FAMILY_PREFIXES[family][1].network_address
        route = StaticRoute(prefix, "unicast", "Kubernetes", (gateway,), device="tp-vx4-7")
        await asyncio.sleep(1)
        assert world.ours(family, 0)
        world.programmer.desire({prefix: route}, settings=Settings())
        await asyncio.sleep(1)
        (conflict,) = world.programmer.status().conflicts
        assert (conflict.prefix, conflict.reason) == (prefix, Reason.NO_DEVICE)
        for index in (7, 8):
            world.kernel.link(index, "tp-vx4-7")
            await asyncio.sleep(1)
            (found,) = world.ours(family, 0)
            assert found.next_hops == (NextHop(gateway, index, onlink=True),)
            assert world.programmer.status().in_sync
            world.kernel.unlink(index)
            await asyncio.sleep(1)
            assert world.ours(family, 0) == []
        world.programmer.desire({}, settings=Settings())
        await asyncio.sleep(1)
        assert [one.next_hops for one in world.ours(family, 0)] == [(NextHop(GATEWAYS[family][0], 2),)]
        world.programmer.close()

    run(scenario)


def test_an_address_that_a_tunnel_has_too_is_on_the_other_device() -> None:
    """Whoever asks where the node's address is, and how large its subnet, is not told of the tunnel."""

    async def scenario() -> None:
        world = World()
        world.kernel.link(9, "tp-vx6-4096")
        for text in ("fd00::9/128", "fd00:244::/128"):
            world.kernel.address(9, ip_interface(text))
        await world.programmer.start()
        own = {(index, text) for index, addresses in OWN.items() for text in addresses}
        found = {(one.index, f"{one.local}/{one.subnet.network.prefixlen}") for one in world.programmer.addresses()}
        assert found == {*own, (9, "fd00:244::/128")}
        world.programmer.close()

    run(scenario)

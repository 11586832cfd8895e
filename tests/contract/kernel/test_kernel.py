"""One suite for every kernel: what the programmer relies on, on the real one and on the fake."""

import asyncio
import errno
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from tests.names import own
from tests.patience import eventually
from towpath.lab.fake_kernel import FakeKernel
from towpath.lab.netns import Host, Network
from towpath.model.net import Family, from_wire, to_wire
from towpath.routes.kernel import Batch, EventsLostError, Kernel, LinkEvent, Operation, RouteEvent, RouteSeen
from towpath.routes.netlink import NetlinkKernel
from towpath.routes.route import PROTOCOL, NextHop, RouteType, Spec, spec

EXAMPLES = {
    Family.IPV4: ("10.0.0.1/24", "10.0.0.254", "10.0.0.253", "10.244.1.0/26"),
    Family.IPV6: ("fd00::1/64", "fd00::254", "fd00::253", "fd00:244::/122"),
}


class FakeWorld:
    """The fake kernel and the hands of others."""

    def __init__(self) -> None:
        self.fake = FakeKernel()
        self.kernel: Kernel = self.fake
        self.fake.link(1, "lo")
        self.fake.link(2, "eth0")
        self.device = 2
        for example in EXAMPLES.values():
            self.fake.address(2, ip_interface(example[0]))

    def append(self, family: Family, wire: bytes, route: Spec) -> None:
        self.fake.foreign(family, wire, route)

    def replace(self, family: Family, wire: bytes, route: Spec, *, protocol: int) -> None:
        self.fake.replace(family, wire, route, protocol=protocol)

    def delete(self, family: Family, wire: bytes, route: Spec, *, protocol: int) -> None:
        self.fake.remove(family, wire, route, protocol=protocol)

    def down(self) -> None:
        self.fake.link(2, "eth0", usable=False)


class RealWorld:
    """A namespace, and ``ip`` as the hands of others."""

    def __init__(self, node: Host, kernel: NetlinkKernel) -> None:
        self.node = node
        self.kernel: Kernel = kernel
        self.device = next(link.index for link in kernel.links() if link.name == "eth0")

    def _ip(self, verb: str, family: Family, wire: bytes, route: Spec, protocol: int) -> None:
        (hop,) = route.next_hops
        other = ("inet6",) if hop.gateway.version > int(family) else ()
        self.node.ip(
            *(f"-{int(family)}", "route", verb, str(from_wire(family, wire)), "via", *other, str(hop.gateway)),
            *("dev", "eth0", "metric", str(route.metric), "proto", str(protocol)),
        )

    def append(self, family: Family, wire: bytes, route: Spec) -> None:
        self._ip("append", family, wire, route, 4)

    def replace(self, family: Family, wire: bytes, route: Spec, *, protocol: int) -> None:
        self._ip("replace", family, wire, route, protocol)

    def delete(self, family: Family, wire: bytes, route: Spec, *, protocol: int) -> None:
        self._ip("del", family, wire, route, protocol)

    def down(self) -> None:
        self.node.ip("link", "set", "eth0", "down")


World = FakeWorld | RealWorld


@pytest.fixture(params=["fake", "real"])
async def world(request) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    with Network(own("tpr")) as network:
        node, router = network.host("node"), network.host("router")
        network.link(node, "eth0", router, "node")
        node.address(*(example[0] for example in EXAMPLES.values()), dev="eth0")
        with node.entered():
            kernel = NetlinkKernel()
        yield RealWorld(node, kernel)
        kernel.close()


class Example:
    """The values of one family; ``links``: with the link-local gateways that a link without other addresses has."""

    def __init__(self, world: World, family: Family, *, links: bool) -> None:
        _, one, other, prefix = EXAMPLES[family]
        if links:
            one, other = "fe80::fe", "fe80::fd"
        self.family = family
        self.wire = to_wire(ip_network(prefix))
        self.one = spec(RouteType.UNICAST, (NextHop(ip_address(one), world.device),), metric=1179)
        self.other = spec(RouteType.UNICAST, (NextHop(ip_address(other), world.device),), metric=1179)
        self.both = spec(RouteType.UNICAST, (*self.one.next_hops, *self.other.next_hops), metric=1179)
        self.blackhole = spec(RouteType.BLACKHOLE, metric=1179)
        self.kernel = world.kernel

    def apply(self, operation: Operation, route: Spec) -> list[int]:
        return [failure.errno for failure in self.kernel.apply([Batch(operation, self.family, route, [self.wire])])]

    def shown(self, *, protocol: int = PROTOCOL) -> list[RouteSeen]:
        return [
            route
            for routes in self.kernel.routes(self.family, protocol=protocol)
            for route in routes
            if route.wire == self.wire
        ]


@pytest.fixture(
    params=[(Family.IPV4, False), (Family.IPV6, False), (Family.IPV4, True)], ids=["ipv4", "ipv6", "ipv4-by-ipv6"]
)
def example(request, world: World) -> Example:
    family, links = request.param
    return Example(world, family, links=links)


def drain(kernel: Kernel) -> list[object]:
    found: list[object] = []
    while events := kernel.events():
        found += events
    return found


def heard(example: "Example") -> list[RouteEvent]:
    """What has happened to the example's prefix; of addresses and links the kernel may still tell when all is set up."""
    found = (event for event in drain(example.kernel) if isinstance(event, RouteEvent))
    return [event for event in found if event.seen.wire == example.wire]


async def test_shows_what_was_added(example: Example) -> None:
    """Unicast, multipath and blackhole routes are shown as they were added, and deleted by their full key."""
    for route in (example.one, example.both, example.blackhole):
        assert example.apply(Operation.ADD, route) == []
        assert example.shown() == [RouteSeen(example.wire, PROTOCOL, route)]
        assert example.apply(Operation.DELETE, route) == []
        assert example.shown() == []


async def test_replaces_any_kind_by_any_other(example: Example) -> None:
    """One route of ours takes the place of another: single, multipath or blackhole."""
    kinds = (example.one, example.both, example.blackhole)
    for before in kinds:
        for after in kinds:
            assert example.apply(Operation.ADD, before) == []
            assert example.apply(Operation.REPLACE, after) == []
            assert example.shown() == [RouteSeen(example.wire, PROTOCOL, after)]
            assert example.apply(Operation.DELETE, after) == []


async def test_refusals(example: Example) -> None:
    """What is there is not created, what is not there is neither replaced nor deleted, what leads nowhere is refused."""
    assert example.apply(Operation.REPLACE, example.one) == [errno.ENOENT]
    assert example.apply(Operation.DELETE, example.one) == [errno.ESRCH]
    assert example.apply(Operation.ADD, example.one) == []
    assert example.apply(Operation.ADD, example.other) == [errno.EEXIST]
    assert example.apply(Operation.DELETE, example.other) == [errno.ESRCH]
    assert example.shown() == [RouteSeen(example.wire, PROTOCOL, example.one)]


async def test_unreachable_gateway(example: Example, world: World) -> None:
    """A gateway that is on no link is refused."""
    gateway = ip_address("192.0.2.1" if example.family is Family.IPV4 else "2001:db8::1")
    route = spec(RouteType.UNICAST, (NextHop(gateway, world.device),), metric=1179)
    assert example.apply(Operation.ADD, route) in ([errno.ENETUNREACH], [errno.EHOSTUNREACH])


async def test_errors_are_matched(example: Example) -> None:
    """Among thousands of changes of several batches each failure names its own prefix."""
    wires = [
        to_wire(
            ip_network(
                (
                    int(ip_address("20.0.0.0" if example.family is Family.IPV4 else "2a00::")) + n * 64,
                    26 if example.family is Family.IPV4 else 122,
                )
            )
        )
        for n in range(3000)
    ]
    taken = wires[::7]
    assert example.kernel.apply([Batch(Operation.ADD, example.family, example.other, taken)]) == []
    batches = [
        Batch(Operation.ADD, example.family, example.one, wires[:1000]),
        Batch(Operation.ADD, example.family, example.both, wires[1000:]),
    ]
    failures = example.kernel.apply(batches)
    assert [failure.wire for failure in failures] == taken
    assert {failure.errno for failure in failures} == {errno.EEXIST}
    assert all(failure.wire in failure.batch.wires for failure in failures)


async def test_foreign_stays(example: Example, world: World) -> None:
    """Our deletion of a prefix does not touch somebody else's route at the same metric."""
    world.append(example.family, example.wire, example.other)
    assert example.apply(Operation.ADD, example.one) == [errno.EEXIST]
    assert example.apply(Operation.DELETE, example.other) == [errno.ESRCH]
    assert example.shown(protocol=0) == [RouteSeen(example.wire, 4, example.other)]


async def test_own_changes_are_silent(example: Example) -> None:
    """What we do ourselves is no event."""
    drain(example.kernel)
    for operation, route in (
        (Operation.ADD, example.one),
        (Operation.REPLACE, example.both),
        (Operation.DELETE, example.both),
    ):
        assert example.apply(operation, route) == []
    assert heard(example) == []


async def test_others_deletion_is_heard(example: Example, world: World) -> None:
    """Somebody's deletion of our route is an event, though it carries our protocol."""
    example.apply(Operation.ADD, example.one)
    drain(example.kernel)
    world.delete(example.family, example.wire, example.one, protocol=PROTOCOL)
    seen = RouteSeen(example.wire, PROTOCOL, example.one)
    assert heard(example) == [RouteEvent(example.family, gone=True, replaced=False, seen=seen)]


async def test_others_replacement_is_heard(example: Example, world: World) -> None:
    """Somebody's replacement of our route says that it replaced."""
    example.apply(Operation.ADD, example.one)
    drain(example.kernel)
    world.replace(example.family, example.wire, example.other, protocol=PROTOCOL)
    seen = RouteSeen(example.wire, PROTOCOL, example.other)
    assert heard(example) == [RouteEvent(example.family, gone=False, replaced=True, seen=seen)]


async def test_append(example: Example, world: World) -> None:
    """An appended next hop is a second route of the same key in IPv4, and merges into ours in IPv6."""
    example.apply(Operation.ADD, example.one)
    drain(example.kernel)
    world.append(example.family, example.wire, example.other)
    (event,) = heard(example)
    assert (event.gone, event.replaced, event.seen.protocol) == (False, False, 4)
    ours = RouteSeen(example.wire, PROTOCOL, example.one)
    if example.family is Family.IPV4:
        assert example.shown(protocol=0) == [ours, RouteSeen(example.wire, 4, example.other)]
        assert event.seen.spec is example.other
    else:
        assert example.shown(protocol=0) == [RouteSeen(example.wire, PROTOCOL, example.both)]
        assert event.seen.spec is example.both


async def test_link_down(example: Example, world: World) -> None:
    """A link that goes down takes its routes along, and is an event itself."""
    example.apply(Operation.ADD, example.one)
    drain(example.kernel)
    world.down()
    events = [event for event in drain(example.kernel) if isinstance(event, LinkEvent)]
    assert [(event.link.name, event.link.usable) for event in events][-1:] == [("eth0", False)]
    assert example.shown() == []


async def test_watching(example: Example, world: World) -> None:
    """The watcher is called from the loop when there is something to hear."""
    drain(example.kernel)
    told, found = asyncio.Event(), []
    example.kernel.watch(told.set)
    world.append(example.family, example.wire, example.other)

    def look() -> list[RouteEvent]:
        found.extend(heard(example))
        return found

    await eventually(lambda: told.is_set() and look())
    assert len(found) == 1


async def test_lost_events_are_said() -> None:
    """A socket that is too small for what happens says so, and hears again what comes after."""
    with Network(own("tpr")) as network:
        node = network.host("node")
        with node.entered():
            kernel = NetlinkKernel(event_buffer=4096)
        node.run("ip", "-batch", "-", stdin="\n".join(f"route add blackhole 10.9.{n}.0/24" for n in range(200)))
        with pytest.raises(EventsLostError):
            kernel.events()
        node.ip("route", "add", "blackhole", "10.10.0.0/24")
        (event,) = kernel.events()
        assert isinstance(event, RouteEvent)
        assert event.seen.wire == to_wire(ip_network("10.10.0.0/24"))
        kernel.close()


async def test_small_buffer_loses_no_error() -> None:
    """Without the right to a large receive buffer every refusal is still told."""
    with Network(own("tpr")) as network:
        node = network.host("node")
        with node.entered():
            kernel = NetlinkKernel(receive_buffer=100_000)
        wires = [to_wire(ip_network(f"10.{n // 256}.{n % 256}.0/24")) for n in range(3000)]
        batch = Batch(Operation.ADD, Family.IPV4, spec(RouteType.BLACKHOLE, metric=7), wires)
        assert kernel.apply([batch]) == []
        assert [failure.wire for failure in kernel.apply([batch])] == wires
        kernel.close()


async def test_stays_in_its_namespace() -> None:
    """A kernel works on the namespace that it was opened in, whatever the thread enters later."""
    with Network(own("tpr")) as network:
        node = network.host("node")
        with node.entered():
            kernel = NetlinkKernel()
        batch = Batch(
            Operation.ADD, Family.IPV4, spec(RouteType.BLACKHOLE, metric=7), [to_wire(ip_network("10.1.0.0/24"))]
        )
        assert kernel.apply([batch]) == []
        assert "blackhole 10.1.0.0/24" in node.ip("route", "show")
        assert [link.name for link in kernel.links()] == ["lo"]
        kernel.close()

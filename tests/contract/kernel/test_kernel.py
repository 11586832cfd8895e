"""One suite for every kernel: what the programmer relies on, on the real one and on the fake."""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from tests.names import own
from tests.patience import eventually
from towpath.lab.fake_kernel import FakeKernel
from towpath.lab.netns import Host, Network
from towpath.model.net import Family, from_wire, to_wire
from towpath.routes import objects
from towpath.routes.kernel import (
    Batch,
    EventsLostError,
    Kernel,
    LinkEvent,
    NextHopEvent,
    Operation,
    RouteEvent,
    RouteSeen,
)
from towpath.routes.message import AF, ROUTE, RTM_GETROUTE
from towpath.routes.netlink import NetlinkKernel
from towpath.routes.netsocket import dump, open_socket
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

    def up(self) -> None:
        self.fake.link(2, "eth0")

    def remove_objects(self) -> None:
        self.fake.remove_objects()

    def objects(self) -> int:
        return len(self.fake.objects)


class RealWorld:
    """A namespace, and ``ip`` as the hands of others."""

    def __init__(self, node: Host, kernel: NetlinkKernel) -> None:
        self.node = node
        self.kernel: Kernel = kernel
        self.device = next(link.index for link in kernel.links() if link.name == "eth0")

    def _ip(self, verb: str, family: Family, wire: bytes, route: Spec, protocol: int) -> None:
        (hop,) = route.next_hops
        other = ("inet6",) if hop.gateway.version > int(family) else ()
        # a route by an object is deleted by its key alone
        way = () if route.shared else ("via", *other, str(hop.gateway), "dev", "eth0")
        self.node.ip(
            *(f"-{int(family)}", "route", verb, str(from_wire(family, wire)), *way),
            *("metric", str(route.metric), "proto", str(protocol)),
        )

    def append(self, family: Family, wire: bytes, route: Spec) -> None:
        self._ip("append", family, wire, route, 4)

    def replace(self, family: Family, wire: bytes, route: Spec, *, protocol: int) -> None:
        self._ip("replace", family, wire, route, protocol)

    def delete(self, family: Family, wire: bytes, route: Spec, *, protocol: int) -> None:
        self._ip("del", family, wire, route, protocol)

    def down(self) -> None:
        self.node.ip("link", "set", "eth0", "down")

    def up(self) -> None:
        self.node.ip("link", "set", "eth0", "up")
        for example in EXAMPLES.values():
            self.node.ip("addr", "replace", example[0], "dev", "eth0", "nodad")

    def remove_objects(self) -> None:
        self.node.ip("nexthop", "flush", "protocol", str(PROTOCOL))

    def objects(self) -> int:
        return len(self.node.ip("nexthop", "show", "protocol", str(PROTOCOL)).splitlines())


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
        self.shared = spec(RouteType.UNICAST, self.one.next_hops, metric=1179, shared=True)
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
    """All kinds of routes are shown as they were added, and deleted by their full key."""
    for route in (example.one, example.shared, example.both, example.blackhole):
        assert example.apply(Operation.ADD, route) == []
        assert example.shown() == [RouteSeen(example.wire, PROTOCOL, route)]
        assert example.apply(Operation.DELETE, route) == []
        assert example.shown() == []


async def test_replaces_any_kind_by_any_other(example: Example) -> None:
    """One route of ours takes the place of another: single, by an object, multipath or blackhole."""
    kinds = (example.one, example.shared, example.both, example.blackhole)
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
    for shared in (False, True):
        route = spec(RouteType.UNICAST, (NextHop(gateway, world.device),), metric=1179, shared=shared)
        assert example.apply(Operation.ADD, route) in ([errno.ENETUNREACH], [errno.EHOSTUNREACH])
    assert world.objects() == 0


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
        Batch(Operation.ADD, example.family, example.both, wires[1000:2000]),
        Batch(Operation.ADD, example.family, example.shared, wires[2000:]),
    ]
    failures = example.kernel.apply(batches)
    assert [failure.wire for failure in failures] == taken
    assert {failure.errno for failure in failures} == {errno.EEXIST}
    assert all(failure.wire in failure.batch.wires for failure in failures)


async def test_foreign_stays(example: Example, world: World) -> None:
    """Our deletion of a prefix does not touch somebody else's route at the same metric."""
    world.append(example.family, example.wire, example.other)
    for route in (example.one, example.shared):
        assert example.apply(Operation.ADD, route) == [errno.EEXIST]
        assert example.apply(Operation.DELETE, route) == [errno.ESRCH]
    assert example.apply(Operation.DELETE, example.other) == [errno.ESRCH]
    assert example.shown(protocol=0) == [RouteSeen(example.wire, 4, example.other)]


async def test_own_changes_are_silent(example: Example) -> None:
    """What we do ourselves is no event."""
    drain(example.kernel)
    for operation, route in (
        (Operation.ADD, example.one),
        (Operation.REPLACE, example.both),
        (Operation.REPLACE, example.shared),
        (Operation.DELETE, example.shared),
    ):
        assert example.apply(operation, route) == []
    assert heard(example) == []


async def test_others_deletion_is_heard(example: Example, world: World) -> None:
    """Somebody's deletion of our route is an event, though it carries our protocol."""
    for route in (example.one, example.shared):
        example.apply(Operation.ADD, route)
        drain(example.kernel)
        world.delete(example.family, example.wire, route, protocol=PROTOCOL)
        seen = RouteSeen(example.wire, PROTOCOL, route)
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


async def test_append_to_a_shared_route(example: Example, world: World) -> None:
    """Beside a route by an object an appended next hop is a second route in both families; ours is deleted alone."""
    example.apply(Operation.ADD, example.shared)
    drain(example.kernel)
    world.append(example.family, example.wire, example.other)
    (event,) = heard(example)
    assert (event.gone, event.replaced, event.seen.protocol) == (False, False, 4)
    ours, theirs = RouteSeen(example.wire, PROTOCOL, example.shared), RouteSeen(example.wire, 4, example.other)
    assert example.shown(protocol=0) == [ours, theirs]
    assert example.apply(Operation.DELETE, example.shared) == []
    assert example.shown(protocol=0) == [theirs]


async def test_object_goes_with_its_link(example: Example, world: World) -> None:
    """Routes by an object go with the link, and come back with it: the object is made anew."""
    example.apply(Operation.ADD, example.shared)
    world.down()
    assert example.shown() == []
    assert world.objects() == 0
    world.up()
    assert example.apply(Operation.ADD, example.shared) == []
    assert example.shown() == [RouteSeen(example.wire, PROTOCOL, example.shared)]
    assert example.apply(Operation.DELETE, example.shared) == []


async def test_object_is_removed_by_others(example: Example, world: World) -> None:
    """That is an event, for the kernel says nothing of the routes that went with it."""
    example.apply(Operation.ADD, example.shared)
    drain(example.kernel)
    world.remove_objects()
    assert NextHopEvent() in drain(example.kernel)
    assert example.shown() == []
    assert example.apply(Operation.DELETE, example.shared) == [errno.ESRCH]
    assert example.apply(Operation.ADD, example.shared) == []
    assert example.shown() == [RouteSeen(example.wire, PROTOCOL, example.shared)]


async def test_only_objects_in_use_are_kept(example: Example, world: World) -> None:
    """An object goes when it is asked to, not before, and no other with it."""
    further = spec(RouteType.UNICAST, example.other.next_hops, metric=1179, shared=True)
    example.apply(Operation.ADD, example.shared)
    example.apply(Operation.REPLACE, further)
    assert world.objects() == 2
    example.kernel.keep({further, example.one, example.blackhole})
    assert world.objects() == 1
    assert example.shown() == [RouteSeen(example.wire, PROTOCOL, further)]
    example.apply(Operation.DELETE, further)
    example.kernel.keep(())
    assert world.objects() == 0


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


@pytest.fixture
def node() -> Iterator[Host]:
    with Network(own("tpr")) as network:
        node, router = network.host("node"), network.host("router")
        network.link(node, "eth0", router, "node")
        node.address(*(example[0] for example in EXAMPLES.values()), dev="eth0")
        yield node


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.key)
async def test_objects_are_found_again(node: Host, family: Family) -> None:
    """Another process, or one that starts again, uses and deletes by the objects that are there; foreign ones are not ours."""
    node.ip("nexthop", "add", "id", "7", "via", EXAMPLES[family][1], "dev", "eth0")
    examples = []
    for _ in range(2):
        with node.entered():
            kernel = NetlinkKernel()
        examples.append(Example(RealWorld(node, kernel), family, links=False))
    one, other = examples
    assert one.apply(Operation.ADD, one.shared) == []
    assert other.shown() == [RouteSeen(other.wire, PROTOCOL, other.shared)]
    assert other.apply(Operation.REPLACE, other.shared) == []
    assert len(node.ip("nexthop", "show", "protocol", str(PROTOCOL)).splitlines()) == 1
    assert other.apply(Operation.DELETE, other.shared) == []
    other.kernel.keep(())
    assert node.ip("nexthop", "show").split()[:2] == ["id", "7"]
    assert len(node.ip("nexthop", "show").splitlines()) == 1
    for example in examples:
        example.kernel.close()


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.key)
async def test_object_is_altered_by_others(node: Host, family: Family) -> None:
    """Routes by an object of ours that somebody made another one are shown as they are now, and put right by a replacement.

    Also where the kernel does not spell objects out in routes (net.ipv4.nexthop_compat_mode).
    """
    for compatible in ("1", "0"):
        node.run("sysctl", "-qw", f"net.ipv4.nexthop_compat_mode={compatible}")
        with node.entered():
            kernel = NetlinkKernel()
        example = Example(RealWorld(node, kernel), family, links=False)
        assert example.apply(Operation.ADD, example.shared) == []
        assert example.shown() == [RouteSeen(example.wire, PROTOCOL, example.shared)]
        number = node.ip("nexthop", "show", "protocol", str(PROTOCOL)).split()[1]
        drain(kernel)
        node.ip(
            *("nexthop", "replace", "id", number, "via", EXAMPLES[family][2], "dev", "eth0"),
            *("protocol", str(PROTOCOL)),
        )
        assert NextHopEvent() in drain(kernel)
        altered = spec(RouteType.UNICAST, example.other.next_hops, metric=1179, shared=True)
        assert example.shown() == [RouteSeen(example.wire, PROTOCOL, altered)]
        assert example.apply(Operation.REPLACE, example.shared) == []
        assert example.shown() == [RouteSeen(example.wire, PROTOCOL, example.shared)]
        assert example.apply(Operation.DELETE, example.shared) == []
        kernel.keep(())
        kernel.close()


async def test_a_refused_dump_is_over(node: Host) -> None:
    """It says why and waits for nothing more; the socket takes the next one."""
    with node.entered():
        asking, _ = open_socket()
    with asking:
        with pytest.raises(OSError, match="Invalid argument"):
            list(dump(asking, RTM_GETROUTE, ROUTE.pack(AF[Family.IPV4], 0, 0, 1, 0, 0, 0, 0, 0)))
        assert list(dump(asking, RTM_GETROUTE, ROUTE.pack(AF[Family.IPV4], 0, 0, 0, 0, 0, 0, 0, 0)))


async def test_a_kernel_without_objects(node: Host, monkeypatch) -> None:
    """Before Linux 5.3 it does not know the request: no route shares anything there."""
    monkeypatch.setattr(objects, "RTM_GETNEXTHOP", 250)
    with node.entered():
        kernel = NetlinkKernel()
    assert not kernel.shares
    kernel.keep(())
    assert [batch for batch in kernel.routes(Family.IPV4) if batch]
    kernel.close()


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

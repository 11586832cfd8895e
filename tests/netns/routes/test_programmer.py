"""The programmer on the real kernel: what it installs, and what it does about what others do."""

import asyncio
from ipaddress import ip_address

import pytest

from tests.netns.routes.conftest import SETTINGS, World, make
from towpath.lab.netns import Host, Network
from towpath.routes.kernel import RouteEvent
from towpath.routes.netlink import NetlinkKernel
from towpath.routes.programmer import Programmer, Settings

V4, V6 = "10.244.1.0/26", "fd00:244::/122"
GATEWAYS = ("10.0.0.254", "fd00::254")


async def installed(world: World, eventually) -> None:
    """Both families of the learned example are there."""
    world.blackhole()
    world.learn(V4, V6, via=GATEWAYS)
    world.believe()
    await eventually(lambda: world.has(V4) and world.has(V6))


async def test_learned_and_static(world: World, eventually) -> None:
    """Learned routes and blackholes of both families are installed with protocol 179 and metric 1179, and go again."""
    await installed(world, eventually)
    world.blackhole("10.244.2.0/26", "fd00:245::/122")
    await eventually(lambda: len(world.routes()) == 4)
    assert world.routes() == [
        "10.244.1.0/26 via 10.0.0.254 dev eth0 metric 1179",
        "blackhole 10.244.2.0/26 metric 1179",
        "blackhole fd00:245::/122 dev lo metric 1179 pref medium",
        "fd00:244::/122 via fd00::254 dev eth0 metric 1179 pref medium",
    ]
    world.blackhole()
    world.withdraw(V4, V6)
    await eventually(lambda: not world.routes())
    assert world.programmer.status().in_sync


async def test_objects_before_bgp(world: World, eventually) -> None:
    """What the objects give for a prefix wins over what was learned, and gives way to it when it goes."""
    await installed(world, eventually)
    world.blackhole(V4, V6)
    await eventually(lambda: world.has(f"blackhole {V4}") and world.has(f"blackhole {V6}"))
    assert len(world.routes()) == 2
    world.blackhole()
    await eventually(lambda: world.has(V4, "via") and world.has(V6, "via"))
    assert len(world.routes()) == 2


async def test_deleted_or_altered_by_hand(world: World, node: Host, eventually) -> None:
    """A route of ours that somebody deletes or alters is repaired."""
    await installed(world, eventually)
    before = world.routes()
    node.ip("route", "del", V4)
    node.ip("-6", "route", "del", V6)
    await eventually(lambda: world.routes() == before)
    node.ip("route", "replace", V4, "via", "10.0.0.253", "proto", "179", "metric", "1179")
    node.ip("-6", "route", "replace", V6, "via", "fd00::253", "proto", "179", "metric", "1179")
    await eventually(lambda: world.routes() == before)
    assert world.programmer.status().in_sync


@pytest.mark.parametrize(("version", "prefix", "gateway"), [("-4", V4, "10.0.0.253"), ("-6", V6, "fd00::253")])
async def test_foreign_same_metric(world: World, node: Host, eventually, version, prefix, gateway) -> None:
    """A foreign route with prefix and metric of ours is reported and left alone; ours comes when it is gone."""
    node.ip(version, "route", "add", prefix, "via", gateway, "metric", "1179", "proto", "static")
    world.blackhole()
    world.learn(prefix, via=GATEWAYS)
    await eventually(lambda: world.reasons() == [f"{prefix} ForeignRoute"])
    assert not world.routes()
    assert gateway in node.ip(version, "route", "show", prefix)
    node.ip(version, "route", "del", prefix, "metric", "1179")
    await eventually(lambda: world.has(prefix))
    assert world.reasons() == []


@pytest.mark.parametrize(("version", "prefix", "gateway"), [("-4", V4, "10.0.0.253"), ("-6", V6, "fd00::253")])
async def test_foreign_other_metric(world: World, node: Host, eventually, version, prefix, gateway) -> None:
    """A foreign route with our prefix at another metric stays beside ours."""
    node.ip(version, "route", "add", prefix, "via", gateway, "metric", "50", "proto", "static")
    await installed(world, eventually)
    assert world.reasons() == []
    world.withdraw(prefix)
    await eventually(lambda: not world.has(prefix))
    assert gateway in node.ip(version, "route", "show", prefix)


@pytest.mark.parametrize(("version", "prefix", "gateway"), [("-4", V4, "10.0.0.253"), ("-6", V6, "fd00::253")])
async def test_foreign_append(world: World, node: Host, eventually, version, prefix, gateway) -> None:
    """A next hop that somebody appends to a route of ours is reported, left alone, and the route ours again without it."""
    await installed(world, eventually)
    node.ip(version, "route", "append", prefix, "via", gateway, "dev", "eth0", "metric", "1179")
    await eventually(lambda: world.reasons() == [f"{prefix} MixedRoute"])
    mixed = node.ip(version, "route", "show", prefix)
    assert gateway in mixed
    world.withdraw(prefix)
    world.learn(prefix, via=("10.0.0.9", "fd00::9"))
    await asyncio.sleep(0.2)
    assert node.ip(version, "route", "show", prefix) == mixed
    node.ip(version, "route", "del", prefix, "via", gateway, "dev", "eth0", "metric", "1179")
    await eventually(lambda: world.has(prefix, "via 10.0.0.9" if version == "-4" else "via fd00::9"))
    assert world.reasons() == []


async def test_thousand_foreign_routes(world: World, node: Host, eventually) -> None:
    """A thousand foreign routes beside ours are the same afterwards, ours installed, replaced and deleted."""
    lines = [f"route add 172.16.{n // 4}.{n % 4 * 64}/26 via 10.0.0.253 metric {50 + n % 3}" for n in range(500)]
    lines += [f"route add fd99:{n:x}::/64 via fd00::254 metric {1179 if n % 2 else 1024}" for n in range(500)]
    node.run("ip", "-batch", "-", stdin="\n".join(lines))
    foreign = [node.ip(version, "route", "show") for version in ("-4", "-6")]
    await installed(world, eventually)
    world.learn(*(f"172.16.{n // 4}.{n % 4 * 64}/26" for n in range(500)), via="10.0.0.254")
    await eventually(lambda: len(world.routes()) == 502)
    world.learn(*(f"172.16.{n // 4}.{n % 4 * 64}/26" for n in range(500)), via="10.0.0.253")
    await eventually(lambda: sum("10.0.0.253" in line for line in world.routes()) == 500)
    await world.programmer.drop_all()
    assert not world.routes()
    assert [node.ip(version, "route", "show") for version in ("-4", "-6")] == foreign


async def test_link_down_and_up(world: World, node: Host, eventually) -> None:
    """The kernel drops the routes of a link that goes down; they come back with it."""
    await installed(world, eventually)
    before = world.routes()
    node.ip("link", "set", "eth0", "down")
    await eventually(lambda: not world.routes())
    node.ip("link", "set", "eth0", "up")
    node.ip("addr", "replace", "fd00::1/64", "dev", "eth0", "nodad")
    await eventually(lambda: world.routes() == before)


async def test_link_flap_between_two_looks(world: World, node: Host, eventually) -> None:
    """A link that was down and up again before anybody looked has its routes back."""
    await installed(world, eventually)
    before = world.routes()
    node.run("sh", "-c", "ip link set eth0 down; ip link set eth0 up; ip addr replace fd00::1/64 dev eth0 nodad")
    await eventually(lambda: world.routes() == before)


async def test_carrier(world: World, network: Network, node: Host, eventually) -> None:
    """A session whose link loses carrier is severed at once, its next hop has no metric, and both return."""
    severed: list[frozenset[str]] = []
    metrics: list[object] = []
    programmer = make(node, on_severed=severed.append, on_metrics=metrics.append)
    await programmer.start()
    peer = ip_address("10.0.0.254")
    assert programmer.carrier({"tor": peer, "elsewhere": ip_address("192.0.2.1")}) == frozenset()
    assert programmer.metrics(frozenset({peer})) == {peer: 0}
    router = network.hosts["router"]
    router.ip("link", "set", "node", "down")
    await eventually(lambda: severed == [frozenset({"tor"})] and metrics == [{peer: None}])
    router.ip("link", "set", "node", "up")
    await eventually(lambda: severed[1:] == [frozenset()] and metrics[1:] == [{peer: 0}])
    programmer.close()


async def test_address_removed_and_added(world: World, node: Host, eventually) -> None:
    """Routes through an address's subnet go with the address, unresolved, and return with it."""
    await installed(world, eventually)
    before = world.routes()
    node.ip("addr", "del", "10.0.0.1/24", "dev", "eth0")
    node.ip("addr", "del", "fd00::1/64", "dev", "eth0")
    await eventually(lambda: not world.routes())
    await eventually(
        lambda: world.reasons() == [f"{V4} UnresolvedNextHop", f"{V6} UnresolvedNextHop"],
    )
    node.address("10.0.0.1/24", "fd00::1/64", dev="eth0")
    await eventually(lambda: world.routes() == before)


async def test_multipath(world: World, node: Host, network: Network, eventually) -> None:
    """Two next hops make one route with both, and one of them on a dead link leaves the other."""
    other = network.host("other")
    network.link(node, "eth1", other, "node")
    node.address("10.0.1.1/24", "fd01::1/64", dev="eth1")
    world.blackhole()
    world.learn(V4, V6, via=("10.0.0.254", "10.0.1.254", "fd00::254", "fd01::254"))
    await eventually(lambda: world.has(V4, "10.0.0.254", "10.0.1.254") and world.has(V6, "fd00::254", "fd01::254"))
    other.ip("link", "set", "node", "down")
    await eventually(
        lambda: world.has(V4, "via 10.0.0.254 dev eth0 metric") and world.has(V6, "via fd00::254 dev eth0 metric")
    )
    other.ip("link", "set", "node", "up")
    await eventually(lambda: world.has(V4, "10.0.0.254", "10.0.1.254") and world.has(V6, "fd00::254", "fd01::254"))
    await world.programmer.drop_all()
    assert not world.routes()


async def test_off_link(world: World, node: Host, eventually) -> None:
    """A next hop behind a router resolves through the kernel's own routes, again whenever they change."""
    world.blackhole()
    world.learn(V4, V6, via=("192.0.2.7", "2001:db8::7"))
    await eventually(lambda: len(world.reasons()) == 2)
    node.ip("route", "add", "default", "via", "10.0.0.254")
    node.ip("-6", "route", "add", "default", "via", "fd00::254")
    await eventually(lambda: world.has(V4, "via 10.0.0.254") and world.has(V6, "via fd00::254"))
    node.ip("route", "add", "192.0.2.0/24", "via", "10.0.0.253")
    node.ip("-6", "route", "add", "2001:db8::/64", "via", "fd00::253")
    await eventually(lambda: world.has(V4, "via 10.0.0.253") and world.has(V6, "via fd00::253"))
    node.ip("route", "add", "192.0.2.7", "nexthop", "via", "10.0.0.253", "nexthop", "via", "10.0.0.254")
    await eventually(lambda: world.has(V4, "10.0.0.253", "10.0.0.254"))
    for route in ("192.0.2.7", "192.0.2.0/24", "default"):
        node.ip("route", "del", route)
    await eventually(lambda: not world.has(V4))
    assert world.reasons() == [f"{V4} UnresolvedNextHop"]


async def test_restart_without_events(world: World, node: Host, eventually) -> None:
    """A new programmer finds the routes of the last one and changes none: nobody sees a single event."""
    await installed(world, eventually)
    world.blackhole("10.244.2.0/26")
    await eventually(lambda: len(world.routes()) == 3)
    before = world.routes()
    world.programmer.close()
    with node.entered():
        observer = NetlinkKernel()
    world.programmer = make(node)
    observer.events()
    assert await world.programmer.start()
    await asyncio.sleep(0.1)
    assert world.routes() == before
    world.blackhole("10.244.2.0/26")
    world.programmer.begin()
    world.learn(V4, V6, via=GATEWAYS)
    await asyncio.sleep(0.1)
    world.believe()
    await asyncio.sleep(0.1)
    assert world.routes() == before
    assert world.programmer.status().in_sync
    assert [event for event in observer.events() if isinstance(event, RouteEvent)] == []
    observer.close()


async def test_deletion_waits_for_sync(world: World, eventually) -> None:
    """What a restarted speaker lacks goes only when it has told everything and heard its peers out."""
    await installed(world, eventually)
    before = world.routes()
    world.programmer.begin()
    world.learn(V4, via=GATEWAYS)
    world.programmer.whole()
    await asyncio.sleep(0.1)
    assert world.routes() == before
    world.programmer.synced(True)
    await eventually(lambda: not world.has(V6))
    assert world.has(V4)


async def test_lost_events(node: Host, eventually) -> None:
    """When the kernel has more to tell than fits, everything is read again, and repaired."""
    with node.entered():
        kernel = NetlinkKernel(event_buffer=4096)
    world = World(node)
    world.programmer = Programmer(lambda: kernel)
    await world.programmer.start()
    prefixes = [f"10.244.{n // 4}.{n % 4 * 64}/26" for n in range(400)]
    world.blackhole()
    world.learn(*prefixes, via="10.0.0.254")
    await eventually(lambda: len(world.routes()) == 400)
    node.run("ip", "-batch", "-", stdin="\n".join(f"route del {prefix}" for prefix in prefixes))
    await eventually(lambda: len(world.routes()) == 400)
    world.programmer.close()


async def test_metric_change(world: World, eventually) -> None:
    """Another kernelMetric moves every route: the new one comes before the old one goes."""
    await installed(world, eventually)
    world.blackhole(settings=Settings(metric=2000))
    await eventually(lambda: all("metric 2000" in line for line in world.routes()) and len(world.routes()) == 2)


async def test_ignored_interface(world: World, eventually) -> None:
    """A device that is to be ignored leads to no next hop."""
    await installed(world, eventually)
    world.blackhole(settings=Settings(ignored_interfaces=("eth*",)))
    await eventually(lambda: len(world.reasons()) == 2 and not world.routes())
    world.blackhole(settings=SETTINGS)
    await eventually(lambda: len(world.routes()) == 2)

"""A node between routers, with BIRD on every side: what it passes on of a route, to whom, and which of two it uses."""

from ipaddress import ip_address, ip_network

import pytest

from tests.netns.engine.rig import AS_OURS, AS_PEER, Bird, bird_neighbour, make_session
from tests.netns.engine.test_policy import attributes, filtered, spec
from tests.netns.engine.test_speaker import agent_at, desired, path, speaker  # noqa: F401  # two are fixtures
from tests.patience import eventually as until
from towpath.lab.netns import Host, Network
from towpath.model.net import Family
from towpath.model.speaker import Session, SpeakerState

AS_BEYOND = 65002
SUBNETS = {Family.IPV4: "10.9.0.{}", Family.IPV6: "fd09::{}"}
SHARED = {Family.IPV4: ip_network("10.9.0.0/24"), Family.IPV6: ip_network("fd09::/64")}
PLAIN, NO_EXPORT, NO_EXPORT_SUBCONFED, NO_ADVERTISE = range(4)
FROM_TOR = {Family.IPV4: "203.0.113.{}/32", Family.IPV6: "2001:db8::{}/128"}
FROM_INNER = {Family.IPV4: "192.0.2.{}/32", Family.IPV6: "2001:db8:1::{}/128"}
BOUND = """
filter bound {
  bgp_med = 50;
  if net ~ [ 203.0.113.1/32, 192.0.2.1/32 ] then bgp_community.add((65535, 65281));
  if net = 203.0.113.2/32 then bgp_community.add((65535, 65283));
  if net = 203.0.113.3/32 then bgp_community.add((65535, 65282));
  accept;
}
filter bound6 {
  bgp_med = 50;
  if net ~ [ 2001:db8::1/128, 2001:db8:1::1/128 ] then bgp_community.add((65535, 65281));
  if net = 2001:db8::2/128 then bgp_community.add((65535, 65283));
  if net = 2001:db8::3/128 then bgp_community.add((65535, 65282));
  accept;
}
"""
EVERYTHING = spec(exportV4=[{"action": "Accept"}], exportV6=[{"action": "Accept"}])


@pytest.fixture
def beyond(network: Network, segment: list[Host]) -> Host:
    """A third router on the segment: .4."""
    host = network.host("beyond")
    network.plug(network.known("sw"), host)
    host.address("10.9.0.4/24", "fd09::4/64", dev="eth0")
    return host


def bird(host: Host, folder, number: int, *, local_as: int, tells: dict[Family, str] | None = None, more="") -> Bird:
    """BIRD with a session a family with the node; it tells four addresses, each with a community of its own."""
    neighbours, statics = {}, []
    for family, subnet in SUBNETS.items():
        export = "filter bound" + ("6" if family is Family.IPV6 else "")
        local = subnet.format(number)
        neighbours[f"v{family.value}"] = bird_neighbour(
            subnet.format(1), local=local, local_as=local_as, graceful=False, export=export, more=more
        )
        routes = " ".join(f"route {tells[family].format(which)} blackhole;" for which in range(4)) if tells else ""
        statics.append(f"protocol static t{family.value} {{ {family.key}; {routes} }}\n")
    return Bird(host, folder, router_id=f"10.9.0.{number}", neighbours=neighbours, more=BOUND + "".join(statics))


def sessions(name: str, number: int, **changes: object) -> list[Session]:
    """The node's sessions with a router, one a family."""
    return [
        make_session(
            f"{name}{family.value}",
            subnet.format(number),
            families=(family,),
            local_address=ip_address(subnet.format(1)),
            shared_subnet=SHARED[family],
            **changes,
        )
        for family, subnet in SUBNETS.items()
    ]


def found(router: Bird, tells: dict[Family, str], which: int, name: str) -> list[str]:
    """An attribute, in both families, of one of the addresses; empty where the router has no such route, or it lacks it."""
    return [attributes(router, prefix.format(which)).get(name, "").split(" ")[0] for prefix in tells.values()]


async def test_what_binds_a_route_holds_on_its_way(segment, beyond, speaker, path, tmp_path):  # noqa: F811
    """From a router to a node within and a router beyond: NO_EXPORT (and SUBCONFED) stays within, NO_ADVERTISE here.
    MED goes within and no farther; next hops of the shared subnet stay, or are the node's with Self."""
    everybody = {"filters": ("f",), "advertise": "All"}

    def wanted(**changes: object) -> SpeakerState:
        made = [
            *sessions("tor", 2, remote_as=AS_PEER),
            *sessions("inner", 3, remote_as=AS_OURS, **(everybody | changes)),
            *sessions("beyond", 4, remote_as=AS_BEYOND, **(everybody | changes)),
        ]
        return filtered(desired(*made), EVERYTHING)

    bird(segment[1], tmp_path, 2, local_as=AS_PEER, tells=FROM_TOR)
    inner = bird(segment[2], tmp_path, 3, local_as=AS_OURS, tells=FROM_INNER)
    outer = bird(beyond, tmp_path, 4, local_as=AS_BEYOND)
    learned = {
        ip_network(cidr.format(which))
        for tells in (FROM_TOR, FROM_INNER)
        for cidr in tells.values()
        for which in range(4)
    }
    tor = [subnet.format(2) for subnet in SUBNETS.values()]
    ours = [subnet.format(1) for subnet in SUBNETS.values()]
    async with agent_at(path, wanted()) as agent:
        await until(lambda: set(agent.routes) == learned, what="the node has everything")
        await until(
            lambda: all(
                all(found(inner, FROM_TOR, which, "next_hop")) for which in (PLAIN, NO_EXPORT, NO_EXPORT_SUBCONFED)
            ),
            what="within",
        )
        await until(
            lambda: all(all(found(outer, tells, PLAIN, "next_hop")) for tells in (FROM_TOR, FROM_INNER)), what="beyond"
        )
        assert found(inner, FROM_TOR, NO_EXPORT, "community") == ["(65535,65281)"] * 2
        assert found(inner, FROM_TOR, NO_ADVERTISE, "next_hop") == ["", ""]
        for which in (NO_EXPORT, NO_EXPORT_SUBCONFED, NO_ADVERTISE):
            assert found(outer, FROM_TOR, which, "next_hop") == ["", ""]
        assert found(outer, FROM_INNER, NO_EXPORT, "next_hop") == ["", ""]
        assert found(inner, FROM_TOR, PLAIN, "med") == ["50", "50"]
        assert found(outer, FROM_TOR, PLAIN, "med") == found(outer, FROM_INNER, PLAIN, "med") == ["", ""]
        assert found(inner, FROM_TOR, PLAIN, "next_hop") == found(outer, FROM_TOR, PLAIN, "next_hop") == tor
        agent.client.desire(wanted(next_hop="Self"))
        await until(
            lambda: found(inner, FROM_TOR, PLAIN, "next_hop") == found(outer, FROM_TOR, PLAIN, "next_hop") == ours,
            what="the node itself",
        )


async def test_med_decides_between_routers_of_one_as_alone(segment, speaker, path, tmp_path):  # noqa: F811
    """The lower one is used, and the other when it goes; of two AS each is as good, and both are used."""
    first = bird(segment[1], tmp_path, 2, local_as=AS_PEER, tells=FROM_TOR)
    second = bird(segment[2], tmp_path, 3, local_as=AS_PEER, tells=FROM_TOR)

    def wanted(as_of_second: int) -> SpeakerState:
        return desired(*sessions("a", 2), *sessions("b", 3, remote_as=as_of_second), maximum_paths=2)

    def used(*numbers: int):
        hops = {family: {ip_address(subnet.format(number)) for number in numbers} for family, subnet in SUBNETS.items()}
        return lambda: all(
            set(agent.routes.get(ip_network(cidr.format(PLAIN)), ())) == hops[family]
            for family, cidr in FROM_TOR.items()
        )

    def changed(router: Bird, old: str, new: str) -> None:
        router.config.write_text(router.config.read_text().replace(old, new))
        assert "Reconfigur" in router.ask("configure")

    async with agent_at(path, wanted(AS_PEER)) as agent:
        await until(used(2, 3), what="both, with equal MED")
        changed(second, "bgp_med = 50;", "bgp_med = 40;")
        await until(used(3), what="the lower MED")
        changed(first, "bgp_med = 50;", "bgp_med = 30;")
        await until(used(2), what="the other is lower now")
        changed(second, f"as {AS_PEER};", f"as {AS_BEYOND};")
        agent.client.desire(wanted(AS_BEYOND))
        await until(used(2, 3), what="both, since they are of different AS")

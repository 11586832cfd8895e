"""Links without addresses: sessions, routes and packets of both families over link-local addresses, with FRR and BIRD."""

import json
import socket

from tests.netns.unnumbered.rack import BLOCKS, INTERFACES, LAN, MTU, NODES, TORS, Rack, ways
from towpath.bgp.ports import LossKind
from towpath.lab.events import RouteEvents
from towpath.lab.netns import Host
from towpath.lab.probe import Probe, unreached
from towpath.lab.process import wait_for
from towpath.routes.discovery import packets
from towpath.routes.route import PROTOCOL


def link_local(host: Host, device: str) -> str:
    """The link-local address of a device."""
    (found,) = host.ip_json("-6", "addr", "show", "dev", device, "scope", "link")
    return str(next(one["local"] for one in found["addr_info"] if one.get("local")))


def known(rack: Rack, node: str) -> dict[str, str]:
    """The routers that a node keeps in mind."""
    found: dict[str, str] = json.loads((rack.root / node / "run" / "routers.json").read_text())
    return found


def lost(rack: Rack) -> int:
    """How many sessions have ended so far."""
    return sum(speaker.log.count("session.lost") for speaker in rack.speakers.values())


def test_packets_of_both_families_over_links_without_addresses(rack: Rack) -> None:
    """Pods and client reach each other by IPv4 and IPv6, over both routers, though no link to a node has an address."""
    rack.reachable()
    for node, host in rack.nodes.items():
        for interface, tor in INTERFACES.items():
            (shown,) = host.ip_json("addr", "show", "dev", interface)
            assert {one["scope"] for one in shown["addr_info"]} == {"link"}
            assert known(rack, node)[interface] == f"{link_local(rack.tors[tor], node)}%{interface}"
        (device,) = rack.network.hosts[f"{node}-pod"].ip_json("link", "show", "dev", "eth0")
        assert device["mtu"] == MTU
        (route,) = host.ip_json("route", "show", LAN[0])
        assert {(hop["via"]["family"], hop["dev"]) for hop in route["nexthops"]} == {
            ("inet6", "eth0"),
            ("inet6", "eth1"),
        }
        shows = set(known(rack, node).values())
        wait_for(
            lambda node=node, shows=shows: {one["peer"] for one in rack.status(node).get("sessions", ())} == shows,
            deadline=40,  # what is up is reported within half a minute
            what=f"{node} reports sessions with {shows}",
        )
    unknown = {node: set(ways(host, protocol="179")) for node, host in rack.nodes.items()}
    everything = {cidr for blocks in BLOCKS.values() for cidr in blocks} | set(LAN)
    assert unknown == dict.fromkeys(NODES, everything)


def test_a_restart_loses_nothing(rack: Rack) -> None:
    """Agent and speaker of a node are killed and come back under 500 packets a second on each path: not one is lost."""
    before = lost(rack)
    with (
        RouteEvents(rack.nodes["n1"]) as here,
        RouteEvents(rack.tors["tor1"]) as frr,
        RouteEvents(rack.tors["tor2"]) as bird,
    ):
        with Probe(rack.network, rack.flows(), directory=rack.root) as probe:
            for _ in range(4):
                restart(rack, "n1")
        assert probe.result.sent > 3000, probe.result
        assert probe.result.lost == 0, probe.result
        # one of its two routers is back before the other, and both ways stay
        assert (*here.read(), *frr.read(), *bird.read()) == ()
    assert lost(rack) == before


def restart(rack: Rack, node: str) -> None:
    """Kill agent and speaker, and start them; all is as before when it returns."""
    up = rack.speakers[node].log.count("session.established")
    rack.agents[node].kill()
    rack.speakers[node].kill()
    rack.speakers[node].start()
    rack.agents[node].start()
    wait_for(
        lambda: rack.speakers[node].log.count("session.established") == up + len(TORS),
        deadline=30,
        what="both sessions are up again",
    )
    rack.converged()


def test_an_agent_that_restarts_keeps_its_routers(rack: Rack) -> None:
    """Whom it found is kept in the run dir: the sessions do not notice."""
    agent = rack.agents["n2"]
    before, found = lost(rack), agent.log.count("router.found")
    agent.kill()
    agent.start()
    wait_for(lambda: agent.log.count("node.first_step") == 2, deadline=20, what="the next process")
    rack.converged()
    assert lost(rack) == before
    assert agent.log.count("router.found") == found >= len(TORS)


def _shout(host: Host, device: str, *, source: str, hop_limit: int, count: int) -> None:
    """Router advertisements from an address of a device."""
    with host.entered():
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        index = socket.if_nametoindex(device)
    with raw:
        raw.bind((source, 0, 0, index))
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hop_limit)
        for _ in range(count):
            raw.sendto(packets.router_advertisement(), (packets.ALL_NODES, 0, 0, index))


def test_advertisements_of_others_change_nothing(rack: Rack) -> None:
    """From afar, from a pod, from a second router on the link, thousands of them: no session and no route notices."""
    rack.reachable()
    before, routers = lost(rack), {node: known(rack, node) for node in NODES}
    tor, pod = rack.tors["tor1"], rack.network.hosts["n1-pod"]
    tor.ip("addr", "add", "fe80::bad/64", "dev", "n1", "nodad")
    try:
        with RouteEvents(rack.nodes["n1"]) as here:
            _shout(tor, "n1", source="fe80::bad", hop_limit=64, count=10)
            _shout(pod, "eth0", source=link_local(pod, "eth0"), hop_limit=255, count=10)
            _shout(tor, "n1", source="fe80::bad", hop_limit=255, count=2000)
            _shout(rack.nodes["n1"], "eth0", source=link_local(rack.nodes["n1"], "eth0"), hop_limit=255, count=10)
            rack.reachable()
            moved = [event for event in here.read() if event.protocol == PROTOCOL]
    finally:
        tor.ip("addr", "del", "fe80::bad/64", "dev", "n1")
    assert moved == []
    assert {node: known(rack, node) for node in NODES} == routers
    assert lost(rack) == before
    assert rack.agents["n1"].running


def test_a_router_that_goes_and_comes_back_as_another(rack: Rack) -> None:
    """Without carrier its sessions end at once and all goes by the other router; a new one at the link's end is followed."""
    tor, before = rack.tors["tor1"], {node: known(rack, node)["eth0"] for node in NODES}
    for node in NODES:
        tor.ip("link", "set", "dev", node, "down")
    wait_for(lambda: not rack.lacking(tors=("tor2",)), deadline=20, what="all goes by tor2", interval=0.02)
    for node in NODES:
        speaker = rack.speakers[node]
        wait_for(lambda speaker=speaker: LossKind.CARRIER.value in speaker.log, deadline=20, what=f"{node} says why")
    wait_for(lambda: not unreached(rack.network, rack.flows()), deadline=10, what="everybody is reachable by tor2")
    for number, node in enumerate(NODES, start=1):
        tor.ip("link", "set", "dev", node, "address", f"02:00:00:00:aa:{number:02x}")
        tor.ip("link", "set", "dev", node, "up")
    rack.converged()
    after = {node: known(rack, node)["eth0"] for node in NODES}
    assert all(after[node] != before[node] for node in NODES)
    assert after == {node: f"{link_local(tor, node)}%eth0" for node in NODES}
    rack.reachable()

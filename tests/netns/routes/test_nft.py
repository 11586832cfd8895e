"""Our nftables table in a real kernel: made, changed, repaired and taken away, with others' tables left alone."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.model.net import Prefix
from towpath.routes import nft, nftwatch
from towpath.routes.ruleset import Rules

RANGES: tuple[Prefix, ...] = (ip_network("10.96.0.0/16"), ip_network("192.0.2.1/32"), ip_network("fd00:96::/112"))
PORT_OF_A_NODE = """
table ip n {
  chain p { type nat hook prerouting priority -100; udp dport 30789 dnat to 10.0.9.2:4789; }
  chain q { type nat hook postrouting priority 100; oifname "eth1" masquerade; }
}
"""
"""As kube-proxy leads the port of a Service to an endpoint on another node."""
OTHER = "table inet strict {\n chain f {\n type filter hook forward priority 0; policy accept;\n }\n}\n"


@pytest.fixture
def host() -> Iterator[Host]:
    """An empty namespace, with somebody else's table in it."""
    with Network(own("tpf")) as network:
        made = network.host("a")
        made.run("nft", "-f", "-", stdin=OTHER)
        yield made


@pytest.fixture
def pod(host: Host) -> Host:
    """A pod of the node in the other namespace, whose packets all go there, and are forwarded; the node listens everywhere."""
    made = host.network.host("b", forwarding=False)
    host.network.link(host, "eth0", made, "eth0")
    host.address("10.244.0.1/24", "fd20::1/64", "10.0.0.1/32", "fd00::1/128", "192.0.2.179/32", dev="eth0")
    made.address("10.244.0.5/24", "fd20::5/64", dev="eth0")
    for version, gateway in (("-4", "10.244.0.1"), ("-6", "fd20::1")):
        made.ip(version, "route", "add", "default", "via", gateway)
    return made


@contextlib.contextmanager
def listening(host: Host, *ports: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for port in ports:
            for family in (socket.AF_INET, socket.AF_INET6):
                with host.entered():
                    server = stack.enter_context(socket.socket(family))
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind(("", port))
                server.listen()
        yield


def reaches(pod: Host, address: str, port: int, *, within: float = 0.5) -> bool:
    """Whether a connection is made; without an answer so many seconds are waited for one."""
    with pod.entered():
        dialling = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with dialling:
        dialling.settimeout(within)
        try:
            # with the number of a device where the address has one
            dialling.connect(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4])
        except (TimeoutError, PermissionError):  # the second: it was dropped where it was sent
            return False
    return True


def test_pods_reach_no_speaker_but_as_peers(host: Host, pod: Host) -> None:
    """By no address of the node, and by no other name that a packet had first; a peer reaches the one address that it peers with."""
    host.run(
        "nft",
        "-f",
        "-",
        stdin="table ip n {\n chain p {\n type nat hook prerouting priority -100;\n tcp dport 80 dnat to 10.0.0.1:179\n }\n}\n",
    )
    rules = Rules(
        pools=(ip_network("10.244.0.0/16"), ip_network("fd20::/64")),
        speakers=((ip_address("10.0.0.1"), 179), (ip_address("fd00::1"), 179)),
        peers=((ip_address("10.244.0.5"), ip_address("192.0.2.179")),),
    )
    table = nft.Table()
    with listening(host, 179, 8080):
        assert reaches(pod, "10.96.0.10", 80, within=10), "before there is a table"
        with host.entered():
            asyncio.run(table.desire(rules))
        for address in ("10.0.0.1", "fd00::1", "10.244.0.1", "fd20::1"):
            assert not reaches(pod, address, 179), address
            assert reaches(pod, address, 8080, within=10), address
        assert not reaches(pod, "10.96.0.10", 80)
        assert reaches(pod, "192.0.2.179", 179, within=10)
        assert not reaches(pod, "192.0.2.179", 80), "a name that leads elsewhere"
        # nodes whose own address lies in a pool are not pods
        mistaken = Rules(pools=rules.pools, speakers=(*rules.speakers, (ip_address("10.244.0.5"), 179)))
        with host.entered():
            asyncio.run(table.desire(mistaken))
        assert reaches(pod, "10.0.0.1", 179, within=10)


@pytest.mark.parametrize("device", ["veth0", "tp-br0"])
def test_the_addresses_of_a_pods_cable_lead_to_no_speaker(host: Host, pod: Host, device: str) -> None:
    """Link-local ones are of no pool; a router on a link of another name is reached by them, and reaches the node."""
    (shown,) = host.ip_json("-6", "addr", "show", "dev", "eth0")
    (local,) = (one["local"] for one in shown["addr_info"] if one["scope"] == "link")
    address = f"{local}%{pod.ip_json('link', 'show', 'dev', 'eth0')[0]['ifindex']}"
    rules = Rules(pools=(ip_network("10.244.0.0/16"), ip_network("fd20::/64")))
    with listening(host, 179, 8080):
        with host.entered():
            asyncio.run(nft.Table().desire(rules))
        assert reaches(pod, address, 179, within=10), "of another name"
        renamed(host, device)
        assert reaches(pod, address, 8080, within=10)
        assert not reaches(pod, address, 179)


def renamed(host: Host, device: str) -> None:
    """The cable to the pod has this name now."""
    host.ip("link", "set", "dev", "eth0", "down")
    host.ip("link", "set", "dev", "eth0", "name", device)
    host.ip("link", "set", "dev", device, "up")


def test_speakers_elsewhere_are_out_of_reach(host: Host, pod: Host) -> None:
    """What pods send on to another node's port is dropped where it is forwarded; other packets to it are not."""
    other = host.network.host("c", forwarding=False)
    host.network.link(host, "eth1", other, "eth0")
    host.address("10.0.9.1/24", dev="eth1")
    other.address("10.0.9.2/24", dev="eth0")
    other.ip("route", "add", "default", "via", "10.0.9.1")
    rules = Rules(pools=(ip_network("10.244.0.0/16"),), speakers=((ip_address("10.0.9.2"), 1790),))
    with listening(other, 179, 1790):
        assert reaches(pod, "10.0.9.2", 1790, within=10)
        with host.entered():
            asyncio.run(nft.Table().desire(rules))
        assert not reaches(pod, "10.0.9.2", 1790)
        assert reaches(pod, "10.0.9.2", 179, within=10)
        assert reaches(host, "10.0.9.2", 1790, within=10)


def vxlan_arrives(sender: Host, at: Host, address: str, *, vni: int, port: int = 4789, by: int = 0) -> bool:
    """Whether a VXLAN packet (RFC 7348) comes through to whoever listens there; one of another program follows it, which does.

    What no receiver reads is not zero in them.
    ``by``: the port that it is sent to, where that is another one.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with at.entered():
        taking = socket.socket(family, socket.SOCK_DGRAM)
    with sender.entered():
        sending = socket.socket(family, socket.SOCK_DGRAM)
    with taking, sending:
        taking.bind(("", port))
        taking.settimeout(20)
        for number, inside in ((vni, b"first"), (9, b"last")):
            with contextlib.suppress(PermissionError):  # dropped where it was sent
                sending.sendto(b"\x08\0\0\0" + number.to_bytes(3) + b"\xff" + inside, (address, by or port))
        found = [taking.recv(100)[8:]]
        while found[-1] != b"last":
            found.append(taking.recv(100)[8:])
    return b"first" in found


def arrives(sender: Host, at: Host, address: str, said: bytes) -> bool:
    """Whether a datagram to VXLAN's port comes through, and nothing else does before it."""
    with at.entered():
        taking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender.entered():
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with taking, sending:
        taking.bind(("", 4789))
        taking.settimeout(20)
        sending.sendto(said, (address, 4789))
        return taking.recv(100) == said


def test_nodes_alone_send_into_tunnels(host: Host, pod: Host) -> None:
    """Packets with a number of ours come from addresses of nodes; other numbers, and other ports, are not ours to judge."""
    rules = Rules(
        speakers=((ip_address("10.244.0.5"), 179), (ip_address("10.0.0.1"), 179)), tunnels=((7, 8472), (4096, 4789))
    )
    table = nft.Table()
    assert vxlan_arrives(pod, host, "fd00::1", vni=4096), "before there is a table"
    with host.entered():
        asyncio.run(table.desire(rules))
    assert vxlan_arrives(pod, host, "10.0.0.1", vni=4096), "of a node"
    assert not vxlan_arrives(pod, host, "fd00::1", vni=4096), "a stranger"
    assert not vxlan_arrives(pod, host, "fd00::1", vni=7, port=8472)
    assert vxlan_arrives(pod, host, "fd00::1", vni=7)
    assert vxlan_arrives(pod, host, "fd00::1", vni=4096, port=8472)


@pytest.mark.parametrize("device", ["veth0", "tp-br0"])
def test_pods_send_into_no_tunnel(host: Host, pod: Host, device: str) -> None:
    """Whatever address they send from: not to their own node, and not to another that it forwards to."""
    other = host.network.host("c", forwarding=False)
    host.network.link(host, "eth1", other, "eth0")
    host.address("10.0.9.1/24", dev="eth1")
    other.address("10.0.9.2/24", dev="eth0")
    other.ip("route", "add", "default", "via", "10.0.9.1")
    renamed(host, device)
    ends = [ip_address(one) for one in ("10.244.0.5", "10.0.0.1", "10.0.9.2")]
    rules = Rules(speakers=tuple((one, 179) for one in ends), tunnels=((4096, 4789),))
    assert vxlan_arrives(pod, other, "10.0.9.2", vni=4096)
    with host.entered():
        asyncio.run(nft.Table().desire(rules))
    assert not vxlan_arrives(pod, host, "10.0.0.1", vni=4096)
    assert not vxlan_arrives(pod, other, "10.0.9.2", vni=4096)
    assert arrives(pod, other, "10.0.9.2", b"short"), "no VXLAN"
    assert vxlan_arrives(host, other, "10.0.9.2", vni=4096)


def test_what_a_service_leads_to_a_node_is_a_strangers(host: Host, pod: Host) -> None:
    """From a pod of another node, which comes in by no pod's device: without this it would leave with this node's address."""
    other = host.network.host("c", forwarding=False)
    host.network.link(host, "eth1", other, "eth0")
    host.address("10.0.9.1/24", dev="eth1")
    other.address("10.0.9.2/24", dev="eth0")
    host.run("nft", "-f", "-", stdin=PORT_OF_A_NODE)
    ends = [ip_address(one) for one in ("10.0.0.1", "10.0.9.1", "10.0.9.2")]
    rules = Rules(speakers=tuple((one, 179) for one in ends), tunnels=((4096, 4789),))
    assert vxlan_arrives(pod, other, "10.0.0.1", vni=4096, by=30789)
    with host.entered():
        asyncio.run(nft.Table().desire(rules))
    assert not vxlan_arrives(pod, other, "10.0.0.1", vni=4096, by=30789)
    pod.ip("route", "add", "10.0.9.2", "via", "10.244.0.1", "src", "10.244.0.5")
    known = Rules(speakers=(*rules.speakers, (ip_address("10.244.0.5"), 179)), tunnels=rules.tunnels)
    with host.entered():
        asyncio.run(nft.Table().desire(known))
    assert vxlan_arrives(pod, other, "10.0.9.2", vni=4096), "a node behind this one"


SERVICE_FROM_HERE = """
table ip n {
  chain o {
    type nat hook output priority -100
    ip daddr 10.96.0.10 tcp dport 80 dnat to 10.0.9.2:179
    ip daddr 10.96.0.10 udp dport 80 dnat to 10.0.9.2:4789
  }
}
"""


def test_what_leaves_as_if_the_node_had_sent_it_is_of_pods(host: Host) -> None:
    """Pods by ipvlan l3 send so: to no speaker and into no tunnel of another node, by a service that leads there either; the node does."""
    other = host.network.host("c", forwarding=False)
    host.network.link(host, "eth1", other, "eth0")
    host.address("10.0.9.1/24", "10.244.0.7/32", dev="eth1")
    other.address("10.0.9.2/24", dev="eth0")
    other.ip("route", "add", "default", "via", "10.0.9.1")
    host.run("nft", "-f", "-", stdin=SERVICE_FROM_HERE)
    rules = Rules(
        pools=(ip_network("10.244.0.0/16"),),
        beside=(ip_network("10.244.0.0/16"),),
        speakers=((ip_address("10.0.9.1"), 179), (ip_address("10.0.9.2"), 179)),
        tunnels=((4096, 4789),),
        own=(ip_address("10.0.9.1"),),
    )

    def send_as(source: str) -> None:
        for to in ("10.0.9.2", "10.96.0.10"):
            host.ip("route", "replace", to, "dev", "eth1", "src", source)

    def through() -> tuple[bool, ...]:
        return (
            *(reaches(host, *to, within=2) for to in (("10.0.9.2", 179), ("10.96.0.10", 80))),
            *(vxlan_arrives(host, other, to, vni=4096, by=by) for to, by in (("10.0.9.2", 4789), ("10.96.0.10", 80))),
        )

    with listening(other, 179):
        send_as("10.244.0.7")
        assert through() == (True, True, True, True), "before there is a table"
        with host.entered():
            asyncio.run(nft.Table().desire(rules))
        assert through() == (False, False, False, False)
        send_as("10.0.9.1")
        assert through() == (True, True, True, True), "the node itself"


PORTS_OF_A_NODE = """
table ip n {
  chain p {
    type nat hook prerouting priority -100
    tcp dport 30179 dnat to 10.0.0.1:179
    tcp dport 30180 dnat to 10.0.9.2:179
    udp dport 30789 dnat to 10.0.0.1:4789
  }
}
"""


def test_what_a_service_leads_here_from_a_node_is_no_nodes(host: Host, pod: Host) -> None:
    """A pod there may have left with its node's address: it reaches no speaker and no tunnel, on this node or by it; the node itself does."""
    other = host.network.host("c", forwarding=False)
    host.network.link(host, "eth1", other, "eth0")
    host.address("10.0.9.1/24", dev="eth1")
    other.address("10.0.9.2/24", dev="eth0")
    other.ip("route", "add", "default", "via", "10.0.9.1")
    host.run("nft", "-f", "-", stdin=PORTS_OF_A_NODE)
    nodes = [ip_address(one) for one in ("10.244.0.5", "10.0.0.1", "10.0.9.2")]
    rules = Rules(
        pools=(ip_network("10.245.0.0/16"),), speakers=tuple((one, 179) for one in nodes), tunnels=((4096, 4789),)
    )
    with listening(host, 179), listening(other, 179):
        assert all(reaches(pod, "192.0.2.179", port, within=10) for port in (30179, 30180))
        assert vxlan_arrives(pod, host, "192.0.2.179", vni=4096, by=30789)
        with host.entered():
            asyncio.run(nft.Table().desire(rules))
        assert not any(reaches(pod, "192.0.2.179", port) for port in (30179, 30180))
        assert not vxlan_arrives(pod, host, "192.0.2.179", vni=4096, by=30789)
        assert all(reaches(pod, address, 179, within=10) for address in ("10.0.0.1", "10.0.9.2"))
        assert vxlan_arrives(pod, host, "10.0.0.1", vni=4096)


def test_link_local_addresses_on_a_network_of_pods(host: Host, pod: Host) -> None:
    """Those of peers reach the speaker there, and nobody else's."""
    (shown,) = host.ip_json("-6", "addr", "show", "dev", "eth0")
    (local,) = (one["local"] for one in shown["addr_info"] if one["scope"] == "link")
    (mine,) = (
        one["local"]
        for one in pod.ip_json("-6", "addr", "show", "dev", "eth0")[0]["addr_info"]
        if one["scope"] == "link"
    )
    address = f"{local}%{pod.ip_json('link', 'show', 'dev', 'eth0')[0]['ifindex']}"
    rules = Rules(pools=(ip_network("10.244.0.0/16"),), masters=("eth0",))
    table = nft.Table()
    with listening(host, 179, 8080):
        for near, reached in (((), False), ((ip_address(mine), ip_address("fe80::9")), True)):
            with host.entered():
                asyncio.run(table.desire(replace(rules, near=near)))
            assert reaches(pod, address, 8080, within=10)
            assert reaches(pod, address, 179, within=10 if reached else 0.5) is reached


def tables(host: Host) -> list[str]:
    listed = json.loads(host.run("nft", "-j", "list", "tables"))["nftables"]
    return sorted(one["table"]["name"] for one in listed if "table" in one)


def dropped(host: Host) -> set[str]:
    """The elements of our sets."""
    found: set[str] = set()
    for one in json.loads(host.run("nft", "-j", "list", "table", "inet", "towpath"))["nftables"]:
        for element in one.get("set", {}).get("elem", ()):
            prefix: Any = element["prefix"] if isinstance(element, dict) else {"addr": element, "len": None}
            found.add(prefix["addr"] if prefix["len"] is None else f"{prefix['addr']}/{prefix['len']}")
    return found


def desire(host: Host, table: nft.Table, *ranges: Prefix) -> None:
    async def ask() -> None:
        await table.desire(Rules(services=ranges))

    with host.entered():
        asyncio.run(ask())


def test_the_table_is_what_is_desired(host: Host) -> None:
    """Made with the ranges of both families, changed as a whole, gone without any; a fresh process takes it over."""
    table = nft.Table()
    desire(host, table)
    assert tables(host) == ["strict"]
    desire(host, table, *RANGES)
    assert tables(host) == ["strict", "towpath"]
    assert dropped(host) == {"10.96.0.0/16", "192.0.2.1", "fd00:96::/112"}
    desire(host, nft.Table(), RANGES[0])
    assert dropped(host) == {"10.96.0.0/16"}
    desire(host, nft.Table())
    assert tables(host) == ["strict"]


@pytest.mark.parametrize(
    "deed",
    [
        "delete table inet towpath",
        "flush chain inet towpath forward",
        "delete element inet towpath services4 { 10.96.0.0/16 }",
        "insert rule inet towpath forward accept",
    ],
)
def test_what_others_do_to_it_is_repaired(host: Host, deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next look; packets that were counted meanwhile are no change."""
    monkeypatch.setattr(nft, "LOOK_EVERY", 0.0)
    table = nft.Table()
    desire(host, table, *RANGES)
    before = host.run("nft", "-j", "-s", "list", "table", "inet", "towpath")
    desire(host, table, *RANGES)
    assert host.run("nft", "-j", "-s", "list", "table", "inet", "towpath") == before, "nothing was to be done"
    host.run("nft", *deed.split(" "))
    desire(host, table, *RANGES)
    assert dropped(host) == {"10.96.0.0/16", "192.0.2.1", "fd00:96::/112"}
    forward = host.run("nft", "-s", "list", "chain", "inet", "towpath", "forward")
    assert forward.count("counter drop") == 2
    assert "accept" not in [line.strip() for line in forward.splitlines()]


def test_it_is_taken_away_once(host: Host) -> None:
    """``remove`` leaves others' tables, and nothing to do the second time."""
    desire(host, nft.Table(), *RANGES)
    with host.entered():
        asyncio.run(nft.remove())
        asyncio.run(nft.remove())
    assert tables(host) == ["strict"]


def test_a_refusal_is_an_error_in_words(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no nft; it is tried again when asked again."""
    table = nft.Table()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        with pytest.raises(OSError, match="nft is not installed"):
            desire(host, table, *RANGES)
    monkeypatch.setattr(nft, "script", lambda _, **_choice: "nonsense\n")
    with pytest.raises(OSError, match="syntax error"):
        desire(host, table, *RANGES)
    monkeypatch.undo()
    desire(host, table, *RANGES)
    assert "towpath" in tables(host)


OUTGOING = Rules(
    pools=(ip_network("10.9.1.0/24"),), masqueraded=(ip_network("10.9.1.0/24"),), kept_ports=(("tcp", 179),)
)


@pytest.mark.parametrize("deed", ["delete table inet towpath", "insert rule inet towpath forward accept"])
def test_what_others_do_to_it_is_heard(host: Host, deed: str) -> None:
    """So that nobody need look; what is done to other tables, or was done by ourselves, is not heard."""
    table = nft.Table()
    desire(host, table, *RANGES)
    before = host.run("nft", "-s", "list", "table", "inet", "towpath")
    host.run("nft", "add", "chain", "inet", "strict", "another")
    assert not table.disturbed()
    host.run("nft", *deed.split(" "))
    assert table.disturbed()
    assert table.disturbed(), "until it was looked at"
    desire(host, table, *RANGES)
    assert host.run("nft", "-s", "list", "table", "inet", "towpath") == before
    assert not table.disturbed()


def test_more_than_can_be_heard_is_a_reason_to_look(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops what a full buffer does not take, and says so once. Of what we do ourselves that is no reason to do it again."""
    monkeypatch.setattr(nftwatch, "BUFFER", 2048)
    table = nft.Table()
    desire(host, table, *RANGES)
    assert not table.disturbed()
    for number in range(20):
        host.run("nft", "add", "chain", "inet", "strict", f"c{number}")
    assert table.disturbed()


def test_a_kernel_without_translation_takes_the_rest(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said is passed on, nothing is done over and over, and once it can it is done. nft stands for such a kernel."""
    real = shutil.which("nft")
    script = tmp_path / "nft"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = -f ] || exec {real} "$@"\ntext=$(cat)\ncase $text in *"type nat"*)'
        ' echo "Error: Could not process rule: No such file or directory" >&2; exit 1;; esac\n'
        f'echo "$text" | {real} "$@"\n'
    )
    script.chmod(0o755)
    table = nft.Table()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with host.entered():
            assert "Could not process rule" in asyncio.run(table.desire(OUTGOING))
        made = host.run("nft", "-a", "list", "table", "inet", "towpath")
        assert "bgp_input" in made
        assert "type nat" not in made
        patch.setattr(nft, "LOOK_EVERY", 0.0)
        with host.entered():
            assert "Could not process rule" in asyncio.run(table.desire(OUTGOING))
        assert host.run("nft", "-a", "list", "table", "inet", "towpath") == made, "not made anew"
    monkeypatch.setattr(nft, "LOOK_EVERY", 0.0)
    with host.entered():
        assert asyncio.run(table.desire(OUTGOING)) == ""
    assert "masquerade" in host.run("nft", "list", "table", "inet", "towpath")


def test_a_kernel_that_would_translate_bridged_packets_translates_none(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 5.7 it tells no difference."""
    old = os.uname_result(("Linux", "h", "5.4.0-26-generic", "#1", "x86_64"))
    monkeypatch.setattr("os.uname", lambda: old)
    with host.entered():
        assert "5.4.0-26-generic" in asyncio.run(nft.Table().desire(OUTGOING))
    assert "bgp_input" in host.run("nft", "list", "table", "inet", "towpath")


def test_the_chain_stays_while_the_table_does(host: Host) -> None:
    """Without any the kernel would stop translating what it began to translate; a fresh process sees it there."""
    with host.entered():
        asyncio.run(nft.Table().desire(Rules(pools=OUTGOING.pools)))
    assert "type nat" not in host.run("nft", "list", "table", "inet", "towpath")
    with host.entered():
        asyncio.run(nft.Table().desire(OUTGOING))
        asyncio.run(nft.Table().desire(Rules(pools=OUTGOING.pools)))
    listed = host.run("nft", "list", "table", "inet", "towpath")
    assert "type nat hook postrouting" in listed
    assert "10.9.1.0/24" in listed
    assert listed.count("elements") == 1, "of the pools alone"


def test_what_a_bridge_hands_on_is_not_translated(host: Host) -> None:
    """Although bridge-nf-call-iptables shows it to the table; what is routed from the same port is."""
    asking, answering, outside = (host.network.host(name, forwarding=False) for name in ("q", "r", "s"))
    host.ip("link", "add", "br0", "type", "bridge", "forward_delay", "0")
    host.ip("link", "set", "br0", "up")
    for port, other in (("port1", asking), ("port2", answering)):
        host.network.link(host, port, other, "eth0")
        host.ip("link", "set", port, "master", "br0")
    host.network.link(host, "eth0", outside, "eth0")
    host.address("10.9.0.1/16", dev="br0")
    host.address("198.51.100.1/24", dev="eth0")
    asking.address("10.9.1.1/16", dev="eth0")
    answering.address("10.9.2.2/16", dev="eth0")
    outside.address("198.51.100.9/24", dev="eth0")
    asking.ip("route", "add", "default", "via", "10.9.0.1")
    host.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
    with host.entered():
        asyncio.run(nft.Table().desire(OUTGOING))
    assert seen(asking, answering, "10.9.2.2") == "10.9.1.1"
    assert seen(asking, outside, "198.51.100.9") == "198.51.100.1"


def seen(source: Host, target: Host, address: str) -> str:
    """The source of a connection as its other end sees it."""
    with target.entered():
        server = socket.create_server((address, 8000))
    with source.entered():
        client = socket.socket()
    with server, client:
        client.settimeout(20)
        client.connect((address, 8000))
        accepted, peer = server.accept()
        accepted.close()
        return str(peer[0])

"""natOutgoing on a real node: a pod of its CNI plugins, another node with a pod, and a host outside that knows no way to pods."""

import contextlib
import functools
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.names import in_memory, own
from tests.netns.agent.node import Node, made, made_block
from towpath.lab import pods
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for

PORT, BGP, HOST_PORT = 8000, 179, 8080
POD, OTHER_POD = ("10.244.0.2", "fd00:244::2"), ("10.244.0.69", "fd00:244::45")
NODE, OTHER_NODE = ("10.0.0.1", "fd00::1"), ("10.0.0.2", "fd00::2")
FAR = ("198.51.100.9", "2001:db8:9::9")
STRICT = "table inet strict {\n chain f {\n type filter hook forward priority 0; policy accept;\n }\n}\n"


def manifests(*, nat: bool) -> list[dict[str, Any]]:
    """Two nodes with a block of each family, routed by what the objects say."""

    def block(cidr: str, node: str) -> dict[str, Any]:
        return made_block(cidr, node, "v6" if ":" in cidr else "v4")

    addresses = [
        {"type": "InternalIP", "address": "10.0.0.1"},
        {"type": "InternalIP", "address": "fd00::1"},
    ]
    return [
        made("BGPConfiguration", "default", nodeToNodeMeshEnabled=False, clusterRoutes="Kubernetes"),
        made("IPPool", "v4", cidr="10.244.0.0/16", natOutgoing=nat),
        made("IPPool", "v6", cidr="fd00:244::/112", natOutgoing=nat),
        block("10.244.0.0/26", "a"),
        block("10.244.0.64/26", "b"),
        block("fd00:244::/122", "a"),
        block("fd00:244::40/122", "b"),
        made("RoutingNode", "a", bgp={"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64"}),
        made("RoutingNode", "b", bgp={"ipv4Address": "10.0.0.2/24", "ipv6Address": "fd00::2/64"}),
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "status": {"addresses": addresses}},
    ]


class World:
    """Node ``a`` runs agent and speaker; everybody listens on ``PORT``, the host outside on BGP's port too."""

    def __init__(self, network: Network, agent: Node, stack: contextlib.ExitStack) -> None:
        self.agent = agent
        hosts = network.hosts
        self.a, self.b, self.pod, self.far = hosts["a"], hosts["b"], hosts["pod"], hosts["far"]
        self._servers: dict[tuple[str, int], socket.socket] = {}
        for host, addresses, port in (
            (self.a, NODE, PORT),
            (self.b, OTHER_NODE, PORT),
            (self.b, OTHER_POD, PORT),
            (self.far, FAR, PORT),
            (self.far, FAR, BGP),
            (self.pod, POD, PORT),
        ):
            stack.enter_context(self.listening(host, addresses, port))
        for address in NODE:
            self._servers[address, HOST_PORT] = self._servers[POD[":" in address], PORT]

    @contextlib.contextmanager
    def listening(self, host: Host, addresses: tuple[str, ...], port: int = PORT) -> Iterator[None]:
        """Somebody listens there."""
        with contextlib.ExitStack() as stack:
            for address in addresses:
                with host.entered():
                    server = stack.enter_context(socket.create_server((address, port), family=_family(address)))
                server.settimeout(20)
                self._servers[address, port] = server
            yield

    def switch(self, *, nat: bool) -> None:
        """Both pools are switched, and the agent has done what is to be done."""
        self.agent.write(manifests(nat=nat))
        self.until(lambda: self.translates() is nat, f"natOutgoing is {nat}")

    def translates(self) -> bool:
        listed = self.a.run("nft", "list", "table", "inet", "towpath", check=False)
        return listed.count("elements = { 10.244.0.0/16 }") + listed.count("elements = { fd00:244::/112 }") == 4

    def until(self, holds: Any, what: str, *, deadline: float = 60) -> None:
        try:
            wait_for(holds, deadline=deadline, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- agent\n{self.agent.agent.log}") from None

    @contextlib.contextmanager
    def connected(self, source: Host, address: str, port: int = PORT) -> Iterator[tuple[socket.socket, socket.socket]]:
        """A connection and its other end."""
        with source.entered():
            client = socket.socket(_family(address))
        with client:
            client.settimeout(20)
            client.connect((address, port))
            server, _ = self._servers[address, port].accept()
            with server:
                server.settimeout(20)
                yield client, server

    def seen(self, source: Host, address: str, port: int = PORT) -> str:
        """The source that the other end of a new connection sees."""
        with self.connected(source, address, port) as (_, server):
            return str(server.getpeername()[0])

    def unanswered(self, source: Host, address: str) -> bool:
        """Whether a connection is not made."""
        with source.entered():
            client = socket.socket(_family(address))
        with client:
            client.settimeout(0.3)
            try:
                client.connect((address, PORT))
            except OSError:
                return True
        return False


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def talks(ends: tuple[socket.socket, socket.socket]) -> bool:
    """Whether what is said at each end of a connection is heard at the other."""
    for one, other in (ends, ends[::-1]):
        one.sendall(b"word")
        if other.recv(4, socket.MSG_WAITALL) != b"word":
            return False
    return True


def both(host: Host, *arguments: str) -> None:
    """``ip route`` for each family, with those of the arguments that are no address of the other."""
    host.ip("-4", "route", *(one for one in arguments if ":" not in one))
    host.ip("-6", "route", *(one for one in arguments if "." not in one))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The node with its pod; nothing is translated yet, and somebody else's table is there."""
    prefix = own("tpn")
    with in_memory(prefix) as root, Network(prefix) as network, contextlib.ExitStack() as stack:
        switch = network.switch("seg")
        a, b, tor = (network.host(name) for name in ("a", "b", "tor"))
        for number, host in (("1", a), ("2", b), ("254", tor)):
            network.plug(switch, host)
            host.address(f"10.0.0.{number}/24", f"fd00::{number}/64", dev="eth0")
        far = network.host("far", forwarding=False)
        network.link(tor, "eth1", far, "eth0")
        tor.address("198.51.100.1/24", "2001:db8:9::1/64", dev="eth1")
        far.address(f"{FAR[0]}/24", f"{FAR[1]}/64", dev="eth0")
        both(far, "add", "default", "via", "198.51.100.1", "2001:db8:9::1")
        for host in (a, b):
            both(host, "add", "default", "via", "10.0.0.254", "fd00::254")
        b.address(f"{OTHER_POD[0]}/32", f"{OTHER_POD[1]}/128", dev="lo")
        both(b, "add", "10.244.0.0/26", "fd00:244::/122", "via", *NODE)
        a.run("nft", "-f", "-", stdin=STRICT)
        node = Node(a, root, manifests(nat=False))
        node.speaker.start()
        node.start_agent()
        link = node.cni / "10-towpath.conflist"
        wait_for(link.exists, deadline=60, what="a CNI configuration")
        ports = ({"hostPort": HOST_PORT, "containerPort": PORT, "protocol": "tcp"},)
        pod = network.host("pod", forwarding=False)
        made = pods.add(a, pod, folder=node.cni, ports=ports)
        assert {one.partition("/")[0] for one in made.addresses} == set(POD)
        yield World(network, node, stack)


def test_pods_reach_what_knows_no_way_to_them(world: World) -> None:
    """Only with natOutgoing, and with the node's address; pods, nodes and whoever dials a pod see what there is."""
    world.switch(nat=False)
    assert all(world.unanswered(world.pod, address) for address in FAR)
    world.switch(nat=True)
    assert tuple(world.seen(world.pod, address) for address in FAR) == NODE
    for others in (OTHER_POD, OTHER_NODE, NODE):
        assert tuple(world.seen(world.pod, address) for address in others) == POD, others
    assert tuple(world.seen(world.b, address) for address in POD) == OTHER_NODE
    assert world.seen(world.far, NODE[0], HOST_PORT) == FAR[0]
    world.switch(nat=False)
    assert all(world.unanswered(world.pod, address) for address in FAR)


def test_connections_outlive_the_switch(world: World) -> None:
    """Those that began without stay without, those that began with stay with; new ones are as the pool says. Never so BGP."""
    world.switch(nat=False)
    pools = ("10.244.0.0/16", "fd00:244::/112")
    both(world.far.network.hosts["tor"], "add", *pools, "via", *NODE)
    try:
        with contextlib.ExitStack() as stack:
            before = [stack.enter_context(world.connected(world.pod, address)) for address in FAR]
            assert all(map(talks, before))
            world.switch(nat=True)
            assert all(map(talks, before))
            during = [stack.enter_context(world.connected(world.pod, address)) for address in FAR]
            assert tuple(server.getpeername()[0] for _, server in during) == NODE
            assert tuple(world.seen(world.pod, address, BGP) for address in FAR) == POD
            world.switch(nat=False)
            assert tuple(world.seen(world.pod, address) for address in FAR) == POD
            assert all(map(talks, (*before, *during)))
    finally:
        both(world.far.network.hosts["tor"], "del", *pools, "via", *NODE)


def test_addresses_in_any_pool_see_the_pod(world: World) -> None:
    """Also of a pool that gives out none and asks for nothing; when it is gone they are the outside's."""
    world.switch(nat=True)
    far, tor, elsewhere = world.far, world.far.network.hosts["tor"], ("203.0.113.9", "2001:db8:99::9")
    pools = ("10.244.0.0/16", "fd00:244::/112")
    far.address(f"{elsewhere[0]}/32", f"{elsewhere[1]}/128", dev="lo")
    both(tor, "add", *elsewhere, "via", *FAR)
    both(tor, "add", *pools, "via", *NODE)

    def seen() -> tuple[str, ...]:
        return tuple(world.seen(world.pod, address) for address in elsewhere)

    try:
        with world.listening(far, elsewhere):
            assert seen() == NODE
            more = [
                made("IPPool", f"more{number}", cidr=cidr, disabled=True)
                for number, cidr in ((4, "203.0.113.0/24"), (6, "2001:db8:99::/112"))
            ]
            world.agent.write([*manifests(nat=True), *more])
            world.until(lambda: seen() == POD, "they see the pod")
            assert tuple(world.seen(world.pod, address) for address in FAR) == NODE
            world.switch(nat=True)
            world.until(lambda: seen() == NODE, "they see the node")
    finally:
        both(tor, "del", *elsewhere, "via", *FAR)
        both(tor, "del", *pools, "via", *NODE)
        for address in elsewhere:
            far.ip("addr", "del", address, "dev", "lo")


def test_the_source_is_that_of_the_way_out(world: World) -> None:
    """By another interface its address is seen, and by the first one again that of the node."""
    world.switch(nat=True)
    tor, side = world.far.network.hosts["tor"], ("198.18.9.{}", "2001:db8:18::{}")
    near, beyond = (tuple(one.format(number) for one in side) for number in (1, 2))
    world.a.network.link(world.a, "side0", tor, "side0")
    try:
        for host, (v4, v6) in ((world.a, near), (tor, beyond)):
            host.address(f"{v4}/24", f"{v6}/64", dev="side0")
        both(world.a, "replace", "default", "via", *beyond)
        assert tuple(world.seen(world.pod, address) for address in FAR) == near
    finally:
        both(world.a, "replace", "default", "via", "10.0.0.254", "fd00::254")
        world.a.ip("link", "del", "side0")
    assert tuple(world.seen(world.pod, address) for address in FAR) == NODE


def test_what_others_do_to_it_is_repaired(world: World) -> None:
    """Rules, elements, chain and table come back while the agent runs, and no other table has changed by a byte.

    Connections that were translated go on all the while.
    """
    world.switch(nat=True)
    others = tables(world.a)
    assert {"ip nat", "inet strict"} <= others.keys()
    whole = listed(world.a)
    made = made_of(world.a)
    with contextlib.ExitStack() as stack:
        under_way = [stack.enter_context(world.connected(world.pod, address)) for address in FAR]
        for deed in (
            "delete table inet towpath",
            "flush chain inet towpath outgoing",
            "insert rule inet towpath outgoing accept",
            "delete element inet towpath masqueraded6 { fd00:244::/112 }",
            "add table inet towpath { flags dormant; }",
        ):
            world.a.run("nft", deed)
            again = functools.partial(lambda made: made_of(world.a) != made and listed(world.a) == whole, made)
            world.until(again, deed, deadline=5)
            assert all(map(talks, under_way)), deed
            made = made_of(world.a)
    assert tuple(world.seen(world.pod, address) for address in FAR) == NODE
    assert tables(world.a) == others


def listed(host: Host) -> str:
    """Our table but for what it counted; empty where it is not there."""
    return host.run("nft", "-s", "list", "table", "inet", "towpath", check=False)


def made_of(host: Host) -> str:
    """The kernel's number of our table, another one whenever it is made anew; empty where it is not there."""
    return host.run("nft", "-a", "list", "table", "inet", "towpath", check=False).partition("\n")[0]


def tables(host: Host) -> dict[str, str]:
    """What every table but ours lists."""
    names = [line.removeprefix("table ") for line in host.run("nft", "list", "tables").splitlines()]
    return {
        name: host.run("nft", "-a", "-s", "list", "table", *name.split()) for name in names if name != "inet towpath"
    }

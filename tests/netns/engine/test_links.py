"""Sessions over link-local addresses: two routers that both call themselves fe80::1, each on a link of its own."""

from ipaddress import ip_address

import pytest

from tests.netns.engine.rig import AS_OURS, SECRET, Bird, bird_neighbour, engine_in, make_session, make_settings
from towpath.lab.process import wait_for
from towpath.model.net import scoped
from towpath.model.speaker import Listen

PASSWORD = "right-one"
OURS, ROUTER = ip_address("fe80::a"), ip_address("fe80::1")


@pytest.fixture
def links(network, tmp_path):
    """A node with two links, and BIRD at the end of each."""
    node, routers = network.host("node"), {}
    for device in ("eth0", "eth1"):
        router = network.host(f"at-{device}")
        network.link(node, device, router, "swp1")
        for host, address, there in ((node, OURS, device), (router, ROUTER, "swp1")):
            host.ip("link", "set", "dev", there, "addrgenmode", "none")
            host.ip("addr", "flush", "dev", there, "scope", "link")
            host.address(f"{address}/64", dev=there)
        neighbour = bird_neighbour(
            f"{OURS}%swp1", local=str(ROUTER), more=f'password "{PASSWORD}"; ttl security on;', export="none"
        )
        routers[device] = Bird(router, tmp_path, router_id=f"10.9.1{device[-1]}.1", neighbours={"node": neighbour})
    return node, routers


def test_two_routers_of_one_address(links):
    """Dialled and waited for, with MD5 and TTL security; a key that one needs no longer stays for the other."""
    node, routers = links
    common = {"password_ref": SECRET, "ttl_security": 1}
    dialled = make_session("eth0", f"{ROUTER}%eth0", interface="eth0", **common)
    waited = make_session("eth1", f"{ROUTER}%eth1", interface="eth1", passive=True, **common)
    with engine_in(node) as engine:
        engine.apply(dialled, waited, eth0=PASSWORD.encode(), eth1=PASSWORD.encode())
        engine.up("eth0", "eth1", deadline=20)
        for name, negotiated in engine.table.negotiated.items():
            assert (negotiated.peer_address, negotiated.local_address) == (scoped(ROUTER, name), OURS)
            assert negotiated.peer_router_id == int(ip_address(f"10.9.1{name[-1]}.1"))
        bound = make_settings(listen=(Listen(scoped(OURS, "eth1"), 179),))
        engine.apply(waited, settings=bound, eth1=PASSWORD.encode())
        routers["eth1"].ask("restart node")
        engine.down("eth1")
        engine.up("eth1", deadline=20)
        assert engine.table.negotiated["eth1"].peer_router_id == int(ip_address("10.9.11.1"))
        wait_for(
            lambda: str(AS_OURS) in routers["eth1"].ask("show protocols all node"), deadline=5, what="our AS there"
        )


def test_an_interface_that_is_not_there(links):
    """The attempt fails in words, and works once the interface is there, whatever its number is by then."""
    node, _ = links
    session = make_session("later", f"{ROUTER}%later0", interface="later0", password_ref=SECRET, ttl_security=1)
    with engine_in(node) as engine:
        engine.apply(session, later=PASSWORD.encode())
        wait_for(lambda: "No such device" in engine.reason("later"), deadline=10, what="no such device")
        node.ip("link", "set", "dev", "eth0", "down")
        node.ip("link", "set", "dev", "eth0", "name", "later0")
        node.ip("link", "set", "dev", "later0", "up")
        node.address(f"{OURS}/64", dev="later0")
        engine.up("later", deadline=20)

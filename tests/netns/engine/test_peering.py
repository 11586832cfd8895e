"""What peers see of our ways of peering: ports, distance and words, with BIRD on the other side."""

import pytest

from tests.netns.engine.rig import AS_OURS, Bird, bird_neighbour, engine_in, make_session
from tests.netns.engine.test_routed import routed  # noqa: F401  # a fixture
from towpath.lab.process import wait_for
from towpath.model.reason import Reason

PASSIVE = "passive on;"


def test_the_words_of_a_shutdown_reach_the_peers_log(segment, tmp_path):
    """Cease/Administrative Shutdown with the object's message (RFC 9003), also inside a hard reset."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=PASSIVE, graceful=False)}
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    words = {"state": "Withheld", "reason": Reason.SHUTDOWN, "shutdown_message": "rack 1 moves, back at noon"}
    with engine_in(node) as engine:
        engine.apply(make_session("a", "10.9.0.2"))
        engine.up("a")
        engine.apply(make_session("a", "10.9.0.2", **words))
        wait_for(lambda: "rack 1 moves, back at noon" in bird.log, deadline=10, what="the words")
        assert "Received: Administrative shutdown" in bird.log


@pytest.mark.parametrize("dials", [True, False], ids=["dialled", "listening"])
def test_ttl_security_with_a_neighbour(segment, tmp_path, dials):
    """Both ends ask for TTL 255 (RFC 5082): the session comes up whoever dials, beside one without it at the same port."""
    node, tor, other = segment
    more = "ttl security on;" + (PASSIVE if dials else "")
    Bird(tor, tmp_path, router_id="10.9.0.2", neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=more)})
    Bird(other, tmp_path, router_id="10.9.0.3", neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.3")})
    secure = make_session("secure", "10.9.0.2", ttl_security=1, passive=not dials)
    with engine_in(node) as engine:
        engine.apply(secure, make_session("plain", "10.9.0.3", passive=True))
        engine.up("secure", "plain")


def opens(host):
    """How many connections the host has taken."""
    return int(host.run("nstat", "-asz", "TcpPassiveOpens").split()[-2])


def test_ttl_security_refuses_a_neighbour_that_does_not_take_part(segment, tmp_path):
    """BIRD without it sends with TTL 1: there is no session, until the object says that distance does not matter."""
    node, tor, _ = segment
    Bird(tor, tmp_path, router_id="10.9.0.2", neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.2")})
    with engine_in(node) as engine:
        engine.apply(make_session("listens", "10.9.0.2", passive=True))
        engine.up("listens")
        engine.apply()
        before = opens(node)
        engine.apply(make_session("listens", "10.9.0.2", passive=True, ttl_security=1))
        wait_for(lambda: opens(node) > before + 1, deadline=30, what="BIRD has dialled again")
        assert engine.state("listens") != "Established"
        engine.apply(make_session("listens", "10.9.0.2", passive=True))
        engine.up("listens")


@pytest.mark.parametrize(("hops", "comes_up"), [(1, False), (2, True)])
def test_ttl_security_counts_hops(routed, tmp_path, hops, comes_up):  # noqa: F811
    """Behind one router a peer is two hops away: refused as a neighbour, both when it dials and when it is dialled."""
    here, there = routed
    more = "multihop 2; ttl security on;"
    neighbours = {
        "dials": bird_neighbour("10.9.1.1", local="10.9.2.1", more=more, local_as=AS_OURS),
        "waits": bird_neighbour("fd09:1::1", local="fd09:2::1", more=more + PASSIVE, local_as=AS_OURS),
    }
    bird = Bird(there, tmp_path, router_id="10.9.2.1", neighbours=neighbours)
    with engine_in(here) as engine:
        internal = {"remote_as": AS_OURS, "ttl_security": hops}
        engine.apply(
            make_session("dialled", "10.9.2.1", passive=True, **internal),
            make_session("dials", "fd09:2::1", **internal),
        )
        if comes_up:
            engine.up("dialled", "dials")
            return
        wait_for(lambda: engine.reason("dials") != "", deadline=20, what="our own attempt has failed")
        wait_for(lambda: "Connection" in bird.ask("show protocols all dials"), deadline=20, what="BIRD's attempt")
        assert "Established" not in bird.ask("show protocols")


def test_a_peer_on_another_port(segment, tmp_path):
    """Of two routers at one address each has its port; both sessions come up, dialled by us."""
    node, tor, _ = segment
    (tmp_path / "second").mkdir()
    second = bird_neighbour("10.9.0.1", local="10.9.0.2 port 1790", more=PASSIVE)
    Bird(
        tor,
        tmp_path,
        router_id="10.9.0.2",
        neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=PASSIVE)},
    )
    Bird(tor, tmp_path / "second", router_id="10.9.0.4", neighbours={"p": second})
    with engine_in(node) as engine:
        engine.apply(make_session("one", "10.9.0.2"), make_session("two", "10.9.0.2", peer_port=1790))
        engine.up("one", "two")
        assert {one.peer_router_id for one in engine.table.negotiated.values()} == {0x0A090002, 0x0A090004}

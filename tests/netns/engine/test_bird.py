"""Sessions with BIRD: what comes up, what stays up, and how each kind of end is told."""

import os
import signal
from ipaddress import ip_address

from tests.netns.engine.rig import (
    SECRET,
    Bird,
    RecordingTable,
    bird_neighbour,
    engine_in,
    make_session,
    make_settings,
)
from towpath.bgp.ports import LossKind, SessionError
from towpath.lab.blaster import Blast
from towpath.lab.process import wait_for
from towpath.model.kinds.bgp import SecretKey
from towpath.model.net import Family
from towpath.model.reason import Reason

ROUTES = Blast(
    next_hop=ip_address("10.9.0.1"),
    local_as=64512,
    remote_as=65000,
    count=3,
    first=ip_address("10.64.0.0"),
    length=26,
)
PASSIVE = "passive on;"


def test_sessions_of_both_families_come_up_and_carry_routes_both_ways(segment, tmp_path):
    """Over IPv4 and over IPv6 a session establishes, negotiates, receives UPDATEs and delivers ours."""
    node, tor, _ = segment
    neighbours = {
        "p4": bird_neighbour("10.9.0.1", local="10.9.0.2", more=PASSIVE),
        "p6": bird_neighbour("fd09::1", local="fd09::2", more=PASSIVE),
    }
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours, static="route 192.0.2.0/24 blackhole;")
    with engine_in(node, RecordingTable([ROUTES])) as engine:
        engine.apply(make_session("four", "10.9.0.2"), make_session("six", "fd09::2"))
        engine.up("four", "six")
        negotiated = engine.table.negotiated["four"]
        assert negotiated.families == (Family.IPV4, Family.IPV6)
        assert (negotiated.peer_as, negotiated.local_as) == (65000, 64512)
        assert negotiated.peer_router_id == int(ip_address("10.9.0.2"))
        assert negotiated.four_octet_as
        assert negotiated.restart is not None
        assert negotiated.local_address == ip_address("10.9.0.1")
        assert engine.table.negotiated["six"].local_address == ip_address("fd09::1")
        wait_for(lambda: "10.64.0.128/26" in bird.ask("show route protocol p4"), deadline=5, what="routes at the peer")
        wait_for(
            lambda: any(b"\x18\xc0\x00\x02" in body for body in engine.table.bodies["four"]), deadline=5, what="UPDATE"
        )
        bird.ask("reload out p4")
        assert engine.table.refreshes == []


def test_a_route_refresh_reaches_the_table(segment, tmp_path):
    """ROUTE-REFRESH (RFC 2918) is handed on with its family."""
    node, tor, _ = segment
    neighbour = bird_neighbour("10.9.0.1", local="10.9.0.2", more=PASSIVE).replace("import table on;", "")
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours={"p4": neighbour})
    with engine_in(node) as engine:
        engine.apply(make_session("four", "10.9.0.2"))
        engine.up("four")
        bird.ask("reload in p4")
        wait_for(lambda: ("four", Family.IPV4) in engine.table.refreshes, deadline=5, what="refresh")


def test_a_listening_session_is_dialled_and_a_dialling_one_too(segment, tmp_path):
    """Passive here, active here with a passive peer, and both active all end in one session."""
    node, tor, other = segment
    Bird(tor, tmp_path, router_id="10.9.0.2", neighbours={"p4": bird_neighbour("10.9.0.1", local="10.9.0.2")})
    Bird(other, tmp_path, router_id="10.9.0.3", neighbours={"p4": bird_neighbour("10.9.0.1", local="10.9.0.3")})
    with engine_in(node) as engine:
        engine.apply(make_session("listens", "10.9.0.2", passive=True), make_session("both", "10.9.0.3"))
        engine.up("listens", "both")


def test_one_changed_session_leaves_the_others_up(segment, tmp_path):
    """Settings of policy touch no session; a changed hold time resets its own session only."""
    node, tor, other = segment
    birds = [
        Bird(
            host, tmp_path, router_id=address, neighbours={"p": bird_neighbour("10.9.0.1", local=address, more=PASSIVE)}
        )
        for host, address in ((tor, "10.9.0.2"), (other, "10.9.0.3"))
    ]
    with engine_in(node) as engine:
        engine.apply(make_session("a", "10.9.0.2"), make_session("b", "10.9.0.3"))
        engine.up("a", "b")
        changes = [bird.settled("p") for bird in birds]
        engine.apply(
            make_session("a", "10.9.0.2", import_policy="None", allow_local_as=2, peer_node="x"),
            make_session("b", "10.9.0.3", keepalive_time=5, connect_retry_time=9),
            settings=make_settings(maximum_paths=4, provisional=True, forwarding_preserved=True),
        )
        assert engine.table.lost_sessions == []
        engine.apply(make_session("a", "10.9.0.2", hold_time=30), make_session("b", "10.9.0.3"))
        assert engine.down("a").kind is LossKind.CHANGED
        engine.up("a", "b")
        assert [name for name, _ in engine.table.lost_sessions] == ["a"]
        assert engine.table.negotiated["a"].hold_time == 30
        assert birds[1].changes("p") == changes[1]


def test_a_removed_session_tells_the_peer(segment, tmp_path):
    """A session that is removed ends with Cease/Peer De-configured, and the peer drops our routes at once."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=PASSIVE)}
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    with engine_in(node, RecordingTable([ROUTES])) as engine:
        engine.apply(make_session("a", "10.9.0.2"))
        engine.up("a")
        wait_for(lambda: "10.64.0.0/26" in bird.ask("show route"), deadline=5, what="route")
        engine.apply()
        wait_for(lambda: "10.64.0.0/26" not in bird.ask("show route"), deadline=5, what="route gone")
        assert "Received: Peer de-configured" in bird.log


def test_only_the_right_password_makes_a_session(segment, tmp_path):
    """TCP-MD5: dialled and listening sessions work with the right key and stay down with a wrong one or none."""
    node, tor, other = segment
    secret = 'password "right";'
    Bird(
        tor,
        tmp_path,
        router_id="10.9.0.2",
        neighbours={
            "p4": bird_neighbour("10.9.0.1", local="10.9.0.2", more=secret),
            "p6": bird_neighbour("fd09::1", local="fd09::2", more=secret + PASSIVE),
        },
    )
    Bird(other, tmp_path, router_id="10.9.0.3", neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.3")})
    listens = make_session("listens", "10.9.0.2", passive=True, password_ref=SECRET)
    dials = make_session("dials", "fd09::2", password_ref=SECRET)
    unsigned = make_session("unsigned", "10.9.0.3", password_ref=SECRET)
    with engine_in(node) as engine:
        engine.apply(listens, dials, unsigned, listens=b"right", dials=b"right", unsigned=b"right")
        engine.up("listens", "dials")
        assert engine.state("unsigned") != "Established"
        engine.apply(listens, dials, unsigned, listens=b"wrong", dials=b"right", unsigned=b"right")
        assert engine.down("listens").kind is LossKind.CHANGED
        assert engine.state("dials") == "Established"
        engine.apply(listens, dials, unsigned, listens=b"right", dials=b"right", unsigned=b"right")
        engine.up("listens", "dials", deadline=30)
        assert [name for name, _ in engine.table.lost_sessions] == ["listens"]
        assert engine.state("unsigned") != "Established"


def test_a_secret_that_disappears_leaves_the_session_up(segment, tmp_path):
    """Without its password an established session goes on, a new connection is neither dialled nor accepted."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more='password "right";')}
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    session = make_session("a", "10.9.0.2", password_ref=SecretKey(name="bgp", key="password"))
    with engine_in(node) as engine:
        engine.apply(session, a=b"right")
        engine.up("a")
        engine.apply(session)
        assert engine.state("a") == "Established"
        engine.apply(session, a=b"right")
        assert engine.table.lost_sessions == []
        engine.apply(session)
        bird.ask("disable p")
        engine.down("a")
        bird.ask("enable p")
        assert engine.state("a") == "Withheld"
        assert engine.reason("a") == Reason.SECRET_MISSING
        engine.apply(session, a=b"right")
        engine.up("a", deadline=30)


def test_a_silent_peer_is_lost_by_the_hold_timer(segment, tmp_path):
    """A peer that is stopped is lost after the hold time, with NOTIFICATION 4/0."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=PASSIVE + "hold time 3; keepalive time 1;")}
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    with engine_in(node) as engine:
        engine.apply(make_session("a", "10.9.0.2"))
        engine.up("a")
        os.kill(bird.process.pid, signal.SIGSTOP)
        loss = engine.down("a", deadline=6)
        os.kill(bird.process.pid, signal.SIGCONT)
        assert (loss.kind, loss.code) == (LossKind.HOLD_TIMER, 4)
        wait_for(lambda: "Received: Hold timer expired" in bird.log, deadline=5, what="NOTIFICATION at the peer")
        engine.up("a")


def test_a_peer_killed_and_started_again_is_a_lost_connection(segment, tmp_path):
    """kill -9 of the peer is a loss without a NOTIFICATION, and its next OPEN says that it restarted."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    with engine_in(node) as engine:
        engine.apply(make_session("a", "10.9.0.2"))
        engine.up("a")
        bird.process.kill()
        assert engine.down("a").kind is LossKind.CONNECTION
        Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
        engine.up("a")


def test_a_peer_that_lost_power_and_returns_replaces_its_session(segment, tmp_path):
    """No FIN, no RST, no NOTIFICATION: the peer's new connection takes over within seconds, as a lost session."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    with engine_in(node) as engine:
        engine.apply(make_session("a", "10.9.0.2", passive=True))
        engine.up("a")
        silence = "table inet t { chain o { type filter hook output priority 0; tcp flags & (fin|rst) != 0x0 drop; }; }"
        tor.run("nft", silence)
        bird.process.kill()
        assert engine.state("a") == "Established"
        assert engine.table.lost_sessions == []
        Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
        assert engine.down("a", deadline=8).kind is LossKind.REPLACED
        engine.up("a")
        assert len(engine.table.lost_sessions) == 1


def test_a_severed_session_ends_at_once_and_is_not_dialled(segment, tmp_path):
    """Carrier loss ends the session without waiting for a timer; when the carrier is back it comes up again."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=PASSIVE)}
    Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    session = make_session("a", "10.9.0.2")
    with engine_in(node) as engine:
        engine.apply(session)
        engine.up("a")
        engine.apply(session, settings=make_settings(severed=("a",)))
        assert [loss.kind for _, loss in engine.table.lost_sessions] == [LossKind.CARRIER]
        assert engine.state("a") == "Idle"
        engine.apply(session)
        engine.up("a")


def test_a_stop_for_restart_says_nothing_and_the_peer_keeps_the_routes(segment, tmp_path):
    """Restarter: sockets close without a NOTIFICATION; the helper keeps our routes until we announce them again."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    session = make_session("a", "10.9.0.2")
    with engine_in(node, RecordingTable([ROUTES])) as engine:
        engine.apply(session)
        engine.up("a")
        wait_for(lambda: "10.64.0.0/26" in bird.ask("show route"), deadline=5, what="route")
        engine.close(graceful=True)
    assert "10.64.0.0/26" in bird.ask("show route")
    assert "Received:" not in bird.log
    with engine_in(node, RecordingTable([ROUTES])) as engine:
        engine.apply(session, settings=make_settings(forwarding_preserved=True))
        engine.up("a")
        assert "10.64.0.0/26" in bird.ask("show route")
        engine.apply(session, settings=make_settings(forwarding_preserved=True))


def test_the_table_can_end_a_session(segment, tmp_path):
    """A SessionError of the table becomes the NOTIFICATION that it names, and the session is tried again."""
    node, tor, _ = segment
    neighbours = {"p": bird_neighbour("10.9.0.1", local="10.9.0.2", more=PASSIVE)}
    bird = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours=neighbours)
    table = RecordingTable()
    table.refuse_updates = SessionError(3, 10, message="prefix does not fit")
    with engine_in(node, table) as engine:
        engine.apply(make_session("a", "10.9.0.2"))
        loss = engine.down("a")
        assert (loss.kind, loss.code, loss.subcode) == (LossKind.REFUSED, 3, 10)
        wait_for(lambda: "Received: Invalid network field" in bird.log, deadline=5, what="NOTIFICATION")
        table.refuse_updates = None
        engine.up("a")

"""TCP-MD5 keys of many peers on listening sockets that hold few (net.core.optmem_max)."""

from ipaddress import ip_address, ip_network

from tests.netns.engine.rig import AS_OURS, AS_PEER, SECRET, engine_in, make_session, make_settings
from towpath.lab.process import wait_for
from towpath.model.reason import Reason

FOUR, SIX = ip_network("10.9.64.0/23"), ip_network("fd09:64::/64")
PEERS = [*(FOUR[number] for number in range(1, 241)), *(SIX[number] for number in range(1, 61))]


def test_several_hundred_passwords_where_a_socket_holds_thirty(segment):
    """All sessions come up, each at the socket that has its key; one password that changes resets its session alone, and
    who comes without any is not let in."""
    node, other, _ = segment
    node.sysctl(net__core__optmem_max=4096)
    other.sysctl(net__ipv6__ip_nonlocal_bind=1)
    for network, way in ((FOUR, "10.9.0.2"), (SIX, "fd09::2")):
        node.run("ip", "route", "add", str(network), "via", way)
        other.run("ip", f"-{network.version}", "route", "add", "local", str(network), "dev", "lo")
    passive = {f"s{at}": make_session(f"s{at}", str(one), passive=True, password_ref=SECRET) for at, one in enumerate(PEERS)}  # fmt: skip
    dialling = {
        f"s{at}": make_session(
            f"s{at}",
            "10.9.0.1" if one.version == 4 else "fd09::1",
            local_address=one,
            local_as=AS_PEER,
            remote_as=AS_OURS,
            password_ref=SECRET,
        )
        for at, one in enumerate(PEERS)
    }
    passwords = {name: f"secret {name}".encode() for name in passive}
    theirs = make_settings(router_id=ip_address("10.9.0.2"), local_as=AS_PEER, listen=())
    with engine_in(node) as engine, engine_in(other) as peers:
        engine.apply(*passive.values(), **passwords)
        assert engine.do(engine.engine.keyless) == ()
        peers.apply(*dialling.values(), settings=theirs, **passwords)
        engine.up(*passive, deadline=60)
        assert len(node.run("ss", "-Hltn", "sport = :179").splitlines()) > 10

        changed = passwords | {"s7": b"another"}
        engine.apply(*passive.values(), **changed)
        engine.down("s7")
        peers.apply(*dialling.values(), settings=theirs, **changed)
        engine.up(*passive, deadline=30)
        assert {name for name, _ in engine.table.lost_sessions} == {"s7"}

        engine.apply(
            *[one for name, one in passive.items() if name != "s9"], passive["s9"], **passwords | {"s9": b"third"}
        )
        unsigned = [one if name != "s9" else make_session("s9", "10.9.0.1", local_address=PEERS[9], local_as=AS_PEER, remote_as=AS_OURS) for name, one in dialling.items()]  # fmt: skip
        peers.apply(*unsigned, settings=theirs, **changed)
        wait_for(
            lambda: peers.reason("s9") == "Connection timed out", deadline=30, what="no answer without a signature"
        )
        assert engine.state("s9") == "Active"


def test_too_many_keys_are_told(segment):
    """Where the kernel has no room at all the sysctl is named, once for all of them, for as long as it lasts; others work."""
    node, other, _ = segment
    node.sysctl(net__core__optmem_max=300)
    names = [f"s{number:03}" for number in range(100)]
    sessions = [
        make_session(name, f"10.9.1.{number}", passive=True, password_ref=SECRET) for number, name in enumerate(names)
    ]
    plain = make_session("plain", "10.9.0.2", passive=True)
    back = make_session("back", "10.9.0.1", local_as=AS_PEER, remote_as=AS_OURS)
    theirs = make_settings(router_id=ip_address("10.9.0.2"), local_as=AS_PEER, listen=())
    with engine_in(node) as engine, engine_in(other) as peers:
        engine.apply(*sessions, plain, **dict.fromkeys(names, b"secret"))
        (notice,) = engine.do(engine.engine.notices)
        assert notice.reason is Reason.KEY_LIMIT
        assert "net.core.optmem_max" in notice.message
        assert engine.do(engine.engine.keyless) == (notice.message,)
        peers.apply(back, settings=theirs)
        engine.up("plain")
        node.sysctl(net__core__optmem_max=131072)
        wait_for(lambda: engine.do(engine.engine.keyless) == (), deadline=20, what="tried again, and all fit")

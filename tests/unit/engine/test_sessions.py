"""The engine against a peer made of bare bytes on loopback: errors, collisions, timers, fuzz."""

import asyncio
import contextlib
import socket
import struct
import time
from ipaddress import IPv4Address, ip_address

import pytest
from msgspec.structs import replace

from tests import effort
from tests.names import loopback
from tests.netns.engine.rig import RecordingTable, make_session, make_settings
from tests.patience import eventually, longer
from towpath.bgp.exabgp import collision
from towpath.bgp.exabgp.engine import Engine
from towpath.bgp.ports import LossKind, SessionError
from towpath.lab.blaster import message, open_message
from towpath.model.net import Family
from towpath.model.reason import Reason
from towpath.model.speaker import Listen, MaxPrefix

HERE, THERE, ELSEWHERE = loopback(1), loopback(2), loopback(3)
PORT = 11790
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, REFRESH = 1, 2, 3, 4, 5
SETTINGS = make_settings(router_id=IPv4Address("10.9.0.1"), listen=(Listen(ip_address(HERE), PORT),))


class RawPeer:
    """A peer over asyncio streams; ``read`` gives (type, body), and None at the end of the stream."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def dial(cls, address=THERE, *, hops=64):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((address, 0))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        await asyncio.get_running_loop().sock_connect(sock, (HERE, PORT))
        return cls(*await asyncio.open_connection(sock=sock))

    async def read(self):
        try:
            header = await asyncio.wait_for(self.reader.readexactly(19), 5)
            return header[18], await self.reader.readexactly(struct.unpack("!H", header[16:18])[0] - 19)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None

    async def until(self, kind):
        while (received := await self.read()) is not None:
            if received[0] == kind:
                return received[1]
        return None

    def send(self, data):
        self.writer.write(data)

    async def establish(self, **how):
        self.send(peer_open(**how))
        await self.until(OPEN)
        self.send(message(KEEPALIVE))
        await self.until(KEEPALIVE)
        return self

    def close(self):
        self.writer.transport.abort()


def peer_open(*, local_as=65000, router_id="10.9.0.2", hold_time=90, restart_time=None, more=b""):
    made = open_message(local_as, IPv4Address(router_id), hold_time=hold_time, restart_time=restart_time)
    capabilities = made[31:] + more
    return message(OPEN, made[19:28] + bytes((2 + len(capabilities), 2, len(capabilities))) + capabilities)


IPV4_ONLY = b"\x02\x06\x01\x04\x00\x01\x00\x01"
WIDE = b"\x02\x00\x06\x01\x04\x00\x01\x00\x01"
"""The same as a parameter whose length has two bytes (RFC 9072)."""


def with_parameters(parameters, *, size=None):
    """An OPEN that says its parameters have this size."""
    return message(OPEN, peer_open()[19:28] + bytes((len(parameters) if size is None else size,)) + parameters)


@pytest.fixture
async def table():
    return RecordingTable()


@pytest.fixture
async def engine(table):
    engine = Engine(sink=table, outbound=table)
    await engine.start()
    yield engine
    await engine.stop(graceful=True)


@pytest.fixture
async def peers():
    """Keeps raw peers alive: a stream that nobody holds is closed."""
    return []


def listening(name="a", peer=THERE, **changes):
    return make_session(name, peer, passive=True, **changes)


def apply(engine, *sessions, settings=SETTINGS):
    engine.apply(settings, sessions={session.name: session for session in sessions}, passwords={})


async def test_nothing_listens_before_the_first_apply(engine):
    """Before it knows what is desired the engine has no socket open."""
    with pytest.raises(ConnectionRefusedError):
        await RawPeer.dial()


async def test_an_unknown_address_is_turned_away(engine):
    """A connection from an address without a session is closed."""
    apply(engine, listening())
    peer = await RawPeer.dial(ELSEWHERE)
    assert await peer.read() is None


@pytest.mark.parametrize(
    ("data", "code", "subcode"),
    [
        (b"\xfe" + message(KEEPALIVE)[1:], 1, 1),
        (b"\xff" * 16 + struct.pack("!HB", 18, KEEPALIVE), 1, 2),
        (b"\xff" * 16 + struct.pack("!HB", 20, KEEPALIVE) + b"\0", 1, 2),
        (b"\xff" * 16 + struct.pack("!HB", 4097, UPDATE), 1, 2),
        (b"\xff" * 16 + struct.pack("!HB", 22, UPDATE) + b"\0\0\0", 1, 2),
        (message(9), 1, 3),
        (message(REFRESH, b"\0\1\0\1\0"), 1, 2),
        (peer_open(), 5, 3),
    ],
)
async def test_bad_messages_are_answered(engine, table, data, code, subcode):
    """A message that breaks RFC 4271 §6 is answered by its NOTIFICATION, and the session is lost as REFUSED."""
    apply(engine, listening())
    peer = await (await RawPeer.dial()).establish()
    await eventually(lambda: "a" in table.negotiated)
    peer.send(data)
    assert (await peer.until(NOTIFICATION))[:2] == bytes((code, subcode))
    await eventually(lambda: table.lost_sessions)
    loss = table.lost_sessions[0][1]
    assert (loss.kind, loss.code, loss.subcode) == (LossKind.REFUSED, code, subcode)


async def test_an_open_that_is_said_twice_is_no_error(engine, table):
    """OpenBGPD does so after a connection that was gone before it had written its OPEN (RFC 4271 §8.2.2, event 19)."""
    apply(engine, listening())
    peer = await RawPeer.dial()
    peer.send(peer_open() + peer_open() + message(KEEPALIVE) + message(UPDATE, bytes(4)))
    await eventually(lambda: table.bodies.get("a") == [bytes(4)])
    assert table.lost_sessions == []
    peer.close()


@pytest.mark.parametrize(
    ("data", "notification", "said"),
    [
        (message(UPDATE, bytes(4)), b"\x05\x02\x02", "unexpected UPDATE in OpenConfirm"),
        (peer_open(hold_time=30), b"\x05\x02\x01", "unexpected OPEN in OpenConfirm"),
        (peer_open(router_id="0.0.0.0"), b"\x02\x03", ""),
    ],
)
async def test_what_else_comes_before_the_keepalive_ends_the_connection(engine, table, data, notification, said):
    """Another message, another OPEN and a bad one (RFC 6608), in words that name it."""
    apply(engine, listening())
    peer = await RawPeer.dial()
    peer.send(peer_open() + data)
    assert (await peer.until(NOTIFICATION))[: len(notification)] == notification
    assert said in engine.states()["a"][1]
    assert table.negotiated == {}


@pytest.mark.parametrize(
    ("data", "code", "subcode"),
    [
        (peer_open(local_as=65001), 2, 2),
        (peer_open(router_id="0.0.0.0"), 2, 3),
        (peer_open(hold_time=2), 2, 6),
        (message(OPEN, b"\x03" + peer_open()[20:]), 2, 1),
        (peer_open(hold_time=1), 2, 6),
        (message(OPEN, b"\x05" + peer_open()[20:]), 2, 1),
        (message(OPEN, b"\x00" + peer_open()[20:]), 2, 1),
        (with_parameters(b"\x05\x02\x00\x00"), 2, 4),
        # a parameter that is longer than the message, one of a type that nobody knows, authentication of old
        (with_parameters(b"\x02\xff\x01\x04"), 2, 0),
        (with_parameters(b"\x07\x01\x00"), 2, 4),
        (with_parameters(b"\x01\x00"), 2, 4),
        # parameters that are shorter or longer than they say, in both forms (RFC 9072)
        (with_parameters(b"", size=5), 2, 0),
        (with_parameters(IPV4_ONLY, size=2), 2, 0),
        (with_parameters(b"\xff\x00\x63" + WIDE, size=255), 2, 0),
        (with_parameters(b"\xff\x00", size=255), 2, 0),
        # a capability cut short, and one whose value has the wrong size
        (with_parameters(b"\x02\x04\x41\x04\x00\x00"), 2, 0),
        (with_parameters(b"\x02\x03\x41\x01\x00"), 2, 0),
        # a family that is not the session's
        (message(OPEN, peer_open()[19:28] + b"\x08\x02\x06\x01\x04\x00\x02\x00\x80"), 2, 7),
        # the capability names another AS than the header, or none
        (with_parameters(b"\x02\x06\x41\x04" + (65001).to_bytes(4, "big")), 2, 2),
        (with_parameters(b"\x02\x06\x41\x04" + bytes(4)), 2, 2),
        # the AS of the header and the one of the capability differ; AS 0 and AS_TRANS alone
        (message(OPEN, peer_open()[19:20] + b"\x12\x34" + peer_open()[22:]), 2, None),
        (message(OPEN, peer_open()[19:20] + b"\0\0" + peer_open()[22:28] + b"\0"), 2, 2),
        (message(OPEN, peer_open()[19:20] + b"\x5b\xa0" + peer_open()[22:28] + b"\0"), 2, 2),
        (message(KEEPALIVE), 5, 1),
        (message(UPDATE, b"\0\0\0\0"), 5, 1),
    ],
)
async def test_bad_opens_are_answered(engine, table, data, code, subcode):
    """An OPEN that does not fit is refused with code 2, another message in its place with code 5."""
    apply(engine, listening())
    peer = await RawPeer.dial()
    peer.send(data)
    body = await peer.until(NOTIFICATION)
    assert body[0] == code
    assert subcode is None or body[1] == subcode
    assert engine.states()["a"][1]
    assert table.lost_sessions == []


@pytest.mark.parametrize(
    "opening",
    [
        with_parameters(b""),
        with_parameters(IPV4_ONLY),
        with_parameters(b"\xff" + len(WIDE).to_bytes(2, "big") + WIDE, size=255),
        with_parameters(b"\xff" + len(WIDE).to_bytes(2, "big") + WIDE, size=1),
    ],
)
async def test_parameters_may_be_long_and_none(engine, table, opening):
    """In the form of RFC 9072 the length of one byte means nothing; without any a peer speaks IPv4."""
    apply(engine, listening())
    peer = await RawPeer.dial()
    peer.send(opening + message(KEEPALIVE))
    await eventually(lambda: "a" in table.negotiated)
    assert not table.lost_sessions


async def test_a_version_that_is_not_spoken_hears_which_is(engine):
    """Two bytes of data (RFC 4271 section 6.2)."""
    apply(engine, listening())
    peer = await RawPeer.dial()
    peer.send(message(OPEN, b"\x05" + peer_open()[20:]))
    assert await peer.until(NOTIFICATION) == b"\x02\x01\0\4"


async def test_nobody_has_our_identifier_within_the_as(engine, table):
    """RFC 6286 section 2.1; outside somebody may, also where our AS has four bytes."""
    number = 4200000000
    own = replace(SETTINGS, local_as=number)
    apply(engine, listening(remote_as=number, local_as=number), settings=own)
    peer = await RawPeer.dial()
    peer.send(peer_open(local_as=number, router_id=str(SETTINGS.router_id)))
    assert (await peer.until(NOTIFICATION))[:2] == b"\x02\x03"
    apply(engine, listening(), settings=own)
    peer = await (await RawPeer.dial()).establish(router_id=str(SETTINGS.router_id))
    await eventually(lambda: "a" in table.negotiated)


async def test_a_refresh_of_a_kind_that_was_not_agreed_on_is_ignored(engine, table):
    """Subtypes of RFC 7313, and a family that is none: the session goes on, and a real one after them is answered."""
    apply(engine, listening())
    peer = await (await RawPeer.dial()).establish()
    await eventually(lambda: "a" in table.negotiated)
    for odd in (b"\0\1\1\1", b"\0\1\2\1", b"\0\1\7\1", b"\0\1\0\x80", b"\xff\xff\0\1"):
        peer.send(message(REFRESH, odd))
    peer.send(message(REFRESH, b"\0\1\0\1"))
    await eventually(lambda: table.refreshes)
    assert table.refreshes == [("a", Family.IPV4)]
    assert table.lost_sessions == []


def role(*values):
    return b"".join(bytes((9, len(value), *value)) for value in values)


@pytest.mark.parametrize(
    ("ours", "strict", "said", "comes_up"),
    [
        ("Customer", True, role(b"\0"), True),
        ("Customer", True, role(b"\0", b"\0"), True),
        ("Customer", False, b"", True),
        (None, False, role(b"\1"), True),
        ("Peer", False, role(b"\4"), True),
        ("Customer", True, b"", False),
        ("Customer", False, role(b"\3"), False),
        ("Customer", False, role(b"\0", b"\4"), False),
        ("RS", False, role(b"\7"), False),
        ("RS", False, role(b""), False),
        ("Provider", False, role(b"\3\0"), False),
    ],
)
async def test_roles_must_fit(engine, table, ours, strict, said, comes_up):
    """RFC 9234 section 4.2: the counterpart, said once or as often as one likes, or nothing where we do not insist; else 2/11."""
    apply(engine, listening(role=ours, strict_role=strict))
    peer = await RawPeer.dial()
    peer.send(peer_open(more=said))
    sent = await peer.until(OPEN)
    number = None if ours is None else {"Customer": 3, "Peer": 4, "RS": 1, "Provider": 0}[ours]
    assert (bytes((2, 3, 9, 1, number)) in sent) if number is not None else b"\x09\x01" not in sent
    if comes_up:
        peer.send(message(KEEPALIVE))
        await eventually(lambda: "a" in table.negotiated)
        return
    assert (await peer.until(NOTIFICATION))[:2] == bytes((2, 11))
    assert "role" in engine.states()["a"][1]


async def test_messages_of_one_turn_arrive_in_order(engine, table):
    """UPDATEs between other messages, cut at any byte, arrive whole and in order."""
    apply(engine, listening())
    peer = await (await RawPeer.dial()).establish()
    bodies = [b"\0\0\0\0" + bytes((24, 10, number, 0)) for number in range(200)]
    data = b"".join(
        message(UPDATE, body) + (message(KEEPALIVE) if number % 7 == 0 else b"") for number, body in enumerate(bodies)
    )
    for start in range(0, len(data), 97):
        peer.send(data[start : start + 97])
        await asyncio.sleep(0)
    await eventually(lambda: len(table.bodies.get("a", ())) == len(bodies))
    assert table.bodies["a"] == bodies


async def test_what_came_before_a_bad_header_is_delivered(engine, table):
    """The UPDATEs ahead of a wrong marker count."""
    apply(engine, listening())
    peer = await (await RawPeer.dial()).establish()
    peer.send(message(UPDATE, b"\0\0\0\0") * 3 + b"\0" * 19)
    await eventually(lambda: table.lost_sessions)
    assert len(table.bodies["a"]) == 3


async def test_an_established_session_is_kept_over_a_second_connection_without_graceful_restart(engine, table, peers):
    """Without graceful restart a second connection is turned away and the first stays (RFC 4271 §6.8)."""
    apply(engine, listening(restart_time=None))
    peers.append(await (await RawPeer.dial()).establish(restart_time=120))
    second = await RawPeer.dial()
    assert await second.until(OPEN) is None
    assert table.lost_sessions == []


async def test_a_second_connection_replaces_the_session_only_by_a_good_open(engine, table, peers):
    """With graceful restart the old session stays until the new connection's OPEN was read and fits."""
    apply(engine, listening())
    peers.append(await (await RawPeer.dial()).establish(restart_time=120))
    await eventually(lambda: "a" in table.negotiated)
    bad = await RawPeer.dial()
    bad.send(peer_open(local_as=7))
    assert (await bad.until(NOTIFICATION))[:2] == b"\x02\x02"
    mute = await RawPeer.dial()
    await mute.until(OPEN)
    assert table.lost_sessions == []
    await asyncio.sleep(0.05)  # the kernel tells the age of a connection by its own ticks
    peers.append(await (await RawPeer.dial()).establish(restart_time=120))
    await eventually(lambda: "a" in table.negotiated and table.lost_sessions)
    assert [loss.kind for _, loss in table.lost_sessions] == [LossKind.REPLACED]


@pytest.fixture
async def dialled():
    """Connections that the engine has made to the peer."""
    accepted = asyncio.Queue()
    server = await asyncio.start_server(lambda r, w: accepted.put_nowait(RawPeer(r, w)), THERE, PORT)
    yield accepted
    server.close()


def dialling(**changes):
    return make_session("a", THERE, peer_port=PORT, local_address=ip_address(HERE), **changes)


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize(("router_id", "ours_stays"), [("10.0.0.1", True), ("10.200.0.1", False)])
async def test_a_collision_keeps_the_connection_of_the_higher_identifier(
    engine, table, dialled, monkeypatch, router_id, ours_stays, first
):
    """Both sides dialled: whichever identifier is higher keeps the connection that it dialled (RFC 4271 §6.8).

    Until both have their OPEN neither is confirmed: a peer that has a session takes what comes after it for a restart.
    """
    monkeypatch.setattr(collision, "CONCURRENT_SECONDS", 3600.0)
    apply(engine, dialling())
    ours = await asyncio.wait_for(dialled.get(), 5)
    theirs = await RawPeer.dial()
    one, other = (ours, theirs) if first == "ours" else (theirs, ours)
    for peer in (one, other):
        await peer.until(OPEN)
    one.send(peer_open(router_id=router_id) + message(KEEPALIVE))
    await eventually(lambda: engine.states()["a"][0] == "OpenConfirm")
    await asyncio.sleep(0.05)
    assert nothing_came(one)
    assert "a" not in table.negotiated
    other.send(peer_open(router_id=router_id) + message(KEEPALIVE))
    winner, loser = (ours, theirs) if ours_stays else (theirs, ours)
    assert (await loser.until(NOTIFICATION))[:2] == b"\x06\x07"
    await winner.until(KEEPALIVE)
    await eventually(lambda: "a" in table.negotiated)
    assert table.lost_sessions == []


def nothing_came(peer):
    """Whether the peer has read all that there is."""
    return not peer.reader._buffer


@pytest.mark.parametrize("how", ["closed", "never answered"])
async def test_a_connection_that_waits_for_another_goes_on_without_it(engine, table, dialled, monkeypatch, how):
    """What was held because of a second connection is confirmed when that has gone, or has been waited for long enough."""
    monkeypatch.setattr(collision, "CONCURRENT_SECONDS", 3600.0 if how == "closed" else 0.3)
    apply(engine, dialling())
    ours = await asyncio.wait_for(dialled.get(), 5)
    theirs = await RawPeer.dial()
    theirs.send(peer_open() + message(KEEPALIVE) + message(UPDATE, bytes(4)))
    if how == "closed":
        ours.close()
    await eventually(lambda: table.bodies.get("a") == [bytes(4)])
    assert await theirs.until(KEEPALIVE) == b""
    assert table.lost_sessions == []


async def test_nobody_is_dialled_while_his_own_connection_comes_up(engine, table, dialled):
    """The peer's connection is there first: no second one is made that the peer would take for a restart."""
    session = dialling()
    apply(engine, replace(session, passive=True))
    theirs = await RawPeer.dial()
    await theirs.until(OPEN)
    apply(engine, session)
    theirs.send(peer_open())
    assert await theirs.until(KEEPALIVE) == b""
    await asyncio.sleep(0.2)
    theirs.send(message(KEEPALIVE))
    await eventually(lambda: "a" in table.negotiated)
    assert dialled.empty()
    assert table.lost_sessions == []


@pytest.mark.parametrize("confirmed", ["before", "after"])
async def test_a_connection_that_was_made_before_the_session_was_up_does_not_replace_it(
    engine, table, dialled, confirmed
):
    """The kernel took it, the process was busy: it is no restart of the peer, and the session stays."""
    apply(engine, dialling())
    ours = await asyncio.wait_for(dialled.get(), 5)
    ours.send(peer_open(restart_time=120))
    await ours.until(KEEPALIVE)
    # all in one turn of the engine's loop
    if confirmed == "before":
        ours.send(message(KEEPALIVE))
    late = socket.socket()
    late.bind((THERE, 0))
    late.connect((HERE, PORT))
    late.send(peer_open(restart_time=120))
    if confirmed == "after":
        ours.send(message(KEEPALIVE))
    await eventually(lambda: "a" in table.negotiated)
    late.setblocking(False)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionResetError):
        while await asyncio.wait_for(loop.sock_recv(late, 4096), longer(5)):
            pass
    assert table.lost_sessions == []
    late.close()


@pytest.mark.parametrize(("restart_time", "expected"), [(120, UPDATE), (None, None)])
async def test_a_peer_that_keeps_stale_routes_hears_ours_in_the_moment_that_it_has_the_session(
    engine, table, restart_time, expected
):
    """UPDATEs are right behind the KEEPALIVE that makes the session for the peer, which has said no KEEPALIVE itself.

    If we die between the two, the peer drops what it did not hear (RFC 4724 §4.2: consecutive restarts).
    """
    table.first_words = message(UPDATE, bytes(4))
    apply(engine, listening())
    peer = await RawPeer.dial()
    peer.send(peer_open(restart_time=restart_time))
    assert await peer.until(KEEPALIVE) == b""
    assert engine.states()["a"][0] == "OpenConfirm"
    if expected is None:
        peer.send(message(KEEPALIVE))
        assert (await peer.read())[0] == KEEPALIVE
        return
    assert await peer.read() == (UPDATE, bytes(4))
    assert table.negotiated == {}


async def test_a_connection_of_several_sessions_goes_to_the_one_that_listens(engine, table, peers):
    """Several sessions from one address: the listening one first, then the first by name that is not up."""
    dialling = make_session("a", THERE, peer_port=1)
    apply(engine, dialling, listening("m"), listening("z", local_address=ip_address(ELSEWHERE)))
    peers.append(await (await RawPeer.dial()).establish())
    await eventually(lambda: "m" in table.negotiated)
    peers.append(await (await RawPeer.dial()).establish())
    await eventually(lambda: "a" in table.negotiated)
    assert "z" not in table.negotiated


async def test_a_busy_loop_costs_no_session(engine, table):
    """A loop that was blocked for longer than the hold time reads first, and then judges the hold timer."""
    apply(engine, listening(hold_time=3))
    peer = await (await RawPeer.dial()).establish(hold_time=3)
    await eventually(lambda: "a" in table.negotiated)
    peer.send(message(KEEPALIVE))
    await asyncio.sleep(0.1)
    time.sleep(2)
    peer.send(message(KEEPALIVE))
    time.sleep(1.2)
    await asyncio.sleep(0.2)
    assert table.lost_sessions == []
    await eventually(lambda: table.lost_sessions)
    assert table.lost_sessions[0][1].kind is LossKind.HOLD_TIMER


async def test_keepalives_are_sent_while_routes_are_waiting(engine, table):
    """A peer that reads slowly still gets KEEPALIVEs, and what is unsent stays where it was."""
    apply(engine, listening(hold_time=9, keepalive_time=1))
    peer = await (await RawPeer.dial()).establish(hold_time=9)
    await eventually(lambda: "a" in table.negotiated)
    table.to_send["a"] = message(UPDATE, b"\0\0\0\0" + b"\x18\x0a\x00\x00" * 1000) * 20000
    engine.kick("a")
    await asyncio.sleep(0.5)
    assert len(table.to_send["a"]) > 10_000_000
    started = time.monotonic()
    while time.monotonic() - started < 4:
        peer.send(message(KEEPALIVE))
        if await asyncio.wait_for(peer.until(KEEPALIVE), longer(3)) is not None:
            break
    assert table.lost_sessions == []


async def test_the_prefix_limit_holds_the_session_off(engine, table):
    """Cease/1 raised by the table: the session is not accepted again before its restart time."""
    table.refuse_updates = SessionError(6, 1)
    apply(engine, listening(max_prefix=MaxPrefix(1, action="Reset", restart_after=1)))
    peer = await (await RawPeer.dial()).establish()
    peer.send(message(UPDATE, b"\0\0\0\0"))
    assert (await peer.until(NOTIFICATION))[:2] == b"\x06\x01"
    table.refuse_updates = None
    assert engine.states()["a"][0] == "Idle"
    assert await (await RawPeer.dial()).read() is None
    await eventually(lambda: engine.states()["a"][0] == "Active")
    peer = await (await RawPeer.dial()).establish()
    await eventually(lambda: "a" in table.negotiated)


async def test_another_prefix_limit_ends_the_hold_off(engine, table, dialled):
    """Without a restart time the session waits for the operator: it is dialled at once when the limit is another one."""
    table.refuse_updates = SessionError(6, 1, message="more than 1 prefixes accepted")
    held = dialling(max_prefix=MaxPrefix(1, action="Reset"))
    apply(engine, held)
    peer = await (await dialled.get()).establish()
    peer.send(message(UPDATE, b"\0\0\0\0"))
    assert (await peer.until(NOTIFICATION))[:2] == b"\x06\x01"
    table.refuse_updates = None
    assert engine.states()["a"][:2] == ("Idle", "MaxPrefix: more than 1 prefixes accepted")
    apply(engine, replace(held, max_prefix=MaxPrefix(2, action="Reset")))
    peer = await (await dialled.get()).establish()
    await eventually(lambda: engine.states()["a"][:2] == ("Established", ""))


async def test_a_withheld_session_is_neither_dialled_nor_accepted(engine, table, peers):
    """A session of state Withheld does nothing, and one that was up ends."""
    apply(engine, listening())
    peers.append(await (await RawPeer.dial()).establish())
    await eventually(lambda: "a" in table.negotiated)
    apply(engine, listening(state="Withheld", reason=Reason.DUPLICATE_PEER))
    assert [loss.kind for _, loss in table.lost_sessions] == [LossKind.REMOVED]
    assert engine.states()["a"] == ("Withheld", "DuplicatePeer", 0)
    assert await (await RawPeer.dial()).read() is None


async def test_another_log_level_touches_no_session(engine, table, peers):
    """Settings of the whole speaker that concern no session leave each as it is: its connection goes on."""
    apply(engine, listening())
    peer = await (await RawPeer.dial()).establish()
    peers.append(peer)
    await eventually(lambda: "a" in table.negotiated)
    before = table.negotiated["a"]
    apply(engine, listening(), settings=replace(SETTINGS, log_severity="Debug"))
    peer.send(message(UPDATE, bytes(4)))
    await eventually(lambda: table.bodies["a"])
    assert table.negotiated["a"] is before
    assert table.lost_sessions == []


async def test_a_port_that_is_taken_is_a_notice(table):
    """A listening socket that cannot be had is told once, and dialled sessions work all the same."""
    taken = await asyncio.start_server(lambda _r, _w: None, HERE, PORT)
    engine = Engine(sink=table, outbound=table)
    await engine.start()
    apply(engine, listening())
    apply(engine, listening())
    assert [notice.reason for notice in engine.notices()] == [Reason.LISTEN_REFUSED]
    assert engine.deaf() == (
        f"cannot listen on {HERE} port {PORT}: Address already in use: stop what listens there, or set another listenPort",
    )
    taken.close()
    await taken.wait_closed()
    apply(engine, listening())
    assert engine.deaf() == ()
    await engine.stop(graceful=True)


async def test_cut_anywhere_a_stream_harms_nobody(engine, table):
    """A peer that goes away after any byte of OPEN, KEEPALIVE and UPDATE leaves the other session up."""
    apply(engine, listening(), listening("other", ELSEWHERE))
    other = await (await RawPeer.dial(ELSEWHERE)).establish()
    await eventually(lambda: "other" in table.negotiated)
    data = peer_open(restart_time=120) + message(KEEPALIVE) + message(UPDATE, b"\0\0\0\0" + b"\x18\x0a\x01\x02")
    for end in range(0, len(data), 3):
        peer = await RawPeer.dial()
        peer.send(data[:end])
        await peer.writer.drain()
        await asyncio.sleep(0)
        peer.close()
    assert "other" in table.negotiated
    other.close()


async def test_random_bytes_harm_nobody(engine, table):
    """Random messages with good headers, mutated OPENs and noise: no exception, and the other session stays."""
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    apply(engine, listening(), listening("other", ELSEWHERE))
    other = await (await RawPeer.dial(ELSEWHERE)).establish()
    chance = effort.chance("bytes")
    for number in range(effort.examples(300)):
        peer = await RawPeer.dial()
        if number % 3 == 0:
            body = bytearray(peer_open(restart_time=120)[19:])
            for _ in range(chance.randrange(1, 6)):
                body[chance.randrange(len(body))] = chance.randrange(256)
            peer.send(message(OPEN, bytes(body[: chance.randrange(10, len(body) + 1)])))
        elif number % 3 == 1:
            peer.send(chance.randbytes(chance.randrange(1, 80)))
        else:
            peer.send(peer_open() + message(KEEPALIVE))
            for _ in range(5):
                peer.send(message(chance.randrange(7), chance.randbytes(chance.randrange(0, 40))))
        with contextlib.suppress(ConnectionError):  # it may have been shut out before it had said all
            await peer.writer.drain()
        await asyncio.sleep(0.002)
        peer.close()
    assert errors == []
    assert "other" in table.negotiated
    other.close()


async def test_only_near_peers_are_accepted_by_a_session_with_ttl_security(engine, table):
    """On a listener that others share: a SYN with a smaller TTL than a neighbour's gets no session (RFC 5082)."""
    apply(engine, listening(ttl_security=1), listening("b", ELSEWHERE))
    far = await RawPeer.dial()
    assert await far.read() is None
    other = await (await RawPeer.dial(ELSEWHERE)).establish()
    near = await (await RawPeer.dial(hops=255)).establish()
    await eventually(lambda: set(table.negotiated) == {"a", "b"})
    # the kernel drops what comes from farther away, also on a connection that is up
    near.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 254)
    near.send(message(3, b"\x06\x02"))
    other.send(message(3, b"\x06\x02"))
    await eventually(lambda: [name for name, _ in table.lost_sessions] == ["b"])
    near.close()


async def test_ttl_security_is_taken_over_by_a_session_that_is_up(engine, table):
    """TTLs are no matter of the OPENs: switched on and off again, the session stays."""
    apply(engine, listening())
    near = await (await RawPeer.dial(hops=255)).establish()
    await eventually(lambda: table.negotiated)
    for session in (listening(ttl_security=1), listening(multihop=9), listening(keepalive_time=1)):
        apply(engine, session)
        assert engine.states()["a"][0] == "Established"
    assert await near.until(KEEPALIVE) == b""
    assert table.lost_sessions == []
    near.close()


async def test_a_keepalive_time_that_changes_is_heard_at_once(engine, table):
    """A session that is up sends its next KEEPALIVE now, and then at the new pace."""
    apply(engine, listening(keepalive_time=30))
    peer = await (await RawPeer.dial()).establish()
    await eventually(lambda: table.negotiated)
    apply(engine, listening(keepalive_time=1))
    for _ in range(3):
        assert await peer.until(KEEPALIVE) == b""
    assert table.lost_sessions == []
    peer.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [("", b""), ("maintenance", b"\x0bmaintenance"), ("ü" * 200, b"\xfe" + "ü".encode() * 127)],
)
async def test_a_shutdown_says_why(engine, table, text, said):
    """Cease/Administrative Shutdown with the words of the object (RFC 9003), no letter cut at 255 bytes."""
    apply(engine, listening())
    peer = await (await RawPeer.dial()).establish()
    await eventually(lambda: table.negotiated)
    apply(engine, listening(state="Withheld", reason=Reason.SHUTDOWN, shutdown_message=text))
    assert await peer.until(NOTIFICATION) == b"\x06\x02" + said
    peer.close()

"""The socket between agent and speaker: who may speak, what is coalesced, and what a bad frame does."""

import asyncio
import socket
import stat
import struct
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from tests.netns.engine.rig import make_session, make_settings
from tests.patience import eventually
from towpath.bgp import link
from towpath.bgp.link import LinkClient, LinkServer
from towpath.model.codec import packer
from towpath.model.net import Family
from towpath.model.secret import Secret
from towpath.model.speaker import (
    LINK_VERSION,
    Announcement,
    Hello,
    NextHopMetrics,
    Routes,
    SpeakerState,
    StateChange,
    Sync,
    WholeState,
    apply_state,
)


def state(number=0, **changes):
    block = ip_network(f"10.{number}.0.0/26")
    announcements = {block: Announcement(prefix=block, source="Block", local_preference=100)}
    return SpeakerState(settings=make_settings(), announcements=announcements, **changes)


class Speaker:
    """The speaker's side, with what it received."""

    def __init__(self, path):
        self.received = []
        self.events = []
        self.server = LinkServer(
            path,
            received=self.received.append,
            connected=lambda: self.events.append("connected"),
            disconnected=self.events.append,
            writable=lambda: self.events.append("writable"),
        )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "speaker.sock"


@pytest.fixture
async def speaker(path):
    speaker = Speaker(path)
    await speaker.server.start()
    yield speaker
    await speaker.server.stop()


@pytest.fixture
async def frames():
    return []


@pytest.fixture
async def client(path, frames):
    client = LinkClient(path, received=frames.append)
    await client.start()
    yield client
    await client.stop()


async def test_first_the_whole_then_differences(speaker, client):
    """On connect the whole state is sent, afterwards only what changed, and both make the same state."""
    first, second = state(1, passwords={"a": Secret(b"s")}), state(2, sessions={"a": make_session("a", "10.0.0.2")})
    client.desire(first)
    await eventually(lambda: speaker.received)
    client.desire(second)
    client.metrics(
        {ip_address("10.0.0.9"): 5, ip_address("fd00::1"): None}, interfaces={ip_address("10.0.0.9"): "eth0"}
    )
    await eventually(lambda: len(speaker.received) == 3)
    whole, change, metrics = speaker.received
    assert whole == WholeState(first)
    assert isinstance(change, StateChange)
    assert apply_state(first, change) == second
    assert metrics == NextHopMetrics(
        {ip_address("10.0.0.9"): 5, ip_address("fd00::1"): None}, {ip_address("10.0.0.9"): "eth0"}
    )
    client.desire(second)
    await asyncio.sleep(0.05)
    assert len(speaker.received) == 3


async def test_routes_reach_the_agent(speaker, client, frames):
    """Frames of the speaker arrive in order, its hello first."""
    await eventually(lambda: client.connected and speaker.server.writable)
    routes = Routes(Family.IPV6, (ip_address("fd00::1"),), ("a",), b"\x40" + bytes(8))
    speaker.server.send(routes)
    speaker.server.send(Sync(in_sync=True))
    await eventually(lambda: len(frames) == 3)
    assert isinstance(frames[0], Hello)
    assert frames[1:] == [routes, Sync(in_sync=True)]


async def test_a_restarted_speaker_is_told_the_whole_again(path, client):
    """The client comes back by itself, and treats the new connection as a new speaker."""
    client.desire(state(1))
    for _ in range(2):
        speaker = Speaker(path)
        await speaker.server.start()
        await eventually(lambda speaker=speaker: speaker.received)
        assert speaker.received == [WholeState(state(1))]
        await speaker.server.stop()
        await eventually(lambda: not client.connected)
    assert client.last_error


async def test_a_slow_speaker_is_sent_the_newest_state_only(speaker, client, monkeypatch):
    """States that could not be written are skipped: the next difference is against what was really sent."""
    client.desire(state(1))
    await eventually(lambda: speaker.received)
    frames = client._frames
    frames.pause_writing()
    for number in range(2, 50):
        client.desire(state(number))
    frames.resume_writing()
    await eventually(lambda: len(speaker.received) == 2)
    assert apply_state(state(1), speaker.received[1]) == state(49)


async def test_an_agent_that_does_not_read_stops_the_writing(speaker, path):
    """When the agent stops reading, the speaker's side turns unwritable, and writable again when it reads on."""
    reader, writer = await asyncio.open_unix_connection(path)
    body = packer().encode(Hello(version=LINK_VERSION, instance="x"))
    writer.write(struct.pack("!I", len(body)) + body)
    await eventually(lambda: speaker.server.writable)
    sent = 0
    while speaker.server.writable:
        speaker.server.send(Routes(Family.IPV4, (), (), bytes(60000)))
        sent += 60000
        assert sent < 3 * link.BUFFER_BYTES
    assert "writable" not in speaker.events
    while "writable" not in speaker.events:
        await reader.read(1 << 20)
    writer.close()


async def test_a_new_agent_takes_the_place_of_the_old(speaker, path, client):
    """There is one agent: the newest connection."""
    await eventually(lambda: client.connected)
    await client.stop()
    second = LinkClient(path, received=lambda _: None)
    await second.start()
    second.desire(state(3))
    await eventually(lambda: speaker.received == [WholeState(state(3))])
    await second.stop()


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (Hello(version=99, instance="x"), "version 99"),
        (Sync(in_sync=True), "Invalid value 'sync'"),
        (NextHopMetrics({}), "not a hello"),
    ],
)
async def test_a_stranger_is_turned_away_with_a_reason(speaker, path, first, why):
    """Another version, another kind of frame or no hello: the connection is closed and the reason is told."""
    reader, writer = await asyncio.open_unix_connection(path)
    body = packer().encode(first)
    writer.write(struct.pack("!I", len(body)) + body)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(1 << 16)
    await eventually(lambda: speaker.events)
    assert why in speaker.events[-1]
    writer.close()


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00\x00\x00\x00"])
async def test_a_bad_frame_closes_the_connection(speaker, path, data):
    """A length above the limit and bytes that are no frame end the connection, nothing else."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(1 << 16)
    await eventually(lambda: speaker.events)
    assert "bad frame" in speaker.events[-1]
    writer.close()


async def test_the_socket_is_for_its_owner_and_replaces_a_stale_one(path):
    """A socket file left behind is replaced, with mode 0600; a file of another kind is an error."""
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    speaker = Speaker(path)
    await speaker.server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await speaker.server.stop()
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        await Speaker(path).server.start()
    assert path.read_text() == "precious"


async def test_frames_may_come_in_any_pieces(speaker, path):
    """A frame cut anywhere is put together again."""
    _, writer = await asyncio.open_unix_connection(path)
    data = b""
    for message in (
        Hello(version=LINK_VERSION, instance="x"),
        WholeState(state(1)),
        NextHopMetrics({IPv4Address("10.0.0.1"): 1}),
    ):
        body = packer().encode(message)
        data += struct.pack("!I", len(body)) + body
    for start in range(0, len(data), 7):
        writer.write(data[start : start + 7])
        await asyncio.sleep(0)
    await eventually(lambda: len(speaker.received) == 2)
    assert speaker.received[0] == WholeState(state(1))
    writer.close()

"""Engine and table, with real sessions to a second engine on loopback: whatever is desired, they agree on what is up."""

import asyncio
import time
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from msgspec.structs import replace

from tests import effort
from tests.names import loopback
from tests.netns.engine.rig import AS_OURS, AS_PEER, SECRET, RecordingTable, make_session, make_settings
from tests.patience import within
from towpath.bgp.exabgp.engine import Engine
from towpath.bgp.ports import LossKind
from towpath.bgp.table import Table
from towpath.lab.blaster import Blast
from towpath.model.reason import Reason
from towpath.model.secret import Secret
from towpath.model.speaker import Announcement, Listen, SpeakerState

HERE, THERE = ip_address(loopback(5)), ip_address(loopback(6))
PORT = 11791
KEY = Secret(b"right")
LEARNED = Blast(next_hop=THERE, local_as=AS_PEER, remote_as=AS_OURS, count=1, first=ip_address("20.0.0.0"), length=24)
OURS = ip_network("10.64.0.0/26")
SESSION = make_session("s", str(THERE), peer_port=PORT, local_address=HERE, password_ref=SECRET)


def state(*sessions, password=True, **settings):
    here = make_settings(router_id=IPv4Address("10.9.1.1"), listen=(Listen(HERE, PORT),), **settings)
    return SpeakerState(
        settings=here,
        sessions={session.name: session for session in sessions},
        passwords={"s": KEY} if password else {},
        announcements={OURS: Announcement(OURS, "Block", 100)},
    )


class Speaker:
    """Engine and table as the speaker composes them, and the peer that it talks to."""

    async def start(self):
        self.losses = []
        kick = lambda name: self.engine.kick(name)  # noqa: E731, PLW0108  # the engine is made after the table
        self.table = Table(kick=kick, clock=time.monotonic)
        self.engine = Engine(sink=self, outbound=self.table)
        self.established, self.updates, self.refresh = self.table.established, self.table.updates, self.table.refresh
        self.peer_table = RecordingTable([LEARNED])
        self.peer = Engine(sink=self.peer_table, outbound=self.peer_table)
        await self.engine.start()
        await self.peer.start()
        self.peer_is()

    def lost(self, name, loss):
        self.losses.append(loss.kind)
        self.table.lost(name, loss)

    def peer_is(self, key=KEY, **changes):
        back = make_session("back", str(HERE), remote_as=AS_OURS, local_as=AS_PEER, passive=True, password_ref=SECRET)
        there = make_settings(router_id=IPv4Address("10.9.1.2"), listen=(Listen(THERE, PORT),), **changes)
        self.peer.apply(there, sessions={"back": back}, passwords={"back": key})

    async def stop(self):
        await self.engine.stop(graceful=True)
        await self.peer.stop(graceful=True)

    def apply(self, desired):
        self.engine.apply(desired.settings, sessions=desired.sessions, passwords=desired.passwords)
        self.table.apply(desired)

    @property
    def up(self):
        return {name for name, one in self.engine.states().items() if one.state == "Established"}

    @property
    def up_in_table(self):
        return {name for name, peer in self.table._peers.items() if peer.negotiated is not None}

    @property
    def routes(self):
        return sum(session.received for session in self.table.report(self.engine.states()).sessions)

    async def until(self, probe):
        async with within(8):
            while not probe():
                await asyncio.sleep(0.005)
                assert self.up == self.up_in_table


@pytest.fixture
async def speaker():
    speaker = Speaker()
    await speaker.start()
    yield speaker
    await speaker.stop()


def desires(chance):
    """Any of the states that a session can be put in."""
    session = replace(
        SESSION,
        hold_time=chance.choice([90, 90, 90, 60]),
        remote_as=chance.choice([AS_PEER] * 6 + [65009]),
        import_policy=chance.choice(["All", "Filtered"]),
    )
    withheld = chance.choice([None, None, Reason.SECRET_MISSING, Reason.SECRET_MISSING, Reason.DUPLICATE_PEER])
    if withheld is not None:
        session = replace(session, state="Withheld", reason=withheld)
    severed = ("s",) if chance.random() < 0.1 else ()
    sessions = () if chance.random() < 0.1 else (session,)
    return state(*sessions, password=withheld is None and chance.random() < 0.8, severed=severed)


async def test_engine_and_table_agree_whatever_is_desired(speaker):
    """Random states, milliseconds apart: a session is up in both or in neither, and in the end its routes are there."""
    chance = effort.chance("agreement")
    ups = tried = 0
    while tried < effort.examples(150) or ups <= 10:  # on a busy machine it takes more of them
        tried += 1
        desired = desires(chance)
        speaker.apply(desired)
        assert speaker.up == speaker.up_in_table
        for _ in range(chance.choice([0, 0, 1, 5, 20])):
            await asyncio.sleep(0.001)
            assert speaker.up == speaker.up_in_table
        ups += bool(speaker.up)
    speaker.apply(state(SESSION))
    await speaker.until(lambda: speaker.up == {"s"} and speaker.routes == 1)


@pytest.mark.parametrize("reason", [Reason.SECRET_MISSING, Reason.DUPLICATE_PEER])
async def test_withheld_for_a_moment(speaker, reason):
    """Active, withheld, active at once: for want of a secret nothing happens, otherwise the session starts anew."""
    speaker.apply(state(SESSION))
    await speaker.until(lambda: speaker.routes == 1)
    speaker.apply(state(replace(SESSION, state="Withheld", reason=reason), password=False))
    kept = reason is Reason.SECRET_MISSING
    assert speaker.up == speaker.up_in_table == ({"s"} if kept else set())
    assert speaker.routes == (1 if kept else 0)
    speaker.apply(state(SESSION))
    await speaker.until(lambda: speaker.routes == 1)
    assert speaker.losses == ([] if kept else [LossKind.REMOVED])


async def test_nothing_of_a_session_changes_while_its_secret_is_missing(speaker):
    """Other parameters wait for the secret: a session that is reset without it could not come back."""
    speaker.apply(state(SESSION))
    await speaker.until(lambda: speaker.routes == 1)
    changed = replace(SESSION, hold_time=60)
    speaker.apply(state(replace(changed, state="Withheld", reason=Reason.SECRET_MISSING), password=False))
    assert speaker.losses == []
    speaker.apply(state(changed))
    assert speaker.losses == [LossKind.CHANGED]
    await speaker.until(lambda: speaker.up == {"s"})


async def test_a_change_loses_nothing_on_either_side(speaker):
    """Between two of ours (N on both sides) routes stay over a changed hold time and a changed password."""
    speaker.apply(state(SESSION))
    await speaker.until(lambda: speaker.routes == 1 and "back" in speaker.peer_table.negotiated)
    speaker.apply(state(replace(SESSION, hold_time=60)))
    assert speaker.routes == 1
    await speaker.until(lambda: speaker.up == {"s"} and speaker.peer_table.lost_sessions)
    speaker.peer_is(key=Secret(b"new"))
    await speaker.until(lambda: len(speaker.losses) == 2)
    assert speaker.routes == 1
    desired = state(replace(SESSION, hold_time=60))
    speaker.apply(replace(desired, passwords={"s": Secret(b"new")}))
    await speaker.until(lambda: speaker.up == {"s"} and speaker.routes == 1)
    assert speaker.losses == [LossKind.CHANGED, LossKind.NOTIFIED]
    kinds = [(loss.kind, loss.code, loss.subcode) for _, loss in speaker.peer_table.lost_sessions]
    assert kinds == [(LossKind.NOTIFIED, 6, 6), (LossKind.CHANGED, 6, 6)]


async def test_who_is_no_longer_a_peer_is_told_to_forget(speaker):
    """A removed session withdraws and then says Cease/3 in a hard reset; a shut down one Cease/2."""
    for gone, said in (
        (state(), "Cease / Peer De-configured"),
        (state(replace(SESSION, state="Withheld", reason=Reason.SHUTDOWN)), "Cease / Administrative Shutdown"),
        (state(replace(SESSION, remote_as=65009)), "Cease / Peer De-configured"),
    ):
        speaker.apply(state(SESSION))
        await speaker.until(lambda: speaker.routes == 1 and any(speaker.peer_table.bodies.get("back", ())))
        before = len(speaker.peer_table.lost_sessions)
        speaker.apply(gone)
        await speaker.until(lambda before=before: len(speaker.peer_table.lost_sessions) > before)
        withdrawal = speaker.peer_table.bodies["back"][-1]
        assert withdrawal == b"\0\x05\x1a\x0a\x40\0\0\0\0"
        loss = speaker.peer_table.lost_sessions[-1][1]
        assert (loss.kind, loss.code, loss.subcode) == (LossKind.HARD_RESET, 6, 9)
        assert loss.message.startswith(f"hard reset: {said}")

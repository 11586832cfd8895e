"""The speaker process: the engine and the table in one event loop, and the agent at the other end of a socket.

It knows neither Kubernetes nor netlink. Without an agent it keeps its sessions and its routes; before the first whole
state it opens no session, so that End-of-RIB follows our own announcements at once. SIGTERM means restart.
"""

import argparse
import asyncio
import gc
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from towpath.bgp import window
from towpath.bgp.exabgp.engine import Engine
from towpath.bgp.link import LinkError, LinkServer
from towpath.bgp.ports import Loss, Negotiated
from towpath.bgp.table import SETTLE_PREFIXES, Table
from towpath.bgp.window import Window
from towpath.model.kinds.bgp import LogSeverity
from towpath.model.net import Address, Family, Prefix
from towpath.model.speaker import (
    NextHopInterest,
    NextHopMetrics,
    Report,
    SpeakerState,
    StateChange,
    Sync,
    ToSpeaker,
    Whole,
    WholeState,
    apply_state,
)

_DRAIN_PREFIXES = 20000
"""So many prefixes a turn of the loop, then sessions are served again."""
_REPORT_SECONDS = 1.0
_REPORT_SECONDS_AWAITED = 0.05
"""While a block of ours holds others' paths: pods wait for addresses until they are gone."""
_LEAST_WAIT = 0.01

log = structlog.get_logger()


class Speaker:
    """The composition: what the engine delivers goes to the table, what the table selects goes to the agent."""

    def __init__(self, socket_path: Path, *, severity: Callable[[LogSeverity], None]) -> None:
        self._severity = severity
        self._loop = asyncio.get_running_loop()
        self._table = Table(kick=self._kick, clock=time.monotonic)
        self._engine = Engine(sink=_Watched(self._table, self._poke), outbound=self._table, changed=self._report_soon)
        self._link = LinkServer(
            socket_path,
            received=self._received,
            connected=self._connected,
            disconnected=lambda reason: log.info("link.lost", reason=reason),
            writable=self._poke,
        )
        self._window = Window(socket_path.with_name(window.NAME), lambda: self._table.look(self._engine.states()))
        self._state: SpeakerState | None = None
        self._poked = False
        self._deadline: asyncio.TimerHandle | None = None
        self._report: asyncio.TimerHandle | None = None
        self._sync_sent: bool | None = None
        self._heard_sent: frozenset[Address] = frozenset()
        self._interest_sent: NextHopInterest | None = None
        self._report_sent: Report | None = None

    async def start(self) -> None:
        """Wait for an agent."""
        await self._engine.start()
        await self._link.start()
        await self._window.open()

    async def stop(self) -> None:
        """Restart: close everything without a word, so that peers keep our routes."""
        await self._engine.stop(graceful=True)
        await self._link.stop()
        await self._window.close()

    # from the agent

    def _received(self, message: ToSpeaker) -> None:
        match message:
            case WholeState():
                self._apply(message.state)
            case StateChange():
                if self._state is None:
                    raise LinkError("a change came before the whole state")
                self._apply(apply_state(self._state, message))
            case NextHopMetrics():
                self._table.metrics(message.metrics, interfaces=message.interfaces)
                self._poke()
            case _:
                raise LinkError("a second hello")

    def _apply(self, state: SpeakerState) -> None:
        first, self._state = self._state is None, state
        self._severity(state.settings.log_severity)
        # sessions first: one that ends for good withdraws what the table still knows that it was told
        self._engine.apply(state.settings, sessions=state.sessions, passwords=state.passwords)
        self._table.apply(state)
        if first:
            log.info("speaker.configured", sessions=len(state.sessions), announcements=len(state.announcements))
        log.debug("state.applied", sessions=len(state.sessions), announcements=len(state.announcements))
        if self._report_sent is None or self._owned(state) != set(self._report_sent.own_blocks):
            self._report_soon(seconds=0)  # pods get addresses of a new block once it is known to hold no path of others
        self._poke()

    def _owned(self, state: SpeakerState) -> set[Prefix]:
        return {prefix for prefix, owner in state.blocks.items() if owner == state.settings.node}

    def _connected(self) -> None:
        log.info("link.connected")
        self._interest_sent = None
        frames = self._table.whole()
        self._send_interest()  # first: what is told by routes off the link is where it was
        for frame in frames:
            self._link.send(frame)
        self._link.send(Whole())
        self._sync_sent = self._report_sent = None
        self._heard_sent = frozenset()
        self._poke()

    # to the agent

    def _kick(self, name: str) -> None:
        self._engine.kick(name)

    def _poke(self) -> None:
        """The table may have something to say: once this turn of the loop is over."""
        if not self._poked:
            self._poked = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._poked = False
        if self._table.unsettled:
            self._table.settle(SETTLE_PREFIXES)
            self._poke()
        if not self._link.connected and self._table.redistributes:
            self._table.drain(_DRAIN_PREFIXES)  # peers are told what changed; a new agent is told everything anyway
            if self._table.dirty:
                self._poke()
        if self._link.writable and self._table.dirty:
            for frame in self._table.drain(_DRAIN_PREFIXES):
                self._link.send(frame)
            if self._table.dirty and self._link.writable:
                self._poke()
        in_sync = self._table.in_sync
        if self._link.writable and not self._table.dirty:
            self._send_small(in_sync=in_sync)
        self._watch_deadline()
        self._report_soon()

    def _send_small(self, *, in_sync: bool) -> None:
        """What is one value: sent when it differs, after the routes that it speaks of."""
        self._send_interest()
        heard = self._table.heard()
        if in_sync != self._sync_sent:
            self._send_report()  # who is told that all is well is not left with what was before it
        elif heard <= self._heard_sent:
            return
        self._link.send(Sync(in_sync, heard=tuple(heard - self._heard_sent)))
        self._sync_sent, self._heard_sent = in_sync, heard

    def _send_interest(self) -> None:
        interest = self._table.interest()
        if interest != self._interest_sent:
            self._interest_sent = interest
            self._link.send(interest)

    def _watch_deadline(self) -> None:
        """Restart timers and the like: the table says when it wants to be woken."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        deadline = self._table.deadline()
        if deadline is not None:
            self._deadline = self._loop.call_later(max(_LEAST_WAIT, deadline - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._deadline = None
        self._table.expire(time.monotonic())
        self._poke()

    def _report_soon(self, *, seconds: float | None = None) -> None:
        """Report within ``seconds``; unless given, as soon as is good for nobody waits for it, or somebody does."""
        if seconds is None:
            awaited = self._report_sent is not None and self._report_sent.foreign_paths
            seconds = _REPORT_SECONDS_AWAITED if awaited else _REPORT_SECONDS
        due = self._loop.time() + seconds
        if self._report is not None and self._report.when() > due:
            self._report.cancel()
            self._report = None
        if self._report is None:
            self._report = self._loop.call_at(due, self._send_report)

    def _send_report(self) -> None:
        if self._report is not None:
            self._report.cancel()
            self._report = None
        if not self._link.writable:
            return  # a new agent asks, and a slow one makes room: both poke
        report = replace(
            self._table.report(self._engine.states()), deaf=self._engine.deaf(), keyless=self._engine.keyless()
        )
        if report != self._report_sent:
            self._report_sent = report
            self._link.send(report)
        for notice in (*self._engine.notices(), *self._table.notices()):
            log.warning("notice", reason=notice.reason, message=notice.message, session=notice.session)
            self._link.send(notice)


class _Watched:
    """The table as the engine's sink, with a log line a session and a poke a batch."""

    def __init__(self, table: Table, poke: Callable[[], None]) -> None:
        self._table = table
        self._poke = poke

    def established(self, name: str, negotiated: Negotiated) -> None:
        log.info(
            "session.established",
            session=name,
            peer=str(negotiated.peer_address),
            remote_as=negotiated.peer_as,
            hold_time=negotiated.hold_time,
            families=[family.key for family in negotiated.families],
        )
        self._table.established(name, negotiated)
        self._poke()

    def updates(self, name: str, bodies: Sequence[bytes]) -> None:
        try:
            self._table.updates(name, bodies)
        finally:
            self._poke()

    def refresh(self, name: str, family: Family) -> None:
        self._table.refresh(name, family)

    def lost(self, name: str, loss: Loss) -> None:
        log.warning(
            "session.lost",
            session=name,
            why=loss.kind.value,
            code=loss.code,
            subcode=loss.subcode,
            message=loss.message,
        )
        self._table.lost(name, loss)
        self._poke()


def _bug(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A bug in a callback ends the session or the link that it served, not the process."""
    error = context.get("exception")
    # formatted here: a renderer that shows local variables would show frames, and with them passwords
    trace = "".join(traceback.format_exception(error)) if error is not None else ""
    log.error("speaker.bug", message=context.get("message"), traceback=trace)


async def run(socket_path: Path, *, severity: Callable[[LogSeverity], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``severity`` is called with how much is to be logged."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_bug)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    speaker = Speaker(socket_path, severity=severity)
    await speaker.start()
    # what was imported stays: the collector need not look at it again
    gc.collect()
    gc.freeze()
    gc.set_threshold(20000, 20, 50)
    log.info("speaker.started", socket=str(socket_path))
    await ended.wait()
    await speaker.stop()
    log.info("speaker.stopped")


def main(argv: Sequence[str] | None = None) -> int:
    """``towpath speaker --socket PATH``."""
    parser = argparse.ArgumentParser(prog="towpath speaker", description="The BGP speaker of a node.")
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket on which the agent is served")
    arguments = parser.parse_args(argv)
    asyncio.run(run(arguments.socket, severity=lambda _: None))  # alone it logs everything
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

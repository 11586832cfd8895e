"""Looks for the router at the other end of each wanted interface, and tells routers there of us. One small step a second.

Without a session it asks: router solicitation, an echo to all routers, and a neighbour solicitation to whoever was chosen
before. It advertises itself as well, because a router that waits for advertisements (FRR) knows nobody before; that makes
us nobody's default router (``packets.router_advertisement``).
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import structlog

from towpath.model.net import Address, scoped, unscoped
from towpath.routes.discovery import packets
from towpath.routes.discovery.choice import Choice
from towpath.routes.discovery.packets import Heard
from towpath.routes.discovery.raw import RawSocket

_STEP = 1.0
_EAGER = 3
"""So many steps in a row it asks, then every ``_ASK_EVERY``th (RFC 4861 §6.3.7)."""
_ASK_EVERY = 4
_LEAST_BETWEEN = 3
"""Steps between two advertisements at least (RFC 4861 §6.2.6), and at most ``_ADVERTISE_EVERY``."""
_ADVERTISE_EVERY = 10
_MOST_A_STEP = 256
"""Messages that are read between two steps; a flood waits in the kernel, which drops what does not fit."""
log = structlog.get_logger()


class Channel(Protocol):
    """What ``RawSocket`` is."""

    index: int

    def fileno(self) -> int:
        """For the event loop."""

    def send(self, message: bytes, to: str) -> None:
        """``OSError``: it cannot be sent now."""

    def receive(self) -> list[tuple[bytes, Address, int]]:
        """Messages with source and hop limit."""

    def close(self) -> None:
        """Close it."""


class _Link:
    """One wanted interface."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.channel: Channel | None = None
        self.problem = ""
        self.severed = False
        self.asked = 0
        self.silent = _LEAST_BETWEEN - 2
        """Steps since the last advertisement of ours; the first one waits for a step, so that answers to our question come first."""
        self.awaited = False
        """Somebody has asked for an advertisement of ours."""
        self.somebody: Address | None = None
        """Who answered to the routers' address since the last step, one of them: it is asked whether it is on this link."""
        self.read = 0
        self.paused = False


class Finder:
    """See the module. ``found`` is called when ``routers`` has changed; ``own``: our addresses, which are no routers.

    ``index``: the number of a device by its name, None where there is none. Everything runs in one event loop.
    """

    def __init__(
        self,
        *,
        found: Callable[[], None],
        own: Callable[[], Collection[Address]],
        index: Callable[[str], int | None],
        channel: Callable[[str], Channel] = RawSocket,
    ) -> None:
        self._found = found
        self._own = own
        self._index = index
        self._open = channel
        self._links: dict[str, _Link] = {}
        self._known: Mapping[str, Address] = {}
        self._ours: Collection[Address] = ()
        self._timer: asyncio.TimerHandle | None = None

    def recall(self, routers: Mapping[str, Address]) -> None:
        """Who was chosen by the process before: they stay so while they answer."""
        self._known = routers

    @property
    def routers(self) -> Mapping[str, Address]:
        """The router of each interface where one is known, with the interface: ``fe80::1%eth0``."""
        known = {name: link.choice.router for name, link in self._links.items() if link.choice.router is not None}
        return {**{name: one for name, one in self._known.items() if name not in self._links}, **known}

    @property
    def interfaces(self) -> Collection[str]:
        """Where it looks, or where somebody was known before."""
        return self._links.keys() | self._known.keys()

    @property
    def problems(self) -> Mapping[str, str]:
        """What keeps us from looking, by interface."""
        return {name: link.problem for name, link in sorted(self._links.items()) if link.problem}

    def desire(self, interfaces: Mapping[str, bool], *, severed: Collection[str]) -> None:
        """Look on these interfaces, all of them; whether the session on each is up. ``severed``: they have no carrier."""
        now = asyncio.get_running_loop().time()
        for name in [name for name in self._links if name not in interfaces]:
            self._close(self._links.pop(name))
        for name, established in interfaces.items():
            link = self._links.get(name)
            if link is None:
                link = self._links[name] = _Link(Choice(self._known.get(name), now=now))
            link.choice.established = established
            if name in severed:
                link.choice.doubt()
            elif link.severed:
                link.asked = 0
            link.severed = name in severed
        self._known = {}
        if not self._links:
            self._stop()
        elif self._timer is None:
            self._step()

    def close(self) -> None:
        """Look no more."""
        self._known = self.routers
        for link in self._links.values():
            self._close(link)
        self._links.clear()
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _step(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_STEP, self._step)
        self._ours = self._own()
        for name, link in self._links.items():
            link.read = 0
            if link.channel is not None and link.paused:
                loop.add_reader(link.channel.fileno(), self._readable, name, link)
            link.paused = False
            self._attend(name, link)

    def _attend(self, name: str, link: _Link) -> None:
        index = self._index(name)
        if link.channel is not None and link.channel.index != index:
            self._close(link)  # another device has the name now, or none
        if index is None or link.severed:
            return  # the session says so
        try:
            if link.channel is None:
                link.channel = self._open(name)
                asyncio.get_running_loop().add_reader(link.channel.fileno(), self._readable, name, link)
                link.asked = 0
            self._speak(link, link.channel)
        except OSError as error:
            before, link.problem = link.problem, error.strerror or str(error)
            if link.problem != before:
                log.warning("router.not_looked_for", interface=name, error=link.problem, remedy="tried again")
        else:
            link.problem = ""

    def _speak(self, link: _Link, channel: Channel) -> None:
        choice = link.choice
        if not choice.established:
            if link.asked < _EAGER or link.asked % _ASK_EVERY == 0:
                channel.send(packets.router_solicitation(), packets.ALL_ROUTERS)
                channel.send(packets.echo_request(), packets.ALL_ROUTERS)
            for one in (choice.router, link.somebody):
                if one is not None:
                    channel.send(packets.neighbour_solicitation(one), packets.solicited_node(one))
            link.asked += 1
        else:
            link.asked = 0
        link.somebody = None
        link.silent += 1
        awaited = link.awaited or not choice.established  # who waits for one (FRR) may say nothing before
        if link.silent >= (_LEAST_BETWEEN if awaited else _ADVERTISE_EVERY):
            channel.send(packets.router_advertisement(), packets.ALL_NODES)
            link.silent, link.awaited = 0, False

    def _readable(self, name: str, link: _Link) -> None:
        channel = link.channel
        if channel is None:
            return
        try:
            messages = channel.receive()
        except OSError:
            self._close(link)  # the interface is going: the next step looks whether there is another one
            return
        link.read += len(messages)
        for data, source, hop_limit in messages:
            heard = packets.read(data, source=source, hop_limit=hop_limit)
            if heard is not None and scoped(source, name) not in self._ours:
                self._hear(name, link, heard, source)
        if link.read > _MOST_A_STEP and not link.paused:
            link.paused = True
            asyncio.get_running_loop().remove_reader(channel.fileno())

    def _hear(self, name: str, link: _Link, heard: Heard, source: Address) -> None:
        link.awaited = link.awaited or heard is Heard.ASKING
        router = scoped(source, name)
        if heard is Heard.SOMEBODY:
            link.somebody = source
        if heard is Heard.ROUTER and link.choice.hear(router, now=asyncio.get_running_loop().time()):
            log.info("router.found", interface=name, router=str(unscoped(router)))
            self._found()

    def _close(self, link: _Link) -> None:
        if link.channel is not None:
            asyncio.get_running_loop().remove_reader(link.channel.fileno())
            link.channel.close()
            link.channel = None

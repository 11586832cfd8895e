"""What people are told of a node by Events: what its parts notice, and what is wrong with it once that is news."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from towpath.controller.kube.events import Events, Subject
from towpath.controller.node.news import News
from towpath.controller.ports import Api
from towpath.model.reason import Refusal
from towpath.model.speaker import Notice

log = structlog.get_logger(__name__)


class Notices:
    """Tells, and counts what it was to tell."""

    def __init__(self, api: Api, node: str, *, uid: Callable[[], str]) -> None:
        """``uid``: of the Node object; empty where it is not known."""
        self._events = Events(api, component="towpath-agent", host=node)
        self._node = node
        self._uid = uid
        self._news = News()
        self.counts: Counter[str] = Counter()
        """Since the start, by reason."""

    async def run(self) -> None:
        """Write Events for ever."""
        await self._events.run()

    @property
    def waiting(self) -> bool:
        """Whether something is to be told if it is still so after a while."""
        return self._news.waiting

    def warn(self, warnings: Iterable[Refusal]) -> None:
        """An event for each warning that is news."""
        for one in self._news.of(warnings, now=asyncio.get_running_loop().time()):
            self.take(Notice(one.reason, f"{one.object}: {one.message}"))

    def take(self, notice: Notice) -> None:
        """One that some part of the node has."""
        self.counts[notice.reason.value] += 1
        # as the kubelet's, which has no uid either before it has seen its Node
        subject = Subject("Node", self._node, self._uid() or self._node, api_version="v1")
        if self._events.emit(subject, reason=notice.reason.value, message=notice.message):
            log.warning("node.notice", reason=notice.reason.value, message=notice.message, session=notice.session)

"""What people are told by the controller: conditions on the objects that users write, and an event for each refusal."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from towpath.controller.conditions import Key, Wanted, conditions
from towpath.controller.folding import Folded
from towpath.controller.folding import Key as Topic
from towpath.controller.kindstore import Problem
from towpath.controller.kube.conditions import set_conditions
from towpath.controller.kube.events import Events, Subject
from towpath.controller.ports import ApiError, InvalidObjectError, NotFoundError
from towpath.controller.store import FIELDS
from towpath.controller.writes import Writer
from towpath.model.cluster import Cluster
from towpath.model.reason import Reason, Refusal, Why

log = structlog.get_logger(__name__)
CALM, BURST, REFILL = 30.0, 10, 10.0
"""Seconds between two writes that change words alone; writes at once, and seconds until there may be one more."""
REMIND_AFTER = 1800.0
"""Seconds after which an event is counted again while its cause lasts: the API server forgets it after an hour."""


class Telling:
    """Writes what differs from what was said last. ``clock`` is monotonic seconds."""

    def __init__(self, writer: Writer, *, identity: str, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._clock = clock
        self._conditions: dict[Key, Wanted] = {}
        """What was written, or found, last."""
        self._events = Events(WhileLeading(writer), component="towpath-controller", host=identity, clock=clock)
        self._pace = _Pace()
        self._said: dict[object, float] = {}
        """When an event was last asked for, of each refusal, or each thing that nodes say of an object, that lasts."""

    def forget(self) -> None:
        """Another one may have written since: everything is looked at again."""
        self._conditions, self._said = {}, {}

    async def tell(
        self,
        cluster: Cluster,
        refusals: Iterable[Refusal],
        *,
        problems: Iterable[Problem],
        folded: Mapping[Topic, Folded],
        losses: Mapping[str, str],
        pods: Mapping[Key, str],
    ) -> bool:
        """Conditions on the objects that users write, and an event for each refusal; whether all conditions are there.

        ``folded``: what nodes say of objects. ``losses``: by BGPPeer, a sentence on sessions that were lost just now.
        ``pods``: the uids of pods that nodes speak of.
        """
        named = [problem for problem in problems if problem.name]
        found = {
            *refusals,
            *(Refusal(one.reason, one.message, Why(one.kind, one.name, one.field)) for one in named),
        }
        rejected = {(one.kind, one.name): (one.uid, one.generation) for one in named}
        from_nodes = [one for several in folded.values() for one in several.refusals]
        wanted = conditions(cluster, (*found, *from_nodes), rejected=rejected)
        self._conditions = {key: one for key, one in self._conditions.items() if key in wanted}
        self._pace.keep(wanted)
        todo = [(key, one) for key, one in wanted.items() if self._is_due(key, one)]
        done = await self._writer.all(*(self._set_conditions(key, one) for key, one in todo))
        topics: dict[object, Refusal] = {one: one for one in found} | {topic: one.told for topic, one in folded.items()}
        self._emit(cluster, topics, {**pods, **{(one.kind, one.name): one.uid for one in named}})
        for peer, sentence in losses.items():
            subject = _subject(cluster, Why("BGPPeer", peer), {})
            self._events.emit(subject, reason=Reason.SESSION_LOST.value, message=sentence)
        await self._events.flush()
        return done

    def _is_due(self, key: Key, wanted: Wanted) -> bool:
        """Whether conditions are to be written now: those that differ from what was written, and not too often."""
        before = self._conditions.get(key)
        if before == wanted:
            return False
        now = self._clock()
        return before is None or self._pace.may(key, now=now, news=_gist(before) != _gist(wanted))

    async def _set_conditions(self, key: Key, wanted: Wanted) -> bool:
        kind, name = key
        now = _rfc3339(datetime.now(UTC))
        api = self._writer.api
        try:
            await self._writer.write(
                "condition",
                name,
                lambda: set_conditions(api, kind, name=name, wanted=wanted.conditions, now=now, uid=wanted.uid),
            )
        except NotFoundError:
            return True
        except InvalidObjectError as error:
            # an object that is older than the rules for its name takes no status: its event has to do
            self._writer.failed("condition", name, error)
        except ApiError as error:
            return self._writer.failed("condition", name, error)
        self._conditions[key] = wanted
        return True

    def _emit(self, cluster: Cluster, topics: Mapping[object, Refusal], uids: Mapping[Key, str]) -> None:
        """An event for each topic that is new, or was told long ago. ``uids``: of objects that are not in force."""
        now = self._clock()
        self._said = {topic: at for topic, at in self._said.items() if topic in topics}
        for topic, refusal in sorted(topics.items(), key=lambda item: item[1]):
            if now < self._said.get(topic, -REMIND_AFTER) + REMIND_AFTER:
                continue
            self._said[topic] = now
            about, note = refusal.object, f"{refusal.object.field} {refusal.message}".strip()
            if self._events.emit(_subject(cluster, about, uids), reason=refusal.reason, message=note):
                log.warning("object.refused", object=str(about), reason=refusal.reason, message=refusal.message)


class _Pace:
    """How often the conditions of one object are written: when only words change, seldom; when they flap, less and less."""

    def __init__(self) -> None:
        self._written: dict[Key, tuple[float, float]] = {}
        """When it was written last, and how many writes it may have at once then."""

    def keep(self, keys: Collection[Key]) -> None:
        """Forget all others."""
        self._written = {key: one for key, one in self._written.items() if key in keys}

    def may(self, key: Key, *, now: float, news: bool) -> bool:
        """Whether it may be written now, which then counts as done; ``news``: more than words has changed."""
        at, held = self._written.get(key, (-CALM, float(BURST)))
        held = min(float(BURST), held + (now - at) / REFILL)
        if held < 1 or (not news and now - at < CALM):
            return False
        self._written[key] = now, held - 1
        return True


class WhileLeading:
    """Events are writes too: none is sent by a process that does not lead."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def create(self, kind: str, body: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Create, if we lead."""
        api, name = self._writer.api, str(body["metadata"]["name"])
        made: dict[str, Any] = await self._writer.write(
            "event", name, lambda: api.create(kind, body, namespace=namespace)
        )
        return made

    async def patch(self, kind: str, name: str, patch: dict[str, Any], *, namespace: str = "") -> dict[str, Any]:
        """Merge-patch, if we lead."""
        api = self._writer.api
        made: dict[str, Any] = await self._writer.write(
            "event", name, lambda: api.patch(kind, name, patch, namespace=namespace)
        )
        return made


def _gist(wanted: Wanted) -> object:
    return wanted.uid, wanted.generation, [(one.type, one.status, one.reason) for one in wanted.conditions]


def _subject(cluster: Cluster, about: Why, uids: Mapping[Key, str]) -> Subject:
    """What an event is about: the object with its uid, a Node for what its agent reports."""
    if about.kind in ("Node", "NodeStatus"):
        node = cluster.nodes.get(about.name)
        return Subject("Node", about.name, node.meta.uid if node else "", api_version="v1")
    if about.kind == "Pod":
        namespace, _, name = about.name.partition("/")
        return Subject("Pod", name, uids.get(("Pod", about.name), ""), api_version="v1", namespace=namespace)
    found = getattr(cluster, FIELDS[about.kind], {}).get(about.name) if about.kind in FIELDS else None
    return Subject(about.kind, about.name, uids.get((about.kind, about.name)) or (found.meta.uid if found else ""))


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

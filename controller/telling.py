"""What people are told by the controller: conditions on the objects that users write, and an event for each refusal."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import structlog

from towpath.controller.conditions import Key, Wanted, conditions
from towpath.controller.kindstore import Problem
from towpath.controller.kube.conditions import set_conditions
from towpath.controller.node.events import EventFilter
from towpath.controller.ports import ApiError, InvalidObjectError, NotFoundError
from towpath.controller.writes import Writer
from towpath.model.cluster import Cluster
from towpath.model.reason import Refusal, Why

log = structlog.get_logger(__name__)


class Telling:
    """Writes what differs from what was said last. ``clock`` is monotonic seconds."""

    def __init__(self, writer: Writer, *, identity: str, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._identity = identity
        self._clock = clock
        self._conditions: dict[Key, Wanted] = {}
        """What was written, or found, last."""
        self._events = EventFilter()

    def forget(self) -> None:
        """Another one may have written since: everything is looked at again."""
        self._conditions = {}

    async def tell(self, cluster: Cluster, refusals: Iterable[Refusal], *, problems: Iterable[Problem]) -> bool:
        """Conditions on the objects that users write, and an event for each refusal; whether all conditions are there."""
        named = [problem for problem in problems if problem.name]
        found = (
            *refusals,
            *(Refusal(one.reason, one.message, Why(one.kind, one.name, one.field)) for one in named),
        )
        rejected = {(one.kind, one.name): (one.uid, one.generation) for one in named}
        wanted = conditions(cluster, found, rejected=rejected)
        self._conditions = {key: one for key, one in self._conditions.items() if key in wanted}
        todo = [(key, one) for key, one in wanted.items() if self._conditions.get(key) != one]
        done = await self._writer.all(*(self._set_conditions(key, one) for key, one in todo))
        await self._writer.all(*(self._emit(cluster, refusal) for refusal in sorted(set(found))))
        return done

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

    async def _emit(self, cluster: Cluster, refusal: Refusal) -> bool:
        """An event, if the limits let it pass; one that cannot be written is not worth another try."""
        about, note = refusal.object, f"{refusal.object.field} {refusal.message}".strip()
        if not self._events.passes(refusal.reason, f"{about} {note}", now=self._clock()):
            return True
        log.warning("object.refused", object=str(about), reason=refusal.reason, message=refusal.message)
        node = cluster.nodes.get(about.name) if about.kind in ("Node", "NodeStatus") else None
        moment = datetime.now(UTC)
        stamp = _rfc3339(moment)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about.name}.{moment.timestamp():.6f}", "namespace": "default"},
            "involvedObject": {
                "apiVersion": "v1" if node else "towpath.io/v1alpha1",
                "kind": "Node" if node else about.kind,
                "name": about.name,
                "uid": node.meta.uid if node else "",
            },
            "reason": str(refusal.reason),
            "message": note[:1024],
            "type": "Warning",
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": "towpath-controller"},
            "reportingComponent": "towpath.io/controller",
            "reportingInstance": self._identity,
        }
        try:
            await self._writer.write(
                "event", about.name, lambda: self._writer.api.create("Event", body, namespace="default")
            )
        except ApiError as error:
            log.debug("event.failed", object=str(about), error=str(error))
        return True


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

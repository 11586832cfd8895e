"""Pods that nodes speak of: an event about one needs its uid, and a node may speak of its own pods alone.

A controller follows no pods. The few that are spoken of are asked for once each, for as long as they are.
"""

from collections.abc import Iterable

import structlog

from towpath.controller.conditions import Key
from towpath.controller.ports import Api, ApiError, NotFoundError
from towpath.model.reason import Refusal
from towpath.model.workload import mapping

log = structlog.get_logger(__name__)
AT_ONCE = 20
"""Pods that are asked for in one round; the others have their turn in the next ones."""
Said = tuple[str, Refusal]
"""A node, and what it says."""


class PodSubjects:
    """Remembers the pods that were asked for."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[tuple[str, str], str] = {}
        """By node and pod: its uid; empty where the pod is not there, or not on that node."""

    async def believed(self, said: Iterable[Said]) -> list[Said]:
        """What nodes say of pods of their own, and of everything else."""
        found = list(said)
        asked = list(dict.fromkeys((node, one.object.name) for node, one in found if one.object.kind == "Pod"))
        self._known = {key: self._known[key] for key in asked if key in self._known}
        for node, pod in [key for key in asked if key not in self._known][:AT_ONCE]:
            await self._ask(node, pod)
        return [one for one in found if one[1].object.kind != "Pod" or self._known.get((one[0], one[1].object.name))]

    @property
    def uids(self) -> dict[Key, str]:
        """The uids of pods that nodes speak of."""
        return {("Pod", pod): uid for (_, pod), uid in self._known.items() if uid}

    async def _ask(self, node: str, pod: str) -> None:
        namespace, _, name = pod.partition("/")
        try:
            body = await self._api.get("Pod", name, namespace=namespace)
        except NotFoundError:
            self._known[node, pod] = ""
        except ApiError as error:
            log.info("pod.not_known", pod=pod, node=node, error=str(error))
        else:
            own = mapping(body.get("spec")).get("nodeName") == node
            self._known[node, pod] = str(body["metadata"].get("uid") or "") if own else ""

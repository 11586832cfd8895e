"""The labels of namespaces, while any pool selects some: a sink for a reflector, or for a folder."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from towpath.controller.ports import Api, ApiError
from towpath.ipam.apart import Labels
from towpath.model.cluster import Cluster
from towpath.model.workload import mapping

log = structlog.get_logger()
KIND = "Namespace"


class WatchedNamespaces:
    """By name. ``changed`` is called when labels did, or namespaces came or went."""

    def __init__(self, *, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.labels: Mapping[str, Labels] = {}
        """The same object as before while nothing changed."""
        self.wanted, self.unwanted = asyncio.Event(), asyncio.Event()
        """Whether they matter: one of both is set."""
        self.unwanted.set()
        self._listed = False

    @property
    def known(self) -> Mapping[str, Labels] | None:
        """The labels; None: they matter, and nobody has said yet what there is."""
        return self.labels if self._listed or self.unwanted.is_set() else None

    def want(self, cluster: Cluster) -> None:
        """Follow them where a pool selects some; else forget them."""
        for_pods = (pool.spec for pool in cluster.pools.values() if not pool.spec.for_services)
        selected = any(one.namespace_selector and not one.is_common for one in for_pods)
        now, before = (self.wanted, self.unwanted) if selected else (self.unwanted, self.wanted)
        now.set()
        before.clear()
        if not selected:
            self.labels, self._listed = {}, False

    async def labels_of(self, name: str, api: Api) -> Labels | None:
        """The labels of one; None: nobody can say. One that is not known yet is asked for."""
        if self.unwanted.is_set() or name in self.labels:
            return self.labels.get(name, {})
        try:
            return _labels(await api.get(KIND, name))
        except ApiError as error:
            log.warning("namespaces.not_known", namespace=name, error=str(error), remedy="none needed once it answers")
            return None

    # -- what a reflector or a folder calls -----------------------------------------------------------------------------

    def listing(self, kind: str) -> "_Listing":
        """A list begins."""
        del kind
        return _Listing(self._become_all)

    def upserted(self, kind: str, body: Mapping[str, Any]) -> None:
        """A namespace was added or changed."""
        del kind
        self._become({**self.labels, str(body["metadata"]["name"]): _labels(body)})

    def deleted(self, kind: str, name: str) -> None:
        """A namespace is gone."""
        del kind
        self._become({key: one for key, one in self.labels.items() if key != name})

    def kind_missing(self, kind: str) -> None:
        """Cannot be: every API server has namespaces."""

    def refused(self, kind: str, message: str) -> None:
        """Not allowed: pods of namespaces that are not known wait."""
        log.warning("namespaces.refused", kind=kind, error=message, remedy="allow get, list and watch of namespaces")

    def answered(self) -> None:
        """Of no interest."""

    def contact(self, kind: str, *, connected: bool) -> None:
        """Of no interest: what was known last stays."""

    def look_again_in(self, kind: str) -> float | None:
        """Never: no breaker holds anything back."""
        del kind
        return None

    def _become_all(self, labels: Mapping[str, Labels]) -> None:
        first, self._listed = not self._listed, self.wanted.is_set()
        if first and labels == self.labels:
            self._changed()
        self._become(labels)

    def _become(self, labels: Mapping[str, Labels]) -> None:
        if labels != self.labels and self.wanted.is_set():
            self.labels = labels
            self._changed()


class _Listing:
    def __init__(self, done: Callable[[Mapping[str, Labels]], None]) -> None:
        self._done = done
        self._found: dict[str, Labels] = {}

    def page(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Some of them."""
        self._found |= {str(body["metadata"]["name"]): _labels(body) for body in objects}

    def done(self, *, version: str) -> None:
        """That was all."""
        del version
        self._done(self._found)


def _labels(body: Mapping[str, Any]) -> Labels:
    return {str(key): str(value) for key, value in mapping(mapping(body["metadata"]).get("labels")).items()}
